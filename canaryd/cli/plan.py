"""`canaryd plan`: before a release, what the policy will see at this traffic."""

from __future__ import annotations

import dataclasses
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from canaryd.cli.policies import config_option
from canaryd.cli.traffic import traffic_options

if TYPE_CHECKING:
    from canaryd.cli.foresight import Foresight

_KINDS = ("deployment", "deployments", "deploy")


@click.command()
@click.argument("target", metavar="[deployment/NAME]", required=False)
@traffic_options
@click.option("-n", "--namespace", default="default", show_default=True, help="The Deployment's.")
@click.option("--window", default="1h", show_default=True, help="How far back its traffic is looked at.")
@click.option("--policy", "name", metavar="NAME", help="Default: the Deployment's, or default-policy.")
@click.option(
    "--set", "sets", metavar="KEY=VALUE", multiple=True, help="Change a key of the policy. Repeatable."
)
@config_option
@click.option(
    "--kubeconfig", type=click.Path(path_type=Path), help="Default: $KUBECONFIG, ~/.kube/config, in-cluster."
)
@click.option("--context", help="A context of the kubeconfig.")
@click.option("--prometheus", "prometheus_url", metavar="URL", help="Overrides prometheus.url.")
@click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result."
)
def plan(
    *,
    target: str | None,
    rps: str | None,
    error_rate: str | None,
    p50: str | None,
    p99: str | None,
    namespace: str,
    window: str,
    name: str | None,
    sets: tuple[str, ...],
    file: Path | None,
    kubeconfig: Path | None,
    context: str | None,
    prometheus_url: str | None,
    output: str,
) -> None:
    """Tell before a release what the policy will notice, how soon, at what cost, and when it promotes.

    For a traffic that you name, or for that of a Deployment, which Prometheus knows. The figures are
    expectations, for independent requests at a constant rate.

    \b
    Examples:
      canaryd plan --rps 120 --error-rate 0.2%
      canaryd plan --rps 5 --error-rate 0.01 --policy fast
      canaryd plan --rps 120 --error-rate 0.2% --p99 900ms --set step-min=5m
      canaryd plan deployment/checkout -n shop --prometheus http://localhost:9090

    Exit codes: 0 the policy decides at this traffic, 1 it does not within its deadline, or the traffic cannot
    be looked up, 2 wrong usage or configuration.
    """
    from canaryd.cli.foresight import foresee
    from canaryd.cli.policies import changed, policy_of, refuse, settings_of
    from canaryd.cli.traffic import duration, named_traffic

    given = [
        flag
        for flag, value in (("--rps", rps), ("--error-rate", error_rate), ("--p50", p50), ("--p99", p99))
        if value
    ]
    if target is not None and given:
        refuse(f"{given[0]}: not together with a Deployment, whose traffic is looked up")
    settings = settings_of(file, {"prometheus.url": prometheus_url})
    if target is not None:
        from canaryd.cli.observed import observe

        seconds = duration("--window", window, 120.0, 7 * 86400.0)
        deployment = namespace, _deployment(target)
        observed = observe(settings, (kubeconfig, context), deployment, name, seconds)
        source = f"{'/'.join(deployment)}, the last {window}, {observed.pods} pods"
        traffic, policy = observed.traffic, observed.policy
    elif rps is not None and error_rate is not None:
        source, traffic, policy = "", named_traffic(rps, error_rate, p50, p99), policy_of(settings, name)
    else:
        refuse("name the traffic by --rps and --error-rate, or a Deployment as deployment/NAME")
    foresight = foresee(changed(policy, sets), settings, traffic, source)
    if output == "json":
        click.echo(json.dumps(_document(foresight), indent=2))
    else:
        from canaryd.cli.plan_screen import show

        show(foresight)
    sys.exit(0 if foresight.plan.promotion.likely else 1)


def _deployment(target: str) -> str:
    from canaryd.cli.policies import refuse

    kind, slash, name = target.partition("/")
    if not slash or not name or kind not in _KINDS:
        refuse(f'"{target}" is not allowed; allowed is deployment/NAME, such as deployment/checkout')
    return name


def _document(foresight: Foresight) -> dict[str, Any]:
    plan = foresight.plan
    traffic = dataclasses.asdict(foresight.planner.traffic)
    return {
        "policy": foresight.policy.name,
        "source": foresight.source or None,
        "traffic": traffic,
        "decides": plan.promotion.likely,
        "plan": dataclasses.asdict(plan),
        "narrowest_tolerances": foresight.narrowest,
        "changes": [
            {"set": dict(change.sets), "policy": change.policy, "rps": change.rps, "seconds": change.seconds}
            for change in foresight.changes
        ],
    }
