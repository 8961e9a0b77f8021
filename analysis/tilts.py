"""Exponential tilts: evidence that the canary is slower in bulk, for a policy that tolerates no slowness at all.

Given how many requests of both arms fell into each bucket, m_j of N, alike arms leave it to chance which of them
are the canary's. With a score s_j for each bucket,

    log E = theta sum_j s_j x_j - n_c log sum_j (m_j / N) e^(theta s_j)

is fair: drawing without replacement varies less than drawing with it (Hoeffding 1963, theorem 4), which is why
it is strong while the canary's share is small and no match for the edges at one half. Scores are
normal quantiles of the baseline's past, so that theta is a shift in standard deviations. It tests equality: a
canary that is slower within a tolerance is refuted too, so that it is used only where slow_ratio is 1.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from analysis.wealth import Wealth

Floats = NDArray[np.float64]

_THETAS: Final = np.array([0.1, 0.2, 0.4, 0.8])
THETAS: Final = len(_THETAS)
_LOG_PRIOR: Final = np.full(THETAS, -math.log(THETAS))


@dataclass(frozen=True, slots=True)
class Tilts:
    """scores: one for each bucket, chosen once, empty before; wealth: against "the arms are alike"."""

    scores: tuple[float, ...] = ()
    wealth: Wealth = field(default_factory=Wealth)

    def after(self, stakes: tuple[float, float], canary: tuple[int, ...], baseline: tuple[int, ...]) -> Tilts:
        """After one interval; stakes: the first, any later one. Nothing where an arm has no histogram."""
        if not self.scores or sum(canary) == 0 or sum(baseline) == 0:
            return self
        x = np.array(canary, dtype=np.float64)
        pooled = x + np.array(baseline, dtype=np.float64)
        tilted = _THETAS[:, None] * np.array(self.scores)
        log_factors = tilted @ x - x.sum() * np.log(np.exp(tilted) @ pooled / pooled.sum())
        stake = stakes[1] if self.wealth.logs else stakes[0]
        return Tilts(self.scores, self.wealth.after(stake, log_factors))

    def afresh(self) -> Tilts:
        """With the wealth back at its start."""
        return Tilts(self.scores)

    def log_value(self) -> float:
        """log of the e-value."""
        return self.wealth.log_value(_LOG_PRIOR)


def chosen(past: tuple[int, ...]) -> Tilts:
    """With scores made of the baseline's buckets in the past."""
    counts = np.array(past, dtype=np.float64) + 0.5
    ranks = (np.cumsum(counts) - counts / 2) / counts.sum()
    return Tilts(tuple(ndtri(ranks).tolist()))
