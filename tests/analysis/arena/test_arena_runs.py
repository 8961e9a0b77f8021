"""canaryd's ladder in the arena, and what a release costs."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import pytest

from analysis import Counts, Interval, JudgeConfig
from analysis.arena import canaryd as module
from analysis.arena.canaryd import Canaryd, standard_ladder
from analysis.arena.chart import Scale
from analysis.arena.runs import play
from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Tick


@dataclass(frozen=True)
class Said:
    """As much of a Verdict as the ladder looks at."""

    decision: str
    excess_at_risk: float


def climber(monkeypatch: pytest.MonkeyPatch, said: Iterator[tuple[str, float]]) -> Canaryd:
    """canaryd with a judge that says what it is told to."""

    class Judge:
        def __init__(self, _: JudgeConfig) -> None: ...

        def start(self) -> None: ...

        def update(self, _: None, __: Interval) -> None: ...

        def verdict(self, _: None) -> Said:
            return Said(*next(said))

    monkeypatch.setattr(module, "Judge", Judge)
    return Canaryd(JudgeConfig(), standard_ladder(Scenario()))


def tick(end: float, *, canary: int = 100, judged: bool = True) -> Tick:
    interval = Interval(end - 10, end, 0.1, {"c": Counts(canary, 0)}, {"b": Counts(900, 0)})
    return Tick(end, interval, judged, canary, 0.0, (0.0, 0.0))


def weights(judge: Canaryd, count: int, *, canary: int = 100) -> list[float]:
    found = []
    for i in range(count):
        judge.look(tick(10.0 * (i + 1), canary=canary))
        found.append(judge.weight)
    return found


def forever(decision: str, upper: float) -> Iterator[tuple[str, float]]:
    while True:
        yield decision, upper


class TestCanaryd:
    def test_rises_after_the_least_time(self, monkeypatch: pytest.MonkeyPatch) -> None:
        found = weights(climber(monkeypatch, forever("continue", 0.0)), 32)
        assert found == [0.01] * 5 + [0.02] * 6 + [0.05] * 6 + [0.10] * 6 + [0.25] * 6 + [0.50] * 3

    def test_the_harm_budget_holds_a_rise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """100 requests/s, 20 s at the next step: 10 failures are 0.05 of 200 requests at 10 %, 0.02 at 25 %."""
        found = weights(climber(monkeypatch, forever("continue", 0.05)), 60)
        assert max(found) == 0.10

    def test_silence_holds_a_rise(self, monkeypatch: pytest.MonkeyPatch) -> None:
        assert set(weights(climber(monkeypatch, forever("continue", 0.0)), 20, canary=0)) == {0.01}

    def test_a_retreat_falls_at_once_and_the_lowest_step_begins_anew(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        said = [("continue", 0.0)] * 20 + [("retreat", 0.0)] * 9 + [("continue", 0.0)] * 20
        found = weights(climber(monkeypatch, iter(said)), 49)
        assert found[19] == 0.10
        assert found[20:36] == [0.01] * 15 + [0.02]  # 9 until it was cleared, and a minute

    def test_quarantine_is_not_judged(self, monkeypatch: pytest.MonkeyPatch) -> None:
        judge = climber(monkeypatch, iter([("rollback", 0.0)]))
        assert judge.look(tick(10, judged=False)) == "continue"
        assert judge.look(replace(tick(20), interval=None)) == "continue"
        assert judge.look(tick(30)) == "rollback"

    def test_promotes_at_the_last_judged_step_alone(self, monkeypatch: pytest.MonkeyPatch) -> None:
        judge = climber(monkeypatch, forever("promote", 0.0))
        decisions = [judge.look(tick(10.0 * (i + 1))) for i in range(31)]
        assert decisions.index("promote") == 30
        assert judge.weight == 0.50


class TestPlay:
    def test_a_promoted_fault_goes_on_to_the_deadline(self) -> None:
        """Flagger passes 0.2 %, promotes at the sixth check, and then all requests meet the fault."""
        scenario = Scenario(base_rate=0.001, lift=2, rps=100, deadline=3600)
        played = play("flagger", scenario, JudgeConfig(), 1)
        assert (played.end, played.ended, played.protected) == ("promote", 360, None)
        climbing = 60 * 100 * (0.01 + 0.02 + 0.05 + 0.10 + 0.25 + 0.50) * 0.001
        assert played.excess_failed == pytest.approx(3240 * 100 * 0.001 + climbing, rel=0.05)

    def test_a_rollback_ends_the_harm(self) -> None:
        scenario = Scenario(base_rate=0.01, lift=5, rps=100, deadline=3600)
        played = play("flagger", scenario, JudgeConfig(), 1)
        assert (played.end, played.ended, played.protected) == ("rollback", 360, 360)
        assert played.excess_failed == pytest.approx(360 * 100 * 0.01 * 0.04, rel=0.2)

    def test_what_comes_before_the_fault_is_no_protection(self) -> None:
        scenario = Scenario(base_rate=0.05, lift=2, onset=3000, deadline=3600)
        played = play("flagger", scenario, JudgeConfig(), 1)
        assert (played.end, played.protected, played.excess_failed) == ("rollback", None, 0)

    def test_the_deadline(self) -> None:
        played = play("canaryd", Scenario(rps=0.2, deadline=300), JudgeConfig(), 1)
        assert (played.end, played.ended, played.protected) == ("deadline", 300, None)


def test_scale() -> None:
    scale = Scale(0.001, 1.0, ((0, "0"), (1, "100 %")), never=0.2)
    assert scale.at(0) == pytest.approx(1)
    assert scale.at(1) == pytest.approx(1 + 98 * 0.8)
    assert scale.at(0) < scale.at(0.01) < scale.at(0.1) < scale.at(1) < scale.at(float("inf")) == 90
    assert scale.at(5) == scale.at(1)
