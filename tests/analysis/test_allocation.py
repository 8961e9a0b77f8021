"""The allocation check: valid at both ends of its null, quick on a real fault, silent on a small one."""

from __future__ import annotations

import math
import random

import pytest

from analysis import allocation


@pytest.mark.parametrize("share", [0.01, 0.05, 0.25, 0.5, 0.99])
@pytest.mark.parametrize("factor", [1 - allocation.SLACK, 1.0, 1 + allocation.SLACK])
@pytest.mark.parametrize("total", [1, 2, 5, 12])
def test_the_mean_of_the_e_value_is_at_most_one(share: float, factor: float, total: int) -> None:
    p = min(share * factor, 0.999)
    mean = sum(
        math.comb(total, k)
        * p**k
        * (1 - p) ** (total - k)
        * allocation.evidence(allocation.update(allocation.start(), share, k, total))
        for k in range(total + 1)
    )
    assert mean <= 1 + 1e-9


def requests_until(share: float, true: float, seed: int, limit: int) -> int | None:
    rng, wealth = random.Random(seed), allocation.start()
    for done in range(0, limit, 50):
        wealth = allocation.update(wealth, share, sum(rng.random() < true for _ in range(50)), 50)
        if allocation.judge(wealth, share, true):
            return done + 50
    return None


def test_nine_percent_for_five_is_seen_within_some_hundred_requests() -> None:
    needed = sorted(requests_until(0.05, 0.09, seed, 20_000) or 20_000 for seed in range(40))
    assert needed[20] < 2000


@pytest.mark.parametrize("true", [0.0495, 0.05, 0.0505])
def test_a_deviation_within_the_slack_is_never_seen(true: float) -> None:
    assert all(requests_until(0.05, true, seed, 20_000) is None for seed in range(20))


def test_a_share_of_nothing_or_everything_proves_nothing() -> None:
    assert allocation.update(allocation.start(), 0.0, 5, 10) == allocation.start()
    assert allocation.update(allocation.start(), 1.0, 5, 10) == allocation.start()


def test_the_sentence_has_both_shares() -> None:
    wealth = allocation.update(allocation.start(), 0.05, 400, 2000)
    finding = allocation.judge(wealth, 0.05, 0.2)
    assert finding is not None
    assert "given 5 % and gets 20.0 %" in finding.because
