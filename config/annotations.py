"""The annotations `canaryd.io/...` of a Deployment: what they ask for, or all that is wrong with them.

A malformed value stops that Deployment alone. Values are taken literally: "true" and "false" in these
spellings, durations and lists as in the YAML of a policy.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

from config.annotation_table import ANNOTATIONS, ELSEWHERE, POLICY_ANNOTATIONS, PREFIX
from config.policy import Contradiction, Policy
from config.policy_knobs import POLICY_KNOBS
from config.problems import MalformedError, did_you_mean, nearest, not_allowed, shown


@dataclass(frozen=True, slots=True)
class AnnotationError:
    """One annotation that cannot be used: its full name, its value, and what is allowed instead.

    `fault` is set where not the value but the annotation itself is wrong.
    """

    annotation: str
    value: str
    allowed: str = ""
    fault: str = ""

    def __str__(self) -> str:
        return f"{self.annotation}: {self.fault or not_allowed(shown(self.value), self.allowed)}"


@dataclass(frozen=True, slots=True)
class VirtualServiceRef:
    """A VirtualService by name; `namespace` is None for the Deployment's own."""

    namespace: str | None
    name: str


@dataclass(frozen=True, slots=True)
class Managed:
    """What the annotations of one Deployment say.

    `policy_name` None means the default policy; `overrides` holds (policy field, value) pairs in the order
    of `POLICY_KNOBS`. `abort` is a revision, "true" for whichever runs, or "" for none.
    """

    enabled: bool = False
    policy_name: str | None = None
    overrides: tuple[tuple[str, Any], ...] = ()
    service: str | None = None
    virtual_service: VirtualServiceRef | None = None
    routes: tuple[str, ...] = ()
    accept: frozenset[str] = frozenset()
    retry: str = ""
    skip: str = ""
    pause: bool = False
    abort: str = ""
    slack_channel: str = ""
    image_repository: str = ""


def parse(
    annotations: Mapping[str, str], *, checks: Collection[str] | None = None
) -> Managed | tuple[AnnotationError, ...]:
    """What `annotations` ask for, or everything that is wrong with them.

    `checks` are the names of preflight checks that `canaryd.io/accept` may list (None: any). Without
    `canaryd.io/enabled: "true"` the others are not looked at, save for a misspelt `enabled`.
    """
    ours = {name[len(PREFIX) :]: text for name, text in annotations.items() if name.startswith(PREFIX)}
    if "enabled" not in ours:
        misspelt = [name for name in ours if name not in _KNOWN and nearest(name, ("enabled",))]
        return tuple(_unknown(name, ours[name]) for name in misspelt) or Managed()
    values, faults = _read(ours)
    if values.get("enabled") is False:
        return Managed()
    faults += _unheard_of(values.get("accept", ()), ours, checks)
    return tuple(faults) if faults else _managed(values)


def resolve(
    managed: Managed, policies: Mapping[str, Policy], default: str = "standard"
) -> Policy | tuple[AnnotationError, ...]:
    """The policy for a run of this Deployment: the named one (or `default`) with its overrides."""
    name = managed.policy_name or default
    if name not in policies:
        allowed = (
            "a policy of the configuration: " + ", ".join(sorted(policies)) + did_you_mean(name, policies)
        )
        return (AnnotationError(PREFIX + "policy", name, allowed),)
    overrides = dict(managed.overrides)
    policy = dataclasses.replace(policies[name], **overrides)
    return tuple(_clash(clash, policy, overrides) for clash in policy.contradictions()) or policy


def _clash(clash: Contradiction, policy: Policy, overrides: Mapping[str, Any]) -> AnnotationError:
    """The error at an annotation that takes part in `clash`, with what the other values are."""
    knobs = [knob for knob in POLICY_KNOBS if knob.key in clash.keys]
    culprit = next((knob for knob in knobs if knob.field in overrides), knobs[0])
    values = {knob.key: knob.kind.spell(getattr(policy, knob.field)) for knob in knobs}
    facts = ", ".join(f"{key} is {value}" for key, value in values.items())
    fault = f"with policy {policy.name}, {facts}: {clash.rule}"
    return AnnotationError(PREFIX + culprit.key, values[culprit.key], fault=fault)


_KNOWN = ANNOTATIONS.keys() | POLICY_ANNOTATIONS.keys() | ELSEWHERE.keys()


def _read(ours: Mapping[str, str]) -> tuple[dict[str, Any], list[AnnotationError]]:
    """Every value that its kind takes, and a fault for every other annotation; names without the prefix."""
    values: dict[str, Any] = {}
    faults: list[AnnotationError] = []
    for name, text in sorted(ours.items()):
        knob = ANNOTATIONS.get(name) or POLICY_ANNOTATIONS.get(name)
        if knob is None:
            faults.append(_unknown(name, text))
            continue
        try:
            values[name] = knob.kind.parse(text)
        except MalformedError as fault:
            faults.append(AnnotationError(PREFIX + name, text, fault.allowed))
    return values, faults


def _managed(values: Mapping[str, Any]) -> Managed:
    fields = {knob.field: values[name] for name, knob in ANNOTATIONS.items() if name in values}
    fields["policy_name"] = fields.pop("policy", None)
    fields["accept"] = frozenset(fields.get("accept", ()))
    if "virtual_service" in fields:
        namespace, _, name = fields["virtual_service"].rpartition("/")
        fields["virtual_service"] = VirtualServiceRef(namespace or None, name)
    if fields.get("abort") == "false":
        fields["abort"] = ""
    fields["overrides"] = tuple(
        (knob.field, values[knob.key])
        for knob in POLICY_KNOBS
        if knob.key in values and knob.key in POLICY_ANNOTATIONS
    )
    return Managed(**fields)


def _unknown(name: str, text: str) -> AnnotationError:
    fault = ELSEWHERE.get(name) or "there is no such annotation" + did_you_mean(name, _KNOWN, prefix=PREFIX)
    return AnnotationError(PREFIX + name, text, fault=fault)


def _unheard_of(
    accepted: Collection[str], ours: Mapping[str, str], checks: Collection[str] | None
) -> list[AnnotationError]:
    """A fault for each accepted check that does not exist."""
    if checks is None:
        return []
    known = "the checks are " + ", ".join(sorted(checks))
    return [
        AnnotationError(
            PREFIX + "accept",
            ours["accept"],
            fault=f'there is no check "{name}"; {known}{did_you_mean(name, checks)}',
        )
        for name in accepted
        if name not in checks
    ]
