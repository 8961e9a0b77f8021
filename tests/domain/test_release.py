"""Whole releases in the pure core: every invariant of Play is checked on every write."""

from __future__ import annotations

from dataclasses import replace

import pytest
from stage_play import NEW, OLD, POLICY, Play, at, fresh_run, verdict

from analysis.watch import WatchVerdict
from canaryd.domain.converge import PutTemplate, PutTraffic, SetPaused, converge
from canaryd.domain.model import Arm, Form, Hold, Outcome, Phase, Stage, Traffic, Wanted
from canaryd.domain.world import CanaryView, Finding, Ground, Measured, PodProblem


def assert_clean(play: Play) -> None:
    """What a release leaves behind: nothing."""
    assert play.traffic == Traffic()
    assert play.subsets == {}
    assert play.canary is None and play.carrier is None


def test_a_good_release_climbs_the_ladder_and_is_promoted() -> None:
    play = Play()
    run = play.play(fresh_run())
    assert (run.outcome, run.phase) == (Outcome.SUCCEEDED, Phase.SUCCEEDED)
    assert play.weights == [0, 1, 2, 5, 10, 25, 50, 100, 0]
    assert play.pods == {NEW: 4}
    assert play.paused
    assert [p.weight for p in run.passes] == [1, 2, 5, 10, 25, 50, 100]
    assert_clean(play)


def test_when_all_is_over_nothing_more_is_written() -> None:
    play = Play()
    run = play.play(fresh_run())
    assert converge(run, play.world(run)) == ()


@pytest.mark.parametrize("weight", [1, 5, 50])
def test_harm_takes_all_traffic_from_the_canary_in_the_same_pass(weight: int) -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, weight))
    play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"))
    run = play.step(run)
    assert play.traffic == Traffic(Form.SPLIT, 0)
    assert isinstance(play.writes[-1], PutTraffic) and play.writes[-1].falls
    run = play.play(run)
    assert (run.outcome, run.reason) == (Outcome.ROLLED_BACK, "ErrorRateRegression")
    assert play.pods == {OLD: 4}
    assert (play.revision, play.paused) == (NEW, True)
    assert_clean(play)


def test_on_reject_revert_puts_the_running_template_back() -> None:
    play = Play(ground=Ground((), replace(POLICY, on_reject="revert"), "checkout", "h", Play().ground.routes))
    run = play.play(fresh_run(), at(Stage.JUDGE, 1))
    play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"))
    play.play(run)
    assert (play.revision, play.paused) == (OLD, True)


def test_on_reject_revert_leaves_a_template_that_came_since() -> None:
    play = Play(ground=Ground((), replace(POLICY, on_reject="revert"), "checkout", "h", Play().ground.routes))
    run = play.play(fresh_run(), at(Stage.JUDGE, 1))
    play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"))
    run = play.play(run, at(Stage.RESTORE))
    play.revision = "newer00000"
    play.play(run)
    assert (play.revision, play.paused) == ("newer00000", True)


def test_above_the_last_judged_rung_the_watch_rolls_back() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 100))
    play.measured = lambda _: Measured(
        watch=WatchVerdict("rollback", "ErrorRateRegression", "bad", 200.0, 100.0)
    )
    run = play.step(run)
    assert play.traffic == Traffic(Form.SPLIT, 0)
    assert play.play(run).outcome is Outcome.ROLLED_BACK


def test_no_canary_pod_before_every_route_is_fenced() -> None:
    play = Play()
    run = fresh_run()
    while play.canary is None:
        run = play.step(run)
    assert play.traffic == Traffic(Form.FENCED)
    assert play.now >= 2 * play.terms.settle


def test_a_failed_preflight_waits_and_names_what_it_found() -> None:
    play = Play(ground=Ground((Finding("service", "2 Services select the pods (a, b)"),)))
    run = play.step(play.step(fresh_run()))
    assert run.phase is Phase.PENDING
    assert "2 Services select the pods (a, b)" in run.because
    assert [c.status for c in run.conditions] == [False]
    assert play.writes == []
    play.ground = Play().ground
    assert play.play(run).outcome is Outcome.SUCCEEDED


@pytest.mark.parametrize(
    "stage",
    [
        Stage.FENCE_SUBSET,
        Stage.FENCE_ROUTES,
        Stage.CANARY_PODS,
        Stage.CANARY_SUBSET,
        Stage.SHIFT,
        Stage.JUDGE,
    ],
)
def test_a_new_template_supersedes_before_promotion(stage: Stage) -> None:
    play = Play()
    run = play.play(fresh_run(), at(stage))
    play.revision = "newer00000"
    run = play.play(run)
    assert (run.outcome, run.reason) == (Outcome.ROLLED_BACK, "Superseded")
    assert play.pods == {OLD: 4}
    assert_clean(play)


def test_superseded_during_promotion_the_proven_canary_carries_and_is_the_next_stable() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.ROLL))
    run = play.step(run)
    play.revision = "newer00000"
    run = play.step(run)
    assert (run.stage, run.hands_on, play.paused) == (Stage.DONE, True, True)
    assert play.traffic == Traffic(Form.SPLIT, 100)

    play.carrier, play.canary = play.canary, None
    assert run.stable is not None
    stable = replace(
        run.stable, workload=run.canary_name, revision=NEW, labels=run.canary_labels, replicaset=""
    )
    following = fresh_run(
        name="checkout-newer00000",
        revision="newer00000",
        created=play.now,
        carrier=run.canary_name,
        stable=stable,
        routes=run.routes,
        host=run.host,
        service=run.service,
        wanted=run.wanted,
    )
    ended = play.play(following)
    assert ended.outcome is Outcome.SUCCEEDED
    assert play.pods == {"newer00000": 4}
    assert_clean(play)


def test_rejected_beside_a_carrier_the_deployment_takes_the_carriers_template() -> None:
    play = Play(revision="newer00000", traffic=Traffic(Form.SPLIT, 100), carrier=4, pods={OLD: 2, NEW: 2})
    labels = {"canaryd.io/role": "canary", "canaryd.io/revision": NEW}
    play.subsets = {"stable": {"pod-template-hash": f"hash-{OLD}"}, "canary": labels}
    run = fresh_run(
        revision="newer00000",
        carrier="checkout-canary-new",
        stable=Arm("checkout-canary-new", NEW, labels),
        routes=Play().ground.routes,
        wanted=Wanted(
            canary=None,
            traffic=Traffic(Form.SPLIT, 100),
            stable_subset=play.subsets["stable"],
            canary_subset=labels,
            carrier=True,
        ),
    )
    run = play.play(run, at(Stage.JUDGE, 5))
    play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"))
    run = play.play(run)
    assert run.outcome is Outcome.ROLLED_BACK
    assert play.pods == {NEW: 4}
    assert play.revision == NEW
    assert_clean(play)


def test_unpausing_is_an_override() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.paused = False
    run = play.step(run)
    assert SetPaused(True) in play.writes, "paused again at once"
    assert play.traffic == Traffic(Form.SPLIT, 0)
    run = play.play(run)
    assert run.reason == "Overridden"
    assert not play.paused, "then unpaused for them"
    assert_clean(play)


def test_skip_lets_the_revision_through_in_the_middle_of_its_run() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.skip = NEW
    run = play.play(run)
    assert (run.reason, play.paused) == ("Overridden", False)
    assert_clean(play)


def test_taking_the_annotation_off_hands_everything_back_in_one_write() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.enabled = False
    run = play.play(run)
    assert run.reason == "Released"
    assert PutTemplate(OLD, paused=False) in play.writes
    assert SetPaused(False) not in play.writes
    assert (play.revision, play.paused, play.pods) == (OLD, False, {OLD: 4})


def test_the_deployment_is_deleted() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.deleted = True
    run = play.play(run)
    assert run.reason == "DeploymentDeleted"
    assert_clean(play)


def test_made_anew_the_deployment_waits_for_no_streams() -> None:
    """Its routes lead to the pods of the old one until they are put back."""
    patient = replace(POLICY, drain_limit=600)
    play = Play(ground=Ground((), patient, "checkout", "h", Play().ground.routes))
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.deleted, deleted = True, play.now
    play.play(run)
    assert play.now - deleted < 30
    assert_clean(play)


def test_scaled_to_zero_ends_the_run() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.replicas, play.pods = 0, {}
    assert play.play(run).reason == "ScaledToZero"


def test_the_route_is_deleted() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.route_gone, play.traffic = True, Traffic()
    run = play.play(run)
    assert run.reason == "RouteDeleted"
    assert play.canary is None


class TestCanaryPods:
    def test_a_crash_rolls_back_with_the_last_lines(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 5))
        problem = PodProblem("c0", "Error", "exit code 1; last lines: no database", fatal=True)
        play.canary_view = lambda n: CanaryView(n, n - 1, ("c0",), (problem,))
        run = play.step(run)
        assert play.traffic == Traffic(Form.SPLIT, 0)
        assert run.reason == "CanaryNotReady"
        assert "no database" in run.because

    def test_none_ready_rolls_back(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 5))
        play.canary_view = lambda n: CanaryView(n, 0, ("c0",))
        run = play.step(run)
        assert (run.reason, play.traffic) == ("CanaryNotReady", Traffic(Form.SPLIT, 0))

    def test_no_capacity_is_a_hold(self) -> None:
        play = Play()
        problem = PodProblem("c0", "Unschedulable", "0/1 nodes are available", fatal=False)
        play.canary_view = lambda n: CanaryView(n, 0, ("c0",), (problem,))
        run = fresh_run()
        for _ in range(400):
            run = play.step(run)
        assert (run.phase, run.hold) == (Phase.HOLDING, Hold.NO_CAPACITY)
        play.canary_view = Play().canary_view
        assert play.play(run).outcome is Outcome.SUCCEEDED

    def test_never_ready_fails_after_the_timeout(self) -> None:
        play = Play()
        play.canary_view = lambda n: CanaryView(n, 0, ("c0",))
        run = play.play(fresh_run())
        assert run.reason == "CanaryNotReady"
        assert "60 s" in run.because


def test_a_fall_whose_status_was_lost_is_not_undone() -> None:
    """Killed between taking the traffic away and saying so: the next canaryd finds its own weights."""
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.traffic, play.by = Traffic(Form.SPLIT, 0), "canaryd at noon"
    run = play.step(run)
    assert (run.reason, play.traffic) == ("Interrupted", Traffic(Form.SPLIT, 0))
    assert play.play(run).outcome is Outcome.ROLLED_BACK


def test_the_hold_after_promotion_ends_with_a_retry_or_a_new_template() -> None:
    for ends_with_retry in (True, False):
        play = Play()
        run = play.play(fresh_run(), at(Stage.CONFIRM))
        play.measured = lambda _: Measured(
            watch=WatchVerdict("rollback", "ErrorRateRegression", "bad", 200.0, 100.0)
        )
        run = play.step(run)
        for _ in range(20):
            run = play.step(run)
        assert (run.hold, play.traffic) == (Hold.STABLE_REGRESSION, Traffic(Form.SPLIT, 100))
        play.measured = None
        if ends_with_retry:
            play.retry = "again"
            assert play.play(run).outcome is Outcome.SUCCEEDED
            assert_clean(play)
        else:
            play.revision = "newer00000"
            run = play.play(run)
            assert (run.reason, run.hands_on) == ("Superseded", True)


def test_the_new_stable_pods_fail_where_the_canary_did_not() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.CONFIRM))
    play.measured = lambda _: Measured(
        watch=WatchVerdict("rollback", "ErrorRateRegression", "bad", 200.0, 100.0)
    )
    run = play.step(run)
    assert (run.hold, play.traffic) == (Hold.STABLE_REGRESSION, Traffic(Form.SPLIT, 100))


def test_aborted_by_request() -> None:
    play = Play()
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    run = play.step(replace(run, wish_abort="bad feeling"))
    assert play.traffic == Traffic(Form.SPLIT, 0)
    assert "bad feeling" in run.because
