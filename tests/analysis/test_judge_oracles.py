"""Every bet, checked against every outcome of small tables: under the null it never gains on average.

For each state that small runs reach, each table with up to six requests an arm and each null point of a grid,
the expectation of the e-value after the interval is at most the e-value before it. That is the whole proof
that a bound holds at every look (Ville), done by enumeration instead of by trust in a formula.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy.stats import binom, multinomial

from analysis import Counts, Interval, JudgeConfig, Watch, WatchLimits, harm, latency, wealth
from analysis.confidence import EXCESS_GRID, ODDS_GRID, ExcessLimit
from analysis.harm import Harm
from analysis.hypergeometric import log_likelihoods
from analysis.proportion import Proportion, Recent, Table, Tolerance
from analysis.safety import Safety
from analysis.watch import Limit
from analysis.wealth import Wealth

Floats = NDArray[np.float64]
Points = tuple[Floats, Floats]  # p_canary, p_baseline

SLACK = 1e-9
SIZES = [(n_c, n_b) for n_c in range(1, 7) for n_b in range(1, 7)]
GRID = np.unique(np.concatenate([np.linspace(0, 1, 21), [0.001, 0.01, 0.02, 0.98, 0.99, 0.999]]))

TOLERANCES = {
    "defaults": Tolerance(1.25, 0.0005, 1.5, 0.001),
    "none for harm": Tolerance(1.0, 0.0, 2.0, 0.005),
    "wide": Tolerance(2.0, 0.1, 4.0, 0.3),
}


@dataclass(frozen=True)
class Past:
    """Tables that were seen before, and what the state is built from."""

    recent: Recent
    tables: tuple[Table, ...] = ()


PASTS = {
    "nothing seen": Past(Recent()),
    "a quiet service": Past(Recent(0, 100, 0, 5000)),
    "a failing service": Past(Recent(30, 100, 1500, 5000)),
    "nearly all bad": Past(Recent(95, 100, 4950, 5000)),
    "after harm": Past(Recent(5, 50, 5, 500), (Table(4, 6, 0, 6), Table(3, 3, 1, 6))),
    "after a good start": Past(Recent(5, 50, 50, 500), (Table(0, 6, 2, 6), Table(1, 5, 3, 6))),
}


def fresh(recent: Recent) -> Proportion:
    return Proportion(
        recent=recent,
        harm=Harm(difference=Wealth(), log_boosted=0.0),
        safety=Safety(),
        excess=ExcessLimit(),
    )


def state(past: Past, tolerance: Tolerance, log_cap: float = 5.0) -> Proportion:
    built = fresh(past.recent)
    for i, table in enumerate(past.tables):
        stake = 0.75 if i == 0 else 0.03
        built = built.after(table, stake=stake, seconds=10, tolerance=tolerance, log_cap=log_cap)
    return built


def outcomes(n_c: int, n_b: int) -> list[tuple[int, int]]:
    return list(itertools.product(range(n_c + 1), range(n_b + 1)))


def points(inside: Callable[[Floats, Floats], NDArray[np.bool_]]) -> Points:
    p_c, p_b = (grid.ravel() for grid in np.meshgrid(GRID, GRID))
    kept = inside(p_c, p_b)
    return p_c[kept], p_b[kept]


def odds_edge(ratio: float) -> Points:
    """Points with exactly that ratio of odds: the worst ones of an odds null."""
    p_b = GRID[(GRID > 0) & (GRID < 1)]
    return ratio * p_b / (1 - p_b + ratio * p_b), p_b


def difference_edge(delta: float) -> Points:
    p_b = GRID[GRID + delta <= 1]
    return p_b + delta, p_b


def joined(*parts: Points) -> Points:
    return np.concatenate([p[0] for p in parts]), np.concatenate([p[1] for p in parts])


def odds_at_most(ratio: float) -> Points:
    inside = points(lambda p_c, p_b: p_c * (1 - p_b) <= ratio * p_b * (1 - p_c))
    return joined(inside, odds_edge(ratio))


def odds_at_least(ratio: float) -> Points:
    inside = points(lambda p_c, p_b: p_c * (1 - p_b) >= ratio * p_b * (1 - p_c))
    return joined(inside, odds_edge(ratio))


def difference_at_most(delta: float) -> Points:
    return joined(points(lambda p_c, p_b: p_c <= p_b + delta), difference_edge(delta))


def difference_at_least(delta: float) -> Points:
    return joined(points(lambda p_c, p_b: p_c >= p_b + delta), difference_edge(delta))


def not_safe(which: str) -> Points:
    """Worse than both tolerances allow, or exactly at the edge."""
    ratio, delta = TOLERANCES[which].safe_ratio, TOLERANCES[which].safe_delta
    p_c, p_b = joined(odds_at_least(ratio), difference_at_least(delta))
    both = (p_c * (1 - p_b) >= ratio * p_b * (1 - p_c) * (1 - 1e-12)) & (p_c >= p_b + delta - 1e-15)
    return p_c[both], p_b[both]


Step = tuple[int, int, Proportion, list[Proportion]]


@functools.cache
def steps(past: str, tolerance: str) -> list[Step]:
    """For every size: the state before, and after each outcome."""
    tolerated = TOLERANCES[tolerance]
    before = state(PASTS[past], tolerated)
    stake = 0.75 if before.untouched else 0.05
    return [
        (
            n_c,
            n_b,
            before,
            [
                before.after(Table(x_c, n_c, x_b, n_b), stake=stake, seconds=10, tolerance=tolerated)
                for x_c, x_b in outcomes(n_c, n_b)
            ],
        )
        for n_c, n_b in SIZES
    ]


@functools.cache
def law(n_c: int, n_b: int, null: Callable[..., Points], value: float | str) -> tuple[Floats, Points]:
    """P(outcome) for each null point, shape (points, outcomes), and the points."""
    p_c, p_b = null(value)
    x = np.array(outcomes(n_c, n_b))
    return binom.pmf(x[:, 0], n_c, p_c[:, None]) * binom.pmf(x[:, 1], n_b, p_b[:, None]), (p_c, p_b)


def assert_never_gains(
    null: Callable[..., Points], value: float | str, size: tuple[int, int], before: float, after: list[float]
) -> None:
    """`before`, `after`: logs of the e-value; null(value): the points at which it must not gain."""
    probabilities, (p_c, p_b) = law(*size, null, value)
    mean = probabilities @ np.exp(np.array(after) - before)
    worst = int(np.argmax(mean))
    assert mean[worst] <= 1 + SLACK, (size, p_c[worst], p_b[worst], mean[worst])


@pytest.mark.parametrize("past", PASTS)
@pytest.mark.parametrize("tolerance", TOLERANCES)
class TestNeverGains:
    def test_harm_by_ratio(self, past: str, tolerance: str) -> None:
        prior = wealth.log_prior()
        for n_c, n_b, before, after in steps(past, tolerance):
            logs = [a.harm.ratio.log_value(prior) for a in after]
            start = before.harm.ratio.log_value(prior)
            assert_never_gains(odds_at_most, TOLERANCES[tolerance].harm_ratio, (n_c, n_b), start, logs)

    @pytest.mark.parametrize("threshold", [1.5, 5.0, 140.0])
    def test_harm_boosted(self, past: str, tolerance: str, threshold: float) -> None:
        tolerated, cap = TOLERANCES[tolerance], math.log(threshold)
        before = state(PASTS[past], tolerated, cap).harm
        assert before.log_boosted is not None
        grid = harm.ratio_log_odds(tolerated.harm_ratio)

        def boosted(x_c: int, n_c: int, x_b: int, n_b: int) -> float:
            factors = harm.ratio_factors(log_likelihoods(x_c, n_c, x_b, n_b, grid))
            room = harm.Room((x_c, n_c, x_b, n_b), tolerated.harm_ratio, cap)
            log = before.after(0.05, factors, None, room).log_boosted
            assert log is not None
            assert log <= cap + SLACK
            return log

        for n_c, n_b in SIZES:
            logs = [boosted(x_c, n_c, x_b, n_b) for x_c, x_b in outcomes(n_c, n_b)]
            assert_never_gains(odds_at_most, tolerated.harm_ratio, (n_c, n_b), before.log_boosted, logs)

    def test_harm_by_difference(self, past: str, tolerance: str) -> None:
        prior, delta = wealth.log_prior(), TOLERANCES[tolerance].harm_delta
        for n_c, n_b, before, after in steps(past, tolerance):
            assert before.harm.difference is not None
            assert delta is not None
            logs = [a.harm.difference.log_value(prior) for a in after if a.harm.difference is not None]
            start = before.harm.difference.log_value(prior)
            assert_never_gains(difference_at_most, delta, (n_c, n_b), start, logs)

    def test_safety(self, past: str, tolerance: str) -> None:
        for n_c, n_b, before, after in steps(past, tolerance):
            assert before.safety is not None
            logs = [a.safety.log_wealth for a in after if a.safety is not None]
            assert_never_gains(not_safe, tolerance, (n_c, n_b), before.safety.log_wealth, logs)

    def test_excess_limit(self, past: str, tolerance: str) -> None:
        for n_c, n_b, before, after in steps(past, tolerance):
            assert before.excess is not None
            for i in range(0, len(EXCESS_GRID), 3):
                logs = [a.excess.logs[i] for a in after if a.excess is not None]
                delta = float(EXCESS_GRID[i])
                assert_never_gains(difference_at_least, delta, (n_c, n_b), before.excess.logs[i], logs)

    def test_odds_limits(self, past: str, tolerance: str) -> None:
        for n_c, n_b, before, after in steps(past, tolerance):
            for i in range(0, len(ODDS_GRID), 4):
                start = _against(before, i) if before.odds.logs else 0.0
                logs = [_against(a, i) for a in after]
                assert_never_gains(odds_edge, math.exp(float(ODDS_GRID[i])), (n_c, n_b), start, logs)


def _against(proportion: Proportion, i: int) -> float:
    """log of the e-value against the i-th ratio of odds: what the confidence sequence inverts."""
    logs = np.asarray(proportion.odds.logs)
    return float(np.logaddexp.reduce(logs) - math.log(len(logs)) - logs[i])


# Shares of three buckets (two edges): all, but for the far corners, on a coarse simplex.
SPREADS = [(a, b, 1 - a - b) for a in (0.05, 0.2, 0.5, 0.9) for b in (0.03, 0.2, 0.5, 0.9) if a + b <= 0.96]
BUCKETS = [b for b in itertools.product(range(4), repeat=3) if 1 <= sum(b) <= 3]


def spread_odds(spread: tuple[float, float, float], edge: int) -> float:
    slower = sum(spread[edge + 1 :])
    return slower / (1 - slower)


@pytest.mark.parametrize("ratio", [1.0, 1.25, 3.0])
@pytest.mark.parametrize("seen", [0, 3])
def test_latency_edges_never_gain_together(ratio: float, seen: int) -> None:
    """Every pair of spreads with tolerable odds at both edges, every pair of small histograms."""
    config = JudgeConfig(slow_ratio=ratio, slow_safe_ratio=4.0)

    def after(state: latency.Latency, canary: tuple[int, ...], baseline: tuple[int, ...]) -> latency.Latency:
        arms = Counts(sum(canary), 0, canary), Counts(sum(baseline), 0, baseline)
        return latency.update(state, arms, (0.1, 0.5), seconds=10, stakes=(0.75, 0.03), config=config)

    start = after(latency.Latency(), (0, 0, 0), (100, 80, 60))
    assert sum(edge.for_harm for edge in start.judged) == 2
    assert start.log_evidence() == 0
    for _ in range(seen):
        start = after(start, (1, 2, 2), (30, 20, 10))
    gained = {
        pair: math.exp(after(start, *pair).log_evidence() - start.log_evidence())
        for pair in itertools.product(BUCKETS, BUCKETS)
        if len(set(map(sum, pair))) == 1 or sum(pair[1]) == 2
    }
    sizes = {(sum(canary), sum(baseline)) for canary, baseline in gained}
    for p, q in itertools.product(SPREADS, SPREADS):
        if any(spread_odds(p, e) > ratio * spread_odds(q, e) * (1 + 1e-12) for e in (0, 1)):
            continue
        for n, m in sizes:
            mean = sum(
                multinomial.pmf(canary, n, p) * multinomial.pmf(baseline, m, q) * e
                for (canary, baseline), e in gained.items()
                if (sum(canary), sum(baseline)) == (n, m)
            )
            assert mean <= 1 + SLACK, (p, q, n, m, mean)


@pytest.mark.parametrize("rate", [0.001, 0.015, 0.3])
def test_the_watch_never_gains_within_its_limit(rate: float) -> None:
    watch = Watch(JudgeConfig(latency_weight=0.0))
    states = [watch.start(WatchLimits((Limit("errors", 0.0, rate),)))]
    for bad in (0, 2):
        pod = {"p": Counts(5, bad)}
        states.append(watch.update(states[-1], Interval(0, 10, 0.75 + bad / 8, pod)))
    assert watch.check(states[0]).evidence == 1
    within = rate * np.linspace(0, 1, 11)
    for before, n in itertools.product(states, range(1, 7)):
        gained = [
            watch.check(watch.update(before, Interval(10, 20, 1.0, {"p": Counts(n, x)}))).evidence
            / watch.check(before).evidence
            for x in range(n + 1)
        ]
        mean = binom.pmf(np.arange(n + 1), n, within[:, None]) @ np.array(gained)
        assert mean.max() <= 1 + SLACK


def test_boosting_spends_what_would_overshoot() -> None:
    """Against the threshold it is ahead of the plain wealth, until both are there."""
    tolerance, cap = TOLERANCES["defaults"], math.log(100)
    grown, plain = state(PASTS["a failing service"], tolerance), 0.0
    for i in range(12):
        stake = 0.75 if i == 0 else 0.0
        grown = grown.after(Table(3, 20, 6, 180), stake=stake, seconds=10, tolerance=tolerance, log_cap=cap)
        plain = grown.harm.ratio.log_value(wealth.log_prior())
        assert grown.harm.log_boosted is not None
        assert grown.harm.log_boosted >= min(plain, cap) - 1e-9
    assert plain > cap


def test_the_bets_do_gain_under_their_alternatives() -> None:
    """The oracles above would pass for bets that never pay."""
    tolerance = TOLERANCES["defaults"]
    harmed = safe = state(PASTS["a failing service"], tolerance)
    for i in range(30):
        first = 0.75 if i == 0 else 0.0
        harmed = harmed.after(Table(60, 100, 300, 1000), stake=first, seconds=10, tolerance=tolerance)
        safe = safe.after(Table(300, 1000, 300, 1000), stake=first, seconds=10, tolerance=tolerance)
    assert harmed.harm.log_evidence() > 10
    assert harmed.safety is not None
    assert harmed.safety.log_wealth < -10
    assert safe.safety is not None
    assert safe.safety.log_wealth > 10
    assert safe.harm.log_evidence() < 0
