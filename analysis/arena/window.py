"""What Prometheus would tell a peer: rates and quantiles over the last minutes, for both arms."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.arena.scenario import EDGES
from analysis.arena.traffic import Tick, total
from analysis.counts import Counts

_NOTHING: Final = Counts(0, 0)


@dataclass(slots=True)
class Window:
    """Counts of both arms since the last `clear`."""

    canary: Counts = _NOTHING
    baseline: Counts = _NOTHING

    def add(self, tick: Tick) -> None:
        """One more interval; peers know no quarantine."""
        if tick.interval is not None:
            self.canary = total((self.canary, *tick.interval.canary.values()))
            self.baseline = total((self.baseline, *tick.interval.baseline.values()))

    def clear(self) -> None:
        """Begin the next window."""
        self.canary = self.baseline = _NOTHING


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
