"""Confidence sequences: limits for the ratio of odds and for the excess rate, valid at every look together.

A value stays in the sequence as long as the e-process against it is below 1/(1 - level) (Ramdas et al. 2023,
section 6). "Value" is one that holds in every interval; for quantities that change, read the limits as limits
for a constant one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

LEVEL: Final = 0.95
_LOG_LIMIT: Final = -math.log(1 - LEVEL)

_SIDE: Final = np.linspace(0, 1, 18)[1:] ** 2 * math.log(60)
# Log odds at which the likelihood is kept: fine near 1, out to 60 times either way. Limits are read off
# outwards, so the grid widens them, never narrows them.
ODDS_GRID: Final[Floats] = np.concatenate((-_SIDE[::-1], [0.0], _SIDE))

# The excess rates (canary minus baseline) that are tested; steps of a third.
EXCESS_GRID: Final[Floats] = np.geomspace(0.0003, 0.9, 28)


@dataclass(frozen=True, slots=True)
class OddsLimits:
    """Log likelihood of a constant ratio of odds at every point of ODDS_GRID (empty: nothing seen)."""

    logs: tuple[float, ...] = ()

    def after(self, log_likelihoods: Floats) -> OddsLimits:
        """After one interval with log p at ODDS_GRID."""
        logs = log_likelihoods + np.asarray(self.logs) if self.logs else log_likelihoods
        return OddsLimits(tuple(np.asarray(logs).tolist()))

    def limits(self) -> tuple[float | None, float | None]:
        """The lowest and highest ratio of odds not yet refuted, None where unbounded.

        The e-process against a ratio is the mean likelihood over the grid divided by the likelihood there.
        """
        if not self.logs:
            return None, None
        logs = np.asarray(self.logs)
        mixture = np.logaddexp.reduce(logs) - math.log(len(logs))
        kept = np.flatnonzero(mixture - logs < _LOG_LIMIT)
        first, last = int(kept[0]) - 1, int(kept[-1]) + 1
        low = float(np.exp(ODDS_GRID[first])) if first >= 0 else None
        high = float(np.exp(ODDS_GRID[last])) if last < len(ODDS_GRID) else None
        return low, high


@dataclass(frozen=True, slots=True)
class ExcessLimit:
    """log e-value against "the canary fails at least so much more often", at every point of EXCESS_GRID."""

    logs: tuple[float, ...] = (0.0,) * len(EXCESS_GRID)

    def after(self, log_factors: Floats) -> ExcessLimit:
        """After one interval with the log factors at EXCESS_GRID."""
        return ExcessLimit(tuple((np.asarray(self.logs) + log_factors).tolist()))

    def upper(self) -> float:
        """The least excess rate that is refuted, 1 if none is: refuting it refutes all larger ones."""
        refuted = np.flatnonzero(np.asarray(self.logs) >= _LOG_LIMIT)
        return float(EXCESS_GRID[refuted[0]]) if len(refuted) else 1.0
