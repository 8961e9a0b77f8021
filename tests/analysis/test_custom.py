"""Custom metrics: what the answers of Prometheus to a run's own queries count for, and what they do not."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import pytest

from analysis import Arms, Counts, Interval
from analysis.custom import CustomCounts, Taken, due
from analysis.custom_queries import Answer, CounterQuery, Sample, ValueQuery, texts
from analysis.errors import PrometheusDown
from analysis.intervals import Blind, Outcome, Pending, Quarantined, RunQuery
from analysis.telemetry import WorkloadRef

CANARY, BASELINE = WorkloadRef("shop", "checkout-canary"), WorkloadRef("shop", "checkout")
ORDERS = CounterQuery("orders", ("bad{c}", "bad{b}"), ("total{c}", "total{b}"))
DEPTH = ValueQuery("depth", "max(depth)")
RUN = RunQuery(
    "run", CANARY, BASELINE, 0.1, settled_since=0.0, canary_pods={"c": -900.0}, custom=(ORDERS, DEPTH)
)
DOWN = PrometheusDown("no connection", url="http://p", query="bad{c}")
Counters = Mapping[str, tuple[int | str, int | str | None]]  # pod -> total, bad (None: no series)


@dataclass
class Metered:
    """One run's own counters, read again and again."""

    run: RunQuery = RUN
    counts: CustomCounts = field(default_factory=CustomCounts)

    def answers(self, canary: Counters, baseline: Counters, depth: list[str]) -> dict[str, Answer]:
        said: dict[str, Answer] = {text: [] for text in texts(self.run.custom)}
        for arm, pods in (("c", canary), ("b", baseline)):
            for kind, place in (("total", 0), ("bad", 1)):
                said[f"{kind}{{{arm}}}"] = [
                    Sample({"pod": pod} if pod else {}, str(values[place]))
                    for pod, values in pods.items()
                    if values[place] is not None
                ]
        said[DEPTH.value] = [Sample({}, value) for value in depth]
        return said

    def read(
        self,
        at: float,
        canary: Counters,
        baseline: Counters,
        *,
        depth: tuple[str, ...] = ("7",),
        quarantined: bool = False,
        fails: tuple[str, ...] = (),
        **changes: Any,
    ) -> Taken:
        answers = self.answers(canary, baseline, list(depth)) | dict.fromkeys(fails, DOWN)
        interval = Interval(at - 10, at, 0.1)
        outcome = Quarantined("WeightChange", "moved", interval) if quarantined else interval
        return self.counts.take(replace(self.run, **changes), outcome, answers, at)

    def orders(self, at: float, canary: Counters, baseline: Counters, **more: Any) -> tuple[Any, str]:
        """What was counted (None: nothing is said of the metric) and why the metric is not seen."""
        taken = self.read(at, canary, baseline, **more)
        outcome = taken.outcome
        interval = outcome.interval if isinstance(outcome, Quarantined) else outcome
        assert isinstance(interval, Interval)
        return interval.custom.get("orders"), taken.unseen.get("orders", "")


@pytest.fixture
def metered() -> Metered:
    """After a base line at 100 s."""
    metered = Metered()
    counted, why = metered.orders(100, {"c": (50, 5)}, {"b": (500, 50)})
    assert (counted, why) == (None, "the first reading: counts start from here")
    return metered


def test_bad_is_asked_before_total() -> None:
    """An event that comes in between must not be bad and missing in total."""
    assert texts((ORDERS, DEPTH)) == ("bad{c}", "bad{b}", "total{c}", "total{b}", "max(depth)")


class TestProportions:
    def test_what_the_counters_grew_by_is_counted_once(self, metered: Metered) -> None:
        assert metered.orders(110, {"c": (60, 6)}, {"b": (590, 52)}) == (
            Arms({"c": Counts(10, 1)}, {"b": Counts(90, 2)}),
            "",
        )
        assert metered.orders(120, {"c": (61, 6)}, {"b": ("6.91e+02", 62)})[0] == Arms(
            {"c": Counts(1, 0)}, {"b": Counts(101, 10)}
        )

    def test_a_pod_that_is_born_in_the_run_started_at_zero(self, metered: Metered) -> None:
        pods = {"c": -900.0, "new": 105.0}
        counted, _ = metered.orders(110, {"c": (60, 5), "new": (4, None)}, {"b": (590, 50)}, canary_pods=pods)
        assert counted.canary == {"c": Counts(10, 0), "new": Counts(4, 0)}

    def test_any_other_pod_begins_with_a_base_line(self, metered: Metered) -> None:
        assert metered.orders(110, {"c": (60, 5)}, {"b": (590, 50), "old": (9000, 9000)})[0].baseline == {
            "b": Counts(90, 0)
        }
        assert metered.orders(120, {"c": (70, 5)}, {"b": (600, 50), "old": (9001, 9000)})[0].baseline == {
            "b": Counts(10, 0),
            "old": Counts(1, 0),
        }

    def test_a_first_bad_event_counts_although_its_series_is_new(self) -> None:
        metered = Metered()
        metered.read(100, {"c": (50, None)}, {"b": (500, None)})
        counted, _ = metered.orders(110, {"c": (60, 3)}, {"b": (590, None)})
        assert counted == Arms({"c": Counts(10, 3)}, {"b": Counts(90, 0)})

    def test_a_pod_whose_counters_fell_loses_that_span(self, metered: Metered) -> None:
        assert metered.orders(110, {"c": (60, 5)}, {"b": (590, 50), "b2": (10, 0)})[1] == ""
        counted, _ = metered.orders(120, {"c": (70, 5)}, {"b": (30, 30), "b2": (20, 0)})
        assert counted.baseline == {"b2": Counts(10, 0)}
        assert metered.orders(130, {"c": (80, 5)}, {"b": (40, 31), "b2": (30, 0)})[0].baseline == {
            "b": Counts(10, 1),
            "b2": Counts(10, 0),
        }

    def test_a_pod_that_is_missing_for_a_while_is_counted_when_it_is_back(self, metered: Metered) -> None:
        metered.read(110, {"c": (60, 5)}, {"b": (590, 50), "b2": (10, 1)})
        assert metered.orders(120, {"c": (70, 5)}, {"b": (600, 50)})[0].baseline == {"b": Counts(10, 0)}
        assert metered.orders(130, {"c": (80, 5)}, {"b": (610, 50), "b2": (30, 4)})[0].baseline == {
            "b": Counts(10, 0),
            "b2": Counts(20, 3),
        }

    def test_a_pod_without_a_series_that_it_had_waits(self, metered: Metered) -> None:
        """Its total without its bad events would look safe."""
        metered.read(110, {"c": (60, 6)}, {"b": (590, 50)})
        counted, why = metered.orders(120, {"c": (70, None)}, {"b": (680, 50)})
        assert counted == Arms()
        assert why.startswith("series of shop/checkout-canary are missing that were there before")
        assert metered.orders(130, {"c": (80, 9)}, {"b": (770, 50)})[0] == Arms(
            {"c": Counts(20, 3)}, {"b": Counts(180, 0)}
        )

    def test_an_arm_that_was_not_scraped_is_waited_for(self, metered: Metered) -> None:
        """A shock to both arms at 105 s: it counts in one interval for both."""
        assert metered.orders(110, {"c": (50, 5)}, {"b": (590, 90)}) == (Arms(), "")
        assert metered.orders(120, {"c": (70, 9)}, {"b": (680, 90)})[0] == Arms(
            {"c": Counts(20, 4)}, {"b": Counts(180, 40)}
        )

    @pytest.mark.parametrize("weight", [0.0, 1.0])
    def test_an_arm_without_traffic_is_not_waited_for(self, metered: Metered, weight: float) -> None:
        counted, why = metered.orders(110, {"c": (60, 6)}, {"b": (500, 50)}, weight=weight)
        assert (counted, why) == (Arms({"c": Counts(10, 1)}, {"b": Counts(0, 0)}), "")

    def test_what_straddles_a_change_of_the_weight_is_left_out(self, metered: Metered) -> None:
        quarantined, _ = metered.orders(
            110, {"c": (60, 6)}, {"b": (590, 52)}, quarantined=True, settled_since=None
        )
        assert quarantined == Arms({"c": Counts(10, 1)}, {"b": Counts(90, 2)})
        assert metered.orders(120, {"c": (70, 6)}, {"b": (680, 52)}, settled_since=110)[0] == Arms(
            {"c": Counts(10, 0)}, {"b": Counts(90, 0)}
        )

    def test_a_failed_reading_of_the_change_leaves_out_the_next(self, metered: Metered) -> None:
        metered.read(110, {}, {}, quarantined=True, fails=("bad{c}",))
        counted, why = metered.orders(120, {"c": (70, 6)}, {"b": (680, 52)}, settled_since=105)
        assert (counted, why) == (Arms(), "")
        assert metered.orders(130, {"c": (80, 6)}, {"b": (770, 52)}, settled_since=105)[0] == Arms(
            {"c": Counts(10, 0)}, {"b": Counts(90, 0)}
        )

    def test_a_young_pod_is_not_judged(self, metered: Metered) -> None:
        pods = {"c": -900.0, "new": 105.0}
        seen = []
        for i in range(1, 6):
            counted, _ = metered.orders(
                100 + 10 * i,
                {"c": (50 + 10 * i, 5), "new": (10 * i, i)},
                {"b": (500 + 90 * i, 50)},
                canary_pods=pods,
                warm_up=20.0,
            )
            seen.append("new" in counted.canary)
        assert seen == [False, False, False, True, True]

    def test_pods_of_others_do_not_count(self, metered: Metered) -> None:
        counted, _ = metered.orders(110, {"c": (60, 6), "b": (590, 50)}, {"b": (590, 52)})
        assert counted.canary == {"c": Counts(10, 1)}

    def test_series_of_one_pod_are_added_up(self) -> None:
        metered = Metered()
        paths = {"/a": 0, "/b": 0}

        def answers() -> dict[str, Answer]:
            said: dict[str, Answer] = {text: [] for text in texts((ORDERS, DEPTH))}
            for arm in "cb":
                said[f"total{{{arm}}}"] = [
                    Sample({"pod": arm, "path": path}, str(n)) for path, n in paths.items()
                ]
            return said

        interval = Interval(90, 100, 0.1)
        metered.counts.take(RUN, interval, answers(), 100)
        paths.update({"/a": 3, "/b": 4, "/c": 5})
        outcome = metered.counts.take(RUN, interval, answers(), 110).outcome
        assert isinstance(outcome, Interval)
        assert outcome.custom["orders"].canary == {"c": Counts(12, 0)}

    def test_after_a_promotion_the_arms_are_others(self, metered: Metered) -> None:
        metered.run = replace(RUN, baseline=WorkloadRef("shop", "promoted"))
        counted, why = metered.orders(110, {"c": (60, 6)}, {"b": (590, 52)})
        assert (counted, why) == (None, "the first reading: counts start from here")


class TestWithoutAPodLabel:
    @pytest.fixture
    def summed(self) -> Metered:
        metered = Metered()
        metered.read(100, {"": (50, 5)}, {"": (500, 50)})
        return metered

    def test_the_sum_is_counted(self, summed: Metered) -> None:
        assert summed.orders(110, {"": (60, 6)}, {"": (590, 52)})[0] == Arms(
            {"": Counts(10, 1)}, {"": Counts(90, 2)}
        )

    def test_a_sum_that_fell_counts_nothing_until_it_is_back(self, summed: Metered) -> None:
        """A pod that was not scraped takes all it ever counted out of the sum, and brings it back."""
        for at, total, bad in ((110, 300, 30), (120, 400, 40), (130, 499, 51), (140, 600, 49)):
            counted, why = summed.orders(at, {"": (at - 50, 5)}, {"": (total, bad)})
            assert counted == Arms()
            assert "without the pod label (`sum by (pod)`)" in why
        assert summed.orders(150, {"": (100, 6)}, {"": (700, 60)}) == (Arms(), "")
        assert summed.orders(160, {"": (101, 7)}, {"": (710, 60)})[0] == Arms(
            {"": Counts(51, 2)}, {"": Counts(10, 0)}
        )

    def test_some_with_and_some_without_are_refused(self, summed: Metered) -> None:
        counted, why = summed.orders(110, {"": (60, 6), "c": (1, 0)}, {"": (590, 52)})
        assert counted is None
        assert "the label pod: ['', 'c'] is not in every series, or in none" in why


class TestUnseen:
    @pytest.mark.parametrize("query", ["bad{c}", "bad{b}", "total{c}", "total{b}"])
    def test_a_query_that_fails_blinds_its_metric_alone(self, metered: Metered, query: str) -> None:
        taken = metered.read(110, {"c": (60, 6)}, {"b": (590, 52)}, fails=(query,))
        assert isinstance(taken.outcome, Interval)
        assert "orders" not in taken.outcome.custom
        assert taken.outcome.values == {"depth": 7.0}
        assert taken.unseen == {"orders": "no connection (http://p, query 'bad{c}')"}
        assert metered.orders(120, {"c": (70, 7)}, {"b": (680, 52)})[0] == Arms(
            {"c": Counts(20, 2)}, {"b": Counts(180, 2)}
        )

    def test_nothing_at_all(self) -> None:
        counted, why = Metered().orders(110, {}, {})
        assert counted is None
        assert why == "total: 'no series' is not an answer with series: 'total{b}'"

    def test_nothing_of_one_arm(self, metered: Metered) -> None:
        """The metric is not absent: its share of the evidence stays."""
        counted, why = metered.orders(110, {}, {"b": (590, 52)})
        assert counted == Arms()
        assert why == "total has no series of shop/checkout-canary: 'total{c}'"

    @pytest.mark.parametrize(
        ("canary", "wanted"),
        [
            ((60.5, 6), "total of pod 'c': '60.5' is not a whole number of at least 0"),
            ((60, "NaN"), "bad of pod 'c': 'NaN' is not a whole number of at least 0"),
            ((-1, 0), "total of pod 'c': '-1' is not a whole number of at least 0"),
            (("+Inf", 0), "total of pod 'c': '+Inf' is not a whole number of at least 0"),
            ((60, 16), "bad of pod 'c': 11 is not part of total, which grew by 10"),
            ((None, 6), "bad of pod 'c': 6 is not in total, which has no series of that pod"),
        ],
    )
    def test_what_cannot_be_counters(self, metered: Metered, canary: Any, wanted: str) -> None:
        counted, why = metered.orders(110, {"c": canary}, {"b": (590, 52)})
        assert (counted, why) == (None, wanted)
        assert metered.orders(120, {"c": (70, 7)}, {"b": (680, 52)})[0] == Arms(
            {"c": Counts(20, 2)}, {"b": Counts(180, 2)}
        )


class TestThresholds:
    @pytest.mark.parametrize(
        ("said", "value"), [("7.5", 7.5), ("-1e3", -1000.0), ("+Inf", 1.7976931348623157e308)]
    )
    def test_the_one_value_is_taken(self, said: str, value: float) -> None:
        taken = Metered().read(110, {}, {}, depth=(said,))
        assert isinstance(taken.outcome, Interval)
        assert taken.outcome.values == {"depth": value}
        assert "depth" not in taken.unseen
        assert math.isfinite(value)

    @pytest.mark.parametrize(
        ("said", "why"),
        [
            ((), "value: '0 series' is not the one series that a threshold needs, as max() or sum() gives"),
            (("1", "2"), "value: '2 series' is not the one series"),
            (("NaN",), "value: 'NaN' is not a number"),
            (("x",), "value: 'x' is not a number"),
        ],
    )
    def test_no_value_is_neither_good_nor_bad(self, said: tuple[str, ...], why: str) -> None:
        taken = Metered().read(110, {}, {}, depth=said)
        assert isinstance(taken.outcome, Interval)
        assert taken.outcome.values == {"depth": None}
        assert taken.unseen["depth"].startswith(why)


@pytest.mark.parametrize(
    ("outcome", "asked"),
    [
        (Interval(0, 1, 0.1), True),
        (Quarantined("WarmUp", "young", Interval(0, 1, 0.1)), True),
        (Pending("BaseLine", "the first reading"), True),
        (Pending("NoNewScrape", "nothing new"), False),
        (Blind("Stale", "nothing recent"), False),
    ],
)
def test_queries_are_asked_when_an_interval_is_closed(outcome: Outcome, asked: bool) -> None:
    assert due(outcome) is asked


def test_a_base_line_of_requests_is_one_of_custom_metrics(metered: Metered) -> None:
    metered.read(110, {"c": (60, 6)}, {"b": (590, 52)})
    pending = Pending("BaseLine", "the first reading")
    answers = metered.answers({"c": (70, 6)}, {"b": (680, 52)}, ["1"])
    assert metered.counts.take(RUN, pending, answers, 120).outcome is pending
    assert metered.orders(130, {"c": (80, 7)}, {"b": (770, 54)})[0] == Arms(
        {"c": Counts(10, 1)}, {"b": Counts(90, 2)}
    )
