"""What to change where a policy cannot show a harmless release to be safe before its deadline.

Safe tolerances follow traffic: evidence against a wide tolerance comes sooner. Each remedy is a change that
would do alone, found by planning with it; none changes what counts as harm.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from analysis.errors import BadConfig
from analysis.judge_config import JudgeConfig
from analysis.plan import Promotion
from analysis.planner import Planner

# The usual safe tolerances, the narrowest first: ratio of odds, difference of rates. The first needs some 30
# requests a second within two hours, the second some 10.
TOLERANCES: Final = ((1.5, 0.001), (1.5, 0.002), (2.0, 0.005))
SLOW_TOLERANCES: Final = ((1.5, 0.005), (1.5, 0.01), (2.0, 0.02))

_HOUR: Final = 3600.0
_DEADLINES: Final = tuple(hours * _HOUR for hours in (0.5, 1, 2, 3, 4, 6, 8, 12, 24, 36, 48, 72, 120, 168))
_BUDGETS: Final = tuple(float(digit * 10**power) for power in range(6) for digit in (1, 2, 5))
_MOST_RPS: Final = 1e6
_PRECISION: Final = 1.05


@dataclass(frozen=True, slots=True)
class Remedy:
    """A change, as the planner that has it, and how a harmless release then ends."""

    planner: Planner
    promotion: Promotion


def remedies(planner: Planner) -> list[Remedy]:
    """Changes that would each make the policy decide; none where it does already."""
    _, promotion = planner.promotion()
    if promotion.likely:
        return []
    attempts = (
        _tolerances(planner, slow=promotion.because.startswith("latency")),
        _deadlines(planner),
        _budgets(planner) if promotion.because == "harm-budget" else iter(()),
        _traffic(planner),
    )
    outcomes = (((changed, changed.promotion()[1]) for changed in attempt) for attempt in attempts)
    found = (next((Remedy(*both) for both in outcome if both[1].likely), None) for outcome in outcomes)
    return [remedy for remedy in found if remedy is not None]


def narrowest_tolerances(planner: Planner) -> tuple[float, float] | None:
    """The narrowest of TOLERANCES with which the policy decides at this traffic; None if it does with none."""
    for ratio, delta in TOLERANCES:
        try:
            config = replace(planner.config, safe_ratio=ratio, safe_delta=delta)
        except BadConfig:
            continue  # not above what counts as harm
        if replace(planner, config=config).promotion()[1].likely:
            return ratio, delta
    return None


def _tolerances(planner: Planner, *, slow: bool) -> Iterator[Planner]:
    """Wider tolerances of what is missing, then of errors and latency both."""
    config = planner.config
    wider = [_wider(config, errors=None if slow else i, latency=i if slow else None) for i in range(3)]
    for changed in (*wider, *(_wider(config, errors=i, latency=i) for i in range(3))):
        if changed != config:
            yield replace(planner, config=changed)


def _wider(config: JudgeConfig, *, errors: int | None, latency: int | None) -> JudgeConfig:
    """With the tolerances of that index, where they are wider."""
    if errors is not None:
        ratio, delta = TOLERANCES[errors]
        config = replace(
            config, safe_ratio=max(ratio, config.safe_ratio), safe_delta=max(delta, config.safe_delta)
        )
    if latency is not None:
        ratio, delta = SLOW_TOLERANCES[latency]
        config = replace(
            config,
            slow_safe_ratio=max(ratio, config.slow_safe_ratio),
            slow_safe_delta=max(delta, config.slow_safe_delta),
        )
    return config


def _deadlines(planner: Planner) -> Iterator[Planner]:
    for deadline in _DEADLINES:
        if deadline > planner.config.horizon:
            yield replace(planner, config=replace(planner.config, horizon=deadline))


def _budgets(planner: Planner) -> Iterator[Planner]:
    for budget in _BUDGETS:
        if budget > planner.ladder.harm_budget:
            yield replace(planner, ladder=replace(planner.ladder, harm_budget=budget))


def _traffic(planner: Planner) -> Iterator[Planner]:
    """With the least traffic that does, to within 5 %; nothing where none does."""

    def at(rps: float) -> Planner:
        return replace(planner, traffic=replace(planner.traffic, rps=rps))

    low = high = planner.traffic.rps
    while not at(high).promotion()[1].likely:
        low, high = high, high * 2
        if high > _MOST_RPS:
            return
    while high > low * _PRECISION:
        middle = (low * high) ** 0.5
        low, high = (low, middle) if at(middle).promotion()[1].likely else (middle, high)
    yield at(high)
