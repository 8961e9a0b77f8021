"""What the judge is given and what it keeps: garbage is named, states survive bit for bit."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import (
    Arms,
    Counts,
    CustomMetric,
    Interval,
    Judge,
    JudgeConfig,
    JudgeState,
    Threshold,
    Watch,
    WatchLimits,
    WatchState,
)
from analysis.counts import pooled
from analysis.errors import BadConfig, BadCounts, BadState


def test_importing_the_judge_is_light() -> None:
    """No HTTP, and no scipy.stats: seconds and tens of megabytes that only tests need."""
    heavy = ("scipy.stats", "requests", "prometheus_api_client", "canaryd", "kubernetes", "config")
    program = f"import sys, analysis; print([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


class TestCounts:
    @pytest.mark.parametrize(
        ("arguments", "field", "value"),
        [
            ((-1, 0), "requests", "-1"),
            ((1.0, 0), "requests", "1.0"),
            (("3", 0), "requests", "'3'"),
            ((True, 0), "requests", "True"),
            ((None, 0), "requests", "None"),
            ((3, -2), "errors", "-2"),
            ((3, 4), "errors", "4"),
            ((3, float("nan")), "errors", "nan"),
            ((3, 0, (1, 2.5)), "latency[1]", "2.5"),
            ((3, 0, (1, -1)), "latency[1]", "-1"),
        ],
    )
    def test_garbage_is_named(self, arguments: tuple[Any, ...], field: str, value: str) -> None:
        with pytest.raises(BadCounts) as caught:
            Counts(*arguments)
        assert caught.value.field == field
        assert field in str(caught.value)
        assert value in str(caught.value)

    def test_numpys_integers_are_integers(self) -> None:
        counts = Counts(np.int64(7), np.int32(2), tuple(np.array([1, 2])))  # type: ignore[arg-type]
        assert counts == Counts(7, 2, (1, 2))
        assert type(counts.requests) is int

    def test_pods_add_up(self) -> None:
        total = pooled([Counts(5, 1, (1, 2)), Counts(7, 0), Counts(1, 1, (0, 4))])
        assert total == (13, 2, (1, 6))
        assert pooled([]) == (0, 0, ())


class TestInterval:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"end": 10.0}, "end"),
            ({"end": float("inf")}, "end"),
            ({"start": "then"}, "start"),
            ({"weight": 1.5}, "weight"),
            ({"weight": float("nan")}, "weight"),
            ({"edges": (0.1, 0.1)}, "edges[1]"),
            ({"edges": (0.0,)}, "edges[0]"),
            ({"edges": (0.1, float("inf"))}, "edges[1]"),
            ({"canary": {"a": Counts(1, 0, (1,))}, "edges": (0.1,)}, "canary['a'].latency"),
            ({"baseline": {"b": 3}}, "baseline['b']"),
            ({"custom": {"orders": 3}}, "custom['orders']"),
            ({"custom": {"orders": Arms({"a": 3})}}, "custom['orders'].canary['a']"),  # type: ignore[dict-item]
            ({"values": {"queue": "long"}}, "values['queue']"),
        ],
    )
    def test_garbage_is_named(self, changes: dict[str, Any], field: str) -> None:
        with pytest.raises(BadCounts) as caught:
            Interval(**({"start": 10.0, "end": 20.0, "weight": 0.1} | changes))
        assert caught.value.field == field


class TestOrder:
    def test_time_never_goes_backwards(self) -> None:
        judge = Judge()
        state = judge.update(judge.start(), Interval(10.0, 20.0, 0.1))
        for start in (10.0, 19.9):
            with pytest.raises(BadCounts) as caught:
                judge.update(state, Interval(start, 30.0, 0.1))
            assert caught.value.field == "start"
        judge.update(state, Interval(20.0, 30.0, 0.1))

    def test_a_metric_that_nobody_configured_is_named(self) -> None:
        judge = Judge(JudgeConfig(custom=(CustomMetric("orders"),)))
        with pytest.raises(BadCounts) as caught:
            judge.update(judge.start(), Interval(0.0, 1.0, 0.1, custom={"order": Arms()}))
        assert caught.value.field == "custom['order']"


class TestConfig:
    @pytest.mark.parametrize(
        ("changes", "field"),
        [
            ({"alpha": 0}, "alpha"),
            ({"alpha": "small"}, "alpha"),
            ({"beta": float("nan")}, "beta"),
            ({"beta": True}, "beta"),
            ({"harm_ratio": 0.9}, "harm_ratio"),
            ({"safe_ratio": 1.25}, "safe_ratio"),
            ({"safe_delta": 0.0005}, "safe_delta"),
            ({"slow_ratio": 1.6}, "slow_safe_ratio"),
            ({"slow_edges": (0.1, 0.2, 0.3, 0.4)}, "slow_edges"),
            ({"slow_edges": (0.2, 0.1)}, "slow_edges"),
            ({"slow_edges": ("x",)}, "slow_edges[0]"),
            ({"slow_edges": 0.1}, "slow_edges"),
            ({"min_bad_events": 0}, "min_bad_events"),
            ({"min_intervals": 1.5}, "min_intervals"),
            ({"burst_block": -1}, "burst_block"),
            ({"condemn_at_once": 1}, "condemn_at_once"),
            ({"custom": "orders"}, "custom"),
            ({"custom": [{"weight": 0.1}]}, "custom[0]"),
            ({"custom": [{"name": "errors"}]}, "custom.name"),
            ({"custom": [{"name": ""}]}, "custom.name"),
            ({"custom": [{"name": "orders", "safe_delta": 0.0001}]}, "custom['orders'].safe_delta"),
            ({"custom": [{"name": "orders", "harm_ratio": 0}]}, "custom['orders'].harm_ratio"),
            ({"custom": [{"name": "orders", "weight": 0.8}]}, "custom"),
            ({"custom": [{"name": "orders"}, {"name": "orders"}]}, "custom"),
            ({"thresholds": [{"name": "queue", "limit": float("nan")}]}, "thresholds['queue'].limit"),
            ({"thresholds": [{"name": "queue", "limit": 1, "failures": 0}]}, "thresholds['queue'].failures"),
            ({"thresholds": [{"name": "queue", "limit": 1, "at_most": "no"}]}, "thresholds['queue'].at_most"),
            ({"surprise": 1}, "surprise"),
        ],
    )
    def test_a_bad_knob_is_named(self, changes: dict[str, Any], field: str) -> None:
        with pytest.raises(BadConfig) as caught:
            JudgeConfig.from_json(changes)
        assert caught.value.field == field
        assert str(caught.value).startswith(f"{field}: ")

    def test_it_survives_json(self) -> None:
        config = JudgeConfig(
            alpha=0.003,
            slow_edges=(0.1, 0.5),
            min_bad_events=5,
            custom=(CustomMetric("orders", weight=0.2),),
            thresholds=(Threshold("queue", 100.0),),
        )
        assert JudgeConfig.from_json(json.loads(json.dumps(config.to_json()))) == config
        assert JudgeConfig.from_json({}) == JudgeConfig()
        with pytest.raises(BadConfig, match="judge"):
            JudgeConfig.from_json([])  # type: ignore[arg-type]


EDGES = (0.025, 0.05, 0.1, 0.25)


@st.composite
def intervals(draw: st.DrawFn) -> list[Interval]:
    counts = st.tuples(*[st.integers(0, 60)] * 5)

    def pod() -> Counts:
        latency = draw(counts)
        errors = draw(st.integers(0, 20))
        return Counts(sum(latency) + errors, errors, latency)

    weights = draw(st.lists(st.sampled_from([0.01, 0.1, 0.5]), min_size=1, max_size=8))
    return [
        Interval(10.0 * i, 10.0 * (i + 1), w, {"c": pod()}, {"b": pod(), "d": pod()}, EDGES)
        for i, w in enumerate(weights)
    ]


class TestStates:
    @settings(max_examples=40, deadline=None)
    @given(intervals())
    def test_a_restart_at_any_moment_changes_nothing(self, seen: list[Interval]) -> None:
        judge = Judge()
        straight = restarted = judge.start()
        for interval in seen:
            straight = judge.update(straight, interval)
            restarted = JudgeState.from_json(json.loads(json.dumps(restarted.to_json())))
            restarted = judge.update(restarted, interval)
            assert restarted == straight
        assert json.dumps(restarted.to_json()) == json.dumps(straight.to_json())
        assert judge.verdict(restarted) == judge.verdict(straight)
        json.dumps(judge.verdict(restarted).to_json(), allow_nan=False)

    @settings(max_examples=30, deadline=None)
    @given(intervals())
    def test_the_watch_survives_too(self, seen: list[Interval]) -> None:
        judge, watch = Judge(), Watch(JudgeConfig())
        state = judge.start()
        for interval in seen:
            state = judge.update(state, interval)
        limits = watch.learn(state)
        assert WatchLimits.from_json(json.loads(json.dumps(limits.to_json()))) == limits
        straight = restarted = watch.start(limits)
        for interval in seen:
            straight = watch.update(straight, interval)
            restarted = watch.update(
                WatchState.from_json(json.loads(json.dumps(restarted.to_json()))), interval
            )
        assert restarted == straight
        assert watch.check(restarted) == watch.check(straight)
        json.dumps(watch.check(restarted).to_json(), allow_nan=False)

    def test_it_is_small(self) -> None:
        judge, state = Judge(), Judge().start()
        edges = tuple(np.geomspace(0.001, 10, 19).tolist())
        spread = tuple(range(5, 25))
        for i in range(50):
            pod = Counts(sum(spread), 3, spread)
            state = judge.update(state, Interval(i, i + 1, 0.1, {"c": pod}, {"b": pod}, edges))
        assert len(state.latency.judged) == 8
        assert len(json.dumps(state.to_json())) < 11_000

    def test_json_that_was_parsed_by_go_is_understood(self) -> None:
        """A JSON library may write 1.0 as 1."""
        raw = Judge().start().to_json()
        assert raw["judged_seconds"] == 0.0
        raw["judged_seconds"] = 0
        assert JudgeState.from_json(raw) == Judge().start()

    @pytest.mark.parametrize(
        ("path", "value", "words"),
        [
            (("version",), 1, "state.version"),
            (("version",), None, "state.version"),
            (("intervals",), "7", "state.intervals"),
            (("intervals",), 1.5, "state.intervals"),
            (("judged_seconds",), float("inf"), "state.judged_seconds"),
            (("proved",), 3, "state.proved"),
            (("latency", "judged"), [{"index": 7, "for_harm": True, "decides": True}], "state.rows"),
            (("surprise",), 1, "state.surprise"),
            (("rows", "ratio"), "AAAA", "state.rows.ratio"),
            (("rows", "ratio"), "????", "state.rows.ratio"),
            (("rows", "odds"), [1.0, 2.0], "state.rows.odds"),
            (("rows", "money"), "AAAAAAAA8H8AAAAAAADwfwAAAAAAAPB/", "state.rows.money"),
            (("rows", "tally"), "", "state.rows.tally"),
            (("rows", "difference"), "", "state.rows.difference"),
            (("rows",), 3, "state.rows"),
            (("skipped",), [{"reason": "late", "intervals": "many"}], r"state.skipped\[0\].intervals"),
            (("bursts", "pods", "canary"), ["c-1"], r"state.bursts.pods.requests"),
        ],
    )
    def test_a_state_that_was_edited_is_refused(self, path: tuple[str, ...], value: Any, words: str) -> None:
        raw = Judge().start().to_json()
        place = raw
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises(BadState, match=words):
            JudgeState.from_json(raw)

    def test_a_state_that_lost_a_field_is_refused(self) -> None:
        raw = Judge().start().to_json()
        del raw["rows"]["tally"]
        with pytest.raises(BadState, match=r"state\.rows"):
            JudgeState.from_json(raw)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"watched": []}, "watch.watched"),
            ({"proved": "luck"}, "watch.proved"),
            (
                {"limits": {"limits": [{"metric": "latency", "edge": 1.0, "rate": 0.1}], "edges": []}},
                "edge",
            ),
            ({"limits": {"limits": [{"metric": "", "edge": 0, "rate": 0.1}], "edges": []}}, "metric"),
            ({"limits": {"limits": [{"metric": "errors", "edge": 0, "rate": 0}], "edges": []}}, "rate"),
        ],
    )
    def test_a_watch_that_was_edited_is_refused(self, changes: dict[str, Any], words: str) -> None:
        judge, watch = Judge(), Watch(JudgeConfig())
        pod = {"p": Counts(100, 1)}
        state = watch.start(watch.learn(judge.update(judge.start(), Interval(0, 1, 0.5, pod, pod))))
        with pytest.raises(BadState, match=words):
            WatchState.from_json(state.to_json() | changes)
