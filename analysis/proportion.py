"""Proportions in two arms, interval by interval: all evidence that is kept about them, one row for each.

A bad event is a failed request, or one slower than an edge, or whatever a counter pair counts. Rows are kept
together, as arrays, because a judge looks at nine of them at every interval.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from analysis import confidence, harm, projection, safety, wealth
from analysis import tempering as tempers
from analysis.arrays import Arrays, frozen
from analysis.confidence import BELOW, EXCESS_GRID
from analysis.hypergeometric import OddsGrid

Floats = NDArray[np.float64]

_HALF_LIFE: Final = 1800.0  # seconds: what a bet takes for the present rate follows the day, not noise
_PRIOR_REQUESTS: Final = 100.0
_PRIOR_BAD: Final = 0.2
_NEARLY: Final = 0.7  # nats by which the difference may lead the ratio and still bind soon
_TINY: Final = 1e-300
_SHRINK: Final = 20.0  # requests at the baseline's rate that a young canary's rate is shrunk by

_LIFTS: Final = len(wealth.lifts())
_ALIKE: Final = safety.ALTERNATIVES
# Columns of the likelihoods: the edge of harm, lifts over it, the edge of safety, what is safe, odds below 1.
_EDGE: Final = slice(0, 1)
_LIFTED: Final = slice(1, 1 + _LIFTS)
_SAFE_EDGE: Final = slice(1 + _LIFTS, 2 + _LIFTS)
_SAFE: Final = slice(2 + _LIFTS, 2 + _LIFTS + _ALIKE)
ODDS: Final = 2 + _LIFTS + _ALIKE + len(BELOW)


@dataclass(frozen=True, slots=True)
class Tolerance:
    """What is tolerated of one proportion.

    harm_delta None: any difference (latency); log_cap: log of the threshold of harm, where boosting stops
    (inf: no boosting); decides: whether safety depends on it.
    """

    harm_ratio: float
    harm_delta: float | None
    safe_ratio: float
    safe_delta: float
    log_cap: float = math.inf
    decides: bool = True


class Span(NamedTuple):
    """An interval's length in seconds, what is staked in it (first bet, any later bet), the length of a block."""

    seconds: float
    stakes: tuple[float, float]
    block: float


class Layout:
    """The tolerances of all rows, and what follows from them. Rows with a harm_delta come first."""

    def __init__(self, tolerances: tuple[Tolerance, ...]) -> None:
        self.tolerances = tolerances
        self.paired = sum(one.harm_delta is not None for one in tolerances)
        assert all(one.harm_delta is not None for one in tolerances[: self.paired])
        rows = [
            np.concatenate((harm.ratio_log_odds(t.harm_ratio), safety.ratio_log_odds(t.safe_ratio), BELOW))
            for t in tolerances
        ]
        self.grid = OddsGrid(np.array(rows))
        self.bets = [_Bets(one) for one in tolerances]
        self.safe_ratio = np.array([one.safe_ratio for one in tolerances])
        self.safe_delta = np.array([one.safe_delta for one in tolerances])
        self.decides = np.array([one.decides for one in tolerances])
        self.delta_binds = np.array([bool(one.harm_delta) for one in tolerances])
        self.has_delta = np.array([one.harm_delta is not None for one in tolerances])


@functools.lru_cache(maxsize=256)
def layout(tolerances: tuple[Tolerance, ...]) -> Layout:
    """The layout of these rows."""
    return Layout(tolerances)


@dataclass(frozen=True, slots=True, eq=False)
class Proportions(Arrays):
    """Read-only arrays, one row for each proportion; the last two only for rows with a harm_delta.

    tally (rows, 6): bad events and requests of the canary, of the baseline, and the two sums whose quotient
    is the Mantel-Haenszel ratio of odds
    recent (rows, 4): the first four with a half-life of half an hour, which bets are made of
    blocks (rows, 4): how bad the baseline was in its worst block (the greatest lower 95 % limit of a block's
    rate, Clopper and Pearson 1934, so that chance alone does not raise it much), then seconds, bad events and
    requests of the block under way
    money (rows, 6): what is not yet staked, then logs: of the ratio's boosted wealth, of the wealth against
    "unsafe", of the ratio's and of the difference's e-value, of the difference's boosted wealth
    tempering (rows, 4): see tempering.py
    ratio (rows, lifts): log wealth; odds (rows, ODDS): log likelihoods
    safety (rows, 2 x alternatives): log likelihood ratios of the ratio's half, then the difference's
    difference (paired rows, lifts): log wealth
    excess (paired rows, 2 x points): log e-values against "at most" and "at least" each point of EXCESS_GRID
    """

    tally: Floats
    recent: Floats
    blocks: Floats
    money: Floats
    tempering: Floats
    ratio: Floats
    odds: Floats
    safety: Floats
    difference: Floats
    excess: Floats

    WIDTHS = (6, 4, 4, 6, tempers.WIDTH, _LIFTS, ODDS, 2 * _ALIKE, _LIFTS, 2 * len(EXCESS_GRID))
    PAIRED = ("difference", "excess")

    @classmethod
    def start(cls, rows: int, paired: int, recent: Floats | None = None) -> Proportions:
        """Nothing seen, but for `recent`."""
        sizes = dict(zip(cls.names(), cls.WIDTHS, strict=True))
        zeros = {n: np.zeros((paired if n in cls.PAIRED else rows, w)) for n, w in sizes.items()}
        zeros["money"][:, 0] = 1.0
        zeros["ratio"][:] = zeros["difference"][:] = wealth.NOTHING
        if recent is not None:
            zeros["recent"] = recent
        return cls(**{name: frozen(value) for name, value in zeros.items()})

    def with_rows(self, recent: Floats) -> Proportions:
        """With further rows (without a harm_delta) of which only the recent past is known."""
        more = Proportions.start(len(recent), 0, recent)
        return Proportions(
            **{n: frozen(np.concatenate((getattr(self, n), getattr(more, n)))) for n in self.names()}
        )

    def afresh(self) -> Proportions:
        """With all wealth against "no harm" back at its start, and all else as it was."""
        new = Proportions.start(len(self.tally), len(self.difference))
        money = new.money.copy()
        money[:, 2] = self.money[:, 2]
        return self.replaced(money=frozen(money), ratio=new.ratio, difference=new.difference)

    def baseline_rate(self, row: int) -> float:
        """Inside (0, 1): smoothed by a fifth of a bad event in a hundred requests."""
        return float((self.recent[row, 2] + _PRIOR_BAD) / (self.recent[row, 3] + _PRIOR_REQUESTS))

    def canary_rate(self, row: int) -> float:
        """Inside (0, 1): shrunk towards the baseline's."""
        shrunk = _SHRINK * self.baseline_rate(row)
        return float((self.recent[row, 0] + shrunk) / (self.recent[row, 1] + _SHRINK))

    def odds_ratio(self, row: int) -> float | None:
        """Mantel and Haenszel's, None while undefined."""
        above, below = self.tally[row, 4:6]
        return float(above / below) if below > 0 else None

    def lifted(self, row: int) -> int:
        """The column of `odds` of the lift on which most wealth lies."""
        return 1 + int(np.argmax(wealth.log_prior() + self.ratio[row]))

    def log_milder(self, row: int, column: int) -> float:
        """How much likelier (log) all that was seen is under the edge of harm than under the odds of a column."""
        return float(self.odds[row, 0] - self.odds[row, column])

    def excess_upper(self, row: int) -> float:
        """Upper 95 % limit of a paired row's excess rate."""
        return confidence.excess_upper(self.excess[row].reshape(2, -1))

    def log_ratio(self) -> Floats:
        """log of each row's e-value against "the ratio of odds was tolerable throughout"."""
        return self.money[:, 3]

    def log_difference(self) -> Floats:
        """log of each paired row's e-value against "the difference was tolerable throughout"."""
        return self.money[: len(self.difference), 4]

    def log_harm(self, layout: Layout) -> Floats:
        """log of each row's e-value against "the ratio or the difference was tolerable throughout".

        Where no difference is tolerated, one that is tolerable leaves the ratio tolerable as well.
        """
        return np.where(layout.delta_binds, np.minimum(self.money[:, 3], self.money[:, 4]), self.money[:, 3])

    def log_boosted(self, layout: Layout) -> Floats:
        """As `log_harm`, of paired rows and with boosting: held against the threshold, and not read as odds."""
        boosted, difference = self.money[: layout.paired, 1], self.money[: layout.paired, 5]
        return np.where(layout.delta_binds[: layout.paired], np.minimum(boosted, difference), boosted)

    def log_tempered(self, layout: Layout) -> Floats:
        """As `log_harm`, tempered (tempering.py): for errors that may come in bursts, of pods that nobody knows."""
        ratio, difference = self.tempering[:, 0], self.tempering[:, 1]
        return np.where(layout.delta_binds, np.minimum(ratio, difference), ratio)

    def after(self, cells: Floats, span: Span, layout: Layout) -> Proportions:
        """After one interval; a row with an empty arm is counted and proves nothing.

        cells: shape (rows, 4): bad events and requests of the canary, then of the baseline.
        """
        comparable = (cells[:, 1] > 0) & (cells[:, 3] > 0)
        logs = layout.grid.log_likelihoods(cells)
        factors = logs[:, _LIFTED] - logs[:, _EDGE]
        stake, log_stake = self._stakes(comparable, span)
        laid = np.logaddexp(self.ratio, log_stake)
        money, safe = self.money.copy(), self.safety.copy()
        money[:, 0] -= stake
        rates = (self.recent[:, 2] + _PRIOR_BAD) / (self.recent[:, 3] + _PRIOR_REQUESTS)
        by_ratio = safety.by_ratio(rates, layout.safe_ratio, layout.safe_delta)
        half, safer = safe[:, :_ALIKE], (logs[:, _SAFE] - logs[:, _SAFE_EDGE]) * by_ratio[:, None]
        money[:, 2] += safety.gained(half, safer)
        half += safer
        difference, excess = self.difference.copy(), self.excess.copy()
        betting = comparable & (layout.has_delta | (layout.decides & ~by_ratio))
        for row in betting.nonzero()[0].tolist():
            found = layout.bets[row].factors(cells[row].tolist(), self, row, safe=not by_ratio[row])
            if not by_ratio[row]:
                half = safe[row, _ALIKE:]
                money[row, 2] += safety.gained(half, found.safety)
                half += found.safety
            if row < layout.paired:
                bet = np.logaddexp(difference[row], log_stake[row])
                difference[row] = bet + found.harm
                if layout.delta_binds[row]:
                    money[row, 5] = harm.boosted_difference(
                        float(self.money[row, 5]),
                        cells[row].tolist(),
                        laid=wealth.log_prior() + bet,
                        cash=float(money[row, 0]),
                        bets=found.bets,
                        delta=layout.tolerances[row].harm_delta or 0.0,
                        log_cap=layout.tolerances[row].log_cap,
                        binds=bool(self.money[row, 5] < self.money[row, 1] + _NEARLY),
                    )
                excess[row] += found.excess
                money[row, 1] = harm.boosted(
                    float(self.money[row, 1]),
                    cells[row].tolist(),
                    laid=wealth.log_prior() + laid[row],
                    cash=float(money[row, 0]),
                    log_factors=factors[row],
                    harm_ratio=layout.tolerances[row].harm_ratio,
                    log_cap=layout.tolerances[row].log_cap,
                )
        ratio = laid + factors
        money[:, 3] = _log_values(ratio, money[:, 0])
        money[: layout.paired, 4] = _log_values(difference, money[: layout.paired, 0])
        tally = self.tally + _tallied(cells)
        return Proportions(
            frozen(tally),
            frozen(0.5 ** (span.seconds / _HALF_LIFE) * self.recent + cells),
            frozen(self._next_blocks(cells, span)),
            frozen(money),
            frozen(tempers.after(self.tempering, self.tally, cells, money[:, 3:5] - self.money[:, 3:5])),
            frozen(ratio),
            frozen(self.odds + logs),
            frozen(safe),
            frozen(difference),
            frozen(excess),
        )

    def _stakes(self, comparable: NDArray[np.bool_], span: Span) -> tuple[Floats, Floats]:
        """What each row stakes, shape (rows,), and its logarithm, shape (rows, 1)."""
        cash = self.money[:, 0]
        stake = np.minimum(np.where(cash == 1.0, span.stakes[0], span.stakes[1]), cash) * comparable
        return stake, np.log(np.maximum(stake, _TINY))[:, None]

    def _next_blocks(self, cells: Floats, span: Span) -> Floats:
        """The baseline's worst block so far, and the block under way."""
        blocks = self.blocks.copy()
        blocks[:, 1] += span.seconds
        blocks[:, 2:] += cells[:, 2:]
        if blocks[0, 1] >= span.block:
            bad, requests = blocks[:, 2], blocks[:, 3]
            lowest = np.where(bad > 0, betaincinv(np.maximum(bad, 1.0), requests - bad + 1, 0.05), 0.0)
            blocks[:, 0] = np.maximum(blocks[:, 0], lowest)
            blocks[:, 1:] = 0.0
        return blocks


class _Factors(NamedTuple):
    """log factors of the bets on a difference; excess: both sides, one after the other; bets: those on harm."""

    harm: Floats
    excess: Floats
    safety: Floats
    bets: projection.Bets


class _Bets:
    """The bets on a row's difference: what of them does not depend on the past."""

    def __init__(self, tolerance: Tolerance) -> None:
        self.tolerance = tolerance
        parts = [np.zeros(0), np.zeros(0)]
        if tolerance.harm_delta is not None:
            parts = [np.full(_LIFTS, tolerance.harm_delta), EXCESS_GRID]
        self.deltas = [np.concatenate([*parts, np.full(more, tolerance.safe_delta)]) for more in (0, _ALIKE)]

    def factors(self, cells: list[float], past: Proportions, row: int, *, safe: bool) -> _Factors:
        """After one interval with these cells, from one projection; made of the past alone.

        safe: whether safety is played by the difference.
        """
        theta_b, theta_c, tolerated = past.baseline_rate(row), past.canary_rate(row), self.tolerance
        alternatives: list[Floats] = []
        lifts = points = 0
        if tolerated.harm_delta is not None:
            lifts, points = _LIFTS, len(EXCESS_GRID)
            alternatives = [
                harm.difference_alternatives(theta_b, tolerated.harm_delta),
                np.full(points, theta_c),
            ]
        if safe:
            alternatives.append(safety.difference_alternatives(theta_b, tolerated.safe_ratio))
        delta = self.deltas[safe]
        is_harm = np.zeros(len(delta), dtype=bool)
        is_harm[:lifts] = True
        is_harm[lifts : lifts + points] = above = theta_c > theta_b + delta[lifts : lifts + points]
        bets = projection.bets(
            cells[1],
            cells[3],
            theta_c=np.concatenate(alternatives),
            theta_b=theta_b,
            delta=delta,
            harm=is_harm,
        )
        logs = cells[0] * bets.canary + cells[2] * bets.baseline + bets.constant
        excess = logs[lifts : lifts + points]
        both = np.concatenate((np.where(above, excess, 0.0), np.where(above, 0.0, excess)))
        on_harm = projection.Bets(*(part[:lifts] for part in bets))
        return _Factors(logs[:lifts], both, logs[lifts + points :], on_harm)


def _tallied(cells: Floats) -> Floats:
    """What an interval adds to the tally."""
    added = np.empty((len(cells), 6))
    added[:, :4] = cells
    fine = cells[:, [3, 1]] - cells[:, [2, 0]]
    added[:, 4:] = cells[:, [0, 2]] * fine / np.maximum(cells[:, 1] + cells[:, 3], 1.0)[:, None]
    return added


def _log_values(logs: Floats, cash: Floats) -> Floats:
    """log E of each row from its log wealth on each lift and its cash."""
    laid = np.logaddexp.reduce(wealth.log_prior() + logs, axis=1)
    return np.asarray(np.logaddexp(laid, np.log(np.maximum(cash, _TINY))))
