"""A run's own metrics: asked for its arms, handed in with its interval, and in nobody's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, cast

import pytest

from analysis import Arms, Counts, Interval
from analysis.custom_queries import Answer, Sample
from analysis.errors import PrometheusDown
from analysis.intervals import Outcome, Pending, RunQuery
from canaryd.cluster.resources import Key
from canaryd.controller.measure import Measurer
from canaryd.domain.model import Arm, Form, Run, Stage, Target, Traffic, Wanted
from config import Policy
from config.metrics import Metric, ProportionMetric, ThresholdMetric

ORDERS = ProportionMetric("orders", 'bad{ns="$namespace",pod=~"$pods"}', 'total{app="$workload"}')
DEPTH = ThresholdMetric("depth", 'max(depth{pod=~"$pods"})', at_most=10)
BORN = "1970-01-01T00:00:00Z"


@dataclass
class Shop:
    """Every run's interval is closed at each tick; Prometheus answers unless a run's queries are held up."""

    asked: list[tuple[tuple[str, ...], float]] = field(default_factory=list)
    ticked: list[list[RunQuery]] = field(default_factory=list)
    heard: list[Key] = field(default_factory=list)
    held: dict[str, threading.Event] = field(default_factory=dict)
    total: int = 0
    answer: Callable[[str], Answer] | None = None

    def tick(self, runs: Sequence[RunQuery], at: float) -> Mapping[str, Outcome]:
        self.ticked.append(list(runs))
        outcome: Outcome = Pending("BaseLine", "the first reading")
        if at > 100:
            outcome = Interval(at - 10, at, 0.1, {"c": Counts(30, 1)}, {"b": Counts(270, 3)})
        return {run.run_id: outcome for run in runs if not run.asking}

    def asks(self, queries: Sequence[str], at: float) -> Mapping[str, Answer]:
        self.asked.append((tuple(queries), at))
        for name, event in self.held.items():
            if any(name in query for query in queries):
                event.wait(20)
        return {query: self._answer(query) for query in queries}

    def _answer(self, query: str) -> Answer:
        if self.answer is not None:
            return self.answer(query)
        if query.startswith("max"):
            return [Sample({}, "7")]
        grown = self.total if query.startswith("total") else 0
        return [Sample({"pod": "c" if "canary" in query or "c-1" in query else "b-x"}, str(grown))]

    def pods_of_canary(self, namespace: str, revision: str) -> list[dict[str, Any]]:
        return [{"metadata": {"name": "c", "creationTimestamp": BORN}}]


@pytest.fixture
def shop() -> Iterator[Shop]:
    shop = Shop()
    yield shop
    for event in shop.held.values():
        event.set()


def measurer(shop: Shop) -> Measurer:
    return Measurer(cast(Any, shop), cast(Any, shop), shop.asks, shop.heard.append)


def a_run(name: str, *metrics: Metric) -> Run:
    return Run(
        name,
        "checkout-rev",
        Target(name, "checkout", "u"),
        "rev",
        created=0.0,
        uid=name,
        stage=Stage.JUDGE,
        policy=Policy(metrics=metrics, warm_up=0, min_judged=0, deadline=6e5),
        stable=Arm("checkout", "old", {}, "b"),
        wanted=Wanted(traffic=Traffic(Form.SPLIT, 10)),
        judged_since=0.0,
        step=3,
    )


def until(holds: Callable[[], object]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_each_arm_is_asked_for_by_its_own_pods(shop: Shop) -> None:
    measure = measurer(shop)
    measure.read([a_run("shop", ORDERS, DEPTH)], 100.0)
    until(lambda: shop.heard)
    assert shop.asked == [
        (
            (
                'bad{ns="shop",pod=~"(?:c)"}',
                'bad{ns="shop",pod=~"b-.+"}',
                'total{app="checkout-canary-rev"}',
                'total{app="checkout"}',
                'max(depth{pod=~"(?:c)"})',
            ),
            100.0,
        )
    ]
    assert shop.heard == [("shop", "checkout")]


def test_they_are_judged_with_the_interval(shop: Shop) -> None:
    run, measure = a_run("shop", ORDERS, DEPTH), measurer(shop)
    for i, at in enumerate((100.0, 110.0, 120.0)):
        shop.total = 50 * i
        measure.read([run], at)
        until(lambda i=i: len(shop.heard) > i)  # type: ignore[misc]
    measured = measure.measured(run, 121.0)
    assert measured.evidence is not None and measured.evidence.intervals == 2
    assert measured.verdict is not None
    orders = measured.verdict.metrics["orders"]
    assert (orders.canary_requests, orders.baseline_requests) == (100, 100)
    assert measured.verdict.failing == {"depth": 0}
    assert measured.unseen == ""
    assert '"custom":{"orders":{"canary":{"c":{"requests":50,"errors":0}}' in measured.lines[1]
    assert '"values":{"depth":7.0}' in measured.lines[1]


def test_a_run_without_any_asks_nothing(shop: Shop) -> None:
    run, measure = a_run("shop"), measurer(shop)
    for at in (100.0, 110.0):
        measure.read([run], at)
    assert not shop.asked
    assert not shop.heard
    assert measure.measured(run, 111.0).fresh


def test_a_run_whose_queries_hang_delays_nobody(shop: Shop) -> None:
    shop.held["slow"] = threading.Event()
    slow, quick, plain = a_run("slow", ORDERS), a_run("quick", ORDERS), a_run("plain")
    measure = measurer(shop)
    for i, at in enumerate((100.0, 110.0, 120.0)):
        shop.total = 50 * i
        measure.read([slow, quick, plain], at)
        until(lambda i=i: shop.heard.count(("quick", "checkout")) > i)  # type: ignore[misc]
    for run in (quick, plain):
        evidence = measure.measured(run, 121.0).evidence
        assert evidence is not None and evidence.intervals == 2
    assert not measure.measured(slow, 121.0).fresh
    assert [[query.asking for query in runs] for runs in shop.ticked] == [
        [False, False, False],
        [True, False, False],
        [True, False, False],
    ]
    shop.held["slow"].set()
    until(lambda: ("slow", "checkout") in shop.heard)
    measure.read([slow], 130.0)
    until(lambda: shop.heard.count(("slow", "checkout")) == 2)
    assert measure.measured(slow, 131.0).fresh


def test_what_cannot_be_seen_is_said_and_the_rest_is_judged(shop: Shop) -> None:
    shop.answer = lambda query: PrometheusDown("no connection", url="http://p", query="bad")
    run, measure = a_run("shop", ORDERS, DEPTH), measurer(shop)
    measure.read([run], 110.0)
    until(lambda: shop.heard)
    measured = measure.measured(run, 111.0)
    assert measured.fresh and not measured.blind
    why = "no connection (http://p, query 'bad')"
    assert measured.unseen == f"orders: {why}; depth: {why}"


def test_an_error_of_our_own_loses_no_interval(shop: Shop) -> None:
    def broken(query: str) -> Answer:
        raise KeyError(query)

    shop.answer = broken
    run, measure = a_run("shop", ORDERS), measurer(shop)
    measure.read([run], 110.0)
    until(lambda: shop.heard)
    measured = measure.measured(run, 111.0)
    assert measured.fresh
    assert measured.unseen == "orders: an error of canaryd's, see its log"


def test_a_run_that_ended_meanwhile_is_forgotten(shop: Shop) -> None:
    shop.held["shop"] = threading.Event()
    run, measure = a_run("shop", ORDERS), measurer(shop)
    measure.read([run], 110.0)
    measure.read([], 120.0)
    shop.held["shop"].set()
    until(lambda: shop.heard)
    assert not measure.measured(replace(run, stage=Stage.JUDGE), 121.0).fresh


def test_harm_that_only_a_metric_shows_rolls_back_and_names_it(shop: Shop) -> None:
    run = a_run("shop", replace(ORDERS, weight=0.3))
    run = replace(run, policy=replace(cast(Policy, run.policy), burst_block=0.0))
    measure = measurer(shop)
    served = 0

    def orders(query: str) -> Answer:
        arm = "c" if "canary" in query or "(?:c)" in query else "b-x"
        rate = 0.2 if arm == "c" else 0.02
        count = served if query.startswith("total") else round(served * rate)
        return [Sample({"pod": arm}, str(count))]

    shop.answer = orders
    decisions = []
    for i in range(8):
        served = 100 * i
        measure.read([run], 100.0 + 10 * i)
        until(lambda i=i: len(shop.heard) > i)  # type: ignore[misc]
        measured = measure.measured(run, 101.0 + 10 * i)
        if measured.verdict is not None:
            decisions.append(measured.verdict)
        run = replace(run, evidence=measured.evidence)
        measure.accept(run)
    assert decisions[-1].decision == "rollback"
    assert decisions[-1].reason == "MetricRegression"
    assert "orders: canary 20.0 % of 700" in decisions[-1].because


def test_a_value_beyond_its_limit_rolls_back_and_is_named(shop: Shop) -> None:
    run, measure = a_run("shop", replace(DEPTH, at_most=5.0, failures=3)), measurer(shop)
    said = []
    for i in range(5):
        measure.read([run], 100.0 + 10 * i)
        until(lambda i=i: len(shop.heard) > i)  # type: ignore[misc]
        measured = measure.measured(run, 101.0 + 10 * i)
        run = replace(run, evidence=measured.evidence)
        measure.accept(run)
        if measured.verdict is not None:
            said.append((measured.verdict.decision, measured.verdict.failing["depth"]))
    assert said == [("continue", 1), ("continue", 2), ("rollback", 3), ("rollback", 4)]
    assert measured.verdict is not None
    assert measured.verdict.reason == "ThresholdExceeded"
    assert measured.verdict.because.startswith("depth: 7 is above its limit 5, in 3 intervals")


def test_arms_of_a_metric_are_those_of_the_judge(shop: Shop) -> None:
    """The pod names of a metric are those of the requests: a pod is one unit for both."""
    run, measure = a_run("shop", ORDERS), measurer(shop)
    for i, at in enumerate((100.0, 110.0)):
        shop.total = 50 * i
        measure.read([run], at)
        until(lambda i=i: len(shop.heard) > i)  # type: ignore[misc]
    (interval,) = measure._inboxes["shop"].outcomes
    assert isinstance(interval, Interval)
    assert interval.custom == {"orders": Arms({"c": Counts(50, 0)}, {"b-x": Counts(50, 0)})}
