"""The command `canaryd`."""

from __future__ import annotations

from typing import Final

import click

from canaryd import __version__
from canaryd.cli.lazy import LazyCommand, LazyGroup

COMMANDS: Final = {
    "demo": LazyCommand("canaryd.cli.demo:demo", "Play real releases in a sandbox on this machine."),
    "run": LazyCommand("canaryd.cli.run:run", "Watch annotated Deployments and release their new versions."),
    "plan": LazyCommand("canaryd.cli.plan:plan", "Tell before a release what the policy will see."),
    "simulate": LazyCommand(
        "canaryd.cli.simulate:simulate", "Play a policy against a chosen fault, a thousand times."
    ),
    "export": LazyCommand(
        "canaryd.cli.export:export", "Write the recorded intervals of a run to a file, for replay."
    ),
    "replay": LazyCommand(
        "canaryd.cli.replay:replay", "Judge a run's recorded intervals again, or by other rules."
    ),
    "config": LazyCommand(
        "canaryd.cli.config:config", "Check a configuration file, or show what is in force."
    ),
}

_HELP = """
Progressive delivery for Kubernetes: moves traffic to a new version step by step, judges it against the old
one, promotes or rolls back by itself.

\b
Examples:
  canaryd demo
  canaryd run --prometheus http://localhost:9090
  canaryd plan --rps 120 --error-rate 0.2%
  canaryd simulate --rps 120 --error-rate 0.2% --lift 3
  canaryd export checkout-fff627b5cb -n shop -o checkout.jsonl
  canaryd replay checkout.jsonl --set alpha=0.001
  canaryd config check canaryd.yaml
  canaryd config show --policy cautious
  canaryd config show -o json

\b
Exit codes:
  0  done
  1  tried and failed
  2  wrong usage, or a configuration that cannot be used
"""


@click.group(
    cls=LazyGroup,
    lazy=COMMANDS,
    help=_HELP,
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(__version__, prog_name="canaryd", message="%(prog)s %(version)s")
def canaryd() -> None:
    """See `_HELP`."""


def main() -> None:
    """Entry point of the installed script."""
    canaryd(prog_name="canaryd")
