"""Runs of every shape, for properties that must hold of all of them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

from hypothesis import strategies as st

from analysis import Counts, Interval, Judge, JudgeConfig, JudgeState
from analysis.watch import Watch, WatchState
from canaryd.domain.model import (
    Arm,
    Condition,
    Form,
    Hold,
    Outcome,
    Pass,
    Recorded,
    RouteRef,
    Run,
    Stage,
    Target,
    Traffic,
    Wanted,
)
from config import SHIPPED
from config.metrics import ProportionMetric, ThresholdMetric

EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
# Above a year 2262 no clock of Kubernetes goes; microseconds are what its times carry.
TIMES = st.floats(0, 9e9).map(lambda at: round(at, 6))
NAMES = st.from_regex(r"[a-z]([-a-z0-9]{0,20}[a-z0-9])?", fullmatch=True)
TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=60)
LABELS = st.sampled_from(
    [
        {"pod-template-hash": "5d6f7c"},
        {"pod-template-hash": "77aa01"},
        {"canaryd.io/role": "canary", "canaryd.io/revision": "abc1230000"},
    ]
)


def evidence(intervals: int, *, edges: tuple[float, ...] = EDGES, pods: int = 1, rate: int = 2) -> JudgeState:
    """What the judge holds after as many intervals of 30 s."""
    judge = Judge(JudgeConfig())
    state = judge.start()
    for at in range(intervals):
        state = judge.update(state, interval(at, edges=edges, pods=pods, rate=rate))
    return state


def interval(at: int, *, edges: tuple[float, ...] = EDGES, pods: int = 1, rate: int = 2) -> Interval:
    """300 requests to each pod of either arm, `rate` of them failed."""
    buckets = tuple(300 // (len(edges) + 1) for _ in range(len(edges) + 1))
    counts = Counts(sum(buckets), rate, buckets if edges else ())
    arms = [{f"{arm}-{pod}": counts for pod in range(pods)} for arm in ("canary", "stable")]
    return Interval(30.0 * at, 30.0 * (at + 1), 0.5, arms[0], arms[1], edges)


def watched(intervals: int) -> WatchState:
    """What the watch holds after as many intervals above the last judged rung."""
    watch = Watch(JudgeConfig())
    state = watch.start(watch.learn(EVIDENCE[-1]))
    for at in range(intervals):
        state = watch.update(state, interval(at))
    return state


EVIDENCE = [evidence(0), evidence(1), evidence(3, edges=()), evidence(12)]
WATCHED = [watched(0), watched(2)]

ROUTES = st.builds(
    RouteRef,
    NAMES,
    NAMES,
    TEXTS,
    NAMES | st.just(""),
    st.none() | st.just([{"uri": {"prefix": "/api"}}]),
    st.just([{"destination": {"host": "checkout", "port": {"number": 80}}, "weight": 100}]),
    st.none()
    | st.just([{"manager": "gitops", "operation": "Apply", "fieldsV1": {"f:spec": {"f:http": {}}}}]),
    st.booleans(),
)
WANTED = st.builds(
    Wanted,
    st.booleans(),
    st.none() | st.integers(0, 50),
    st.builds(Traffic, st.sampled_from(Form), st.integers(0, 100)),
    st.none() | LABELS,
    st.none() | LABELS,
    st.booleans(),
    NAMES | st.just(""),
)
WITH_METRICS = replace(
    SHIPPED["fast"],
    slow_edges=(0.25, 1.0),
    metrics=(
        ProportionMetric("orders", 'x{pod=~"$pods"}', 'y{pod=~"$pods"}', safe_delta=0.01),
        ThresholdMetric("depth", "max(z)", at_least=0.5),
    ),
)
RECORDED = st.builds(
    Recorded,
    st.lists(TEXTS.map(json.dumps), max_size=4).map(tuple),
    st.integers(0, 10**6),
    st.integers(0, 10**8),
    st.none() | TIMES,
    TEXTS,
)
FIELDS: dict[str, st.SearchStrategy[Any]] = {
    "namespace": NAMES,
    "name": NAMES,
    "target": st.builds(Target, NAMES, NAMES, NAMES),
    "revision": NAMES,
    "created": TIMES,
    "uid": NAMES,
    "resource_version": st.integers(1, 10**12).map(str),
    "policy_name": st.sampled_from(["", *SHIPPED]),
    "trigger": TEXTS,
    "retry": TEXTS,
    "deleting": st.booleans(),
    "wish_pause": st.booleans(),
    "wish_abort": TEXTS,
    "stage": st.sampled_from(Stage),
    "outcome": st.none() | st.sampled_from(Outcome),
    "hold": st.none() | st.sampled_from(Hold),
    "reason": NAMES | st.just(""),
    "because": TEXTS,
    "policy": st.none() | st.sampled_from([*SHIPPED.values(), WITH_METRICS]),
    "service": NAMES | st.just(""),
    "host": NAMES | st.just(""),
    "routes": st.lists(ROUTES, max_size=3).map(tuple),
    "stable": st.none() | st.builds(Arm, NAMES, NAMES, LABELS, NAMES | st.just("")),
    "carrier": NAMES | st.just(""),
    "hands_on": st.booleans(),
    "recorded": RECORDED,
    "start_replicas": st.integers(0, 1000),
    "step": st.integers(-1, 6),
    "wanted": WANTED,
    "settled_from": st.none() | TIMES,
    "stage_since": TIMES,
    "judged_since": st.none() | TIMES,
    "judged_to": st.none() | TIMES,
    "allocation": st.lists(st.floats(-1e300, 1e300), max_size=3).map(tuple),
    "rung_requests": st.integers(0, 10**12),
    "hold_since": st.none() | TIMES,
    "blind_since": st.none() | TIMES,
    "retreated_since": st.none() | TIMES,
    "gate_closed": st.booleans(),
    "highest_weight": st.integers(0, 100),
    "seen_share": st.none() | st.floats(0, 1),
    "evidence": st.none() | st.sampled_from(EVIDENCE),
    "watched": st.none() | st.sampled_from(WATCHED),
    "passes": st.lists(st.builds(Pass, st.integers(0, 9), st.integers(1, 100), TIMES, TEXTS), max_size=3).map(
        tuple
    ),
    "reasserted": st.lists(TIMES, max_size=3).map(tuple),
    "conditions": st.lists(st.builds(Condition, NAMES, st.booleans(), NAMES, TEXTS, TIMES), max_size=2).map(
        tuple
    ),
    "finished": st.none() | TIMES,
}
"""By field; the verdicts of the past are not kept."""

RUNS = st.builds(Run, **FIELDS).map(
    lambda run: replace(run, target=replace(run.target, namespace=run.namespace))
)
