"""The closed forms of growth against the laws they stand for: enumerated, or drawn from."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import nchypergeom_fisher

from analysis.growth import Rates, chance_reached, difference_growth, ratio_growth
from analysis.projection import at_odds, log_factors

shares = st.floats(0.005, 0.9)
rates = st.floats(1e-5, 0.6)


def drawn(at: Rates, requests: int, draws: int = 4000) -> tuple[np.ndarray, np.ndarray, int, int]:
    """Bad events of canary and baseline in many intervals, and both arms' requests."""
    rng = np.random.default_rng(1)
    n_c = round(requests * at.share)
    n_b = requests - n_c
    return rng.binomial(n_c, at.canary, draws), rng.binomial(n_b, at.baseline, draws), n_c, n_b


@pytest.mark.parametrize(
    "at", [Rates(0.02, 0.01, 0.1), Rates(0.01, 0.01, 0.5), Rates(0.4, 0.3, 0.25), Rates(0.005, 0.001, 0.02)]
)
def test_a_bet_on_the_odds_gains_what_fishers_law_pays(at: Rates) -> None:
    """Intervals large enough that conditioning on the margins costs next to nothing."""
    requests, null, bet = round(100 / min(at.canary, at.baseline)), 1.25, 2.0
    x_c, x_b, n_c, n_b = drawn(at, requests, 1500)
    k = x_c + x_b
    laws = [nchypergeom_fisher(n_c + n_b, k, n_c, odds).logpmf(x_c) for odds in (bet, null)]
    paid = laws[0] - laws[1]
    growth = ratio_growth(at, null, [bet])
    error = paid.std() / np.sqrt(len(paid))
    assert growth.mean[0] * requests == pytest.approx(paid.mean(), abs=4 * error + 0.02 * abs(paid.mean()))
    assert growth.variance[0] * requests == pytest.approx(paid.var(), rel=0.15)


@pytest.mark.parametrize("harm", [True, False])
@pytest.mark.parametrize("at", [Rates(0.02, 0.01, 0.1), Rates(0.01, 0.01, 0.5), Rates(0.002, 0.0005, 0.05)])
def test_a_bet_on_a_difference_gains_what_the_projection_pays(at: Rates, harm: bool) -> None:
    requests, delta = 20_000, 0.003 if harm else 0.02
    x_c, x_b, n_c, n_b = drawn(at, requests)
    bet = np.array([at.baseline + 0.01 if harm else at.baseline])
    paid = np.array(
        [
            log_factors(
                (c, n_c),
                (b, n_b),
                theta_c=bet,
                theta_b=at.baseline,
                delta=np.array([delta]),
                harm=np.array([harm]),
            )[0]
            for c, b in zip(x_c.tolist(), x_b.tolist(), strict=True)
        ]
    )
    growth = difference_growth(at, delta, bet, harm=harm)
    error = paid.std() / np.sqrt(len(paid))
    assert growth.mean[0] * requests == pytest.approx(paid.mean(), abs=4 * error)
    assert growth.variance[0] * requests == pytest.approx(paid.var(), rel=0.1)


@given(rates, shares, st.floats(1.0, 5.0), st.floats(1.05, 20.0))
def test_no_bet_gains_where_its_null_holds(baseline: float, share: float, null: float, bet: float) -> None:
    edge = Rates(float(at_odds(null, baseline)), baseline, share)
    assert ratio_growth(edge, null, [null * bet]).mean[0] <= 1e-12
    below = Rates(baseline, baseline, share)
    assert ratio_growth(below, null, [null * bet]).mean[0] <= 1e-12
    assert difference_growth(below, 0.01, [min(baseline + 0.1, 0.9)], harm=True).mean[0] <= 1e-12


@given(rates, shares, st.floats(1.3, 8.0), st.floats(0.3, 3.0))
def test_the_bet_on_what_is_true_gains_most(baseline: float, share: float, lift: float, off: float) -> None:
    truth = Rates(float(at_odds(lift, baseline)), baseline, share)
    true, other = ratio_growth(truth, 1.0, [lift, lift * off]).mean
    assert true >= other - 1e-12
    assert true > 0


def test_an_alternative_inside_the_null_is_no_bet() -> None:
    at = Rates(0.01, 0.01, 0.3)
    assert difference_growth(at, 0.01, [0.015], harm=True).mean[0] == 0
    assert difference_growth(at, 0.001, [0.012], harm=False).mean[0] == 0


@pytest.mark.parametrize(("mean", "variance", "level"), [(3.0, 6.0, 5.0), (6.0, 12.0, 5.0), (8.0, 30.0, 5.0)])
def test_the_chance_to_have_been_at_a_level_is_that_of_a_walk(
    mean: float, variance: float, level: float
) -> None:
    rng = np.random.default_rng(2)
    steps = 4000
    walks = np.cumsum(rng.normal(mean / steps, np.sqrt(variance / steps), (2000, steps)), axis=1)
    seen = (walks.max(axis=1) >= level).mean()
    assert float(chance_reached(mean, variance, level)) == pytest.approx(seen, abs=0.035)


@given(st.floats(0, 50), st.floats(0.001, 100), st.floats(-5, 50))
def test_a_chance_is_one(mean: float, variance: float, level: float) -> None:
    chance = float(chance_reached(mean, variance, level))
    assert 0 <= chance <= 1
    assert level > 0 or chance == 1
