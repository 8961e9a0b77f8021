"""Every scenario of the demo, played to its end: how it ended, what users saw, what is left.

The releases of a module follow one another in one sandbox, as the versions of a real application do.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pytest

from canaryd.sandbox.outcome import Report
from canaryd.sandbox.rehearsal import Rehearsal
from canaryd.sandbox.scenarios import SCENARIOS
from e2e.conftest import rehearsed, repeated

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(700)]

NORMAL = ("healthy", "errors", "rejects", "crash")
SLOW = (
    "drift",
    "latency",
    "superseded",
    "subtle",
    "late",
    "shock",
    "burst",
    "lasting",
    "prometheus-outage",
)


def check(report: Report) -> None:
    """What holds of every release that should end as its scenario says."""
    scenario = SCENARIOS[report.scenario]
    said = f"{report.outcome} {report.reason}: {report.because}"
    assert report.outcome == scenario.outcome, said
    assert report.reason in scenario.reasons, said
    assert tuple(run.reason for run in report.runs[:-1]) == scenario.earlier
    assert report.violations == []
    assert report.misrouted == []
    assert report.restored, report.left
    assert report.expected
    if scenario.name in ("healthy", "superseded"):
        assert report.unanswered == {}
    elif scenario.name != "crash":
        assert report.envoys_own == {}


@pytest.mark.parametrize("name", [*NORMAL, *(pytest.param(name, marks=pytest.mark.slow) for name in SLOW)])
def test_scenario_ends_as_it_should(rehearsal: Rehearsal, name: str) -> None:
    report = rehearsal.play(SCENARIOS[name])
    if report.outcome != SCENARIOS[name].outcome:
        # The judge's bounds are 1 % (a good release rolled back) and 5 % (a bad one promoted), not 0: once is
        # within them, twice running is not.
        report = rehearsal.play(SCENARIOS[name])
    check(report)
    repeated(rehearsal)
    if name in ("burst", "lasting"):
        assert report.retreats >= 1, report.weights
    elif name != "drift":
        assert report.retreats == 0, report.weights
    if name == "late":
        assert report.highest_weight >= 25, "the fault began before its time"
    if name == "rejects":
        assert "rejected: canary" in report.because
    if name == "crash":
        assert "fatal: out of luck after" in report.because, "the container's last words are missing"
    if name in ("errors", "subtle", "late"):
        assert report.seconds_to_protect is not None
        assert report.excess_failed < 200


@pytest.fixture(scope="module")
def slow_mesh() -> Iterator[Rehearsal]:
    """A mesh that takes three seconds to follow."""
    yield from rehearsed(propagation=3.0)


@pytest.mark.slow
@pytest.mark.timeout(600)
@pytest.mark.parametrize("name", ["healthy", "superseded"])
def test_nobody_notices_a_slow_mesh(slow_mesh: Rehearsal, name: str) -> None:
    check(slow_mesh.play(replace(SCENARIOS[name], timeout=420.0)))


@pytest.fixture
def silence() -> Iterator[Rehearsal]:
    """An application that nobody asks."""
    yield from rehearsed(traffic=False, policy=SCENARIOS["no-traffic"].policy)


@pytest.mark.slow
def test_without_traffic_nothing_is_decided(silence: Rehearsal) -> None:
    report = silence.play(SCENARIOS["no-traffic"])
    assert (report.outcome, report.reason) == ("Holding", "Inconclusive")
    assert report.expected
    assert "0 requests to the canary at 1 %, needs 5" in report.because
    assert report.highest_weight == 1
    assert report.violations == []
