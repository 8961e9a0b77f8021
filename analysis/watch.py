"""Above the last judged rung there is little or no baseline: the canary is watched, not judged.

What was learned while both arms were compared becomes a limit: the highest rate that the baseline showed,
times the tolerance. An e-process (binomial likelihood ratios over lifts and start times, wealth.py) bets that
the watched arm exceeds it. Its bound alpha holds if the true rate stays within the limit: a change of the
world that would have hit the baseline as well cannot be told from a fault of the revision. That is why it is
watched and never called judged.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray
from scipy.special import betaincinv

from analysis import codec, harm, sentences, wealth
from analysis.counts import Arms, Interval, Totals, pooled
from analysis.errors import BadState, EdgesDiffer
from analysis.evidence import e_value
from analysis.judge_config import ERRORS, LATENCY, JudgeConfig
from analysis.projection import at_odds
from analysis.proportion import Proportions
from analysis.state import JudgeState
from analysis.wealth import Wealth

Floats = NDArray[np.float64]
Arm = Literal["canary", "baseline"]

_CONFIDENCE: Final = 0.999  # of the upper limit of the baseline's mean rate
_HIGHEST: Final = 0.99  # a limit above this could not be exceeded
_NO_ARMS: Final = Arms()


@dataclass(frozen=True, slots=True)
class Limit:
    """metric: "errors", "latency" or a custom one; edge: seconds (latency alone); rate: bad events per request
    that are tolerated."""

    metric: str
    edge: float
    rate: float


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """What the baseline showed while it was judged, times the tolerance; edges: the histogram's, seconds."""

    limits: tuple[Limit, ...] = ()
    edges: tuple[float, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict."""
        encoded: dict[str, Any] = codec.encode(self)
        return encoded

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> WatchLimits:
        """Read what `to_json` wrote. Raises BadState."""
        limits = codec.decode(cls, raw, "limits")
        _check(limits)
        return limits


@dataclass(frozen=True, slots=True)
class Watched:
    """One limit's evidence: what was seen, and the wealth against "the rate is within the limit"."""

    bad: int = 0
    requests: int = 0
    wealth: Wealth = field(default_factory=Wealth)


@dataclass(frozen=True, slots=True)
class WatchState:
    """What was watched so far; carries its limits. proved: the metric whose limit was exceeded, or ""."""

    limits: WatchLimits = field(default_factory=WatchLimits)
    watched: tuple[Watched, ...] = ()
    intervals: int = 0
    seconds: float = 0.0
    weight: float = -1.0
    rises: int = 0
    proved: str = ""
    proved_log_evidence: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; floats survive bit for bit."""
        encoded: dict[str, Any] = codec.encode(self)
        return encoded

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> WatchState:
        """Read what `to_json` wrote. Raises BadState."""
        state = codec.decode(cls, raw, "watch")
        _check(state.limits)
        if len(state.watched) != len(state.limits.limits):
            raise BadState("watch.watched", len(state.watched), f"{len(state.limits.limits)} entries long")
        for one in state.watched:
            if len(one.wealth.logs) not in {0, len(wealth.lifts())}:
                raise BadState("watch.watched.wealth.logs", len(one.wealth.logs), "as long as the lifts")
        if state.proved not in {"", *(limit.metric for limit in state.limits.limits)}:
            raise BadState("watch.proved", state.proved, "a metric that is watched")
        return state


@dataclass(frozen=True, slots=True)
class WatchVerdict:
    """decision "rollback" when a limit is shown to be exceeded, else "continue"; reason and because as in
    Verdict; evidence against threshold (an e-value and 1/alpha)."""

    decision: Literal["rollback", "continue"]
    reason: str
    because: str
    evidence: float
    threshold: float

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict."""
        encoded: dict[str, Any] = codec.encode(self)
        return encoded


@dataclass(frozen=True, slots=True)
class Watch:
    """Pure, like Judge: `learn` once at the last judged rung, then `update` and `check` per interval."""

    config: JudgeConfig

    def learn(self, state: JudgeState) -> WatchLimits:
        """The limits that the judged past allows; none for a metric that the baseline never showed."""
        config = self.config
        found = [Limit(ERRORS, 0.0, _limit(state.rows, 0, config.harm_ratio, config.harm_delta))]
        for row, one in enumerate(config.custom, start=1):
            found.append(Limit(one.name, 0.0, _limit(state.rows, row, one.harm_ratio, one.harm_delta)))
        for row, edge in enumerate(state.latency.judged, start=len(state.rows.difference)):
            if edge.decides:
                rate = _limit(state.rows, row, config.slow_ratio, config.slow_safe_delta)
                found.append(Limit(LATENCY, state.latency.edges[edge.index], rate))
        return WatchLimits(tuple(limit for limit in found if limit.rate < _HIGHEST), state.latency.edges)

    def start(self, limits: WatchLimits) -> WatchState:
        """The state before any watched interval."""
        return WatchState(limits, tuple(Watched() for _ in limits.limits))

    def update(self, state: WatchState, interval: Interval, *, arm: Arm = "canary") -> WatchState:
        """The state after one more interval of `arm` (after promotion the new stable is "baseline").

        Raises EdgesDiffer when the histogram's edges are not those that the limits were learned from.
        """
        limits = state.limits
        if interval.edges and limits.edges and interval.edges != limits.edges:
            raise EdgesDiffer("edges", interval.edges, f"the edges that were judged, {limits.edges}")
        rose = 0 <= state.weight < interval.weight
        pairs = zip(limits.limits, state.watched, strict=True)
        seconds = interval.end - interval.start
        after = replace(
            state,
            watched=tuple(
                self._bet(state, limit, one, _seen(limit, interval, arm, limits.edges), (seconds, rose))
                for limit, one in pairs
            ),
            intervals=state.intervals + (_pooled(interval, arm).requests > 0),
            seconds=state.seconds + seconds,
            weight=interval.weight,
            rises=state.rises + rose,
        )
        return self._remembering_proof(after)

    def check(self, state: WatchState) -> WatchVerdict:
        """What was seen, against the limits."""
        log, _ = self._weigh(state)
        return WatchVerdict(
            decision="rollback" if state.proved else "continue",
            reason=sentences.regression(state.proved) if state.proved else "Watching",
            because=self._because(state),
            evidence=e_value(state.proved_log_evidence if state.proved else log),
            threshold=1 / self.config.alpha,
        )

    def _bet(
        self, state: WatchState, limit: Limit, one: Watched, seen: tuple[int, int], span: tuple[float, bool]
    ) -> Watched:
        bad, requests = seen
        if requests == 0:
            return one
        stake = wealth.stake(
            first=not one.wealth.logs,
            rise=state.rises + 1 if span[1] else 0,
            seconds=span[0],
            elapsed=state.seconds,
            horizon=self.config.horizon,
        )
        wagered = one.wealth.after(stake, _log_factors(limit.rate, bad, requests))
        return Watched(one.bad + bad, one.requests + requests, wagered)

    def _shares(self, limits: WatchLimits) -> list[float]:
        """Weights of the limits' e-values; the slow edges share what latency has."""
        slow = sum(limit.metric == LATENCY for limit in limits.limits)
        share = {one.name: one.weight for one in self.config.custom}
        share[ERRORS] = 1 - self.config.latency_weight - sum(share.values())
        share[LATENCY] = self.config.latency_weight / max(slow, 1)
        return [share.get(limit.metric, 0.0) for limit in limits.limits]

    def _weigh(self, state: WatchState) -> tuple[float, int]:
        """log of the weighted sum of e-values (what has no limit is cash), and the limit that leads it."""
        shares, prior = self._shares(state.limits), wealth.log_prior()
        logs = [
            math.log(share) + one.wealth.log_value(prior) if share else -math.inf
            for share, one in zip(shares, state.watched, strict=True)
        ]
        cash = 1 - sum(shares)
        total = np.logaddexp.reduce([*logs, math.log(cash) if cash > 1e-12 else -math.inf])
        return float(total), int(np.argmax(logs)) if logs else -1

    def _remembering_proof(self, state: WatchState) -> WatchState:
        log, leading = self._weigh(state)
        if state.proved or leading < 0 or log < -math.log(self.config.alpha):
            return state
        enough = harm.guarded(
            log,
            alpha=self.config.alpha,
            bad_events=state.watched[leading].bad,
            intervals=state.intervals,
            least=(self.config.min_bad_events, self.config.min_intervals),
        )
        # One slow interval may be the machine's: without a baseline beside it there is no telling.
        hasty = state.limits.limits[leading].metric != ERRORS and state.intervals < self.config.min_intervals
        if not enough or hasty:
            return state
        return replace(state, proved=state.limits.limits[leading].metric, proved_log_evidence=log)

    def _because(self, state: WatchState) -> str:
        log, leading = self._weigh(state)
        if leading < 0:
            return "Nothing is watched: the baseline showed no rate to learn a limit from."
        limit, seen = state.limits.limits[leading], state.watched[leading]
        rate = seen.bad / seen.requests if seen.requests else None
        what = {
            ERRORS: "fails",
            LATENCY: f"is slower than {sentences.number(limit.edge)} s in",
        }.get(limit.metric, f"counts as {limit.metric}")
        verb = "reached" if state.proved else "is"
        evidence = e_value(state.proved_log_evidence if state.proved else log)
        return (
            f"Watched, not judged: the new version {what} {sentences.percent(rate)} of {seen.requests} "
            f"requests where the judged past allows {sentences.percent(limit.rate)}; the evidence {verb} "
            f"{sentences.number(evidence)} against {sentences.number(1 / self.config.alpha)}."
        )


def _check(limits: WatchLimits) -> None:
    for limit in limits.limits:
        if not limit.metric:
            raise BadState("limits.metric", limit.metric, "a metric")
        if limit.metric == LATENCY and limit.edge not in limits.edges:
            raise BadState("limits.edge", limit.edge, "an edge of the histogram")
        if not 0 < limit.rate < _HIGHEST:
            raise BadState("limits.rate", limit.rate, f"a proportion between 0 and {_HIGHEST}")


def _limit(rows: Proportions, row: int, ratio: float, delta: float) -> float:
    """Both tolerances over the highest rate that the baseline showed: by its mean, or in its worst block."""
    bad, requests = rows.tally[row, 2:4].tolist()
    if requests == 0:
        return 1.0
    fine = requests - bad
    mean = float(betaincinv(bad + 1, fine, _CONFIDENCE)) if fine else 1.0
    worst = max(mean, float(rows.blocks[row, 0]))
    return max(float(at_odds(ratio, worst)), worst + delta)


def _seen(limit: Limit, interval: Interval, arm: Arm, edges: tuple[float, ...]) -> tuple[int, int]:
    """Bad events and requests of the arm."""
    if limit.metric == LATENCY:
        latency = _pooled(interval, arm).latency
        return sum(latency[edges.index(limit.edge) + 1 :]), sum(latency)
    arms = interval if limit.metric == ERRORS else interval.custom.get(limit.metric, _NO_ARMS)
    counts = _pooled(arms, arm)
    return counts.errors, counts.requests


def _pooled(arms: Interval | Arms, arm: Arm) -> Totals:
    return pooled((arms.canary if arm == "canary" else arms.baseline).values())


def _log_factors(rate: float, bad: int, requests: int) -> Floats:
    """Binomial likelihood ratios of each lift against `rate`: fair or worse for any smaller rate."""
    lifted = at_odds(wealth.lifts(), rate)
    return np.asarray(
        bad * np.log(lifted / rate) + (requests - bad) * (np.log1p(-lifted) - math.log1p(-rate))
    )
