"""Tempering: evidence that is taken down by how much more the past varied than independent errors do.

Where pods are unknown, nothing tells a burst from a fault but how errors came before. Each interval's factor m
is raised to the power 1/phi, with phi at least 1 and made of the past: a concave power of something fair is
fair (Jensen), whatever phi is. phi is Pearson's dispersion: the squares of what the canary's bad events were
off from their expectation given the margins and the past's Mantel-Haenszel odds (Mantel and Haenszel 1959), over
their variances (McCullagh and Nelder 1989, section 4.5); sums
over intervals, not a mean of quotients, which quiet intervals would rule.

A row: log of the ratio's and of the difference's tempered e-value, sum of squares, sum of variances.
"""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

WIDTH: Final = 4
_LEAST_VARIANCE: Final = 5.0  # variances below this sum say little: they are taken for as many squares
_LOWEST_ODDS: Final = 0.05
_HIGHEST_ODDS: Final = 20.0


def after(before: Floats, tally: Floats, cells: Floats, gained: Floats) -> Floats:
    """After one interval. Shapes (rows, ...): before WIDTH; tally: Proportions.tally before the interval;
    cells: bad events and requests of the canary, of the baseline; gained: log factors of ratio and difference.
    """
    x_c, n_c, x_b, n_b = cells.T
    # Half a bad event in both sums: the odds are 1 while nothing is known.
    odds = np.minimum(np.maximum((tally[:, 4] + 0.5) / (tally[:, 5] + 0.5), _LOWEST_ODDS), _HIGHEST_ODDS)
    bad, requests = x_c + x_b, np.maximum(n_c + n_b, 1.0)
    share = n_c * odds / np.maximum(n_c * odds + n_b, 1.0)
    variance = bad * share * (1 - share) * (1 - bad / requests)
    new = np.empty_like(before)
    new[:, :2] = before[:, :2] + gained / dispersion(before)[:, None]
    new[:, 2] = before[:, 2] + np.where(variance > 0, (x_c - bad * share) ** 2, 0.0)
    new[:, 3] = before[:, 3] + variance
    return new


def dispersion(rows: Floats) -> Floats:
    """phi of each row, at least 1."""
    missing = np.maximum(0.0, _LEAST_VARIANCE - rows[:, 3])
    return np.asarray(np.maximum(1.0, (rows[:, 2] + missing) / (rows[:, 3] + missing)))
