"""Istio's request telemetry: which series to ask for, what their labels mean, samples grouped by pod.

Counters are read raw, as a range of samples with their true timestamps: rate() and increase() extrapolate,
and lose the first value of a new series, which is where a canary's first errors are.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from analysis.errors import BadCounts

Series = Mapping[
    str, Any
]  # {"metric": {label: value}, "values": [[seconds, "text"], ...]}, as Prometheus has it

REQUESTS: Final = "istio_requests_total"
BUCKETS: Final = "istio_request_duration_milliseconds_bucket"
_MILLISECONDS: Final = 1000.0

_SERVER_ERRORS: Final = re.compile(r"5\d\d")
_GRPC_ERRORS: Final = frozenset({"2", "4", "8", "12", "13", "14", "15"})
_TARGET: Final = ("job", "instance")
_APART: Final = frozenset(
    {"__name__", "le", "response_code", "response_flags", "grpc_response_status", *_TARGET}
)
_REGEX_SPECIAL: Final = re.compile(r"[\\.+*?()|\[\]{}^$]")
_EVENTS: Final = ("response_code", "response_flags")


@dataclass(frozen=True, slots=True, order=True)
class WorkloadRef:
    """A workload as Istio's telemetry names it: destination_workload(_namespace)."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class SeriesId:
    """What tells one pod's counters apart; `rest` is every other label, so that no two are mixed up."""

    code: str
    flags: str
    grpc_status: str
    rest: tuple[tuple[str, str], ...]

    @property
    def counted(self) -> bool:
        """Whether the server had a say: code 0 with flag DC is a client that left."""
        return not (self.code == "0" and "DC" in self.flags.split(","))

    @property
    def failed(self) -> bool:
        """5xx, no answer at all, or a gRPC status that blames the server."""
        grpc = ("request_protocol", "grpc") in self.rest and self.grpc_status in _GRPC_ERRORS
        return self.code == "0" or grpc or _SERVER_ERRORS.fullmatch(self.code) is not None

    def __str__(self) -> str:
        return f"code {self.code} flags {self.flags}" + (
            f" grpc {self.grpc_status}" if self.grpc_status else ""
        )


@dataclass(frozen=True, slots=True)
class PodReading:
    """One pod's counters at one scrape, all cumulative.

    time: of the scrape, seconds since the epoch; buckets: one count per edge and one for +Inf, each including
    those below it; edges: seconds, ascending; target: job and instance that were scraped.
    """

    time: float
    requests: Mapping[SeriesId, int] = field(default_factory=dict)
    buckets: Mapping[SeriesId, tuple[int, ...]] = field(default_factory=dict)
    edges: tuple[float, ...] = ()
    target: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class PodSamples:
    """All scrapes of one pod within the window; values are still text, and checked when a scrape is read.

    times: ascending; without the newest scrape if it lacks a series that the one before it has. A store that
    is fed by remote write gets the series of a scrape one after the other: a counter that only seems to be
    missing would come back as a new one, and everything it ever counted would count as just served. One that
    is truly gone delays its pod by one scrape.
    """

    pod: str
    times: tuple[float, ...]
    requests: Mapping[SeriesId, Mapping[float, str]]
    buckets: Mapping[SeriesId, Mapping[str, Mapping[float, str]]]  # per `le`, as Prometheus writes it
    target: tuple[str, ...] = ()

    def newest(self, at_most: float) -> PodReading | None:
        """The newest scrape not after `at_most`. Raises BadCounts for a value that is no count."""
        time = max((t for t in self.times if t <= at_most), default=None)
        if time is None:
            return None
        requests = {
            series: whole(values[time], f"pod {self.pod}: {REQUESTS} {series}")
            for series, values in self.requests.items()
            if time in values
        }
        edges: tuple[float, ...] = ()
        buckets = {}
        for series, by_edge in self.buckets.items():
            if any(time in values for values in by_edge.values()):
                edges, buckets[series] = self._cumulative(series, by_edge, time, edges)
        return PodReading(time, requests, buckets, edges, self.target)

    def _cumulative(
        self,
        series: SeriesId,
        by_edge: Mapping[str, Mapping[float, str]],
        time: float,
        known: tuple[float, ...],
    ) -> tuple[tuple[float, ...], tuple[int, ...]]:
        where = f"pod {self.pod}: {BUCKETS} {series}"
        upper = {le: _seconds(le, where) for le in by_edge}
        ascending = sorted(by_edge, key=lambda le: upper[le])
        edges = tuple(upper[le] for le in ascending[:-1])
        if not ascending or upper[ascending[-1]] != float("inf"):
            raise BadCounts(f"{where} le", ascending, "a histogram with an edge at +Inf")
        if known and edges != known:
            raise BadCounts(f"{where} le", edges, f"the edges of the pod's other series, {known}")
        if any(time not in by_edge[le] for le in ascending):
            raise BadCounts(where, time, "a scrape with a sample for every edge")
        return edges, tuple(whole(by_edge[le][time], where) for le in ascending)


@dataclass(frozen=True, slots=True)
class WorkloadSamples:
    """One workload's pods by name; `fault` says why its series cannot be used, "" if they can."""

    pods: Mapping[str, PodSamples] = field(default_factory=dict)
    fault: str = ""


def selector(metric: str, workloads: Collection[WorkloadRef], window: float) -> str:
    """PromQL for the raw samples of `metric` of all `workloads` in the last `window` seconds."""
    namespaces = _any_of({workload.namespace for workload in workloads})
    names = _any_of({workload.name for workload in workloads})
    matchers = [
        'reporter="destination"',
        f'destination_workload_namespace=~"{namespaces}"',
        f'destination_workload=~"{names}"',
    ]
    if metric == BUCKETS:
        matchers.append('response_code!~"5..|0"')  # fast failures must not look like speed
    return f"{metric}{{{','.join(matchers)}}}[{max(1, round(window * 1000))}ms]"


def _any_of(values: set[str]) -> str:
    """An anchored regular expression (RE2) for exactly these values, written as a PromQL string's inside."""
    pattern = "|".join(_REGEX_SPECIAL.sub(r"\\\g<0>", value) for value in sorted(values))
    return pattern.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")


def by_workload(
    requests: Iterable[Series],
    buckets: Iterable[Series],
    wanted: Collection[WorkloadRef],
    pod_label: str = "pod",
) -> Mapping[WorkloadRef, WorkloadSamples]:
    """Both metrics' series grouped by workload and pod; series of other workloads are dropped.

    A pod that is scraped as two targets (ports 15020 and 15090, say) would count double: one target is
    taken, the first by its labels among those with the newest samples.
    """
    groups: dict[WorkloadRef, tuple[list[Series], list[Series]]] = {ref: ([], []) for ref in wanted}
    for place, series_list in enumerate((requests, buckets)):
        for series in series_list:
            group = groups.get(_workload(series))
            if group is not None:
                group[place].append(series)
    return {ref: _workload_samples(*both, pod_label) for ref, both in groups.items()}


def _workload(series: Series) -> WorkloadRef:
    labels = series["metric"]
    return WorkloadRef(
        labels.get("destination_workload_namespace", ""), labels.get("destination_workload", "")
    )


def _workload_samples(requests: list[Series], buckets: list[Series], pod_label: str) -> WorkloadSamples:
    try:
        targets = _targets(requests, buckets, pod_label)
    except BadCounts as error:
        return WorkloadSamples(fault=str(error))
    pods: dict[str, PodSamples] = {}
    for _, samples in sorted(targets.items(), key=lambda item: item[0]):
        other = pods.get(samples.pod)
        if samples.times and (other is None or samples.times[-1] > other.times[-1] + _gap(other)):
            pods[samples.pod] = samples
    return WorkloadSamples(pods)


def _gap(samples: PodSamples) -> float:
    """A scrape interval and a half: newer than that means that the other target is gone."""
    times = samples.times
    return 1.5 * (times[-1] - times[-2]) if len(times) > 1 else 0.0


@dataclass(slots=True)
class _Target:
    requests: dict[SeriesId, dict[float, str]] = field(default_factory=lambda: defaultdict(dict))
    buckets: dict[SeriesId, dict[str, dict[float, str]]] = field(
        default_factory=lambda: defaultdict(lambda: defaultdict(dict))
    )


def _targets(
    requests: list[Series], buckets: list[Series], pod_label: str
) -> Mapping[tuple[str, ...], PodSamples]:
    """Samples by scrape target: (pod, job, instance and the like)."""
    targets: dict[tuple[str, ...], _Target] = defaultdict(_Target)
    for series in requests:
        key, series_id = _identity(series, pod_label)
        targets[key].requests[series_id].update(_samples(series))
    for series in buckets:
        key, series_id = _identity(series, pod_label)
        targets[key].buckets[series_id][_label(series, "le")].update(_samples(series))
    return {key: _pod_samples(key, target) for key, target in targets.items()}


def _pod_samples(key: tuple[str, ...], target: _Target) -> PodSamples:
    every = [*target.requests.values(), *(values for le in target.buckets.values() for values in le.values())]
    times = sorted({time for values in target.requests.values() for time in values})
    if len(times) > 1 and any(times[-2] in values and times[-1] not in values for values in every):
        times.pop()
    return PodSamples(key[0], tuple(times), target.requests, target.buckets, key[1:])


def _identity(series: Series, pod_label: str) -> tuple[tuple[str, ...], SeriesId]:
    labels: Mapping[str, str] = series["metric"]
    code, flags = (_label(series, name) for name in _EVENTS)
    target = tuple(labels.get(name, "") for name in _TARGET)
    rest = tuple(sorted((k, v) for k, v in labels.items() if k not in _APART))
    pod = labels.get(pod_label, "") or target[1]
    return (pod, *target), SeriesId(code, flags, labels.get("grpc_response_status", ""), rest)


def _label(series: Series, name: str) -> str:
    value = series["metric"].get(name)
    if not isinstance(value, str) or not value:
        metric = series["metric"].get("__name__", "a series")
        raise BadCounts(f"{metric} label {name}", value, "there; a Telemetry resource may have removed it")
    return value


def _samples(series: Series) -> dict[float, str]:
    return {float(time): value for time, value in series["values"]}


def _seconds(le: str, where: str) -> float:
    try:
        return float(le) / _MILLISECONDS
    except ValueError:
        raise BadCounts(f"{where} le", le, "a number of milliseconds") from None


def whole(text: str, where: str) -> int:
    """A counter's value: a whole number of at least 0, however Prometheus writes it (17, 1e+06)."""
    try:
        value = float(text)
    except ValueError:
        raise BadCounts(where, text, "a number") from None
    if not 0 <= value < 2**53 or value != int(value):
        raise BadCounts(where, text, "a whole number of at least 0")
    return int(value)
