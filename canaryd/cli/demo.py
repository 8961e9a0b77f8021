"""`canaryd demo`: real releases in a sandbox on this machine."""

from __future__ import annotations

import json
import signal
import sys
import threading
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from canaryd.cli.demo_screen import Screen
    from canaryd.sandbox.cluster import Sandbox
    from canaryd.sandbox.outcome import Report
    from canaryd.sandbox.rehearsal import Rehearsal
    from canaryd.sandbox.scenarios import Scenario

STORY = ("errors", "healthy")


@click.command()
@click.option("--scenario", "name", help="Play one scenario (default: errors, then healthy). See --list.")
@click.option("--list", "list_", is_flag=True, help="Name the scenarios and end.")
@click.option(
    "--rps", default=300.0, show_default=True, type=click.FloatRange(1, 2000), help="Requests per second."
)
@click.option("--seed", default=1, show_default=True, help="Of the faults and of the requests' moments.")
@click.option(
    "--propagation",
    default=0.5,
    show_default=True,
    type=click.FloatRange(0, 30),
    help="Seconds that the mesh takes to follow a change.",
)
@click.option(
    "--json", "as_json", is_flag=True, help="End with one line of JSON per scenario; no live display."
)
@click.option("--keep", is_flag=True, help="Leave it up afterwards, until Ctrl-C.")
def demo(
    name: str | None, list_: bool, rps: float, seed: int, propagation: float, as_json: bool, keep: bool
) -> None:
    """Release a new version of an application with real traffic, and watch canaryd decide.

    Starts a cluster in a box on this machine: a Kubernetes API, a real Envoy, a real Prometheus, an
    application of four processes and users who ask it. Nothing leaves the machine and nothing is left on it.

    \b
    Examples:
      canaryd demo
      canaryd demo --scenario latency
      canaryd demo --scenario drift --keep
      canaryd demo --scenario errors --seed 7 --json

    \b
    Exit codes: 0 every scenario ended as it should, 1 one did not, 2 wrong usage.
    """
    from canaryd.sandbox.load import LoadError
    from canaryd.sandbox.processes import ProcessError
    from canaryd.sandbox.scenarios import SCENARIOS
    from canaryd.sandbox.tools import ToolError

    if list_:
        for scenario in SCENARIOS.values():
            click.echo(f"{scenario.name:18} {scenario.summary}; ends {scenario.outcome}")
        return
    if name is not None and name not in SCENARIOS:
        raise click.BadParameter(
            f'there is no "{name}"; there are {", ".join(SCENARIOS)}', param_hint="--scenario"
        )
    signal.signal(signal.SIGTERM, lambda *_: _stop(SystemExit(143)))
    if signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # the terminal was closed, and no nohup
        signal.signal(signal.SIGHUP, lambda *_: _stop(SystemExit(129)))
    signal.signal(signal.SIGINT, lambda *_: _stop(KeyboardInterrupt()))
    scenarios = [SCENARIOS[name] for name in ([name] if name else STORY)]
    try:
        expected = _play(scenarios, rps, seed, propagation, as_json=as_json, keep=keep)
    except KeyboardInterrupt:
        click.echo("stopped; everything is gone", err=True)
        sys.exit(130)
    except (LoadError, ProcessError, TimeoutError, ToolError) as error:
        click.echo(f"canaryd demo: {error}", err=True)
        sys.exit(1)
    sys.exit(0 if expected else 1)


def _stop(why: BaseException) -> None:
    """Begin to tidy up; a second Ctrl-C must not cut that short."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    raise why


def _play(
    scenarios: list[Scenario], rps: float, seed: int, propagation: float, *, as_json: bool, keep: bool
) -> bool:
    import logging

    import structlog

    from canaryd.cli.demo_screen import Screen
    from canaryd.sandbox.cluster import Sandbox
    from canaryd.sandbox.rehearsal import Rehearsal

    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    logging.disable(logging.CRITICAL)
    screen = Screen(live=not as_json)
    reports = []
    with Sandbox(propagation=propagation, report=screen.say) as box:
        rehearsal = Rehearsal(box, rps=rps, seed=seed)
        screen.say(f"the application, canaryd, and {rps:g} requests per second")
        try:
            rehearsal.begin(scenarios[0].policy, traffic=scenarios[0].traffic)
            for scenario in scenarios:
                with screen.watch(scenario) as watch:
                    reports.append(rehearsal.play(scenario, watch))
                _tell(reports[-1], screen, as_json=as_json)
            if not as_json:
                screen.table(reports)
            if keep:
                _keep(box, rehearsal, screen)
        finally:
            rehearsal.end()
    if as_json:
        for report in reports:
            click.echo(json.dumps(report.to_json()))
    return all(report.expected for report in reports)


def _tell(report: Report, screen: Screen, *, as_json: bool) -> None:
    for violation in report.violations:
        screen.say(f"invariant broken: {violation}")
    for misrouted in report.misrouted:
        screen.say(f"beyond the canary's share: {misrouted}")
    if not report.expected and report.left:
        screen.say(f"not as before: {'; '.join(report.left)}")
    if not as_json:
        screen.outcome(report)


def _keep(box: Sandbox, rehearsal: Rehearsal, screen: Screen) -> None:
    """Leave it up until Ctrl-C."""
    screen.say("")
    screen.say(f"kubeconfig   {box.kubeconfig}")
    screen.say(f"Prometheus   {box.prometheus.url}")
    screen.say(f"traffic      {box.mesh.url} (Host: {rehearsal.host})")
    screen.say(f"log          {rehearsal.daemon.log}")
    screen.say(f"try          kubectl --kubeconfig {box.kubeconfig} -n shop get deploy,pods,vs,dr,crun")
    screen.say(
        f"             kubectl --kubeconfig {box.kubeconfig} -n shop set env deploy/checkout VERSION=v9 ERROR_RATE=0.05"
    )
    screen.say("Ctrl-C ends it.")
    threading.Event().wait()
