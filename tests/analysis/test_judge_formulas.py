"""Laws and projections against independent references."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.optimize import minimize_scalar
from scipy.special import gammaln, logsumexp
from scipy.stats import binom, hypergeom, nchypergeom_fisher

from analysis import hypergeometric, projection, safety, wealth
from analysis.hypergeometric import log_likelihoods

Floats = NDArray[np.float64]


def array(*values: float) -> Floats:
    return np.array(values, dtype=np.float64)


class TestFishersLaw:
    @pytest.mark.parametrize("odds", [0.05, 0.8, 1.25, 4.0, 40.0])
    @pytest.mark.parametrize(
        ("n_c", "n_b", "k"), [(1, 1, 1), (5, 9, 4), (30, 300, 25), (200, 150, 180), (3, 4, 7)]
    )
    def test_small_supports_against_scipy(self, n_c: int, n_b: int, k: int, odds: float) -> None:
        law = nchypergeom_fisher(n_c + n_b, n_c, k, odds)
        for x in range(max(0, k - n_b), min(k, n_c) + 1):
            (ours,) = log_likelihoods(x, n_c, k - x, n_b, array(math.log(odds)))
            assert ours == pytest.approx(math.log(law.pmf(x)), abs=3e-8), x

    @pytest.mark.parametrize(("n_c", "n_b", "k"), [(40, 60, 30), (3000, 27000, 900), (50000, 50000, 40000)])
    def test_at_odds_one_it_is_the_hypergeometric_law(self, n_c: int, n_b: int, k: int) -> None:
        mean = round(k * n_c / (n_c + n_b))
        for x in (mean - 5, mean, mean + 5):
            (ours,) = log_likelihoods(x, n_c, k - x, n_b, array(0.0))
            assert ours == pytest.approx(float(hypergeom.logpmf(x, n_c + n_b, n_c, k)), abs=1e-7)

    @settings(max_examples=150, deadline=None)
    @given(
        st.integers(1, 200_000),
        st.integers(1, 200_000),
        st.floats(0.0005, 0.9995),
        st.floats(-4, 4),
        st.floats(-3, 3),
    )
    def test_the_window_is_the_whole_sum(
        self, n_c: int, n_b: int, share: float, log_odds: float, place: float
    ) -> None:
        k = min(max(1, round(share * (n_c + n_b))), n_c + n_b - 1)
        low, high = max(0, k - n_b), min(k, n_c)
        x = int(np.clip(k * n_c / (n_c + n_b) + place * math.sqrt(k), low, high))
        grid = array(log_odds, 0.0, 3.0)
        s = np.arange(low, high + 1.0)
        base = -sum(gammaln(cell + 1) for cell in (s, n_c - s, k - s, n_b - k + s))
        whole = base[x - low] + x * grid - logsumexp(base + grid[:, None] * s, axis=1)
        ours = log_likelihoods(x, n_c, k - x, n_b, grid)
        assert ours == pytest.approx(whole, abs=1e-6, rel=1e-9)

    @pytest.mark.parametrize(("n_c", "n_b", "k"), [(5, 9, 4), (300, 2700, 60), (30_000, 70_000, 9_000)])
    def test_the_law_that_boosting_goes_through(self, n_c: int, n_b: int, k: int) -> None:
        found = hypergeometric.law([k / 10, n_c, k - k / 10, n_b], math.log(1.25))
        assert found is not None
        masses, first = found
        x = first + np.arange(len(masses))
        wanted = nchypergeom_fisher(n_c + n_b, n_c, k, 1.25).pmf(x)
        assert masses == pytest.approx(wanted, abs=1e-9)
        assert masses.sum() == pytest.approx(1)

    def test_tables_of_different_sizes_together(self) -> None:
        cells = np.array([[3, 50, 20, 400], [700, 4000, 5000, 36_000], [0, 0, 0, 9], [60, 300, 90, 900.0]])
        grid = np.stack([array(-1, 0, 2), array(-2, 0.2, 1), array(0, 1, 2), array(0.1, 0.5, 3)])
        together = hypergeometric.OddsGrid(grid).log_likelihoods(cells)
        for row, table, odds in zip(together, cells, grid, strict=True):
            x_c, n_c, x_b, n_b = (int(value) for value in table)
            assert row == pytest.approx(log_likelihoods(x_c, n_c, x_b, n_b, odds), rel=1e-12, abs=1e-12)

    @pytest.mark.parametrize(
        ("x_c", "n_c", "x_b", "n_b"), [(0, 5, 0, 5), (5, 5, 5, 5), (0, 0, 3, 5), (3, 5, 0, 0), (0, 0, 0, 0)]
    )
    def test_margins_without_a_choice_say_nothing(self, x_c: int, n_c: int, x_b: int, n_b: int) -> None:
        assert log_likelihoods(x_c, n_c, x_b, n_b, array(-1, 0, 2)).tolist() == [0, 0, 0]


class TestProjection:
    def test_equality_is_pooled(self) -> None:
        c, b = projection.project(1, 1, array(0.10), array(0.05), array(0.0))
        assert (c[0], b[0]) == pytest.approx((0.075, 0.075), abs=1e-12)

    def test_non_inferiority(self) -> None:
        c, b = projection.project(1000, 1000, array(0.001), array(0.001), array(0.001))
        assert (c[0], b[0]) == pytest.approx((0.00170693, 0.00070693), abs=5e-9)

    @settings(max_examples=200, deadline=None)
    @given(
        st.floats(1, 1e6),
        st.floats(1, 1e6),
        st.floats(1e-6, 0.999),
        st.floats(1e-6, 0.999),
        st.floats(0, 0.9),
    )
    def test_nothing_on_the_line_is_nearer(
        self, n_c: float, n_b: float, theta_c: float, theta_b: float, delta: float
    ) -> None:
        def divergence(b: float) -> float:
            def kl(p: float, q: float) -> float:
                return p * math.log(p / q) + (1 - p) * (math.log1p(-p) - math.log1p(-q))

            return n_c * kl(theta_c, b + delta) + n_b * kl(theta_b, b)

        _, (b,) = projection.project(n_c, n_b, array(theta_c), array(theta_b), array(delta))
        assert 0 < b < 1 - delta
        found = divergence(float(b))
        best = minimize_scalar(divergence, bounds=(1e-12, 1 - delta - 1e-12), method="bounded")
        assert found <= best.fun * (1 + 1e-9) + 1e-9

    def test_an_alternative_inside_its_null_bets_nothing(self) -> None:
        factors = projection.log_factors(
            (3, 10),
            (1, 10),
            theta_c=array(0.2, 0.2),
            theta_b=0.2,
            delta=array(0.1, 0.1),
            harm=np.array([True, False]),
        )
        assert factors[0] == 0
        assert factors[1] != 0

    @pytest.mark.parametrize("ratio", [0.7, 1.0, 1.5])
    @pytest.mark.parametrize("delta", [0.0, 0.02])
    @pytest.mark.parametrize("harm", [True, False])
    def test_no_margin_ever_pays_inside_its_null(self, ratio: float, delta: float, harm: bool) -> None:
        """p_c <= ratio p_b + delta, or the reverse: all small tables, all points of a grid."""
        theta_b = 0.2
        theta_c = array(0.5, 0.9) if harm else array(0.02, 0.15)
        p_c, p_b = (grid.ravel() for grid in np.meshgrid(np.linspace(0, 1, 21), np.linspace(0, 1, 21)))
        on_the_line = ratio * p_b + delta
        inside = (p_c <= on_the_line) if harm else (p_c >= on_the_line)
        edge = on_the_line <= 1
        p_c, p_b = np.append(p_c[inside], on_the_line[edge]), np.append(p_b[inside], p_b[edge])
        for n_c, n_b in ((1, 5), (4, 4), (6, 2)):
            mean: Floats | float = 0.0
            for x_c in range(n_c + 1):
                for x_b in range(n_b + 1):
                    logs = projection.log_factors(
                        (x_c, n_c),
                        (x_b, n_b),
                        theta_c=theta_c,
                        theta_b=theta_b,
                        delta=np.full(2, delta),
                        harm=np.full(2, harm),
                        ratio=ratio,
                    )
                    law = binom.pmf(x_c, n_c, p_c) * binom.pmf(x_b, n_b, p_b)
                    mean = mean + law[:, None] * np.exp(logs)
            assert np.max(mean) <= 1 + 1e-9

    @pytest.mark.parametrize(
        ("theta", "n", "delta", "ratio", "point"),
        [
            ((0.10, 0.05), (1, 1), 0.0, 1.0, (0.075, 0.075)),
            ((0.001, 0.001), (1000, 1000), 0.001, 1.0, (0.00170693, 0.00070693)),
            # on c = 2 b with equal n and small rates Poisson's pooling: b = (0.03 + 0.03) / 3, to first order
            ((0.0003, 0.0003), (1e6, 1e6), 0.0, 2.0, (0.0004, 0.0002)),
        ],
    )
    def test_known_projections(
        self,
        theta: tuple[float, float],
        n: tuple[float, float],
        delta: float,
        ratio: float,
        point: tuple[float, float],
    ) -> None:
        c, b = projection.project(*n, array(theta[0]), array(theta[1]), array(delta), ratio)
        assert (c[0], b[0]) == pytest.approx(point, rel=1e-3 if ratio == 2 else 1e-5)


class TestPriorAndStakes:
    def test_the_prior_is_a_distribution_that_favours_small_lifts(self) -> None:
        prior = np.exp(wealth.log_prior())
        assert prior.sum() == pytest.approx(1)
        rho = wealth.lifts()
        assert (rho[0], rho[-1]) == pytest.approx((1.2, 40))
        density = prior / np.gradient(np.log(rho))
        assert np.all(np.diff(density[1:-1]) < 0)

    def test_a_fault_between_two_lifts_loses_the_same_share_everywhere(self) -> None:
        rho = wealth.lifts()
        middle = np.sqrt(rho[1:] * rho[:-1])
        lost = middle * np.log(rho[1:] / middle) ** 2 / 2 / (middle * np.log(middle) - middle + 1)
        assert lost.max() < 0.03
        assert lost.max() / lost.min() < 1.4

    def test_no_more_than_everything_is_staked(self) -> None:
        spent = wealth.stake(first=True, rise=0, seconds=10, elapsed=0, horizon=600)
        for i in range(1, 100):
            spent += wealth.stake(
                first=False, rise=i if i <= 20 else 0, seconds=10, elapsed=10 * i, horizon=600
            )
        assert spent == pytest.approx(1)


class TestGrowth:
    @pytest.mark.parametrize(
        ("theta", "weight", "margins"),
        [(0.01, 0.5, (1.5, 0.001)), (0.01, 0.1, (2.0, 0.005)), (0.0005, 0.25, (1.5, 0.001))],
    )
    def test_it_is_the_divergence_to_the_nearest_unsafe_point(
        self, theta: float, weight: float, margins: tuple[float, float]
    ) -> None:
        ratio, delta = margins

        def divergence(b: float) -> float:
            c = max(float(projection.at_odds(ratio, b)), b + delta)

            def kl(q: float) -> float:
                return theta * math.log(theta / q) + (1 - theta) * (math.log1p(-theta) - math.log1p(-q))

            return weight * kl(c) + (1 - weight) * kl(b)

        nearest = minimize_scalar(
            divergence, bounds=(1e-9, 3 * theta), method="bounded", options={"xatol": 1e-12}
        )
        growth = safety.growth_per_request(theta, weight, *margins)
        assert growth == pytest.approx(nearest.fun, rel=0.02)

    def test_nothing_is_learnt_without_a_second_arm(self) -> None:
        assert safety.growth_per_request(0.01, 0.0, 1.5, 0.001) == 0
        assert safety.growth_per_request(0.01, 1.0, 1.5, 0.001) == 0
