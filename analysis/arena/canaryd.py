"""canaryd: `analysis.Judge`, with the ladder's rules of the controller."""

from __future__ import annotations

from typing import Final

from analysis import Judge, JudgeConfig
from analysis.arena.contender import STEP_MIN, STEPS, Climb, Decision
from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Tick
from analysis.plan import Ladder
from analysis.verdict import Verdict

_HARM_BUDGET: Final = 10.0
_LEAST_REQUESTS: Final = 5  # of the canary at a step


def standard_ladder(scenario: Scenario) -> Ladder:
    """That of the standard policy; a reading is an interval."""
    return Ladder(
        weights=(*STEPS, 1.0),
        last_judged=STEPS[-1],
        step_min=STEP_MIN,
        harm_budget=_HARM_BUDGET,
        interval=scenario.interval,
        exposure=2 * scenario.interval + scenario.settle,
    )


class Canaryd:
    """Rises when the step had its least time and the harm that is still possible at the next one fits the
    budget; at the last judged step waits for `promote`; at `retreat` goes to the lowest step at once, and climbs
    again when the judge has cleared the canary."""

    def __init__(self, config: JudgeConfig, ladder: Ladder) -> None:
        self._judge = Judge(config)
        self._state = self._judge.start()
        self._ladder = ladder
        self._climb = Climb(ladder.judged)
        self._retreating = False
        self._served = 0

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return self._climb.weight

    def look(self, tick: Tick) -> Decision:
        """Quarantined intervals are not judged."""
        if tick.interval is None or not tick.judged:
            return "retreat" if self._retreating else "continue"
        self._state = self._judge.update(self._state, tick.interval)
        verdict = self._judge.verdict(self._state)
        if verdict.decision == "rollback":
            return "rollback"
        alarmed = verdict.decision == "retreat"
        if alarmed != self._retreating:  # down at once; when it is cleared the lowest step begins anew
            self._retreating = alarmed
            self._fall(tick)
        if alarmed:
            return "retreat"
        if verdict.decision == "promote" and self._climb.at_top:
            return "promote"
        self._rise(tick, verdict)
        return "continue"

    def _fall(self, tick: Tick) -> None:
        self._climb.fall(tick.end)
        self._served = 0

    def _rise(self, tick: Tick, verdict: Verdict) -> None:
        climb, interval = self._climb, tick.interval
        assert interval is not None
        canary, baseline = (
            sum(c.requests for c in arm.values()) for arm in (interval.canary, interval.baseline)
        )
        self._served += canary
        if climb.at_top or tick.end - climb.since < self._ladder.step_min or self._served < _LEAST_REQUESTS:
            return
        rps = (canary + baseline) / (interval.end - interval.start)
        at_risk = verdict.excess_at_risk * rps * climb.following * self._ladder.exposure
        if at_risk <= self._ladder.harm_budget:
            climb.rise(tick.end)
            self._served = 0
