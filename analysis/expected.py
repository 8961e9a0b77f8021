"""The judge's evidence as it is expected to grow: the mean path of its bets, and the chance that it is enough.

The judge bets on many alternatives at once, with stakes laid over time (wealth.py). On the mean path an
interval of n requests multiplies what lies on alternative j by exp(n g_j) (growth.py), and what the whole
mixture is worth follows exactly: it pays for its prior and its stakes at first, and in the end grows like its
best alternative. Around that path the best alternative's log factor walks with variance n v_j. So the chance
that the evidence has reached a threshold is that of a walk with mean n g_j that has to climb, besides the
threshold, what the mixture lacks of that alternative.

What a closed form cannot know was measured on the judge itself (tests/bench/planner_constants.py): how many
nats its evidence needs above that threshold (overshoot, rates that must be learned) or is spared (boosting).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammainc

from analysis import wealth
from analysis.confidence import EXCESS_GRID, LEVEL
from analysis.growth import Growth, Rates, chance_reached, difference_growth, ratio_growth
from analysis.harm import tolerated_excess
from analysis.judge_config import ERRORS, LATENCY, JudgeConfig
from analysis.metrics import shares
from analysis.projection import at_odds
from analysis.proportion import Proportions

Floats = NDArray[np.float64]

# Nats, measured.
RATIO_EXTRA: Final = -1.3
RATIO_OVERSHOOT: Final = 0.8  # per nat that a single bad event brings
DIFFERENCE_EXTRA: Final = 0.2
SLOW_EXTRA: Final = -2.2
SAFE_EXTRA: Final = -0.3
EXCESS_EXTRA: Final = 0.0
EXCESS_LEARNING: Final = 0.6  # what bets lose as the canary's rate is not known but learned from its past

_LOG_PRIOR_ALIKE: Final = math.log(0.5)  # half of the prior of safety is on "alike"
_EXCEEDANCE: Final = (0.002, 0.95)  # of the baseline, at edges that count for harm
_MOST_EDGES: Final = 8
_SLOW: Final = (0.5, 0.05)  # exceedance at the edges that decide safety unless they are named
_FIRST_RATE: Final = Proportions.start(1, 1).baseline_rate(0)  # what the first interval's bets take it for
_EDGES_AFTER: Final = 200  # requests of the baseline, after which latency edges are chosen and judged
_SHRINK: Final = 20.0  # requests at the baseline's rate that the canary's is shrunk by
_NOTHING: Final = -1e9  # log of a stake of nothing


@dataclass(frozen=True, slots=True)
class Truth:
    """What both arms do: rates of errors, 0..1, and of requests slower than each edge of the histogram."""

    canary: float
    baseline: float
    canary_slower: tuple[float, ...] = ()
    baseline_slower: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class Stretch:
    """Judged intervals at one share of the canary, 0..1, and one truth.

    intervals: how many; requests: of both arms in each; seconds: of each; rise: the how-many-th rise of the
    weight it begins with, 0 for none.
    """

    share: float
    intervals: int
    requests: float
    seconds: float
    truth: Truth
    rise: int = 0


@dataclass(frozen=True, slots=True)
class Walk:
    """A bet's mean path, after each interval: shape (intervals,).

    logs: log wealth; mean, variance: of the best alternative's log factor since the onset; lift: that of the best
    alternative.
    """

    logs: Floats
    mean: Floats
    variance: Floats
    lift: Floats

    def chance(self, log_threshold: float, extra: Floats | float) -> Floats:
        """Chance that the log wealth has been at the threshold by then."""
        lacking = np.maximum(self.mean - self.logs, 0.0)
        return chance_reached(self.mean, self.variance, log_threshold + extra + lacking)


def noticed(stretches: Sequence[Stretch], config: JudgeConfig, onset: int = 0) -> Floats:
    """Chance, after each interval, that the judge has found harm; shape (intervals,).

    onset: index of the stretch in which the fault begins.
    """
    errors = _errors_noticed(stretches, config, onset)
    slow = _slowness_noticed(stretches, config, onset)
    return np.asarray(np.maximum.accumulate(1 - (1 - errors) * (1 - slow)))


def shown_safe(
    stretches: Sequence[Stretch], config: JudgeConfig, edges: Sequence[float]
) -> dict[str, Floats]:
    """Chance, after each interval, that each metric is shown to be safe: "errors", "latency at 0.1 s", ..."""
    found = {"errors": _safe(stretches, _error_rates, (config.safe_ratio, config.safe_delta), config.beta)}
    if config.latency_weight > 0:
        slower = stretches[-1].truth.baseline_slower
        for index in deciding_edges(edges, slower, config.slow_edges):
            margins = config.slow_safe_ratio, config.slow_safe_delta
            unseen = _unseen(stretches)
            found[f"latency at {edges[index]:g} s"] = _safe(
                stretches, _slow_rates(index), margins, config.beta, unseen
            )
    return found


def intervals_to_refute(excess: float, stretches: Sequence[Stretch]) -> int | None:
    """Intervals of the last stretch until the upper limit of the excess rate is expected to be `excess` or less.

    0 where that is so before; None where it is not within the stretch, because the truth, or the grid of the
    limits, is above.
    """
    points = EXCESS_GRID[(EXCESS_GRID > 0) & np.less_equal(EXCESS_GRID, excess)]
    if excess >= 1 or not len(points):
        return 0 if excess >= 1 else None
    delta = float(points[-1])
    first = difference_growth(
        _error_rates(stretches[0]), delta, [_FIRST_RATE], harm=False, believed=_FIRST_RATE
    )
    grown = [difference_growth(_error_rates(s), delta, [s.truth.canary], harm=False) for s in stretches]
    gained = _each(stretches, [s.requests * float(g.mean[0]) for s, g in zip(stretches, grown, strict=True)])
    gained[0] = stretches[0].requests * float(first.mean[0])
    served = _each(stretches, [s.requests * s.share for s in stretches])
    past = np.cumsum(served) - served
    learning = EXCESS_LEARNING * served * past / (past + _SHRINK) ** 2
    there = np.cumsum(gained - learning) >= -math.log(1 - LEVEL) + EXCESS_EXTRA
    before = len(there) - stretches[-1].intervals
    if before and there[before - 1]:
        return 0
    return int(np.argmax(there[before:])) + 1 if there[before:].any() else None


def harmful_edges(slower: Sequence[float]) -> list[int]:
    """Indices of the edges that count for harm, for the baseline's exceedances."""
    return [i for i, rate in enumerate(slower) if _EXCEEDANCE[0] <= rate <= _EXCEEDANCE[1]]


def deciding_edges(edges: Sequence[float], slower: Sequence[float], named: Sequence[float]) -> list[int]:
    """Indices of the edges that decide safety: the named ones, or those nearest to the default exceedances."""
    inside = [i for i, rate in enumerate(slower) if 0 < rate < 1]
    if named:
        return [i for i in inside if any(math.isclose(edges[i], name, rel_tol=1e-9) for name in named)]
    if not inside:
        return []
    return sorted({min(inside, key=lambda i: abs(_logit(slower[i]) - _logit(wanted))) for wanted in _SLOW})


def _errors_noticed(stretches: Sequence[Stretch], config: JudgeConfig, onset: int) -> Floats:
    """Both tolerances must be exceeded, and the judge's guard be passed."""
    lifts, length = wealth.lifts(), sum(stretch.intervals for stretch in stretches)
    if stretches[-1].truth.canary == stretches[-1].truth.baseline:
        return np.zeros(length)

    def ratio(stretch: Stretch) -> Growth:
        return ratio_growth(_error_rates(stretch), config.harm_ratio, config.harm_ratio * lifts)

    def difference(stretch: Stretch) -> Growth:
        rates = _error_rates(stretch)
        alternatives = at_odds(lifts, min(rates.baseline + config.harm_delta, 0.95))
        return difference_growth(rates, config.harm_delta, alternatives, harm=True)

    absent = () if stretches[0].truth.baseline_slower else (LATENCY,)
    threshold = -math.log(config.alpha * shares(config, absent)[ERRORS])
    by_ratio, by_difference = (
        _walk(stretches, growth, config.horizon, onset) for growth in (ratio, difference)
    )
    extra = RATIO_EXTRA + RATIO_OVERSHOOT * np.log(by_ratio.lift)

    def chance(log_threshold: float) -> Floats:
        reached = by_ratio.chance(log_threshold, extra)
        if config.harm_delta == 0:
            return reached
        return np.asarray(np.minimum(reached, by_difference.chance(log_threshold, DIFFERENCE_EXTRA)))

    few = np.arange(length) + 1 < config.min_intervals
    bad = np.cumsum(_each(stretches, [s.requests * s.share * s.truth.canary for s in stretches]))
    found = np.where(few, chance(threshold - math.log(config.alpha)), chance(threshold))
    found = np.minimum(found, gammainc(config.min_bad_events, bad))
    rates = _error_rates(stretches[-1])
    tolerated = tolerated_excess(rates.baseline, config.harm_ratio, config.harm_delta)
    harmless = rates.canary <= rates.baseline + tolerated
    return np.asarray(np.minimum(found, config.alpha) if harmless else found)


def _slowness_noticed(stretches: Sequence[Stretch], config: JudgeConfig, onset: int) -> Floats:
    """The average over the edges that count, which is the best one's but for a constant."""
    truth, length = stretches[-1].truth, sum(stretch.intervals for stretch in stretches)
    edges = harmful_edges(truth.baseline_slower) if config.latency_weight > 0 else []
    if not edges or truth.canary_slower == truth.baseline_slower:
        return np.zeros(length)
    odds, unseen = config.slow_ratio * wealth.lifts(), _unseen(stretches)

    def growth_at(index: int) -> Callable[[Stretch], Growth]:
        rates = _slow_rates(index)
        return lambda stretch: _scaled(ratio_growth(rates(stretch), config.slow_ratio, odds), _fine(stretch))

    walks = [_walk(stretches, growth_at(index), config.horizon, onset, unseen) for index in edges]
    logs = np.stack([walk.logs for walk in walks])
    best = np.argmax(logs, axis=0), np.arange(length)
    together = Walk(
        np.logaddexp.reduce(logs, axis=0) - math.log(min(len(edges), _MOST_EDGES)),
        *(np.stack([getattr(walk, name) for walk in walks])[best] for name in ("mean", "variance", "lift")),
    )
    few = np.arange(length) + 1 < config.min_intervals
    threshold = -math.log(config.alpha * config.latency_weight)
    extra = SLOW_EXTRA + RATIO_OVERSHOOT * np.log(together.lift)
    early = together.chance(threshold - math.log(config.alpha), extra)
    return np.where(few, early, together.chance(threshold, extra))


def _safe(
    stretches: Sequence[Stretch],
    rates_of: Callable[[Stretch], Rates],
    margins: tuple[float, float],
    beta: float,
    unseen: int = 0,
) -> Floats:
    """Chance that the bet on "alike", against the half that the baseline's rate favours, was enough."""
    (ratio, delta), baseline = margins, rates_of(stretches[-1]).baseline
    by_ratio = float(at_odds(ratio, baseline)) >= baseline + delta

    def growth(stretch: Stretch) -> Growth:
        rates = rates_of(stretch)
        fine = 1.0 if rates_of is _error_rates else _fine(stretch)
        if by_ratio:
            return _scaled(ratio_growth(rates, ratio, [1.0]), fine * stretch.requests)
        return _scaled(difference_growth(rates, delta, [rates.baseline], harm=False), fine * stretch.requests)

    steps = [growth(stretch) for stretch in stretches]
    mean, variance = (
        _each(stretches, [float(values[0]) for values in each])
        for each in ([step.mean for step in steps], [step.variance for step in steps])
    )
    # Until the baseline's rate is known, the half that is played need not be the one that it favours.
    mean[: max(unseen, 1)] = 0.0
    walk = Walk(np.cumsum(mean) + _LOG_PRIOR_ALIKE, np.cumsum(mean), np.cumsum(variance), np.ones_like(mean))
    found = np.asarray(np.maximum.accumulate(walk.chance(-math.log(beta), SAFE_EXTRA)))
    canary = rates_of(stretches[-1]).canary
    unsafe = canary >= baseline + delta and canary >= float(at_odds(ratio, baseline))
    return np.minimum(found, beta) if unsafe else found


def _walk(
    stretches: Sequence[Stretch],
    growth_of: Callable[[Stretch], Growth],
    horizon: float,
    onset: int,
    unseen: int = 0,
) -> Walk:
    """The mixture over lifts and start times, with the judge's own stakes; the first `unseen` intervals are not
    bet on."""
    grown = [_scaled(growth_of(stretch), stretch.requests) for stretch in stretches]
    counts = [stretch.intervals for stretch in stretches]
    mean, variance = (
        np.repeat(np.stack(each, axis=1), counts, axis=1)
        for each in ([growth.mean for growth in grown], [growth.variance for growth in grown])
    )
    mean[:, :unseen] = variance[:, :unseen] = 0.0
    variance = variance.cumsum(axis=1)
    total = mean.cumsum(axis=1)
    laid = np.logaddexp.accumulate(_log_stakes(stretches, horizon, unseen) - (total - mean), axis=1)
    logs = wealth.log_prior()[:, None] + laid + total
    best = np.argmax(logs, axis=0), np.arange(logs.shape[1])
    before = sum(counts[:onset])
    if before:
        total = total - total[:, before - 1, None]
        variance = variance - variance[:, before - 1, None]
    return Walk(
        np.logaddexp.reduce(logs, axis=0),
        total[best],
        np.maximum(variance[best], 0.0),
        wealth.lifts()[best[0]],
    )


def _log_stakes(stretches: Sequence[Stretch], horizon: float, unseen: int) -> Floats:
    """log of what is staked before each interval."""
    logs: list[float] = []
    elapsed = 0.0
    for stretch in stretches:
        for i in range(stretch.intervals):
            amount = wealth.stake(
                first=len(logs) == unseen,
                rise=0 if i else stretch.rise,
                seconds=stretch.seconds,
                elapsed=elapsed,
                horizon=horizon,
            )
            logs.append(math.log(amount) if amount > 0 and len(logs) >= unseen else _NOTHING)
            elapsed += stretch.seconds
    return np.asarray(logs)


def _unseen(stretches: Sequence[Stretch]) -> int:
    """Intervals that are over before latency is judged: its edges are chosen from the baseline's past."""
    baseline = np.cumsum(_each(stretches, [s.requests * (1 - s.share) * _fine(s) for s in stretches]))
    return min(int(np.searchsorted(baseline, _EDGES_AFTER)) + 1, len(baseline))


def _error_rates(stretch: Stretch) -> Rates:
    return Rates(stretch.truth.canary, stretch.truth.baseline, stretch.share)


def _slow_rates(index: int) -> Callable[[Stretch], Rates]:
    return lambda stretch: Rates(
        stretch.truth.canary_slower[index], stretch.truth.baseline_slower[index], stretch.share
    )


def _fine(stretch: Stretch) -> float:
    """The share of requests whose latency counts: those that succeed."""
    return 1 - _error_rates(stretch).pooled


def _scaled(growth: Growth, by: float) -> Growth:
    return Growth(growth.mean * by, growth.variance * by)


def _each(stretches: Sequence[Stretch], values: Sequence[float]) -> Floats:
    """One value per stretch, repeated for each of its intervals."""
    return np.repeat(np.asarray(values, dtype=np.float64), [stretch.intervals for stretch in stretches])


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
