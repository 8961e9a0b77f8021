"""Argo Rollouts 1.9 with the background analysis and the steps of its documentation.

Restated from `analysis/analysis.go` and `docs/features/analysis.md`: every five minutes the success rate of the last five is
measured; it must be at least 0.95, more than three failures abort, and so do more than four errors in a row. A
query without any series is an error, 0/0 is NaN and fails. Each step lasts ten minutes.
"""

from __future__ import annotations

from typing import Final

from analysis.arena.contender import Climb, Decision
from analysis.arena.traffic import Tick
from analysis.arena.window import Window, error_rate

INTERVAL: Final = 300.0  # seconds between measurements, and the window of one
PAUSE: Final = 600.0  # seconds per step
SUCCESS: Final = 0.95
FAILURE_LIMIT: Final = 3
CONSECUTIVE_ERROR_LIMIT: Final = 4


class Argo:
    """The baseline is not looked at, nor latency."""

    def __init__(self) -> None:
        self._climb = Climb()
        self._window = Window()
        self._due = INTERVAL
        self._seen = False
        self._failures = 0
        self._errors = 1  # the first measurement is taken at the start, before there is a series

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return self._climb.weight

    def look(self, tick: Tick) -> Decision:
        """Measures every five minutes, steps every ten."""
        self._window.add(tick)
        if tick.end >= self._due:
            self._due += INTERVAL
            self._measure()
            self._window.clear()
            if self._failures > FAILURE_LIMIT or self._errors > CONSECUTIVE_ERROR_LIMIT:
                return "rollback"
        if tick.end - self._climb.since >= PAUSE:
            if self._climb.at_top:
                return "promote"
            self._climb.rise(tick.end)
        return "continue"

    def _measure(self) -> None:
        self._seen = self._seen or self._window.canary.requests > 0
        if not self._seen:
            self._errors += 1
            return
        self._errors = 0
        succeeded = 1 - error_rate(self._window.canary)  # NaN compares as failed
        self._failures += not succeeded >= SUCCESS
