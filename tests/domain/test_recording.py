"""What a run keeps of its intervals: from the beginning, without a gap, within bounds."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis import Judge
from analysis.state import JudgeState
from canaryd.domain import recording
from canaryd.domain.model import Recorded, Run, Target
from canaryd.domain.recording import take_in
from canaryd.domain.world import Measured

RUN = Run("shop", "checkout-1", Target("shop", "checkout", "u"), "rev", created=0.0)
STATE = Judge().skip(Judge().start(), "WarmUp")


def seen(*lines: str, evidence: JudgeState = STATE) -> Measured:
    return Measured(evidence=evidence, lines=lines, recorded_to=10.0)


def test_lines_are_kept_together_with_what_they_led_to() -> None:
    run = take_in(RUN, seen("header", "one"), 11.0)
    assert run.evidence == STATE
    assert run.recorded == Recorded(("header", "one"), end=10.0)
    assert take_in(run, seen("two"), 12.0).recorded.lines == ("header", "one", "two")
    assert run.conditions == ()


def test_nothing_new_changes_nothing() -> None:
    assert take_in(RUN, Measured(evidence=Judge().start()), 11.0) is RUN


@pytest.mark.parametrize(
    ("before", "why"),
    [
        (Recorded(("x" * recording.MOST_WAITING,)), "where no more of it could be stored"),
        (Recorded(("x",), stored=9, size=recording.MOST_STORED), "the recording ends after 4 MiB"),
    ],
)
def test_a_recording_that_grows_too_large_ends_and_the_run_goes_on(before: Recorded, why: str) -> None:
    run = take_in(replace(RUN, recorded=before), seen("one"), 11.0)
    assert run.evidence == STATE
    assert run.recorded.lines == before.lines
    assert why in run.recorded.ended
    (condition,) = run.conditions
    assert (condition.type, condition.status, condition.reason, condition.at) == (
        "Recorded",
        False,
        "Ended",
        11.0,
    )
    later = take_in(run, seen("two"), 21.0)
    assert later.recorded.lines == before.lines
    assert later.conditions == run.conditions
    assert later.recorded.end == 10.0


def test_a_run_that_was_judged_without_a_recording_gets_none() -> None:
    """It would lack its beginning, and repeat nothing."""
    run = take_in(replace(RUN, evidence=STATE), seen("one"), 11.0)
    assert not run.recorded.lines
    assert run.recorded.ended == "begun by a canaryd that did not record"
    fresh = take_in(replace(RUN, evidence=Judge().start()), seen("one"), 11.0)
    assert fresh.recorded.lines == ("one",)
