"""What happened between two readings of an arm: integer deltas per pod, with the span they truly cover.

The traps, each with its rule:

    a counter fell                          the pod's span is left out: the reading is a base line
    a pod that is new in the run            its counters started at 0
    any other pod without a past            its first reading is a base line
    a new series of a known pod             it started at 0
    a pod that is scraped as another target its first reading is a base line
    a vanished series or pod                contributes nothing
    no new scrape of a pod                  contributes nothing now; the next delta spans both

Why a fall is not counted from zero. Counters fall when a proxy restarts, or when an idle series was evicted
and came back. What was served between the last scrape and the restart is lost either way, and those are the
requests that are most likely to have failed. To count what came after the restart, and mistake no eviction
for one, the containers' restarts would have to be known; they are for the canary's pods alone. Then errors
around restarts would count in one arm only, against the canary. So a pod loses the span with the fall, its
failed requests with its good ones, in both arms by the same rule. What that hides is bounded: of the baseline,
one span per restart; of the canary nothing that could be promoted, as a container that crashed ends the run.
A restart is overlooked when every counter has outgrown its old value within one span: a pod as young as that
is warming up.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass

from analysis.counts import Counts
from analysis.errors import BadCounts, EdgesDiffer
from analysis.telemetry import PodReading, SeriesId

ArmReading = Mapping[str, PodReading]  # pod name -> its counters
Counting = Callable[[str, PodReading, PodReading], Counts]  # pod, before, now


@dataclass(frozen=True, slots=True)
class PodDelta:
    """What one pod served between two of its scrapes, start and end in seconds since the epoch."""

    start: float
    end: float
    counts: Counts
    edges: tuple[float, ...] = ()


def deltas(
    previous: ArmReading,
    current: ArmReading,
    *,
    since: float,
    born: Mapping[str, float] | None = None,
    counts: Counting | None = None,
) -> dict[str, PodDelta]:
    """What each pod of an arm served between the readings, as far as that can be told.

    since: when `previous` was taken; born: pods that started at zero if `previous` has none of them, with the
    time of their birth (seconds since the epoch); counts: what the growth of a pod's counters means, by default
    requests, errors and latencies of Istio's. Raises BadCounts, EdgesDiffer.
    """
    counts = counts or _counts
    pods: dict[str, PodDelta] = {}
    for pod, now in current.items():
        before = previous.get(pod)
        birth = (born or {}).get(pod)
        if before is None and birth is None:
            continue
        if before is None:
            before = PodReading(min(max(since, birth or since), now.time))
        other_target = before.target and before.target != now.target
        if now.time <= before.time or other_target or fell(before, now):
            continue
        pods[pod] = PodDelta(before.time, now.time, counts(pod, before, now), now.edges)
    return pods


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


def fell(before: PodReading, now: PodReading) -> bool:
    """Whether a counter that both readings have is lower in the later one."""
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
