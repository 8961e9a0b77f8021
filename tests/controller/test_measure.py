"""Readings become evidence once: none is lost while a worker is busy, none counts twice."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import pytest

from analysis import Counts, Interval
from analysis.intervals import Blind, Outcome, Pending, RunQuery
from canaryd.controller.measure import Measurer
from canaryd.domain.model import Arm, Form, Run, Stage, Target, Traffic, Wanted
from config import Policy


class Script:
    """Gives the outcomes it was told to, one per tick."""

    def __init__(self, *outcomes: Outcome) -> None:
        self.outcomes = list(outcomes)
        self.asked: list[RunQuery] = []

    def tick(self, runs: Sequence[RunQuery], at: float) -> Mapping[str, Outcome]:
        self.asked += runs
        return {run.run_id: self.outcomes.pop(0) for run in runs}


class NoPods:
    def pods_of_canary(self, namespace: str, revision: str) -> list[dict[str, Any]]:
        return []


def interval(second: int, errors: int = 1) -> Interval:
    return Interval(second, second + 1, 0.1, {"c": Counts(30, errors)}, {"b": Counts(270, 3)})


@pytest.fixture
def run() -> Run:
    return Run(
        "shop",
        "checkout-1",
        Target("shop", "checkout", "u"),
        "rev",
        created=0.0,
        uid="run-1",
        stage=Stage.JUDGE,
        policy=Policy(),
        stable=Arm("checkout", "old", {}, "checkout-abc"),
        wanted=Wanted(traffic=Traffic(Form.SPLIT, 10)),
        judged_since=0.0,
        step=3,
    )


def measurer(*outcomes: Outcome) -> Measurer:
    return reading(Script(*outcomes))


def reading(script: Script) -> Measurer:
    return Measurer(cast(Any, script), cast(Any, NoPods()), lambda queries, at: {})


def test_intervals_wait_for_a_busy_worker(run: Run) -> None:
    measure = measurer(interval(1), Pending("NoScrape", "no new scrape"), interval(3))
    for at in range(3):
        measure.read([run], float(at))
    measured = measure.measured(run, 4.0)
    assert measured.evidence is not None and measured.evidence.intervals == 2
    assert (measured.fresh, measured.judged_to) == (True, 4)


def test_an_interval_counts_once(run: Run) -> None:
    measure = measurer(interval(1))
    measure.read([run], 1.0)
    first = measure.measured(run, 2.0)
    run = replace(run, evidence=first.evidence)
    measure.accept(run)
    again = measure.measured(run, 3.0)
    assert again.evidence == first.evidence
    assert not again.fresh


def test_a_decision_that_could_not_be_saved_sees_its_interval_again(run: Run) -> None:
    measure = measurer(interval(1))
    measure.read([run], 1.0)
    assert measure.measured(run, 2.0).evidence == measure.measured(run, 2.1).evidence


def test_what_comes_while_a_decision_is_saved_is_kept(run: Run) -> None:
    measure = measurer(interval(1), interval(2))
    measure.read([run], 1.0)
    first = measure.measured(run, 2.0)
    measure.read([run], 2.0)
    run = replace(run, evidence=first.evidence)
    measure.accept(run)
    second = measure.measured(run, 3.0)
    assert second.evidence is not None and second.evidence.intervals == 2


@pytest.mark.parametrize(
    ("stage", "judged"),
    [(Stage.SIZE, True), (Stage.SHIFT, False), (Stage.JUDGE, True), (Stage.CONFIRM, True)],
)
def test_a_weight_that_stands_is_judged_also_while_the_next_rungs_pods_start(
    run: Run, stage: Stage, judged: bool
) -> None:
    script = Script(interval(1))
    measure = reading(script)
    run = replace(run, stage=stage, judged_since=0.5)
    measure.read([run], 1.0)
    assert [query.settled_since for query in script.asked] == [0.5 if judged else None]
    assert measure.measured(run, 2.0).fresh is judged


def test_a_weight_that_is_on_its_way_is_not_judged(run: Run) -> None:
    script = Script(interval(1))
    moved = run.to(Stage.JUDGE, 0.0, "", wanted=Wanted(traffic=Traffic(Form.SPLIT, 0)))
    reading(script).read([moved], 1.0)
    assert [query.settled_since for query in script.asked] == [None]


@pytest.mark.parametrize(
    ("errors", "now", "decision"),
    [(1, 10, "continue"), (1, 10_000, "inconclusive"), (15, 10, "retreat"), (15, 10_000, "retreat")],
)
def test_the_deadline_hides_no_alarm(run: Run, errors: int, now: int, decision: str) -> None:
    seconds = range(now - 4, now - 1)
    measure = measurer(*(interval(second, errors) for second in seconds))
    for at in seconds:
        measure.read([run], at)
    verdict = measure.measured(run, now).verdict
    assert verdict is not None and verdict.decision == decision


def test_no_series_is_silence_and_everything_else_is_blindness(run: Run) -> None:
    measure = measurer(Blind("NoSeries", "never a request"), Blind("PrometheusDown", "refused"))
    measure.read([run], 1.0)
    assert measure.measured(run, 1.0).silent == "never a request"
    measure.read([run], 2.0)
    assert measure.measured(run, 2.0).blind == "refused"


def test_a_share_that_is_not_the_configured_one_is_found(run: Run) -> None:
    wrong = Interval(1, 2, 0.1, {"c": Counts(900, 9)}, {"b": Counts(2100, 21)})
    measure = measurer(wrong)
    measure.read([run], 1.0)
    assert "given 10 % and gets 30.0 %" in measure.measured(run, 2.0).misallocated


@pytest.mark.parametrize(
    ("replicaset", "pod"),
    [
        ("checkout-5d4f8c7b9", "checkout-5d4f8c7b9-x7k2p"),
        ("r" * 57, "r" * 57 + "-x7k2p"),
        ("r" * 70, "r" * 58 + "x7k2p"),  # the API server cuts a generateName off after 58 characters
    ],
)
def test_the_pods_of_the_stable_replicaset_are_known_by_their_names(
    run: Run, replicaset: str, pod: str
) -> None:
    script = Script(interval(1))
    stable = Arm("checkout", "old", {}, replicaset)
    reading(script).read([replace(run, stable=stable)], 1.0)
    (query,) = script.asked
    assert isinstance(query.baseline_pods, str)
    assert pod.startswith(query.baseline_pods)
    assert not "checkout-canary-5d4f8c7b9-x7k2p".startswith(query.baseline_pods)


def test_an_interval_without_all_pods_does_not_show_how_the_traffic_was_split(run: Run) -> None:
    """A baseline that is scaled up in the run must not look like a mesh that favours the canary."""
    split = interval(1)
    partly = Interval(2, 3, 0.1, {"c": Counts(900, 9)}, {"b": Counts(2100, 21)}, whole=False)
    measure = measurer(split, partly)
    for at in (1.0, 2.0):
        measure.read([run], at)
    measured = measure.measured(run, 3.0)
    assert measured.misallocated == ""
    assert measured.seen_share == 0.1
    assert measured.request_rate == 3000
    assert measured.evidence is not None and measured.evidence.intervals == 2


def test_the_share_is_held_against_the_weight_of_the_interval(run: Run) -> None:
    """One that was closed before the weight rose may be seen after it."""
    measure = measurer(Interval(1, 2, 0.1, {"c": Counts(900, 9)}, {"b": Counts(8100, 81)}))
    measure.read([run], 1.0)
    risen = replace(run, wanted=Wanted(traffic=Traffic(Form.SPLIT, 25)))
    assert measure.measured(risen, 2.0).misallocated == ""


@pytest.mark.parametrize(
    ("stage", "seen", "fresh"),
    [
        (Stage.JUDGE, "canary", True),
        (Stage.JUDGE, "baseline", False),
        (Stage.CONFIRM, "canary", False),
        (Stage.CONFIRM, "baseline", True),
    ],
)
def test_an_interval_without_pods_of_the_new_version_is_nothing_new(
    run: Run, stage: Stage, seen: str, fresh: bool
) -> None:
    canary, baseline = ({"p": Counts(30, 0)} if arm == seen else {} for arm in ("canary", "baseline"))
    measure = measurer(Interval(1, 2, 0.1, canary, baseline))
    run = replace(run, stage=stage)
    measure.read([run], 1.0)
    assert measure.measured(run, 2.0).fresh is fresh
