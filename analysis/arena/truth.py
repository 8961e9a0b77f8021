"""What is true of a scenario: harmful or not, and what any judge at all must pay to find out.

Harm and safety are defined by the tolerance pairs of a JudgeConfig, on the scenario's rates.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray
from scipy.special import rel_entr, stdtrit

from analysis.arena.environment import latency_laws
from analysis.arena.scenario import Scenario
from analysis.judge_config import JudgeConfig

Floats = NDArray[np.float64]
Proportions = TypeVar("Proportions", float, Floats)

_ROUNDING: Final = 1e-12
_JUDGED_EXCEEDANCE: Final = (0.002, 0.95)
_SLOW_EXCEEDANCE: Final = (0.5, 0.05)


@dataclass(frozen=True, slots=True)
class Boundary:
    """The edge of a null: the canary's rate at which the odds ratio and the difference reach what is given."""

    ratio: float = 1.0
    delta: float = 0.0

    def canary(self, baseline: Floats) -> Floats:
        """The canary's rate at each of the baseline's."""
        by_difference = np.minimum(baseline + self.delta, 1.0)
        return np.maximum(with_odds(self.ratio, baseline), by_difference)


@dataclass(frozen=True, slots=True)
class Nearest:
    """The point of a null that is hardest to tell from the truth, and the information per request against it."""

    information: float
    canary: float
    baseline: float


def is_harmful(scenario: Scenario, config: JudgeConfig) -> bool:
    """Whether the canary is worse than the harm pair tolerates, in errors or at a judged latency edge."""
    return errors_harmful(scenario, config) or latency_harmful(scenario, config)


def is_covered(scenario: Scenario, config: JudgeConfig) -> bool:
    """Whether the judge's bound on false rollbacks is claimed: not for pods that differ for good, nor for bursts that
    are longer than a block, or where pods are not told apart."""
    bursts = scenario.burst_gap > 0 or scenario.icc > 0
    longest = scenario.burst_seconds[1] if scenario.burst_gap else 0.0
    return not scenario.pod_sigma and (not bursts or (scenario.pods_known and longest <= config.burst_block))


def errors_harmful(scenario: Scenario, config: JudgeConfig) -> bool:
    """Whether both the odds ratio and the difference of error rates exceed the harm pair."""
    baseline, canary = scenario.base_rate, scenario.base_rate * scenario.lift
    ratio, delta = config.harm_ratio, config.harm_delta
    return canary > with_odds(ratio, baseline) + _ROUNDING and canary - baseline > delta + _ROUNDING


def latency_harmful(scenario: Scenario, config: JudgeConfig) -> bool:
    """Whether the odds of being slower than an edge exceed slow_ratio, at an edge that can be judged."""
    low, high = _JUDGED_EXCEEDANCE
    pairs = zip(*exceedances(scenario), strict=True)
    return any(
        canary > with_odds(config.slow_ratio, baseline) + _ROUNDING
        for baseline, canary in pairs
        if low <= baseline <= high
    )


def is_unsafe(scenario: Scenario, config: JudgeConfig) -> bool:
    """Whether the canary is worse than the safe pair tolerates, so that a promotion is a mistake."""
    baseline, canary = scenario.base_rate, scenario.base_rate * scenario.lift
    if _reaches(canary, baseline, config.safe_ratio, config.safe_delta):
        return True
    usual, faulted = exceedances(scenario)
    pair = config.slow_safe_ratio, config.slow_safe_delta
    return any(_reaches(float(faulted[i]), float(usual[i]), *pair) for i in slow_edges(usual))


def slow_edges(usual: Floats) -> set[int]:
    """Indices of the edges that decide whether latency is safe, from the baseline's exceedances."""
    return {
        int(np.argmin(np.abs(_logit(usual) - _logit(np.asarray(e)))))
        for e in _SLOW_EXCEEDANCE * bool(len(usual))
    }


def harm_floor(scenario: Scenario, config: JudgeConfig, alpha: float, missed: float) -> float | None:
    """The least mean number of excess failed requests before a rollback, of all tests of level `alpha` that
    miss a share `missed`, whatever the traffic (the limit of a small weight). None unless errors are harmful.

    (p_c - p_b) d / min(kl(p_c || odds_ratio(p_b)), kl(p_c || p_b + delta)), d = kl(missed || 1 - alpha).
    """
    if not errors_harmful(scenario, config):
        return None
    baseline, canary = scenario.base_rate, scenario.base_rate * scenario.lift
    needed = binary_divergence(missed, 1 - alpha) if missed < 1 - alpha else 0.0
    nulls = (float(null.canary(np.asarray(baseline))) for null in harm_nulls(config))
    return (canary - baseline) * needed / min(binary_divergence(canary, null) for null in nulls)


def harm_nulls(config: JudgeConfig) -> tuple[Boundary, Boundary]:
    """Either keeps a release harmless: odds within harm_ratio, or the difference within harm_delta."""
    return Boundary(ratio=config.harm_ratio), Boundary(delta=config.harm_delta)


def unsafe_null(config: JudgeConfig) -> Boundary:
    """What a promotion must refute: odds beyond safe_ratio, and the difference beyond safe_delta."""
    return Boundary(config.safe_ratio, config.safe_delta)


@functools.lru_cache(maxsize=4096)
def nearest(weight: float, canary: float, baseline: float, boundary: Boundary) -> Nearest:
    """The point on the boundary that minimises w kl(canary || .) + (1 - w) kl(baseline || .), for weight w.

    Its baseline's rate lies between the two rates where the canary is beyond the boundary, below the baseline's
    otherwise.
    """
    edge = float(boundary.canary(np.asarray(baseline)))
    low, high = (baseline, canary) if canary > edge else (baseline * 1e-3, baseline)
    for _ in range(3):
        grid = np.linspace(low, high, 65)
        values = weight * binary_divergences(canary, boundary.canary(grid))
        values += (1 - weight) * binary_divergences(baseline, grid)
        best = int(np.argmin(values))
        low, high = float(grid[max(best - 1, 0)]), float(grid[min(best + 1, 64)])
    found = float(grid[best])
    return Nearest(float(values[best]), float(boundary.canary(np.asarray(found))), found)


def pod_ratio_needed(sigma: float, canary_pods: int, baseline_pods: int, alpha: float) -> float:
    """The harm_ratio at which pods whose log odds differ by `sigma` are no evidence of harm at level alpha.

    exp(t sigma sqrt(1/m + 1/M)), t the quantile of Student's law with M - 1 degrees of freedom; inf where the
    baseline has one pod.
    """
    if baseline_pods < 2:
        return math.inf
    quantile = float(stdtrit(baseline_pods - 1, 1 - alpha))
    return math.exp(quantile * sigma * math.sqrt(1 / canary_pods + 1 / baseline_pods))


def with_odds(ratio: float, p: Proportions) -> Proportions:
    """The proportion whose odds are `ratio` times those of `p`."""
    return ratio * p / (1 + (ratio - 1) * p)


def binary_divergence(p: float, q: float) -> float:
    """Kullback-Leibler divergence of two Bernoulli laws, nats."""
    return float(binary_divergences(p, np.asarray(q)))


def binary_divergences(p: float, q: Floats) -> Floats:
    """The same for many q."""
    return np.asarray(rel_entr(p, q) + rel_entr(1 - p, 1 - q))


def _reaches(canary: float, baseline: float, ratio: float, delta: float) -> bool:
    return canary >= with_odds(ratio, baseline) - _ROUNDING and canary - baseline >= delta - _ROUNDING


def exceedances(scenario: Scenario) -> tuple[Floats, Floats]:
    """The chances of being slower than each edge, for baseline and canary."""
    laws = latency_laws(scenario) if scenario.latency else (np.zeros(1), np.zeros(1))
    usual, faulted = (np.cumsum(law[::-1])[::-1][1:] for law in laws)
    return usual, faulted


def _logit(p: Floats) -> Floats:
    clipped = np.clip(p, 1e-12, 1 - 1e-12)
    return np.asarray(np.log(clipped / (1 - clipped)))
