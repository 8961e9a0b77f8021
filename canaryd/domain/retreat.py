"""What the judge says against the canary is heeded at once, whatever the ladder waits for.

`rollback` ends the run. `retreat` is an alarm that a burst of errors may have raised: the canary falls to the
lowest rung and is judged there until the alarm is confirmed (`rollback`) or cleared, and then climbs again, on
new passes. It keeps its pods, whose differences tell a burst from a fault.
"""

from __future__ import annotations

from dataclasses import replace

from analysis import Verdict
from canaryd.domain.ending import fail
from canaryd.domain.ladder import canary_requests
from canaryd.domain.model import LADDER, Form, Hold, Run, Stage, Traffic
from canaryd.domain.world import World

CLEARED = ("continue", "promote")  # what is said of a run whose alarm does not stand any more


def heed(run: Run, world: World, now: float) -> Run | None:
    """Roll back, retreat, or end a retreat, as the judge says; None where it asks for neither."""
    if run.stage not in LADDER:
        return None
    verdict, watch = world.measured.verdict, world.measured.watch
    for said in (verdict, watch):
        if said is not None and said.decision == "rollback":
            return fail(run, now, said.reason, said.because)
    if verdict is None:
        return None
    if verdict.decision == "retreat" and run.retreated_since is None:
        return retreat(run, now, verdict.because)
    if verdict.decision in CLEARED and run.retreated_since is not None:
        return _resume(run, now, verdict)
    return None


def lowest(run: Run) -> Traffic:
    """The split of the ladder's first rung."""
    assert run.policy is not None
    return Traffic(Form.SPLIT, run.policy.steps[0])


def retreat(run: Run, now: float, why: str) -> Run:
    """Down to the lowest rung; what was passed above it no longer counts. At 0 % the canary stays there."""
    run = replace(run, step=0, passes=(), retreated_since=now)
    held, wanted = run.wanted.traffic, lowest(run)
    if held.weight == 0:
        return run
    there = held == wanted and run.judged_since is not None
    return run.to(
        Stage.JUDGE if there else Stage.SHIFT,
        now,
        alarmed(run, why),
        hold=Hold.RETREATED,
        hold_since=now,
        reason=Hold.RETREATED.value,
        wanted=replace(run.wanted, traffic=wanted),
    )


def _resume(run: Run, now: float, verdict: Verdict) -> Run:
    """The alarm is cleared: the lowest rung begins anew, and every rung above it."""
    held = run.hold in (Hold.RETREATED, Hold.INCONCLUSIVE)
    return replace(
        run,
        retreated_since=None,
        judged_since=now if run.judged_since is not None else None,
        rung_requests=canary_requests(verdict),
        hold=None if held else run.hold,
        hold_since=None if held else run.hold_since,
        reason="" if held else run.reason,
        because=f"the alarm is cleared: from {lowest(run).weight} % on, step by step",
    )


def alarmed(run: Run, why: str) -> str:
    """The sentence of a run that has retreated; `why`: the judge's."""
    return f"retreated to {lowest(run).weight} % until this is confirmed or cleared: {why}"
