"""Above the last judged rung there is little or no baseline: watched, not judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from analysis.counts import Interval
from analysis.judge_config import JudgeConfig
from analysis.state import JudgeState


@dataclass(frozen=True, slots=True)
class WatchLimits:
    """The highest rates that the baseline showed while it was judged, times the tolerance."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> WatchLimits:
        """Read what `to_json` wrote. Raises BadState."""
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class WatchState:
    """What was watched so far; carries its limits."""

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> WatchState:
        """Read what `to_json` wrote. Raises BadState."""
        raise NotImplementedError


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
        raise NotImplementedError


@dataclass(frozen=True, slots=True)
class Watch:
    """Pure, like Judge: `learn` once at the last judged rung, then `update` and `check` per interval."""

    config: JudgeConfig

    def learn(self, state: JudgeState) -> WatchLimits:
        """The limits that the judged past allows."""
        raise NotImplementedError

    def start(self, limits: WatchLimits) -> WatchState:
        """The state before any watched interval."""
        raise NotImplementedError

    def update(
        self, state: WatchState, interval: Interval, *, arm: Literal["canary", "baseline"] = "canary"
    ) -> WatchState:
        """The state after one more interval of `arm` (after promotion the new stable is "baseline")."""
        raise NotImplementedError

    def check(self, state: WatchState) -> WatchVerdict:
        """What was seen, against the limits."""
        raise NotImplementedError
