"""An alarm that may be a burst: down to the lowest rung at once, up again when it is cleared."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Literal

import pytest
from stage_play import OLD, POLICY, Play, at, fresh_run, read_back, verdict
from test_release import assert_clean

from analysis.watch import WatchVerdict
from canaryd.domain.announce import announce
from canaryd.domain.converge import PutTraffic
from canaryd.domain.model import Form, Hold, Outcome, Phase, Run, Stage, Traffic
from canaryd.domain.world import CanaryView, Ground, Measured

LOWEST = Traffic(Form.SPLIT, 1)
Says = Callable[[Run], Measured]


def says(play: Play, decision: str) -> Says:
    """The judge's answer from here on, on ever more requests."""
    return lambda _: Measured(
        verdict=verdict(decision, int(100 * play.now), reason="ErrorRateRegression"),
        fresh=True,
        request_rate=100.0,
    )


def alarmed(weight: int = 10, stage: Stage = Stage.JUDGE, play: Play | None = None) -> tuple[Play, Run]:
    """A run that has just retreated from `weight`."""
    play = play or Play()
    run = play.play(fresh_run(), at(stage, weight))
    play.measured = says(play, "retreat")
    return play, play.step(run)


def held(play: Play, run: Run, passes: int = 100) -> Run:
    for _ in range(passes):
        run = play.step(read_back(run))
    return run


@pytest.mark.parametrize("weight", [2, 10, 50])
@pytest.mark.parametrize("stage", [Stage.SIZE, Stage.SHIFT, Stage.JUDGE])
def test_the_fall_to_the_lowest_rung_is_in_the_same_pass(weight: int, stage: Stage) -> None:
    play, run = alarmed(weight, stage)
    assert play.traffic == LOWEST
    assert isinstance(play.writes[-1], PutTraffic) and play.writes[-1].falls
    assert (run.phase, run.hold, run.reason) == (Phase.HOLDING, Hold.RETREATED, "Retreated")
    assert "retreated to 1 % until this is confirmed or cleared: said retreat" in run.because


def test_a_retreat_lasts_as_long_as_the_alarm_and_keeps_the_pods() -> None:
    play, run = alarmed()
    pods = play.canary
    run = held(play, run)
    assert (run.hold, run.stage, play.traffic, play.canary) == (Hold.RETREATED, Stage.JUDGE, LOWEST, pods)
    assert "said retreat" in run.because


def test_on_the_lowest_rung_it_holds_there() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 1))
    since, written = run.judged_since, len(play.writes)
    play.measured = says(play, "retreat")
    run = held(play, run)
    assert (run.hold, play.traffic, run.judged_since) == (Hold.RETREATED, LOWEST, since)
    assert len(play.writes) == written


def test_cleared_it_climbs_again_rung_by_rung() -> None:
    play, run = alarmed()
    cleared_at = play.now
    play.measured = None
    run = play.play(run)
    assert run.outcome is Outcome.SUCCEEDED
    assert play.weights == [0, 1, 2, 5, 10, 1, 2, 5, 10, 25, 50, 100, 0]
    assert [each.weight for each in run.passes] == [1, 2, 5, 10, 25, 50, 100]
    assert run.passes[0].at - cleared_at >= POLICY.step_min, "the lowest rung begins anew"
    assert_clean(play)


def test_the_judge_may_count_afresh_once_it_is_cleared() -> None:
    play, run = alarmed()
    run = held(play, run, 20)
    cleared_at = play.now
    play.measured = lambda _: Measured(
        verdict=verdict("promote", int(10 * (play.now - cleared_at))), fresh=True, request_rate=100.0
    )
    run = play.play(run, at(Stage.JUDGE, 2), limit=60)
    assert play.traffic == Traffic(Form.SPLIT, 2)


def test_two_alarms_cleared_and_a_third_confirmed() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 5))
    for _ in range(2):
        play.measured = says(play, "retreat")
        run = held(play, run, 20)
        play.measured = None
        run = play.play(run, at(Stage.JUDGE, 5))
    play.measured = says(play, "retreat")
    run = held(play, run, 20)
    play.measured = says(play, "rollback")
    run = play.step(run)
    assert play.traffic == Traffic(Form.SPLIT, 0)
    run = play.play(run)
    assert (run.outcome, run.reason) == (Outcome.ROLLED_BACK, "ErrorRateRegression")
    assert play.pods == {OLD: 4}
    assert_clean(play)


@pytest.mark.parametrize("decision", ["retreat", "inconclusive"])
@pytest.mark.parametrize(
    ("on_inconclusive", "hold", "reason"),
    [("hold", Hold.INCONCLUSIVE, "Inconclusive"), ("rollback", None, "Inconclusive")],
)
def test_at_the_deadline_an_alarm_neither_cleared_nor_confirmed(
    decision: str, on_inconclusive: Literal["hold", "rollback"], hold: Hold | None, reason: str
) -> None:
    policy = replace(POLICY, on_inconclusive=on_inconclusive)
    play, run = alarmed(play=Play(ground=Ground((), policy, "checkout", "h", Play().ground.routes)))
    play.measured = says(play, decision)
    while play.now <= POLICY.deadline + 10:
        run = play.step(read_back(run))
    assert (run.hold, run.reason) == (hold, reason)
    assert "the deadline of 1000 s has passed" in run.because
    assert play.weights[5:] in ([1], [1, 0])
    if hold is None:
        assert run.outcome is Outcome.ROLLED_BACK
    else:
        play.measured = None
        assert play.play(run).outcome is Outcome.SUCCEEDED, "it goes on when the alarm is cleared"


def test_inconclusive_clears_nothing() -> None:
    play, run = alarmed()
    play.measured = says(play, "inconclusive")
    run = held(play, run)
    assert (run.hold, play.traffic) == (Hold.RETREATED, LOWEST)


class TestWhateverElseHappens:
    def test_blind_it_steps_aside_and_comes_back_to_the_lowest_rung(self) -> None:
        play, run = alarmed()
        sees = play.measured
        run = held(play, run, 20)
        play.measured = lambda _: Measured(blind="Prometheus is down")
        run = play.step(run)
        assert (run.hold, play.traffic) == (Hold.BLIND, LOWEST)
        run = play.play(run, lambda r: r.wanted.traffic.weight == 0)
        play.measured = sees
        run = held(play, run, 40)
        assert (run.hold, run.stage, play.traffic) == (Hold.RETREATED, Stage.JUDGE, LOWEST)

    def test_nothing_known_is_nothing_cleared(self) -> None:
        play, run = alarmed()
        play.measured = lambda _: Measured(silent="no requests to either arm")
        run = held(play, run)
        assert (run.hold, play.traffic) == (Hold.RETREATED, LOWEST)

    def test_a_pause_outlasts_the_alarm(self) -> None:
        play, run = alarmed()
        run = held(play, replace(run, wish_pause=True), 20)
        assert (run.hold, play.traffic) == (Hold.PAUSED, LOWEST)
        assert "paused by request at 1 %; retreated" in run.because
        play.measured = None
        run = held(play, run)
        assert (run.hold, run.retreated_since, play.traffic) == (Hold.PAUSED, None, LOWEST)
        assert play.play(replace(run, wish_pause=False)).outcome is Outcome.SUCCEEDED

    def test_a_paused_run_retreats(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        run = held(play, replace(run, wish_pause=True), 5)
        play.measured = says(play, "retreat")
        play.step(run)
        assert play.traffic == LOWEST

    def test_edited_weights_go_back_to_the_lowest_rung(self) -> None:
        play, run = alarmed()
        run = held(play, run, 20)
        for _ in range(POLICY.drift_reasserts):
            play.traffic, play.by = Traffic(Form.SPLIT, 60), "kubectl-edit at noon"
            run = play.step(run)
            assert play.traffic == LOWEST
            run = held(play, run, 12)
        play.traffic, play.by = Traffic(Form.SPLIT, 60), "kubectl-edit at noon"
        run = play.step(run)
        assert (run.hold, play.traffic) == (Hold.DRIFTED, Traffic(Form.SPLIT, 0))
        play.now += 3700
        run = held(play, run, 20)
        assert play.traffic == LOWEST
        assert run.hold is not Hold.DRIFTED

    def test_a_mesh_that_does_not_follow_is_told(self) -> None:
        play, run = alarmed()
        said = verdict("retreat", 10_000)
        play.measured = lambda _: Measured(verdict=said, misallocated="given 1 % and gets 10 %")
        run = held(play, run, 20)
        assert run.hold is Hold.RETREATED
        assert "given 1 % and gets 10 %" in run.because

    @pytest.mark.parametrize(
        ("changes", "reason"),
        [
            ({"revision": "newer00000"}, "Superseded"),
            ({"paused": False}, "Overridden"),
            ({"enabled": False}, "Released"),
            ({"canary_view": lambda n: CanaryView(n, 0, ())}, "CanaryNotReady"),
        ],
    )
    def test_what_ends_a_run_ends_this_one(self, changes: dict[str, object], reason: str) -> None:
        play, run = alarmed()
        run = held(play, run, 20)
        for name, value in changes.items():
            setattr(play, name, value)
        run = play.step(run)
        assert play.traffic == Traffic(Form.SPLIT, 0)
        assert (run.outcome, run.reason) == (Outcome.ROLLED_BACK, reason)

    def test_a_person_confirms_it_by_aborting(self) -> None:
        play, run = alarmed()
        run = play.step(replace(held(play, run, 20), wish_abort="seen enough"))
        assert play.traffic == Traffic(Form.SPLIT, 0)
        assert (run.outcome, run.reason) == (Outcome.ROLLED_BACK, "Aborted")

    def test_an_alarm_at_nought_percent_is_remembered(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        play.measured = lambda _: Measured(blind="Prometheus is down")
        run = play.play(run, lambda r: r.wanted.traffic.weight == 0)
        play.measured = says(play, "retreat")
        run = held(play, run, 40)
        assert (run.hold, play.traffic) == (Hold.RETREATED, LOWEST)
        assert max(play.weights[-2:]) == 1


def test_killed_between_the_fall_and_its_status_it_has_retreated_all_the_same() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.measured = says(play, "retreat")
    assert play.step(run, killed_after=1) == run
    assert play.traffic == LOWEST
    play.measured = None  # the reading that raised the alarm died with the process
    run = play.step(read_back(run))
    assert (run.hold, play.traffic) == (Hold.RETREATED, LOWEST)
    assert "canaryd was stopped before it could say why" in run.because
    run = play.play(run)
    assert run.outcome is Outcome.SUCCEEDED
    assert play.weights[5:] == [1, 2, 5, 10, 25, 50, 100, 0]


def test_above_the_last_judged_rung_there_is_no_retreat() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 100))
    play.measured = lambda _: Measured(
        verdict=verdict("continue", 10**6), watch=WatchVerdict("rollback", "ErrorRateRegression", "bad", 200.0, 100.0)
    )  # fmt: skip
    assert play.step(run).outcome is Outcome.ROLLED_BACK


def test_people_are_told_when_it_begins_and_when_it_ends() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.measured = says(play, "retreat")
    after = play.step(run)
    (said,) = announce(run, after)
    assert (said.warning, said.reason, said.message) == (True, "Retreated", after.because)
    before = held(play, after, 20)
    play.measured = None
    (said,) = announce(before, play.step(before))
    assert (said.warning, said.reason) == (False, "Resumed")
    assert "no longer held as Retreated: the alarm is cleared" in said.message


class TestWhileTheNextRungsPodsStart:
    def starting(self) -> tuple[Play, Run]:
        """At 10 % with traffic, and the pods of 25 % are not ready."""
        play = Play()
        play.canary_view = lambda n: CanaryView(n, min(n, 2), ("c0", "c1"))
        play.replicas, play.pods = 12, {OLD: 12}
        run = play.play(fresh_run(), lambda r: r.stage is Stage.SIZE and r.wanted.canary == 3)
        assert play.traffic == Traffic(Form.SPLIT, 10)
        return play, held(play, run, 20)

    @pytest.mark.parametrize(("decision", "weight"), [("rollback", 0), ("retreat", 1)])
    def test_a_fault_is_heeded_at_once(self, decision: str, weight: int) -> None:
        play, run = self.starting()
        play.measured = says(play, decision)
        play.step(run)
        assert play.traffic == Traffic(Form.SPLIT, weight)

    def test_blindness_steps_aside(self) -> None:
        play, run = self.starting()
        play.measured = lambda _: Measured(blind="Prometheus is down")
        run = held(play, run, 20)
        assert (run.hold, play.traffic) == (Hold.BLIND, Traffic(Form.SPLIT, 10))
        run = held(play, run, 60)
        assert (run.hold, play.traffic) == (Hold.BLIND, Traffic(Form.SPLIT, 0))

    def test_no_rise_while_blind(self) -> None:
        play, run = self.starting()
        play.measured, play.canary_view = lambda _: Measured(blind="Prometheus is down"), Play().canary_view
        run = held(play, run, 20)
        assert play.traffic == Traffic(Form.SPLIT, 10)
        play.measured = None
        assert play.play(run).outcome is Outcome.SUCCEEDED
