"""The status of a Deployment: its counts, and what its conditions say of progress. Pure."""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from datetime import datetime, timedelta

from canaryd.cluster.resources import Json
from canaryd.sandbox.controllers.model import Condition, Deployment, DeploymentStatus, ReplicaSet, format_time
from canaryd.sandbox.controllers.rollout import may_lack, total

PROGRESSING, AVAILABLE, FAILURE = "Progressing", "Available", "ReplicaFailure"
COMPLETE, TIMED_OUT = "NewReplicaSetAvailable", "ProgressDeadlineExceeded"
PAUSED, RESUMED = "DeploymentPaused", "DeploymentResumed"


def counted(
    deployment: Deployment, new: ReplicaSet | None, old_sets: Sequence[ReplicaSet], now: datetime
) -> DeploymentStatus:
    """The status without an estimate of progress: while paused, resized or deleted."""
    every = [*old_sets, *([new] if new else [])]
    available = sum(rs.status.available for rs in every)
    enough = available >= deployment.replicas - may_lack(deployment)
    status = replace(
        deployment.status,
        observed_generation=deployment.meta.generation,
        replicas=sum(rs.status.replicas for rs in every),
        updated=new.status.replicas if new else 0,
        ready=sum(rs.status.ready for rs in every),
        available=available,
        unavailable=max(0, total(every) - available),
    )
    if enough:
        text = "Deployment has minimum availability."
        return _with(status, _said(AVAILABLE, "True", "MinimumReplicasAvailable", text, now))
    text = "Deployment does not have minimum availability."
    return _with(status, _said(AVAILABLE, "False", "MinimumReplicasUnavailable", text, now))


def rolled(
    deployment: Deployment, new: ReplicaSet | None, old_sets: Sequence[ReplicaSet], now: datetime
) -> DeploymentStatus:
    """The status in a rollout, with the Progressing condition brought up to date."""
    before, status = deployment.status, counted(deployment, new, old_sets, now)
    known = before.condition(PROGRESSING)
    if deployment.progress_deadline is None:
        status = _without(status, PROGRESSING)
    elif not (status.replicas == status.updated and known and known.reason == COMPLETE):
        status = _estimated(deployment, new, status, now)
    failures = [rs.status.failure for rs in [*([new] if new else []), *old_sets] if rs.status.failure]
    if not failures:
        return _without(status, FAILURE)
    failure = failures[0]
    return _with(status, _said(FAILURE, failure.status, failure.reason, failure.message, now))


def pause_noted(deployment: Deployment, now: datetime) -> DeploymentStatus:
    """The status that says that the Deployment is paused, or was resumed; unchanged where it says so already.
    The progress deadline does not run meanwhile, but one that has passed stays reported."""
    status = deployment.status
    known = status.condition(PROGRESSING)
    if deployment.progress_deadline is None or (known and known.reason == TIMED_OUT):
        return status
    said = known is not None and known.reason == PAUSED
    if deployment.paused and not said:
        return _with(status, _said(PROGRESSING, "Unknown", PAUSED, "Deployment is paused", now))
    if said and not deployment.paused:
        return _with(status, _said(PROGRESSING, "Unknown", RESUMED, "Deployment is resumed", now))
    return status


def revision_found(
    deployment: Deployment, new: ReplicaSet, *, created: bool, now: datetime
) -> DeploymentStatus:
    """The status once the new ReplicaSet exists: the progress deadline runs from here."""
    if deployment.progress_deadline is None:
        return deployment.status
    if created:
        text = f'Created new replica set "{new.meta.name}"'
        return _with(deployment.status, _said(PROGRESSING, "True", "NewReplicaSetCreated", text, now))
    if deployment.status.condition(PROGRESSING) is not None:
        return deployment.status
    text = f'Found new replica set "{new.meta.name}"'
    return _with(deployment.status, _said(PROGRESSING, "True", "FoundNewReplicaSet", text, now))


def creation_failed(deployment: Deployment, why: str, now: datetime) -> DeploymentStatus:
    """The status when the new ReplicaSet could not be created."""
    if deployment.progress_deadline is None:
        return deployment.status
    return _with(deployment.status, _said(PROGRESSING, "False", "ReplicaSetCreateError", why, now))


def complete(deployment: Deployment, status: DeploymentStatus) -> bool:
    """Whether the rollout is over: every replica is new and available, and no old one is left."""
    counts = {status.updated, status.replicas, status.available}
    return counts == {deployment.replicas} and status.observed_generation >= deployment.meta.generation


def next_check(deployment: Deployment, status: DeploymentStatus, now: datetime) -> float | None:
    """Seconds until the progress deadline must be looked at again; None where it need not."""
    known = status.condition(PROGRESSING)
    if deployment.progress_deadline is None or known is None or deployment.paused:
        return None
    if complete(deployment, status) or known.reason == TIMED_OUT:
        return None
    due = known.updated + timedelta(seconds=deployment.progress_deadline)
    return max(0.0, (due - now).total_seconds()) + 1.0


def status_json(status: DeploymentStatus) -> Json:
    """As a merge patch's `status`: counts of zero are absent, as the API has them."""
    counts = {
        "observedGeneration": status.observed_generation,
        "replicas": status.replicas,
        "updatedReplicas": status.updated,
        "readyReplicas": status.ready,
        "availableReplicas": status.available,
        "unavailableReplicas": status.unavailable,
    }
    result: Json = {name: count or None for name, count in counts.items()}
    return result | {"collisionCount": status.collisions, "conditions": conditions_json(status.conditions)}


def conditions_json(conditions: Iterable[Condition]) -> list[Json]:
    """As the `conditions` of a Deployment's status."""
    return [
        {
            "type": condition.kind,
            "status": condition.status,
            "reason": condition.reason,
            "message": condition.message,
            "lastUpdateTime": format_time(condition.updated),
            "lastTransitionTime": format_time(condition.since),
        }
        for condition in conditions
    ]


def _estimated(
    deployment: Deployment, new: ReplicaSet | None, status: DeploymentStatus, now: datetime
) -> DeploymentStatus:
    before = deployment.status
    name = f'ReplicaSet "{new.meta.name}"' if new else f'Deployment "{deployment.meta.name}"'
    if complete(deployment, status):
        return _with(
            status, _said(PROGRESSING, "True", COMPLETE, f"{name} has successfully progressed.", now)
        )
    if _advanced(before, status):
        # Said again even if it was said before: lastUpdateTime is what the deadline is measured from.
        text, reason = f"{name} is progressing.", "ReplicaSetUpdated"
        return _with(status, _said(PROGRESSING, "True", reason, text, now), again=True)
    known = status.condition(PROGRESSING)
    if known is None or known.reason == COMPLETE or deployment.progress_deadline is None:
        return status
    if known.updated + timedelta(seconds=deployment.progress_deadline) >= now:
        return status
    return _with(status, _said(PROGRESSING, "False", TIMED_OUT, f"{name} has timed out progressing.", now))


def _advanced(before: DeploymentStatus, after: DeploymentStatus) -> bool:
    old_left = after.replicas - after.updated < before.replicas - before.updated
    more = after.updated > before.updated or after.ready > before.ready or after.available > before.available
    return old_left or more


def _said(kind: str, value: str, reason: str, message: str, now: datetime) -> Condition:
    return Condition(kind, value, reason, message, now.replace(microsecond=0), now.replace(microsecond=0))


def _with(status: DeploymentStatus, said: Condition, *, again: bool = False) -> DeploymentStatus:
    """With the condition set. One that has the value and reason already stays as it is, unless `again`."""
    known = status.condition(said.kind)
    if known is not None and (known.status, known.reason) == (said.status, said.reason) and not again:
        return status
    since = known.since if known is not None and known.status == said.status else said.since
    others = _without(status, said.kind).conditions
    return replace(status, conditions=(*others, replace(said, since=since)))


def _without(status: DeploymentStatus, kind: str) -> DeploymentStatus:
    return replace(status, conditions=tuple(c for c in status.conditions if c.kind != kind))
