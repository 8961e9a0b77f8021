"""Flagger 1.44 with the metrics and limits of its samples.

Restated from `pkg/controller/scheduler.go` and the Istio observer: once a minute it first rolls back if the failed checks
have reached the threshold, then checks the last minute's success rate and 99th percentile, then takes the next step,
or promotes at the last. A failed check adds one to a counter that never falls; no data fails a check.
"""

from __future__ import annotations

from typing import Final

from analysis.arena.contender import Climb, Decision
from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Tick
from analysis.arena.window import Window, error_rate, quantile

INTERVAL: Final = 60.0  # seconds between checks, and the window of a check
THRESHOLD: Final = 5  # failed checks
SUCCESS: Final = 0.99
SLOWEST: Final = 0.5  # seconds, 99th percentile


class Flagger:
    """The baseline is not looked at."""

    def __init__(self, scenario: Scenario) -> None:
        self._climb = Climb()
        self._window = Window()
        self._with_latency = scenario.latency
        self._due = INTERVAL
        self._failed = 0

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return self._climb.weight

    def look(self, tick: Tick) -> Decision:
        """Decides once a minute."""
        self._window.add(tick)
        if tick.end < self._due:
            return "continue"
        self._due += INTERVAL
        if self._failed >= THRESHOLD:
            return "rollback"
        passed = self._check()
        self._window.clear()
        if not passed:
            self._failed += 1
        elif self._climb.at_top:
            return "promote"
        else:
            self._climb.rise(tick.end)
        return "continue"

    def _check(self) -> bool:
        canary = self._window.canary
        succeeded = 1 - error_rate(canary)  # NaN compares as failed
        in_time = not self._with_latency or quantile(canary, 0.99) <= SLOWEST
        return succeeded >= SUCCESS and in_time
