"""What the judge is told: integers per pod, arm and closed interval. Never rates."""

from __future__ import annotations

import math
import operator
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import NamedTuple

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
class Arms:
    """One custom proportion in both arms: pod name -> Counts(total, bad), as in Interval. Raises BadCounts."""

    canary: Mapping[str, Counts] = field(default_factory=dict)
    baseline: Mapping[str, Counts] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed span between two readings, at one weight.

    start, end: seconds since the epoch; weight: the canary's configured share, 0..1; canary, baseline: pod
    name -> counts, {"": ...} where pods are unknown, {} for an arm without pods; edges: upper bounds of the
    latency buckets in seconds, ascending, without +Inf; custom: metric -> its counts in both arms; values:
    threshold -> the value read at the end of the interval, None or NaN where there is none; whole: every pod
    of both arms is in it with what it served in the span, so that its totals show how the traffic was split.
    Raises BadCounts.
    """

    start: float
    end: float
    weight: float
    canary: Mapping[str, Counts] = field(default_factory=dict)
    baseline: Mapping[str, Counts] = field(default_factory=dict)
    edges: tuple[float, ...] = ()
    custom: Mapping[str, Arms] = field(default_factory=dict)
    values: Mapping[str, float | None] = field(default_factory=dict)
    whole: bool = True

    def __post_init__(self) -> None:
        _check_span(self.start, self.end)
        if not (_is_number(self.weight) and 0 <= self.weight <= 1):
            raise BadCounts("weight", self.weight, "a share between 0 and 1")
        _check_edges(self.edges)
        for arm, pods in (("canary", self.canary), ("baseline", self.baseline)):
            for pod, counts in pods.items():
                _check_buckets(f"{arm}[{pod!r}]", counts, len(self.edges))
        for name, arms in self.custom.items():
            _check_arms(f"custom[{name!r}]", arms)
        for name, value in self.values.items():
            if value is not None and (isinstance(value, bool) or not isinstance(value, int | float)):
                raise BadCounts(f"values[{name!r}]", value, "a number, NaN or None")


class Totals(NamedTuple):
    """The sum over an arm's pods; latency: of those that have a histogram, () where none has."""

    requests: int
    errors: int
    latency: tuple[int, ...]


def pooled(pods: Iterable[Counts]) -> Totals:
    """The sum over pods; no pods at all are Totals(0, 0, ()). All histograms have the same edges."""
    counts = list(pods)
    if len(counts) == 1:
        return Totals(counts[0].requests, counts[0].errors, counts[0].latency)
    histograms = [one.latency for one in counts if one.latency]
    latency = tuple(map(sum, zip(*histograms, strict=True)))
    return Totals(sum([one.requests for one in counts]), sum([one.errors for one in counts]), latency)


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


def _check_arms(where: str, arms: Arms) -> None:
    if not isinstance(arms, Arms):
        raise BadCounts(where, arms, "an Arms")
    for arm, pods in (("canary", arms.canary), ("baseline", arms.baseline)):
        for pod, counts in pods.items():
            if not isinstance(counts, Counts):
                raise BadCounts(f"{where}.{arm}[{pod!r}]", counts, "a Counts")


def _check_buckets(where: str, counts: Counts, edges: int) -> None:
    if not isinstance(counts, Counts):
        raise BadCounts(where, counts, "a Counts")
    if counts.latency and len(counts.latency) != edges + 1:
        raise BadCounts(f"{where}.latency", len(counts.latency), f"{edges + 1} buckets for {edges} edges")
