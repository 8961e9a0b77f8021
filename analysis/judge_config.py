"""The judge's knobs: what counts as harm, what counts as safe, and how sure one must be."""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from analysis.errors import BadConfig

# field -> (low, high, what it is): closed on both sides, except that 0 and 1 are excluded for shares.
_RANGES: Final[dict[str, tuple[float, float, str]]] = {
    "alpha": (1e-6, 0.2, "a chance of false rollback between 0.000001 and 0.2"),
    "beta": (1e-6, 0.5, "a chance of false promotion between 0.000001 and 0.5"),
    "harm_ratio": (1.0, 20.0, "a ratio of odds between 1 and 20"),
    "harm_delta": (0.0, 0.5, "a difference of proportions between 0 and 0.5"),
    "safe_ratio": (1.0, 50.0, "a ratio of odds above harm_ratio, at most 50"),
    "safe_delta": (1e-6, 0.9, "a difference of proportions above harm_delta, at most 0.9"),
    "slow_ratio": (1.0, 20.0, "a ratio of odds between 1 and 20"),
    "slow_safe_ratio": (1.0, 50.0, "a ratio of odds above slow_ratio, at most 50"),
    "slow_safe_delta": (1e-6, 0.9, "a difference of proportions between 0.000001 and 0.9"),
    "latency_weight": (0.0, 0.95, "a share of the evidence between 0 (latency is not judged) and 0.95"),
    "burst_block": (0.0, 3600.0, "seconds between 0 (bad events are independent) and 3600"),
    "min_judged": (0.0, 86400.0, "seconds between 0 and 86400"),
    "horizon": (60.0, 7 * 86400.0, "seconds between 60 and 604800"),
}
_WHOLE: Final[dict[str, tuple[int, int]]] = {"min_bad_events": (1, 1000), "min_intervals": (1, 1000)}
ERRORS: Final = "errors"
LATENCY: Final = "latency"
RESERVED: Final = (ERRORS, LATENCY)
_MAX_SLOW_EDGES: Final = 3
_LEAST_SHARE: Final = 0.05  # of the evidence, that errors keep
_MOST_CUSTOM: Final = 8


@dataclass(frozen=True, slots=True)
class CustomMetric:
    """A proportion from a pair of counters (bad, total), judged as errors are; raises BadConfig.

    weight: its share of the evidence of harm; the rest as the knobs of JudgeConfig.
    """

    name: str
    weight: float = 0.1
    harm_ratio: float = 1.25
    harm_delta: float = 0.0005
    safe_ratio: float = 1.5
    safe_delta: float = 0.001

    def __post_init__(self) -> None:
        where = _named("custom", self.name)
        if self.name in RESERVED:
            raise BadConfig("custom.name", self.name, f"the judge has its own {self.name}")
        for knob in ("harm_ratio", "harm_delta", "safe_ratio", "safe_delta"):
            value = _number(f"{where}.{knob}", getattr(self, knob), *_RANGES[knob])
            object.__setattr__(self, knob, value)
        weight = _number(f"{where}.weight", self.weight, 0.001, 0.9, "a share between 0.001 and 0.9")
        object.__setattr__(self, "weight", weight)
        _check_above(self, (("safe_ratio", "harm_ratio"), ("safe_delta", "harm_delta")), f"{where}.")


@dataclass(frozen=True, slots=True)
class Threshold:
    """A value that must not pass its limit: checked, never called statistics. Raises BadConfig.

    at_most: whether the limit is the highest allowed value, else the lowest; failures: consecutive failing
    intervals after which the release is rolled back.
    """

    name: str
    limit: float
    at_most: bool = True
    failures: int = 3

    def __post_init__(self) -> None:
        where = _named("thresholds", self.name)
        _number(f"{where}.limit", self.limit, -1e300, 1e300, "a finite number")
        if not isinstance(self.at_most, bool):
            raise BadConfig(f"{where}.at_most", self.at_most, "must be true or false")
        _whole(f"{where}.failures", self.failures, 1, 1000)


_Item = TypeVar("_Item", CustomMetric, Threshold)


@dataclass(frozen=True, slots=True)
class JudgeConfig:
    """Tolerances and error bounds of one run; raises BadConfig, which names the knob.

    Ratios are ratios of **odds** canary : baseline, deltas differences of proportions, times seconds.

    alpha            bound on the chance that a harmless release is ever rolled back
    beta             bound on the chance that a release worse than the safe_ pair is ever promoted
    harm_ratio/delta harm means that both are exceeded
    safe_ratio/delta safe means that either is shown not to be exceeded; each above its harm_ twin
    slow_ratio       harm for latency: the odds of being slower than an edge exceed this ratio
    slow_edges       up to three histogram edges (seconds) that decide whether latency is safe; empty: the
                     judge names the baseline's edges nearest to half and to one in twenty requests slower
    slow_safe_*      the safe_ pair of the slow edges
    latency_weight   latency's share of the evidence of harm; errors have the rest; 0: latency is not judged
    burst_block      length of a block when errors come in bursts; 0: bad events are independent
    condemn_at_once  roll back without waiting for the burst test when the evidence reached 1/alpha^3
    min_bad_events   bad events in the canary without which nothing is rolled back
    min_intervals    intervals without which nothing is rolled back (unless E >= 1/alpha^2)
    min_judged       judged time without which nothing is promoted
    horizon          how long a run may last at most; a late fault is looked for until then
    custom           further proportions, each with its share of the evidence
    thresholds       values that are checked against a limit
    """

    alpha: float = 0.01
    beta: float = 0.05
    harm_ratio: float = 1.25
    harm_delta: float = 0.0005
    safe_ratio: float = 1.5
    safe_delta: float = 0.001
    slow_ratio: float = 1.25
    slow_edges: tuple[float, ...] = ()
    slow_safe_ratio: float = 1.5
    slow_safe_delta: float = 0.005
    latency_weight: float = 0.3
    burst_block: float = 60.0
    min_bad_events: int = 3
    min_intervals: int = 2
    min_judged: float = 900.0
    horizon: float = 7200.0
    condemn_at_once: bool = False
    custom: tuple[CustomMetric, ...] = ()
    thresholds: tuple[Threshold, ...] = ()

    def __post_init__(self) -> None:
        for name, (low, high, allowed) in _RANGES.items():
            object.__setattr__(self, name, _number(name, getattr(self, name), low, high, allowed))
        for name, (least, most) in _WHOLE.items():
            _whole(name, getattr(self, name), least, most)
        object.__setattr__(self, "slow_edges", _edges(self.slow_edges))
        if not isinstance(self.condemn_at_once, bool):
            raise BadConfig("condemn_at_once", self.condemn_at_once, "must be true or false")
        object.__setattr__(self, "custom", _items("custom", self.custom, CustomMetric))
        object.__setattr__(self, "thresholds", _items("thresholds", self.thresholds, Threshold))
        pairs = (
            ("safe_ratio", "harm_ratio"),
            ("safe_delta", "harm_delta"),
            ("slow_safe_ratio", "slow_ratio"),
        )
        _check_above(self, pairs, "")
        left = 1 - self.latency_weight - sum(metric.weight for metric in self.custom)
        if left < _LEAST_SHARE - 1e-9:
            raise BadConfig("custom", left, f"the shares must leave errors at least {_LEAST_SHARE}")

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of every knob; `from_json` gives the same config back."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        lists = {name: [dataclasses.asdict(one) for one in fields[name]] for name in ("custom", "thresholds")}
        return {**fields, "slow_edges": list(self.slow_edges), **lists}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> JudgeConfig:
        """Read what `to_json` wrote; absent knobs take their default. Raises BadConfig."""
        if not isinstance(raw, Mapping):
            raise BadConfig("judge", raw, "must be a mapping of knobs")
        known = {f.name for f in dataclasses.fields(cls)}
        for key in raw:
            if key not in known:
                raise BadConfig(str(key), raw[key], f"no such knob; known are {', '.join(sorted(known))}")
        return cls(**raw)


def _named(where: str, name: object) -> str:
    """The path of a named item."""
    if not isinstance(name, str) or not name:
        raise BadConfig(f"{where}.name", name, "must be a name")
    return f"{where}[{name!r}]"


def _check_above(knobs: object, pairs: tuple[tuple[str, str], ...], where: str) -> None:
    for upper, lower in pairs:
        high, low = getattr(knobs, upper), getattr(knobs, lower)
        if high <= low:
            raise BadConfig(f"{where}{upper}", high, f"must be above {lower}, which is {low}")


def _items(name: str, value: object, kind: type[_Item]) -> tuple[_Item, ...]:
    """Items of that kind, or mappings that one can be made of; with different names."""
    allowed = f"must be up to {_MOST_CUSTOM} items with different names"
    if not isinstance(value, tuple | list) or len(value) > _MOST_CUSTOM:
        raise BadConfig(name, value, allowed)
    items = []
    for i, one in enumerate(value):
        if isinstance(one, kind):
            items.append(one)
            continue
        try:
            items.append(kind(**one))
        except TypeError:
            raise BadConfig(f"{name}[{i}]", one, f"must be a {kind.__name__}") from None
    if len({one.name for one in items}) < len(items):
        raise BadConfig(name, value, allowed)
    return tuple(items)


def _number(name: str, value: object, low: float, high: float, allowed: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise BadConfig(name, value, f"must be {allowed}")
    if not low <= value <= high:
        raise BadConfig(name, value, f"must be {allowed}")
    return float(value)


def _whole(name: str, value: object, least: int, most: int) -> None:
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadConfig(name, value, f"must be a whole number between {least} and {most}")


def _edges(value: object) -> tuple[float, ...]:
    allowed = f"must be up to {_MAX_SLOW_EDGES} ascending numbers of seconds above 0"
    if not isinstance(value, tuple | list) or len(value) > _MAX_SLOW_EDGES:
        raise BadConfig("slow_edges", value, allowed)
    edges = tuple(_number(f"slow_edges[{i}]", edge, 1e-6, 86400.0, allowed) for i, edge in enumerate(value))
    if any(later <= earlier for earlier, later in itertools.pairwise(edges)):
        raise BadConfig("slow_edges", value, allowed)
    return edges
