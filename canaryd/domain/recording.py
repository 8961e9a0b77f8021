"""What is kept of a run's intervals, so that its decisions can be repeated: within bounds, from the beginning on.

A recording that lacks its beginning or its middle repeats nothing. So where it cannot go on, it ends, and a
condition says when and why; the run goes on without it.
"""

from __future__ import annotations

from dataclasses import replace

from analysis.state import BEFORE
from canaryd.domain.model import Condition, Recorded, Run
from canaryd.domain.world import Measured

MOST_STORED = 4 << 20  # characters in ConfigMaps, packed
MOST_WAITING = 512 << 10  # characters in the status; a tenth of it when packed

CONDITION = "Recorded"


def take_in(run: Run, measured: Measured, now: float) -> Run:
    """The run with what was taken in: the judge's state, and the lines that lead to it."""
    if not measured.lines:
        return run
    recorded = replace(run.recorded, end=measured.recorded_to)
    if not recorded.begun and _judged_before(run):
        recorded = replace(recorded, ended="begun by a canaryd that did not record")
    elif not recorded.ended:
        recorded = _longer(recorded, measured.lines)
    run = replace(run, evidence=measured.evidence, recorded=recorded)
    if recorded.ended:
        run = run.with_condition(Condition(CONDITION, False, "Ended", recorded.ended, now))
    return run


def _judged_before(run: Run) -> bool:
    return run.evidence is not None and (run.evidence.end > BEFORE or bool(run.evidence.skipped))


def _longer(recorded: Recorded, lines: tuple[str, ...]) -> Recorded:
    longer = (*recorded.lines, *lines)
    if recorded.size >= MOST_STORED:
        return replace(recorded, ended=f"the recording ends after {MOST_STORED >> 20} MiB")
    if sum(map(len, longer)) > MOST_WAITING:
        return replace(recorded, ended="the recording ends where no more of it could be stored")
    return replace(recorded, lines=longer)
