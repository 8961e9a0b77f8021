"""Custom metrics above the last judged step: watched against what the baseline showed."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest

from analysis import Arms, Counts, CustomMetric, Interval, Judge, JudgeConfig, JudgeState, Watch, WatchState
from analysis.errors import BadState

CONFIG = JudgeConfig(custom=(CustomMetric("orders", 0.2),), latency_weight=0.0, burst_block=0.0)


def interval(i: int, weight: float, orders: Arms | None) -> Interval:
    arms = {"c": Counts(round(1000 * weight), round(10 * weight))}, {"b": Counts(1000, 10)}
    custom = {"orders": orders} if orders is not None else {}
    return Interval(15.0 * i, 15.0 * (i + 1), weight, *arms, (), custom)


def judged(*, with_orders: bool = True) -> JudgeState:
    """After twenty intervals in which two orders in a hundred failed, of either version."""
    judge, rng = Judge(CONFIG), np.random.default_rng(5)
    state = judge.start()
    for i in range(20):
        orders = Arms({"c": failed(rng, 0.02)}, {"b": failed(rng, 0.02)}) if with_orders else None
        state = judge.update(state, interval(i, 0.5, orders))
    return state


def failed(rng: np.random.Generator, rate: float, of: int = 400) -> Counts:
    return Counts(of, int(rng.binomial(of, rate)))


def play(watch: Watch, state: WatchState, rate: float, intervals: int, arm: str = "canary") -> WatchState:
    rng = np.random.default_rng(7)
    for i in range(20, 20 + intervals):
        counts = {"p": failed(rng, rate)}
        orders = Arms(counts, {}) if arm == "canary" else Arms({}, counts)
        state = watch.update(state, interval(i, 1.0, orders), arm=arm)  # type: ignore[arg-type]
        state = WatchState.from_json(json.loads(json.dumps(state.to_json())))
    return state


@pytest.mark.parametrize("arm", ["canary", "baseline"])
def test_a_fault_that_begins_there_rolls_back_and_is_named(arm: str) -> None:
    watch = Watch(CONFIG)
    state = play(watch, watch.start(watch.learn(judged())), 0.12, 8, arm)
    said = watch.check(state)
    assert (said.decision, said.reason) == ("rollback", "MetricRegression")
    assert "the new version counts as orders 12" in said.because


def test_what_the_baseline_showed_is_let_through() -> None:
    watch = Watch(CONFIG)
    state = play(watch, watch.start(watch.learn(judged())), 0.02, 80)
    assert watch.check(state).decision == "continue"


def test_a_metric_that_was_never_seen_has_no_limit() -> None:
    watch = Watch(CONFIG)
    limits = watch.learn(judged(with_orders=False))
    assert [limit.metric for limit in limits.limits] == ["errors"]
    state = play(watch, watch.start(limits), 0.9, 8)
    assert watch.check(state).decision == "continue"


def test_a_state_with_a_metric_that_is_not_watched_is_refused() -> None:
    watch = Watch(CONFIG)
    state = watch.start(watch.learn(judged()))
    assert WatchState.from_json(replace(state, proved="orders").to_json()).proved == "orders"
    with pytest.raises(BadState, match=r"watch\.proved: 'latency'"):
        WatchState.from_json(replace(state, proved="latency").to_json())
