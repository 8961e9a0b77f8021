"""The metric classifier of Spinnaker's Kayenta: a Mann-Whitney test on points, whatever traffic is behind them.

Restated from kayenta-judge (MannWhitneyClassifier) and kayenta-mannwhitney (an interval after R's wilcox.test, exact =
FALSE): the limits and the Hodges-Lehmann estimate of experiment - control are the roots in mu of
z(mu) = (W - m n / 2 - sign / 2) / sigma, W the Mann-Whitney U of experiment - mu against control, sigma with ties.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

Floats = NDArray[np.float64]
Classification = Literal["High", "Low", "Pass", "Nodata"]

_NOISE: Final = 1e-5
_LEAST_EFFECT: Final = 0.5  # chance that a point of the experiment is above one of the control
_BISECTIONS: Final = 48


def classify(
    control: Sequence[float],
    experiment: Sequence[float],
    *,
    tolerance: float = 0.25,
    confidence: float = 0.98,
    nan: Literal["remove", "replace"] = "remove",
) -> Classification:
    """High or Low when the limit nearer to 0 lies beyond tolerance x |estimate|; Pass for identical points.

    nan: whether missing points are left out, or taken for 0.
    """
    y, x = (_without_nan(np.asarray(points, dtype=float), nan) for points in (control, experiment))
    if not len(x) or not len(y):
        return "Nodata"
    if np.array_equal(np.sort(x), np.sort(y)):
        return "Pass"
    if np.ptp(x) == 0 and np.ptp(y) == 0:
        rng = np.random.default_rng(0)
        x, y = (points * (1 + _NOISE * rng.standard_normal(len(points))) for points in (x, y))
    quantile = -float(ndtri((1 - confidence) / 2))
    low, estimate, high = (_root(x, y, z) for z in (quantile, 0.0, -quantile))
    margin, effect = tolerance * abs(estimate), _u(x, y) / (len(x) * len(y))
    if low > margin and effect >= _LEAST_EFFECT:
        return "High"
    if high < -margin and effect <= 1 - _LEAST_EFFECT:
        return "Low"
    return "Pass"


def _without_nan(points: Floats, nan: Literal["remove", "replace"]) -> Floats:
    if nan == "remove":
        return points[~np.isnan(points)]
    return np.nan_to_num(points) if len(points) else np.zeros(1)


def _root(x: Floats, y: Floats, z: float) -> float:
    """Where z(mu), which falls, crosses `z`; an end of the possible differences where it does not."""
    low, high = float(x.min() - y.max()), float(x.max() - y.min())
    if _z(x - low, y) <= z:
        return low
    if _z(x - high, y) >= z:
        return high
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        if _z(x - middle, y) > z:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _z(x: Floats, y: Floats) -> float:
    m, n = len(x), len(y)
    gap = _u(x, y) - m * n / 2
    _, tied = np.unique(np.concatenate((x, y)), return_counts=True)
    ties = float((tied.astype(float) ** 3 - tied).sum()) / ((m + n) * (m + n - 1))
    sigma = float(np.sqrt(m * n / 12 * (m + n + 1 - ties)))
    return float(gap - np.sign(gap) / 2) / sigma


def _u(x: Floats, y: Floats) -> float:
    """How many pairs have x above y, ties by half."""
    ordered = np.sort(y)
    below = np.searchsorted(ordered, x, side="left") + np.searchsorted(ordered, x, side="right")
    return float(below.sum()) / 2
