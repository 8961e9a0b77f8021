"""Stories that once ended badly: carriers, scaling to zero, lost canaries, gates opened too early."""

from __future__ import annotations

import pytest
from stage_play import NEW, OLD, POLICY, Play, fresh_run, read_back, verdict
from test_idle import ADMISSION, A, B, C, care, deployment, ended, rs

from canaryd.controller.caretaker import inherit
from canaryd.domain.idle import Gate, HandBack, Nothing, Start
from canaryd.domain.model import Arm, Form, Outcome, Stage, Traffic, Wanted
from canaryd.domain.world import CanaryView, Finding, Ground, Measured, PodProblem


@pytest.mark.parametrize("reason", ["Superseded", "Reverted", "RouteDeleted", "DeploymentDeleted"])
def test_idle_what_was_never_judged_is_no_rejection(reason: str) -> None:
    assert care(deployment(B), rs(A), finished=(ended(B, reason),)) == Start()


def test_idle_pods_not_ready_yet_is_no_first_install() -> None:
    # scaled up from zero / outage; only ReplicaSet A; B waits behind the gate
    found = care(deployment(B), rs(A, 4, ready=0))
    assert not isinstance(found, Gate), found


def test_idle_scaled_to_zero_with_a_pending_rollback_to_an_old_revision() -> None:
    # B ran; A (old, its ReplicaSet is there) was pushed while paused and is pending; run ended by ScaledToZero
    last = ended(A, "ScaledToZero", stable=B)
    found = care(
        deployment(A, replicas=0),
        rs(A, 0, sequence=3, created=1),
        rs(B, 0, sequence=2, created=2),
        finished=(last,),
    )
    assert isinstance(found, HandBack) and found.revision == B, found


def test_idle_scaled_to_zero_sequence_lies() -> None:
    # B ran last. A was pushed while paused and rejected; its sequence rose all the same. Then C was pushed.
    last = ended(A, "ErrorRateRegression", stable=B)
    found = care(
        deployment(C, replicas=0),
        rs(A, 0, sequence=3, created=1),
        rs(B, 0, sequence=2, created=2),
        finished=(last,),
    )
    assert not (isinstance(found, HandBack) and found.revision == A), found


def test_idle_released_while_a_carrier_carries() -> None:
    last = ended(B, "Superseded", hands_on=True)
    found = care(deployment(C, enabled=False), rs(A, 2), rs(B, 2), finished=(last,))
    assert isinstance(found, Start), found


def test_idle_released_at_zero_with_a_pending_template() -> None:
    found = care(deployment(B, replicas=0, enabled=False), rs(A, 0, sequence=1))
    assert isinstance(found, HandBack), found


def test_idle_admission_does_not_lift_its_owners_pause() -> None:
    assert isinstance(care(deployment(A, owns_pause=False), rs(A), terms=ADMISSION), Nothing)


def test_inherit_the_proven_canary_not_the_older_carrier() -> None:
    arm = Arm("carrier-1", "rev1", {"canaryd.io/role": "canary", "canaryd.io/revision": "rev1"})
    second = fresh_run(
        carrier="carrier-1",
        stable=arm,
        outcome=Outcome.SUCCEEDED,
        hands_on=True,
        stage=Stage.DONE,
        reason="Superseded",
        wanted=Wanted(canary=4, carrier=True, traffic=Traffic(Form.SPLIT, 100), stable_subset=arm.labels),
    )
    third = inherit(fresh_run(revision="third", name="third"), second)
    assert third.carrier == second.canary_name, third.carrier


def test_inherit_no_canary_pods_before_preflight() -> None:
    play = Play()
    run = play.play(fresh_run(), lambda r: r.stage is Stage.ROLL)
    play.revision = "newer00000"
    run = play.step(play.step(run))
    assert run.hands_on
    play.carrier, play.canary = play.canary, None
    following = inherit(fresh_run(name="n", revision="newer00000", created=play.now), run)
    play.ground = Ground((Finding("selector", "no"),))
    for _ in range(10):
        following = play.step(following)
    assert following.stage is Stage.PREFLIGHT
    assert play.canary is None, play.canary


def test_each_rung_needs_requests_of_its_own() -> None:
    play = Play()
    total = {"n": 50}
    play.measured = lambda run: Measured(
        verdict=verdict("promote", total["n"]), fresh=True, request_rate=100.0, watch=None
    )
    run = play.play(fresh_run(), lambda r: r.stage is Stage.JUDGE and r.wanted.traffic.weight == 1)
    # silence from here on: no new request
    for _ in range(400):
        run = play.step(read_back(run))
    assert max(play.weights) <= 2, play.weights


def test_canary_lost_while_it_carries_everything() -> None:
    play = Play()
    run = play.play(fresh_run(), lambda r: r.stage is Stage.ROLL)
    run = play.step(run)
    play.canary_view = lambda n: CanaryView(n, 0, ("c0",), (PodProblem("c0", "Error", "oom", True),))
    play.roll = lambda: None  # type: ignore[method-assign]
    run = play.step(run)
    assert run.reason or play.traffic.weight < 100, (run.stage, run.because, play.traffic)


def test_taken_over_and_scaled_to_zero_ends() -> None:
    play = Play(revision="newer00000", traffic=Traffic(Form.SPLIT, 100), carrier=4, pods={OLD: 2, NEW: 2})
    labels = {"canaryd.io/role": "canary", "canaryd.io/revision": NEW}
    play.subsets = {"stable": {"pod-template-hash": f"hash-{OLD}"}, "canary": labels}
    run = fresh_run(
        revision="newer00000",
        carrier="checkout-canary-new",
        stable=Arm("checkout-canary-new", NEW, labels),
        routes=Play().ground.routes,
        policy=POLICY,
        wanted=Wanted(
            canary=None,
            traffic=Traffic(Form.SPLIT, 100),
            stable_subset=play.subsets["stable"],
            canary_subset=labels,
            carrier=True,
        ),
    )
    play.replicas, play.pods = 0, {}
    run = play.play(run, limit=400)
    assert not run.active
