"""The judge: intervals in, a verdict out, valid however often one looks."""

from __future__ import annotations

from dataclasses import dataclass, field

from analysis.counts import Interval
from analysis.judge_config import JudgeConfig
from analysis.state import JudgeState
from analysis.verdict import Verdict


@dataclass(frozen=True, slots=True)
class Judge:
    """Pure: holds the configuration and nothing else; all that it learned is in the JudgeState."""

    config: JudgeConfig = field(default_factory=JudgeConfig)

    def start(self) -> JudgeState:
        """The state before any interval."""
        return JudgeState()

    def update(self, state: JudgeState, interval: Interval) -> JudgeState:
        """The state after one more closed interval; `state` is unchanged.

        Raises EdgesDiffer when the interval's histogram edges are not those judged before, UnknownEdge when
        a named slow edge is not among them.
        """
        raise NotImplementedError

    def verdict(self, state: JudgeState, *, deadline_passed: bool = False) -> Verdict:
        """What the evidence says now. `deadline_passed`: the deadline came or cannot be met any more."""
        raise NotImplementedError
