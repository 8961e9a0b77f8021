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
from analysis.growth import Arms, Growth, chance_reached, difference_growth, ratio_growth
from analysis.judge_config import JudgeConfig
from analysis.projection import at_odds

Floats = NDArray[np.float64]

# Nats, measured.
HARM_EXTRA: Final = 0.0
SLOW_EXTRA: Final = 0.0
SAFE_EXTRA: Final = 0.0
EXCESS_EXTRA: Final = 0.0

_LOG_PRIOR_ALIKE: Final = math.log(0.5)  # half of the prior of safety is on "alike"
_EXCEEDANCE: Final = (0.002, 0.95)  # of the baseline, at edges that count for harm
_MOST_EDGES: Final = 8
_SLOW: Final = (0.5, 0.05)  # exceedance at the edges that decide safety unless they are named
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

    logs: log wealth; mean, variance: of the best alternative's log factor since the onset.
    """

    logs: Floats
    mean: Floats
    variance: Floats

    def chance(self, log_threshold: float, extra: float) -> Floats:
        """Chance that the log wealth has been at the threshold by then."""
        return chance_reached(self.mean, self.variance, log_threshold + extra + self.mean - self.logs)


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
    margins = config.safe_ratio, config.safe_delta
    found = {"errors": _safe(stretches, _error_arms, *margins, config.beta)}
    if config.latency_weight > 0:
        slower = stretches[-1].truth.baseline_slower
        for index in deciding_edges(edges, slower, config.slow_edges):
            margins = config.slow_safe_ratio, config.slow_safe_delta
            name = f"latency at {edges[index]:g} s"
            found[name] = _safe(stretches, _slow_arms(index), *margins, config.beta)
    return found


def requests_to_refute(excess: float, stretches: Sequence[Stretch]) -> float:
    """Requests (of both arms, 0 or more) in the last stretch until the upper limit of the excess rate is expected
    to be `excess` or less, after all the earlier stretches. Infinite where the truth, or the limits' grid, is above.
    """
    if excess >= 1:
        return 0.0
    growths = [_excess_growth(excess, _error_arms(stretch)) for stretch in stretches]
    earlier = zip(growths[:-1], stretches, strict=False)
    missing = -math.log(1 - LEVEL) + EXCESS_EXTRA - sum(g * s.requests * s.intervals for g, s in earlier)
    if missing <= 0:
        return 0.0
    return missing / growths[-1] if growths[-1] > 0 else math.inf


def _excess_growth(excess: float, arms: Arms) -> float:
    """Nats per request against "the canary fails at least so much more often", `excess` taken from the grid."""
    points = EXCESS_GRID[(EXCESS_GRID > 0) & np.less_equal(EXCESS_GRID, excess)]
    if not len(points) or points[-1] <= arms.canary - arms.baseline:
        return 0.0
    return float(difference_growth(arms, float(points[-1]), [arms.canary], harm=False).mean[0])


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
        return ratio_growth(_error_arms(stretch), config.harm_ratio, config.harm_ratio * lifts)

    def difference(stretch: Stretch) -> Growth:
        arms = _error_arms(stretch)
        alternatives = at_odds(lifts, min(arms.baseline + config.harm_delta, 0.95))
        return difference_growth(arms, config.harm_delta, alternatives, harm=True)

    threshold = -math.log(config.alpha * (1 - config.latency_weight))
    walks = [_walk(stretches, growth, config.horizon, onset) for growth in (ratio, difference)]
    chance = np.minimum(*(walk.chance(threshold, HARM_EXTRA) for walk in walks))
    early = np.minimum(*(walk.chance(threshold - math.log(config.alpha), HARM_EXTRA) for walk in walks))
    few = np.arange(length) + 1 < config.min_intervals
    bad = np.cumsum(_each(stretches, [s.requests * s.share * s.truth.canary for s in stretches]))
    return np.asarray(np.minimum(np.where(few, early, chance), gammainc(config.min_bad_events, bad)))


def _slowness_noticed(stretches: Sequence[Stretch], config: JudgeConfig, onset: int) -> Floats:
    """The average over the edges that count, which is the best one's but for a constant."""
    truth, length = stretches[-1].truth, sum(stretch.intervals for stretch in stretches)
    edges = harmful_edges(truth.baseline_slower) if config.latency_weight > 0 else []
    if not edges or truth.canary_slower == truth.baseline_slower:
        return np.zeros(length)
    odds = config.slow_ratio * wealth.lifts()

    def growth_at(index: int) -> Callable[[Stretch], Growth]:
        arms = _slow_arms(index)
        return lambda stretch: _scaled(ratio_growth(arms(stretch), config.slow_ratio, odds), _fine(stretch))

    walks = [_walk(stretches, growth_at(index), config.horizon, onset) for index in edges]
    logs = np.stack([walk.logs for walk in walks])
    best = np.argmax(logs, axis=0), np.arange(length)
    together = Walk(
        np.logaddexp.reduce(logs, axis=0) - math.log(min(len(edges), _MOST_EDGES)),
        np.stack([walk.mean for walk in walks])[best],
        np.stack([walk.variance for walk in walks])[best],
    )
    few = np.arange(length) + 1 < config.min_intervals
    threshold = -math.log(config.alpha * config.latency_weight)
    early = together.chance(threshold - math.log(config.alpha), SLOW_EXTRA)
    return np.where(few, early, together.chance(threshold, SLOW_EXTRA))


def _safe(
    stretches: Sequence[Stretch],
    arms_of: Callable[[Stretch], Arms],
    ratio: float,
    delta: float,
    beta: float,
) -> Floats:
    """Chance that the bet on "alike", against the half that the baseline's rate favours, was enough."""
    baseline = arms_of(stretches[-1]).baseline

    def growth(stretch: Stretch) -> Growth:
        arms = arms_of(stretch)
        fine = 1.0 if arms_of is _error_arms else _fine(stretch)
        if float(at_odds(ratio, baseline)) >= baseline + delta:
            return _scaled(ratio_growth(arms, ratio, [1.0]), fine)
        return _scaled(difference_growth(arms, delta, [arms.baseline], harm=False), fine)

    steps = [growth(stretch) for stretch in stretches]
    mean = np.cumsum(
        _each(stretches, [s.requests * float(g.mean[0]) for s, g in zip(stretches, steps, strict=True)])
    )
    variance = np.cumsum(
        _each(stretches, [s.requests * float(g.variance[0]) for s, g in zip(stretches, steps, strict=True)])
    )
    return np.maximum.accumulate(
        Walk(mean + _LOG_PRIOR_ALIKE, mean, variance).chance(-math.log(beta), SAFE_EXTRA)
    )


def _walk(
    stretches: Sequence[Stretch], growth_of: Callable[[Stretch], Growth], horizon: float, onset: int
) -> Walk:
    """The mixture over lifts and start times, with the judge's own stakes."""
    grown = [growth_of(stretch) for stretch in stretches]
    counts = [stretch.intervals for stretch in stretches]
    steps = zip(stretches, grown, strict=True)
    means, variances = zip(*((g.mean * s.requests, g.variance * s.requests) for s, g in steps), strict=True)
    mean = np.repeat(np.stack(means, axis=1), counts, axis=1)
    variance = np.repeat(np.stack(variances, axis=1), counts, axis=1).cumsum(axis=1)
    total = mean.cumsum(axis=1)
    laid = np.logaddexp.accumulate(_log_stakes(stretches, horizon) - (total - mean), axis=1)
    logs = wealth.log_prior()[:, None] + laid + total
    best = np.argmax(logs, axis=0), np.arange(logs.shape[1])
    before = sum(counts[:onset])
    if before:
        total = total - total[:, before - 1, None]
        variance = variance - variance[:, before - 1, None]
    return Walk(np.logaddexp.reduce(logs, axis=0), total[best], np.maximum(variance[best], 0.0))


def _log_stakes(stretches: Sequence[Stretch], horizon: float) -> Floats:
    """log of what is staked before each interval."""
    logs: list[float] = []
    elapsed = 0.0
    for stretch in stretches:
        for i in range(stretch.intervals):
            amount = wealth.stake(
                first=not logs,
                rise=0 if i else stretch.rise,
                seconds=stretch.seconds,
                elapsed=elapsed,
                horizon=horizon,
            )
            logs.append(math.log(amount) if amount > 0 else _NOTHING)
            elapsed += stretch.seconds
    return np.asarray(logs)


def _error_arms(stretch: Stretch) -> Arms:
    return Arms(stretch.truth.canary, stretch.truth.baseline, stretch.share)


def _slow_arms(index: int) -> Callable[[Stretch], Arms]:
    return lambda stretch: Arms(
        stretch.truth.canary_slower[index], stretch.truth.baseline_slower[index], stretch.share
    )


def _fine(stretch: Stretch) -> float:
    """The share of requests whose latency counts: those that succeed."""
    return 1 - _error_arms(stretch).pooled


def _scaled(growth: Growth, by: float) -> Growth:
    return Growth(growth.mean * by, growth.variance * by)


def _each(stretches: Sequence[Stretch], values: Sequence[float]) -> Floats:
    """One value per stretch, repeated for each of its intervals."""
    return np.repeat(np.asarray(values, dtype=np.float64), [stretch.intervals for stretch in stretches])


def _logit(p: float) -> float:
    return math.log(p / (1 - p))
