"""What a Deployment without an active run needs: a run, a closed gate, its freedom back, or nothing."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from canaryd.domain.model import Outcome, Run
from canaryd.domain.world import DeploymentView, ReplicaSetView, Terms

# Ends that say nothing about the revision.
UNJUDGED = frozenset(
    {
        "ScaledToZero",
        "Released",
        "Swept",
        "Superseded",
        "Reverted",
        "RouteDeleted",
        "DeploymentDeleted",
    }
)


@dataclass(frozen=True, slots=True)
class Start:
    """Begin a run of the Deployment's present revision, beside `after`'s carrier if that run handed on."""

    after: Run | None = None


@dataclass(frozen=True, slots=True)
class Gate:
    """Set spec.paused."""

    paused: bool
    because: str


@dataclass(frozen=True, slots=True)
class HandBack:
    """One patch: the running template and paused: false. Rolling out what waits is the owner's choice."""

    revision: str  # the running one
    because: str


@dataclass(frozen=True, slots=True)
class Nothing:
    because: str


Care = Start | Gate | HandBack | Nothing


def idle(
    deployment: DeploymentView,
    replicasets: Sequence[ReplicaSetView],
    finished: Sequence[Run],
    terms: Terms,
    *,
    gated: bool,
    roll_restarts: bool = False,
) -> Care:
    """What `deployment` needs; `finished` are its ended runs, newest first. Pure.

    gated: whether canaryd is known to have closed this Deployment's gate before.
    roll_restarts: whether a change that only restarts pods rolls at once instead of being released.
    """
    if deployment.deleting:
        return Nothing("being deleted")
    serving = [rs for rs in replicasets if rs.replicas > 0]
    last = finished[0] if finished else None
    if last is not None and last.hands_on:
        return Start(after=last)  # also where the annotation is gone: the traffic must come back first
    if not deployment.enabled:
        return _released(deployment, serving, _ran_last(replicasets, last))
    if deployment.replicas == 0:
        return _asleep(deployment, replicasets, last)
    if not serving or _is_first(deployment, replicasets, serving):
        return _first_install(deployment)
    old = [rs for rs in serving if rs.revision != deployment.revision]
    if not old:
        return _at_rest(deployment, serving[0], terms)
    if len(old) > 1:
        return Nothing("a rollout that began without us is under way")
    return _new_revision(deployment, last, gated=gated, roll_restarts=roll_restarts)


def _is_first(
    deployment: DeploymentView, replicasets: Sequence[ReplicaSetView], serving: Sequence[ReplicaSetView]
) -> bool:
    """Whether nothing has ever been ready: the only ReplicaSet is the template's own."""
    only = serving[0]
    return len(replicasets) == 1 and only.ready == 0 and only.revision == deployment.revision


def _released(
    deployment: DeploymentView, serving: Sequence[ReplicaSetView], ran_last: ReplicaSetView | None
) -> Care:
    if not (deployment.paused and deployment.owns_pause):
        return Nothing("not managed")
    running = max(serving, key=lambda rs: rs.ready, default=ran_last)
    if running is None or running.revision == deployment.revision:
        return Gate(False, "canaryd.io/enabled is gone: handed back")
    return HandBack(
        running.revision, "canaryd.io/enabled is gone: the running template stays, the gate opens"
    )


def _ran_last(replicasets: Sequence[ReplicaSetView], last: Run | None) -> ReplicaSetView | None:
    """The ReplicaSet that served before all were scaled to zero.

    The last run knows; a ReplicaSet's number does not: the controller raises it as soon as a template matches.
    """
    revision = None
    if last is not None:
        succeeded = last.outcome is Outcome.SUCCEEDED
        revision = last.revision if succeeded else last.stable.revision if last.stable else None
    known = next((rs for rs in replicasets if rs.revision == revision), None)
    return known or max(replicasets, key=lambda rs: rs.sequence, default=None)


def _asleep(deployment: DeploymentView, replicasets: Sequence[ReplicaSetView], last: Run | None) -> Care:
    """Scaled to zero. Kubernetes would revive the template's ReplicaSet, else the newest: it must be the one that ran."""
    ran_last = _ran_last(replicasets, last)
    if ran_last is None:
        return Nothing("scaled to zero")
    own = next((rs for rs in replicasets if rs.revision == deployment.revision), None)
    revived = own or max(replicasets, key=lambda rs: rs.created)
    if revived.revision == ran_last.revision:
        return Nothing("scaled to zero; a new revision is released when it is scaled up")
    return HandBack(
        ran_last.revision, f"scaled to zero: revision {ran_last.revision} is put back, it ran last"
    )


def _first_install(deployment: DeploymentView) -> Care:
    if deployment.paused:
        return Gate(False, "first install: there is nothing to compare with, it is let through")
    return Nothing("first install")


def _at_rest(deployment: DeploymentView, running: ReplicaSetView, terms: Terms) -> Care:
    if deployment.paused == terms.rest_paused or (deployment.paused and not deployment.owns_pause):
        return Nothing("at rest")
    if terms.rest_paused and running.ready < min(deployment.replicas, running.replicas):
        return Nothing("waiting for the rollout to end")
    return Gate(terms.rest_paused, f"at rest at revision {running.revision}")


def _new_revision(deployment: DeploymentView, last: Run | None, *, gated: bool, roll_restarts: bool) -> Care:
    revision = deployment.revision
    if deployment.skip == revision:
        return _let_through(deployment, f"canaryd.io/skip lets revision {revision} through")
    if deployment.restart_only and roll_restarts:
        return _let_through(deployment, "only a restart, and the policy rolls restarts")
    if last is not None and last.revision == revision:
        return _seen_before(deployment, last)
    if not deployment.paused and not gated:
        return Nothing(f"the gate was open when revision {revision} came: it rolls out by itself")
    return Start()


def _seen_before(deployment: DeploymentView, last: Run) -> Care:
    """The revision of the last run again: rejected, let through by its owner, or to be tried once more."""
    if last.reason == "Overridden":
        return _let_through(deployment, f"revision {last.revision} was unpaused by its owner")
    if not _rejects(last) or last.retry != deployment.retry:
        return Start()
    if not deployment.paused:
        return Nothing(f"rejected revision {last.revision} was unpaused by its owner: it rolls out by itself")
    return Nothing(
        f"revision {last.revision} was rolled back ({last.reason}); canaryd.io/retry tries it again"
    )


def _rejects(run: Run) -> bool:
    """Whether the end of `run` speaks against its revision."""
    return run.outcome is Outcome.ROLLED_BACK and run.reason not in UNJUDGED


def _let_through(deployment: DeploymentView, because: str) -> Care:
    return Gate(False, because) if deployment.paused else Nothing(because)
