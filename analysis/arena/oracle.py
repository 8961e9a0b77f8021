"""The oracle: Wald's sequential tests, told the true rates. No judge can have that; it shows what there is to win."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

from analysis import JudgeConfig
from analysis.arena.canaryd import standard_ladder
from analysis.arena.contender import Climb, Decision
from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Tick, total
from analysis.arena.truth import (
    Boundary,
    errors_harmful,
    exceedances,
    harm_nulls,
    is_harmful,
    is_unsafe,
    latency_harmful,
    nearest,
    slow_edges,
    unsafe_null,
    with_odds,
)
from analysis.counts import Counts
from analysis.harm import tolerated_excess

_BEYOND: Final = 2.0  # in a harmless release it looks for errors twice beyond the tolerances


@dataclass(slots=True)
class _Bet:
    """The likelihood ratio of rates (canary, baseline) that are told at each interval against a null's nearest point."""

    null: Boundary
    log_wealth: float = 0.0

    def take(self, weight: float, rates: tuple[float, float], arms: list[tuple[int, int]]) -> None:
        """arms: bad events and requests of canary and baseline."""
        point = nearest(weight, *rates, self.null)
        for (bad, requests), rate, other in zip(arms, rates, (point.canary, point.baseline), strict=True):
            self.log_wealth += bad * math.log(rate / other) if bad else 0.0
            self.log_wealth += (requests - bad) * (math.log1p(-rate) - math.log1p(-other))


@dataclass(slots=True)
class _Metric:
    """A proportion that is tested. edge: index of a latency edge, None for errors; rates: the canary's if the fault
    is there, and the baseline's, None for errors, whose rates come with the interval."""

    edge: int | None
    rates: tuple[float, float] | None
    harm: list[_Bet] = field(default_factory=list)
    safe: list[_Bet] = field(default_factory=list)

    def counts(self, arm: Counts) -> tuple[int, int]:
        """Bad events and requests."""
        if self.edge is None:
            return arm.errors, arm.requests
        return sum(arm.latency[self.edge + 1 :]), sum(arm.latency)


class Oracle:
    """Rolls back when the truth is 1/alpha times likelier than every null of harm, promotes when it is 1/beta times
    likelier than the null of safety. Where the truth is harmless it looks for a fault twice beyond the tolerances,
    and where it is unsafe for arms that are alike. Rises as canaryd does. Of a fault that begins
    late it knows that, too, and waits."""

    def __init__(self, scenario: Scenario, config: JudgeConfig) -> None:
        self._scenario, self._config = scenario, config
        self._ladder = standard_ladder(scenario)
        self._climb = Climb()
        excess = scenario.base_rate * (scenario.lift - 1)
        tolerated = tolerated_excess(scenario.base_rate, config.harm_ratio, config.harm_delta)
        self._at_risk = scenario.rps * max(0.0, excess - tolerated)  # per second at full weight
        self._harmful, self._unsafe = errors_harmful(scenario, config), is_unsafe(scenario, config)
        harm = [] if latency_harmful(scenario, config) and not self._harmful else list(harm_nulls(config))
        errors = _Metric(None, None, [_Bet(null) for null in harm], [_Bet(unsafe_null(config))])
        self._metrics = [errors, *self._slow_metrics()]
        self._bets_from = scenario.onset if is_harmful(scenario, config) else 0.0

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return self._climb.weight

    def look(self, tick: Tick) -> Decision:
        """Tests after every interval that is not in quarantine."""
        if tick.interval is None or not tick.judged:
            return "continue"
        if tick.end <= self._bets_from:
            self._rise(tick)
            return "continue"
        canary, baseline = (total(arm.values()) for arm in (tick.interval.canary, tick.interval.baseline))
        for metric in self._metrics:
            arms = [metric.counts(canary), metric.counts(baseline)]
            for bets, rates in zip((metric.harm, metric.safe), self._assumed(metric, tick), strict=True):
                for bet in bets:
                    bet.take(self.weight, rates, arms)
        harm = [min(bet.log_wealth for bet in metric.harm) for metric in self._metrics if metric.harm]
        safe = min(bet.log_wealth for metric in self._metrics for bet in metric.safe)
        if max(harm) >= -math.log(self._config.alpha):
            return "rollback"
        if safe >= -math.log(self._config.beta):
            return "promote"
        self._rise(tick)
        return "continue"

    def _rise(self, tick: Tick) -> None:
        """As canaryd, but for knowing how many requests the fault will fail at the next step."""
        climb, ladder = self._climb, self._ladder
        at_risk = self._at_risk * climb.following * ladder.exposure
        if not climb.at_top and tick.end - climb.since >= ladder.step_min and at_risk <= ladder.harm_budget:
            climb.rise(tick.end)

    def _assumed(self, metric: _Metric, tick: Tick) -> tuple[tuple[float, float], tuple[float, float]]:
        """The rates that the bets on harm and on safety assume."""
        canary, baseline = metric.rates or tick.rates
        safe = (baseline if self._unsafe else canary), baseline
        if metric.rates is not None or self._harmful:
            return (canary, baseline), safe
        sought = max(
            with_odds(1 + _BEYOND * (self._config.harm_ratio - 1), baseline),
            baseline + _BEYOND * self._config.harm_delta,
        )
        return (sought, baseline), safe

    def _slow_metrics(self) -> list[_Metric]:
        """The edges that decide safety, and the one that tells most of a fault in latency."""
        if not self._scenario.latency:
            return []
        config = self._config
        usual, faulted = exceedances(self._scenario)
        rates = [(float(canary), float(baseline)) for baseline, canary in zip(usual, faulted, strict=True)]
        unsafe = Boundary(config.slow_safe_ratio, config.slow_safe_delta)
        metrics = [_Metric(i, rates[i], [], [_Bet(unsafe)]) for i in slow_edges(usual)]
        if latency_harmful(self._scenario, config):
            null = Boundary(config.slow_ratio)
            beyond = [
                i
                for i, (canary, baseline) in enumerate(rates)
                if canary > with_odds(config.slow_ratio, baseline)
            ]
            loudest = max(beyond, key=lambda i: nearest(0.1, *rates[i], null).information)
            metrics.append(_Metric(loudest, rates[loudest], [_Bet(null)], []))
        return metrics
