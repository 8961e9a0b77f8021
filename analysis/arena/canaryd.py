"""canaryd: `analysis.Judge`, with the ladder's rules of the controller."""

from __future__ import annotations

from typing import Final

from analysis import Judge, JudgeConfig
from analysis.arena.contender import STEP_MIN, Decision, Ladder
from analysis.arena.scenario import Scenario
from analysis.arena.traffic import Tick
from analysis.verdict import Verdict

HARM_BUDGET: Final = 10.0  # requests that may fail at the next step before a fault still possible is seen
_LEAST_REQUESTS: Final = 5  # of the canary at a step


class Canaryd:
    """Rises when the step had its least time and the harm that is still possible at the next one fits the
    budget; at the last step waits for `promote`; at `retreat` goes to the lowest step at once, and climbs again
    when the judge has cleared the canary."""

    def __init__(self, scenario: Scenario, config: JudgeConfig) -> None:
        self._judge = Judge(config)
        self._state = self._judge.start()
        self._ladder = Ladder()
        self._retreating = False
        self._rps = scenario.rps
        self._exposure = 2 * scenario.interval + scenario.settle
        self._served = 0

    @property
    def weight(self) -> float:
        """The canary's share, 0..1."""
        return self._ladder.weight

    def look(self, tick: Tick) -> Decision:
        """Quarantined intervals are not judged."""
        if tick.interval is None or not tick.judged:
            return "retreat" if self._retreating else "continue"
        self._state = self._judge.update(self._state, tick.interval)
        verdict = self._judge.verdict(self._state)
        if verdict.decision == "rollback":
            return "rollback"
        if verdict.decision == "retreat":
            if not self._retreating:
                self._ladder.fall(tick.end)
            self._retreating = True
            return "retreat"
        self._retreating = False
        if verdict.decision == "promote" and self._ladder.at_top:
            return "promote"
        self._climb(tick, verdict)
        return "continue"

    def _climb(self, tick: Tick, verdict: Verdict) -> None:
        ladder, interval = self._ladder, tick.interval
        assert interval is not None
        canary, baseline = (
            sum(c.requests for c in arm.values()) for arm in (interval.canary, interval.baseline)
        )
        self._rps = (canary + baseline) / (interval.end - interval.start)
        self._served += canary
        if ladder.at_top or tick.end - ladder.since < STEP_MIN or self._served < _LEAST_REQUESTS:
            return
        at_risk = verdict.excess_rate_upper * self._rps * ladder.following * self._exposure
        if at_risk <= HARM_BUDGET:
            ladder.rise(tick.end)
            self._served = 0
