"""Overshoot boosting: an e-process that stops at a threshold need not waste what lies above it.

Wealth beyond the threshold 1/alpha buys nothing, so it may be given up in return for more wealth below. Given
an interval's margins the null law p0 of the canary's bad events is known exactly; with m(x) the growth of the
mixture's wealth at x, and r what is missing to the threshold,

    M <- M * min(r, b m(x)),     b = max over s of (1 - r P0(X >= s)) / sum_{x < s} p0(x) m(x)

For every s the expectation of min(r, b m) is at most r P0(X >= s) + b sum_{x < s} p0 m, so each of these b is
fair (compare Wald's truncated tests; Fischer and Ramdas 2024, "Improving the (approximate) sequential
probability ratio test by avoiding overshoot", section 3). Where m increases in x, so does min(r, b m(x)), and
odds below the null's only make it worse; where m decreases (evidence of safety) everything is read backwards.
b >= 1, as s beyond the support gives 1. Once there, M stays: what was reached was reached, though a guard may
still hold back what follows from it.

Against a margin on the difference the law is not known: the baseline's rate is anything. Then the null's edge,
p_c = p_b + delta, is cut into cells p_b in [u, v]. m increases in the canary's bad events and decreases in the
baseline's, so that in a cell (b m - r)+ has an expectation of at least that under (u + delta, v), hence of at
least b B - r C with B, C the expectation of m and the probability there, of any set of outcomes; and m itself
one of at most A, which is known in closed form. So b = (1 - r C) / (A - B) is fair in that cell, and the least
of all cells everywhere: below the edge fewer bad events come, which only makes it worse.
"""

from __future__ import annotations

import math
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

from analysis.hypergeometric import log_factorial

Floats = NDArray[np.float64]

_MOST_NATS: Final = 600.0
# Covers rounding and what a law leaves out on either side: less than 1e-13 each, and that times the room.
_ROUNDING: Final = 1e-11
_LEFT_OUT: Final = 1e-13
_FAR: Final = 1.0  # nats below the start
_MOST_OUTCOMES: Final = 20_000
_CUTS: Final = np.geomspace(0.08, 7.0, 26)  # of the cells, as multiples of where the null is nearest
_SHARES: Final = np.array([1.0, 1.03, 1.07, 1.12, 1.2, 1.35])  # of b, at which outcomes are cut to the room


def boost(log_wealth: float, *, log_cap: float, null: Floats, log_growth: Floats, seen: float) -> float:
    """log M after an interval.

    log_cap: log of the threshold, which M never exceeds; null, log_growth: p0 and log m over the support, in
    the direction in which m increases; seen: log m at what came.
    """
    log_room = log_cap - log_wealth
    if log_room <= 0:
        return log_cap
    room = math.exp(min(log_room, _MOST_NATS))
    below = np.cumsum(null * np.exp(np.minimum(log_growth, _MOST_NATS)))
    # For s = 1 ... size of the support: what lies at or above s is cut to the room, what is below grows by b.
    above = null[::-1].cumsum()[::-1]
    factors = (1 - _ROUNDING - room * (above[1:] + _LEFT_OUT)) / (below[:-1] + _LEFT_OUT)
    best = factors.max() if len(factors) else 0.0
    log_b = math.log(max(float(best), 1 - _ROUNDING))
    return log_wealth + min(log_room, log_b + seen)


class Line(NamedTuple):
    """Bets whose log is canary x_c + baseline x_b + constant, one entry each, `null_b` where the null is nearest;
    laid: the share of the wealth on each, cash: on none."""

    canary: Floats
    baseline: Floats
    constant: Floats
    null_b: Floats
    laid: Floats
    cash: float


def boost_difference(
    log_wealth: float, *, log_cap: float, line: Line, cells: list[float], delta: float, seen: float
) -> float:
    """log M after an interval against {p_c <= p_b + delta}, 0 < delta < 1.

    cells: (x_c, n_c, x_b, n_b); log_cap, seen: as for `boost`.
    """
    log_room = log_cap - log_wealth
    if log_room <= 0:
        return log_cap
    return log_wealth + min(log_room, _log_fair(line, math.exp(log_room), cells[1], cells[3], delta) + seen)


def is_far(log_wealth: float, log_cap: float) -> bool:
    """Whether the threshold is so far that boosting does not matter: then the cap alone is fair as well."""
    return log_wealth < min(0.0, log_cap) - _FAR


def _log_fair(line: Line, room: float, n_c: float, n_b: float, delta: float) -> float:
    """log b, the least over the cells; 0 where there are too many outcomes to go through."""
    staked = line.laid.sum()
    if staked <= 0:
        return 0.0
    centre = min(max(float(line.laid @ line.null_b / staked), 1e-9), 1 - delta - 1e-9)
    inner = np.minimum(centre * _CUTS, 1 - delta - 1e-9)
    low, high = np.concatenate(([0.0], inner)), np.concatenate((inner, [1 - delta]))
    most_c, most_b = n_c * (inner[-1] + delta), n_b * inner[-1]
    x = np.arange(min(n_c, math.ceil(most_c + 6 * math.sqrt(most_c) + 6)) + 1)
    y = np.arange(min(n_b, math.ceil(most_b + 4 * math.sqrt(most_b) + 4)) + 1)
    if len(x) * len(y) > _MOST_OUTCOMES:
        return 0.0
    at = np.minimum(np.maximum(line.null_b, low[:, None]), high[:, None])
    log_means = (
        line.constant
        + n_c * np.log1p((at + delta) * np.expm1(line.canary))
        + n_b * np.log1p(at * np.expm1(line.baseline))
    )
    means = np.exp(np.where(at == line.null_b, 0.0, log_means)) @ line.laid + line.cash
    rising = line.laid * np.exp(np.minimum(line.constant + x[:, None] * line.canary, _MOST_NATS))
    growth = rising @ np.exp(line.baseline[:, None] * y) + line.cash
    over = growth >= room / _SHARES[:, None, None]
    law_c, law_b = _binomial(x, n_c, low + delta), _binomial(y, n_b, high)
    mass = ((law_c @ over) * law_b).sum(axis=2)
    worth = ((law_c @ np.where(over, growth, 0.0)) * law_b).sum(axis=2)
    fair = (1 - _ROUNDING - room * mass) / (means - worth + _LEFT_OUT)
    return max(math.log(max(float(fair.max(axis=0).min()), _LEFT_OUT)), -_ROUNDING)


def _binomial(x: Floats, n: float, p: Floats) -> Floats:
    """Shape (probabilities, outcomes)."""
    inside = np.minimum(np.maximum(p, 1e-300), 1 - 1e-16)[:, None]
    ways = log_factorial(np.array([n])) - log_factorial(x) - log_factorial(n - x)
    return np.asarray(np.exp(ways + x * np.log(inside) + (n - x) * np.log1p(-inside)))
