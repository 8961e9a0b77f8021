"""Since when the world is as a run wants it: no mesh confirms that a change has reached its proxies."""

from __future__ import annotations

from dataclasses import replace

from canaryd.domain.converge import converge
from canaryd.domain.model import Run
from canaryd.domain.world import World


def observe(run: Run, world: World, now: float) -> Run:
    """The run with what was just read: since when the world is as wanted, and that the gate closed."""
    deployment = world.deployment
    if deployment is not None and deployment.paused and not run.gate_closed:
        run = replace(run, gate_closed=True)
    if world.measured.seen_share is not None:
        run = replace(run, seen_share=round(world.measured.seen_share, 4))
    if world.measured.judged_to is not None:
        run = replace(run, judged_to=world.measured.judged_to)
    if run.settled_from is None and not converge(run, world):
        run = replace(run, settled_from=now)
    return run


def settled(run: Run, world: World, now: float) -> bool:
    """Whether the world is as wanted, for as long as a change takes to reach every proxy."""
    return (
        run.settled_from is not None
        and now - run.settled_from >= world.terms.settle
        and not converge(run, world)
    )
