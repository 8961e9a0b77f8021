"""Counts in, verdicts out: canary against baseline, request by request, valid at every look.

Of use on its own:

    from analysis import Counts, Interval, Judge, JudgeConfig

    judge = Judge(JudgeConfig(alpha=0.01))
    state = judge.start()
    state = judge.update(state, Interval(0, 10, 0.1, {"a": Counts(100, 9)}, {"b": Counts(900, 8)}))
    print(judge.verdict(state).because)

Nothing here knows Kubernetes. `analysis.prometheus` is the only module with I/O and is not imported here.
"""

from analysis.counts import Arms, Counts, Interval
from analysis.judge import Judge
from analysis.judge_config import CustomMetric, JudgeConfig, Threshold
from analysis.state import JudgeState
from analysis.verdict import Decision, MetricEvidence, Verdict
from analysis.watch import Watch, WatchLimits, WatchState, WatchVerdict

__all__ = [
    "Arms",
    "Counts",
    "CustomMetric",
    "Decision",
    "Interval",
    "Judge",
    "JudgeConfig",
    "JudgeState",
    "MetricEvidence",
    "Threshold",
    "Verdict",
    "Watch",
    "WatchLimits",
    "WatchState",
    "WatchVerdict",
]
