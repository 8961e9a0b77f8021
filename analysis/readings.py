"""What happened between two readings of an arm: integer deltas per pod, with the span they truly cover.

The traps, each with its rule:

    a counter fell, the proxy restarted     the value itself: it counts from the restart
    a counter fell, no restart is known     the pod's interval is discarded (an idle series was evicted)
    a pod that is new in the run            its counters started at 0
    any other pod without a past            its first reading is a base line
    a new series of a known pod             it started at 0
    a pod that is scraped as another target its first reading is a base line
    a vanished series or pod                contributes nothing
    no new scrape of a pod                  contributes nothing now; the next delta spans both
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from analysis.counts import Counts
from analysis.errors import BadCounts, EdgesDiffer
from analysis.telemetry import PodReading, SeriesId

ArmReading = Mapping[str, PodReading]  # pod name -> its counters


@dataclass(frozen=True, slots=True)
class PodDelta:
    """What one pod served between two of its scrapes, start and end in seconds since the epoch."""

    start: float
    end: float
    counts: Counts
    edges: tuple[float, ...] = ()


@dataclass(frozen=True, slots=True)
class ArmDelta:
    """pods: what each served; left_out: pods that had a new scrape and cannot be counted, and why."""

    pods: Mapping[str, PodDelta]
    left_out: Mapping[str, str]


def deltas(
    previous: ArmReading,
    current: ArmReading,
    *,
    since: float,
    born: Mapping[str, float] | None = None,
    restarted: Collection[str] = (),
) -> ArmDelta:
    """What each pod of an arm served between the readings.

    since: when `previous` was taken; born: pods known to be new in the run, with the time of their birth
    (seconds since the epoch); restarted: pods whose proxy restarted since `previous`.
    """
    pods: dict[str, PodDelta] = {}
    left_out: dict[str, str] = {}
    for pod, now in current.items():
        before = previous.get(pod)
        birth = (born or {}).get(pod)
        if before is None and birth is None:
            left_out[pod] = "BaseLine"
            continue
        if before is None:
            before = PodReading(min(max(since, birth or since), now.time))
        elif now.time <= before.time:
            continue
        if before.target != now.target and before.target:
            left_out[pod] = "TargetChanged"
            continue
        if _fell(before, now):
            if pod not in restarted:
                left_out[pod] = "CounterFell"
                continue
            before = PodReading(before.time)
        pods[pod] = PodDelta(before.time, now.time, _counts(pod, before, now), now.edges)
    return ArmDelta(pods, left_out)


def common_edges(*arms: Mapping[str, PodDelta]) -> tuple[float, ...]:
    """The histogram edges of all pods of all arms, () where none has a histogram. Raises EdgesDiffer."""
    found: dict[tuple[float, ...], str] = {}
    for pods in arms:
        for pod, delta in pods.items():
            if delta.edges:
                found.setdefault(delta.edges, pod)
    if len(found) > 1:
        (first, one), (second, other) = list(found.items())[:2]
        raise EdgesDiffer(f"latency edges of pod {other!r}", second, f"those of pod {one!r}, {first}")
    return next(iter(found), ())


def _fell(before: PodReading, now: PodReading) -> bool:
    if any(now.requests[series] < n for series, n in before.requests.items() if series in now.requests):
        return True
    return any(
        any(a < b for a, b in zip(now.buckets[series], counts, strict=True))
        for series, counts in before.buckets.items()
        if series in now.buckets and len(now.buckets[series]) == len(counts)
    )


def _counts(pod: str, before: PodReading, now: PodReading) -> Counts:
    requests = errors = 0
    for series, n in now.requests.items():
        grown = n - before.requests.get(series, 0)
        if series.counted:
            requests += grown
            errors += grown if series.failed else 0
    return Counts(requests, errors, _latency(pod, before, now))


def _latency(pod: str, before: PodReading, now: PodReading) -> tuple[int, ...]:
    """Successful requests per bucket, not cumulative."""
    if not now.edges:
        return ()
    if before.edges and before.edges != now.edges:
        raise EdgesDiffer(f"latency edges of pod {pod!r}", now.edges, f"those it had before, {before.edges}")
    cumulative = [0] * (len(now.edges) + 1)
    for series, counts in now.buckets.items():
        if series.counted and not series.failed:
            for i, n in enumerate(_grown(series, counts, before)):
                cumulative[i] += n
    buckets = tuple(b - a for a, b in itertools.pairwise([0, *cumulative]))
    if min(buckets) < 0:
        raise BadCounts(f"latency buckets of pod {pod!r}", buckets, "a cumulative histogram")
    return buckets


def _grown(series: SeriesId, counts: tuple[int, ...], before: PodReading) -> list[int]:
    earlier = before.buckets.get(series, (0,) * len(counts))
    return [n - m for n, m in zip(counts, earlier, strict=True)]
