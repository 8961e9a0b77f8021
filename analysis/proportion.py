"""One proportion in two arms, interval by interval: all evidence that is kept about it.

A bad event is a failed request, or one slower than an edge.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from analysis import harm, projection, safety, wealth
from analysis.confidence import EXCESS_GRID, ODDS_GRID, ExcessLimit, OddsLimits
from analysis.harm import Harm
from analysis.hypergeometric import log_likelihoods
from analysis.safety import Safety

Floats = NDArray[np.float64]

_HALF_LIFE: Final = (
    1800.0  # seconds: what a bet takes for the baseline's present rate follows the day, not noise
)
_PRIOR_REQUESTS: Final = 50.0
_PRIOR_BAD: Final = 0.5
_SHRINK: Final = 20.0  # requests at the baseline's rate that a young canary's rate is shrunk by


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is tolerated of one proportion; harm_delta None: any difference (latency)."""

    harm_ratio: float
    harm_delta: float | None
    safe_ratio: float
    safe_delta: float
    block: float = 60.0  # seconds in which the worst of the baseline is remembered


@dataclass(frozen=True, slots=True)
class Table:
    """One interval's bad events and requests."""

    canary_bad: int
    canary_requests: int
    baseline_bad: int
    baseline_requests: int

    @property
    def comparable(self) -> bool:
        """Whether both arms had requests."""
        return self.canary_requests > 0 and self.baseline_requests > 0


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over judged intervals; mh_canary / mh_baseline is the Mantel-Haenszel ratio of odds."""

    canary_bad: int = 0
    canary_requests: int = 0
    baseline_bad: int = 0
    baseline_requests: int = 0
    mh_canary: float = 0.0
    mh_baseline: float = 0.0

    def plus(self, table: Table) -> Tally:
        """With one more interval."""
        requests = max(table.canary_requests + table.baseline_requests, 1)
        fine_canary = table.canary_requests - table.canary_bad
        fine_baseline = table.baseline_requests - table.baseline_bad
        return Tally(
            self.canary_bad + table.canary_bad,
            self.canary_requests + table.canary_requests,
            self.baseline_bad + table.baseline_bad,
            self.baseline_requests + table.baseline_requests,
            self.mh_canary + table.canary_bad * fine_baseline / requests,
            self.mh_baseline + table.baseline_bad * fine_canary / requests,
        )

    def ratio(self) -> float | None:
        """The ratio of odds, None while undefined."""
        return self.mh_canary / self.mh_baseline if self.mh_baseline > 0 else None


@dataclass(frozen=True, slots=True)
class Recent:
    """The past with a half-life of half an hour: what bets on the next interval are made of."""

    canary_bad: float = 0.0
    canary_requests: float = 0.0
    baseline_bad: float = 0.0
    baseline_requests: float = 0.0

    def plus(self, table: Table, seconds: float) -> Recent:
        """With one more interval of that length."""
        kept = 0.5 ** (seconds / _HALF_LIFE)
        return Recent(
            kept * self.canary_bad + table.canary_bad,
            kept * self.canary_requests + table.canary_requests,
            kept * self.baseline_bad + table.baseline_bad,
            kept * self.baseline_requests + table.baseline_requests,
        )

    def baseline_rate(self) -> float:
        """Inside (0, 1): smoothed by half a bad event in fifty requests."""
        return (self.baseline_bad + _PRIOR_BAD) / (self.baseline_requests + _PRIOR_REQUESTS)

    def canary_rate(self) -> float:
        """Inside (0, 1): shrunk towards the baseline's."""
        return (self.canary_bad + _SHRINK * self.baseline_rate()) / (self.canary_requests + _SHRINK)


@dataclass(frozen=True, slots=True)
class Blocks:
    """The baseline in blocks of burst_block seconds: how bad it was at its worst.

    highest: the greatest lower 95 % confidence limit (Clopper and Pearson 1934) of a block's rate, so that
    chance alone does not raise it much; seconds, bad, requests: the block under way.
    """

    highest: float = 0.0
    seconds: float = 0.0
    bad: int = 0
    requests: int = 0

    def plus(self, table: Table, seconds: float, length: float) -> Blocks:
        """With one more interval."""
        grown = Blocks(
            self.highest,
            self.seconds + seconds,
            self.bad + table.baseline_bad,
            self.requests + table.baseline_requests,
        )
        if grown.seconds < length:
            return grown
        fine = grown.requests - grown.bad
        lowest = float(betaincinv(grown.bad, fine + 1, 0.05)) if grown.bad else 0.0
        return Blocks(max(self.highest, lowest))


@dataclass(frozen=True, slots=True)
class Proportion:
    """`safety` and `excess` are None where nothing is decided by them."""

    tally: Tally = field(default_factory=Tally)
    recent: Recent = field(default_factory=Recent)
    blocks: Blocks = field(default_factory=Blocks)
    harm: Harm = field(default_factory=Harm)
    odds: OddsLimits = field(default_factory=OddsLimits)
    safety: Safety | None = None
    excess: ExcessLimit | None = None

    def lengths(self) -> dict[str, tuple[int, int]]:
        """For every vector kept: how many entries it has, and how many it must have unless it has none."""
        found = {
            "harm.ratio.logs": (len(self.harm.ratio.logs), len(wealth.lifts())),
            "odds.logs": (len(self.odds.logs), len(ODDS_GRID)),
        }
        if self.harm.difference is not None:
            found["harm.difference.logs"] = len(self.harm.difference.logs), len(wealth.lifts())
        if self.excess is not None:
            found["excess.logs"] = len(self.excess.logs), len(EXCESS_GRID)
        if self.safety is not None:
            found["safety.ratio"] = len(self.safety.ratio), safety.ALTERNATIVES
            found["safety.difference"] = len(self.safety.difference), safety.ALTERNATIVES
        return found

    @property
    def untouched(self) -> bool:
        """Whether nothing was staked yet."""
        return not self.harm.ratio.logs

    def after(
        self,
        table: Table,
        *,
        stake: float,
        seconds: float,
        tolerance: Tolerance,
        log_cap: float | None = None,
    ) -> Proportion:
        """After one interval; an interval with an empty arm is counted and proves nothing.

        log_cap: log of the threshold of harm, where boosting stops.
        """
        counted = (
            self.tally.plus(table),
            self.recent.plus(table, seconds),
            self.blocks.plus(table, seconds, tolerance.block),
        )
        if not table.comparable:
            return Proportion(*counted, self.harm, self.odds, self.safety, self.excess)
        grid = _grid(tolerance.harm_ratio, tolerance.safe_ratio)
        cells = (table.canary_bad, table.canary_requests, table.baseline_bad, table.baseline_requests)
        by_harm, by_safety, by_limits = np.split(log_likelihoods(*cells, grid.log_odds), grid.cuts)
        bets = self._difference_bets(table, tolerance)
        return Proportion(
            *counted,
            self.harm.after(
                stake,
                harm.ratio_factors(by_harm),
                bets.harm,
                None if log_cap is None else harm.Room(cells, tolerance.harm_ratio, log_cap),
            ),
            self.odds.after(by_limits),
            None if self.safety is None else self._safety_after(self.safety, by_safety, bets, tolerance),
            None if self.excess is None or bets.excess is None else self.excess.after(bets.excess),
        )

    def _safety_after(self, before: Safety, by_safety: Floats, bets: _Bets, tolerance: Tolerance) -> Safety:
        half = safety.favoured(self.recent.baseline_rate(), tolerance.safe_ratio, tolerance.safe_delta)
        if half == "ratio" or bets.safety is None:
            return before.after("ratio", safety.ratio_factors(by_safety))
        return before.after("difference", bets.safety)

    def _difference_bets(self, table: Table, tolerance: Tolerance) -> _Bets:
        """The factors of every bet on a difference, from one projection; made of the past alone."""
        theta_b = self.recent.baseline_rate()
        parts: dict[
            str, tuple[Floats, Floats, bool]
        ] = {}  # alternatives, margins, whether the null is "no harm"
        if tolerance.harm_delta is not None and self.harm.difference is not None:
            lifted = harm.difference_alternatives(theta_b, tolerance.harm_delta)
            parts["harm"] = lifted, np.full_like(lifted, tolerance.harm_delta), True
        half = safety.favoured(theta_b, tolerance.safe_ratio, tolerance.safe_delta)
        if self.safety is not None and half == "difference":
            alike = safety.difference_alternatives(theta_b, tolerance.safe_ratio)
            parts["safety"] = alike, np.full_like(alike, tolerance.safe_delta), False
        if self.excess is not None:
            parts["excess"] = np.full_like(EXCESS_GRID, self.recent.canary_rate()), EXCESS_GRID, False
        if not parts:
            return _Bets()
        factors = projection.log_factors(
            (table.canary_bad, table.canary_requests),
            (table.baseline_bad, table.baseline_requests),
            theta_c=np.concatenate([alternatives for alternatives, _, _ in parts.values()]),
            theta_b=theta_b,
            delta=np.concatenate([margins for _, margins, _ in parts.values()]),
            harm=np.concatenate([np.full(len(margins), is_harm) for _, margins, is_harm in parts.values()]),
        )
        ends = np.cumsum([len(margins) for _, margins, _ in parts.values()])[:-1]
        return _Bets(**dict(zip(parts, np.split(factors, ends), strict=True)))


@dataclass(frozen=True, slots=True)
class _Bets:
    harm: Floats | None = None
    safety: Floats | None = None
    excess: Floats | None = None


@dataclass(frozen=True, slots=True)
class _Grid:
    log_odds: Floats
    cuts: tuple[int, int]


@functools.lru_cache(maxsize=64)
def _grid(harm_ratio: float, safe_ratio: float) -> _Grid:
    """All ratios of odds at which an interval's likelihood is wanted, so that its law is summed once."""
    for_harm, for_safety = harm.ratio_log_odds(harm_ratio), safety.ratio_log_odds(safe_ratio)
    cuts = len(for_harm), len(for_harm) + len(for_safety)
    return _Grid(np.concatenate((for_harm, for_safety, ODDS_GRID)), cuts)
