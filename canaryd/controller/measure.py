"""Measuring: one reading for all active runs together, then each run's own evidence from its interval."""

from __future__ import annotations

import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from typing import Literal

from analysis import Counts, Interval, Judge, JudgeConfig, JudgeState, Verdict, allocation
from analysis.errors import AnalysisError
from analysis.intervals import Blind, IntervalBuilder, Outcome, Pods, RunQuery
from analysis.telemetry import WorkloadRef
from analysis.watch import Watch
from canaryd.cluster.runs import seconds
from canaryd.controller.caches import Caches
from canaryd.domain.model import LADDER, PROMOTING, Run, Stage
from canaryd.domain.world import Measured
from config.policy import Policy

# Readings begin before the first judged interval: the first one is only a base line.
READ = LADDER | PROMOTING | {Stage.CANARY_SUBSET, Stage.CANARY_DESTINATION}

# Stages in which a weight that stands is judged: also while the pods of the next one start.
JUDGED = frozenset({Stage.SIZE, Stage.JUDGE, Stage.CONFIRM})

_KEPT = 50  # intervals of one run that may wait for a worker; more means that none comes
_GENERATED = 58  # characters of a generateName that the API server keeps


def judge_config(policy: Policy) -> JudgeConfig:
    """The judge's knobs as the policy has them."""
    return JudgeConfig(**policy.judge_arguments())


@dataclass(slots=True)
class _Inbox:
    """What was read for one run and not yet decided on."""

    intervals: list[Interval] = field(default_factory=list)  # closed, and not yet in a saved status
    taken: int = 0  # of these, how many the decision under way has seen
    blind: Blind | None = None
    rate: float = 0.0
    share: float | None = None


@dataclass(slots=True)
class Measurer:
    """Reads at each tick; workers take what concerns their run. Thread-safe."""

    builder: IntervalBuilder
    caches: Caches
    _inboxes: dict[str, _Inbox] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, runs: Sequence[Run], at: float) -> None:
        """One reading of Prometheus for all `runs` that measure; never raises for a fault of Prometheus."""
        measuring = [run for run in runs if run.stage in READ and run.stable is not None]
        outcomes = self.builder.tick([self._query(run) for run in measuring], at)
        with self._lock:
            for uid in self._inboxes.keys() - outcomes.keys():
                del self._inboxes[uid]
            for uid, outcome in outcomes.items():
                _receive(self._inboxes.setdefault(uid, _Inbox()), outcome)

    def _query(self, run: Run) -> RunQuery:
        assert run.stable is not None
        return RunQuery(
            run_id=run.uid,
            canary=WorkloadRef(run.namespace, run.canary_name),
            baseline=WorkloadRef(run.namespace, run.stable.workload),
            weight=run.wanted.traffic.weight / 100,
            settled_since=run.judged_since if run.stage in JUDGED else None,
            canary_pods=self._births(run.namespace, run.revision),
            baseline_pods=self._baseline_pods(run),
            warm_up=run.policy.warm_up if run.policy else 0.0,
        )

    def _baseline_pods(self, run: Run) -> Pods:
        assert run.stable is not None
        if run.stable.replicaset:
            return f"{run.stable.replicaset}-"[:_GENERATED]
        return self._births(run.namespace, run.stable.revision)

    def _births(self, namespace: str, revision: str) -> dict[str, float]:
        return {
            pod["metadata"]["name"]: seconds(pod["metadata"]["creationTimestamp"])
            for pod in self.caches.pods_of_canary(namespace, revision)
        }

    def measured(self, run: Run, now: float) -> Measured:
        """What the ticks since the last decision say of `run`; `accept` once it has been saved with it."""
        if run.stage not in READ or run.policy is None:
            return Measured()
        with self._lock:
            inbox = self._inboxes.setdefault(run.uid, _Inbox())
            inbox.taken = len(inbox.intervals)
            intervals, blind, rate, share = tuple(inbox.intervals), inbox.blind, inbox.rate, inbox.share
        if blind is not None and not intervals:
            if blind.reason == "NoSeries":
                return Measured(silent=blind.because, request_rate=rate)
            return Measured(blind=blind.because, request_rate=rate)
        try:
            return self._evidence(run, intervals, now, rate, share)
        except AnalysisError as error:
            return Measured(blind=str(error), request_rate=rate)

    def accept(self, run: Run) -> None:
        """The intervals were used: they must not count twice."""
        with self._lock:
            inbox = self._inboxes.get(run.uid)
            if inbox is not None:
                del inbox.intervals[: inbox.taken]
                inbox.taken = 0

    def _evidence(
        self, run: Run, intervals: Sequence[Interval], now: float, rate: float, share: float | None
    ) -> Measured:
        assert run.policy is not None
        config = judge_config(run.policy)
        judge = Judge(config)
        intervals = intervals if run.stage in JUDGED else ()
        watched = run.stage is Stage.CONFIRM or run.wanted.traffic.weight > run.policy.last_judged
        evidence = run.evidence if run.evidence is not None else judge.start()
        if not watched:
            evidence = reduce(judge.update, intervals, evidence)
        late = now - run.created > run.policy.deadline
        wealth, misallocated = _allocated(run, intervals, share)
        measured = Measured(
            evidence=evidence,
            allocation=wealth,
            misallocated=misallocated,
            verdict=_said(judge, evidence, late=late) if evidence.intervals else None,
            fresh=any(_of_new_version(run, interval) for interval in intervals),
            judged_to=intervals[-1].end if intervals else None,
            seen_share=share,
            request_rate=rate,
        )
        return _watch(run, intervals, config, measured) if watched else measured


def _said(judge: Judge, evidence: JudgeState, *, late: bool) -> Verdict:
    """The verdict; that the deadline has passed hides no alarm."""
    verdict = judge.verdict(evidence)
    if late and verdict.decision == "continue":
        return judge.verdict(evidence, deadline_passed=True)
    return verdict


def _watch(run: Run, intervals: Sequence[Interval], config: JudgeConfig, measured: Measured) -> Measured:
    """Above the last judged rung, and after promotion: against limits learned while there was a baseline."""
    assert measured.evidence is not None
    watch = Watch(config)
    state = run.watched if run.watched is not None else watch.start(watch.learn(measured.evidence))
    for interval in intervals:
        state = watch.update(state, interval, arm=_new_version(run))
    return replace(
        measured, verdict=_without_decision(measured.verdict), watched=state, watch=watch.check(state)
    )


def _new_version(run: Run) -> Literal["canary", "baseline"]:
    """The arm whose pods run the new version: once promoted, it is what later runs are compared with."""
    return "baseline" if run.stage is Stage.CONFIRM else "canary"


def _of_new_version(run: Run, interval: Interval) -> Mapping[str, Counts]:
    return interval.baseline if _new_version(run) == "baseline" else interval.canary


def _allocated(
    run: Run, intervals: Sequence[Interval], seen: float | None
) -> tuple[allocation.Wealth | None, str]:
    """Does the mesh split as it was told?"""
    if run.stage is not Stage.JUDGE:
        return None, ""
    wealth, share = run.allocation or allocation.start(), run.wanted.traffic.weight / 100
    for interval in intervals:
        if interval.whole:
            wealth = allocation.update(wealth, interval.weight, *_requests(interval))
    finding = allocation.judge(wealth, share, seen or 0.0)
    return wealth, finding.because if finding else ""


def _requests(interval: Interval) -> tuple[int, int]:
    """Requests of the canary, and of both arms."""
    canary = sum(c.requests for c in interval.canary.values())
    return canary, canary + sum(c.requests for c in interval.baseline.values())


def _without_decision(verdict: Verdict | None) -> Verdict | None:
    """The figures of the judged rungs; above them they decide nothing any more."""
    return replace(verdict, decision="continue") if verdict is not None else None


def _receive(inbox: _Inbox, outcome: Outcome) -> None:
    inbox.blind = outcome if isinstance(outcome, Blind) else None
    if isinstance(outcome, Interval):
        inbox.intervals.append(outcome)
        del inbox.intervals[:-_KEPT]
    interval = outcome if isinstance(outcome, Interval) else getattr(outcome, "interval", None)
    if isinstance(interval, Interval):
        canary, total = _requests(interval)
        inbox.rate = total / (interval.end - interval.start)
        if interval.whole:
            inbox.share = canary / total if total else None
