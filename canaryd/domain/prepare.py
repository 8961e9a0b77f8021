"""From a new template to canary pods that are ready and get no traffic yet.

The order is the point: subset, wait, route, wait, only then a canary pod. Canary pods carry the Service's
labels, and a plain route would send them their pod share at once.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.domain import ending
from canaryd.domain.climb import begin_step
from canaryd.domain.ending import fail
from canaryd.domain.ladder import canary_size, stable_ready
from canaryd.domain.model import Arm, Condition, Form, Hold, Outcome, Run, Stage, Traffic
from canaryd.domain.settle import settled
from canaryd.domain.world import World


def preflight(run: Run, world: World, now: float) -> Run:
    """Is this release possible here? Every failed check is named with its cure; the run waits until it passes."""
    ground = world.ground
    if ground is None:
        return run
    if ground.findings or ground.policy is None:
        message = "; ".join(f"{f.check}: {f.message}" for f in ground.findings)
        condition = Condition("Preflight", False, ground.findings[0].check, message, now)
        return replace(run.with_condition(condition), because=message, reason="Preflight")
    run = replace(
        run.with_condition(Condition("Preflight", True, "Passed", "all checks passed", now)),
        reason="",
        policy=ground.policy,
        service=ground.service or run.service,
        host=ground.host or run.host,
        routes=run.routes if run.carrier else ground.routes,
    )
    if run.carrier == run.canary_name:
        because = f"the template of {run.target} is that of {run.carrier} again: the Deployment takes the traffic back"
        return ending.take_over(replace(run, outcome=Outcome.ROLLED_BACK, reason="Reverted"), now, because)
    if run.carrier:
        run = replace(run, start_replicas=world.carrier.replicas if world.carrier else 0)
        return ending.take_over(run, now, f"{run.carrier} carries the traffic: it becomes the stable arm")
    # Where the template was replaced and unpaused in one write, a few pods of the new revision are there.
    serving = next((rs for rs in world.serving if rs.revision != run.revision), None)
    if serving is None:
        return replace(run, because="waiting for the pods of the running revision")
    stable = Arm(
        run.target.name, serving.revision, {"pod-template-hash": serving.hash}, replicaset=serving.name
    )
    return run.to(
        Stage.FENCE_SUBSET,
        now,
        f"subset stable: the running pods of {serving.name}",
        stable=stable,
        start_replicas=serving.replicas,
        wanted=replace(run.wanted, stable_subset=stable.labels),
    )


def take_over(run: Run, world: World, now: float) -> Run:
    """Subset stable, at weight 0, now names the carrier's pods: the traffic may move to it."""
    if not settled(run, world, now):
        return run
    wanted = replace(run.wanted, traffic=Traffic(Form.SPLIT, 0))
    because = run.because if run.outcome is not None else "all traffic to subset stable, the same pods"
    return run.to(Stage.TAKE_OVER_SHIFT, now, because, wanted=wanted)


def take_over_shift(run: Run, world: World, now: float) -> Run:
    """Subset canary is free again: canary pods of the new revision may come."""
    if not settled(run, world, now):
        return run
    if run.outcome is not None:
        return run.to(Stage.DRAIN, now, run.because)
    return _canary_pods(run, world, now)


def fence_subset(run: Run, world: World, now: float) -> Run:
    """Every proxy knows subset stable: the routes may name it."""
    if not settled(run, world, now):
        return run
    wanted = replace(run.wanted, traffic=Traffic(Form.FENCED))
    return run.to(Stage.FENCE_ROUTES, now, "routes to subset stable alone", wanted=wanted)


def fence_routes(run: Run, world: World, now: float) -> Run:
    """No route can reach a canary pod by the Service's labels any more: they may come."""
    return _canary_pods(run, world, now) if settled(run, world, now) else run


def _canary_pods(run: Run, world: World, now: float) -> Run:
    assert run.policy is not None
    size = canary_size(run.policy.steps[0], stable_ready(run, world), run.start_replicas)
    because = f"starting {size} canary pod{'s' if size > 1 else ''} of revision {run.revision}"
    return run.to(Stage.CANARY_PODS, now, because, wanted=replace(run.wanted, canary=size))


def canary_pods(run: Run, world: World, now: float) -> Run:
    """Wait for the canary's pods to be ready."""
    waiting = await_ready(run, world, now)
    if waiting is not None:
        return waiting
    wanted = replace(run.wanted, canary_subset=run.canary_labels)
    return run.to(Stage.CANARY_SUBSET, now, "canary pods are ready; subset canary", wanted=wanted, hold=None)


def await_ready(run: Run, world: World, now: float) -> Run | None:
    """The run while its canary pods are not all ready, as a hold or a failure where they say why; None when they are."""
    assert run.policy is not None
    canary, wanted = world.canary, run.wanted.canary or 0
    if canary is not None and not canary.deleting and canary.ready >= wanted and canary.replicas == wanted:
        return None
    ready = canary.ready if canary else 0
    problems = canary.problems if canary else ()
    capacity = [p for p in problems if p.reason in ("Unschedulable", "QuotaExceeded")]
    if capacity:
        because = f"{ready} of {wanted} canary pods ready; {capacity[0]}"
        return replace(run, hold=Hold.NO_CAPACITY, hold_since=run.hold_since or now, because=because)
    if now - run.stage_since > run.policy.ready_timeout:
        why = "; ".join(str(p) for p in problems[:3]) or "they do not say why"
        because = f"{ready} of {wanted} canary pods ready after {run.policy.ready_timeout:.0f} s: {why}"
        return fail(run, now, "CanaryNotReady", because)
    return replace(
        run, hold=None, hold_since=None, because=f"waiting for canary pods: {ready} of {wanted} ready"
    )


def canary_subset(run: Run, world: World, now: float) -> Run:
    """Every proxy knows subset canary: a destination may name it, at weight 0."""
    if not settled(run, world, now):
        return run
    wanted = replace(run.wanted, traffic=Traffic(Form.SPLIT, 0))
    return run.to(Stage.CANARY_DESTINATION, now, "destination canary at weight 0", wanted=wanted)


def canary_destination(run: Run, world: World, now: float) -> Run:
    """Everything is in place: the ladder begins."""
    return begin_step(run, world, now, 0) if settled(run, world, now) else run
