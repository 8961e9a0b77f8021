"""Tests of significance, looked at after every interval: what a dashboard with p-values does.

All counts so far, pooled over weights; one-sided tests at 0.05 of errors and, where there are histograms, of the
share slower than 0.25 s. Each looks once per interval, so that neither keeps its level.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln, ndtr

from analysis.arena.contender import STEP_MIN, Climb, Decision
from analysis.arena.scenario import EDGES
from analysis.arena.traffic import Tick
from analysis.arena.window import Window

LEVEL: Final = 0.05
MIN_JUDGED: Final = 900.0  # seconds, before it is promoted
_SLOW: Final = EDGES.index(0.25) + 1

PValue = Callable[[int, int, int, int], float]


class Significance:
    """Rolls back at the first p-value below 0.05; climbs otherwise, and promotes after fifteen minutes."""

    def __init__(self, p_value: PValue) -> None:
        self._p_value = p_value
        self._climb = Climb()
        self._window = Window()

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return self._climb.weight

    def look(self, tick: Tick) -> Decision:
        """Tests after every interval that is not in quarantine."""
        if tick.judged:
            self._window.add(tick)
            if self._significant():
                return "rollback"
        if tick.end - self._climb.since >= STEP_MIN:
            if not self._climb.at_top:
                self._climb.rise(tick.end)
            elif tick.end >= MIN_JUDGED:
                return "promote"
        return "continue"

    def _significant(self) -> bool:
        canary, baseline = self._window.canary, self._window.baseline
        if not canary.requests or not baseline.requests:
            return False
        arms = canary.errors, canary.requests, baseline.errors, baseline.requests
        if self._p_value(*arms) < LEVEL:
            return True
        slow = [(sum(arm.latency[_SLOW:]), sum(arm.latency)) for arm in (canary, baseline)]
        return all(total for _, total in slow) and self._p_value(*slow[0], *slow[1]) < LEVEL


def z_test(bad: int, requests: int, baseline_bad: int, baseline_requests: int) -> float:
    """One-sided p-value of the pooled two-proportion test."""
    pooled = (bad + baseline_bad) / (requests + baseline_requests)
    if pooled in (0, 1):
        return 1.0
    error = np.sqrt(pooled * (1 - pooled) * (1 / requests + 1 / baseline_requests))
    return float(ndtr((baseline_bad / baseline_requests - bad / requests) / error))


def fisher(bad: int, requests: int, baseline_bad: int, baseline_requests: int) -> float:
    """One-sided p-value of Fisher's exact test: so many bad events in the canary, or more, given the margins."""
    total, marked = requests + baseline_requests, bad + baseline_bad
    most = min(requests, marked)
    # Beyond 40 standard deviations nothing is left to add.
    mean, spread = requests * marked / total, np.sqrt(marked * requests * baseline_requests) / total
    x = np.arange(bad, min(most, max(bad, int(mean)) + int(40 * spread) + 60) + 1)
    logs = _log_choose(requests, x) + _log_choose(baseline_requests, marked - x) - _log_choose(total, marked)
    return float(min(np.exp(logs).sum(), 1.0))


def _log_choose(n: int, k: int | NDArray[np.int64]) -> NDArray[np.float64]:
    return np.asarray(gammaln(n + 1) - gammaln(np.add(k, 1)) - gammaln(n + 1 - np.asarray(k)))
