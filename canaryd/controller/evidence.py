"""From the outcomes that wait for a run to what they say of it. Pure.

Every outcome with an interval is taken in once, judged or not, and gives one line of the run's recording: the
judge's state is what these lines lead to, and nothing else.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from analysis import Counts, Interval, Judge, JudgeConfig, JudgeState, Verdict, allocation
from analysis.errors import AnalysisError
from analysis.intervals import Quarantined
from analysis.replay import Header, Record, header_line, record_line, said
from analysis.watch import Watch
from canaryd.domain.model import Run, Stage
from canaryd.domain.world import Measured
from config.policy import Policy

# Stages in which a weight that stands is judged: also while the pods of the next one start.
JUDGED = frozenset({Stage.SIZE, Stage.JUDGE, Stage.CONFIRM})

WATCHED = "Watched"  # above the last judged rung, and after promotion


def judge_config(policy: Policy) -> JudgeConfig:
    """The judge's knobs as the policy has them."""
    return JudgeConfig(**policy.judge_arguments())


@dataclass(frozen=True, slots=True)
class _Taken:
    """What the judge took in: its state, a record of each interval, those that count, what was wrong."""

    state: JudgeState
    records: tuple[Record, ...]
    intervals: tuple[Interval, ...]
    fault: str = ""


def measured(
    run: Run, outcomes: Sequence[Interval | Quarantined], now: float, *, rate: float, share: float | None
) -> Measured:
    """What the outcomes since the last decision say of `run`.

    rate: requests per second of both arms; share: the canary's of them, None where it is not known.
    """
    assert run.policy is not None
    config = judge_config(run.policy)
    judge = Judge(config)
    watched = run.stage is Stage.CONFIRM or run.wanted.traffic.weight > run.policy.last_judged
    taken = _take(judge, run, outcomes, watched=watched)
    intervals = taken.intervals
    judged_to = intervals[-1].end if intervals else None
    late = (judged_to or now) - run.created > run.policy.deadline
    verdict = said(judge, taken.state, late=late) if taken.state.intervals else None
    wealth, misallocated = _allocated(run, intervals, share)
    found = Measured(
        evidence=taken.state,
        lines=_lines(run, config, taken.records, verdict),
        recorded_to=taken.records[-1].interval.end if taken.records else None,
        blind=taken.fault,
        allocation=wealth,
        misallocated=misallocated,
        verdict=verdict,
        fresh=any(_of_new_version(run, interval) for interval in intervals),
        judged_to=judged_to,
        seen_share=share,
        request_rate=rate,
    )
    return _watch(run, intervals, config, found) if watched else found


def _take(judge: Judge, run: Run, outcomes: Iterable[Interval | Quarantined], *, watched: bool) -> _Taken:
    state = run.evidence if run.evidence is not None else judge.start()
    records: list[Record] = []
    fault = ""
    for outcome in outcomes:
        record = _record(run, outcome, watched=watched)
        before = records[-1].interval.end if records else run.recorded.end
        if before is not None and record.interval.start < before:
            continue  # a base line of before a restart: its time has been taken in
        if not record.quarantined:
            try:
                state = judge.update(state, record.interval)
            except AnalysisError as error:
                fault = str(error)
                record = replace(record, quarantined=type(error).__name__, because=fault)
        if record.quarantined:
            state = judge.skip(state, record.quarantined)
        records.append(record)
    counted = tuple(record.interval for record in records if record.quarantined in ("", WATCHED))
    return _Taken(state, tuple(records), counted, fault)


def _record(run: Run, outcome: Interval | Quarantined, *, watched: bool) -> Record:
    """What becomes of the outcome's interval, unless the judge refuses it."""
    if isinstance(outcome, Quarantined):
        return Record(outcome.interval, outcome.reason, outcome.because)
    if run.stage not in JUDGED:
        return Record(outcome, "WeightChange", "the weight was changed before the interval could be judged")
    return Record(outcome, WATCHED if watched else "")


def _lines(
    run: Run, config: JudgeConfig, records: Sequence[Record], verdict: Verdict | None
) -> tuple[str, ...]:
    """The records as lines, the last one that was judged with the decision; a header before the first."""
    judged = [i for i, record in enumerate(records) if not record.quarantined]
    lines = [
        record_line(replace(record, decision=verdict.decision) if verdict and judged[-1:] == [i] else record)
        for i, record in enumerate(records)
    ]
    if lines and not run.recorded.begun:
        header = Header(f"{run.namespace}/{run.name}", config, run.policy_name, run.created)
        lines.insert(0, header_line(header))
    return tuple(lines)


def _watch(run: Run, intervals: Sequence[Interval], config: JudgeConfig, found: Measured) -> Measured:
    """Above the last judged rung, and after promotion: against limits learned while there was a baseline."""
    assert found.evidence is not None
    watch = Watch(config)
    state = run.watched if run.watched is not None else watch.start(watch.learn(found.evidence))
    try:
        for interval in intervals:
            state = watch.update(state, interval, arm=_new_version(run))
    except AnalysisError as error:
        return replace(found, verdict=None, blind=str(error), fresh=False)
    return replace(found, verdict=_without_decision(found.verdict), watched=state, watch=watch.check(state))


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
            wealth = allocation.update(wealth, interval.weight, *requests(interval))
    finding = allocation.judge(wealth, share, seen or 0.0)
    return wealth, finding.because if finding else ""


def requests(interval: Interval) -> tuple[int, int]:
    """Requests of the canary, and of both arms."""
    canary = sum(c.requests for c in interval.canary.values())
    return canary, canary + sum(c.requests for c in interval.baseline.values())


def _without_decision(verdict: Verdict | None) -> Verdict | None:
    """The figures of the judged rungs; above them they decide nothing any more."""
    return replace(verdict, decision="continue") if verdict is not None else None
