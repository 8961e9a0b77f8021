"""`canaryd simulate`: a policy played against a chosen fault, many times."""

from __future__ import annotations

import dataclasses
import json
import os
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from canaryd.cli.policies import config_option
from canaryd.cli.traffic import traffic_options

if TYPE_CHECKING:
    from analysis.plan import Traffic
    from analysis.simulation import Played, Simulation, Summary
    from config import Policy, Settings

_INTERRUPTED: Final = 130
_EVERY: Final = 0.1  # of the releases, between two lines of progress off a terminal


@click.command()
@traffic_options
@click.option("--lift", metavar="X", help="The canary's errors are X times the baseline's (default: 1).")
@click.option("--slower", metavar="X", help="All its answers take X times as long (default: 1).")
@click.option("--tail", metavar="P", help="This share of its answers takes ten times as long (default: 0).")
@click.option(
    "--onset", metavar="TIME", help="The fault begins so long after the first weight (default: 0s)."
)
@click.option("--burst-gap", metavar="TIME", help="Each pod has bursts of errors, so far apart on average.")
@click.option("--shock-gap", metavar="TIME", help="All pods of both versions have such bursts together.")
@click.option("--canary-pods", metavar="N", help="Pods of the canary (default: 2).")
@click.option("--baseline-pods", metavar="N", help="Pods of the running version (default: 6).")
@click.option("--runs", default="1000", show_default=True, metavar="N", help="Releases to play.")
@click.option("--seed", default="1", show_default=True, metavar="N", help="Other seeds play other releases.")
@click.option("--workers", metavar="N", help="Processes (default: one per core).")
@click.option("--policy", "name", metavar="NAME", help="Default: default-policy.")
@click.option(
    "--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change a key of the policy. Repeatable."
)
@config_option
@click.option(
    "--record",
    "recording",
    metavar="FILE",
    type=click.Path(path_type=Path),
    help="Write the first release's intervals, for `canaryd replay`.",
)
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result."
)
def simulate(
    *,
    rps: str | None,
    error_rate: str | None,
    p50: str | None,
    p99: str | None,
    runs: str,
    seed: str,
    workers: str | None,
    name: str | None,
    sets: tuple[str, ...],
    file: Path | None,
    recording: Path | None,
    output: str,
    **fault: str | None,
) -> None:
    """Play a policy against a chosen fault, a thousand times, and tell what becomes of the releases.

    Requests arrive independently, at a constant rate; the judge and the ladder are the policy's. The same seed
    plays the same releases, for every policy.

    \b
    Examples:
      canaryd simulate --rps 120 --error-rate 0.2%
      canaryd simulate --rps 120 --error-rate 0.2% --lift 3
      canaryd simulate --rps 30 --error-rate 1% --slower 1.5 --policy fast
      canaryd simulate --rps 120 --error-rate 1% --burst-gap 10m -o json
      canaryd simulate --rps 120 --error-rate 1% --lift 5 --record bad.jsonl

    Exit codes: 0 played, 1 the recording cannot be written, 2 wrong usage or configuration, 130 interrupted.
    """
    from analysis.simulation import summarise
    from canaryd.cli.policies import changed, policy_of, refuse, settings_of
    from canaryd.cli.simulate_screen import show
    from canaryd.cli.traffic import named_traffic, whole

    if rps is None or error_rate is None:
        refuse("name the traffic by --rps and --error-rate")
    settings = settings_of(file)
    policy = changed(policy_of(settings, name), sets)
    count = whole("--runs", runs, 1, 1_000_000)
    cores = whole("--workers", workers, 1, 256) if workers else os.cpu_count() or 1
    traffic = named_traffic(rps, error_rate, p50, p99)
    chosen = _simulation(policy, settings, traffic, fault, whole("--seed", seed, 0, 2**31))
    if recording is not None:
        _write(recording, chosen, policy.name)
    try:
        outcomes = _play(chosen, count, min(cores, count))
    except KeyboardInterrupt:
        click.echo("interrupted", err=True)
        sys.exit(_INTERRUPTED)
    summary = summarise(chosen, outcomes)
    if output == "json":
        click.echo(json.dumps(_document(chosen, policy.name, summary), indent=2))
    else:
        show(chosen, traffic, policy.name, summary)


def _simulation(
    policy: Policy, settings: Settings, traffic: Traffic, fault: Mapping[str, str | None], seed: int
) -> Simulation:
    """What the flags describe; ends with 2 where it cannot be."""
    from analysis.errors import BadConfig
    from analysis.judge_config import JudgeConfig
    from analysis.simulation import Simulation, scenario_of
    from canaryd.cli.policies import refuse
    from canaryd.cli.traffic import duration, ladder, number, proportion, whole

    read: Mapping[str, Callable[[str], Any]] = {
        "lift": lambda text: number("--lift", text, 0.01, 1000),
        "slower": lambda text: number("--slower", text, 0.01, 1000),
        "tail": lambda text: proportion("--tail", text),
        "onset": lambda text: duration("--onset", text, 0, 7 * 86400),
        "burst_gap": lambda text: duration("--burst-gap", text, 1, 7 * 86400),
        "shock_gap": lambda text: duration("--shock-gap", text, 1, 7 * 86400),
        "canary_pods": lambda text: whole("--canary-pods", text, 1, 100),
        "baseline_pods": lambda text: whole("--baseline-pods", text, 1, 100),
    }
    changes: dict[str, Any] = {field: read[field](text) for field, text in fault.items() if text is not None}
    config, climb = JudgeConfig(**policy.judge_arguments()), ladder(policy, settings)
    try:
        scenario = dataclasses.replace(scenario_of(traffic, climb, config), **changes)
    except BadConfig as error:
        refuse(f"--{str(error).replace('_', '-')}")
    return Simulation(scenario, config, climb, seed)


def _play(simulation: Simulation, runs: int, workers: int) -> list[Played]:
    """The releases, with progress on standard error."""
    from analysis.simulation import play_all
    from canaryd.cli.figures import clock, thousands

    played: list[Played] = []
    began, told, live = time.monotonic(), 0.0, sys.stderr.isatty()
    for batch in play_all(simulation, runs, workers):
        played += batch
        spent = time.monotonic() - began
        left = spent * (runs - len(played)) / len(played)
        line = f"{thousands(len(played))} of {thousands(runs)} releases, {clock(spent)}, about {clock(left)} left"
        if live:
            click.echo(f"\r{line}\033[K", nl=False, err=True)
        elif len(played) >= told + _EVERY * runs and left >= 1:
            click.echo(line, err=True)
            told = len(played)
    if live:
        click.echo("\r\033[K", nl=False, err=True)
    return played


def _write(path: Path, simulation: Simulation, policy: str) -> None:
    from analysis.replay import header_line, record_line
    from analysis.simulation import record

    recording = record(simulation, 0, "simulated", policy)
    lines = [header_line(recording.header), *map(record_line, recording.records)]
    try:
        path.write_text("\n".join(lines) + "\n")
    except OSError as error:
        click.echo(f"--record: {path}: {error.strerror}", err=True)
        sys.exit(1)


def _document(simulation: Simulation, policy: str, summary: Summary) -> dict[str, Any]:
    ends = {
        end: {"releases": count, "share": share, "low": low, "high": high}
        for end, (count, (share, low, high)) in summary.ends.items()
    }
    count, (share, low, high) = summary.protected
    return {
        "policy": policy,
        "seed": simulation.seed,
        "releases": summary.releases,
        "scenario": simulation.scenario.to_json(),
        "ends": ends,
        "protected": {"releases": count, "share": share, "low": low, "high": high},
        "failed": dataclasses.asdict(summary.failed),
        "failed_before_protected": dataclasses.asdict(summary.failed_before),
        "seconds_to_protect": summary.to_protect and dataclasses.asdict(summary.to_protect),
        "seconds_to_promote": summary.to_promote and dataclasses.asdict(summary.to_promote),
    }
