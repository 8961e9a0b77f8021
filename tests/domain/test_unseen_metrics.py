"""A metric of the policy that nothing is known of: no evidence, so no rise and no promotion; no harm either."""

from __future__ import annotations

from dataclasses import replace

import pytest
from stage_play import Play, at, fresh_run, verdict

from canaryd.domain.model import Form, Hold, Outcome, Run, Stage, Traffic
from canaryd.domain.world import Measured

WHY = "orders: total has no series of shop/checkout-canary: 'x'"


def unseen_at(play: Play, *weights: int) -> None:
    """From now on nothing is known of the metric at these weights."""

    def measured(run: Run) -> Measured:
        unseen = WHY if run.wanted.traffic.weight in weights else ""
        return replace(play._all_well(run), unseen=unseen)

    play.measured = measured


@pytest.mark.parametrize("weight", [1, 10, 50])
def test_the_weight_does_not_rise_and_the_run_says_why(weight: int) -> None:
    play = Play()
    unseen_at(play, weight)
    run = play.play(fresh_run(), at(Stage.JUDGE, weight))
    for _ in range(200):
        run = play.step(run)
    assert run.wanted.traffic == Traffic(Form.SPLIT, weight)
    assert (run.stage, run.hold) == (Stage.JUDGE, None)
    assert run.because == f"no evidence at {weight} % of {WHY}"
    play.measured = None
    assert play.play(run).outcome is Outcome.SUCCEEDED


def test_where_nothing_is_judged_nothing_is_missed() -> None:
    play = Play()
    unseen_at(play, 100)
    assert play.play(fresh_run()).outcome is Outcome.SUCCEEDED


def test_harm_by_another_metric_rolls_back() -> None:
    play = Play()
    unseen_at(play, 10)
    run = play.play(fresh_run(), at(Stage.JUDGE, 10))
    play.measured = lambda run: Measured(
        verdict=verdict("rollback", 100, "ErrorRateRegression"), fresh=True, unseen=WHY
    )
    run = play.step(run)
    assert (run.outcome, run.reason) == (Outcome.ROLLED_BACK, "ErrorRateRegression")


def test_past_the_deadline_the_run_is_held_and_never_promoted() -> None:
    play = Play()
    unseen_at(play, 50)
    run = play.play(fresh_run(), lambda run: run.hold is Hold.INCONCLUSIVE, limit=3000)
    assert run.wanted.traffic.weight == 50
    assert f"no evidence at 50 % of {WHY}; the deadline of" in run.because
