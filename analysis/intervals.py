"""Readings become closed intervals: aligned to complete scrapes, quarantined where they prove nothing.

Pods are scraped at different moments. An interval ends at the oldest of the live pods' newest scrapes, once
each of them has a new one, and every pod gives its scrape that is nearest to that end: both arms cover the
same time to within half a scrape interval. A pod that missed a scrape is waited for until others of its arm
are half a scrape interval ahead; what it served comes with its next one, and is counted then unless it
straddles a change of the weight. An arm of which every pod missed it is waited for: a shock to both arms must
not be counted in one interval for the one and in the next for the other.

Time decides what is left out: a pod's age, the moment the weight settled, the scrapes. So does the fall of a
pod's counters (analysis/readings.py), by the same rule in both arms. Never the number of bad events.
"""

from __future__ import annotations

import statistics
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final, Protocol

from analysis.arms import FIRST_WINDOW, Arm, Pods, base_line, begun_since, belongs, births
from analysis.counts import Interval
from analysis.custom_queries import CounterQuery, ValueQuery
from analysis.errors import BadCounts, EdgesDiffer, PrometheusDown, PrometheusError
from analysis.readings import PodDelta, common_edges, deltas
from analysis.telemetry import PodReading, PodSamples, WorkloadRef, WorkloadSamples

_LONGEST_WINDOW: Final = 300.0
_SCRAPES: Final = 3  # scrape intervals that a later reading looks back, besides the time since the last one
_LIVE: Final = 4  # scrape intervals without a sample after which a pod is not waited for or counted on
_LEAST_LIVE: Final = 10.0


@dataclass(frozen=True, slots=True)
class RunQuery:
    """What one active run wants to know at a tick.

    weight: the canary's configured share, 0..1; settled_since: when that weight had propagated (change +
    settle time), None while it has not; warm_up: seconds of a pod's life that are not judged, for pods whose
    birth is known or seen; custom: queries of its own (see custom.py); asking: they are still under way, so that
    the run is remembered and not read at this tick.
    """

    run_id: str
    canary: WorkloadRef
    baseline: WorkloadRef
    weight: float
    settled_since: float | None
    canary_pods: Pods = None
    baseline_pods: Pods = None
    warm_up: float = 0.0
    custom: tuple[CounterQuery | ValueQuery, ...] = ()
    asking: bool = False


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
class _Memory:
    """What is remembered of a run between ticks; lost with the daemon, hence the base line."""

    workloads: tuple[WorkloadRef, WorkloadRef]  # canary, baseline
    end: float  # of the last interval
    gap: float  # seconds between scrapes
    canary: Arm
    baseline: Arm


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
        runs = [run for run in runs if not run.asking]
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
            return FIRST_WINDOW
        gap = max(memory.gap for memory in self._runs.values())
        return min(at - self._last_read + _SCRAPES * gap, _LONGEST_WINDOW)

    def _outcome(self, run: RunQuery, reading: ReadingLike, at: float) -> Outcome:
        memory = self._runs.get(run.run_id)
        if memory is not None and memory.workloads != (run.canary, run.baseline):
            memory = None  # after a promotion, say: a base line again
        ever = run if memory is None else _ever_own(run, memory)
        try:
            canary = _own(reading, run.canary, ever.canary_pods)
            baseline = _own(reading, run.baseline, ever.baseline_pods)
            if not canary and not baseline:
                because = f"no requests of {run.baseline} or {run.canary} are known to Prometheus"
                return Blind("NoSeries", because)
            gap = _scrape_gap([*canary.values(), *baseline.values()]) or (memory.gap if memory else self._gap)
            live = [_live(arm, at - _horizon(gap)) for arm in (canary, baseline)]
            stale = _stale(run, memory, *live)
            if stale is not None:
                return stale
            on_time = [_on_time(arm, gap) for arm in live]
            end = min(pod.times[-1] for arm in on_time for pod in arm.values())
            if memory is None:
                first = _snapshot(canary, end + gap / 2), _snapshot(baseline, end + gap / 2)
                self._runs[run.run_id] = _base_line(run, first, end, gap)
                return Pending("BaseLine", "the first reading: counts start from here")
            memory.gap = gap
            readings = [_snapshot(arm, end + gap / 2) for arm in live]
            if end <= memory.end or not _complete(memory, on_time, readings):
                because = f"no complete scrape since the last interval; pods are scraped every {gap:.0f} s"
                return Pending("NoNewScrape", because)
            return _advance(ever, memory, readings, end)
        except PrometheusDown as error:
            return Blind("PrometheusDown", str(error))
        except PrometheusError as error:
            return Blind("PrometheusAnswer", str(error))
        except EdgesDiffer as error:
            return Blind("EdgesDiffer", str(error))
        except BadCounts as error:
            return Blind("PrometheusAnswer", str(error))


def _own(reading: ReadingLike, workload: WorkloadRef, pods: Pods) -> dict[str, PodSamples]:
    """The arm's own pods. Raises what made the workload unreadable."""
    if workload in reading.failures:
        raise reading.failures[workload]
    samples = reading.workloads.get(workload, WorkloadSamples())
    if samples.fault:
        raise BadCounts(str(workload), samples.fault, "usable")
    return {name: pod for name, pod in samples.pods.items() if belongs(name, pods)}


def _scrape_gap(pods: Sequence[PodSamples]) -> float | None:
    """The median time between scrapes, None where no pod has two."""
    gaps = [later - earlier for pod in pods for earlier, later in zip(pod.times, pod.times[1:], strict=False)]
    return statistics.median(gaps) if gaps else None


def _horizon(gap: float) -> float:
    """Seconds without a sample after which a pod is not waited for or counted on."""
    return max(_LIVE * gap, _LEAST_LIVE)


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
        if not live and any(belongs(name, own) for name in before.pods):
            return Blind("Stale", f"Prometheus has no recent samples of {workload}, which served before")
    return None


def _on_time(arm: Mapping[str, PodSamples], gap: float) -> dict[str, PodSamples]:
    """The pods that did not miss their scrape while others of their arm had it."""
    newest = max((pod.times[-1] for pod in arm.values()), default=0.0)
    return {name: pod for name, pod in arm.items() if pod.times[-1] >= newest - 1.5 * gap}


def _snapshot(arm: Mapping[str, PodSamples], until: float) -> dict[str, PodReading]:
    found = {name: pod.newest(until) for name, pod in arm.items()}
    return {name: reading for name, reading in found.items() if reading is not None}


def _complete(
    memory: _Memory,
    on_time: Sequence[Mapping[str, PodSamples]],
    readings: Sequence[Mapping[str, PodReading]],
) -> bool:
    """Whether every pod that is waited for has a new scrape: an interval with half of them, or with one arm,
    would prove nothing."""
    return all(
        pod in current and current[pod].time > arm.pods[pod].time
        for arm, pods, current in zip((memory.canary, memory.baseline), on_time, readings, strict=True)
        for pod in arm.pods.keys() & pods.keys()
    )


def _base_line(
    run: RunQuery, readings: tuple[dict[str, PodReading], dict[str, PodReading]], end: float, gap: float
) -> _Memory:
    own = run.canary_pods, run.baseline_pods
    arms = base_line(readings, own, end=end, weight=run.weight, warm_up=run.warm_up)
    return _Memory((run.canary, run.baseline), end, gap, *arms)


def _ever_own(run: RunQuery, memory: _Memory) -> RunQuery:
    """`run` with all pods that ever were its own, where they are named."""
    for arm, own in ((memory.canary, run.canary_pods), (memory.baseline, run.baseline_pods)):
        arm.births.update(births(own))
    return replace(
        run,
        canary_pods=memory.canary.births if isinstance(run.canary_pods, Mapping) else run.canary_pods,
        baseline_pods=memory.baseline.births if isinstance(run.baseline_pods, Mapping) else run.baseline_pods,
    )


def _advance(
    run: RunQuery, memory: _Memory, readings: Sequence[dict[str, PodReading]], end: float
) -> Interval | Quarantined:
    arms, start = (memory.canary, memory.baseline), memory.end
    before = [dict(arm.pods) for arm in arms]
    # First: what cannot be counted is a base line for what comes next.
    for arm, current in zip(arms, readings, strict=True):
        arm.remember(current)
    memory.end = end
    grown = [
        deltas(previous, current, since=start, born=arm.born())
        for arm, previous, current in zip(arms, before, readings, strict=True)
    ]
    return _judged_or_not(run, memory, grown, (start, end), common_edges(*grown))


def _judged_or_not(
    run: RunQuery,
    memory: _Memory,
    grown: Sequence[Mapping[str, PodDelta]],
    span: tuple[float, float],
    edges: tuple[float, ...],
) -> Interval | Quarantined:
    start, end = span
    settled = run.settled_since
    arms = (memory.canary, memory.baseline)

    def interval(counted: Sequence[Mapping[str, PodDelta]]) -> Interval:
        canary, baseline = ({pod: delta.counts for pod, delta in pods.items()} for pods in counted)
        whole = all(_whole(arm, pods, span, memory.gap) for arm, pods in zip(arms, counted, strict=True))
        return Interval(start, end, run.weight, canary, baseline, edges, whole=whole)

    if settled is None or start < settled:
        because = "the interval touches a change of the weight or its propagation"
        return Quarantined("WeightChange", because, interval(grown))
    warm = [arm.warm(pods, run.warm_up) for arm, pods in zip(arms, grown, strict=True)]
    if grown[0] and not warm[0]:
        because = f"the canary's pods are younger than {run.warm_up:.0f} s"
        return Quarantined("WarmUp", because, interval(grown))
    # What a single pod brings from before the weight settled (it missed a scrape) is left out.
    return interval([begun_since(pods, settled) for pods in warm])


def _whole(arm: Arm, pods: Mapping[str, PodDelta], span: tuple[float, float], gap: float) -> bool:
    """Whether every pod that is scraped is in it, with what it served in the span: no more, no less."""
    start, end = span
    scraped = (pod for pod, reading in arm.pods.items() if reading.time >= end - _horizon(gap))
    return all(pod in pods and pods[pod].start > start - gap and pods[pod].end > end - gap for pod in scraped)
