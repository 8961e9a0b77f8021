"""One release from its start to its end, by one judge."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from analysis import JudgeConfig
from analysis.arena.judges import enter
from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Release, Tick
from analysis.arena.truth import harm_nulls, nearest


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a release ended. Seconds since its start.

    end: what ended it; ended: when; protected: when the judge first retreated or rolled back (None: never; before the
    fault began it does not count); excess_failed: requests expected to have failed because of the fault, up to the
    deadline where the release was promoted; information: nats that the judged counts were expected to hold against
    "harmless" until the judge protected, or until the end.
    """

    end: Literal["rollback", "promote", "deadline"]
    ended: float
    protected: float | None
    excess_failed: float
    information: float


def play(judge: str, scenario: Scenario, config: JudgeConfig, seed: int | Sequence[int]) -> Outcome:
    """Play one release. Deterministic."""
    release, contender = Release(scenario, seed), enter(judge, scenario, config)
    meter = _Meter(config)
    excess, protected = 0.0, None
    while (tick := release.tick(contender.weight)) is not None:
        excess += tick.excess_failed
        if protected is None:
            meter.read(tick)
        decision = contender.look(tick)
        if decision in ("retreat", "rollback") and protected is None and tick.end > scenario.onset:
            protected = tick.end
        if decision == "promote":
            excess += release.excess_at_full_weight()
        if decision in ("promote", "rollback"):
            return Outcome(decision, tick.end, protected, excess, meter.information)
    return Outcome("deadline", scenario.deadline, protected, excess, meter.information)


@dataclass(slots=True)
class _Meter:
    """Adds up information against each of the two nulls that make a release harmless: both must be refuted."""

    config: JudgeConfig
    by_ratio: float = 0.0
    by_difference: float = 0.0

    @property
    def information(self) -> float:
        """Nats against the null that is the harder to refute."""
        return min(self.by_ratio, self.by_difference)

    def read(self, tick: Tick) -> None:
        """Counts of one judged interval, at the true rates."""
        interval, (canary, baseline) = tick.interval, tick.rates
        if interval is None or not tick.judged or canary <= baseline:
            return
        requests = sum(c.requests for arm in (interval.canary, interval.baseline) for c in arm.values())
        of_ratio, of_difference = (
            nearest(interval.weight, canary, baseline, null) for null in harm_nulls(self.config)
        )
        self.by_ratio += requests * of_ratio.information
        self.by_difference += requests * of_difference.information
