"""All that the judge remembers of a run: a small value that survives a restart bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from analysis import codec
from analysis.alarm import Alarm
from analysis.bursts import Bursts
from analysis.errors import BadState
from analysis.judge_config import ERRORS, LATENCY, JudgeConfig
from analysis.latency import Latency
from analysis.proportion import ODDS, Proportions
from analysis.tilts import THETAS

VERSION: Final = 2
BEFORE: Final = -1e300  # seconds: the end of the last interval, where there was none

__all__ = ["BEFORE", "ERRORS", "LATENCY", "VERSION", "Failing", "JudgeState", "Skipped", "start"]


@dataclass(frozen=True, slots=True)
class Skipped:
    """Intervals that were quarantined for that reason."""

    reason: str
    intervals: int


@dataclass(frozen=True, slots=True)
class Failing:
    """A threshold that the last intervals failed: how many in a row, and the last value."""

    name: str
    intervals: int
    value: float


@dataclass(frozen=True, slots=True)
class JudgeState:
    """Immutable; made by Judge.start and Judge.update, kept as JSON in the run's status.

    intervals: judged ones with requests in both arms; judged_seconds: their length; end: of the last interval;
    weight: the last one's (-1 before any); rises: how often the weight rose; absent: the metrics that the first
    judged interval did not bring; proved: the metric that was named when harm was proved, "" while it is not:
    what was proved once stays proved; rows: errors, custom metrics in the configuration's order, latency edges;
    skipped: what was quarantined; failing: thresholds; exceeded: the one that rolls back, "" while none does;
    bursts: tier B; alarm: what made the judge retreat, None where nothing does; cleared: alarms that were.
    """

    intervals: int = 0
    judged_seconds: float = 0.0
    end: float = BEFORE
    weight: float = -1.0
    rises: int = 0
    absent: tuple[str, ...] = ()
    proved: str = ""
    proved_log_evidence: float = 0.0
    rows: Proportions = field(default_factory=lambda: Proportions.start(1, 1))
    latency: Latency = field(default_factory=Latency)
    skipped: tuple[Skipped, ...] = ()
    failing: tuple[Failing, ...] = ()
    exceeded: str = ""
    bursts: Bursts = field(default_factory=Bursts)
    alarm: Alarm | None = None
    cleared: int = 0

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict with a version; floats survive bit for bit."""
        encoded: dict[str, Any] = codec.encode(self)
        return {"version": VERSION, **encoded}

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> JudgeState:
        """Read what `to_json` wrote. Raises BadState."""
        if not isinstance(raw, Mapping) or raw.get("version") != VERSION:
            found = raw.get("version") if isinstance(raw, Mapping) else raw
            raise BadState("state.version", found, f"{VERSION}, the version that this judge reads")
        state = codec.decode(cls, {key: value for key, value in raw.items() if key != "version"}, "state")
        _check(state)
        return state


def start(config: JudgeConfig) -> JudgeState:
    """The state before any interval."""
    rows = 1 + len(config.custom)
    return JudgeState(rows=Proportions.start(rows, rows))


def _check(state: JudgeState) -> None:
    """What types cannot say: as many rows as there are proportions, indices within the histogram."""
    paired = len(state.rows.difference)
    if paired < 1:
        raise BadState("state.rows.difference", paired, "at least one row, the errors'")
    rows = paired + len(state.latency.judged)
    for name in state.rows.names():
        found, wanted = len(getattr(state.rows, name)), paired if name in Proportions.PAIRED else rows
        if found != wanted:
            raise BadState(f"state.rows.{name}", found, f"{wanted} rows")
    if state.alarm is not None and not (0 <= state.alarm.row < rows and 0 <= state.alarm.column < ODDS):
        raise BadState("state.alarm.row", state.alarm.row, "a row")
    tilts = state.latency.tilts
    sizes = len(tilts.scores), len(tilts.wealth.logs)
    if sizes[0] not in {0, len(state.latency.edges) + 1} or sizes[1] not in {0, THETAS}:
        raise BadState("state.latency.tilts", sizes, "as long as the buckets and the tilts")
    for edge in state.latency.judged:
        if not 0 <= edge.index < len(state.latency.edges):
            raise BadState("state.latency.judged.index", edge.index, "the index of an edge")
    state.bursts.check("state.bursts")
