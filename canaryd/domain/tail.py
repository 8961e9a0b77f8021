"""The tail of every run: drain, scale the canary away, routes to their first form, subsets away, rest.

Each waits for the one before to have reached every proxy: on rollback as on promotion.
"""

from __future__ import annotations

from dataclasses import replace

from canaryd.domain.model import Form, Outcome, Run, Stage, Traffic
from canaryd.domain.settle import settled
from canaryd.domain.world import World


def drain(run: Run, world: World, now: float) -> Run:
    """No new request reaches the canary; open streams get their time, unless those to the Deployment were cut too."""
    gone = _deployment_gone(world)
    carries_on = bool(run.carrier) and run.outcome is Outcome.ROLLED_BACK and not gone
    wanted = replace(run.wanted, canary=None, carrier=carries_on)
    if any(view.gone for view in world.routes):
        # Without a route the Service sends canary pods their pod share: away with them at once.
        return run.to(Stage.SCALE_DOWN, now, run.because, wanted=wanted)
    if not settled(run, world, now) or run.settled_from is None:
        return run
    limit = run.policy.drain_limit if run.policy and run.highest_weight > 0 and not gone else 0.0
    if now - run.settled_from < world.terms.settle + limit:
        return run
    return run.to(Stage.SCALE_DOWN, now, run.because, wanted=wanted)


def _deployment_gone(world: World) -> bool:
    return world.deployment is None or world.deployment.deleting


def scale_down(run: Run, world: World, now: float) -> Run:
    """The canary's pods are gone, and every proxy knows."""
    if (
        world.canary is not None
        or (not run.wanted.carrier and world.carrier is not None)
        or not settled(run, world, now)
    ):
        return run
    if run.wanted.carrier:
        return _carried(run, world, now)
    return _restore(run, now)


def _restore(run: Run, now: float) -> Run:
    return run.to(Stage.RESTORE, now, run.because, wanted=replace(run.wanted, traffic=Traffic()))


def _carried(run: Run, world: World, now: float) -> Run:
    """Rolled back onto a carrier: the next run takes it over, or the Deployment takes its template."""
    assert run.stable is not None
    if run.reason == "Superseded" or _newer_template(run, world):
        return _hand_on(run, now)
    wanted = replace(run.wanted, template=run.stable.revision, paused=False)
    return run.to(Stage.RETURN_ROLL, now, run.because, wanted=wanted)


def _newer_template(run: Run, world: World) -> bool:
    """Whether the owner has written another template since: it must not be written over."""
    known = (run.revision, run.stable.revision if run.stable else "")
    return world.deployment is not None and world.deployment.revision not in known


def _hand_on(run: Run, now: float) -> Run:
    wanted = replace(run.wanted, template="", paused=True)
    return run.to(Stage.DONE, now, run.because, finished=now, hands_on=True, wanted=wanted)


def return_roll(run: Run, world: World, now: float) -> Run:
    """The Deployment rolls to the carrier's revision; the carrier keeps the traffic meanwhile."""
    assert run.stable is not None
    if _newer_template(run, world):
        return _hand_on(run, now)
    serving = world.serving
    deployment = world.deployment
    replicas = deployment.replicas if deployment else 0
    asleep = deployment is not None and replicas == 0 and deployment.revision == run.stable.revision
    if asleep or _deployment_gone(world):
        # Nothing is to run: neither is the carrier.
        return run.to(
            Stage.SCALE_DOWN, now, run.because, wanted=replace(run.wanted, carrier=False, template="")
        )
    back = next((rs for rs in serving if rs.revision == run.stable.revision), None)
    if back is None or len(serving) > 1 or back.ready < replicas:
        return run
    wanted = replace(run.wanted, paused=True, template="", canary_subset={"pod-template-hash": back.hash})
    return run.to(Stage.RETURN_REPOINT, now, run.because, wanted=wanted)


def return_repoint(run: Run, world: World, now: float) -> Run:
    """Subset canary, at weight 0, names the Deployment's own pods: the traffic may move to them."""
    if not settled(run, world, now):
        return run
    return run.to(
        Stage.RETURN_SHIFT, now, run.because, wanted=replace(run.wanted, traffic=Traffic(Form.SPLIT, 100))
    )


def return_shift(run: Run, world: World, now: float) -> Run:
    """The Deployment's own pods serve: the carrier may go."""
    if not settled(run, world, now):
        return run
    return run.to(Stage.SCALE_DOWN, now, run.because, wanted=replace(run.wanted, carrier=False))


def restore(run: Run, world: World, now: float) -> Run:
    """The routes are as their owners wrote them, everywhere: nothing names our subsets any more."""
    if not settled(run, world, now):
        return run
    wanted = replace(run.wanted, stable_subset=None, canary_subset=None)
    return run.to(Stage.REMOVE, now, run.because, wanted=wanted)


def remove(run: Run, world: World, now: float) -> Run:
    """The subsets are gone; the gate goes to its state of rest."""
    if world.subsets or run.settled_from is None:
        return run
    return _rest(run, world, now)


def _rest(run: Run, world: World, now: float) -> Run:
    paused = world.terms.rest_paused and run.reason not in ("Overridden", "Released")
    template = run.stable.revision if _reverts(run, world) and run.stable else ""
    wanted = replace(run.wanted, paused=paused, template=template)
    return run.to(Stage.REST, now, run.because, wanted=wanted)


def _reverts(run: Run, world: World) -> bool:
    """Whether the running template goes back into the Deployment: never when it would fight its owner."""
    if run.reason == "Released":
        return True
    if _newer_template(run, world):
        return False
    judged = run.reason not in ("Superseded", "Reverted", "Overridden", "DeploymentDeleted", "Promoted")
    return (
        judged
        and run.outcome is Outcome.ROLLED_BACK
        and run.policy is not None
        and run.policy.on_reject == "revert"
    )


def rest(run: Run, _world: World, now: float) -> Run:
    """Over: what is left is the record."""
    if run.settled_from is None:
        return run
    return run.to(Stage.DONE, now, run.because, finished=now)
