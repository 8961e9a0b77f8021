"""The judge's plain sentences: what was decided, and the numbers that decided it."""

from __future__ import annotations

import math
from typing import Final

from analysis.evidence import Evidence, e_value
from analysis.judge_config import JudgeConfig
from analysis.state import ERRORS, LATENCY, JudgeState
from analysis.verdict import Decision, MetricEvidence

_REASONS: Final[dict[Decision, str]] = {
    "promote": "Safe",
    "continue": "CollectingEvidence",
    "inconclusive": "Inconclusive",
}
_REGRESSIONS: Final = {ERRORS: "ErrorRateRegression", LATENCY: "LatencyRegression"}


def reason(decision: Decision, state: JudgeState) -> str:
    """One CamelCase word."""
    if decision in _REASONS:
        return _REASONS[decision]
    return regression(state.proved) if state.proved else "ThresholdExceeded"


def regression(metric: str) -> str:
    """The reason of a rollback for that metric."""
    return _REGRESSIONS.get(metric, "MetricRegression")


def because(decision: Decision, state: JudgeState, evidence: Evidence, config: JudgeConfig) -> str:
    """One sentence with the numbers."""
    if decision == "rollback":
        return _rollback(state, evidence, config)
    if decision == "promote":
        return _promote(state, evidence)
    return _waiting(decision, state, evidence, config)


def _rollback(state: JudgeState, evidence: Evidence, config: JudgeConfig) -> str:
    metric = evidence.metrics[state.proved]
    lowest = f", at least {number(metric.ratio_low)}" if metric.ratio_low and metric.ratio_low > 1 else ""
    odds = f": {number(metric.ratio)} times the odds{lowest}" if metric.ratio is not None else ""
    return (
        f"{_comparison(metric)}{odds}; the evidence of harm reached "
        f"{number(e_value(state.proved_log_evidence))} against {number(1 / config.alpha)}."
    )


def _promote(state: JudgeState, evidence: Evidence) -> str:
    parts = [
        f"{_comparison(metric)} (evidence of safety {number(metric.evidence_safe)} against "
        f"{number(metric.safe_threshold)})"
        for metric in evidence.metrics.values()
    ]
    unmeasured = "" if LATENCY in evidence.metrics else "; latency was not measured"
    return f"{'; '.join(parts)}{unmeasured}; judged for {duration(state.judged_seconds)}."


def _waiting(decision: Decision, state: JudgeState, evidence: Evidence, config: JudgeConfig) -> str:
    harm = f"evidence of harm {number(e_value(evidence.harm.total))} against {number(1 / config.alpha)}"
    opening = "The deadline came first: " if decision == "inconclusive" else ""
    unsafe = [metric for metric in evidence.metrics.values() if not metric.safe]
    if unsafe:
        shown = ", ".join(
            f"{m.name} {number(m.evidence_safe)} against {number(m.safe_threshold)}" for m in unsafe
        )
        return f"{opening}{harm}; safety is not shown yet ({shown}), {_missing(evidence.requests_needed)}."
    left = config.min_judged - state.judged_seconds
    if left <= 0:
        return (
            f"{opening}safety was shown, but there is {harm}: too much to promote, too little to roll back."
        )
    return f"{opening}{harm}; safety is shown, {duration(left)} of judged time are missing."


def _missing(requests: int | None) -> str:
    if requests is None:
        return "and cannot be at this weight"
    return f"about {_thousands(requests)} more requests at this weight would show it"


def _comparison(metric: MetricEvidence) -> str:
    what = "fails" if metric.edge is None else f"is slower than {number(metric.edge)} s in"
    return (
        f"The canary {what} {percent(metric.canary_rate)} of {_thousands(metric.canary_requests)} requests, "
        f"the baseline {percent(metric.baseline_rate)} of {_thousands(metric.baseline_requests)}"
    )


def percent(rate: float | None) -> str:
    """A proportion with two significant digits, "0 %" for none at all."""
    if rate is None:
        return "none"
    value = 100 * rate
    if value == 0 or value >= 99.95:
        return f"{value:.0f} %"
    digits = max(1, 1 - math.floor(math.log10(value)))
    return f"{value:.{min(digits, 6)}f} %"


def number(value: float | None) -> str:
    """Three significant digits, no exponent below a million."""
    if value is None:
        return "unknown"
    if value >= 1e6:
        return "over a million"
    if value >= 1000:
        return _thousands(round(value))
    return f"{value:.3g}" if value >= 0.001 else "under 0.001"


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes above."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def _thousands(value: int) -> str:
    return f"{value:,}".replace(",", " ")
