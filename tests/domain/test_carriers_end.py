"""Runs beside a carrier whose Deployment or routes are deleted: nothing keeps the carrier for ever."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from stage_play import NEW, OLD, POLICY, REF, Play, fresh_run, verdict

from canaryd.domain.model import Arm, Form, Run, Stage, Traffic, Wanted
from canaryd.domain.world import Measured

NEWER = "newer00000"
CARRIER = {"canaryd.io/role": "canary", "canaryd.io/revision": NEW}


def beside_a_carrier(revision: str = NEWER) -> tuple[Play, Run]:
    """The run of `revision` begins while the canary of NEW carries all traffic."""
    play = Play(revision=revision, traffic=Traffic(Form.SPLIT, 100), carrier=4, pods={OLD: 2, NEW: 2})
    play.subsets = {"stable": {"pod-template-hash": f"hash-{OLD}"}, "canary": CARRIER}
    run = fresh_run(
        revision=revision,
        carrier=fresh_run().canary_name,
        stable=Arm("checkout-canary-new", NEW, CARRIER),
        routes=(REF,),
        policy=POLICY,
        wanted=Wanted(
            traffic=Traffic(Form.SPLIT, 100),
            stable_subset=play.subsets["stable"],
            canary_subset=CARRIER,
            carrier=True,
        ),
    )
    return play, run


def delete_deployment(play: Play) -> None:
    play.deleted, play.pods = True, {}


def delete_routes(play: Play) -> None:
    play.route_gone, play.traffic = True, Traffic()


def delete_both(play: Play) -> None:
    delete_deployment(play)
    delete_routes(play)


@pytest.mark.parametrize("deed", [delete_deployment, delete_routes, delete_both])
@pytest.mark.parametrize(
    "stage",
    [
        Stage.PREFLIGHT,
        Stage.TAKE_OVER,
        Stage.TAKE_OVER_SHIFT,
        Stage.CANARY_PODS,
        Stage.DRAIN,
        Stage.SCALE_DOWN,
        Stage.RETURN_ROLL,
        Stage.RETURN_REPOINT,
        Stage.RETURN_SHIFT,
    ],
)
def test_whatever_is_deleted_whenever_it_ends_clean(stage: Stage, deed: Callable[[Play], None]) -> None:
    play, run = beside_a_carrier()
    play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"), fresh=True)
    if stage is not Stage.PREFLIGHT:
        run = play.play(run, lambda r: r.stage is stage)
    deed(play)
    run = play.play(run, limit=400)
    assert not run.hands_on
    assert (play.canary, play.carrier, play.subsets, play.traffic) == (None, None, {}, Traffic())


def test_the_carriers_own_template_again_is_no_release() -> None:
    play, run = beside_a_carrier(NEW)
    run = play.play(run)
    assert (run.reason, run.hands_on, max(play.weights)) == ("Reverted", False, 100)
    assert "the Deployment takes the traffic back" in run.because
    assert (play.pods, play.canary, play.carrier, play.traffic) == ({NEW: 4}, None, None, Traffic())


@pytest.mark.parametrize(
    ("stage", "hands_on"),
    [
        (Stage.DRAIN, True),
        (Stage.SCALE_DOWN, True),
        (Stage.RETURN_ROLL, True),
        (Stage.RETURN_REPOINT, False),
        (Stage.RETURN_SHIFT, False),
    ],
)
def test_a_newer_template_is_not_written_over(stage: Stage, hands_on: bool) -> None:
    """NEWER was rejected, and its owner writes the next one while the Deployment takes the carrier's template."""
    play, run = beside_a_carrier()
    play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"), fresh=True)
    run = play.play(run, lambda r: r.stage is stage)
    play.revision = "newest0000"
    run = play.play(run)
    assert (run.hands_on, play.revision, play.paused) == (hands_on, "newest0000", True)
    if hands_on:
        assert (play.carrier, play.traffic) == (4, Traffic(Form.SPLIT, 0))
    else:
        assert (play.carrier, play.traffic, play.pods) == (None, Traffic(), {NEW: 4})
