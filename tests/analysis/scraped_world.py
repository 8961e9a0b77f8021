"""A Prometheus that scraped what a test says, and a builder of intervals that is ticked on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from analysis.errors import PrometheusError
from analysis.intervals import IntervalBuilder, Outcome, RunQuery
from analysis.prometheus import Reading
from analysis.telemetry import BUCKETS, REQUESTS, WorkloadRef, by_workload

CANARY, BASELINE = WorkloadRef("shop", "checkout-canary"), WorkloadRef("shop", "checkout")
RUN = RunQuery("run", CANARY, BASELINE, weight=0.1, settled_since=0.0)
PODS = ((CANARY, "c0"), (CANARY, "c1"), (BASELINE, "b0"), (BASELINE, "b1"))


@dataclass
class World:
    """Pods that were scraped: every scrape is a time and cumulative counts per response code."""

    scrapes: dict[tuple[WorkloadRef, str], list[tuple[float, dict[str, int]]]] = field(default_factory=dict)
    edges: dict[str, tuple[str, ...]] = field(default_factory=dict)  # pod -> le of its histogram
    failures: dict[WorkloadRef, PrometheusError] = field(default_factory=dict)
    asked: list[tuple[tuple[WorkloadRef, ...], float]] = field(default_factory=list)

    def scrape(self, workload: WorkloadRef, pod: str, time: float, **counts: int) -> None:
        served = {code.removeprefix("c"): n for code, n in counts.items()}
        self.scrapes.setdefault((workload, pod), []).append((time, served))

    def read(self, workloads: Sequence[WorkloadRef], at: float, window: float) -> Reading:
        self.asked.append((tuple(workloads), window))
        requests, buckets = [], []
        for (workload, pod), scrapes in self.scrapes.items():
            recent = [(t, counts) for t, counts in scrapes if at - window <= t <= at]
            for code in sorted({code for _, counts in recent for code in counts}):
                values = [[t, str(counts[code])] for t, counts in recent if code in counts]
                requests.append(pod_series(REQUESTS, workload, pod, code, values))
                buckets += [
                    pod_series(BUCKETS, workload, pod, code, values, le=le) for le in self.edges.get(pod, ())
                ]
        wanted = [ref for ref in workloads if ref not in self.failures]
        return Reading(at, by_workload(requests, buckets, wanted), self.failures)


def pod_series(
    name: str, workload: WorkloadRef, pod: str, code: str, values: list[list[Any]], **more: str
) -> Mapping[str, Any]:
    labels = {
        "__name__": name,
        "destination_workload": workload.name,
        "destination_workload_namespace": workload.namespace,
        "response_code": code,
        "response_flags": "-",
        "request_protocol": "http",
        "pod": pod,
        **more,
    }
    return {"metric": labels, "values": values}


class Daemon:
    """A builder that is ticked."""

    def __init__(self, world: World, run: RunQuery = RUN) -> None:
        self.world, self.run = world, run
        self.builder = IntervalBuilder(world)

    def tick(self, at: float, **changes: Any) -> Outcome:
        run = replace(self.run, **changes)
        return self.builder.tick([run], at)[run.run_id]


def steady_world() -> World:
    """Both arms scraped every 10 s since 100; the canary serves 10 a scrape, one of them fails."""
    world = World()
    for i in range(12):
        world.scrape(CANARY, "c", 100 + 10 * i, c200=9 * i, c503=i)
        world.scrape(BASELINE, "b", 103 + 10 * i, c200=90 * i)
    return world
