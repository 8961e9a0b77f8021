"""What a judge is to the arena: told each interval, it moves the weight and ends the release."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Literal, Protocol

from analysis.arena.traffic import Tick

Decision = Literal["continue", "retreat", "rollback", "promote"]

STEPS: Final = (0.01, 0.02, 0.05, 0.10, 0.25, 0.50)
STEP_MIN: Final = 60.0  # seconds


class Contender(Protocol):
    """One judge of one release. `retreat`: the weight is at the lowest step and the release goes on."""

    @property
    def weight(self) -> float:
        """The canary's share, 0..1, from now on."""

    def look(self, tick: Tick) -> Decision:
        """Take in what an interval brought; `rollback` and `promote` end the release."""


@dataclass(slots=True)
class Climb:
    """The weights that a release climbs. since: when the present one began, seconds."""

    steps: tuple[float, ...] = STEPS
    rung: int = 0
    since: float = 0.0

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return self.steps[self.rung]

    @property
    def at_top(self) -> bool:
        """Whether this is the last step."""
        return self.rung + 1 == len(self.steps)

    @property
    def following(self) -> float:
        """The next step's weight; the last one's own."""
        return self.steps[min(self.rung + 1, len(self.steps) - 1)]

    def rise(self, now: float) -> None:
        """Take the next step."""
        self.rung, self.since = self.rung + 1, now

    def fall(self, now: float) -> None:
        """Back to the lowest step; stay there for at least its least time."""
        self.rung, self.since = 0, now
