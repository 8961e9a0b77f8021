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

from analysis import Counts, Interval, JudgeConfig, Watch, WatchLimits, confidence
from analysis.confidence import EXCESS_GRID
from analysis.evidence import harm
from analysis.hypergeometric import log_likelihoods
from analysis.latency import Edge, Latency
from analysis.metrics import metrics
from analysis.proportion import Layout, Proportions, Span, Tolerance, layout
from analysis.state import JudgeState
from analysis.tilts import Tilts, chosen
from analysis.watch import Limit

Floats = NDArray[np.float64]
Points = tuple[Floats, Floats]  # p_canary, p_baseline

SLACK = 1e-9
SIZES = [(n_c, n_b) for n_c in range(1, 7) for n_b in range(1, 7)]
GRID = np.unique(np.concatenate([np.linspace(0, 1, 21), [0.001, 0.01, 0.02, 0.98, 0.99, 0.999]]))

TOLERANCES = {
    "defaults": Tolerance(1.25, 0.0005, 1.5, 0.001, math.log(140)),
    "none for harm": Tolerance(1.0, 0.0, 2.0, 0.005, math.log(5)),
    "wide": Tolerance(2.0, 0.1, 4.0, 0.3, math.log(1.5)),
}

Cells = tuple[int, int, int, int]  # bad events and requests of the canary, of the baseline


@dataclass(frozen=True)
class Past:
    """What bets are made of, and tables that were seen before."""

    recent: Cells = (0, 0, 0, 0)
    tables: tuple[Cells, ...] = ()


PASTS = {
    "nothing seen": Past(),
    "a quiet service": Past((0, 100, 0, 5000)),
    "a failing service": Past((30, 100, 1500, 5000)),
    "nearly all bad": Past((95, 100, 4950, 5000)),
    "after harm": Past((5, 50, 5, 500), ((4, 6, 0, 6), (3, 3, 1, 6))),
    "after a good start": Past((5, 50, 50, 500), ((0, 6, 2, 6), (1, 5, 3, 6))),
}


def layout_of(tolerance: str) -> Layout:
    return layout((TOLERANCES[tolerance],))


def after(before: Proportions, table: Cells, tolerance: str, stake: float = 0.05) -> Proportions:
    cells = np.array([table], dtype=np.float64)
    return before.after(cells, Span(10.0, (0.75, stake), 60.0), layout_of(tolerance))


@functools.cache
def state(past: str, tolerance: str) -> Proportions:
    recent = np.array([PASTS[past].recent], dtype=np.float64)
    built = Proportions.start(1, 1, recent)
    for table in PASTS[past].tables:
        built = after(built, table, tolerance, 0.03)
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
    p_b = GRID[(GRID + delta <= 1) & (GRID + delta >= 0)]
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


Step = tuple[int, int, Proportions, list[Proportions]]


@functools.cache
def steps(past: str, tolerance: str) -> list[Step]:
    """For every size: the state before, and after each outcome."""
    before = state(past, tolerance)
    return [
        (
            n_c,
            n_b,
            before,
            [after(before, (x_c, n_c, x_b, n_b), tolerance) for x_c, x_b in outcomes(n_c, n_b)],
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
        for n_c, n_b, before, outcome in steps(past, tolerance):
            logs = [float(a.log_ratio()[0]) for a in outcome]
            start = float(before.log_ratio()[0])
            assert_never_gains(odds_at_most, TOLERANCES[tolerance].harm_ratio, (n_c, n_b), start, logs)

    def test_harm_boosted(self, past: str, tolerance: str) -> None:
        tolerated = TOLERANCES[tolerance]
        for n_c, n_b, before, outcome in steps(past, tolerance):
            logs = [float(a.money[0, 1]) for a in outcome]
            assert max(logs) <= tolerated.log_cap + SLACK
            start = float(before.money[0, 1])
            assert_never_gains(odds_at_most, tolerated.harm_ratio, (n_c, n_b), start, logs)

    def test_harm_by_difference(self, past: str, tolerance: str) -> None:
        delta = TOLERANCES[tolerance].harm_delta
        assert delta is not None
        for n_c, n_b, before, outcome in steps(past, tolerance):
            logs = [float(a.log_difference()[0]) for a in outcome]
            start = float(before.log_difference()[0])
            assert_never_gains(difference_at_most, delta, (n_c, n_b), start, logs)

    def test_harm_by_difference_boosted(self, past: str, tolerance: str) -> None:
        delta = TOLERANCES[tolerance].harm_delta
        assert delta is not None
        for n_c, n_b, before, outcome in steps(past, tolerance):
            logs = [float(a.money[0, 5]) for a in outcome]
            assert max(logs) <= TOLERANCES[tolerance].log_cap + SLACK
            assert_never_gains(difference_at_most, delta, (n_c, n_b), float(before.money[0, 5]), logs)

    def test_safety(self, past: str, tolerance: str) -> None:
        for n_c, n_b, before, outcome in steps(past, tolerance):
            logs = [float(a.money[0, 2]) for a in outcome]
            assert_never_gains(not_safe, tolerance, (n_c, n_b), float(before.money[0, 2]), logs)

    def test_excess_limits(self, past: str, tolerance: str) -> None:
        points = len(EXCESS_GRID)
        for n_c, n_b, before, outcome in steps(past, tolerance):
            for i in range(0, points, 3):
                for side, null in enumerate((difference_at_most, difference_at_least)):
                    logs = [float(a.excess[0, side * points + i]) for a in outcome]
                    start = float(before.excess[0, side * points + i])
                    assert_never_gains(null, float(EXCESS_GRID[i]), (n_c, n_b), start, logs)

    def test_odds_limits(self, past: str, tolerance: str) -> None:
        grid = layout_of(tolerance).grid.log_odds[0]
        for n_c, n_b, before, outcome in steps(past, tolerance):
            for i in range(0, len(grid), 4):
                start = _against(before, i)
                logs = [_against(a, i) for a in outcome]
                assert_never_gains(odds_edge, math.exp(float(grid[i])), (n_c, n_b), start, logs)


def _against(rows: Proportions, i: int) -> float:
    """log of the e-value against the i-th ratio of odds: what the confidence sequence inverts."""
    logs = rows.odds[0]
    return float(np.logaddexp.reduce(logs) - math.log(len(logs)) - logs[i])


@pytest.mark.parametrize("table", [(3, 40, 5, 400), (0, 40, 5, 400), (30, 400, 200, 2000), (9, 10, 1, 90)])
def test_the_limits_of_the_odds_are_those_of_a_fine_search(table: Cells) -> None:
    """Between the points the likelihood is bounded, so that the limits are never too narrow, and seldom wide."""
    rows, grid = (
        after(state("nothing seen", "defaults"), table, "defaults"),
        layout_of("defaults").grid.log_odds[0],
    )
    low, high = confidence.odds_limits(grid, rows.odds[0])
    level = np.logaddexp.reduce(rows.odds[0][np.unique(grid.round(9), return_index=True)[1]])
    level -= math.log(len(np.unique(grid.round(9)))) + math.log(20)
    fine = np.linspace(math.log(1 / 40), math.log(50), 2001)
    kept = np.exp(fine[log_likelihoods(*table, fine) > level])
    assert (low or 0) <= kept[0] * 1.005
    assert (high or math.inf) >= kept[-1] / 1.005
    if low is not None:
        assert low >= kept[0] / 1.5
    if high is not None:
        assert high <= kept[-1] * 1.5


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
    edges = Edge(0, True, True), Edge(1, True, False)
    known = metrics(config, (), edges)

    def after(rows: Proportions, canary: tuple[int, ...], baseline: tuple[int, ...]) -> Proportions:
        cells = np.zeros((3, 4))
        for i in (0, 1):
            cells[1 + i] = sum(canary[i + 1 :]), sum(canary), sum(baseline[i + 1 :]), sum(baseline)
        return rows.after(cells, Span(10.0, (0.75, 0.03), 60.0), known.layout)

    def log_evidence(rows: Proportions) -> float:
        seen = Latency((0.1, 0.5), (), edges)
        return harm(JudgeState(rows=rows, latency=seen), config).odds[1]

    start = Proportions.start(1, 1).with_rows(np.array([[0, 0, 140, 240], [0, 0, 60, 240.0]]))
    assert log_evidence(start) == pytest.approx(0)
    for _ in range(seen):
        start = after(start, (1, 2, 2), (30, 20, 10))
    gained = {
        pair: math.exp(log_evidence(after(start, *pair)) - log_evidence(start))
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


@pytest.mark.parametrize("past", [(100, 80, 60), (0, 0, 5), (400, 0, 1)])
@pytest.mark.parametrize("seen", [0, 2])
def test_tilts_never_gain_where_the_arms_are_alike(past: tuple[int, ...], seen: int) -> None:
    """Every spread, every pair of small histograms."""
    before: Tilts = chosen(past)
    for _ in range(seen):
        before = before.after((0.75, 0.03), (1, 2, 2), (30, 20, 10))
    gained = {
        pair: math.exp(before.after((0.75, 0.03), *pair).log_value() - before.log_value())
        for pair in itertools.product(BUCKETS, BUCKETS)
    }
    for p, n, m in itertools.product(SPREADS, (1, 2, 3), (1, 2, 3)):
        mean = sum(
            multinomial.pmf(canary, n, p) * multinomial.pmf(baseline, m, p) * e
            for (canary, baseline), e in gained.items()
            if (sum(canary), sum(baseline)) == (n, m)
        )
        assert mean <= 1 + SLACK, (p, n, m, mean)


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
    cap, plain = TOLERANCES["defaults"].log_cap, 0.0
    grown = state("a failing service", "defaults")
    for _ in range(12):
        grown = after(grown, (3, 20, 6, 180), "defaults", 0.0)
        plain = float(grown.log_ratio()[0])
        assert grown.money[0, 1] >= min(plain, cap) - 1e-9
    assert plain > cap


def test_the_bets_do_gain_under_their_alternatives() -> None:
    """The oracles above would pass for bets that never pay."""
    harmed = safe = state("a failing service", "defaults")
    for _ in range(30):
        harmed = after(harmed, (60, 100, 300, 1000), "defaults")
        safe = after(safe, (300, 1000, 300, 1000), "defaults")
    assert harmed.log_harm(layout_of("defaults"))[0] > 10
    assert harmed.money[0, 2] < -10
    assert safe.money[0, 2] > 10
    assert safe.log_harm(layout_of("defaults"))[0] < 0
