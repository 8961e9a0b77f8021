"""One block of pods: fair by enumeration, whatever errors within a pod do, and whatever is tolerated."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import binom, hypergeom

from analysis.exchangeable import (
    DRAWS,
    LIFTS,
    Pods,
    factors,
    keeping_difference,
    keeping_ratio,
    least_blocks,
    thinned,
)

Floats = NDArray[np.float64]
ARMS = [(1, 1), (1, 2), (2, 1), (2, 2), (1, 3), (3, 2)]
EXPECTED = [0.1, 1.0, math.inf]  # bad events per pod by the past, which sets the cap


def worth(cells: list[tuple[int, ...]], canary: int, expected: float) -> Floats:
    """E by lift of many outcomes at once (lifts, outcomes); an outcome is the bad events of each pod."""
    events = np.array(cells, dtype=np.float64).T[:, None]
    kept = np.ones((len(cells[0]), len(cells)), dtype=bool)
    return factors(events, kept, canary, np.full(len(cells), expected))


def mean(law: dict[tuple[int, ...], float], canary: int, expected: float) -> float:
    """The greatest mean of E over the lifts, under a law of outcomes."""
    assert sum(law.values()) == pytest.approx(1)
    return float((worth(list(law), canary, expected) @ np.array(list(law.values()))).max())


def independent(laws: list[Floats]) -> dict[tuple[int, ...], float]:
    """The law of pods that are independent of each other, from each pod's own."""
    return {
        cell: math.prod(law[x] for law, x in zip(laws, cell, strict=True))
        for cell in itertools.product(*(range(len(law)) for law in laws))
    }


def mixed(laws: list[dict[tuple[int, ...], float]]) -> dict[tuple[int, ...], float]:
    """Either of these laws, by an even lot that all pods share."""
    return {cell: sum(law[cell] for law in laws) / len(laws) for cell in laws[0]}


def counts(requests: int, rate: float) -> Floats:
    law: Floats = binom.pmf(np.arange(requests + 1), requests, rate)
    return law


@pytest.mark.parametrize(("canary", "baseline"), ARMS)
@pytest.mark.parametrize("expected", EXPECTED)
class TestFairness:
    def test_the_mean_over_all_ways_to_deal_the_pods_is_one(
        self, canary: int, baseline: int, expected: float
    ) -> None:
        """Hence E has mean 1 under every exchangeable law: given what is dealt, all deals are equally likely."""
        for dealt in itertools.combinations_with_replacement((0, 1, 2, 7), canary + baseline):
            deals = list(itertools.permutations(dealt))
            assert worth(deals, canary, expected).mean(axis=1) == pytest.approx(1, abs=1e-9), dealt

    @pytest.mark.parametrize("requests", [1, 3])
    def test_pods_in_which_all_fails_or_nothing(
        self, canary: int, baseline: int, expected: float, requests: int
    ) -> None:
        for ill in (0.1, 0.5, 0.9):
            pod = np.zeros(requests + 1)
            pod[0], pod[-1] = 1 - ill, ill
            assert mean(independent([pod] * (canary + baseline)), canary, expected) <= 1 + 1e-9

    def test_a_shock_that_all_pods_share(self, canary: int, baseline: int, expected: float) -> None:
        quiet, shaken = (independent([counts(2, rate)] * (canary + baseline)) for rate in (0.05, 0.8))
        assert mean(mixed([quiet, shaken]), canary, expected) <= 1 + 1e-9

    def test_one_pod_in_a_burst(self, canary: int, baseline: int, expected: float) -> None:
        pods = canary + baseline
        ill = [
            independent([counts(2, 0.9 if pod == one else 0.1) for pod in range(pods)]) for one in range(pods)
        ]
        assert mean(mixed(ill), canary, expected) <= 1 + 1e-9

    @pytest.mark.parametrize("ratio", [1.0, 1.25, 2.0])
    @pytest.mark.parametrize("past", [0.0, 0.1, 0.5, 1.0])
    def test_the_worst_tolerated_odds(
        self, canary: int, baseline: int, expected: float, ratio: float, past: float
    ) -> None:
        """Whatever the baseline's rate, and the rate by the past that the tolerance is made of."""
        bad_kept, good_kept = keeping_ratio(np.array([ratio]), np.array([past]))[:, 0]
        for rate in (0.02, 0.3, 0.7, 0.97):
            worst = ratio * rate / (1 - rate + ratio * rate)
            arms = counts(2, bad_kept * worst), counts(2, 1 - good_kept * (1 - rate))
            law = independent([arms[0]] * canary + [arms[1]] * baseline)
            assert mean(law, canary, expected) <= 1 + 1e-9, rate

    def test_the_worst_tolerated_odds_while_pods_are_in_bursts(
        self, canary: int, baseline: int, expected: float
    ) -> None:
        """Each pod's rate is one of two by its own lot; in the canary at odds that much higher."""
        bad_kept, good_kept = keeping_ratio(np.array([1.5]), np.array([0.2]))[:, 0]
        mine, theirs = [], []
        for rate in (0.05, 0.9):
            mine.append(counts(2, bad_kept * 1.5 * rate / (1 + 0.5 * rate)))
            theirs.append(counts(2, 1 - good_kept * (1 - rate)))
        arms = 0.7 * mine[0] + 0.3 * mine[1], 0.7 * theirs[0] + 0.3 * theirs[1]
        assert mean(independent([arms[0]] * canary + [arms[1]] * baseline), canary, expected) <= 1 + 1e-9

    @pytest.mark.parametrize("delta", [0.0005, 0.1])
    def test_the_worst_tolerated_difference(
        self, canary: int, baseline: int, expected: float, delta: float
    ) -> None:
        bad_kept, good_kept = keeping_difference(np.array([delta]))[:, 0]
        for rate in (0.0, 0.02, 0.3, 0.9):
            arms = counts(2, bad_kept * (rate + delta)), counts(2, 1 - good_kept * (1 - rate))
            law = independent([arms[0]] * canary + [arms[1]] * baseline)
            assert mean(law, canary, expected) <= 1 + 1e-9, rate


@given(st.lists(st.integers(0, 400), min_size=2, max_size=6), st.data())
def test_more_bad_events_in_the_canary_never_lower_the_evidence(
    events: list[int], data: st.DataObject
) -> None:
    """So a canary that is better than the worst tolerated one only makes E smaller."""
    canary = data.draw(st.integers(1, len(events) - 1))
    worse = [one + data.draw(st.integers(0, 50)) * (i < canary) for i, one in enumerate(events)]
    before, after = worth([tuple(events), tuple(worse)], canary, data.draw(st.sampled_from(EXPECTED))).T
    assert (after >= before - 1e-9).all()


@given(st.lists(st.tuples(st.integers(0, 60), st.booleans()), min_size=2, max_size=7), st.data())
def test_e_is_the_bet_over_its_mean_among_all_choices(
    pods: list[tuple[int, bool]], data: st.DataObject
) -> None:
    canary, expected = data.draw(st.integers(1, len(pods) - 1)), data.draw(st.floats(0.1, 20))
    kept = np.array([[keep] for _, keep in pods])
    (found,) = factors(np.array([[[float(x)]] for x, _ in pods]), kept, canary, np.array([expected])).T
    mine = [x for x, keep in pods[:canary] if keep]
    every = [x for x, keep in pods if keep]
    for lift, e in zip(LIFTS, found, strict=True):
        cap = lift * expected + 2 * math.sqrt(lift * expected) + 2
        bets = [sum(min(x, cap) for x in some) for some in itertools.combinations(every, len(mine))]
        wanted = lift ** (sum(min(x, cap) for x in mine)) / np.mean([lift**bet for bet in bets])
        assert e == pytest.approx(1 if not mine or len(mine) == len(every) else wanted, rel=1e-9)


def test_a_million_bad_events_overflow_nothing() -> None:
    most = 10**6
    cells: list[tuple[int, ...]] = [(most, 0, 0, 0), (0, 0, most, 0), (most,) * 4, (most, most, 0, 0)]
    found = worth(cells, 2, math.inf)
    assert np.isfinite(found).all()
    assert found[-1] == pytest.approx([2, 0, 1, 6])


class TestThinning:
    def pods(self, canary: int, *pods: tuple[int, int]) -> Pods:
        requests, bad = np.array(pods, dtype=np.float64).T
        return Pods.of(canary, requests[:, None], bad[:, None])

    def test_a_draining_pod_does_not_shrink_the_others(self) -> None:
        pods = self.pods(2, (100, 0), (10, 0), (1000, 0), (900, 0), (80, 0))
        assert pods.kept[:, 0].tolist() == [True, False, True, True, False]
        assert pods.size.tolist() == [100]
        assert pods.log_choices() == pytest.approx([math.log(3)])

    def test_a_canary_with_few_requests_is_held_against_its_own_arm(self) -> None:
        assert self.pods(1, (10, 0), (1000, 0), (1000, 0)).kept.all()

    @pytest.mark.parametrize("arm", [(), ((0, 0), (0, 0))])
    def test_an_arm_without_requests_is_not_compared(self, arm: tuple[tuple[int, int], ...]) -> None:
        for canary, pods in ((len(arm), (*arm, (50, 1))), (1, ((50, 1), *arm))):
            found = self.pods(canary, *pods)
            assert found.size.tolist() == [0]
            assert found.log_choices() == pytest.approx([0])
            rng = np.random.default_rng(1)
            events = thinned(found, keeping_ratio(np.array([1.25]), np.array([0.1])), rng)
            assert factors(events, found.kept, canary, np.array([1.0])) == pytest.approx(
                np.ones((len(LIFTS), 1))
            )

    def test_equal_pods_are_not_thinned(self) -> None:
        pods = self.pods(1, (40, 7), (40, 0), (40, 40))
        events = thinned(pods, keeping_ratio(np.array([1.0]), np.array([0.3])), np.random.default_rng(1))
        assert (events[:, :, 0] == np.array([[7], [0], [40]])).all()

    def test_draws_follow_the_law_of_what_is_kept(self) -> None:
        """Canary: hypergeometric, then binomial; baseline: hypergeometric, and some of the good ones spoilt."""
        runs, pods = 4000, self.pods(1, (30, 6), (24, 3))
        many = pods.only([0] * runs)
        keeping = np.repeat([[0.6], [0.8]], runs, axis=1)
        events = thinned(many, keeping, np.random.default_rng(5))
        drawn = [hypergeom(30, 6, 24), hypergeom(24, 3, 24)]
        laws = [np.zeros(25), np.zeros(25)]
        for x in range(25):
            laws[0] += drawn[0].pmf(x) * binom.pmf(np.arange(25), x, 0.6)
            laws[1] += drawn[1].pmf(x) * binom.pmf(np.arange(25) - x, 24 - x, 0.2)
        for pod, law in enumerate(laws):
            seen = np.bincount(events[pod].astype(int).ravel(), minlength=25) / (runs * DRAWS)
            assert seen == pytest.approx(law, abs=4 * 0.5 / math.sqrt(runs * DRAWS))

    def test_the_better_half_of_the_baseline_tells_what_is_usual(self) -> None:
        pods = self.pods(1, (100, 99), (100, 50), (100, 2), (90, 3), (100, 40), (10, 0))
        assert [counts.tolist() for counts in pods.quiet_baseline()] == [[190], [5]]
        three = self.pods(1, (100, 99), (100, 50), (100, 2), (100, 3))
        assert [counts.tolist() for counts in three.quiet_baseline()] == [[200], [5]]
        alone = self.pods(1, (100, 99), (100, 80))
        assert [counts.tolist() for counts in alone.quiet_baseline()] == [[100], [80]]

    def test_counts_beyond_what_can_be_drawn_are_not_compared(self) -> None:
        assert self.pods(1, (10**10, 5), (10**10, 5)).size.tolist() == [0]


@pytest.mark.parametrize("ratio", [1.0, 1.25, 5.0])
def test_a_ratio_costs_nothing_where_the_past_is_right(ratio: float) -> None:
    rates = np.linspace(0, 1, 21)
    bad_kept, good_kept = keeping_ratio(np.full_like(rates, ratio), rates)
    worst = ratio * rates / (1 - rates + ratio * rates)
    assert bad_kept * worst == pytest.approx(1 - good_kept * (1 - rates), abs=1e-12)


@pytest.mark.parametrize(
    ("canary", "baseline", "blocks"), [(1, 1, 9), (1, 6, 4), (2, 6, 2), (0, 5, None), (3, 0, None)]
)
def test_least_blocks(canary: int, baseline: int, blocks: int | None) -> None:
    assert least_blocks(canary, baseline, 0.01) == blocks
