"""The canary's share of the answers: chance is forgiven, the rest is found."""

from __future__ import annotations

import random

import pytest

from canaryd.sandbox.load import LogRow
from canaryd.sandbox.shares import Weights, beyond_share, unproven

WRITES = [(100.0, 1), (120.0, 10), (140.0, 0)]


def rows(second: int, canary: int, total: int = 300) -> list[LogRow]:
    return [
        LogRow(second, "canary", 200, "", "checkout-canary-r2-x", canary),
        LogRow(second, "stable", 200, "", "checkout-h1-x", total - canary),
    ]


def weights(lag: float = 2.0) -> Weights:
    return Weights(WRITES, lag)


@pytest.mark.parametrize(
    ("second", "possible"),
    [
        (98, {0}),
        (99, {0}),
        (100, {0, 1}),
        (102, {0, 1}),
        (103, {1}),
        (121, {1, 10}),
        (142, {10, 0}),
        (143, {0}),
    ],
)
def test_a_weight_counts_until_its_last_answers_have_come(second: int, possible: set[int]) -> None:
    assert weights().possible(second) == possible


def test_a_fair_split_is_never_accused() -> None:
    rng = random.Random(1)
    for _ in range(50):
        log = [row for s in range(103, 120) for row in rows(s, sum(rng.random() < 0.01 for _ in range(300)))]
        assert beyond_share(log, weights()) == []


@pytest.mark.parametrize(
    ("second", "canary"),
    [
        pytest.param(90, 1, id="before the first weight"),
        pytest.param(145, 1, id="after the last"),
        pytest.param(110, 25, id="8 % at 1 %"),
        pytest.param(130, 90, id="30 % at 10 %"),
        pytest.param(130, 300, id="all of it"),
    ],
)
def test_more_than_chance_is_found(second: int, canary: int) -> None:
    assert beyond_share(rows(second, canary), weights()) != []


def test_a_small_excess_is_found_over_the_time_at_a_weight() -> None:
    log = [row for second in range(123, 140) for row in rows(second, 45)]
    found = beyond_share(log, weights())
    assert found == ["while at 10 %: 765 of 5100 requests"]


def test_answers_of_unproven_pods_are_found_until_the_canary_had_everything() -> None:
    log = [
        LogRow(105, "stable", 200, "", "checkout-h2-x", 3),
        LogRow(105, "stable", 200, "", "checkout-h1-x", 9),
    ]
    early = Weights([(100.0, 1)], 2.0)
    assert unproven(log, "checkout-h1-", 90.0, early) == ["pod checkout-h2-x answered 3 requests unproven"]
    assert unproven(log, "checkout-h1-", 90.0, Weights([(104.0, 100)], 2.0)) == []
    earlier_release = Weights([(50.0, 100), (60.0, 0)], 2.0)
    assert unproven(log, "checkout-h1-", 90.0, earlier_release) != []
