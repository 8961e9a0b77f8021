"""Harm, tier A: is the canary's rate of bad events worse than the tolerance allows?

Two e-processes, each a mixture over lifts and start times (wealth.py):

    ratio       null: odds(canary) <= harm_ratio x odds(baseline)   Fisher's law given the interval's margins
    difference  null: p_canary <= p_baseline + harm_delta           reverse information projection

Harm means that both tolerances are exceeded, so the evidence is the smaller of the two. That is valid for
"the ratio is tolerable throughout, **or** the difference is tolerable throughout": under either, one of the
two is an e-process and the smaller one is below it. It does not cover a service that is tolerable by its
ratio at some times and only by its difference at others; the product of the smaller factors would, at a cost
in power that every release would pay.

Fisher's factors are increasing in the canary's bad events, so they are fair or worse for smaller odds, too.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis import wealth
from analysis.boosting import Line, boost, boost_difference, is_far
from analysis.hypergeometric import law
from analysis.projection import Bets, at_odds

Floats = NDArray[np.float64]

_GREATEST_PROPORTION: Final = 0.95  # of a bet on a difference
_MANY: Final = 2
_LEAST_TERM: Final = -700.0


def ratio_log_odds(harm_ratio: float) -> Floats:
    """Log odds of the null's edge, then of every alternative: shape (1 + lifts,)."""
    return np.log(harm_ratio * np.concatenate(([1.0], wealth.lifts())))


def boosted(
    before: float,
    cells: list[float],
    *,
    laid: Floats,
    cash: float,
    log_factors: Floats,
    harm_ratio: float,
    log_cap: float,
) -> float:
    """log of the ratio's wealth with overshoot boosting, after an interval.

    before: the same before it; cells: (x_c, n_c, x_b, n_b); laid: log of what lies on each lift, prior and
    stake included; cash: what lies nowhere; log_factors: of the lifts, at what came.
    """
    log_cash = math.log(cash) if cash > 0 else -math.inf
    start = float(np.logaddexp(np.logaddexp.reduce(laid), log_cash))
    seen = float(np.logaddexp(np.logaddexp.reduce(laid + log_factors), log_cash)) - start
    found = None if is_far(before, log_cap) else law(cells, math.log(harm_ratio))
    if found is None:  # not worth it, or too many outcomes to go through: the cap alone is fair as well
        return log_cap if before >= log_cap else min(before + seen, log_cap)
    null, first = found
    # Given the margins a lift's factor is exponential in x, with the logarithm of the lift as its rate.
    steps = np.arange(first - cells[0], first - cells[0] + len(null))
    terms = (laid + log_factors - start) + steps[:, None] * np.log(wealth.lifts())
    growth = np.exp(np.clip(terms, _LEAST_TERM, -_LEAST_TERM)).sum(axis=1) + math.exp(log_cash - start)
    return boost(before, log_cap=log_cap, null=null, log_growth=np.log(growth), seen=seen)


def boosted_difference(
    before: float,
    cells: list[float],
    *,
    laid: Floats,
    cash: float,
    bets: Bets,
    delta: float,
    log_cap: float,
    binds: bool,
) -> float:
    """log of the difference's wealth with overshoot boosting, after an interval; as `boosted`, with its bets.

    binds: whether the past leaves the difference with less evidence than the ratio, so that it is worth while.
    """
    log_cash = math.log(cash) if cash > 0 else -math.inf
    start = float(np.logaddexp(np.logaddexp.reduce(laid), log_cash))
    logs = cells[0] * bets.canary + cells[2] * bets.baseline + bets.constant
    seen = float(np.logaddexp(np.logaddexp.reduce(laid + logs), log_cash)) - start
    if not binds or is_far(before, log_cap):
        return log_cap if before >= log_cap else min(before + seen, log_cap)
    share = np.exp(laid - start)
    line = Line(bets.canary, bets.baseline, bets.constant, bets.null_b, share, math.exp(log_cash - start))
    return boost_difference(before, log_cap=log_cap, line=line, cells=cells, delta=delta, seen=seen)


def tolerated_excess(theta_b: float, harm_ratio: float, harm_delta: float) -> float:
    """By how much the canary's rate may exceed a baseline's of theta_b without harm: harm exceeds both."""
    return max(float(at_odds(harm_ratio, theta_b)) - theta_b, harm_delta)


def difference_alternatives(theta_b: float, harm_delta: float) -> Floats:
    """The canary's proportion under each lift over the null's edge theta_b + harm_delta."""
    edge = min(theta_b + harm_delta, _GREATEST_PROPORTION)
    return np.asarray(np.minimum(at_odds(wealth.lifts(), edge), _GREATEST_PROPORTION))


def guarded(
    log_evidence: float, *, alpha: float, bad_events: float, intervals: int, least: tuple[int, int]
) -> bool:
    """The guard: enough bad events in the canary, and enough intervals unless one says more than enough.

    least: (min_bad_events, min_intervals). One interval says enough by (unboosted) evidence of 1/alpha^2, or by
    twice the least bad events. The guard only ever delays a rollback, so the bound alpha holds.
    """
    overwhelming = log_evidence >= -2 * math.log(alpha) or bad_events >= _MANY * least[0]
    return bad_events >= least[0] and (intervals >= least[1] or overwhelming)
