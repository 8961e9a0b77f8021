"""Promotion: the user's Deployment rolls while the canary carries the traffic, then takes it back."""

from __future__ import annotations

from dataclasses import replace

from canaryd.domain.model import Form, Hold, Outcome, Run, Stage, Traffic
from canaryd.domain.settle import settled
from canaryd.domain.world import World


def roll(run: Run, world: World, now: float) -> Run:
    """Wait until the Deployment's pods are all of the proven revision, and of the same images."""
    assert run.policy is not None and run.stable is not None
    missing = _rollout_missing(run, world)
    if missing:
        if now - run.stage_since > run.policy.ready_timeout:
            return _stuck(run, now, f"{missing}; the canary keeps the traffic")
        return replace(run, because=f"rolling out {run.target}: {missing}")
    canary_images = world.canary.images if world.canary else frozenset()
    if world.images and canary_images and world.images != canary_images:
        other = ", ".join(sorted(world.images - canary_images))
        return _stuck(run, now, f"{run.target} runs other images than were judged ({other}): a tag has moved")
    rolled = world.serving[0]
    stable = replace(
        run.stable,
        workload=run.target.name,
        revision=run.revision,
        labels={"pod-template-hash": rolled.hash},
        replicaset=rolled.name,
    )
    return run.to(
        Stage.REPOINT,
        now,
        f"{run.target} runs revision {run.revision}; subset stable follows at weight 0",
        hold=None,
        hold_since=None,
        stable=stable,
        wanted=replace(run.wanted, paused=True, stable_subset=stable.labels),
    )


def _rollout_missing(run: Run, world: World) -> str:
    serving = world.serving
    replicas = world.deployment.replicas if world.deployment else 0
    new = next((rs for rs in serving if rs.revision == run.revision), None)
    if new is None:
        return "no pods of the new revision yet"
    if len(serving) > 1:
        return f"{new.ready} of {replicas} pods ready, {len(serving) - 1} old ReplicaSet still has pods"
    if new.ready < replicas or new.replicas != replicas:
        return f"{new.ready} of {replicas} pods ready"
    return ""


def _stuck(run: Run, now: float, because: str) -> Run:
    return replace(
        run,
        hold=Hold.ROLLOUT_STUCK,
        hold_since=run.hold_since or now,
        reason=Hold.ROLLOUT_STUCK.value,
        because=because,
    )


def repoint(run: Run, world: World, now: float) -> Run:
    """Every proxy knows the new pods as subset stable: the traffic may move to them."""
    return to_stable(run, now) if settled(run, world, now) else run


def to_stable(run: Run, now: float) -> Run:
    """The traffic goes to the Deployment's new pods."""
    wanted = replace(run.wanted, traffic=Traffic(Form.SPLIT, 0))
    return run.to(Stage.SHIFT_BACK, now, f"traffic to the pods of {run.target}", wanted=wanted)


def shift_back(run: Run, world: World, now: float) -> Run:
    """Wait until the new stable pods have the traffic and a scrape has seen it."""
    if not settled(run, world, now) or run.settled_from is None:
        return run
    if now - run.settled_from < world.terms.settle + world.terms.scrape:
        return run
    return run.to(
        Stage.CONFIRM, now, f"watching the pods of {run.target} for one more interval", judged_since=now
    )


def confirm(run: Run, world: World, now: float) -> Run:
    """One more interval on the new stable pods; back to the canary's if they fail where those did not."""
    measured = world.measured
    if measured.watched is not None:
        run = replace(run, watched=measured.watched, watch=measured.watch)
    if run.hold is Hold.STABLE_REGRESSION:
        return _once_more(run, world, now)
    if measured.watch is not None and measured.watch.decision == "rollback":
        return run.to(
            Stage.CONFIRM,
            now,
            f"{measured.watch.because}; the canary's pods carry the traffic again",
            hold=Hold.STABLE_REGRESSION,
            hold_since=now,
            reason=Hold.STABLE_REGRESSION.value,
            wanted=replace(run.wanted, traffic=Traffic(Form.SPLIT, 100)),
        )
    if measured.blind:
        return replace(
            run,
            hold=Hold.BLIND,
            hold_since=run.hold_since or now,
            reason="Blind",
            because=f"no evidence: {measured.blind}",
        )
    if not measured.fresh or now - (run.judged_since or now) < 2 * world.terms.scrape:
        return replace(run, hold=None, hold_since=None)
    return run.to(
        Stage.DRAIN,
        now,
        f"revision {run.revision} is promoted: {_proof(run)}",
        outcome=Outcome.SUCCEEDED,
        reason="Promoted",
        hold=None,
        hold_since=None,
    )


def _proof(run: Run) -> str:
    """What was said when the evidence of safety was complete."""
    assert run.policy is not None
    last = run.policy.last_judged_step
    return next((p.because for p in run.passes if p.weight == last), "every step was passed")


def _once_more(run: Run, world: World, now: float) -> Run:
    """The canary carries the traffic until a person asks for another try, or a new template comes."""
    retry = world.deployment.retry if world.deployment else run.retry
    if retry == run.retry:
        return run
    wanted = replace(run.wanted, traffic=Traffic(Form.SPLIT, 0))
    return run.to(
        Stage.SHIFT_BACK,
        now,
        f"canaryd.io/retry: the traffic goes to the pods of {run.target} once more",
        retry=retry,
        hold=None,
        hold_since=None,
        reason="",
        watched=None,
        wanted=wanted,
    )
