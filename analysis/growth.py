"""How fast evidence grows: closed forms for the expected log wealth per request, and when it reaches a level.

A bettor's log wealth against a null is a sum over intervals, nearly a random walk: per request (of both arms)
it gains `Growth.mean` on average with variance `Growth.variance`. What the two bets of the judge (harm.py,
safety.py) gain when the arms truly have the rates (p_c, p_b) at canary share w:

    ratio        D(null) - D(alternative), D(omega) = min over b of w kl(p_c || c) + (1 - w) kl(p_b || b) with
                 odds(c) = omega odds(b): what Fisher's law given the margins loses against the truth, as the
                 margin w p_c + (1 - w) p_b says nothing about omega. For small rates it is exactly
                 kbar kl(pi || pi_0) - kbar kl(pi || pi_j), pi = w omega / (w omega + 1 - w).
    difference   E log of the alternative's likelihood over its projection's (projection.py)

When a walk with drift first reaches a level: the inverse Gaussian law (Wald 1947, appendix 3; Siegmund 1985,
"Sequential Analysis", equation 3.14).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.special import log_ndtr, ndtr

from analysis.projection import project

Floats = NDArray[np.float64]

_TINY = 1e-12  # rates are kept this far inside (0, 1)


@dataclass(frozen=True, slots=True)
class Rates:
    """What is truly going on: the rates of bad events, 0..1, and the canary's share of the requests, 0..1."""

    canary: float
    baseline: float
    share: float

    @property
    def pooled(self) -> float:
        """The rate of both arms together."""
        return self.share * self.canary + (1 - self.share) * self.baseline


@dataclass(frozen=True, slots=True)
class Growth:
    """Mean and variance of the log wealth gained per request, one entry per alternative."""

    mean: Floats
    variance: Floats


def ratio_growth(rates: Rates, null: float, alternatives: ArrayLike) -> Growth:
    """Of bets on the ratios of odds `alternatives` against odds(canary) = null x odds(baseline)."""
    null_c, null_b = _nearest(rates, np.asarray([null], dtype=np.float64))
    odds = np.atleast_1d(np.asarray(alternatives, dtype=np.float64))
    return _growth(rates, _nearest(rates, odds), (null_c, null_b))


def difference_growth(
    rates: Rates, delta: float, alternatives: ArrayLike, *, harm: bool, believed: float | None = None
) -> Growth:
    """Of bets that the canary's rate is one of `alternatives` and the baseline's is `believed` (None: its own).

    Against p_c <= p_b + delta with `harm`, otherwise against p_c >= p_b + delta. An alternative inside the
    null is no bet and gains nothing.
    """
    theta_c = _inside(np.atleast_1d(np.asarray(alternatives, dtype=np.float64)))
    theta_b = np.full_like(theta_c, _inside(np.asarray(rates.baseline if believed is None else believed)))
    c, b = project(rates.share, 1 - rates.share, theta_c, theta_b, np.full_like(theta_c, delta))[:2]
    grown = _growth(rates, (theta_c, theta_b), (_inside(c), _inside(b)))
    played = theta_c > theta_b + delta if harm else theta_c < theta_b + delta
    return Growth(np.where(played, grown.mean, 0.0), np.where(played, grown.variance, 0.0))


def chance_reached(mean: ArrayLike, variance: ArrayLike, level: ArrayLike) -> Floats:
    """Chance that a walk of that mean and variance so far has been at `level` by now; shapes broadcast."""
    mean, variance, level = (np.asarray(x, dtype=np.float64) for x in (mean, variance, level))
    spread = np.sqrt(np.maximum(variance, _TINY))
    reflected = 2 * level * mean / np.maximum(variance, _TINY) + log_ndtr((-mean - level) / spread)
    reached = ndtr((mean - level) / spread) + np.exp(np.minimum(reflected, 0.0))
    return np.asarray(np.where(level <= 0, 1.0, np.clip(reached, 0.0, 1.0)))


def _nearest(rates: Rates, odds: Floats) -> tuple[Floats, Floats]:
    """The rates (c, b) with odds(c) = odds x odds(b) that keep the pooled rate: the likeliest ones."""
    w, pooled = rates.share, float(_inside(np.asarray(rates.pooled)))
    square = (1 - w) * (odds - 1)
    linear = (1 - w) + w * odds - pooled * (odds - 1)
    b = 2 * pooled / (linear + np.sqrt(linear * linear + 4 * square * pooled))
    return _inside(odds * b / (1 - b + odds * b)), _inside(b)


def _growth(rates: Rates, alternative: tuple[Floats, Floats], null: tuple[Floats, Floats]) -> Growth:
    mean = variance = np.zeros(1)
    for rate, share, theta, edge in zip(
        (rates.canary, rates.baseline), (rates.share, 1 - rates.share), alternative, null, strict=True
    ):
        fine = np.log1p(-theta) - np.log1p(-edge)
        score = np.log(theta / edge) - fine
        mean = mean + share * (rate * score + fine)
        variance = variance + share * rate * (1 - rate) * score * score
    return Growth(mean, variance)


def _inside(rate: Floats) -> Floats:
    return np.clip(rate, _TINY, 1 - _TINY)
