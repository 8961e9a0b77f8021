"""What Prometheus would tell a peer: rates and quantiles over the last minutes, for both arms."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from analysis.arena.scenario import EDGES
from analysis.arena.traffic import Tick, total
from analysis.counts import Counts


@dataclass(slots=True)
class Window:
    """Counts of both arms since the last `clear`; added up when they are asked for."""

    _canary: list[Counts] = field(default_factory=list)
    _baseline: list[Counts] = field(default_factory=list)

    @property
    def canary(self) -> Counts:
        """The canary's."""
        self._canary = [total(self._canary)]
        return self._canary[0]

    @property
    def baseline(self) -> Counts:
        """The baseline's."""
        self._baseline = [total(self._baseline)]
        return self._baseline[0]

    def add(self, tick: Tick) -> None:
        """One more interval; peers know no quarantine."""
        if tick.interval is not None:
            self._canary += tick.interval.canary.values()
            self._baseline += tick.interval.baseline.values()

    def clear(self) -> None:
        """Begin the next window."""
        self._canary, self._baseline = [], []


def error_rate(counts: Counts) -> float:
    """Failed of all requests; NaN without requests, as 0/0 is in PromQL."""
    return counts.errors / counts.requests if counts.requests else float("nan")


def quantile(counts: Counts, q: float) -> float:
    """histogram_quantile(q, ...) of PromQL, seconds: linear within the bucket, the highest edge beyond it.

    NaN without requests.
    """
    below = np.cumsum(counts.latency)
    if not len(below) or below[-1] == 0:
        return float("nan")
    rank = q * below[-1]
    bucket = int(np.searchsorted(below, rank))
    if bucket >= len(EDGES):
        return EDGES[-1]
    start, end = (EDGES[bucket - 1] if bucket else 0.0), EDGES[bucket]
    before = int(below[bucket - 1]) if bucket else 0
    return float(start + (end - start) * (rank - before) / (int(below[bucket]) - before))
