"""The policy that a command is asked to look at, and the judge's knobs under the names that policies have."""

from __future__ import annotations

import dataclasses
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn, cast

import click

if TYPE_CHECKING:
    from analysis.judge_config import JudgeConfig
    from config import Policy, Settings
    from config.policy import Contradiction

config_option = click.option(
    "--config",
    "file",
    type=click.Path(path_type=Path),
    envvar="CANARYD_CONFIG",
    help="The configuration file (default: none, the shipped policies).",
)


def refuse(message: str) -> NoReturn:
    """Wrong usage: say so and end with 2."""
    click.echo(message, err=True)
    sys.exit(2)


def settings_of(file: Path | None, overrides: Mapping[str, Any] | None = None) -> Settings:
    """The settings in force, as `canaryd run` has them; ends with 2 where they cannot be used."""
    from config import ConfigurationError
    from config.load import load

    try:
        return load(file, os.environ, overrides or {})
    except ConfigurationError as fault:
        refuse(str(fault))


def policy_of(settings: Settings, name: str | None) -> Policy:
    """The policy of that name, or the default one; ends with 2 where there is none."""
    from config.problems import did_you_mean

    wanted = name if name is not None else settings.default_policy
    if wanted not in settings.policies:
        known = ", ".join(sorted(settings.policies))
        hint = did_you_mean(wanted, settings.policies)
        refuse(f'--policy: there is no policy "{wanted}"; there are {known}{hint}')
    return settings.policies[wanted]


def changed(policy: Policy, sets: tuple[str, ...]) -> Policy:
    """`policy` with texts such as "step-min=30s" applied; ends with 2 where that gives no policy."""
    policy = dataclasses.replace(policy, **_fields(sets))
    for clash in policy.contradictions():
        _refuse_clash(policy, clash)
    return policy


def changed_judge(judge: JudgeConfig, sets: tuple[str, ...]) -> JudgeConfig:
    """`judge` with texts such as "alpha=0.001" applied; ends with 2 where that gives no judge."""
    from config import SHIPPED

    places, values = judge_fields(), _fields(sets)
    for field in values.keys() - places.keys():
        keys = ", ".join(name.replace("_", "-") for name in places)
        refuse(f"--set: the judge does not look at {field.replace('_', '-')}; it looks at {keys}")
    before = {field: getattr(judge, place) for field, place in places.items()}
    policy = dataclasses.replace(SHIPPED["standard"], **{**before, **values})
    for clash in policy.contradictions():
        if all(key.replace("-", "_") in places for key in clash.keys):
            _refuse_clash(policy, clash)
    return dataclasses.replace(judge, **{places[field]: value for field, value in values.items()})


def _refuse_clash(policy: Policy, clash: Contradiction) -> NoReturn:
    values = ", ".join(f"{key} is {spelt(key, getattr(policy, key.replace('-', '_')))}" for key in clash.keys)
    refuse(f"--set: {clash.rule} ({values})")


def judge_fields() -> Mapping[str, str]:
    """Where each field of a policy goes in JudgeConfig: "max_error_ratio" -> "harm_ratio", ..."""
    from config import Policy

    # A policy whose values are its fields' own names tells. Metrics are more than one value.
    marked: dict[str, Any] = {f.name: f.name for f in dataclasses.fields(Policy) if f.name != "metrics"}
    arguments = cast("Mapping[str, str]", Policy(**marked).judge_arguments())
    return {field: argument for argument, field in arguments.items() if field}


def spelt(key: str, value: Any) -> str:
    """A value of a policy's knob as people write it: ("deadline", 7200.0) -> "2h"."""
    from config.policy_knobs import POLICY_KNOBS

    (knob,) = (knob for knob in POLICY_KNOBS if knob.key == key)
    return knob.kind.spell(value) or "none"


def _fields(sets: tuple[str, ...]) -> dict[str, Any]:
    from config.policy_knobs import POLICY_KNOBS
    from config.problems import MalformedError, did_you_mean, not_allowed, shown

    knobs = {knob.key: knob for knob in POLICY_KNOBS}
    values: dict[str, Any] = {}
    for text in sets:
        key, equals, value = (part.strip() for part in text.partition("="))
        if not equals:
            refuse(f'--set: "{text}" is not allowed; allowed is KEY=VALUE, such as alpha=0.001')
        if key not in knobs:
            hint = did_you_mean(key, knobs) or f"; there are {', '.join(knobs)}"
            refuse(f'--set: a policy has no key "{key}"{hint}')
        try:
            values[knobs[key].field] = knobs[key].kind.parse(value)
        except MalformedError as fault:
            refuse(f"--set: {key}: {not_allowed(shown(value), fault.allowed)}")
    return values
