"""How long a block must be: from how long the baseline's pods stayed in excess in the past."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betainc

UNKNOWN: Final = 60.0  # seconds: where no burst was seen
_TIMES: Final = 3.0
_QUANTILE: Final = 0.95
_CHANCE: Final = (
    0.05  # that a history without bursts shows one; also what an interval beside an excess may be
)
_PASSES: Final = 10

Floats = NDArray[np.float64]


def block_length(history: Sequence[Sequence[tuple[int, int]]], interval: float) -> float:
    """Seconds: three times the 95th percentile of the pods' runs of excess, at least an interval; 60 if unknown.

    history: for each pod of the baseline its requests and bad events in consecutive intervals of that length.
    An interval is in excess when so many bad events are too many for chance at the rate of all intervals that
    are not; a run goes on over neighbours that are at least suspicious, as a burst seldom fills its ends.
    """
    cells = sum(len(pod) for pod in history)
    if not cells:
        return UNKNOWN
    chances = _chances([np.array(pod, dtype=np.float64).reshape(-1, 2) for pod in history], _CHANCE / cells)
    runs = sorted(run for pod in chances for run in _runs(pod <= _CHANCE / cells, pod <= _CHANCE))
    if not runs:
        return UNKNOWN
    return max(interval, _TIMES * interval * runs[math.ceil(_QUANTILE * len(runs)) - 1])


def _chances(pods: list[Floats], excess: float) -> list[Floats]:
    """For each pod and interval the chance of at least as many bad events, by the rate outside the excesses."""
    usual = [np.ones(len(pod), dtype=bool) for pod in pods]
    chances: list[Floats] = []
    for _ in range(_PASSES):
        requests, bad = sum(pod[ok].sum(axis=0) for pod, ok in zip(pods, usual, strict=True))
        rate = bad / requests if requests else 0.0
        chances = [_at_least(pod[:, 0], pod[:, 1], rate) for pod in pods]
        usual, before = [pod > excess for pod in chances], usual
        if all((a == b).all() for a, b in zip(usual, before, strict=True)):
            break
    return chances


def _at_least(requests: Floats, bad: Floats, rate: float) -> Floats:
    """P(X >= bad) for binomial X (DLMF 8.17.5)."""
    tail: Floats = betainc(np.maximum(bad, 1), np.maximum(requests - bad, 0) + 1, rate)
    return np.where(bad > 0, tail, 1.0)


def _runs(excess: NDArray[np.bool_], suspicious: NDArray[np.bool_]) -> list[int]:
    """Lengths of the runs of suspicious intervals in which at least one is an excess."""
    found, length, counts = [], 0, False
    for is_suspicious, is_excess in zip(suspicious.tolist(), excess.tolist(), strict=True):
        if not is_suspicious:
            if counts:
                found.append(length)
            length, counts = 0, False
            continue
        length, counts = length + 1, counts or is_excess
    return [*found, length] if counts else found
