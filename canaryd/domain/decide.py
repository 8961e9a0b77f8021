"""`decide`: what a run does next, and why.

Rules that hold in every stage come first (the Deployment is gone, superseded, overridden, aborted, the
canary died, somebody edited the routes); then the stage's own function is asked. What is returned is the
whole next run; the writes follow from `converge`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

from canaryd.domain import climb, prepare, promote, retreat, tail
from canaryd.domain.ending import abandon, fail, hand_on
from canaryd.domain.ladder import stable_ready
from canaryd.domain.model import (
    LADDER,
    PREPARING,
    PROMOTING,
    RETURNING,
    TAIL,
    Form,
    Hold,
    Run,
    Stage,
    Traffic,
)
from canaryd.domain.recording import take_in
from canaryd.domain.settle import observe
from canaryd.domain.world import RouteView, World

HOUR = 3600.0

StageRule = Callable[[Run, World, float], Run]

STAGES: dict[Stage, StageRule] = {
    Stage.PREFLIGHT: prepare.preflight,
    Stage.TAKE_OVER: prepare.take_over,
    Stage.TAKE_OVER_SHIFT: prepare.take_over_shift,
    Stage.FENCE_SUBSET: prepare.fence_subset,
    Stage.FENCE_ROUTES: prepare.fence_routes,
    Stage.CANARY_PODS: prepare.canary_pods,
    Stage.CANARY_SUBSET: prepare.canary_subset,
    Stage.CANARY_DESTINATION: prepare.canary_destination,
    Stage.SIZE: climb.size,
    Stage.SHIFT: climb.shift,
    Stage.JUDGE: climb.judge,
    Stage.ROLL: promote.roll,
    Stage.REPOINT: promote.repoint,
    Stage.SHIFT_BACK: promote.shift_back,
    Stage.CONFIRM: promote.confirm,
    Stage.RETURN_ROLL: tail.return_roll,
    Stage.RETURN_REPOINT: tail.return_repoint,
    Stage.RETURN_SHIFT: tail.return_shift,
    Stage.DRAIN: tail.drain,
    Stage.SCALE_DOWN: tail.scale_down,
    Stage.RESTORE: tail.restore,
    Stage.REMOVE: tail.remove,
    Stage.REST: tail.rest,
}

# Before these, nothing was promoted: a release can still be called off without a trace.
REVOCABLE = frozenset({Stage.PREFLIGHT}) | PREPARING | LADDER


@dataclass(frozen=True, slots=True)
class Decision:
    """The next run, and when to look again (seconds)."""

    run: Run
    again: float


def decide(run: Run, world: World, now: float) -> Decision:
    """What `run` does next in `world` at `now` (seconds since the epoch). Pure."""
    if not run.active:
        return Decision(run, world.terms.tick)
    run = take_in(observe(run, world, now), world.measured, now)
    if run.stage in LADDER:
        run = climb.record(run, world)
    for rule in RULES if run.outcome is None else (_drifted,):
        changed = rule(run, world, now)
        if changed is not None:
            return Decision(changed, 0.0)
    after = STAGES[run.stage](run, world, now)
    return Decision(after, 0.0 if after.stage is not run.stage else _again(after, world, now))


def _again(run: Run, world: World, now: float) -> float:
    """Seconds until something can have changed by the clock alone."""
    if run.settled_from is None:
        return min(1.0, world.terms.tick)
    left = run.settled_from + world.terms.settle - now
    return min(max(left, 0.05), world.terms.tick) if left > 0 else world.terms.tick


def _deployment_gone(run: Run, world: World, now: float) -> Run | None:
    if world.deployment is not None and not world.deployment.deleting:
        return None
    return abandon(run, now, "DeploymentDeleted", f"Deployment {run.target} was deleted during the run")


def _aborted(run: Run, world: World, now: float) -> Run | None:
    if run.stage not in REVOCABLE:
        return None
    if run.deleting:
        return fail(run, now, "Aborted", f"CanaryRun {run.name} was deleted")
    if run.wish_abort:
        return fail(run, now, "Aborted", f"aborted: {run.wish_abort}")
    deployment = world.deployment
    if deployment is not None and deployment.abort in ("true", run.revision):
        return fail(run, now, "Aborted", f"canaryd.io/abort: {deployment.abort} on Deployment {run.target}")
    if deployment is not None and not deployment.enabled:
        return fail(run, now, "Released", f"canaryd.io/enabled was taken off Deployment {run.target}")
    return None


def _scaled_to_zero(run: Run, world: World, now: float) -> Run | None:
    if run.stage not in REVOCABLE | {Stage.ROLL}:
        return None
    if world.deployment is None or world.deployment.replicas > 0:
        return None
    return fail(run, now, "ScaledToZero", f"Deployment {run.target} was scaled to zero")


def _superseded(run: Run, world: World, now: float) -> Run | None:
    deployment = world.deployment
    if deployment is None or deployment.revision == run.revision:
        return None
    if run.stage in REVOCABLE:
        if run.stable is not None and deployment.revision == run.stable.revision:
            return fail(
                run, now, "Reverted", f"the template of {run.target} was set back to the stable revision"
            )
        return fail(run, now, "Superseded", f"superseded by revision {deployment.revision}")
    if run.stage is Stage.ROLL or run.hold is Hold.STABLE_REGRESSION:
        return hand_on(
            run,
            now,
            f"superseded by revision {deployment.revision} during promotion; the proven revision {run.revision} "
            "keeps all traffic on its canary pods and is the next run's stable arm",
        )
    return None


def _overridden(run: Run, world: World, now: float) -> Run | None:
    """`paused: false` alone, set by somebody: they want the new version now, without us."""
    deployment = world.deployment
    if run.stage not in REVOCABLE or deployment is None or not run.gate_closed or deployment.paused:
        return None
    return fail(
        run,
        now,
        "Overridden",
        f"somebody unpaused {run.target}: traffic goes back to the plain route, then the Deployment rolls out by itself",
    )


def _skipped(run: Run, world: World, now: float) -> Run | None:
    """An emergency: the revision that is being released is to go out now."""
    deployment = world.deployment
    if run.stage not in REVOCABLE or deployment is None or deployment.skip != run.revision:
        return None
    return fail(
        run,
        now,
        "Overridden",
        f"canaryd.io/skip lets revision {run.revision} through: it rolls out without a canary",
    )


def _canary_lost(run: Run, world: World, now: float) -> Run | None:
    if run.wanted.traffic.weight == 0:
        return None
    canary = world.canary
    if canary is not None and canary.ready > 0 and not canary.deleting:
        return None
    if run.stage is Stage.REPOINT:
        return promote.to_stable(
            run, now
        )  # the new pods are there: better before every proxy knows than never
    if run.stage not in LADDER and not (run.stage is Stage.ROLL and stable_ready(run, world) > 0):
        return None
    what = "its Deployment was deleted" if canary is None or canary.deleting else _problems(world)
    return fail(run, now, "CanaryNotReady", f"no canary pod is ready: {what}")


def _canary_crashed(run: Run, world: World, now: float) -> Run | None:
    if run.stage not in LADDER | PREPARING or world.canary is None:
        return None
    fatal = [problem for problem in world.canary.problems if problem.fatal]
    return fail(run, now, "CanaryNotReady", str(fatal[0])) if fatal else None


def _problems(world: World) -> str:
    problems = world.canary.problems if world.canary else ()
    return "; ".join(str(problem) for problem in problems[:3]) or "the pods do not say why"


def _drifted(run: Run, world: World, now: float) -> Run | None:
    """Somebody rewrote a managed route after ours had been seen in place."""
    if run.stage in (Stage.PREFLIGHT, Stage.REST, Stage.REMOVE):
        return None
    gone = [view for view in world.routes if view.gone]
    if gone and run.outcome is None:
        return fail(
            run, now, "RouteDeleted", f"VirtualService route {gone[0].ref} was deleted during the run"
        )
    edited = [view for view in world.routes if not view.gone and view.seen != run.wanted.traffic]
    if run.settled_from is None or not edited or run.policy is None:
        return None
    view, allowed = edited[0], run.policy.drift_reasserts
    if run.stage in LADDER and view.by.startswith("canaryd ") and _fell(view.seen, run.wanted.traffic):
        return _interrupted(run, view, now)
    seen = view.seen or "destinations that are not canaryd's"
    because = f"{view.by or 'somebody'} changed {view.ref} to {seen}, wanted {run.wanted.traffic}"
    recent = tuple(at for at in run.reasserted if now - at < HOUR)
    run = replace(
        run, reasserted=(*recent, now)[-20:], settled_from=None, because=f"{because}; written again"
    )
    plain = view.seen is not None and view.seen.form is Form.PLAIN
    if run.stage in LADDER and len(recent) >= allowed * (3 if plain else 1):
        return climb.step_aside(run, now, Hold.DRIFTED, f"{because}; {len(recent)} times within the hour")
    return run


def _interrupted(run: Run, view: RouteView, now: float) -> Run:
    """canaryd took traffic from the canary and was stopped before it could say why: it is not given back."""
    if view.seen == retreat.lowest(run):
        return retreat.retreat(run, now, f"canaryd was stopped before it could say why ({view.ref})")
    return fail(
        run,
        now,
        "Interrupted",
        f"canaryd had taken the traffic from the canary ({view.ref}) and was stopped before it could say why",
    )


def _fell(seen: Traffic | None, wanted: Traffic) -> bool:
    return seen is not None and seen.canary_share_below(wanted)


RULES = (
    _deployment_gone,
    _aborted,
    _scaled_to_zero,
    _superseded,
    _overridden,
    _skipped,
    _canary_crashed,
    _canary_lost,
    retreat.heed,
    _drifted,
)

assert set(STAGES) == set(Stage) - {Stage.DONE}, "every stage has its rule"
assert REVOCABLE | PROMOTING | RETURNING | TAIL | {Stage.DONE} == set(Stage), "every stage belongs somewhere"
