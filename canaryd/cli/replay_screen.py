"""What `canaryd replay` prints: a table of the intervals, the verdict, and what was recorded instead."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.counts import Totals, pooled
from analysis.judge_config import JudgeConfig
from analysis.replay import Moment, Recording
from analysis.sentences import duration
from canaryd.cli.figures import clock, evidence, percent, thousands
from canaryd.cli.policies import judge_fields, spelt

COLOURS = {"rollback": "red", "retreat": "red", "promote": "green", "inconclusive": "yellow"}


def show(recorded: Recording, config: JudgeConfig, moments: Sequence[Moment], *, every: bool) -> None:
    """Print it all to standard output."""
    console = Console(highlight=False)
    console.print(_head(recorded), soft_wrap=True)
    for line in _changes(recorded.header.judge, config):
        console.print(line, soft_wrap=True)
    enough = f"harm is shown at {evidence(1 / config.alpha)}, safety at {evidence(1 / config.beta)}"
    console.print(f"evidence: {enough}", soft_wrap=True)
    console.print()
    console.print(_table(recorded, moments, every=every))
    console.print()
    for line in _end(recorded, moments, changed=config != recorded.header.judge):
        console.print(line, soft_wrap=True)


def _head(recorded: Recording) -> str:
    header, records = recorded.header, recorded.records
    policy = f", policy {header.policy}" if header.policy else ""
    if not records:
        return f"{header.run}{policy}: no intervals"
    length = records[-1].interval.end - records[0].interval.start
    left_out = Counter(record.quarantined for record in records if record.quarantined)
    reasons = f" ({', '.join(f'{n} {reason}' for reason, n in sorted(left_out.items()))})" if left_out else ""
    judged = len(records) - left_out.total()
    return (
        f"{header.run}{policy}: {len(records)} intervals over {duration(length)}, {judged} judged, "
        f"{left_out.total()} quarantined{reasons}"
    )


def _changes(before: JudgeConfig, after: JudgeConfig) -> Iterator[str]:
    """One line per knob that was changed, under its name in a policy."""
    for field, place in judge_fields().items():
        old, new = getattr(before, place), getattr(after, place)
        if old != new:
            key = field.replace("_", "-")
            yield f"changed: {key} {spelt(key, old)} -> {spelt(key, new)}"


def _table(recorded: Recording, moments: Sequence[Moment], *, every: bool) -> Table:
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
    for name in ("at", "weight", "canary", "baseline", "harm", "safe"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("decision", no_wrap=True)
    if any(record.decision for record in recorded.records):
        table.add_column("recorded", no_wrap=True)
    start = _start(recorded)
    for moment in moments if every else _turns(moments):
        table.add_row(*_row(moment, start)[: len(table.columns)])
    return table


def _start(recorded: Recording) -> float:
    return recorded.header.created or (recorded.records[0].interval.start if recorded.records else 0.0)


def _turns(moments: Sequence[Moment]) -> Iterator[Moment]:
    """The first judged interval, those with another decision or weight than before, those that differ from
    the record for the first time, and the last."""
    before: tuple[object, ...] = ()
    judged = [moment for moment in moments if moment.verdict is not None]
    for moment in judged:
        assert moment.verdict is not None
        now = moment.verdict.decision, moment.differs, moment.record.interval.weight
        if now != before or moment is judged[-1]:
            yield moment
        before = now


def _row(moment: Moment, start: float) -> tuple[str | Text, ...]:
    interval, verdict = moment.record.interval, moment.verdict
    place = clock(interval.end - start), percent(interval.weight)
    arms = tuple(_arm(pooled(pods.values())) for pods in (interval.canary, interval.baseline))
    if verdict is None:
        return *place, *arms, "", "", Text(moment.record.quarantined, style="dim"), ""
    safe = min((metric.evidence_safe for metric in verdict.metrics.values()), default=0.0)
    recorded = moment.record.decision
    return (
        *place,
        *arms,
        evidence(verdict.evidence_harm),
        evidence(safe),
        Text(verdict.decision, style=COLOURS.get(verdict.decision, "")),
        Text(recorded, style="bold" if moment.differs else "dim"),
    )


def _arm(counts: Totals) -> str:
    return f"{thousands(counts.errors)} of {thousands(counts.requests)}"


def _end(recorded: Recording, moments: Sequence[Moment], *, changed: bool) -> Iterator[str]:
    judged = [moment for moment in moments if moment.verdict is not None]
    if not judged:
        yield "verdict: none, as no interval was judged"
        return
    verdict = judged[-1].verdict
    assert verdict is not None
    colour = COLOURS.get(verdict.decision, "default")
    yield f"verdict: [{colour}]{verdict.decision}[/] ({verdict.reason})"
    yield f"because: {verdict.because}"
    if not any(moment.record.decision for moment in judged):
        yield "recorded: no decisions"
        return
    different = [moment for moment in judged if moment.differs]
    if not different:
        yield "recorded: the same decisions throughout"
        return
    first = different[0]
    assert first.verdict is not None
    at = clock(first.record.interval.end - _start(recorded))
    yield (
        f"recorded: other decisions at {len(different)} of {len(judged)} intervals, first at {at}: "
        f"{first.record.decision} then, {first.verdict.decision} now"
    )
    if changed:
        yield "          from there on the recorded weights are not those that the changed rules would have set"
