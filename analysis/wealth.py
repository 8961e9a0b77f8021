"""Evidence as money: a bettor's wealth against a null hypothesis, spread over alternatives and start times.

A bettor who starts with 1 and plays only bets that are fair (or worse) under the null multiplies the wealth
by 100 with probability at most 1/100, ever (Ville 1939; Ramdas et al. 2023, "Game-theoretic statistics",
section 2). The stake is split over alternatives j with prior pi_j, and over the moments at which a fault may
begin: what is not yet staked is cash and keeps its value. One number per alternative is enough,

    R_j <- (R_j + stake) * f_j          E = sum_j pi_j R_j + cash

with f_j the likelihood ratio of the interval, since all start times share it from then on. `stake` may depend
on the past and on the interval's length and weight, never on its bad events.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

AT_START: Final = 0.88  # a fault of the revision itself shows from its first request
AT_RISES: Final = 0.08  # load, caches, pools: a fault that a rise of the weight brings out
RISES: Final = 6  # the rises that share AT_RISES: a ladder of seven rungs
UNIFORM: Final = 0.04  # anything else, spread over the horizon

NOTHING: Final = -1000.0  # log of a wealth that is not staked yet: adds nothing to any sum of doubles

_LEAST_LIFT: Final = 1.2
_GREATEST_LIFT: Final = 40.0
_LIFTS: Final = 12


@functools.cache
def lifts() -> Floats:
    """The ratios of odds above the tolerance that are bet on: from 1.2 to 40, so spaced that what a fault between
    two of them loses is the same share of what it yields, at every size.

    A fault rho, taken for one whose logarithm is off by d, yields rho d^2 / 2 less than the
    rho log rho - rho + 1 that it could (per expected bad event, as the canary's share goes to 0).
    """
    fine = np.geomspace(_LEAST_LIFT, _GREATEST_LIFT, 4001)
    steps = np.sqrt(fine / _yields(fine))
    places = np.concatenate(([0.0], np.cumsum((steps[1:] + steps[:-1]) / 2)))
    return np.interp(np.linspace(0, places[-1], _LIFTS), places, fine)


@functools.cache
def log_prior() -> Floats:
    """log pi_j: the same for every lift, which their spacing makes right: most for small ones, which need most."""
    return np.full(_LIFTS, -math.log(_LIFTS))


def _yields(rho: Floats) -> Floats:
    return np.asarray(rho * np.log(rho) - rho + 1)


@dataclass(frozen=True, slots=True)
class Wealth:
    """logs: log R_j per alternative (empty before the first stake); cash: what was not staked yet, 0..1."""

    logs: tuple[float, ...] = ()
    cash: float = 1.0

    def after(self, stake: float, log_factors: Floats) -> Wealth:
        """The wealth after one interval with log f_j = `log_factors`, `stake` having been laid before it."""
        stake = min(stake, self.cash)
        if not self.logs:
            return Wealth(tuple((math.log(stake) + log_factors).tolist()), self.cash - stake)
        logs = np.asarray(self.logs)
        if stake > 0:
            logs = np.logaddexp(logs, math.log(stake))
        return Wealth(tuple((logs + log_factors).tolist()), self.cash - stake)

    def log_values_after(self, stake: float, log_factors: Floats, log_prior: Floats) -> Floats:
        """log E after an interval for each of several outcomes: log f_j in rows j, outcomes in columns."""
        stake = min(stake, self.cash)
        logs = np.full(len(log_prior), math.log(stake)) if not self.logs else np.asarray(self.logs)
        if self.logs and stake > 0:
            logs = np.logaddexp(logs, math.log(stake))
        terms = (log_prior + logs)[:, None] + log_factors
        top = terms.max(axis=0)
        values = top + np.log(np.exp(terms - top).sum(axis=0))
        cash = self.cash - stake
        return np.asarray(np.logaddexp(values, math.log(cash)) if cash > 0 else values)

    def log_value(self, log_prior: Floats) -> float:
        """log E."""
        cash = math.log(self.cash) if self.cash > 0 else -math.inf
        if not self.logs:
            return cash
        return float(np.logaddexp(np.logaddexp.reduce(log_prior + np.asarray(self.logs)), cash))


def stake(*, first: bool, rise: int, seconds: float, elapsed: float, horizon: float) -> float:
    """What to stake before an interval. `rise`: the how-many-th rise of the weight it begins with, 0: none.

    seconds: the interval's length; elapsed: seconds since the first interval; horizon: the longest run.
    """
    amount = AT_START if first else 0.0
    if 1 <= rise <= RISES:
        amount += AT_RISES / RISES
    return amount + UNIFORM * max(0.0, min(seconds, horizon - elapsed)) / horizon
