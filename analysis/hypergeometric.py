"""Fisher's noncentral hypergeometric law: how bad events split between two arms, given how many there were.

With n_c and n_b requests and k bad events in all, and a ratio of odds w, the canary's share x follows

    log p(x; w) = log C(n_c, x) + log C(n_b, k - x) + x log w - log Z(w)

(Fogel/Fisher 1935; the conditional law of McCullagh and Nelder 1989, section 7.3). The base rate cancels,
whatever it is and however it drifts between intervals.

Small supports are summed whole: Z is a polynomial in w, and the powers of the fixed ratios w are kept, so that
many ratios cost one product of matrices. Large ones are summed on a window of every h-th point: the law is
that of a sum of independent Bernoulli variables (its generating polynomial has real roots only, Vatutin and
Mikhailov 1982), so its characteristic function is at most exp(-variance (1 - cos t)): every h-th point, times
h, gives Z to a relative error of (h - 1) exp(-variance (1 - cos(2 pi / h))), and Bernstein's inequality bounds
what lies outside the window. Both errors are below 1e-8.
"""

from __future__ import annotations

import functools
import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]

WHOLE: Final = 96  # points up to which the support is summed whole
_LARGEST_LOG_ODDS: Final = 7.0  # (WHOLE - 1) * 7 < 700: powers and weights stay within a double
_NATS: Final = 21.0  # neglected mass is below exp(-21)
_LAW_NATS: Final = 32.0  # of a law that is spelled out, below exp(-32)
_WIDEST_LAW: Final = 2048
_STRIDES: Final = np.arange(1, 4097)
# The least variance at which every h-th point suffices, ascending in h; h = 1 always does.
_VARIANCE_FOR_STRIDE: Final = np.concatenate(([0.0], _NATS / (1 - np.cos(2 * np.pi / _STRIDES[1:]))))
_TABLE: Final = 1 << 18  # log factorials below are looked up


class OddsGrid:
    """Fixed ratios of odds, one row for each table: `log_odds` of shape (tables, ratios), and their powers."""

    def __init__(self, log_odds: Floats) -> None:
        if np.abs(log_odds).max() > _LARGEST_LOG_ODDS:
            raise ValueError(f"log odds beyond {_LARGEST_LOG_ODDS}")
        self.log_odds = log_odds
        self._powers = np.exp(np.arange(WHOLE, dtype=np.float64)[None, :, None] * log_odds[:, None, :])

    def log_likelihoods(self, cells: Floats) -> Floats:
        """log p(x_c; w) for each table and ratio, shape as `log_odds`.

        cells: shape (tables, 4): x_c of n_c requests are bad in the canary, x_b of n_b in the baseline. Zeros
        where the margins leave no choice (an empty arm, no bad event, nothing but bad events).
        """
        x, n_c, x_b, n_b = cells.T
        k = x + x_b
        low, high = np.maximum(0.0, k - n_b), np.minimum(k, n_c)
        size = high - low
        if size.max() < WHOLE:
            return self._whole(cells, low, size, slice(None))
        large = np.flatnonzero(size >= WHOLE)
        small = np.flatnonzero(size < WHOLE)
        logs = np.empty_like(self.log_odds)
        logs[large] = _by_window(cells[large], self.log_odds[large])
        if len(small):
            logs[small] = self._whole(cells[small], low[small], size[small], small)
        return logs

    def _whole(self, cells: Floats, low: Floats, size: Floats, rows: NDArray[np.intp] | slice) -> Floats:
        weights, places = _log_weights(cells, low, size)
        top = weights.max(axis=1, keepdims=True)
        sums = (np.exp(weights - top)[:, None, :] @ self._powers[rows, : weights.shape[1]])[:, 0, :]
        at = np.rint(cells[:, 0] - low).astype(np.intp)
        seen = (weights[places, at] - top[:, 0])[:, None] + (cells[:, 0] - low)[:, None] * self.log_odds[rows]
        return np.asarray(seen - np.log(sums))


def log_likelihoods(x_c: int, n_c: int, x_b: int, n_b: int, log_odds: Floats) -> Floats:
    """log p(x_c; exp(log_odds)) of one table, shape as `log_odds`."""
    cells = np.array([[x_c, n_c, x_b, n_b]], dtype=np.float64)
    return np.asarray(OddsGrid(log_odds[None, :]).log_likelihoods(cells)[0])


def law(cells: list[float], log_odds: float) -> tuple[Floats, float] | None:
    """p over the support, ascending in x, at one ratio of odds, and the x that comes first.

    What is left out on either side of a large support is less than 1e-13; None if even that is too wide.
    """
    x, n_c, x_b, n_b = cells
    k = x + x_b
    low, high = max(0.0, k - n_b), min(k, n_c)
    if high - low > WHOLE:
        centre, variance = _mode_and_variance(*(np.array([v]) for v in (n_c, n_b, k, math.exp(log_odds))))
        half = _bernstein(1.2 * variance, _LAW_NATS)[0]
        low, high = max(low, math.floor(centre[0] - half)), min(high, math.ceil(centre[0] + half))
    if high - low >= _WIDEST_LAW:
        return None
    s = np.arange(low, high)
    logs = np.empty(len(s) + 1)
    logs[0] = 0.0
    np.cumsum(np.log((n_c - s) * (k - s) / ((s + 1) * (n_b - k + s + 1))) + log_odds, out=logs[1:])
    masses = np.exp(logs - logs.max())
    return masses / masses.sum(), low


def _log_weights(cells: Floats, low: Floats, size: Floats) -> tuple[Floats, NDArray[np.intp]]:
    """log C(n_c, s) C(n_b, k - s) for s = low, low + 1, ... up to a constant for each row; beyond: -10 000 a step."""
    x, n_c, x_b, n_b = (column[:, None] for column in cells.T)
    steps = np.arange(size.max(), dtype=np.float64)
    s = low[:, None] + steps
    k = x + x_b
    ratios = (n_c - s) * (k - s) / ((s + 1) * (n_b - k + s + 1))
    inside = steps < size[:, None]
    weights = np.zeros((len(cells), len(steps) + 1))
    np.cumsum(np.where(inside, np.log(np.where(inside, ratios, 1.0)), -1e4), axis=1, out=weights[:, 1:])
    return weights, np.arange(len(cells))


@functools.cache
def _log_factorials() -> Floats:
    return np.asarray(gammaln(np.arange(1, _TABLE + 1, dtype=np.float64)))


def log_factorial(n: Floats) -> Floats:
    """log n! of whole numbers: looked up below _TABLE, beyond it by Stirling's series."""
    if n.max() < _TABLE:
        return _log_factorials().take(n.astype(np.intp), mode="clip")
    return np.asarray(gammaln(n + 1))


def _log_choose(n_c: Floats, n_b: Floats, k: Floats, s: Floats) -> Floats:
    """log C(n_c, s) C(n_b, k - s) up to the constant of n_c! n_b!."""
    rest = k - s
    return -(log_factorial(s) + log_factorial(n_c - s) + log_factorial(rest) + log_factorial(n_b - rest))


def _by_window(cells: Floats, log_odds: Floats) -> Floats:
    x, n_c, x_b, n_b = (column[:, None] for column in cells.T)
    k = x + x_b
    low, high = np.maximum(0.0, k - n_b), np.minimum(k, n_c)
    centre, variance = _mode_and_variance(n_c, n_b, k, np.exp(log_odds))
    # 15 % on top and a quarter off, as the variance is approximate.
    half = 1.15 * _bernstein(variance, _NATS) + 1
    stride = np.searchsorted(_VARIANCE_FOR_STRIDE, 0.75 * variance, side="right").astype(np.float64)
    points = math.ceil(float(np.max(half / stride)))
    offsets = np.arange(-points, points + 1, dtype=np.float64)
    s = np.rint(centre)[..., None] + stride[..., None] * offsets
    kept = np.minimum(np.maximum(s, low[..., None]), high[..., None])
    terms = _log_choose(n_c[..., None], n_b[..., None], k[..., None], kept) + log_odds[..., None] * kept
    terms = np.where(kept == s, terms, -math.inf)
    top = terms[..., points]
    sums = np.exp(terms - top[..., None]).sum(axis=-1)
    return np.asarray(_log_choose(n_c, n_b, k, x) + x * log_odds - top - np.log(stride * sums))


def _bernstein(variance: Floats, nats: float) -> Floats:
    """t with t^2 / (2 (variance + t / 3)) = nats: beyond t from the mean lies less than exp(-nats)."""
    third = nats / 3
    return np.asarray(third + np.sqrt(third * third + 2 * nats * variance))


def _mode_and_variance(n_c: Floats, n_b: Floats, k: Floats, odds: Floats) -> tuple[Floats, Floats]:
    """Laplace: the root of (n_c - s)(k - s) w = s (n_b - k + s), and the curvature there."""
    b = (n_c + k) * odds + (n_b - k)
    c = n_c * k * odds
    root = np.sqrt(np.maximum(b * b - 4 * (odds - 1) * c, 0.0))
    centre = np.minimum(np.maximum(2 * c / (b + root), np.maximum(0.0, k - n_b)), np.minimum(k, n_c))
    rest = k - centre
    cells = np.stack((centre, n_c - centre, rest, n_b - rest))
    return centre, 1 / (1 / np.maximum(cells, 0.5)).sum(axis=0)
