"""Custom metrics of an interval: what the answers to a run's own queries say of both arms.

A proportion has two counters, `bad` and `total`, that are asked for as they are: cumulative whole numbers. What
they grew by between two readings is counted per pod where the answer has a pod label, with the rules of
readings.py for resets, births and pods that are not scraped, and those of intervals.py for what is judged.
An instant query does not tell when a pod was scraped. Hence some rules more:

    a series of a pod is missing that it had     the pod waits: the next delta spans both
    an arm whose totals have not grown           both arms wait: a shock to both arms must not be counted in one
                                                 interval for the one and in the next for the other
    no pod label, and the sum fell               a pod restarted, went away or was not scraped. It would count
                                                 twice when it comes back: nothing is counted until the sum is
                                                 back where it was, and from there on
    `bad` has no series of a pod, never had      it has no bad events yet
    bad grew by more than total                  an error: nothing is counted

A value for a threshold is one number per interval, the canary's. Whatever cannot be known is said to be unseen
and why; nothing is ever taken for zero.
"""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from analysis.arms import Arm, Pods, base_line, begun_since, belongs, births
from analysis.counts import Arms, Counts, Interval
from analysis.custom_queries import Answer, CounterQuery, Sample, ValueQuery
from analysis.errors import AnalysisError, BadCounts, PrometheusError, shown
from analysis.intervals import Outcome, Pending, Quarantined, RunQuery
from analysis.readings import deltas, fell
from analysis.telemetry import PodReading, SeriesId, WorkloadRef, whole

_TOTAL: Final = "total"
_BAD: Final = "bad"
_UNNAMED: Final = ""  # the pod of an answer without a pod label

Reading = dict[str, PodReading]


@dataclass(frozen=True, slots=True)
class Taken:
    """An outcome with what the run's own metrics showed; unseen: metric -> why nothing is known of it."""

    outcome: Outcome
    unseen: Mapping[str, str]


@dataclass(slots=True)
class _Memory:
    """One metric's counters at the last reading, at `time` (seconds since the epoch), of canary and baseline.

    lost: the arms (0, 1) whose sum is below what it was.
    """

    workloads: tuple[WorkloadRef, WorkloadRef]
    arms: tuple[Arm, Arm]
    time: float
    lost: set[int] = field(default_factory=set)


def due(outcome: Outcome) -> bool:
    """Whether a run's own queries are to be asked: an interval was closed, or a base line was taken."""
    return isinstance(outcome, Interval | Quarantined) or (
        isinstance(outcome, Pending) and outcome.reason == "BaseLine"
    )


@dataclass(slots=True)
class CustomCounts:
    """One run's counters between two readings; lost with the daemon, hence a base line. Not thread-safe."""

    pod_label: str = "pod"
    _memories: dict[str, _Memory] = field(default_factory=dict)

    def take(self, run: RunQuery, outcome: Outcome, answers: Mapping[str, Answer], at: float) -> Taken:
        """An outcome that is `due`, with the custom metrics of its interval. answers: by PromQL, evaluated at `at`."""
        if isinstance(outcome, Pending):
            self._memories.clear()  # a base line
        custom: dict[str, Arms] = {}
        values: dict[str, float | None] = {}
        unseen: dict[str, str] = {}
        for query in run.custom:
            try:
                if isinstance(query, ValueQuery):
                    values[query.name] = None
                    values[query.name] = _value(query, _given(answers, query.value))
                    continue
                judged = isinstance(outcome, Interval)
                arms, reason = self._counted(query, run, answers, at, judged=judged)
            except AnalysisError as error:
                unseen[query.name] = str(error)
                continue
            if arms is not None:
                custom[query.name] = arms
            if reason:
                unseen[query.name] = reason
        if isinstance(outcome, Interval):
            outcome = replace(outcome, custom=custom, values=values)
        elif isinstance(outcome, Quarantined):
            outcome = replace(outcome, interval=replace(outcome.interval, custom=custom, values=values))
        return Taken(outcome, unseen)

    def _counted(
        self, query: CounterQuery, run: RunQuery, answers: Mapping[str, Answer], at: float, *, judged: bool
    ) -> tuple[Arms | None, str]:
        """What the metric grew by (None at a first reading), and why that is nothing. Raises what made it
        unreadable."""
        canary, baseline = (
            self._reading(_given(answers, query.bad[i]), _given(answers, query.total[i]), own, at)
            for i, own in enumerate((run.canary_pods, run.baseline_pods))
        )
        if not canary and not baseline:
            raise BadCounts(_TOTAL, "no series", f"an answer with series: {shown(query.total[1])}")
        workloads = run.canary, run.baseline
        memory = self._memories.get(query.name)
        if memory is None or memory.workloads != workloads:
            own = run.canary_pods, run.baseline_pods
            arms = base_line((canary, baseline), own, end=at, weight=run.weight, warm_up=run.warm_up)
            self._memories[query.name] = _Memory(workloads, arms, at)
            return None, "the first reading: counts start from here"
        now = (canary, baseline)
        usable = _usable(run, memory, now)
        return _advance(run, memory, usable, at, judged=judged), _reason(query, memory, now, usable)

    def _reading(self, bad: Sequence[Sample], total: Sequence[Sample], own: Pods, at: float) -> Reading:
        """The counters of the arm's own pods. Raises BadCounts."""
        found: dict[str, dict[SeriesId, int]] = {}
        for kind, answer in ((_TOTAL, total), (_BAD, bad)):
            for labels, text in answer:
                pod = labels.get(self.pod_label, _UNNAMED)
                if pod and not belongs(pod, own):
                    continue
                where = f"{kind} of pod {pod!r}" if pod else kind
                count = whole(text, where)
                if kind == _BAD and pod not in found:
                    raise BadCounts(where, count, f"in {_TOTAL}, which has no series of that pod")
                rest = tuple(sorted(labels.items()))
                found.setdefault(pod, {})[SeriesId(kind, "", "", rest)] = count
        if len(found) > 1 and _UNNAMED in found:
            raise BadCounts(f"the label {self.pod_label}", sorted(found), "in every series, or in none")
        return {pod: PodReading(at, counters) for pod, counters in found.items()}


def _given(answers: Mapping[str, Answer], text: str) -> Sequence[Sample]:
    """The answer to that query. Raises PrometheusError where there is none."""
    answer = answers[text]
    if isinstance(answer, PrometheusError):
        raise answer
    return answer


def _usable(run: RunQuery, memory: _Memory, now: tuple[Reading, Reading]) -> tuple[Reading, Reading]:
    """The pods that have every series they had, and a sum over unnamed pods if it is not below what it was."""
    usable: list[Reading] = []
    for i, (arm, own) in enumerate(zip(memory.arms, (run.canary_pods, run.baseline_pods), strict=True)):
        arm.births.update(births(own))
        past = arm.pods
        complete = {
            pod: reading
            for pod, reading in now[i].items()
            if pod not in past or past[pod].requests.keys() <= reading.requests.keys()
        }
        if _UNNAMED in complete and _UNNAMED in past:
            if fell(past[_UNNAMED], complete[_UNNAMED]):
                memory.lost.add(i)
                del complete[_UNNAMED]
            elif i in memory.lost:
                memory.lost.discard(i)
                del past[_UNNAMED]  # what is read now is a base line
        usable.append(complete)
    return usable[0], usable[1]


def _advance(
    run: RunQuery, memory: _Memory, usable: tuple[Reading, Reading], at: float, *, judged: bool
) -> Arms:
    """What the counters grew by since the last reading, which this one replaces unless both arms wait."""
    grown = [
        deltas(arm.pods, current, since=memory.time, born=arm.born(), counts=_counts)
        for arm, current in zip(memory.arms, usable, strict=True)
    ]
    compared = judged and 0 < run.weight < 1  # else an arm has no traffic at all
    waits = compared and not all(any(one.counts.requests for one in pods.values()) for pods in grown)
    for arm, current, pods in zip(memory.arms, usable, grown, strict=True):
        arm.remember({pod: reading for pod, reading in current.items() if not (waits and pod in pods)})
    if waits:
        return Arms()
    memory.time = at
    if judged:
        grown = [arm.warm(pods, run.warm_up) for arm, pods in zip(memory.arms, grown, strict=True)]
        grown = [begun_since(pods, run.settled_since or -math.inf) for pods in grown]
    return Arms(*({pod: delta.counts for pod, delta in pods.items()} for pods in grown))


def _reason(
    query: CounterQuery, memory: _Memory, now: tuple[Reading, Reading], usable: tuple[Reading, Reading]
) -> str:
    """Why the metric is not seen although it was read; "" if it is."""
    if memory.lost:
        return (
            f"the sum of {_TOTAL} or {_BAD} fell: without the pod label (`sum by (pod)`) a pod that restarts "
            "or goes away silences the metric until the sum is back where it was"
        )
    for i, workload in enumerate(memory.workloads):
        if not now[i]:
            return f"{_TOTAL} has no series of {workload}: {shown(query.total[i])}"
        if not usable[i]:
            return f"series of {workload} are missing that were there before: {shown(query.bad[i])}"
    return ""


def _counts(pod: str, before: PodReading, now: PodReading) -> Counts:
    grown = {_TOTAL: 0, _BAD: 0}
    for series, count in now.requests.items():
        grown[series.code] += count - before.requests.get(series, 0)
    if grown[_BAD] > grown[_TOTAL]:
        where = f"{_BAD} of pod {pod!r}" if pod else _BAD
        raise BadCounts(where, grown[_BAD], f"part of {_TOTAL}, which grew by {grown[_TOTAL]}")
    return Counts(grown[_TOTAL], grown[_BAD])


def _value(query: ValueQuery, answer: Sequence[Sample]) -> float:
    """The one value; infinite as the largest double. Raises BadCounts."""
    if len(answer) != 1:
        wanted = f"the one series that a threshold needs, as max() or sum() gives: {shown(query.value)}"
        raise BadCounts("value", f"{len(answer)} series", wanted)
    try:
        value = float(answer[0].text)
    except ValueError:
        value = math.nan
    if math.isnan(value):
        raise BadCounts("value", answer[0].text, f"a number: {shown(query.value)}")
    return max(-sys.float_info.max, min(sys.float_info.max, value))
