"""Safety: evidence against "worse than the tolerance allows". Absence of alarm is not safety.

Null: odds(canary) >= safe_ratio x odds(baseline) **and** p_canary >= p_baseline + safe_delta, in every
interval. A bet against either half alone is a bet against the null, so in each interval the half is played
that the past favours: the one whose edge is farther from the baseline's rate. The wealth is the product of
the played halves' factors; each half is a mixture over alternatives with half the prior at "alike".

    ratio half        Fisher's law, alternatives below safe_ratio: factors decrease in the canary's bad
                      events, so they are fair or worse for all larger odds
    difference half   reverse information projection onto {p_c >= p_b + safe_delta}; works without any error

Promote when the wealth of every metric is at least 1/beta (intersection-union: no correction; Casella and
Berger 2002, "Statistical Inference", section 8.3).
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.projection import at_odds, project

Floats = NDArray[np.float64]

# Where between "alike" and the edge the alternatives lie, in log odds; 0 has half the prior.
_PLACES: Final = np.array([0.0, -0.5, 0.25, 0.5])
ALTERNATIVES: Final = len(_PLACES)
LOG_PRIOR: Final = np.log(np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6]))


def gained(before: Floats, log_factors: Floats) -> Floats:
    """log of the growth of a half's mixture, for each row of shape (rows, alternatives)."""
    return np.asarray(log_mixture(before + log_factors) - log_mixture(before))


def log_mixture(log_ratios: Floats) -> Floats:
    """log of a half's mixture of alternatives, which are the last axis."""
    return np.asarray(np.logaddexp.reduce(LOG_PRIOR + log_ratios, axis=-1))


def log_share_alike(log_ratios: Floats) -> float:
    """log of the present weight of "alike" in a half's mixture: what the prior still costs."""
    return float(LOG_PRIOR[0] + log_ratios[0] - log_mixture(log_ratios))


def by_ratio(theta_b: Floats, safe_ratio: Floats, safe_delta: Floats) -> NDArray[np.bool_]:
    """Whether the ratio is the half whose edge is farther from a baseline rate theta_b; else the difference is."""
    scaled = safe_ratio * theta_b
    return np.asarray(scaled / (1 - theta_b + scaled) >= theta_b + safe_delta)


def ratio_log_odds(safe_ratio: float) -> Floats:
    """Log odds of the null's edge, then of every alternative."""
    return np.asarray(math.log(safe_ratio) * np.concatenate(([1.0], _PLACES)))


def difference_alternatives(theta_b: float, safe_ratio: float) -> Floats:
    """The canary's proportion under each alternative, for a baseline rate theta_b."""
    return at_odds(np.exp(_PLACES * math.log(safe_ratio)), theta_b)


def growth_per_request(theta: float, weight: float, safe_ratio: float, safe_delta: float) -> float:
    """Expected log wealth per request (of both arms) at canary share `weight` if both have rate theta.

    The divergence from (theta, theta) to the null's nearest member, of the half that is favoured; 0 at weight
    0 and 1, where nothing can be learnt.
    """
    if not 0 < weight < 1:
        return 0.0
    if not by_ratio(*(np.array(v) for v in (theta, safe_ratio, safe_delta))):
        alike = np.array([theta])
        c, b = project(weight, 1 - weight, alike, alike, np.array([safe_delta]))
        return _divergence(theta, float(c[0]), float(b[0]), weight)
    b0 = _at_edge(theta, weight, safe_ratio)
    return _divergence(theta, safe_ratio * b0 / (1 - b0 + safe_ratio * b0), b0, weight)


def _at_edge(theta: float, weight: float, safe_ratio: float) -> float:
    """b with weight * c + (1 - weight) * b = theta, c at safe_ratio times b's odds: the nearest member."""
    low, high = 0.0, theta
    for _ in range(60):
        b = (low + high) / 2
        mean = weight * safe_ratio * b / (1 - b + safe_ratio * b) + (1 - weight) * b
        low, high = (b, high) if mean < theta else (low, b)
    return (low + high) / 2


def _divergence(theta: float, c: float, b: float, weight: float) -> float:
    return weight * _kl(theta, c) + (1 - weight) * _kl(theta, b)


def _kl(p: float, q: float) -> float:
    return p * math.log(p / q) + (1 - p) * (math.log1p(-p) - math.log1p(-q))
