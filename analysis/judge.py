"""The judge: intervals in, a verdict out, valid however often one looks."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace

from analysis import harm, latency, sentences, wealth
from analysis.counts import Counts, Interval, pooled
from analysis.evidence import Evidence, weigh
from analysis.judge_config import JudgeConfig
from analysis.proportion import Proportion, Table, Tolerance
from analysis.state import JudgeState
from analysis.verdict import Decision, Verdict


@dataclass(frozen=True, slots=True)
class Judge:
    """Pure: holds the configuration and nothing else; all that it learned is in the JudgeState.

    A state belongs to the configuration it was made with: a run keeps the one it started with.
    """

    config: JudgeConfig = field(default_factory=JudgeConfig)

    def start(self) -> JudgeState:
        """The state before any interval."""
        return JudgeState()

    def update(self, state: JudgeState, interval: Interval) -> JudgeState:
        """The state after one more closed interval; `state` is unchanged.

        Raises EdgesDiffer when the interval's histogram edges are not those judged before, UnknownEdge when
        a named slow edge is not among them.
        """
        arms = pooled(interval.canary.values()), pooled(interval.baseline.values())
        seconds = interval.end - interval.start
        rose = 0 <= state.weight < interval.weight
        stakes = self._stakes(state, seconds, rise=state.rises + 1 if rose else 0)
        both = arms[0].requests > 0 and arms[1].requests > 0
        after = replace(
            state,
            intervals=state.intervals + both,
            judged_seconds=state.judged_seconds + (seconds if both else 0.0),
            weight=interval.weight,
            rises=state.rises + rose,
            errors=self._errors(state.errors, arms, seconds, stakes),
            latency=self._latency(state, arms, interval, stakes),
        )
        return self._remembering_proof(after)

    def verdict(self, state: JudgeState, *, deadline_passed: bool = False) -> Verdict:
        """What the evidence says now. `deadline_passed`: the deadline came or cannot be met any more."""
        evidence = weigh(state, self.config)
        decision = self._decision(state, evidence, deadline_passed)
        return Verdict(
            decision=decision,
            reason=sentences.reason(decision, state.proved),
            because=sentences.because(decision, state, evidence, self.config),
            metrics=evidence.metrics,
            evidence_harm=evidence.harm,
            harm_threshold=1 / self.config.alpha,
            excess_rate_upper=1.0 if state.errors.excess is None else state.errors.excess.upper(),
            requests_needed=evidence.requests_needed,
            judged_seconds=state.judged_seconds,
            intervals=state.intervals,
        )

    def _decision(self, state: JudgeState, evidence: Evidence, deadline_passed: bool) -> Decision:
        if state.proved:
            return "rollback"
        unsuspected = evidence.log_harm < -math.log(self.config.alpha) / 2
        if evidence.safe and unsuspected and state.judged_seconds >= self.config.min_judged:
            return "promote"
        return "inconclusive" if deadline_passed else "continue"

    def _stakes(self, state: JudgeState, seconds: float, *, rise: int) -> tuple[float, float]:
        """What a metric stakes on its first interval, and on any later one."""
        elapsed = state.judged_seconds
        return (
            wealth.stake(first=True, rise=0, seconds=seconds, elapsed=elapsed, horizon=self.config.horizon),
            wealth.stake(
                first=False, rise=rise, seconds=seconds, elapsed=elapsed, horizon=self.config.horizon
            ),
        )

    def _errors(
        self, before: Proportion, arms: tuple[Counts, Counts], seconds: float, stakes: tuple[float, float]
    ) -> Proportion:
        canary, baseline = arms
        config = self.config
        return before.after(
            Table(canary.errors, canary.requests, baseline.errors, baseline.requests),
            stake=stakes[0] if before.untouched else stakes[1],
            seconds=seconds,
            log_cap=-math.log(config.alpha * (1 - config.latency_weight)),
            tolerance=Tolerance(
                config.harm_ratio, config.harm_delta, config.safe_ratio, config.safe_delta, config.burst_block
            ),
        )

    def _latency(
        self, state: JudgeState, arms: tuple[Counts, Counts], interval: Interval, stakes: tuple[float, float]
    ) -> latency.Latency:
        if self.config.latency_weight == 0:
            return state.latency
        edges, seconds = interval.edges, interval.end - interval.start
        return latency.update(state.latency, arms, edges, seconds=seconds, stakes=stakes, config=self.config)

    def _remembering_proof(self, state: JudgeState) -> JudgeState:
        """Ville's inequality bounds the chance that the evidence **ever** gets there: proved stays proved."""
        if state.proved:
            return state
        evidence = weigh(state, self.config)
        if not evidence.refuted:
            return state
        if not harm.guarded(
            evidence.log_odds,
            alpha=self.config.alpha,
            bad_events=evidence.metrics[evidence.leading].canary_bad,
            intervals=state.intervals,
            least=(self.config.min_bad_events, self.config.min_intervals),
        ):
            return state
        return replace(state, proved=evidence.leading, proved_log_evidence=evidence.log_harm)
