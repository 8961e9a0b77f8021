"""Overshoot boosting: an e-process that stops at a threshold need not waste what lies above it.

Wealth beyond the threshold 1/alpha buys nothing, so it may be given up in return for more wealth below. Given
an interval's margins the null law p0 of the canary's bad events is known exactly; with m(x) the growth of the
mixture's wealth at x, and r what is missing to the threshold,

    M <- M * min(r, b m(x)),     b = max over s of (1 - r P0(X >= s)) / sum_{x < s} p0(x) m(x)

For every s the expectation of min(r, b m) is at most r P0(X >= s) + b sum_{x < s} p0 m, so each of these b is
fair (compare Wald's truncated tests; Fischer and Ramdas 2024, "Improving the (approximate) sequential
probability ratio test by avoiding overshoot", section 3). Where m increases in x, so does min(r, b m(x)), and
odds below the null's only make it worse; where m decreases (evidence of safety) everything is read backwards.
b >= 1, as s beyond the support gives 1.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

_MOST_NATS: Final = 600.0
# Covers rounding and what a law leaves out on either side: less than 1e-13 each, and that times the room.
_ROUNDING: Final = 1e-11
_LEFT_OUT: Final = 1e-13


def boost(log_wealth: float, *, log_cap: float, null: Floats, log_growth: Floats, seen: float) -> float:
    """log M after an interval.

    log_cap: log of the threshold, which M never exceeds; null, log_growth: p0 and log m over the support, in
    the direction in which m increases; seen: log m at what came.
    """
    log_room = log_cap - log_wealth
    if log_room <= 0:
        # It could stay there for nothing; where a guard still holds the rollback back, it follows the facts.
        return log_cap + min(0.0, seen)
    room = math.exp(min(log_room, _MOST_NATS))
    below = np.cumsum(null * np.exp(np.minimum(log_growth, _MOST_NATS)))
    # For s = 1 ... size of the support: what lies at or above s is cut to the room, what is below grows by b.
    above = null[::-1].cumsum()[::-1]
    factors = (1 - _ROUNDING - room * (above[1:] + _LEFT_OUT)) / (below[:-1] + _LEFT_OUT)
    best = factors.max() if len(factors) else 0.0
    log_b = math.log(max(float(best), 1 - _ROUNDING))
    return log_wealth + min(log_room, log_b + seen)
