"""`canaryd config`: what a configuration file says, or everything that is wrong with it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

if TYPE_CHECKING:
    from collections.abc import Iterator

    from config import Policy, Problem, Settings

_OUTPUT = click.option(
    "-o", "--output", type=click.Choice(["text", "json"]), default="text", help="How to print the result."
)


@click.group()
def config() -> None:
    """Check a configuration file, or show what is in force.

    \b
    Examples:
      canaryd config check canaryd.yaml
      canaryd config show --config canaryd.yaml --policy payments
    """


@config.command(short_help="Name everything that is wrong with a file.")
@click.argument("file", type=click.Path(path_type=Path))
@_OUTPUT
def check(file: Path, output: str) -> None:
    """Say "ok" and what FILE amounts to, or name everything that is wrong with it.

    Only the file is looked at; CANARYD_... variables are left aside.

    \b
    Exit codes: 0 ok, 2 something is wrong.
    """
    from config import ConfigurationError
    from config.load import load

    try:
        settings = load(file)
    except ConfigurationError as fault:
        _report(fault.problems, output)
    if output == "json":
        click.echo(json.dumps({"ok": True, "problems": [], "settings": settings.to_document()}, indent=2))
    else:
        click.echo(_summary(file, settings))


@config.command(short_help="Print the settings in force.")
@click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="CANARYD_CONFIG",
    help="The configuration file.",
)
@click.option("--policy", "policy", metavar="NAME", help="Only this policy.")
@click.option(
    "-o", "--output", type=click.Choice(["yaml", "json"]), default="yaml", help="How to print the result."
)
def show(file: Path | None, policy: str | None, output: str) -> None:
    """Print the settings in force: defaults, the file, CANARYD_... variables. Secrets are redacted.

    \b
    Exit codes: 0 printed, 2 something is wrong with the configuration.
    """
    import os

    from config import ConfigurationError
    from config.load import load
    from config.settings import policy_document

    try:
        settings = load(file, os.environ)
    except ConfigurationError as fault:
        _report(fault.problems, "text")
    if policy is None:
        document = settings.to_document()
    elif policy in settings.policies:
        document = policy_document(settings.policies[policy])
    else:
        names = ", ".join(sorted(settings.policies))
        raise click.BadParameter(f"there is no policy {policy!r}; there are {names}", param_hint="--policy")
    click.echo(_rendered(document, output), nl=False)


def _rendered(document: dict[str, Any], output: str) -> str:
    if output == "json":
        return json.dumps(document, indent=2) + "\n"
    import yaml

    text: str = yaml.safe_dump(
        document, sort_keys=False, default_flow_style=None, width=100, allow_unicode=True
    )
    return text


def _report(problems: tuple[Problem, ...], output: str) -> NoReturn:
    """Print all problems and end with 2."""
    import dataclasses

    if output == "json":
        listed = [dataclasses.asdict(problem) | {"message": str(problem)} for problem in problems]
        click.echo(json.dumps({"ok": False, "problems": listed}, indent=2))
    else:
        for problem in problems:
            click.echo(str(problem), err=True)
        noun = "problem" if len(problems) == 1 else "problems"
        click.echo(f"{len(problems)} {noun}", err=True)
    raise SystemExit(2)


def _summary(file: Path, settings: Settings) -> str:
    from config.quantities import spell_seconds

    where = ", ".join(settings.namespaces) or "all"
    lines = [
        f"{file}: ok",
        f"  prometheus  {settings.prometheus.url}",
        f"  namespaces  {where}",
        f"  gate        {settings.gate}",
        "  policies",
    ]
    for name, policy in sorted(settings.policies.items()):
        mark = " (default)" if name == settings.default_policy else ""
        steps = ", ".join(map(str, policy.steps))
        own = "".join(f"; {kind} {', '.join(names)}" for kind, names in _own_metrics(policy) if names)
        lines.append(
            f"    {name}{mark}: steps {steps} %; each at least {spell_seconds(policy.step_min)}{own}"
        )
    return "\n".join(lines)


def _own_metrics(policy: Policy) -> Iterator[tuple[str, list[str]]]:
    """The names of its own metrics, by what they are."""
    from config.metrics import ProportionMetric

    proportions = [one.name for one in policy.metrics if isinstance(one, ProportionMetric)]
    yield "proportions", proportions
    yield "thresholds", [one.name for one in policy.metrics if one.name not in proportions]
