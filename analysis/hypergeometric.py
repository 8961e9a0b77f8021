"""Fisher's noncentral hypergeometric law: how bad events split between two arms, given how many there were.

With n_c and n_b requests and k bad events in all, and a ratio of odds w, the canary's share x follows

    log p(x; w) = log C(n_c, x) + log C(n_b, k - x) + x log w - log Z(w)

(Fogel/Fisher 1935; the conditional law of McCullagh and Nelder 1989, section 7.3). The base rate cancels,
whatever it is and however it drifts between intervals.

Small supports are summed whole. Large ones are summed on a window of every h-th point: the law is that of a
sum of independent Bernoulli variables (its generating polynomial has real roots only, Vatutin and Mikhailov
1982), so its characteristic function is at most exp(-variance (1 - cos t)): every h-th point, times h, gives
Z to a relative error of (h - 1) exp(-variance (1 - cos(2 pi / h))), and Bernstein's inequality bounds what
lies outside the window.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Floats = NDArray[np.float64]

_WHOLE_SUPPORT: Final = 512  # points up to which the sum over the whole support is cheaper than a window
_NATS: Final = 42.0  # neglected mass is below exp(-42), under the resolution of a double
_STRIDES: Final = np.arange(1, 4097)
# The least variance at which every h-th point suffices, ascending in h; h = 1 always does.
_VARIANCE_FOR_STRIDE: Final = np.concatenate(([0.0], _NATS / (1 - np.cos(2 * np.pi / _STRIDES[1:]))))


def log_likelihoods(x_c: int, n_c: int, x_b: int, n_b: int, log_odds: Floats) -> Floats:
    """log p(x_c; exp(log_odds)) for each ratio of odds, shape as `log_odds`, given the margins.

    x_c of n_c requests are bad in the canary, x_b of n_b in the baseline. Zeros where the margins leave no
    choice (an empty arm, no bad event, nothing but bad events).
    """
    k = x_c + x_b
    low, high = max(0, k - n_b), min(k, n_c)
    if low == high:
        return np.zeros_like(log_odds)
    if high - low < _WHOLE_SUPPORT:
        base = _log_weights(n_c, n_b, k, low, high)
        return np.asarray(base[x_c - low] + (x_c - low) * log_odds - _log_sum_whole(base, log_odds))
    reference = _log_choose(n_c, n_b, k, np.array([float(x_c)]))[0]
    return np.asarray(reference + x_c * log_odds - _log_sum_window(n_c, n_b, k, (low, high), log_odds))


def law(x_c: int, n_c: int, x_b: int, n_b: int, log_odds: Floats) -> tuple[NDArray[np.float64], int] | None:
    """log p over the whole support, one row for each ratio of odds, and the index of x_c; None if too large."""
    k = x_c + x_b
    low, high = max(0, k - n_b), min(k, n_c)
    if high - low >= _WHOLE_SUPPORT:
        return None
    base = _log_weights(n_c, n_b, k, low, high)
    tilted = base + np.multiply.outer(log_odds, np.arange(len(base), dtype=np.float64))
    return np.asarray(tilted - _log_sum_whole(base, log_odds)[:, None]), x_c - low


def _log_weights(n_c: int, n_b: int, k: int, low: int, high: int) -> Floats:
    """log C(n_c, s) C(n_b, k - s) for s = low..high, up to a constant: 0 at `low`."""
    s = np.arange(low, high, dtype=np.float64)
    steps = np.log((n_c - s) * (k - s) / ((s + 1) * (n_b - k + s + 1)))
    return np.concatenate(([0.0], np.cumsum(steps)))


def _log_sum_whole(base: Floats, log_odds: Floats) -> Floats:
    terms = base + np.multiply.outer(log_odds, np.arange(len(base), dtype=np.float64))
    top = terms.max(axis=-1, keepdims=True)
    return np.asarray(top[..., 0] + np.log(np.exp(terms - top).sum(axis=-1)))


def _log_choose(n_c: int, n_b: int, k: int, s: Floats) -> Floats:
    """log C(n_c, s) C(n_b, k - s) up to the constant of n_c! n_b!."""
    return np.asarray(-gammaln(s + 1) - gammaln(n_c - s + 1) - gammaln(k - s + 1) - gammaln(n_b - k + s + 1))


def _log_sum_window(n_c: int, n_b: int, k: int, support: tuple[int, int], log_odds: Floats) -> Floats:
    low, high = support
    centre, variance = _mode_and_variance(n_c, n_b, k, support, np.exp(log_odds))
    # Half-width t with t^2 / (2 (variance + t / 3)) = _NATS, and 15 % on top, as the variance is approximate.
    third = _NATS / 3
    half = 1.15 * (third + np.sqrt(third * third + 2 * _NATS * variance)) + 1
    stride = np.searchsorted(_VARIANCE_FOR_STRIDE, 0.75 * variance, side="right").astype(np.float64)
    points = int(np.max(half / stride)) + 1
    offsets = np.arange(-points, points + 1, dtype=np.float64)
    s = np.rint(centre)[:, None] + stride[:, None] * offsets
    inside = (s >= low) & (s <= high) & (np.abs(offsets) * stride[:, None] <= half[:, None] + stride[:, None])
    terms = _log_choose(n_c, n_b, k, np.clip(s, low, high)) + log_odds[:, None] * s
    terms = np.where(inside, terms, -math.inf)
    top = terms.max(axis=1, keepdims=True)
    return np.asarray(top[:, 0] + np.log(stride * np.exp(terms - top).sum(axis=1)))


def _mode_and_variance(
    n_c: int, n_b: int, k: int, support: tuple[int, int], odds: Floats
) -> tuple[Floats, Floats]:
    """Laplace: the root of (n_c - s)(k - s) w = s (n_b - k + s), and the curvature there."""
    a = odds - 1
    b = -((n_c + k) * odds + (n_b - k))
    c = n_c * float(k) * odds
    root = np.sqrt(np.maximum(b * b - 4 * a * c, 0.0))
    centre = np.clip(2 * c / (-b + root), *support)
    cells = (centre, n_c - centre, k - centre, n_b - k + centre)
    variance = 1 / sum(1 / np.maximum(cell, 0.5) for cell in cells)
    return centre, np.asarray(variance)
