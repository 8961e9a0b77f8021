"""The judge: intervals in, a verdict out, valid however often one looks."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from analysis import alarm, harm, sentences, wealth
from analysis.counts import Arms, Interval, Totals, pooled
from analysis.errors import BadCounts
from analysis.evidence import Harm, all_metrics, all_safe, e_value, tempered, weigh
from analysis.evidence import bursts as burst_evidence
from analysis.evidence import harm as harm_evidence
from analysis.judge_config import LATENCY, JudgeConfig
from analysis.latency import Latency
from analysis.metrics import metrics
from analysis.proportion import Proportions, Span
from analysis.state import Failing, JudgeState, Skipped, start
from analysis.verdict import Decision, Verdict

_OVERLAP: Final = 1e-6  # seconds that rounding may make of two intervals that touch
_MOST_REASONS: Final = 16  # of quarantine that are told apart
_OTHER: Final = "other"
_BLOCK: Final = 60.0  # seconds in which the worst of the baseline is remembered, where bursts are no concern
_NO_ARMS: Final = Arms()


@dataclass(frozen=True, slots=True)
class Judge:
    """Pure: holds the configuration and nothing else; all that it learned is in the JudgeState.

    A state belongs to the configuration it was made with: a run keeps the one it started with.
    """

    config: JudgeConfig = field(default_factory=JudgeConfig)

    def start(self) -> JudgeState:
        """The state before any interval."""
        return start(self.config)

    def update(self, state: JudgeState, interval: Interval) -> JudgeState:
        """The state after one more closed interval; `state` is unchanged.

        Raises BadCounts when the interval begins before the last one ended or brings a custom metric that is
        not configured, EdgesDiffer when its histogram edges are not those judged before, UnknownEdge when a
        named slow edge is not among them.
        """
        self._check(state, interval)
        canary, baseline = pooled(interval.canary.values()), pooled(interval.baseline.values())
        seconds = interval.end - interval.start
        rose = 0 <= state.weight < interval.weight
        both = canary.requests > 0 and baseline.requests > 0
        absent = self._absent(interval) if both and not state.intervals else state.absent
        known = metrics(self.config, absent, state.latency.judged)
        cells = self._cells(interval, canary, baseline, state.latency)
        stakes = self._stakes(state, seconds, rise=state.rises + 1 if rose else 0)
        span = Span(seconds, stakes, self.config.burst_block or _BLOCK)
        rows = state.rows.after(cells, span, known.layout)
        blocks = state.bursts
        if self.config.burst_block:
            blocks = alarm.blocks_after(blocks, interval, state.latency, known, self.config)
        latency, rows = self._latency(state.latency, rows, interval, (canary, baseline), span)
        after = replace(
            state,
            intervals=state.intervals + both,
            judged_seconds=state.judged_seconds + (seconds if both else 0.0),
            end=float(interval.end),
            weight=interval.weight,
            rises=state.rises + rose,
            absent=absent,
            rows=rows,
            latency=latency,
            bursts=blocks,
        )
        if self.config.thresholds:
            after = self._checked(after, interval.values)
        return self._weighed(after)

    def skip(self, state: JudgeState, reason: str) -> JudgeState:
        """The state after an interval that was quarantined for that reason: counted, not judged."""
        names = [one.reason for one in state.skipped]
        if reason not in names and len(names) >= _MOST_REASONS - 1:
            reason = _OTHER
        if reason not in names:
            return replace(state, skipped=(*state.skipped, Skipped(reason, 1)))
        counted = tuple(Skipped(s.reason, s.intervals + (s.reason == reason)) for s in state.skipped)
        return replace(state, skipped=counted)

    def decide(self, state: JudgeState, *, deadline_passed: bool = False) -> Decision:
        """The decision of `verdict` alone, at a fraction of its time."""
        if state.proved or state.exceeded:
            return "rollback"
        if state.alarm is not None:
            return "inconclusive" if deadline_passed else "retreat"
        if state.judged_seconds >= self.config.min_judged and all_safe(state, self.config):
            evidence = harm_evidence(state, self.config)
            if evidence.total < -math.log(self.config.alpha) / 2:
                return "promote"
        return "inconclusive" if deadline_passed else "continue"

    def verdict(self, state: JudgeState, *, deadline_passed: bool = False) -> Verdict:
        """What the evidence says now. `deadline_passed`: the deadline came or cannot be met any more."""
        evidence = weigh(state, self.config)
        decision = self.decide(state, deadline_passed=deadline_passed)
        return Verdict(
            decision=decision,
            reason=sentences.reason(decision, state),
            because=sentences.because(decision, state, evidence, self.config),
            metrics=evidence.metrics,
            evidence_harm=e_value(evidence.harm.total),
            harm_threshold=1 / self.config.alpha,
            excess_rate_upper=state.rows.excess_upper(0),
            excess_tolerated=harm.tolerated_excess(
                state.rows.baseline_rate(0), self.config.harm_ratio, self.config.harm_delta
            ),
            requests_needed=evidence.requests_needed,
            judged_seconds=state.judged_seconds,
            intervals=state.intervals,
            evidence_bursts=e_value(evidence.log_bursts),
            certified=self._certified(state),
            skipped={one.reason: one.intervals for one in state.skipped},
            failing=self._failing(state),
        )

    def _check(self, state: JudgeState, interval: Interval) -> None:
        if interval.start < state.end - _OVERLAP:
            raise BadCounts(
                "start", interval.start, f"at or after the end of the last interval, {state.end!r}"
            )
        known = [one.name for one in self.config.custom]
        for name in interval.custom:
            if name not in known:
                raise BadCounts(f"custom[{name!r}]", name, f"a configured metric, which are {known}")
        if interval.edges and self.config.latency_weight > 0:
            state.latency.check(interval.edges, self.config.slow_edges)

    def _absent(self, interval: Interval) -> tuple[str, ...]:
        """The metrics that this interval does not bring."""
        missing = [one.name for one in self.config.custom if one.name not in interval.custom]
        return tuple(missing if interval.edges else [*missing, LATENCY])

    def _cells(
        self, interval: Interval, canary: Totals, baseline: Totals, latency: Latency
    ) -> np.ndarray[tuple[int, int], np.dtype[np.float64]]:
        """Bad events and requests of both arms in every row."""
        cells = [(canary.errors, canary.requests, baseline.errors, baseline.requests)]
        for one in self.config.custom:
            arms = interval.custom.get(one.name, _NO_ARMS)
            c, b = pooled(arms.canary.values()), pooled(arms.baseline.values())
            cells.append((c.errors, c.requests, b.errors, b.requests))
        if latency.judged:
            cells += latency.cells(canary.latency, baseline.latency)
        return np.array(cells, dtype=np.float64)

    def _latency(
        self, before: Latency, rows: Proportions, interval: Interval, arms: tuple[Totals, Totals], span: Span
    ) -> tuple[Latency, Proportions]:
        """Until edges are chosen, the baseline's buckets are learned from and not judged."""
        if not interval.edges or self.config.latency_weight == 0:
            return before, rows
        canary, baseline = arms
        if before.judged:
            tilts = before.tilts.after(span.stakes, canary.latency, baseline.latency)
            return (before if tilts is before.tilts else replace(before, tilts=tilts)), rows
        tilting = self.config.slow_ratio == 1
        after, recent = before.learned(
            interval.edges, baseline.latency, self.config.slow_edges, tilting=tilting
        )
        return after, rows.with_rows(recent) if len(recent) else rows

    def _stakes(self, state: JudgeState, seconds: float, *, rise: int) -> tuple[float, float]:
        """What a metric stakes on its first interval, and on any later one."""
        elapsed, horizon = state.judged_seconds, self.config.horizon
        return (
            wealth.stake(first=True, rise=0, seconds=seconds, elapsed=elapsed, horizon=horizon),
            wealth.stake(first=False, rise=rise, seconds=seconds, elapsed=elapsed, horizon=horizon),
        )

    def _checked(self, state: JudgeState, values: Mapping[str, float | None]) -> JudgeState:
        """Thresholds: so many failing intervals in a row; no value is neither a failure nor a success."""
        before = {one.name: one for one in state.failing}
        exceeded = state.exceeded
        for threshold in self.config.thresholds:
            value = values.get(threshold.name)
            if value is None or math.isnan(value):
                continue
            fails = value > threshold.limit if threshold.at_most else value < threshold.limit
            if not fails:
                before.pop(threshold.name, None)
                continue
            past = before.get(threshold.name)
            shown = max(-1e300, min(1e300, float(value)))
            before[threshold.name] = Failing(threshold.name, past.intervals + 1 if past else 1, shown)
            if before[threshold.name].intervals >= threshold.failures:
                exceeded = exceeded or threshold.name
        return replace(state, failing=tuple(before.values()), exceeded=exceeded)

    def _failing(self, state: JudgeState) -> dict[str, int]:
        counted = {one.name: one.intervals for one in state.failing}
        return {threshold.name: counted.get(threshold.name, 0) for threshold in self.config.thresholds}

    def _certified(self, state: JudgeState) -> bool:
        return self.config.burst_block > 0 and state.bursts.pods_known

    def _weighed(self, state: JudgeState) -> JudgeState:
        """With what the evidence says remembered: an alarm, that it is cleared, or proof.

        Ville's inequality bounds the chance that the evidence **ever** gets there: proved stays proved.
        """
        if state.proved:
            return state
        config, known = self.config, all_metrics(state, self.config)
        evidence = harm_evidence(state, config)
        metric, threshold = known.metrics[evidence.leading], -math.log(config.alpha)
        if config.burst_block:
            total, each = burst_evidence(state, config)
            if total >= threshold:
                parts = [log + math.log(m.share) for log, m in zip(each, known.metrics, strict=True)]
                return _proved(state, known.metrics[parts.index(max(parts))].name, total)
        row = max(metric.accusing, key=lambda at: float(evidence.rows[at]), default=0)
        if not evidence.refuted or not self._guarded(state, evidence, row):
            return self._relieved(state)
        if not config.burst_block or (config.condemn_at_once and evidence.total_odds >= 3 * threshold):
            return _proved(state, metric.name, max(threshold, evidence.total_odds))
        if not state.bursts.pods_known and tempered(state, config) >= threshold:
            return _proved(state, metric.name, tempered(state, config))
        if state.alarm is not None:
            return self._relieved(state)
        found = alarm.raised(metric, row, evidence.total, state.rows, state.bursts, config)
        return replace(state, alarm=found)

    def _relieved(self, state: JudgeState) -> JudgeState:
        """With the alarm taken back if it is cleared, and tier A afresh."""
        if state.alarm is None or state.cleared >= alarm.MOST_CLEARED:
            return state
        if not alarm.is_cleared(state.alarm, state.rows, state.bursts, self.config):
            return state
        latency = replace(state.latency, tilts=state.latency.tilts.afresh())
        return replace(
            state, alarm=None, cleared=state.cleared + 1, rows=state.rows.afresh(), latency=latency
        )

    def _guarded(self, state: JudgeState, evidence: Harm, row: int) -> bool:
        return harm.guarded(
            evidence.total_odds,
            alpha=self.config.alpha,
            bad_events=float(state.rows.tally[row, 0]),
            intervals=state.intervals,
            least=(self.config.min_bad_events, self.config.min_intervals),
        )


def _proved(state: JudgeState, metric: str, log_evidence: float) -> JudgeState:
    return replace(state, proved=metric, proved_log_evidence=log_evidence)
