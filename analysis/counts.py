"""What the judge is told: integers per pod, arm and closed interval. Never rates."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from analysis.errors import BadCounts


@dataclass(frozen=True, slots=True)
class Counts:
    """What one pod served in one interval.

    requests: how many; errors: how many of them failed; latency: requests per histogram bucket, **not**
    cumulative, one more entry than there are edges (the last is above the highest edge), or empty where no
    histogram is known. By default only successful requests are in `latency`: it need not sum to `requests`.
    Raises BadCounts.
    """

    requests: int
    errors: int
    latency: tuple[int, ...] = ()

    def __post_init__(self) -> None:
        requests = _count("requests", self.requests)
        errors = _count("errors", self.errors)
        if errors > requests:
            raise BadCounts("errors", errors, f"at most the {requests} requests")
        latency = tuple(_count(f"latency[{i}]", n) for i, n in enumerate(self.latency))
        object.__setattr__(self, "requests", requests)
        object.__setattr__(self, "errors", errors)
        object.__setattr__(self, "latency", latency)


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed span between two readings, at one weight.

    start, end: seconds since the epoch; weight: the canary's configured share, 0..1; canary, baseline: pod
    name -> counts, {"": ...} where pods are unknown, {} for an arm without pods; edges: upper bounds of the
    latency buckets in seconds, ascending, without +Inf; whole: every pod of both arms is in it with what it
    served in the span, so that its totals show how the traffic was split. Raises BadCounts.
    """

    start: float
    end: float
    weight: float
    canary: Mapping[str, Counts] = field(default_factory=dict)
    baseline: Mapping[str, Counts] = field(default_factory=dict)
    edges: tuple[float, ...] = ()
    whole: bool = True

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)
        if not (_is_number(self.weight) and 0 <= self.weight <= 1):
            raise BadCounts("weight", self.weight, "a share between 0 and 1")
        _check_edges(self.edges)
        for arm, pods in (("canary", self.canary), ("baseline", self.baseline)):
            for pod, counts in pods.items():
                _check_buckets(f"{arm}[{pod!r}]", counts, len(self.edges))


def pooled(counts: Iterable[Counts]) -> Counts:
    """The sum over pods. Pods without a histogram add none; no pods at all are Counts(0, 0)."""
    requests = errors = 0
    latency: list[int] = []
    for one in counts:
        requests += one.requests
        errors += one.errors
        if len(one.latency) > len(latency):
            latency.extend([0] * (len(one.latency) - len(latency)))
        for i, n in enumerate(one.latency):
            latency[i] += n
    return Counts(requests, errors, tuple(latency))


def _count(name: str, value: object) -> int:
    if isinstance(value, bool):
        raise BadCounts(name, value, "a whole number of at least 0")
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # numpy integers are welcome, floats are not
    except TypeError:
        raise BadCounts(name, value, "a whole number of at least 0") from None
    if number < 0:
        raise BadCounts(name, value, "a whole number of at least 0")
    return number


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _check_span(start: float, end: float) -> None:
    for name, value in (("start", start), ("end", end)):
        if not _is_number(value):
            raise BadCounts(name, value, "a finite number of seconds since the epoch")
    if end <= start:
        raise BadCounts("end", end, f"after the start {start!r}")


def _check_edges(edges: tuple[float, ...]) -> None:
    for i, edge in enumerate(edges):
        if not _is_number(edge) or edge <= 0:
            raise BadCounts(f"edges[{i}]", edge, "a finite number of seconds above 0 (+Inf is implied)")
        if i and edge <= edges[i - 1]:
            raise BadCounts(f"edges[{i}]", edge, f"above the edge before it, {edges[i - 1]!r}")


def _check_buckets(where: str, counts: Counts, edges: int) -> None:
    if not isinstance(counts, Counts):
        raise BadCounts(where, counts, "a Counts")
    if counts.latency and len(counts.latency) != edges + 1:
        raise BadCounts(f"{where}.latency", len(counts.latency), f"{edges + 1} buckets for {edges} edges")
