"""Pods that differ persistently: no waiting cures that, only a tolerance that allows for it.

Bursts pass, so blocks of time average over them. A pod on slow hardware, or with the heavy tenants, is worse for
as long as it lives: a canary of m pods may be worse than its baseline by the luck of its pods alone. Judged by M
pods of the baseline, ratios of odds up to exp(t sigma sqrt(1/m + 1/M)) must be expected with t the quantile of
Student's law with M - 1 degrees of freedom and sigma the standard deviation of the pods' log odds.

Sigma is the covariance of the pods' rates between two halves of the time, in turns of several bursts: chance
and bursts differ from half to half, what persists does not.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtrit

Floats = NDArray[np.float64]
Row = tuple[int, int, int, int]  # requests and bad events in the even turns, the same in the odd ones

MOST_PODS: Final = 16
_LEAST_PODS: Final = 3
_TURN: Final = 2.0  # bursts
_MOST_RATIO: Final = 1e6


@dataclass(frozen=True, slots=True)
class UnequalPods:
    """Running totals of the baseline's pods, of those that were seen first; immutable."""

    pods: tuple[str, ...] = ()
    totals: tuple[Row, ...] = ()

    def plus(self, baseline: Mapping[str, tuple[int, int]], *, end: float, burst_block: float) -> UnequalPods:
        """With one interval that ended then: requests and bad events by pod; pods without a name add nothing."""
        if "" in baseline:
            return self
        odd = int(end // (_TURN * max(burst_block, 1.0))) % 2
        new = sorted(baseline.keys() - set(self.pods))[: MOST_PODS - len(self.pods)]
        names = (*self.pods, *new)
        rows = (*self.totals, *(((0, 0, 0, 0),) * len(new)))
        return UnequalPods(
            names,
            tuple(
                _plus(row, *baseline.get(name, (0, 0)), odd) for name, row in zip(names, rows, strict=True)
            ),
        )

    def ratio_needed(self, canary_pods: int, alpha: float) -> float | None:
        """The ratio of odds that must be tolerated so that unequal pods alone are not called harm.

        At least 1; None with fewer than three baseline pods that had requests in both halves of the time, or
        while no bad event was seen in one of them.
        """
        table = np.array([row for row in self.totals if row[0] and row[2]], dtype=np.float64).reshape(-1, 4)
        pods = len(table)
        if pods < _LEAST_PODS or canary_pods < 1:
            return None
        variance = _variance(table)
        if variance is None:
            return None
        quantile = float(stdtrit(pods - 1, 1 - alpha))
        exponent = quantile * math.sqrt(variance * (1 / canary_pods + 1 / pods))
        return math.exp(min(exponent, math.log(_MOST_RATIO)))


def _plus(row: Row, requests: int, bad: int, odd: int) -> Row:
    a, b, c, d = row
    return (a, b, c + requests, d + bad) if odd else (a + requests, b + bad, c, d)


def _variance(table: Floats) -> float | None:
    """Of the pods' log odds, as if these were normal; None while a half is without bad or without good events.

    Deviations of the rates from each half's own are multiplied across the halves, weighted by requests; the
    weighted mean's own error takes away the share 1/(effective number of pods).
    """
    requests, bad = table[:, [0, 2]], table[:, [1, 3]]
    rates = bad.sum(axis=0) / requests.sum(axis=0)
    if not ((rates > 0) & (rates < 1)).all():
        return None
    weights = np.sqrt(requests[:, 0] * requests[:, 1])
    weights /= weights.sum()
    deviations = (bad / requests - rates) / (rates * (1 - rates))
    covariance = float((weights * deviations[:, 0] * deviations[:, 1]).sum()) / (
        1 - float((weights**2).sum())
    )
    return math.log1p(max(0.0, covariance))
