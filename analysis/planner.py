"""Before a release: what a policy will notice at this traffic, how fast, at what cost, and when it promotes.

Everything is an expectation from closed forms (expected.py, growth.py), for independent requests at a constant
rate. A release climbs its ladder as the controller moves it: at each step the weight settles unjudged for
`shift` seconds, then intervals are judged, and the next step comes when the step has lasted long enough and a
fault that is still possible could not fail more requests than the harm budget before it would be seen.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import expit, logit

from analysis.expected import Stretch, Truth, harmful_edges, intervals_to_refute, noticed, shown_safe
from analysis.harm import tolerated_excess
from analysis.judge_config import JudgeConfig
from analysis.plan import LIFTS, RATES, SURE, Ladder, Noticed, Plan, Promotion, Step, Traffic

Floats = NDArray[np.float64]

_LEAST_REQUESTS: Final = 5  # of the canary, before a step is left
_MOST_INTERVALS: Final = 4000  # of a run; finer ones are taken together
_GREATEST_RATE: Final = 0.95
_GREATEST_SHIFT: Final = 100.0
_BISECTIONS: Final = 12
_ROUNDING: Final = 1e-6


@dataclass(frozen=True, slots=True)
class Rung:
    """A judged step as it is climbed: when its weight is set, what is judged then, and what it waits for."""

    start: float
    stretch: Stretch
    because: str


@dataclass(frozen=True, slots=True)
class Planner:
    """Plans for one policy and one traffic. `config.horizon` is the policy's deadline."""

    config: JudgeConfig
    ladder: Ladder
    traffic: Traffic

    def plan(self) -> Plan:
        """All of it: some tenths of a second."""
        rungs, promotion = self.promotion()
        return Plan(
            steps=(*self._judged_steps(rungs, promotion), *self._later_steps(len(rungs), promotion)),
            faults=tuple(self.fault(rate, lift) for rate, lift in self._faults()),
            promotion=promotion,
            tolerated=self.tolerated,
            least_rate=self._least_rate(lambda rate: self._race(self.traffic.truth(rate)).chance),
            least_shift=self._least_shift(lambda shift: self._race(self.traffic.truth(shift=shift)).chance),
        )

    @property
    def tolerated(self) -> float:
        """The greatest error rate of a canary that is no harm: either tolerance is kept."""
        return self.traffic.error_rate + self._tolerated_excess

    @property
    def _tolerated_excess(self) -> float:
        return tolerated_excess(self.traffic.error_rate, self.config.harm_ratio, self.config.harm_delta)

    def promotion(self) -> tuple[list[Rung], Promotion]:
        """How a harmless release climbs, the last judged step as long as it is expected to take; and its end."""
        rungs = self._climb(self.traffic.truth())
        if len(rungs) < len(self.ladder.judged):
            return rungs, Promotion(0.0, None, None, rungs[-1].because if rungs else "deadline")
        last, before = rungs[-1], sum(rung.stretch.intervals for rung in rungs[:-1])
        shown, because = self._shown_at_last(rungs)
        times = self._looks(rungs)[before:]
        expected = _mean(times, shown)
        if expected is None:
            return rungs, Promotion(float(shown[-1]), None, None, because)
        intervals = max(1, round((expected - last.start - self.ladder.shift) / self._seconds))
        rungs[-1] = replace(last, stretch=replace(last.stretch, intervals=intervals), because=because)
        rest = self.ladder.lag + len(self._watched) * self._watched_seconds
        late = float(times[np.argmax(shown >= SURE)]) + rest if shown[-1] >= SURE else None
        return rungs, Promotion(float(shown[-1]), expected + rest, late, because)

    def fault(self, rate: float, lift: float | None) -> Noticed:
        """What becomes of a release whose canary fails at `rate` from its first request on."""
        raced = self._race(self.traffic.truth(rate))
        return replace(raced, rate=rate, lift=lift, harmful=rate > self.tolerated)

    @property
    def _seconds(self) -> float:
        """Of an interval."""
        return max(self.ladder.interval, self.config.horizon / _MOST_INTERVALS)

    @property
    def _watched(self) -> tuple[float, ...]:
        return self.ladder.weights[len(self.ladder.judged) :]

    @property
    def _watched_seconds(self) -> float:
        held = math.ceil(self.ladder.step_min / self._seconds) * self._seconds
        return self.ladder.shift + held + self.ladder.lag

    def _faults(self) -> list[tuple[float, float | None]]:
        """Error rates of faults of the size LIFTS; of RATES where nothing fails yet."""
        usual = self.traffic.error_rate
        if usual == 0:
            return [(rate, None) for rate in RATES]
        return [(lift * usual, lift) for lift in LIFTS if lift * usual <= _GREATEST_RATE]

    def _climb(self, truth: Truth) -> list[Rung]:
        """The judged steps up to the one that is not left before the deadline; it lasts until then."""
        rungs: list[Rung] = []
        at, seconds = self.ladder.before, self._seconds
        for k, weight in enumerate(self.ladder.judged):
            room = math.floor((self.config.horizon - at - self.ladder.shift) / seconds)
            if room < 1:
                break
            stretch = Stretch(weight, room, self.traffic.rps * seconds, seconds, truth, rise=k)
            wait, because = self._wait(rungs, stretch)
            last = weight == self.ladder.judged[-1]
            intervals = room if last else min(room, math.ceil(min(wait, self.config.horizon) / seconds))
            rungs.append(Rung(at, replace(stretch, intervals=intervals), because))
            if wait > room * seconds:
                break
            at += self.ladder.shift + intervals * seconds + self.ladder.lag
        return rungs

    def _wait(self, rungs: Sequence[Rung], stretch: Stretch) -> tuple[float, str]:
        """Judged seconds before the step may be left, and what they are for."""
        waits = {
            "step-min": self.ladder.step_min,
            "requests": _LEAST_REQUESTS / (stretch.share * self.traffic.rps),
            "harm-budget": self._refuted_after([*(rung.stretch for rung in rungs), stretch]),
        }
        because = max(waits, key=lambda name: waits[name])
        return waits[because], because

    def _refuted_after(self, stretches: Sequence[Stretch]) -> float:
        """Judged seconds of the last stretch until a fault that would cost the harm budget is refuted."""
        higher = [weight for weight in self.ladder.judged if weight > stretches[-1].share]
        at_risk = self.traffic.rps * higher[0] * self.ladder.exposure if higher else 0.0
        if at_risk <= self.ladder.harm_budget:
            return 0.0
        excess = self._tolerated_excess + self.ladder.harm_budget / at_risk
        intervals = intervals_to_refute(excess, stretches)
        return math.inf if intervals is None else intervals * self._seconds

    def _looks(self, rungs: Sequence[Rung]) -> Floats:
        """When each judged interval ends, seconds from the start of the run."""
        spans = [np.arange(1, rung.stretch.intervals + 1) * self._seconds for rung in rungs]
        return np.concatenate(
            [rung.start + self.ladder.shift + span for rung, span in zip(rungs, spans, strict=True)]
        )

    def _shown_at_last(self, rungs: Sequence[Rung]) -> tuple[Floats, str]:
        """Chance that the last rung has been left upwards after each of its intervals; and what it waits for."""
        stretches = [rung.stretch for rung in rungs]
        before = sum(stretch.intervals for stretch in stretches[:-1])
        metrics = shown_safe(stretches, self.config, self.traffic.edges)
        shown = np.prod(list(metrics.values()), axis=0)[before:]
        here = np.arange(1, len(shown) + 1) * self._seconds
        floors = {
            "step-min": self.ladder.step_min,
            "min-judged": self.config.min_judged - before * self._seconds,
        }
        allowed = np.all([here >= floor - _ROUNDING for floor in floors.values()], axis=0)
        half = {name: _first(chance[before:] >= 1 / 2) for name, chance in metrics.items()}
        half |= {name: _first(here >= floor - _ROUNDING) for name, floor in floors.items()}
        return np.where(allowed, shown, 0.0), max(half, key=lambda name: half[name])

    def _race(self, truth: Truth) -> Noticed:
        """A release with a fault from its first request on: is it noticed, promoted, or neither in time?"""
        rungs = self._climb(truth)
        if not rungs:
            return Noticed(None, truth.canary, False, 0.0, None, 0.0)
        found = noticed([rung.stretch for rung in rungs], self.config)
        shown = np.zeros_like(found)
        if len(rungs) == len(self.ladder.judged):
            at_last, _ = self._shown_at_last(rungs)
            shown[-len(at_last) :] = at_last
        return self._outcome(truth, rungs, found, shown)

    def _outcome(self, truth: Truth, rungs: Sequence[Rung], found: Floats, shown: Floats) -> Noticed:
        """found, shown: chances that it has been noticed, and that it could have been promoted, at each look."""
        looks, ladder = self._looks(rungs), self.ladder
        counts = [rung.stretch.intervals for rung in rungs]
        cost = np.repeat([rung.stretch.share for rung in rungs], counts)
        cost = cost * self.traffic.rps * (truth.canary - truth.baseline)  # failed requests per second
        exposed = np.full(len(looks), self._seconds)
        exposed[np.cumsum([0, *counts[:-1]])] += ladder.shift + ladder.lag
        not_promoted = 1 - np.concatenate(([0.0], shown[:-1]))
        caught = np.diff(found, prepend=0.0) * not_promoted
        under_way = (1 - np.concatenate(([0.0], found[:-1]))) * not_promoted
        chance = float(caught.sum())
        half = np.searchsorted(np.cumsum(caught), chance / 2)
        return Noticed(
            lift=None,
            rate=truth.canary,
            harmful=True,
            chance=chance,
            seconds=float(caught @ looks) / chance + ladder.lag - ladder.before if chance >= 1 / 2 else None,
            failed=float(under_way @ (cost * exposed) + caught @ cost * ladder.lag),
            weight=float(np.repeat([rung.stretch.share for rung in rungs], counts)[half])
            if chance >= 1 / 2
            else 0.0,
            promoted=float(np.diff(shown, prepend=0.0) @ (1 - found)),
        )

    def _judged_steps(self, rungs: Sequence[Rung], promotion: Promotion) -> list[Step]:
        left = [True] * (len(rungs) - 1) + [promotion.seconds is not None]
        return [self._judged_step(rungs[: k + 1], left=left[k]) for k in range(len(rungs))]

    def _judged_step(self, rungs: Sequence[Rung], *, left: bool) -> Step:
        """The last of the rungs."""
        stretch, traffic = rungs[-1].stretch, self.traffic
        length = self.ladder.shift + stretch.intervals * stretch.seconds + self.ladder.lag
        return Step(
            weight=stretch.share,
            judged=True,
            seconds=length if left else None,
            because=rungs[-1].because,
            requests=stretch.share * stretch.requests * stretch.intervals,
            least_rate=self._least_rate(lambda rate: self._noticed_within(rungs, traffic.truth(rate))),
            least_shift=self._least_shift(lambda by: self._noticed_within(rungs, traffic.truth(shift=by))),
            faults=tuple(self._fault_at(rungs, rate, lift) for rate, lift in self._faults()),
        )

    def _later_steps(self, reached: int, promotion: Promotion) -> list[Step]:
        """The judged steps that are not reached, and those above."""
        length = self._watched_seconds if promotion.seconds is not None else None
        beyond = [Step(weight, True, None, "not reached") for weight in self.ladder.judged[reached:]]
        return beyond + [Step(weight, False, length, "watched") for weight in self._watched]

    def _noticed_within(self, rungs: Sequence[Rung], truth: Truth) -> float:
        """Chance that a fault that comes up at the last of the rungs is noticed at it."""
        stretches = [rung.stretch for rung in rungs]
        stretches[-1] = replace(stretches[-1], truth=truth)
        return float(noticed(stretches, self.config, onset=len(stretches) - 1)[-1])

    def _fault_at(self, rungs: Sequence[Rung], rate: float, lift: float | None) -> Noticed:
        """What becomes of a fault that comes up at the last of the rungs, if the release stays there."""
        truth, last = self.traffic.truth(rate), rungs[-1]
        room = math.floor((self.config.horizon - last.start - self.ladder.shift) / self._seconds)
        there = replace(last.stretch, truth=truth, intervals=max(room, 1))
        found = noticed([*(rung.stretch for rung in rungs[:-1]), there], self.config, onset=len(rungs) - 1)
        found = found[-there.intervals :]
        alone = replace(self, ladder=replace(self.ladder, before=0.0))
        outcome = alone._outcome(truth, [Rung(0.0, there, "")], found, np.zeros_like(found))
        return replace(outcome, lift=lift, harmful=rate > self.tolerated)

    def _least_rate(self, chance: Callable[[float], float]) -> float | None:
        low = max(self.tolerated, 1e-9)
        found = _least(
            lambda log_odds: chance(float(expit(log_odds))), float(logit(low)), float(logit(_GREATEST_RATE))
        )
        return None if found is None else float(expit(found))

    def _least_shift(self, chance: Callable[[float], float]) -> float | None:
        if self.config.latency_weight == 0 or not harmful_edges(self.traffic.slower):
            return None
        found = _least(lambda log_shift: chance(math.exp(log_shift)), 0.0, math.log(_GREATEST_SHIFT))
        return None if found is None else math.exp(found)


def _least(chance: Callable[[float], float], low: float, high: float) -> float | None:
    """The least argument above `low` whose chance is SURE, None if that of `high` is not."""
    if chance(high) < SURE:
        return None
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (low, middle) if chance(middle) >= SURE else (middle, high)
    return high


def _mean(times: Floats, chance: Floats) -> float | None:
    """The mean time of what has happened by the end, None where that is less likely than not."""
    if not len(chance) or chance[-1] < 1 / 2:
        return None
    return float(np.diff(chance, prepend=0.0) @ times / chance[-1])


def _first(reached: NDArray[np.bool_]) -> int:
    """The index of the first true entry, the length where there is none."""
    return int(np.argmax(reached)) if reached.any() else len(reached)
