"""What the judge says: a decision, one plain sentence, and the numbers behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Decision = Literal["rollback", "retreat", "promote", "continue", "inconclusive"]


@dataclass(frozen=True, slots=True)
class MetricEvidence:
    """One metric ("errors", "latency" or a custom one) as judged so far. Proportions are 0..1, evidence is an e-value.

    canary_requests, canary_bad, canary_rate: judged requests, bad events among them, and their ratio (None
    without requests); the same for the baseline. For latency a bad event is a request slower than `edge`
    (seconds), the edge that speaks loudest.
    evidence_harm rolls back on its own at harm_threshold; evidence_safe calls the metric safe at
    safe_threshold. Both may be read as betting odds against "no harm" and "not safe". E-values are capped
    at 1e300.
    ratio: the ratio of odds canary : baseline, Mantel-Haenszel over intervals (None while undefined);
    ratio_low..ratio_high: a confidence sequence of level ratio_confidence, valid at every look together
    (None: unbounded on that side). difference, difference_low..difference_high: the same for the canary's
    rate minus the baseline's (limits of errors and custom metrics only).
    requests_needed: estimate of the canary + baseline requests, at the present weight, still missing for
    promotion if the arms are alike; 0 when safe; None when it cannot be reached at this weight.
    evidence_bursts: as evidence_harm, from pods in blocks of time (tier B): bursts cannot make it.
    guilty: the metric is guilty by closed testing at level alpha.
    """

    name: str
    canary_requests: int
    canary_bad: int
    canary_rate: float | None
    baseline_requests: int
    baseline_bad: int
    baseline_rate: float | None
    ratio: float | None
    ratio_low: float | None
    ratio_high: float | None
    ratio_confidence: float
    evidence_harm: float
    harm_threshold: float
    evidence_safe: float
    safe_threshold: float
    safe: bool
    guilty: bool
    requests_needed: int | None
    edge: float | None = None
    difference: float | None = None
    difference_low: float | None = None
    difference_high: float | None = None
    evidence_bursts: float = 1.0

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of the fields."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


@dataclass(frozen=True, slots=True)
class Verdict:
    """The judge's answer for one state.

    decision: "rollback" (harm is proved, also against bursts where `certified`, or a threshold is exceeded),
    "retreat" (an alarm: harm, or a burst), "promote" (every metric is shown to be safe, the judged time is long
    enough, and harm is not half proved: E < alpha^-1/2), "continue", "inconclusive" (the deadline passed before
    either was shown). reason: a CamelCase word; because: one plain
    sentence with the numbers.
    evidence_harm: weighted sum of the metrics' e-values, against harm_threshold = 1/alpha; the errors' with
    overshoot boosting, which the metrics' own evidence_harm leaves out so that it can be read as odds.
    excess_rate_upper: upper 95 % confidence limit (valid at every look) of the canary's error rate minus the
    baseline's, 0..1; 1 before any evidence. excess_tolerated: what of it is no harm at the baseline's rate.
    excess_at_risk, the rest, times the canary requests that a step would send before it could be taken back,
    bounds the harm of taking the step.
    requests_needed: the largest of the metrics'; judged_seconds, intervals: what was judged so far; skipped:
    reason -> intervals that were quarantined for it. evidence_bursts: the weighted sum that bursts cannot
    make, against the same threshold; certified: whether a rollback would be certified against bursts: pods
    are known, and burst_block says how long bursts are. failing: threshold -> intervals in a row that failed it.
    """

    decision: Decision
    reason: str
    because: str
    metrics: Mapping[str, MetricEvidence]
    evidence_harm: float
    harm_threshold: float
    excess_rate_upper: float
    excess_tolerated: float
    requests_needed: int | None
    judged_seconds: float
    intervals: int
    skipped: Mapping[str, int] = field(default_factory=dict)
    evidence_bursts: float = 1.0
    certified: bool = False
    failing: Mapping[str, int] = field(default_factory=dict)

    @property
    def excess_at_risk(self) -> float:
        """Upper limit of the canary's error rate beyond what is tolerated, 0..1."""
        return max(0.0, self.excess_rate_upper - self.excess_tolerated)

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict; `metrics` by name."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {
            **fields,
            "skipped": dict(self.skipped),
            "failing": dict(self.failing),
            "metrics": {name: metric.to_json() for name, metric in self.metrics.items()},
        }
