"""Spinnaker's canary stage with Kayenta's judge: points of one minute, compared over the whole release so far.

The canary stays at one weight, as in such a stage. It is analysed every half hour from fifty points on (the least
that Kayenta asks for); a score below 75 ends the release, 95 at the deadline passes it. Points are the error rate
and, where there are histograms, the 99th percentile; the metrics count alike.
"""

from __future__ import annotations

from typing import Final

from analysis.arena.contender import Decision
from analysis.arena.mann_whitney import classify
from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Tick
from analysis.arena.window import Window, error_rate, quantile

WEIGHT: Final = 0.10
POINT: Final = 60.0  # seconds
LEAST_POINTS: Final = 50
INTERVAL: Final = 1800.0  # seconds between analyses
MARGINAL: Final = 75.0
PASS: Final = 95.0


class Kayenta:
    """Compares the arms, but counts minutes instead of requests."""

    def __init__(self, scenario: Scenario) -> None:
        self._with_latency = scenario.latency
        self._deadline = scenario.deadline
        self._window = Window()
        self._due, self._analysis = POINT, INTERVAL
        self._points: list[tuple[list[float], list[float]]] = [([], []) for _ in range(1 + scenario.latency)]

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return WEIGHT

    def look(self, tick: Tick) -> Decision:
        """Takes a point every minute, analyses every half hour."""
        self._window.add(tick)
        if tick.end >= self._due:
            self._due += POINT
            self._take_points()
        last = tick.end >= self._deadline
        if not last and tick.end < self._analysis:
            return "continue"
        self._analysis += INTERVAL
        if not last and len(self._points[0][0]) < LEAST_POINTS:
            return "continue"
        score = self._score()
        if score < MARGINAL:
            return "rollback"
        return "promote" if last and score >= PASS else "continue"

    def _take_points(self) -> None:
        for arm, counts in enumerate((self._window.baseline, self._window.canary)):
            self._points[0][arm].append(error_rate(counts))
            if self._with_latency:
                self._points[1][arm].append(quantile(counts, 0.99))
        self._window.clear()

    def _score(self) -> float:
        """The share of metrics, in percent, that are not worse; metrics without data do not count."""
        found = [classify(control, experiment) for control, experiment in self._points]
        counted = [each for each in found if each != "Nodata"]
        return 100 * sum(each != "High" for each in counted) / len(counted) if counted else 0.0
