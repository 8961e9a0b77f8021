"""Readings become closed intervals: aligned to complete scrapes, quarantined where they prove nothing.

Pods are scraped at different moments. An interval ends at the oldest of the live pods' newest scrapes, and
every pod gives its scrape that is nearest to that end, so that both arms cover the same time to within half a
scrape interval. A pod that missed a scrape holds nobody up: what it served comes with its next one, and is
counted then unless it straddles a change of the weight.

Only time decides what is left out: a pod's age, the moment the weight settled, the scrapes. Never the counts.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Protocol

from analysis.counts import Counts, Interval
from analysis.errors import BadCounts, EdgesDiffer, PrometheusDown, PrometheusError
from analysis.readings import ArmDelta, PodDelta, common_edges, deltas
from analysis.telemetry import PodReading, PodSamples, WorkloadRef, WorkloadSamples

# Which pods of a workload are the arm's own: name -> creation time (seconds since the epoch), or a prefix of
# their names (their births unknown), or None: all of them. Only with creation times is a pod that appears
# during the run known to have started at zero, and warm-up survives a restart of the daemon.
Pods = Mapping[str, float] | str | None

_FIRST_WINDOW: Final = (
    120.0  # seconds: a run's first reading looks back this far for pods that already served
)
_LONGEST_WINDOW: Final = 300.0
_SCRAPES: Final = 3  # scrape intervals that a later reading looks back, besides the time since the last one
_LIVE: Final = 4  # scrape intervals without a sample after which a pod is not waited for or counted on
_LEAST_LIVE: Final = 10.0


@dataclass(frozen=True, slots=True)
class RunQuery:
    """What one active run wants to know at a tick.

    weight: the canary's configured share, 0..1; settled_since: when that weight had propagated (change +
    settle time), None while it has not; warm_up: seconds of a pod's life that are not judged, for pods whose
    birth is known or seen; restarted: pods whose proxy container restarted since the last tick (their
    counters may fall).
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
    """Nothing to judge yet. reason: "BaseLine" (a first reading) | "NoNewScrape"; because: one sentence."""

    reason: str
    because: str


@dataclass(frozen=True, slots=True)
class Blind:
    """No counts could be had. reason: "PrometheusDown" | "PrometheusAnswer" | "NoSeries" | "Stale" |
    "EdgesDiffer"; because: one sentence that names the URL and query, or the workload."""

    reason: str
    because: str


Outcome = Interval | Quarantined | Pending | Blind


class ReadsWorkloads(Protocol):
    """What the builder needs of prometheus.Reader."""

    def read(self, workloads: Sequence[WorkloadRef], at: float, window: float) -> ReadingLike:
        """The raw samples of the last `window` seconds before `at`."""


class ReadingLike(Protocol):
    """prometheus.Reading, seen from here."""

    @property
    def workloads(self) -> Mapping[WorkloadRef, WorkloadSamples]:
        """Samples of the workloads that could be read."""

    @property
    def failures(self) -> Mapping[WorkloadRef, PrometheusError]:
        """Why the others could not."""


@dataclass(slots=True)
class _Arm:
    """An arm's last counters, and since when each pod has been seen."""

    pods: dict[str, PodReading] = field(default_factory=dict)
    first_seen: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class _Memory:
    """What is remembered of a run between ticks; lost with the daemon, hence the base line."""

    workloads: tuple[WorkloadRef, WorkloadRef]  # canary, baseline
    end: float  # of the last interval
    zero_since: float  # pods created later started at zero
    gap: float  # seconds between scrapes
    canary: _Arm
    baseline: _Arm


class IntervalBuilder:
    """Keeps the previous reading of every run and turns the next one into an interval.

    After a restart of the daemon the first reading of a run is only a base line. Runs that a tick does not
    name are forgotten. Never raises for a fault of Prometheus or of one run: that run is Blind.

    scrape_interval: seconds, assumed until two scrapes of a pod were seen.
    """

    def __init__(self, reader: ReadsWorkloads, *, scrape_interval: float = 15.0) -> None:
        self._reader = reader
        self._gap = scrape_interval
        self._runs: dict[str, _Memory] = {}
        self._last_read: float | None = None

    def tick(self, runs: Sequence[RunQuery], at: float) -> Mapping[str, Outcome]:
        """One reading for all `runs` together, at `at` (seconds since the epoch): run_id -> outcome."""
        self._runs = {run.run_id: self._runs[run.run_id] for run in runs if run.run_id in self._runs}
        if not runs:
            return {}
        reading = self._reader.read(
            [ref for run in runs for ref in (run.canary, run.baseline)], at, self._window(runs, at)
        )
        if not reading.failures:
            self._last_read = at
        return {run.run_id: self._outcome(run, reading, at) for run in runs}

    def _window(self, runs: Sequence[RunQuery], at: float) -> float:
        if self._last_read is None or any(run.run_id not in self._runs for run in runs):
            return _FIRST_WINDOW
        gap = max(memory.gap for memory in self._runs.values())
        return min(at - self._last_read + _SCRAPES * gap, _LONGEST_WINDOW)

    def _outcome(self, run: RunQuery, reading: ReadingLike, at: float) -> Outcome:
        try:
            canary = _own(reading, run.canary, run.canary_pods)
            baseline = _own(reading, run.baseline, run.baseline_pods)
            return self._advance(run, canary, baseline, at)
        except PrometheusDown as error:
            return Blind("PrometheusDown", str(error))
        except PrometheusError as error:
            return Blind("PrometheusAnswer", str(error))
        except EdgesDiffer as error:
            return Blind("EdgesDiffer", str(error))
        except BadCounts as error:
            return Blind("PrometheusAnswer", str(error))

    def _advance(
        self, run: RunQuery, canary: Mapping[str, PodSamples], baseline: Mapping[str, PodSamples], at: float
    ) -> Outcome:
        if not canary and not baseline:
            return Blind("NoSeries", f"no requests of {run.baseline} or {run.canary} are known to Prometheus")
        memory = self._runs.get(run.run_id)
        if memory is not None and memory.workloads != (run.canary, run.baseline):
            memory = None  # after a promotion, say: a base line again
        gap = _scrape_gap([*canary.values(), *baseline.values()]) or (memory.gap if memory else self._gap)
        canary, baseline = (_live(arm, at - max(_LIVE * gap, _LEAST_LIVE)) for arm in (canary, baseline))
        stale = _stale(run, memory, canary, baseline)
        if stale is not None:
            return stale
        end = _common_end([*canary.values(), *baseline.values()], gap)
        readings = tuple(_snapshot(arm, end + gap / 2) for arm in (canary, baseline))
        if memory is None:
            self._runs[run.run_id] = _base_line(run, readings, end, gap)
            return Pending("BaseLine", "the first reading: counts start from here")
        memory.gap = gap
        if end <= memory.end:
            return Pending(
                "NoNewScrape",
                f"no complete scrape since the last interval; pods are scraped every {gap:.0f} s",
            )
        return _interval(run, memory, readings, end)


def _own(reading: ReadingLike, workload: WorkloadRef, pods: Pods) -> dict[str, PodSamples]:
    """The arm's own pods. Raises what made the workload unreadable."""
    if workload in reading.failures:
        raise reading.failures[workload]
    samples = reading.workloads.get(workload, WorkloadSamples())
    if samples.fault:
        raise BadCounts(str(workload), samples.fault, "usable")
    return {name: pod for name, pod in samples.pods.items() if _belongs(name, pods)}


def _belongs(name: str, pods: Pods) -> bool:
    return name.startswith(pods) if isinstance(pods, str) else pods is None or name in pods


def _scrape_gap(pods: Sequence[PodSamples]) -> float | None:
    """The median time between scrapes, None where no pod has two."""
    gaps = [later - earlier for pod in pods for earlier, later in zip(pod.times, pod.times[1:], strict=False)]
    return statistics.median(gaps) if gaps else None


def _live(arm: Mapping[str, PodSamples], since: float) -> dict[str, PodSamples]:
    return {name: pod for name, pod in arm.items() if pod.times and pod.times[-1] >= since}


def _stale(
    run: RunQuery,
    memory: _Memory | None,
    canary: Mapping[str, PodSamples],
    baseline: Mapping[str, PodSamples],
) -> Blind | None:
    """Blind if an arm whose pods served before and still exist has no recent samples any more."""
    if not canary and not baseline:
        return Blind("Stale", f"Prometheus has no recent samples of {run.baseline} or {run.canary}")
    if memory is None:
        return None
    arms = (
        (run.canary, run.canary_pods, memory.canary, canary),
        (run.baseline, run.baseline_pods, memory.baseline, baseline),
    )
    for workload, own, before, live in arms:
        if not live and any(_belongs(name, own) for name in before.pods):
            return Blind("Stale", f"Prometheus has no recent samples of {workload}, which served before")
    return None


def _common_end(pods: Sequence[PodSamples], gap: float) -> float:
    """The oldest newest scrape, among pods that did not miss theirs."""
    newest = max(pod.times[-1] for pod in pods)
    return min(pod.times[-1] for pod in pods if pod.times[-1] >= newest - 1.5 * gap)


def _snapshot(arm: Mapping[str, PodSamples], until: float) -> dict[str, PodReading]:
    found = {name: pod.newest(until) for name, pod in arm.items()}
    return {name: reading for name, reading in found.items() if reading is not None}


def _base_line(run: RunQuery, readings: Sequence[dict[str, PodReading]], end: float, gap: float) -> _Memory:
    canary, baseline = readings
    return _Memory(
        (run.canary, run.baseline),
        end,
        zero_since=end - _FIRST_WINDOW,
        gap=gap,
        # Of a canary pod whose birth is unknown the age is counted from here; a baseline pod is taken as old.
        canary=_Arm(canary, {pod: reading.time for pod, reading in canary.items()}),
        baseline=_Arm(baseline, {pod: reading.time - run.warm_up for pod, reading in baseline.items()}),
    )


def _interval(
    run: RunQuery, memory: _Memory, readings: Sequence[dict[str, PodReading]], end: float
) -> Interval | Quarantined:
    start, before = memory.end, (dict(memory.canary.pods), dict(memory.baseline.pods))
    _remember(memory, readings, end)  # first: what cannot be counted is a base line for what comes next
    grown = [
        deltas(previous, current, since=start, born=_born(own, memory.zero_since), restarted=run.restarted)
        for previous, own, current in zip(before, (run.canary_pods, run.baseline_pods), readings, strict=True)
    ]
    edges = common_edges(*(delta.pods for delta in grown))
    return _judged_or_not(run, memory, grown, (start, end), edges)


def _born(own: Pods, zero_since: float) -> dict[str, float]:
    """The pods that are known to have started at zero, with their births."""
    births = own if isinstance(own, Mapping) else {}
    return {pod: created for pod, created in births.items() if created >= zero_since}


def _remember(memory: _Memory, readings: Sequence[dict[str, PodReading]], end: float) -> None:
    """Pods without a new scrape keep their old counters: the next delta spans both."""
    for arm, current in zip((memory.canary, memory.baseline), readings, strict=True):
        for pod, reading in current.items():
            arm.pods[pod] = reading
            arm.first_seen.setdefault(pod, reading.time)
    memory.end = end


def _judged_or_not(
    run: RunQuery,
    memory: _Memory,
    grown: Sequence[ArmDelta],
    span: tuple[float, float],
    edges: tuple[float, ...],
) -> Interval | Quarantined:
    start, end = span
    canary, baseline = (delta.pods for delta in grown)
    settled = run.settled_since

    def interval(canary: Mapping[str, PodDelta], baseline: Mapping[str, PodDelta]) -> Interval:
        return Interval(start, end, run.weight, _counts(canary), _counts(baseline), edges)

    if settled is None or start < settled:
        because = "the interval touches a change of the weight or its propagation"
        return Quarantined("WeightChange", because, interval(canary, baseline))
    warm_canary = _warm(canary, memory.canary, run.canary_pods, run.warm_up)
    warm_baseline = _warm(baseline, memory.baseline, run.baseline_pods, run.warm_up)
    if canary and not warm_canary:
        because = f"the canary's pods are younger than {run.warm_up:.0f} s"
        return Quarantined("WarmUp", because, interval(canary, baseline))
    # What a single pod brings from before the weight settled (it missed a scrape) is left out.
    return interval(_since(warm_canary, settled), _since(warm_baseline, settled))


def _counts(pods: Mapping[str, PodDelta]) -> dict[str, Counts]:
    return {pod: delta.counts for pod, delta in pods.items()}


def _warm(pods: Mapping[str, PodDelta], arm: _Arm, own: Pods, warm_up: float) -> dict[str, PodDelta]:
    """The pods that were old enough when their span began."""
    births = own if isinstance(own, Mapping) else arm.first_seen
    return {pod: delta for pod, delta in pods.items() if delta.start >= births[pod] + warm_up}


def _since(pods: Mapping[str, PodDelta], settled: float) -> dict[str, PodDelta]:
    return {pod: delta for pod, delta in pods.items() if delta.start >= settled}
