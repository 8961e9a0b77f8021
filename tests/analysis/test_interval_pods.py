"""Which pods are in an interval: born, restarted, gone, young ones; and whether all are."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from scraped_world import BASELINE, CANARY, RUN, Daemon, World, steady_world

from analysis import Counts, Interval
from analysis.telemetry import WorkloadRef


@pytest.fixture
def world() -> World:
    return steady_world()


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

    @pytest.mark.parametrize("arm", [CANARY, BASELINE])
    def test_a_restarted_proxy_loses_one_span_whichever_arm_it_is_in(
        self, world: World, arm: WorkloadRef
    ) -> None:
        pod = "c" if arm == CANARY else "b"
        restarted = [(t, {"200": n, "503": bad}) for t, n, bad in [(120, 4, 4), (130, 9, 5), (140, 10, 5)]]
        world.scrapes[arm, pod][2:] = restarted
        daemon = Daemon(world)
        daemon.tick(115)
        outcomes = [daemon.tick(at) for at in (125, 135, 145)]
        seen = [(o.canary if arm == CANARY else o.baseline) for o in outcomes if isinstance(o, Interval)]
        assert seen == [{}, {pod: Counts(6, 1)}, {pod: Counts(1, 0)}]

    def test_a_new_series_of_a_pod_that_was_there_counts_from_its_first_value(self, world: World) -> None:
        world.scrapes[BASELINE, "b"][2] = (123, {"200": 180, "503": 7})
        daemon = Daemon(world)
        daemon.tick(115)
        outcome = daemon.tick(125)
        assert isinstance(outcome, Interval)
        assert outcome.baseline == {"b": Counts(97, 7)}

    @pytest.mark.parametrize(("weight", "first"), [(0.0, Counts(3, 1)), (0.1, None)])
    def test_before_there_is_weight_a_canary_pod_has_served_nothing_however_long_it_took_to_start(
        self, world: World, weight: float, first: Counts | None
    ) -> None:
        world.scrape(CANARY, "slow", 121, c200=2, c503=1)
        daemon = Daemon(world, replace(RUN, canary_pods={"c": -900.0, "slow": -900.0}))
        daemon.tick(115, weight=weight)
        outcome = daemon.tick(125)
        assert isinstance(outcome, Interval)
        assert outcome.canary.get("slow") == first

    def test_a_pod_that_was_not_scraped_of_late_is_in_the_base_line(self, world: World) -> None:
        world.scrapes[CANARY, "back"] = [(60.0, {"200": 5000}), (121.0, {"200": 5003})]
        daemon = Daemon(world, replace(RUN, canary_pods={"c": 0.0, "back": 0.0}))
        daemon.tick(115, weight=0.0)
        outcome = daemon.tick(125)
        assert isinstance(outcome, Interval)
        assert outcome.canary["back"] == Counts(3, 0)

    def test_a_pod_does_not_go_back_to_an_older_scrape(self) -> None:
        """When the time between scrapes seemed to be 20 s, b's of 158 was near the end of 150; when it seems to
        be 8 s, it is not near that of 152, a scrape that was stored late."""
        world = World()

        def scrape(times: dict[str, tuple[int, ...]]) -> None:
            for pod, each in times.items():
                for time in each:
                    world.scrape(CANARY if pod == "c" else BASELINE, pod, time, c200=time)

        daemon = Daemon(world)
        scrape({"c": (130, 150), "other": (130, 150), "b": (118, 138, 158)})
        daemon.tick(140)
        daemon.tick(159)
        scrape({"c": (152,), "other": (155, 163, 170, 176)})
        daemon.tick(178)
        scrape({"c": (190,), "other": (184, 192), "b": (188,)})
        outcome = daemon.tick(199)
        assert isinstance(outcome, Interval)
        assert (outcome.start, outcome.end) == (152, 188)
        assert outcome.baseline["b"] == Counts(30, 0)

    @pytest.mark.parametrize("arm", [CANARY, BASELINE])
    @pytest.mark.parametrize("named", [True, False])
    def test_what_a_pod_served_before_it_went_counts_to_its_last_scrape(
        self, world: World, arm: WorkloadRef, named: bool
    ) -> None:
        world.scrapes[arm, "gone"] = [
            (101.0, {"200": 5}),
            (111.0, {"200": 25}),
            (119.0, {"200": 30, "503": 2}),
        ]
        key = "canary_pods" if arm == CANARY else "baseline_pods"
        pod = "c" if arm == CANARY else "b"
        own: dict[str, Any] = {key: {pod: 0.0, "gone": 0.0}} if named else {}
        left: dict[str, Any] = {key: {pod: 0.0}} if named else {}
        daemon = Daemon(world)
        daemon.tick(115, **own)
        outcomes = [daemon.tick(at, **left) for at in (125, 135, 145, 155)]
        arms = [(o.canary if arm == CANARY else o.baseline) for o in outcomes if isinstance(o, Interval)]
        assert [pods.get("gone") for pods in arms] == [Counts(7, 2), None, None]


class TestWhole:
    """Totals show how the traffic was split only where every pod is in them for the whole span."""

    def whole(self, world: World, *ticks: float, **changes: Any) -> list[bool]:
        daemon = Daemon(world, replace(RUN, **changes))
        daemon.tick(115)
        outcomes = [daemon.tick(at) for at in ticks]
        return [o.whole for o in outcomes if isinstance(o, Interval)]

    def test_every_pod_at_every_scrape(self, world: World) -> None:
        assert self.whole(world, 125, 145, 155) == [True, True, True]

    def test_a_pod_that_missed_a_scrape_is_missing_then_and_too_much_afterwards(self, world: World) -> None:
        world.scrapes[CANARY, "late"] = [
            (t, {"200": n}) for t, n in [(101.0, 0), (111.0, 5), (141.0, 50), (151.0, 60)]
        ]
        assert self.whole(world, 136, 146, 156) == [False, False, True]

    def test_a_pod_of_unknown_birth(self, world: World) -> None:
        for t in range(121, 161, 10):
            world.scrape(BASELINE, "new", t, c200=t)
        assert self.whole(world, 125, 135) == [False, True]

    def test_a_pod_that_is_warming_up(self, world: World) -> None:
        for t in range(121, 191, 10):
            world.scrape(BASELINE, "new", t, c200=t)
        own = {"c": 0.0}
        seen = self.whole(world, 125, 135, 145, 155, canary_pods=own, warm_up=10.0)
        assert seen == [False, False, True, True]

    def test_a_fall(self, world: World) -> None:
        world.scrapes[BASELINE, "b"][2:] = [(t, {"200": t - 100}) for t in (123, 133, 143)]
        assert self.whole(world, 125, 135) == [False, True]

    def test_a_pod_that_went_is_not_missed_for_ever(self, world: World) -> None:
        world.scrapes[BASELINE, "gone"] = [(102.0, {"200": 5}), (112.0, {"200": 9})]
        assert self.whole(world, 125, 145, 165) == [False, True]  # at 125 it is waited for
