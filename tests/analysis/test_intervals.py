"""Readings become intervals: what is judged, what is quarantined, what is waited for, what blinds a run."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import Counts, Interval
from analysis.errors import PrometheusAnswer, PrometheusDown, PrometheusError
from analysis.intervals import Blind, IntervalBuilder, Outcome, Pending, Quarantined, RunQuery
from analysis.prometheus import Reading
from analysis.telemetry import BUCKETS, REQUESTS, WorkloadRef, WorkloadSamples, by_workload

CANARY, BASELINE = WorkloadRef("shop", "checkout-canary"), WorkloadRef("shop", "checkout")
RUN = RunQuery("run", CANARY, BASELINE, weight=0.1, settled_since=0.0)


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
                requests.append(_series(REQUESTS, workload, pod, code, values))
                buckets += [
                    _series(BUCKETS, workload, pod, code, values, le=le) for le in self.edges.get(pod, ())
                ]
        wanted = [ref for ref in workloads if ref not in self.failures]
        return Reading(at, by_workload(requests, buckets, wanted), self.failures)


def _series(
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


@pytest.fixture
def world() -> World:
    """Both arms scraped every 10 s since 100; the canary serves 10 a scrape, one of them fails."""
    world = World()
    for i in range(12):
        world.scrape(CANARY, "c", 100 + 10 * i, c200=9 * i, c503=i)
        world.scrape(BASELINE, "b", 103 + 10 * i, c200=90 * i)
    return world


class TestIntervals:
    def test_the_first_reading_is_a_base_line(self, world: World) -> None:
        outcome = Daemon(world).tick(115)
        assert isinstance(outcome, Pending)
        assert outcome.reason == "BaseLine"

    def test_then_intervals_join_up_and_count_everything_once(self, world: World) -> None:
        daemon = Daemon(world)
        daemon.tick(115)
        first, second = daemon.tick(125), daemon.tick(145)
        assert isinstance(first, Interval)
        assert isinstance(second, Interval)
        assert (first.start, first.end, second.start, second.end) == (110, 120, 120, 140)
        assert first.canary == {"c": Counts(10, 1)}
        assert first.baseline == {"b": Counts(90, 0)}
        assert second.canary == {"c": Counts(20, 2)}
        assert second.baseline == {"b": Counts(180, 0)}
        assert first.weight == 0.1

    def test_an_interval_ends_where_every_pod_has_a_scrape(self, world: World) -> None:
        daemon = Daemon(world)
        daemon.tick(115)
        outcome = daemon.tick(121)  # the baseline's scrape of 123 is still to come
        assert isinstance(outcome, Interval)
        assert outcome.end == 113

    def test_without_a_new_scrape_nothing_is_said(self, world: World) -> None:
        daemon = Daemon(world)
        daemon.tick(115)
        daemon.tick(125)
        outcome = daemon.tick(126)
        assert isinstance(outcome, Pending)
        assert outcome.reason == "NoNewScrape"

    def test_a_pod_that_missed_a_scrape_holds_nobody_up(self, world: World) -> None:
        world.scrapes[CANARY, "late"] = [
            (t, {"200": n}) for t, n in [(101.0, 0), (111.0, 5), (141.0, 50), (151.0, 60)]
        ]
        daemon = Daemon(world)
        daemon.tick(116)
        outcomes = [daemon.tick(at) for at in (126, 136, 146)]
        late = [o.canary.get("late") for o in outcomes if isinstance(o, Interval)]
        assert late == [None, None, Counts(45, 0)]

    def test_what_it_brings_from_before_the_weight_settled_is_left_out(self, world: World) -> None:
        world.scrapes[CANARY, "late"] = [
            (t, {"200": n}) for t, n in [(101.0, 0), (111.0, 5), (141.0, 50), (151.0, 60)]
        ]
        daemon = Daemon(world)
        daemon.tick(116)
        daemon.tick(126)
        daemon.tick(136)
        outcomes = [daemon.tick(at, settled_since=125.0) for at in (146, 156)]
        late = [o.canary.get("late") for o in outcomes if isinstance(o, Interval)]
        assert late == [None, Counts(10, 0)]

    def test_runs_are_read_together(self, world: World) -> None:
        other = replace(RUN, run_id="other", canary=WorkloadRef("shop", "x"))
        outcomes = IntervalBuilder(world).tick([RUN, other], 115)
        assert set(outcomes) == {"run", "other"}
        assert len(world.asked) == 1

    def test_a_run_that_is_gone_is_forgotten(self, world: World) -> None:
        daemon = Daemon(world)
        daemon.tick(115)
        assert daemon.builder.tick([], 120) == {}
        assert isinstance(daemon.tick(125), Pending)

    def test_later_readings_look_back_only_as_far_as_needed(self, world: World) -> None:
        daemon = Daemon(world)
        for at in (115, 125, 135):
            daemon.tick(at)
        assert [window for _, window in world.asked] == [120, 40, 40]


class TestPods:
    def test_only_the_runs_own_pods_are_evidence(self, world: World) -> None:
        world.scrape(CANARY, "stray", 112, c200=0)
        world.scrape(CANARY, "stray", 122, c200=99)
        for own in ({"c": 0.0}, "c"):
            daemon = Daemon(world, replace(RUN, canary_pods=own))
            daemon.tick(115)
            outcome = daemon.tick(125)
            assert isinstance(outcome, Interval)
            assert set(outcome.canary) == {"c"}

    def test_a_pod_born_in_the_run_started_at_zero(self, world: World) -> None:
        world.scrape(CANARY, "new", 121, c200=7, c503=2)
        daemon = Daemon(world)
        daemon.tick(115, canary_pods={"c": 0.0})
        outcome = daemon.tick(125, canary_pods={"c": 0.0, "new": 112.0})
        assert isinstance(outcome, Interval)
        assert outcome.canary["new"] == Counts(9, 2)

    def test_a_pod_of_unknown_birth_is_a_base_line(self, world: World) -> None:
        world.scrape(BASELINE, "old", 121, c200=70000)
        daemon = Daemon(world)
        daemon.tick(115)
        outcome = daemon.tick(125)
        assert isinstance(outcome, Interval)
        assert "old" not in outcome.baseline

    def test_an_old_pod_by_its_birth_is_a_base_line_too(self, world: World) -> None:
        world.scrape(BASELINE, "old", 121, c200=70000)
        daemon = Daemon(world, replace(RUN, baseline_pods={"b": -9e3, "old": -9e3}))
        daemon.tick(115)
        outcome = daemon.tick(125)
        assert isinstance(outcome, Interval)
        assert "old" not in outcome.baseline

    def test_a_restarted_proxy_counts_from_its_restart(self, world: World) -> None:
        world.scrapes[CANARY, "c"][2:3] = [(120, {"200": 4})]
        for restarted, seen in ((frozenset({"c"}), {"c": Counts(4, 0)}), (frozenset[str](), {})):
            daemon = Daemon(world)
            daemon.tick(115)
            outcome = daemon.tick(125, restarted=restarted)
            assert isinstance(outcome, Interval)
            assert outcome.canary == seen


class TestQuarantine:
    @pytest.mark.parametrize(
        ("settled_since", "judged"),
        [(None, False), (115.0, False), (110.1, False), (110.0, True), (0.0, True)],
    )
    def test_an_interval_that_touches_a_weight_change(
        self, world: World, settled_since: float | None, judged: bool
    ) -> None:
        daemon = Daemon(world)
        daemon.tick(115)
        outcome = daemon.tick(125, settled_since=settled_since)
        assert isinstance(outcome, Interval) is judged
        if isinstance(outcome, Quarantined):
            assert outcome.reason == "WeightChange"
            assert outcome.interval.canary == {"c": Counts(10, 1)}

    def test_a_canary_in_its_warm_up(self, world: World) -> None:
        daemon = Daemon(world, replace(RUN, canary_pods={"c": 95.0}, warm_up=30.0))
        daemon.tick(115)
        young, old = daemon.tick(125), daemon.tick(145)
        assert isinstance(young, Quarantined)
        assert young.reason == "WarmUp"
        assert isinstance(old, Quarantined)  # it began at 120, when the pod was 25 s old
        assert isinstance(daemon.tick(155), Interval)

    def test_the_age_of_a_pod_of_unknown_birth_is_counted_from_the_first_sight(self, world: World) -> None:
        daemon = Daemon(world, replace(RUN, warm_up=15.0))
        outcomes = [daemon.tick(at) for at in (115, 125, 135, 145)]
        assert [type(o) for o in outcomes] == [Pending, Quarantined, Quarantined, Interval]

    def test_one_young_pod_is_left_out_alone(self, world: World) -> None:
        world.scrape(CANARY, "new", 121, c200=7)
        world.scrape(CANARY, "new", 131, c200=17)
        daemon = Daemon(world, replace(RUN, canary_pods={"c": 0.0, "new": 112.0}, warm_up=30.0))
        daemon.tick(115)
        outcome = daemon.tick(125)
        assert isinstance(outcome, Interval)
        assert set(outcome.canary) == {"c"}

    def test_after_a_promotion_the_new_arms_begin_with_a_base_line(self, world: World) -> None:
        for i in range(12):
            world.scrape(WorkloadRef("shop", "new"), "n", 102 + 10 * i, c200=700 * i)
        daemon = Daemon(world)
        daemon.tick(115)
        daemon.tick(125)
        outcomes = [daemon.tick(at, baseline=WorkloadRef("shop", "new")) for at in (135, 145)]
        assert isinstance(outcomes[0], Pending)
        assert isinstance(outcomes[1], Interval)
        assert outcomes[1].baseline == {"n": Counts(700, 0)}


class TestBlindness:
    def test_prometheus_down_blinds_only_the_runs_it_hits(self, world: World) -> None:
        world.failures[WorkloadRef("shop", "x")] = PrometheusDown("no answer", url="http://p", query="q")
        other = replace(RUN, run_id="other", canary=WorkloadRef("shop", "x"))
        outcomes = IntervalBuilder(world).tick([RUN, other], 115)
        assert isinstance(outcomes["run"], Pending)
        assert outcomes["other"] == Blind("PrometheusDown", "no answer (http://p, query 'q')")

    def test_a_wrong_answer_is_told_apart(self, world: World) -> None:
        world.failures[CANARY] = PrometheusAnswer("HTML", url="http://p", query="q")
        outcome = Daemon(world).tick(115)
        assert isinstance(outcome, Blind)
        assert outcome.reason == "PrometheusAnswer"

    def test_after_an_outage_the_counts_of_the_gap_come_with_the_next_reading(self, world: World) -> None:
        daemon = Daemon(world)
        daemon.tick(115)
        down = PrometheusDown("no answer", url="http://p", query="q")
        world.failures = dict.fromkeys((CANARY, BASELINE), down)
        assert isinstance(daemon.tick(125), Blind)
        world.failures = {}
        outcome = daemon.tick(145)
        assert isinstance(outcome, Interval)
        assert (outcome.start, outcome.end) == (110, 140)
        assert outcome.canary == {"c": Counts(30, 3)}

    def test_no_series_at_all(self) -> None:
        outcome = Daemon(World()).tick(115)
        assert isinstance(outcome, Blind)
        assert outcome.reason == "NoSeries"

    def test_a_canary_without_traffic_is_no_blindness(self, world: World) -> None:
        del world.scrapes[CANARY, "c"]
        daemon = Daemon(world)
        daemon.tick(115)
        outcome = daemon.tick(125)
        assert isinstance(outcome, Interval)
        assert outcome.canary == {}

    def test_an_arm_that_served_and_is_not_scraped_any_more(self, world: World) -> None:
        world.scrapes[CANARY, "c"] = world.scrapes[CANARY, "c"][:3]
        daemon = Daemon(world)
        daemon.tick(115)
        daemon.tick(125)
        outcome = daemon.tick(185)
        assert isinstance(outcome, Blind)
        assert outcome.reason == "Stale"
        assert "shop/checkout-canary" in outcome.because

    def test_an_arm_whose_old_pods_are_not_the_runs_any_more(self, world: World) -> None:
        world.scrapes[CANARY, "c"] = world.scrapes[CANARY, "c"][:3]
        daemon = Daemon(world)
        daemon.tick(115, canary_pods={"c": 0.0})
        daemon.tick(125, canary_pods={"c": 0.0})
        assert isinstance(daemon.tick(185, canary_pods={"other": 150.0}), Interval)

    def test_samples_that_are_too_old(self, world: World) -> None:
        outcome = Daemon(world).tick(315)
        assert isinstance(outcome, Blind)
        assert outcome.reason in {"Stale", "NoSeries"}

    def test_different_buckets_are_an_error_not_a_comparison(self, world: World) -> None:
        world.edges = {"c": ("25", "100", "+Inf"), "b": ("25", "50", "+Inf")}
        daemon = Daemon(world)
        daemon.tick(115)
        for at in (125, 135):
            outcome = daemon.tick(at)
            assert isinstance(outcome, Blind)
            assert outcome.reason == "EdgesDiffer"
            assert "0.1" in outcome.because

    def test_a_garbled_counter_is_named(self, world: World) -> None:
        class Garbled(World):
            def read(self, workloads: Sequence[WorkloadRef], at: float, window: float) -> Reading:
                series = _series(REQUESTS, CANARY, "c", "200", [[at - 1, "NaN"]])
                return Reading(at, by_workload([series], [], workloads), {})

        outcome = IntervalBuilder(Garbled()).tick([RUN], 115)["run"]
        assert isinstance(outcome, Blind)
        assert outcome.reason == "PrometheusAnswer"
        assert "NaN" in outcome.because

    def test_a_workload_with_a_fault_is_named(self, world: World) -> None:
        class Faulty(World):
            def read(self, workloads: Sequence[WorkloadRef], at: float, window: float) -> Reading:
                return Reading(
                    at, {CANARY: WorkloadSamples(fault="no code"), BASELINE: WorkloadSamples()}, {}
                )

        outcome = IntervalBuilder(Faulty()).tick([RUN], 115)["run"]
        assert isinstance(outcome, Blind)
        assert "no code" in outcome.because


@st.composite
def histories(draw: st.DrawFn) -> tuple[World, list[float]]:
    """Pods scraped every second at their own offsets, some scrapes missed; and times of ticks."""
    world = World()
    for workload, pod in ((CANARY, "c0"), (CANARY, "c1"), (BASELINE, "b0")):
        offset = draw(st.integers(0, 9)) / 10
        served, kept = {"200": 0, "500": 0}, []
        for second in range(30):
            for code in served:
                served[code] += draw(st.integers(0, 3))
            if second < 5 or draw(st.integers(0, 4)) > 0:
                kept.append((second + offset, dict(served)))
        kept.append((31.0, dict(served)))
        world.scrapes[workload, pod] = kept
    ticks = draw(st.sets(st.integers(41, 310), max_size=30))
    return world, [3.95, *(t / 10 for t in sorted(ticks)), 31.5]


@settings(max_examples=60, deadline=None)
@given(histories())
def test_whatever_the_scrapes_do_every_request_is_counted_once(
    history: tuple[World, list[float]],
) -> None:
    world, ticks = history
    daemon = Daemon(world)
    outcomes = [daemon.tick(at) for at in ticks]
    assert isinstance(outcomes[0], Pending)
    intervals = [o for o in outcomes if isinstance(o, Interval)]
    assert all(later.start == earlier.end for earlier, later in itertools.pairwise(intervals))
    counted: dict[str, int] = {}
    for interval in intervals:
        for pod, counts in [*interval.canary.items(), *interval.baseline.items()]:
            counted[pod] = counted.get(pod, 0) + counts.requests
    base_line = intervals[0].start + 0.5
    for (_, pod), scrapes in world.scrapes.items():
        (*_, at_base) = (counts for time, counts in scrapes if time <= base_line)
        assert counted[pod] == sum(scrapes[-1][1].values()) - sum(at_base.values())
