"""A distribution of latencies, known by how many requests are slower than each edge of a histogram."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr, ndtri

Floats = NDArray[np.float64]

ISTIO_EDGES: Final = tuple(
    milliseconds / 1000
    for milliseconds in (
        *(0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000),
        *(300000, 600000, 1800000, 3600000),
    )
)
"""The edges of istio_request_duration_milliseconds, in seconds."""

P99: Final = float(ndtri(0.99))  # standard deviations


def lognormal(edges: Sequence[float], p50: float, p99: float) -> tuple[float, ...]:
    """The share of requests slower than each edge, for latencies with this median and 99th percentile, seconds.

    ValueError unless 0 < p50 < p99.
    """
    if not 0 < p50 < p99:
        raise ValueError(
            f"the 99th percentile, {p99:g} s, must be above the median, {p50:g} s, and that above 0"
        )
    spread = math.log(p99 / p50) / P99
    return tuple((1 - ndtr(np.log(np.asarray(edges) / p50) / spread)).tolist())


def shifted(edges: Sequence[float], slower: Sequence[float], factor: float) -> tuple[float, ...]:
    """The shares slower than each edge once every request takes `factor` times as long, at least 1.

    Between edges, and beyond them, normal quantiles of the shares are taken to be linear in the logarithm of the
    latency: exact for lognormal latencies. As they came where fewer than two edges have requests on both sides.
    """
    known = np.asarray(slower, dtype=np.float64)
    inside = (known > 0) & (known < 1)
    if factor == 1 or inside.sum() < 2:
        return tuple(slower)
    at = np.log(np.asarray(edges))
    found = ndtr(-_through(at[inside], -ndtri(known[inside]), at - math.log(factor)))
    return tuple(np.maximum(found, known).tolist())


def quantile(edges: Sequence[float], slower: Sequence[float], share: float) -> float | None:
    """The latency, in seconds, that `share` of the requests exceed; between edges as in `shifted`.

    None where fewer than two edges have requests on both sides.
    """
    known = np.asarray(slower, dtype=np.float64)
    inside = (known > 0) & (known < 1) & np.append(known[1:] < known[:-1], True)
    if inside.sum() < 2:
        return None
    x, y = np.log(np.asarray(edges))[inside], -ndtri(known[inside])
    return math.exp(_through(y, x, np.array([-ndtri(share)]))[0])


def _through(x: Floats, y: Floats, wanted: Floats) -> Floats:
    """Straight lines through the points (x, y), x ascending, the first and the last drawn on."""
    found = np.interp(wanted, x, y)
    for outside, (i, j) in ((wanted < x[0], (0, 1)), (wanted > x[-1], (-2, -1))):
        found = np.where(outside, y[j] + (y[j] - y[i]) / (x[j] - x[i]) * (wanted - x[j]), found)
    return found
