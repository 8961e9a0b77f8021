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

import functools
import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis import wealth
from analysis.boosting import boost
from analysis.hypergeometric import law
from analysis.projection import at_odds
from analysis.wealth import Wealth

Floats = NDArray[np.float64]

_GREATEST_PROPORTION: Final = 0.999


@dataclass(frozen=True, slots=True)
class Harm:
    """Wealth against "no harm"; `difference` is None where the tolerance is a ratio alone (latency).

    log_boosted: log of the ratio's wealth with overshoot boosting (boosting.py), None where it is not used.
    """

    ratio: Wealth = field(default_factory=Wealth)
    difference: Wealth | None = None
    log_boosted: float | None = None

    def log_evidence(self) -> float:
        """log of the e-value against "the ratio or the difference was tolerable throughout"."""
        prior = wealth.log_prior()
        ratio = self.ratio.log_value(prior)
        return ratio if self.difference is None else min(ratio, self.difference.log_value(prior))

    def log_decisive(self) -> float:
        """As `log_evidence`, with boosting: what is held against the threshold, and not read as odds."""
        if self.log_boosted is None or self.difference is None:
            return self.log_evidence()
        return min(self.log_boosted, self.difference.log_value(wealth.log_prior()))

    def after(
        self, stake: float, log_ratio: Floats, log_difference: Floats | None, room: Room | None = None
    ) -> Harm:
        """After one interval with the log factors of each lift; without `room` nothing is boosted."""
        ratio, difference, boosted = self.ratio.after(stake, log_ratio), self.difference, None
        if difference is not None and log_difference is not None:
            difference = difference.after(stake, log_difference)
        if self.log_boosted is not None and room is not None:
            boosted = self._boosted(stake, ratio, room)
        return Harm(ratio, difference, boosted)

    def _boosted(self, stake: float, after: Wealth, room: Room) -> float:
        assert self.log_boosted is not None
        prior = wealth.log_prior()
        before = self.ratio.log_value(prior)
        found = law(*room.cells, ratio_log_odds(room.harm_ratio))
        if found is None:  # too many outcomes to go through: the cap alone is fair as well
            return min(self.log_boosted + after.log_value(prior) - before, room.log_cap)
        log_law, seen = found
        log_growth = self.ratio.log_values_after(stake, log_law[1:] - log_law[0], prior) - before
        null = log_law[0]
        return boost(self.log_boosted, log_cap=room.log_cap, log_null=null, log_growth=log_growth, seen=seen)


@dataclass(frozen=True, slots=True)
class Room:
    """What boosting needs of an interval: (x_c, n_c, x_b, n_b), the tolerance, log of the threshold."""

    cells: tuple[int, int, int, int]
    harm_ratio: float
    log_cap: float


@functools.lru_cache(maxsize=64)
def ratio_log_odds(harm_ratio: float) -> Floats:
    """Log odds of the null's edge, then of every alternative: shape (1 + lifts,)."""
    return np.log(harm_ratio * np.concatenate(([1.0], wealth.lifts())))


def ratio_factors(log_likelihoods: Floats) -> Floats:
    """Log factors from the log likelihoods at `ratio_log_odds`."""
    return np.asarray(log_likelihoods[1:] - log_likelihoods[0])


def difference_alternatives(theta_b: float, harm_delta: float) -> Floats:
    """The canary's proportion under each lift over the null's edge theta_b + harm_delta."""
    edge = min(theta_b + harm_delta, _GREATEST_PROPORTION)
    return np.asarray(np.minimum(at_odds(wealth.lifts(), edge), _GREATEST_PROPORTION))


def guarded(
    log_evidence: float, *, alpha: float, bad_events: int, intervals: int, least: tuple[int, int]
) -> bool:
    """The guard: enough bad events in the canary, and enough intervals or overwhelming (unboosted) evidence.

    least: (min_bad_events, min_intervals). It only ever delays a rollback, so the bound alpha holds.
    """
    overwhelming = log_evidence >= -2 * math.log(alpha)
    return bad_events >= least[0] and (intervals >= least[1] or overwhelming)
