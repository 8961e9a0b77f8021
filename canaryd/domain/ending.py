"""How a run turns towards its end: rolled back, abandoned, or handed on to the next run."""

from __future__ import annotations

from dataclasses import replace

from canaryd.domain.model import Form, Outcome, Run, Stage, Traffic


def fail(run: Run, now: float, reason: str, because: str) -> Run:
    """All traffic to stable, then clean-up. The write of the weights comes before the status (see controller)."""
    if run.stage is Stage.PREFLIGHT:
        return _nothing_made(run, now, reason, because)
    if run.stage in (Stage.TAKE_OVER, Stage.TAKE_OVER_SHIFT):
        # The carrier's traffic is on its way to subset stable: that is finished first, then cleaned up.
        return replace(run, outcome=Outcome.ROLLED_BACK, reason=reason, because=because)
    traffic = Traffic(Form.SPLIT, 0) if run.wanted.traffic.form is Form.SPLIT else run.wanted.traffic
    return run.to(
        Stage.DRAIN,
        now,
        because,
        reason=reason,
        outcome=Outcome.ROLLED_BACK,
        hold=None,
        hold_since=None,
        wanted=replace(run.wanted, traffic=traffic, paused=True),
    )


def abandon(run: Run, now: float, reason: str, because: str) -> Run:
    """The target is gone: put the routes back and remove what was made; no traffic is left to move."""
    return fail(run, now, reason, because)


def hand_on(run: Run, now: float, because: str) -> Run:
    """End with the canary still carrying all traffic: the next run takes it over as its stable arm."""
    return run.to(
        Stage.DONE,
        now,
        because,
        reason="Superseded",
        outcome=Outcome.SUCCEEDED,
        hold=None,
        finished=now,
        hands_on=True,
        wanted=replace(run.wanted, paused=True, carrier=False),
    )


def _nothing_made(run: Run, now: float, reason: str, because: str) -> Run:
    done = replace(run, reason=reason, outcome=Outcome.ROLLED_BACK, hold=None)
    if not run.carrier:
        return done.to(Stage.REST, now, because)
    if reason in ("Superseded", "Reverted"):
        # The carrier goes on carrying: the next run takes it over in turn.
        return done.to(Stage.DONE, now, because, finished=now, hands_on=True)
    return take_over(done, now, because)


def take_over(run: Run, now: float, because: str) -> Run:
    """Subset stable becomes the carrier's pods, while it has weight 0."""
    assert run.stable is not None
    wanted = replace(run.wanted, paused=True, carrier=True, stable_subset=run.stable.labels)
    return run.to(Stage.TAKE_OVER, now, because, wanted=wanted)
