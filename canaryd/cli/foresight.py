"""A policy's plan for a traffic, and what would help where it cannot decide, in the words of policies."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from analysis.judge_config import JudgeConfig
from analysis.plan import Plan, Traffic
from analysis.planner import Planner
from analysis.remedies import narrowest_tolerances, remedies
from canaryd.cli.policies import judge_fields, spelt
from canaryd.cli.traffic import ladder
from config import Policy, Settings


@dataclass(frozen=True, slots=True)
class Change:
    """What would make it decide, alone: keys of the policy with their new values, or another policy, or as many
    requests per second; and the mean seconds that a harmless release takes then."""

    seconds: float
    sets: Mapping[str, str] = dataclasses.field(default_factory=dict)
    policy: str | None = None
    rps: float | None = None


@dataclass(frozen=True, slots=True)
class Foresight:
    """The plan, for which policy and which traffic (`source`: where that was seen, "" if it was named).

    narrowest: the narrowest usual safe tolerances of errors that this traffic allows, ratio and difference.
    """

    policy: Policy
    source: str
    planner: Planner
    plan: Plan
    narrowest: tuple[float, float] | None
    changes: tuple[Change, ...]


def foresee(policy: Policy, settings: Settings, traffic: Traffic, source: str) -> Foresight:
    """Plan, and look for changes where the policy does not decide."""
    planner = _planner(policy, settings, traffic)
    plan = planner.plan()
    changes: tuple[Change, ...] = ()
    if not plan.promotion.likely:
        changes = (*_remedies(planner), *_policies(policy, settings, traffic))
    return Foresight(policy, source, planner, plan, narrowest_tolerances(planner), changes)


def _planner(policy: Policy, settings: Settings, traffic: Traffic) -> Planner:
    return Planner(JudgeConfig(**policy.judge_arguments()), ladder(policy, settings), traffic)


def _remedies(planner: Planner) -> Iterator[Change]:
    for remedy in remedies(planner):
        changed, seconds = remedy.planner, remedy.promotion.seconds
        assert seconds is not None
        sets = {
            field.replace("_", "-"): spelt(field.replace("_", "-"), getattr(changed.config, place))
            for field, place in judge_fields().items()
            if getattr(changed.config, place) != getattr(planner.config, place)
        }
        if changed.ladder.harm_budget != planner.ladder.harm_budget:
            sets["harm-budget"] = spelt("harm-budget", changed.ladder.harm_budget)
        more = changed.traffic.rps != planner.traffic.rps
        yield Change(seconds, sets, rps=changed.traffic.rps if more else None)


def _policies(policy: Policy, settings: Settings, traffic: Traffic) -> Iterator[Change]:
    """The other policies that decide at this traffic."""
    for name, other in sorted(settings.policies.items()):
        if name != policy.name:
            _, promotion = _planner(other, settings, traffic).promotion()
            if promotion.likely and promotion.seconds is not None:
                yield Change(promotion.seconds, policy=name)
