"""The ratio that unequal pods need, and the length of blocks, from the baseline's own past."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import t as student

from analysis import codec
from analysis.burst_length import UNKNOWN, block_length
from analysis.unequal_pods import MOST_PODS, UnequalPods

ALPHA = 0.01


def watched(
    rates: list[float],
    rng: np.random.Generator,
    *,
    minutes: int = 60,
    bursts: float = 0.0,
    requests: int = 500,
) -> UnequalPods:
    """An hour of pods with these rates, four intervals a minute; `bursts` is the chance that a minute is one."""
    state = UnequalPods()
    for minute in range(minutes):
        ill = rng.random(len(rates)) < bursts
        for quarter in range(4):
            bad = rng.binomial(requests, np.where(ill, 0.5, rates)).tolist()
            state = state.plus(
                {f"b{i}": (requests, x) for i, x in enumerate(bad)},
                end=60.0 * minute + 15 * quarter + 15,
                burst_block=60.0,
            )
    return state


def needed(state: UnequalPods, canary_pods: int = 2) -> float:
    found = state.ratio_needed(canary_pods, ALPHA)
    assert found is not None
    return found


def test_equal_pods_need_little() -> None:
    found = [needed(watched([0.01] * 6, np.random.default_rng(seed))) for seed in range(10)]
    assert np.median(found) < 1.2
    assert min(found) >= 1


def test_pods_that_differ_need_what_their_spread_demands() -> None:
    """Against the formula with the sigma that the rates were drawn with."""
    rng = np.random.default_rng(4)
    logs = []
    for _ in range(10):
        odds = 0.01 * np.exp(rng.normal(0, 0.4, 12))
        logs.append(math.log(needed(watched((odds / (1 + odds)).tolist(), rng))))
    wanted = student.ppf(1 - ALPHA, 11) * 0.4 * math.sqrt(1 / 2 + 1 / 12)
    assert np.mean(logs) == pytest.approx(wanted, rel=0.2)


def test_bursts_are_not_taken_for_persistent_differences() -> None:
    found = [needed(watched([0.01] * 6, np.random.default_rng(seed), bursts=0.02)) for seed in range(20)]
    lasting = [
        needed(watched([0.01] * 5 + [0.05], np.random.default_rng(seed), bursts=0.02)) for seed in range(20)
    ]
    assert np.median(found) < 2
    assert np.median(lasting) > 3


def test_more_canary_pods_need_less() -> None:
    state = watched([0.01, 0.02, 0.03, 0.01], np.random.default_rng(1))
    assert needed(state, 1) > needed(state, 4) > 1


@pytest.mark.parametrize(
    ("state", "canary_pods"),
    [
        (UnequalPods(), 1),
        (watched([0.01, 0.02], np.random.default_rng(1)), 1),
        (watched([0.01, 0.02, 0.03], np.random.default_rng(1)), 0),
        (watched([0.01, 0.02, 0.03], np.random.default_rng(1), minutes=1), 1),
        (watched([0.0, 0.0, 0.0], np.random.default_rng(1)), 1),
        (watched([1.0, 1.0, 1.0], np.random.default_rng(1)), 1),
    ],
    ids=["no pods", "two pods", "no canary", "one half of the time", "no bad events", "no good events"],
)
def test_none_where_it_cannot_be_told(state: UnequalPods, canary_pods: int) -> None:
    assert state.ratio_needed(canary_pods, ALPHA) is None


def test_pods_without_names_add_nothing() -> None:
    state = watched([0.01] * 3, np.random.default_rng(1))
    assert state.plus({"": (100, 50)}, end=1.0, burst_block=60.0) == state


@given(
    st.lists(
        st.dictionaries(
            st.text(max_size=3),
            st.integers(0, 10**12).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n))),
        ),
        max_size=8,
    ),
    st.sampled_from([1e-6, 0.01, 0.2]),
)
def test_any_pods_give_a_finite_ratio_and_a_bounded_state(
    intervals: list[dict[str, tuple[int, int]]], alpha: float
) -> None:
    state = UnequalPods()
    for i, baseline in enumerate(intervals):
        state = state.plus(baseline, end=100.0 * i, burst_block=60.0)
    found = state.ratio_needed(1, alpha)
    assert found is None or 1 <= found <= 1e6 * (1 + 1e-9)
    assert len(state.pods) <= MOST_PODS
    assert codec.decode(UnequalPods, json.loads(json.dumps(codec.encode(state))), "pods") == state


def history(pods: int, intervals: int, bursts: list[tuple[int, int, int]]) -> list[list[tuple[int, int]]]:
    """500 requests an interval of which 1 % fail, and half of them in bursts of (pod, first, length)."""
    rng = np.random.default_rng(3)
    bad = rng.binomial(500, 0.01, (pods, intervals))
    for pod, first, length in bursts:
        bad[pod, first : first + length] = 250
    return [[(500, int(x)) for x in one] for one in bad]


class TestBlockLength:
    def test_three_times_the_95th_percentile_of_the_runs(self) -> None:
        bursts = [(pod, 10 + 10 * k, 2) for pod in range(5) for k in range(4)]
        assert block_length(history(5, 60, bursts), 15.0) == 3 * 2 * 15
        assert block_length(history(5, 60, [*bursts[:-1], (4, 50, 8)]), 15.0) == 3 * 2 * 15
        assert block_length(history(5, 60, [*bursts[:-2], (4, 40, 5), (4, 50, 8)]), 15.0) == 3 * 5 * 15

    @pytest.mark.parametrize(
        "past",
        [[], [[]], [[(0, 0)] * 10], history(4, 200, [])],
        ids=["no pods", "no intervals", "no requests", "no bursts"],
    )
    def test_unknown_where_no_burst_was_seen(self, past: list[list[tuple[int, int]]]) -> None:
        assert block_length(past, 15.0) == UNKNOWN

    def test_a_run_goes_on_over_its_weak_ends(self) -> None:
        past = history(3, 100, [(1, 50, 2)])
        past[1][49] = past[1][52] = (500, 12)  # suspicious, by itself no proof
        assert block_length(past, 10.0) == 3 * 4 * 10

    def test_a_burst_at_the_end_counts(self) -> None:
        assert block_length(history(3, 50, [(0, 48, 2)]), 60.0) == 3 * 2 * 60
