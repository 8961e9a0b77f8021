"""Policies: how carefully a release is made. A run keeps the policy that it started with.

Key, field and annotation are one word in three spellings: `step-min` in a policy, `step_min` here,
`canaryd.io/step-min` on a Deployment, `stepMin` in a CanaryRun.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from config.metrics import Metric, ProportionMetric, ThresholdMetric
from config.policy_knobs import POLICY_KNOBS
from config.problems import ConfigurationError, MalformedError, Problem, shown

if TYPE_CHECKING:
    from analysis.judge_config import CustomMetric, Threshold

_DAY = 86400.0
_MOST_WEIGHT = 0.95  # of the evidence of harm: errors keep the rest


@dataclass(frozen=True, slots=True)
class Contradiction:
    """Values that are each allowed and cannot go together: their keys, and the rule they break."""

    keys: tuple[str, ...]
    rule: str


_ABOVE = (
    ("safe-error-ratio", "max-error-ratio"),
    ("safe-error-delta", "max-error-delta"),
    ("safe-slow-ratio", "max-slow-ratio"),
    ("deadline", "min-judged"),
    ("deadline", "ready-timeout"),
)


class JudgeArguments(TypedDict):
    """The policy's part of `analysis.JudgeConfig`, by its parameter names."""

    alpha: float
    beta: float
    harm_ratio: float
    harm_delta: float
    safe_ratio: float
    safe_delta: float
    slow_ratio: float
    slow_edges: tuple[float, ...]
    slow_safe_ratio: float
    slow_safe_delta: float
    latency_weight: float
    custom: tuple[CustomMetric, ...]
    thresholds: tuple[Threshold, ...]
    burst_block: float
    condemn_at_once: bool
    min_bad_events: int
    min_intervals: int
    min_judged: float
    horizon: float


@dataclass(frozen=True, slots=True)
class Policy:
    """A named set of steps, tolerances and deadlines; durations in seconds, weights in percent.

    Field meanings, ranges and reasons are in `POLICY_KNOBS`. The defaults are those of `standard`.
    """

    name: str = "standard"
    steps: tuple[int, ...] = (1, 2, 5, 10, 25, 50, 100)
    step_min: float = 60.0
    deadline: float = 7200.0
    ready_timeout: float = 600.0
    warm_up: float = 60.0
    min_judged: float = 900.0
    last_judged: int = 50
    max_error_ratio: float = 1.25
    max_error_delta: float = 0.0005
    safe_error_ratio: float = 1.5
    safe_error_delta: float = 0.001
    max_slow_ratio: float = 1.25
    safe_slow_ratio: float = 1.5
    safe_slow_delta: float = 0.005
    slow_edges: tuple[float, ...] = ()
    latency_weight: float = 0.3
    metrics: tuple[Metric, ...] = ()
    alpha: float = 0.01
    beta: float = 0.05
    harm_budget: float = 10.0
    min_bad_events: int = 3
    min_intervals: int = 2
    burst_block: float = 60.0
    condemn_at_once: bool = False
    blind_limit: float = 600.0
    on_inconclusive: Literal["hold", "rollback"] = "hold"
    hold_limit: float = _DAY
    drain_limit: float = 60.0
    drift_reasserts: int = 4
    on_reject: Literal["keep", "revert"] = "keep"
    restarts: Literal["canary", "roll"] = "canary"

    @property
    def last_judged_step(self) -> int:
        """The weight at which evidence of safety must be complete: the highest step up to `last_judged`."""
        return max(step for step in self.steps if step <= self.last_judged)

    def contradictions(self) -> tuple[Contradiction, ...]:
        """Every rule between knobs that this policy breaks; none for a policy that can be used."""
        found = [
            Contradiction((more, less), f"{more} must be above {less}")
            for more, less in _ABOVE
            if not self._value(more) > self._value(less)
        ]
        if self.steps[0] > self.last_judged:
            rule = "the first step must not be above last-judged, or nothing would ever be judged"
            found.append(Contradiction(("steps", "last-judged"), rule))
        if not self.deadline > len(self.steps) * self.step_min:
            rule = "deadline must be above step-min times the number of steps"
            found.append(Contradiction(("deadline", "step-min", "steps"), rule))
        return (*found, *self._clashing_metrics())

    def _clashing_metrics(self) -> Iterator[Contradiction]:
        proportions = [one for one in self.metrics if isinstance(one, ProportionMetric)]
        if self.latency_weight + sum(one.weight for one in proportions) > _MOST_WEIGHT:
            rule = f"latency-weight and the weights of metrics together must not be above {_MOST_WEIGHT}"
            yield Contradiction(("metrics", "latency-weight"), rule)
        for one in proportions:
            ratio, delta, safe_ratio, safe_delta = self.tolerances(one)
            for what, high, low in (("ratio", safe_ratio, ratio), ("delta", safe_delta, delta)):
                if high <= low:
                    rule = f"safe-{what} of {one.name} ({high:g}) must be above its max-{what} ({low:g})"
                    keys = "metrics", f"safe-error-{what}", f"max-error-{what}"
                    yield Contradiction(keys, rule)

    def _value(self, key: str) -> float:
        return float(getattr(self, key.replace("-", "_")))

    def judge_arguments(self) -> JudgeArguments:
        """Keyword arguments for `analysis.JudgeConfig`."""
        return JudgeArguments(
            alpha=self.alpha,
            beta=self.beta,
            harm_ratio=self.max_error_ratio,
            harm_delta=self.max_error_delta,
            safe_ratio=self.safe_error_ratio,
            safe_delta=self.safe_error_delta,
            slow_ratio=self.max_slow_ratio,
            slow_edges=self.slow_edges,
            slow_safe_ratio=self.safe_slow_ratio,
            slow_safe_delta=self.safe_slow_delta,
            latency_weight=self.latency_weight,
            custom=self._custom(),
            thresholds=self._thresholds(),
            burst_block=self.burst_block,
            condemn_at_once=self.condemn_at_once,
            min_bad_events=self.min_bad_events,
            min_intervals=self.min_intervals,
            min_judged=self.min_judged,
            horizon=self.deadline,
        )

    def _custom(self) -> tuple[CustomMetric, ...]:
        from analysis.judge_config import CustomMetric  # noqa: PLC0415 - slow to import

        return tuple(
            CustomMetric(one.name, one.weight, *self.tolerances(one))
            for one in self.metrics
            if isinstance(one, ProportionMetric)
        )

    def _thresholds(self) -> tuple[Threshold, ...]:
        from analysis.judge_config import Threshold  # noqa: PLC0415 - slow to import

        found = []
        for one in self.metrics:
            if isinstance(one, ThresholdMetric):
                at_most = one.at_most is not None
                limit = one.at_most if one.at_most is not None else one.at_least
                assert limit is not None
                found.append(Threshold(one.name, limit, at_most, one.failures))
        return tuple(found)

    def tolerances(self, metric: ProportionMetric) -> tuple[float, float, float, float]:
        """max-ratio, max-delta, safe-ratio and safe-delta of a metric, or else those of errors."""
        own = metric.max_ratio, metric.max_delta, metric.safe_ratio, metric.safe_delta
        errors = self.max_error_ratio, self.max_error_delta, self.safe_error_ratio, self.safe_error_delta
        ratio, delta, safe_ratio, safe_delta = (
            mine if mine is not None else theirs for mine, theirs in zip(own, errors, strict=True)
        )
        return ratio, delta, safe_ratio, safe_delta

    def to_json(self) -> dict[str, Any]:
        """The policy as a CanaryRun keeps it: camelCase, durations in seconds, every knob written out."""
        return {"name": self.name} | {
            knob.json_key: knob.kind.plain(getattr(self, knob.field)) for knob in POLICY_KNOBS
        }

    @classmethod
    def from_json(cls, body: object) -> Policy:
        """The policy that `to_json` wrote, now or in another version.

        Keys that this version does not know are left aside and missing ones take their default, so that a
        run survives an upgrade. ConfigurationError when a value is not allowed.
        """
        if not isinstance(body, Mapping):
            raise ConfigurationError([Problem("spec", "policy", shown(body), "a mapping of keys to values")])
        fields: dict[str, Any] = {"name": str(body.get("name", "standard"))}
        problems: list[Problem] = []
        for knob in POLICY_KNOBS:
            if knob.json_key not in body:
                continue
            raw = body[knob.json_key]
            try:
                fields[knob.field] = knob.kind.parse(raw)
            except MalformedError as refusal:
                for flaw in refusal.flaws(raw):
                    key = ".".join((knob.json_key, *flaw.path))
                    problems.append(
                        Problem("spec.policy", key, shown(flaw.value), flaw.allowed, fault=flaw.fault)
                    )
        policy = cls(**fields)
        clashes = policy.contradictions()
        problems += [Problem("spec.policy", ", ".join(clash.keys), fault=clash.rule) for clash in clashes]
        if problems:
            raise ConfigurationError(problems)
        return policy


def policy_schema() -> dict[str, Any]:
    """OpenAPI schema of `Policy.to_json`, structural as a CustomResourceDefinition wants it."""
    properties = {knob.json_key: knob.kind.schema() | {"description": knob.why} for knob in POLICY_KNOBS}
    return {"type": "object", "properties": {"name": {"type": "string"}} | properties}


SHIPPED: Mapping[str, Policy] = MappingProxyType(
    {
        "standard": Policy(),
        "cautious": Policy(
            name="cautious",
            steps=(1, 2, 5, 10, 20, 35, 50, 75, 100),
            step_min=300.0,
            deadline=6 * 3600.0,
            warm_up=120.0,
            min_judged=1800.0,
            max_error_ratio=1.15,
            max_error_delta=0.0002,
            safe_error_ratio=1.3,
            safe_error_delta=0.0005,
            max_slow_ratio=1.15,
            safe_slow_ratio=1.3,
            safe_slow_delta=0.002,
            beta=0.01,
            harm_budget=5.0,
            drain_limit=300.0,
        ),
        "fast": Policy(
            name="fast",
            steps=(5, 25, 50, 100),
            step_min=15.0,
            deadline=1200.0,
            ready_timeout=180.0,
            warm_up=10.0,
            min_judged=120.0,
            max_error_ratio=1.5,
            max_error_delta=0.002,
            safe_error_ratio=2.0,
            safe_error_delta=0.005,
            max_slow_ratio=1.5,
            safe_slow_ratio=2.0,
            safe_slow_delta=0.02,
            harm_budget=50.0,
            # For development: with the one or two pods there, telling a burst from a fault takes most
            # of the twenty minutes, and a good release that a burst has rolled back is tried again at no cost.
            burst_block=0.0,
            blind_limit=120.0,
            hold_limit=3600.0,
            drain_limit=30.0,
        ),
    }
)
