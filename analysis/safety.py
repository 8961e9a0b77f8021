"""Safety: evidence against "worse than the tolerance allows". Absence of alarm is not safety.

Null: odds(canary) >= safe_ratio x odds(baseline) **and** p_canary >= p_baseline + safe_delta, in every
interval. A bet against either half alone is a bet against the null, so in each interval the half is played
that the past favours: the one whose edge is farther from the baseline's rate. The wealth is the product of
the played halves' factors; each half is a mixture over alternatives with half the prior at "alike".

    ratio half        Fisher's law, alternatives below safe_ratio: factors decrease in the canary's bad
                      events, so they are fair or worse for all larger odds
    difference half   reverse information projection onto {p_c >= p_b + safe_delta}; works without any error

Promote when the wealth of every metric is at least 1/beta (intersection-union: no correction).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from numpy.typing import NDArray

from analysis.projection import at_odds, project

Floats = NDArray[np.float64]

Half = Literal["ratio", "difference"]

# Where between "alike" and the edge the alternatives lie, in log odds; 0 has half the prior.
_PLACES: Final = np.array([0.0, -0.5, 0.25, 0.5])
ALTERNATIVES: Final = len(_PLACES)
_LOG_PRIOR: Final = np.log(np.array([1 / 2, 1 / 6, 1 / 6, 1 / 6]))


@dataclass(frozen=True, slots=True)
class Safety:
    """log_wealth: log of the e-value; ratio, difference: each half's log likelihood ratio per alternative."""

    log_wealth: float = 0.0
    ratio: tuple[float, ...] = (0.0,) * ALTERNATIVES
    difference: tuple[float, ...] = (0.0,) * ALTERNATIVES

    def after(self, half: Half, log_factors: Floats) -> Safety:
        """After one interval in which `half` was played with these log factors of its alternatives."""
        before = np.asarray(self.ratio if half == "ratio" else self.difference)
        after = before + log_factors
        gained = np.logaddexp.reduce(_LOG_PRIOR + after) - np.logaddexp.reduce(_LOG_PRIOR + before)
        played = tuple(after.tolist())
        return Safety(
            self.log_wealth + float(gained),
            played if half == "ratio" else self.ratio,
            played if half == "difference" else self.difference,
        )

    def log_share_alike(self, half: Half) -> float:
        """log of the present weight of "alike" in a half's mixture: what the prior still costs."""
        logs = _LOG_PRIOR + np.asarray(self.ratio if half == "ratio" else self.difference)
        return float(logs[0] - np.logaddexp.reduce(logs))


def favoured(theta_b: float, safe_ratio: float, safe_delta: float) -> Half:
    """The half whose edge is farther from a baseline rate theta_b."""
    return "ratio" if float(at_odds(safe_ratio, theta_b)) >= theta_b + safe_delta else "difference"


def ratio_log_odds(safe_ratio: float) -> Floats:
    """Log odds of the null's edge, then of every alternative."""
    return np.asarray(math.log(safe_ratio) * np.concatenate(([1.0], _PLACES)))


def ratio_factors(log_likelihoods: Floats) -> Floats:
    """Log factors from the log likelihoods at `ratio_log_odds`."""
    return np.asarray(log_likelihoods[1:] - log_likelihoods[0])


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
    if favoured(theta, safe_ratio, safe_delta) == "difference":
        c, b = project(weight, 1 - weight, *(np.array([v]) for v in (theta, theta, safe_delta)))
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
