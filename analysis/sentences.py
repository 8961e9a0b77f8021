"""The judge's plain sentences: what was decided, and the numbers that decided it."""

from __future__ import annotations

import math
from typing import Final

from analysis.evidence import Evidence, e_value
from analysis.judge_config import ERRORS, LATENCY, JudgeConfig
from analysis.state import JudgeState
from analysis.verdict import Decision, MetricEvidence

_REASONS: Final[dict[Decision, str]] = {
    "promote": "Safe",
    "continue": "CollectingEvidence",
    "inconclusive": "Inconclusive",
}
_MOST: Final = 1e15
_KINDS: Final = {ERRORS: "ErrorRate", LATENCY: "Latency"}


def reason(decision: Decision, state: JudgeState) -> str:
    """One CamelCase word."""
    if decision == "retreat" and state.alarm is not None:
        return f"{_KINDS.get(state.alarm.metric, 'Metric')}Alarm"
    if decision == "rollback":
        return regression(state.proved) if state.proved else "ThresholdExceeded"
    return _REASONS[decision]


def regression(metric: str) -> str:
    """The reason of a rollback for that metric."""
    return f"{_KINDS.get(metric, 'Metric')}Regression"


def because(decision: Decision, state: JudgeState, evidence: Evidence, config: JudgeConfig) -> str:
    """One sentence with the numbers."""
    if decision == "rollback":
        return _rollback(state, evidence, config) if state.proved else _exceeded(state, config)
    if decision == "retreat":
        return _retreat(state, evidence, config)
    if decision == "promote":
        return _promote(state, evidence)
    return _waiting(decision, state, evidence, config)


def _rollback(state: JudgeState, evidence: Evidence, config: JudgeConfig) -> str:
    chance = thousands(math.floor(min(e_value(state.proved_log_evidence) * (1 + 1e-9), _MOST)))
    return (
        f"{_comparison(evidence.metrics[state.proved])}; chance of such evidence from a harmless release "
        f"below 1 in {chance}{_caveat(state, config)}."
    )


def _retreat(state: JudgeState, evidence: Evidence, config: JudgeConfig) -> str:
    assert state.alarm is not None
    against = number(1 / config.alpha)
    opening = f"{_comparison(evidence.metrics[state.alarm.metric])}; "
    if state.bursts.pods_known:
        return f"{opening}this may be a burst: evidence beyond bursts {number(e_value(evidence.log_bursts))} against {against}."
    return (
        f"{opening}this may be a burst, and pods are unknown: evidence is tempered by how errors came before."
    )


def _exceeded(state: JudgeState, config: JudgeConfig) -> str:
    (threshold,) = (one for one in config.thresholds if one.name == state.exceeded)
    value = next((one.value for one in state.failing if one.name == threshold.name), threshold.limit)
    where = "above" if threshold.at_most else "below"
    return (
        f"{threshold.name}: {value:.4g} is {where} its limit {threshold.limit:.4g}, in {threshold.failures} "
        f"intervals one after the other; a limit on a value has no error bound."
    )


def _caveat(state: JudgeState, config: JudgeConfig) -> str:
    if config.burst_block and state.bursts.pods_known:
        return ""
    return ", if bad events come independently: not certified against bursts"


def _promote(state: JudgeState, evidence: Evidence) -> str:
    parts = [
        f"{_comparison(metric)} (evidence of safety {number(metric.evidence_safe)} against "
        f"{number(metric.safe_threshold)})"
        for metric in evidence.metrics.values()
    ]
    unmeasured = "" if LATENCY in evidence.metrics else "; latency was not measured"
    return f"{'; '.join(parts)}{unmeasured}; judged for {duration(state.judged_seconds)}."


def _waiting(decision: Decision, state: JudgeState, evidence: Evidence, config: JudgeConfig) -> str:
    total = e_value(evidence.harm.total)
    harm = f"evidence of harm {number(total)} against {number(1 / config.alpha)}"
    opening = "The deadline came first: " if decision == "inconclusive" else ""
    if state.alarm is not None:
        return f"{opening}{_retreat(state, evidence, config)}"
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
    return f"about {thousands(requests)} more requests at this weight would show it"


def _comparison(metric: MetricEvidence) -> str:
    """Both rates, and how many times the odds of the baseline the canary's are."""
    what = metric.name if metric.edge is None else f"slower than {number(metric.edge)} s"
    rates = (
        f"{what}: canary {percent(metric.canary_rate)} of {thousands(metric.canary_requests)} requests, "
        f"baseline {percent(metric.baseline_rate)} of {thousands(metric.baseline_requests)}"
    )
    limits = metric.ratio_low, metric.ratio_high
    if metric.ratio is None:
        return rates if limits[0] is None else f"{rates}; at least {number(limits[0])} times the odds"
    return f"{rates}; {number(metric.ratio)} times the odds{_between(*limits)}"


def _between(low: float | None, high: float | None) -> str:
    if low is None:
        return "" if high is None else f" (at most {number(high)})"
    return f" (at least {number(low)})" if high is None else f" ({number(low)} to {number(high)})"


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
        return thousands(round(value))
    return f"{value:.3g}" if value >= 0.001 else "under 0.001"


def duration(seconds: float) -> str:
    """Seconds below two minutes, minutes above."""
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min"


def thousands(value: int) -> str:
    """With a comma after every third digit."""
    return f"{value:,}"
