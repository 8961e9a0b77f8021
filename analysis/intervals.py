"""Readings become closed intervals: aligned to complete scrapes, quarantined where they prove nothing."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from analysis.counts import Interval

# Which pods of a workload are the arm's own: name -> creation time (seconds since the epoch), or a prefix of
# their names (their births unknown), or None: all of them. Only with creation times is a pod that appears
# during the run known to have started at zero, and warm-up survives a restart of the daemon.
Pods = Mapping[str, float] | str | None


@dataclass(frozen=True, slots=True, order=True)
class WorkloadRef:
    """A workload as Istio's telemetry names it: destination_workload(_namespace)."""

    namespace: str
    name: str


@dataclass(frozen=True, slots=True)
class RunQuery:
    """What one active run wants to know at a tick.

    weight: the canary's configured share, 0..1; settled_since: when that weight had propagated (change +
    settle time), None while it has not; warm_up: seconds of a canary pod's life that are not judged;
    restarted: pods whose proxy container restarted since the last tick (their counters may fall).
    """

    run_id: str
    canary: WorkloadRef
    baseline: WorkloadRef
    weight: float
    settled_since: float | None
    canary_pods: Pods = None
    baseline_pods: Pods = None
    warm_up: float = 0.0
    restarted: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Counted and shown, not judged. reason: "WeightChange" | "WarmUp"; because: one sentence."""

    reason: str
    because: str
    interval: Interval


@dataclass(frozen=True, slots=True)
class Pending:
    """No complete scrape since the last interval, or the first reading, which is only a base line."""

    reason: str
    because: str


@dataclass(frozen=True, slots=True)
class Blind:
    """No counts could be had. reason: "PrometheusDown" | "PrometheusAnswer" | "NoSeries" | "Stale" |
    "EdgesDiffer"; because: one sentence that names the URL, the query or the workload."""

    reason: str
    because: str


Outcome = Interval | Quarantined | Pending | Blind


class IntervalBuilder:
    """Keeps the previous reading of every run and turns the next one into an interval.

    After a restart of the daemon the first reading of a run is only a base line. Runs that a tick does not
    name are forgotten. Never raises for a fault of Prometheus or of one run: that run is Blind.
    """

    def tick(self, runs: Sequence[RunQuery], at: float) -> Mapping[str, Outcome]:
        """One reading for all `runs` together, at `at` (seconds since the epoch): run_id -> outcome."""
        raise NotImplementedError
