"""All that the judge remembers of a run: a small value that survives a restart bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from analysis import codec
from analysis.confidence import ExcessLimit
from analysis.errors import BadState
from analysis.harm import Harm
from analysis.latency import Latency
from analysis.proportion import Proportion
from analysis.safety import Safety
from analysis.wealth import Wealth

VERSION: Final = 1
ERRORS: Final = "errors"
LATENCY: Final = "latency"


def _errors_at_start() -> Proportion:
    return Proportion(harm=Harm(difference=Wealth(), log_boosted=0.0), safety=Safety(), excess=ExcessLimit())


@dataclass(frozen=True, slots=True)
class JudgeState:
    """Immutable; made by Judge.start and Judge.update, kept as JSON in the run's status.

    intervals: judged ones with requests in both arms; judged_seconds: their length; weight: the last one's
    (-1 before any); rises: how often the weight rose; proved: the metric that was named when harm was proved,
    "" while it is not: what was proved once stays proved.
    """

    intervals: int = 0
    judged_seconds: float = 0.0
    weight: float = -1.0
    rises: int = 0
    proved: str = ""
    proved_log_evidence: float = 0.0
    errors: Proportion = field(default_factory=_errors_at_start)
    latency: Latency = field(default_factory=Latency)

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


def _check(state: JudgeState) -> None:
    """What types cannot say: vectors as long as the grids they belong to, indices within the histogram."""
    if state.proved not in {"", ERRORS, LATENCY}:
        raise BadState("state.proved", state.proved, "a metric")
    proportions = {"errors": state.errors}
    for edge in state.latency.judged:
        if not 0 <= edge.index < len(state.latency.edges):
            raise BadState("state.latency.judged.index", edge.index, "the index of an edge")
        proportions[f"latency.judged[{edge.index}]"] = edge.exceedance
    for where, proportion in proportions.items():
        for name, (length, wanted) in proportion.lengths().items():
            if length != wanted and (length or name.startswith("safety")):
                raise BadState(f"state.{where}.{name}", length, f"{wanted} entries long")
