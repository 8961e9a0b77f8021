"""All that the judge remembers of a run: a small value that survives a restart bit for bit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, slots=True)
class JudgeState:
    """Immutable; made by Judge.start and Judge.update, kept as JSON in the run's status."""

    intervals: int = 0
    judged_seconds: float = 0.0

    def to_json(self) -> dict[str, Any]:
        """A JSON-able dict with a version; floats survive bit for bit."""
        raise NotImplementedError

    @classmethod
    def from_json(cls, raw: Mapping[str, Any]) -> JudgeState:
        """Read what `to_json` wrote. Raises BadState."""
        raise NotImplementedError
