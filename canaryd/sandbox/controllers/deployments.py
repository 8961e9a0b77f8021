"""The Deployment controller: rolls templates out through ReplicaSets, and resizes them.

Each sync makes at most one step of a rollout and writes the status; what the step changes brings the next
sync. What to do is decided by `rollout`, `revisions` and `progress`; here it is only done.
"""

from dataclasses import dataclass, replace

from canaryd.cluster.errors import AlreadyExists, ApiError, NotFound
from canaryd.cluster.resources import DEPLOYMENTS, REPLICASETS, Json, Key
from canaryd.sandbox.controllers import progress, revisions, rollout
from canaryd.sandbox.controllers.cluster import MANAGER, Cluster
from canaryd.sandbox.controllers.events import About
from canaryd.sandbox.controllers.model import Deployment, DeploymentStatus, ReplicaSet, parse_replica_set
from canaryd.sandbox.controllers.ownership import Claims
from canaryd.sandbox.controllers.template import same_template

_SOON = 0.2  # seconds until the name of a new ReplicaSet, which was taken, is tried again


@dataclass(slots=True)
class _Family:
    """A Deployment and its ReplicaSets, as of the last write in this sync."""

    deployment: Deployment
    new: ReplicaSet | None
    old: list[ReplicaSet]

    @property
    def every(self) -> list[ReplicaSet]:
        return [*self.old, *([self.new] if self.new else [])]

    def put(self, rs: ReplicaSet) -> None:
        if self.new is not None and self.new.meta.name == rs.meta.name:
            self.new = rs
        else:
            self.old = [rs if rs.meta.name == other.meta.name else other for other in self.old]


class DeploymentController:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._claims = Claims(cluster.api, DEPLOYMENTS, REPLICASETS)

    def sync(self, key: Key) -> float | None:
        """Takes one Deployment one step further. Returns the seconds after which it must be looked at again
        without any change, or None. Raises ApiError."""
        deployment = self._cluster.deployments.get(key)
        if deployment is None or not deployment.selector.requirements:
            return None
        view = self._cluster.replica_sets
        sets = self._claims.owned(
            deployment.meta, deployment.selector, view, view.within(deployment.meta.namespace)
        )
        new, old = revisions.split(deployment, sets)
        family = _Family(deployment, new, old)
        if deployment.meta.deleting:
            return self._finish(family, rolling=False)
        self._write_status(family, progress.pause_noted(deployment, self._cluster.now()))
        if deployment.paused or rollout.is_resize(deployment, sets):
            return self._rescale(family)
        if deployment.recreate:
            return self._recreate(family)
        return self._roll(family)

    def _rescale(self, family: _Family) -> float | None:
        self._sync_revision(family)
        sizes = rollout.rescaled(family.deployment, family.new, family.old)
        for rs in family.every:
            if rs.meta.name in sizes:
                self._resize(family, rs, sizes[rs.meta.name])
        if family.deployment.paused:
            self._clean_up(family)
        return self._finish(family, rolling=False)

    def _roll(self, family: _Family) -> float | None:
        self._sync_revision(family) if family.new else self._create(family)
        new = family.new
        if new is None:
            return _SOON
        size = rollout.grown(family.deployment, new.replicas, family.every)
        if size != new.replicas:
            self._resize(family, new, size)
            return self._finish(family, rolling=True)
        sizes = rollout.shrunk(family.deployment, new, family.old)
        for rs in family.old:
            if rs.meta.name in sizes:
                self._resize(family, rs, sizes[rs.meta.name])
        if not sizes:
            self._clean_up_when_complete(family)
        return self._finish(family, rolling=True)

    def _recreate(self, family: _Family) -> float | None:
        if family.new:
            self._sync_revision(family)
        active = [rs for rs in family.old if rs.replicas > 0]
        for rs in active:
            self._resize(family, rs, 0)
        if active or self._old_pods_run(family):
            return self._finish(family, rolling=True)
        if family.new is None:
            self._create(family)
        if family.new is None:
            return _SOON
        if family.new.replicas != family.deployment.replicas:
            self._resize(family, family.new, family.deployment.replicas)
        self._clean_up_when_complete(family)
        return self._finish(family, rolling=True)

    def _old_pods_run(self, family: _Family) -> bool:
        """Whether a pod of an old template may still be at work, be it on its way out."""
        if any(rs.status.replicas for rs in family.old):
            return True
        old = {rs.meta.uid for rs in family.old}
        pods = self._cluster.pods.within(family.deployment.meta.namespace)
        owned = (pod for pod in pods if pod.meta.controller and pod.meta.controller.uid in old)
        return any(not pod.finished for pod in owned)

    def _sync_revision(self, family: _Family) -> None:
        """Brings the new ReplicaSet's annotations, and the Deployment's revision, up to date."""
        new, deployment = family.new, family.deployment
        if new is None:
            return
        revision = revisions.next_revision(family.old)
        annotations = revisions.annotations(deployment, new, revision)
        patch: Json = {"metadata": {"annotations": annotations}} if annotations else {}
        if new.min_ready_seconds != deployment.min_ready_seconds:
            patch["spec"] = {"minReadySeconds": deployment.min_ready_seconds}
        if patch:
            new = self._patch(family, new, patch)
        self._announce(family, new.meta.annotations.get(revisions.REVISION, str(revision)))
        now = self._cluster.now()
        self._write_status(family, progress.revision_found(family.deployment, new, created=False, now=now))

    def _create(self, family: _Family) -> None:
        """Creates the ReplicaSet of the Deployment's template."""
        deployment, meta = family.deployment, family.deployment.meta
        revision = revisions.next_revision(family.old)
        replicas = rollout.grown(deployment, 0, family.old)
        body = revisions.new_replica_set(deployment, replicas, revision)
        now = self._cluster.now()
        try:
            raw = self._cluster.api.create(REPLICASETS, meta.namespace, body)
        except AlreadyExists:
            self._resolve_name_clash(family, body["metadata"]["name"])
            return
        except ApiError as error:
            self._write_status(family, progress.creation_failed(deployment, error.message, now))
            raise
        new = family.new = self._cluster.replica_sets.wrote(raw)
        if replicas:
            self._record(deployment, f"Scaled up replica set {new.meta.name} to {replicas}")
        self._announce(family, str(revision))
        self._write_status(family, progress.revision_found(family.deployment, new, created=True, now=now))

    def _resolve_name_clash(self, family: _Family, name: str) -> None:
        """The name is taken: by our own ReplicaSet, which the local copy has yet to show, or by a different
        template of the same hash, which calls for another name."""
        deployment = family.deployment
        try:
            raw = self._cluster.api.get(REPLICASETS, deployment.meta.namespace, name)
        except NotFound:
            return
        existing = parse_replica_set(raw)
        owner = existing.meta.controller
        ours = owner is not None and owner.uid == deployment.meta.uid
        if ours and same_template(existing.template, deployment.template):
            family.new = self._cluster.replica_sets.wrote(raw)
            return
        collisions = (deployment.status.collisions or 0) + 1
        self._write_status(family, replace(deployment.status, collisions=collisions))

    def _resize(self, family: _Family, rs: ReplicaSet, size: int) -> None:
        deployment = family.deployment
        marks = rollout.marks(deployment)
        marked = all(rs.meta.annotations.get(name) == text for name, text in marks.items())
        if marked and size == rs.replicas:
            return
        self._patch(family, rs, {"metadata": {"annotations": marks}, "spec": {"replicas": size}})
        if size != rs.replicas:
            way = "up" if size > rs.replicas else "down"
            text = f"Scaled {way} replica set {rs.meta.name} from {rs.replicas} to {size}"
            self._record(deployment, text)

    def _clean_up_when_complete(self, family: _Family) -> None:
        if progress.complete(family.deployment, family.deployment.status):
            self._clean_up(family)

    def _clean_up(self, family: _Family) -> None:
        for rs in revisions.obsolete(family.deployment, family.old):
            try:
                self._cluster.api.delete(REPLICASETS, rs.meta.namespace, rs.meta.name, uid=rs.meta.uid)
            except NotFound:
                continue
            self._cluster.replica_sets.removed(rs)

    def _patch(self, family: _Family, rs: ReplicaSet, patch: Json) -> ReplicaSet:
        raw = self._cluster.api.patch(
            REPLICASETS, rs.meta.namespace, rs.meta.name, patch, field_manager=MANAGER
        )
        written = self._cluster.replica_sets.wrote(raw)
        family.put(written)
        return written

    def _announce(self, family: _Family, revision: str) -> None:
        """Copies the new ReplicaSet's revision to the Deployment."""
        meta = family.deployment.meta
        if meta.annotations.get(revisions.REVISION) == revision:
            return
        patch = {"metadata": {"annotations": {revisions.REVISION: revision}}}
        raw = self._cluster.api.patch(DEPLOYMENTS, meta.namespace, meta.name, patch, field_manager=MANAGER)
        annotations = {**meta.annotations, revisions.REVISION: revision}
        self._cluster.deployments.wrote(raw)
        family.deployment = replace(family.deployment, meta=replace(meta, annotations=annotations))

    def _finish(self, family: _Family, *, rolling: bool) -> float | None:
        now = self._cluster.now()
        judge = progress.rolled if rolling else progress.counted
        status = judge(family.deployment, family.new, family.old, now)
        self._write_status(family, status)
        return progress.next_check(family.deployment, status, now) if rolling else None

    def _write_status(self, family: _Family, status: DeploymentStatus) -> None:
        """Writes the status if it differs from the one last known. The Deployment's spec stays the one that
        this sync began with, also where the answer shows a newer one: that brings a sync of its own."""
        deployment = family.deployment
        if status == deployment.status:
            return
        meta = deployment.meta
        raw = self._cluster.api.patch(
            DEPLOYMENTS,
            meta.namespace,
            meta.name,
            {"status": progress.status_json(status)},
            subresource="status",
            field_manager=MANAGER,
        )
        self._cluster.deployments.wrote(raw)
        family.deployment = replace(deployment, status=status)

    def _record(self, deployment: Deployment, message: str) -> None:
        meta = deployment.meta
        about = About("apps/v1", "Deployment", meta.namespace, meta.name, meta.uid)
        self._cluster.events.record(about, "Normal", "ScalingReplicaSet", message)
