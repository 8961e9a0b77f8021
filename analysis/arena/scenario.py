"""What a simulated release is like: its traffic, its fault if it has one, and everything that goes on besides."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from analysis.errors import BadConfig
from analysis.slowness import ISTIO_EDGES

EDGES: Final = ISTIO_EDGES
TAIL_FACTOR: Final = 10.0  # how many times slower the requests of a new tail are

_SHARES: Final = (
    "base_rate", "icc", "tail", "burst_rate", "shock_rate", "diurnal", "missed_scrapes", "outages",
)  # fmt: skip
_NOT_NEGATIVE: Final = (
    "onset", "burst_gap", "shock_gap", "pod_sigma", "late_by", "drain_at", "resets_per_hour", "settle",
)  # fmt: skip
_POSITIVE: Final = (
    "lift",
    "slower",
    "rps",
    "interval",
    "deadline",
    "diurnal_period",
    "latency_median",
    "latency_sigma",
)


@dataclass(frozen=True, slots=True)
class Scenario:
    """One kind of release. Times in seconds, rates as shares of requests 0..1. Raises BadConfig.

    base_rate       share of the baseline's requests that fail; `lift` times that fails in the canary
    slower, tail    the canary's latency times `slower`; a share `tail` of its requests ten times as slow
    onset           when the canary's fault begins
    latency         whether there are histograms; latencies are lognormal, with this median and this standard
                    deviation of the logarithm
    rps             requests per second to both arms together, Poisson
    canary_pods, baseline_pods, pods_known   pods per arm; whether the counts tell them apart
    interval        from one scrape to the next
    deadline        when an undecided release ends
    icc             correlation of errors within a pod and interval: beta-binomial counts
    burst_seconds   shortest and longest burst, in which one pod fails `burst_rate` of its requests; bursts of a
                    pod are `burst_gap` apart on average, exponentially, whatever the intervals (0: none)
    shock_...       the same, in all pods of both arms at once
    diurnal         traffic and errors swing together by this share in a period of `diurnal_period`
    pod_sigma       standard deviation, between pods, of the log odds of failing: pods that differ for good
    drain_at        when one baseline pod begins to drain, down to a fiftieth of its traffic (0: never)
    late_pods       so many pods of either arm (never all) begin to serve `late_by` after the start
    scrape_offsets  whether pods are scraped at moments of their own
    resets_per_hour counter resets per pod; the pod's interval is not counted, good or bad
    missed_scrapes  share of a pod's scrapes that fail: what it served comes with its next
    outages         share of the moments at which every scrape fails: the next interval is longer
    settle          time after a change of the weight that is not judged
    """

    base_rate: float = 0.01
    lift: float = 1.0
    slower: float = 1.0
    tail: float = 0.0
    onset: float = 0.0
    latency: bool = False
    latency_median: float = 0.060
    latency_sigma: float = 0.8
    rps: float = 100.0
    canary_pods: int = 2
    baseline_pods: int = 6
    pods_known: bool = True
    interval: float = 10.0
    deadline: float = 7200.0
    icc: float = 0.0
    burst_seconds: tuple[float, float] = (10.0, 60.0)
    burst_gap: float = 0.0
    burst_rate: float = 0.3
    shock_seconds: tuple[float, float] = (20.0, 120.0)
    shock_gap: float = 0.0
    shock_rate: float = 0.3
    diurnal: float = 0.0
    diurnal_period: float = 3600.0
    pod_sigma: float = 0.0
    drain_at: float = 0.0
    late_pods: int = 0
    late_by: float = 300.0
    scrape_offsets: bool = False
    resets_per_hour: float = 0.0
    missed_scrapes: float = 0.0
    outages: float = 0.0
    settle: float = 0.0

    def __post_init__(self) -> None:
        for name in (*_SHARES, *_NOT_NEGATIVE, *_POSITIVE):
            self._require(name, _is_number(getattr(self, name)), "a finite number")
        for name in _SHARES:
            self._require(name, 0 <= getattr(self, name) < 1, "a share of at least 0 and below 1")
        for name in _NOT_NEGATIVE:
            self._require(name, getattr(self, name) >= 0, "at least 0")
        for name in _POSITIVE:
            self._require(name, getattr(self, name) > 0, "above 0")
        self._check_pods()
        for name in ("burst_seconds", "shock_seconds"):
            value = getattr(self, name)
            holds = len(value) == 2 and all(map(_is_number, value)) and 0 < value[0] <= value[1]
            self._require(name, holds, "the shortest and the longest, in seconds")
        most = self.base_rate * (1 + self.diurnal)
        self._require("lift", most * self.lift < 1, "such that no more requests fail than there are")

    def _check_pods(self) -> None:
        for name in ("canary_pods", "baseline_pods", "late_pods"):
            self._require(name, type(getattr(self, name)) is int, "a whole number")
        for name in ("canary_pods", "baseline_pods"):
            self._require(name, 1 <= getattr(self, name) <= 100, "between 1 and 100")
        fewest = min(self.canary_pods, self.baseline_pods)
        self._require("late_pods", 0 <= self.late_pods < fewest, "fewer than the pods of either arm")
        alone = self.drain_at > 0 and self.baseline_pods == 1
        self._require("drain_at", not alone, "0 where the baseline has a single pod")

    def _require(self, name: str, holds: bool, allowed: str) -> None:
        if not holds:
            raise BadConfig(name, getattr(self, name), f"must be {allowed}")

    @property
    def independent(self) -> bool:
        """Whether errors come independently of each other, at a rate that is constant but for the onset."""
        return not any((self.icc, self.burst_gap, self.shock_gap, self.diurnal, self.pod_sigma))

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict of the fields."""
        fields = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        return {name: list(value) if isinstance(value, tuple) else value for name, value in fields.items()}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> Scenario:
        """Read what `to_json` wrote; other keys are left aside. Raises BadConfig."""
        known = {f.name for f in dataclasses.fields(cls)}
        fields: dict[str, Any] = {name: value for name, value in raw.items() if name in known}
        for name in ("burst_seconds", "shock_seconds"):
            if isinstance(fields.get(name), list):
                fields[name] = tuple(fields[name])
        return cls(**fields)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
