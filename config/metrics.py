"""Metrics of one's own in a policy: proportions, which are judged as errors are, and thresholds, which are checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.kinds import Integer, Kind, Number, Text
from config.knobs import Knob
from config.problems import Flaw, MalformedError, did_you_mean
from config.promql import PromQL

MOST = 8

PROPORTION_KNOBS: tuple[Knob, ...] = (
    Knob("bad", PromQL(counter=True), "The counter of bad events; where it has no series there were none."),
    Knob("total", PromQL(counter=True), "The counter of all events, bad ones too, of the same source."),
    Knob(
        "weight", Number(0.001, 0.9, "proportion of evidence"), "The metric's share of the evidence of harm."
    ),
    Knob("max-ratio", Number(1, 20, "odds ratio"), "As max-error-ratio, which it is by default."),
    Knob("max-delta", Number(0, 0.5, "proportion of events"), "As max-error-delta, which it is by default."),
    Knob("safe-ratio", Number(1, 50, "odds ratio"), "As safe-error-ratio, which it is by default."),
    Knob(
        "safe-delta",
        Number(1e-6, 0.9, "proportion of events"),
        "As safe-error-delta, which it is by default.",
    ),
)

THRESHOLD_KNOBS: tuple[Knob, ...] = (
    Knob("value", PromQL(), "One series, of the canary: its value at the end of each interval."),
    Knob("at-most", Number(-1e15, 1e15), "The highest value that does not fail; this or at-least."),
    Knob("at-least", Number(-1e15, 1e15), "The lowest value that does not fail; this or at-most."),
    Knob("failures", Integer(1, 1000, "intervals"), "Failing intervals in a row that roll back."),
)

NAME = Text("a name of lower-case letters, digits and dashes", r"[a-z0-9](?:[-a-z0-9]*[a-z0-9])?", 63)
_TAKEN = ("errors", "latency")


@dataclass(frozen=True, slots=True)
class ProportionMetric:
    """bad, total: PromQL of two counters; None: the tolerance is the policy's for errors."""

    name: str
    bad: str
    total: str
    weight: float = 0.1
    max_ratio: float | None = None
    max_delta: float | None = None
    safe_ratio: float | None = None
    safe_delta: float | None = None


@dataclass(frozen=True, slots=True)
class ThresholdMetric:
    """value: PromQL; exactly one of at_most and at_least is set; failures: intervals in a row."""

    name: str
    value: str
    at_most: float | None = None
    at_least: float | None = None
    failures: int = 3


Metric = ProportionMetric | ThresholdMetric


@dataclass(frozen=True, slots=True)
class Metrics(Kind[tuple[Metric, ...]]):
    """A mapping of names to metrics in YAML; a list in a CanaryRun, since a merge patch would add to a mapping."""

    @property
    def allowed(self) -> str:
        return f"a mapping of at most {MOST} names to metrics, each with bad and total, or with value"

    @property
    def range(self) -> str:
        return "see [metrics of your own](#metrics-of-your-own)"

    def parse(self, raw: object) -> tuple[Metric, ...]:
        if isinstance(raw, list) and all(isinstance(item, Mapping) and "name" in item for item in raw):
            named = {str(item["name"]): {k: v for k, v in item.items() if k != "name"} for item in raw}
            raw = named if len(named) == len(raw) else None
        if not isinstance(raw, Mapping) or len(raw) > MOST:
            raise self.refuse()
        flaws: list[Flaw] = []
        metrics = [_metric(name, body, flaws) for name, body in raw.items()]
        if flaws:
            raise MalformedError(self.allowed, tuple(flaws))
        return tuple(metric for metric in metrics if metric is not None)

    def plain(self, value: tuple[Metric, ...]) -> list[dict[str, Any]]:
        return [{"name": metric.name, **_plain(metric)} for metric in value]

    def show(self, value: tuple[Metric, ...]) -> dict[str, Any]:
        return {metric.name: _plain(metric) for metric in value}

    def spell(self, value: tuple[Metric, ...]) -> str:
        return ",".join(metric.name for metric in value)

    def schema(self) -> dict[str, Any]:
        properties = {knob.key: knob.kind.schema() for knob in (*PROPORTION_KNOBS, *THRESHOLD_KNOBS)}
        item = {
            "type": "object",
            "properties": {"name": {"type": "string"}, **properties},
            "required": ["name"],
        }
        return {"type": "array", "items": item, "maxItems": MOST}


def _metric(name: str, body: object, flaws: list[Flaw]) -> Metric | None:
    """The metric, or None where something is wrong with it; that joins `flaws`."""
    try:
        NAME.parse(name)
    except MalformedError as refusal:
        flaws.append(Flaw((name,), name, refusal.allowed))
        return None
    if name in _TAKEN:
        flaws.append(Flaw((name,), fault="is judged anyhow; give the metric another name"))
        return None
    if not isinstance(body, Mapping):
        flaws.append(Flaw((name,), body, "a mapping with bad and total, or with value"))
        return None
    threshold = "value" in body
    if threshold == bool({"bad", "total"} & body.keys()):
        fault = "has bad and total, and value" if threshold else "has neither bad and total, nor value"
        flaws.append(Flaw((name,), fault=f"{fault}; a metric is a proportion or a threshold"))
        return None
    knobs = {knob.key: knob for knob in (THRESHOLD_KNOBS if threshold else PROPORTION_KNOBS)}
    before = len(flaws)
    fields = _fields(name, body, knobs, flaws)
    missing = [] if threshold else [key for key in ("bad", "total") if key not in body]
    if missing:
        flaws.append(Flaw((name,), fault=f"has no {missing[0]}; a proportion has bad and total"))
    if threshold and ("at-most" in body) == ("at-least" in body):
        flaws.append(Flaw((name,), fault="a threshold has one of at-most and at-least"))
    if len(flaws) > before:
        return None
    return ThresholdMetric(name, **fields) if threshold else ProportionMetric(name, **fields)


def _fields(
    name: str, body: Mapping[str, Any], knobs: Mapping[str, Knob], flaws: list[Flaw]
) -> dict[str, Any]:
    fields: dict[str, Any] = {}
    for key, raw in body.items():
        if key not in knobs:
            hint = did_you_mean(key, knobs)
            flaws.append(Flaw((name, key), fault=f"there is no such key{hint}; there are {', '.join(knobs)}"))
            continue
        try:
            fields[knobs[key].field] = knobs[key].kind.parse(raw)
        except MalformedError as refusal:
            flaws.append(Flaw((name, key), raw, refusal.allowed))
    return fields


def _plain(metric: Metric) -> dict[str, Any]:
    knobs = PROPORTION_KNOBS if isinstance(metric, ProportionMetric) else THRESHOLD_KNOBS
    values = {knob: getattr(metric, knob.field) for knob in knobs}
    return {knob.key: knob.kind.plain(value) for knob, value in values.items() if value is not None}
