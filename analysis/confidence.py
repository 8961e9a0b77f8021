"""Confidence sequences: limits for the ratio of odds and for the excess rate, valid at every look together.

A value stays in the sequence as long as the e-process against it is below 1/(1 - level) (Ramdas et al. 2023,
section 6). "Value" is one that holds in every interval; for quantities that change, read the limits as limits
for a constant one.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL: Final = 0.95
_LOG_LIMIT: Final = -math.log(1 - LEVEL)

BELOW: Final[Floats] = np.log([1 / 40, 1 / 12, 1 / 5, 1 / 2.5, 1 / 1.5])
"""Log odds that nothing else needs, so that the likelihood is known below 1 as well."""

# The excess rates (canary minus baseline) that are tested.
EXCESS_GRID: Final[Floats] = np.concatenate(
    (-np.geomspace(0.3, 0.001, 6), [0.0], np.geomspace(0.0003, 0.5, 15))
)


def odds_limits(log_odds: Floats, logs: Floats) -> tuple[float | None, float | None]:
    """The lowest and highest ratio of odds not yet refuted, None where unbounded.

    log_odds, logs: points, and the log likelihood there of a constant ratio of odds; shape (points,). The
    e-process against a ratio is the mean likelihood over the points divided by the likelihood there. Given
    the margins the law is an exponential family, so that the log likelihood is concave in the log odds: it
    lies below the lines through its neighbours, and where these cross the limit, so does it or earlier.
    """
    order = _order(log_odds.tobytes())
    at, logs = log_odds[order], logs[order]
    mixture = float(np.logaddexp.reduce(logs)) - math.log(len(logs))
    if not logs.any():
        return None, None
    level = mixture - _LOG_LIMIT
    return _crossing(-at[::-1], logs[::-1], level, -1.0), _crossing(at, logs, level, 1.0)


@functools.lru_cache(maxsize=64)
def _order(log_odds: bytes) -> NDArray[np.intp]:
    """The indices that sort the points, equal ones once."""
    return np.unique(np.frombuffer(log_odds).round(9), return_index=True)[1]


def _crossing(at: Floats, logs: Floats, level: float, sign: float) -> float | None:
    """Where, to the right of the last point above `level`, the bounds of a concave function cross it."""
    last = int(np.flatnonzero(logs > level)[-1])
    if last + 1 == len(at):
        return None
    bounds = [at[last + 1]]
    for i, j in ((last - 1, last), (last + 1, last + 2)):  # the lines through both neighbours on either side
        if i >= 0 and j < len(at):
            slope = (logs[j] - logs[i]) / (at[j] - at[i])
            if slope < 0:
                bounds.append(max(at[last], at[i] + (level - logs[i]) / slope))
    return math.exp(sign * float(min(bounds)))


def excess_limits(logs: Floats) -> tuple[float | None, float | None]:
    """The lowest and highest excess rate not yet refuted, each side at half of 1 - LEVEL; None: unbounded.

    logs: shape (2, points of EXCESS_GRID): log e-values against "at most so much more", "at least so much".
    Refuting a value refutes all beyond it, and limits are read off outwards.
    """
    below = np.flatnonzero(logs[0] >= _LOG_LIMIT + math.log(2))
    above = np.flatnonzero(logs[1] >= _LOG_LIMIT + math.log(2))
    low = float(EXCESS_GRID[below[-1]]) if len(below) else None
    return low, float(EXCESS_GRID[above[0]]) if len(above) else None


def excess_upper(logs: Floats) -> float:
    """The least excess rate at or above 0 that is refuted at LEVEL, 1 if none is; `logs` as for excess_limits."""
    refuted = np.flatnonzero((logs[1] >= _LOG_LIMIT) & (EXCESS_GRID > 0))
    return float(EXCESS_GRID[refuted[0]]) if len(refuted) else 1.0
