"""kill -9 of canaryd at random moments, started again each time: the same outcome, no invariant broken."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest

from canaryd.sandbox.outcome import Moment, Report
from canaryd.sandbox.rehearsal import Rehearsal
from canaryd.sandbox.scenarios import SCENARIOS
from e2e.conftest import repeated

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(700)]


class Killer:
    """Kills at `moments` (seconds since the release, ascending)."""

    def __init__(self, rehearsal: Rehearsal, moments: list[float]) -> None:
        self._rehearsal = rehearsal
        self._due = moments
        self.killed: list[str] = []

    def __call__(self, moment: Moment) -> None:
        if self._due and moment.seconds >= self._due[0]:
            self._due.pop(0)
            self._rehearsal.kill()
            stage = (moment.run.get("status") or {}).get("stage", "no run yet")
            self.killed.append(f"{moment.seconds:.1f} s: {stage}")


def moments(count: int, seed: int, longest: float) -> list[float]:
    """Seeded moments; up to `longest` seconds lie between two, so that some fall into canaryd's start."""
    rng = random.Random(seed)
    due, at = [], 0.0
    for _ in range(count):
        at += rng.uniform(0.2, longest)
        due.append(at)
    return due


def play(rehearsal: Rehearsal, name: str, due: list[float]) -> Report:
    killer = Killer(rehearsal, due)
    report = rehearsal.play(replace(SCENARIOS[name], timeout=400.0), killer)
    assert report.expected, f"{report}; killed at {killer.killed}"
    assert report.violations == report.misrouted == [], killer.killed
    assert report.envoys_own == {}
    assert len(killer.killed) >= 3
    repeated(rehearsal)
    return report


def test_three_kills_change_nothing(rehearsal: Rehearsal) -> None:
    play(rehearsal, "errors", moments(3, 1, 9.0))


@pytest.mark.parametrize("name", ["healthy", "errors"])
@pytest.mark.parametrize("seed", [1])
def test_ten_kills_change_nothing(rehearsal: Rehearsal, name: str, seed: int) -> None:
    play(rehearsal, name, moments(10, seed, 12.0 if name == "healthy" else 8.0))
