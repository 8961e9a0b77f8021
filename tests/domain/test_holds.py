"""Waiting at a weight on purpose: for evidence, for people, and against edits of the routes."""

from __future__ import annotations

from dataclasses import replace

from stage_play import POLICY, Play, at, fresh_run, verdict

from canaryd.domain.model import Form, Hold, Outcome, Phase, Run, Stage, Traffic
from canaryd.domain.world import Measured


class TestHolds:
    def test_blind_holds_steps_back_and_comes_back(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        sees, play.measured = play.measured, lambda _: Measured(blind="Prometheus is down")
        run = play.play(run, lambda r: r.hold is Hold.BLIND)
        assert play.traffic == Traffic(Form.SPLIT, 10)
        run = play.play(run, lambda r: r.wanted.traffic.weight == 0)
        assert run.phase is Phase.HOLDING
        play.measured = sees
        run = play.play(run, at(Stage.JUDGE, 10))
        assert play.play(run).outcome is Outcome.SUCCEEDED

    def test_never_promoted_by_default(self) -> None:
        play = Play()
        play.measured = lambda _: Measured(
            verdict=verdict("continue", int(100 * play.now)), fresh=True, request_rate=1.0
        )
        run = fresh_run()
        for _ in range(6000):
            run = play.step(run)
        assert (run.phase, run.hold) == (Phase.HOLDING, Hold.INCONCLUSIVE)
        assert max(play.weights) == 50

    def test_silence_is_not_success(self) -> None:
        play = Play()
        play.measured = lambda _: Measured(silent="no requests to either arm")
        run = fresh_run()
        for _ in range(3000):
            run = play.step(run)
        assert (run.hold, max(play.weights)) == (Hold.INCONCLUSIVE, 1)

    def test_the_harm_budget_forbids_a_rise(self) -> None:
        play = Play()
        play.measured = lambda run: Measured(
            verdict=verdict("continue", int(100 * play.now), upper=0.5), request_rate=1000.0
        )
        run = fresh_run()
        for _ in range(200):
            run = play.step(run)
        assert max(play.weights) == 1
        assert "harm budget" in run.because

    def test_pause_and_resume(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        run = play.play(replace(run, wish_pause=True), lambda r: r.hold is Hold.PAUSED)
        for _ in range(100):
            run = play.step(run)
        assert play.traffic == Traffic(Form.SPLIT, 10)
        assert play.play(replace(run, wish_pause=False)).outcome is Outcome.SUCCEEDED

    def test_harm_rolls_back_even_while_paused(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        run = play.play(replace(run, wish_pause=True), lambda r: r.hold is Hold.PAUSED)
        play.measured = lambda _: Measured(verdict=verdict("rollback", reason="ErrorRateRegression"))
        assert play.play(run).reason == "ErrorRateRegression"


class TestDrift:
    def edited(self, play: Play, run: Run, traffic: Traffic) -> Run:
        play.traffic, play.by = traffic, "kubectl-edit at noon"
        return play.step(run)

    def test_edited_weights_are_written_again(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        run = self.edited(play, run, Traffic(Form.SPLIT, 60))
        assert play.traffic == Traffic(Form.SPLIT, 10)
        assert "kubectl-edit at noon" in run.because
        assert play.play(run).outcome is Outcome.SUCCEEDED

    def test_the_plain_route_is_fenced_again_at_once(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        self.edited(play, run, Traffic())
        assert play.traffic == Traffic(Form.SPLIT, 10)

    def test_never_fights_for_ever(self) -> None:
        play = Play()
        run = play.play(fresh_run(), at(Stage.JUDGE, 10))
        for _ in range(POLICY.drift_reasserts + 2):
            run = self.edited(play, run, Traffic(Form.SPLIT, 60))
            for _ in range(12):
                run = play.step(run)
        assert (run.hold, play.traffic) == (Hold.DRIFTED, Traffic(Form.SPLIT, 0))
