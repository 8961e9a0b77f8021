"""The ReplicaSet controller: keeps as many pods of one template as are asked for."""

from dataclasses import replace

from canaryd.cluster.errors import ApiError, NotFound
from canaryd.cluster.resources import PODS, REPLICASETS, Json, Key
from canaryd.sandbox.controllers import ranking
from canaryd.sandbox.controllers.cluster import MANAGER, Cluster
from canaryd.sandbox.controllers.events import About, EventType
from canaryd.sandbox.controllers.model import Condition, ReplicaSet, ReplicaSetStatus
from canaryd.sandbox.controllers.network import Pod
from canaryd.sandbox.controllers.ownership import Claims
from canaryd.sandbox.controllers.progress import conditions_json

_BURST = 500  # pods created or deleted at once


class ReplicaSetController:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._claims = Claims(cluster.api, REPLICASETS, PODS)

    def sync(self, key: Key) -> float | None:
        """Brings one ReplicaSet's pods and status into line. Returns the seconds after which it must be
        looked at again without any change, or None. Raises ApiError."""
        rs = self._cluster.replica_sets.get(key)
        if rs is None:
            return None
        active = [pod for pod in self._cluster.pods.within(rs.meta.namespace) if pod.active]
        pods = self._claims.owned(rs.meta, rs.selector, self._cluster.pods, active)
        failure: ApiError | None = None
        if not rs.meta.deleting:
            try:
                pods = self._resize(rs, pods)
            except ApiError as error:
                failure = error
        status = self._status(rs, pods, failure)
        if status != rs.status:
            self._write_status(rs, status)
        if failure is not None:
            raise failure
        waiting = status.ready == rs.replicas and status.available < rs.replicas
        return self._until_available(rs, pods) if waiting else None

    def _resize(self, rs: ReplicaSet, pods: list[Pod]) -> list[Pod]:
        """Creates what lacks, or deletes what is too many. Returns the pods that stay."""
        missing = rs.replicas - len(pods)
        if missing >= 0:
            return [*pods, *(self._create(rs) for _ in range(min(missing, _BURST)))]
        doomed = ranking.to_delete(
            pods, min(-missing, _BURST), related=self._related(rs), now=self._cluster.now()
        )
        for pod in doomed:
            self._delete(rs, pod)
        return [pod for pod in pods if pod not in doomed]

    def _create(self, rs: ReplicaSet) -> Pod:
        meta = rs.template.get("metadata") or {}
        body: Json = {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "generateName": f"{rs.meta.name}-",
                "namespace": rs.meta.namespace,
                "labels": meta.get("labels") or {},
                "annotations": meta.get("annotations") or {},
                "finalizers": meta.get("finalizers") or [],
                "ownerReferences": [self._claims.reference(rs.meta).json()],
            },
            "spec": rs.template.get("spec") or {},
        }
        try:
            raw = self._cluster.api.create(PODS, rs.meta.namespace, body)
        except ApiError as error:
            self._record(rs, "Warning", "FailedCreate", f"Error creating: {error.message}")
            raise
        pod = self._cluster.pods.wrote(raw)
        self._record(rs, "Normal", "SuccessfulCreate", f"Created pod: {pod.meta.name}")
        return pod

    def _delete(self, rs: ReplicaSet, pod: Pod) -> None:
        try:
            self._cluster.api.delete(PODS, pod.meta.namespace, pod.meta.name, uid=pod.meta.uid)
        except NotFound:
            return
        except ApiError as error:
            self._record(rs, "Warning", "FailedDelete", f"Error deleting: {error.message}")
            raise
        self._cluster.pods.removed(pod)
        self._record(rs, "Normal", "SuccessfulDelete", f"Deleted pod: {pod.meta.name}")

    def _related(self, rs: ReplicaSet) -> list[Pod]:
        """The pods of every ReplicaSet that has the same controller."""
        family = {rs.meta.uid}
        if owner := rs.meta.controller:
            for other in self._cluster.replica_sets.within(rs.meta.namespace):
                if other.meta.controller and other.meta.controller.uid == owner.uid:
                    family.add(other.meta.uid)
        pods = self._cluster.pods.within(rs.meta.namespace)
        return [pod for pod in pods if pod.meta.controller and pod.meta.controller.uid in family]

    def _status(self, rs: ReplicaSet, pods: list[Pod], failure: ApiError | None) -> ReplicaSetStatus:
        now = self._cluster.now()
        wanted = ((rs.template.get("metadata") or {}).get("labels") or {}).items()
        status = ReplicaSetStatus(
            observed_generation=rs.meta.generation,
            replicas=len(pods),
            fully_labeled=sum(wanted <= pod.meta.labels.items() for pod in pods),
            ready=sum(pod.ready for pod in pods),
            available=sum(pod.available(rs.min_ready_seconds, now) for pod in pods),
            failure=rs.status.failure if failure else None,
        )
        if failure is None or status.failure is not None:
            return status
        now = now.replace(microsecond=0)
        reason = "FailedCreate" if len(pods) < rs.replicas else "FailedDelete"
        condition = Condition("ReplicaFailure", "True", reason, failure.message, now, now)
        return replace(status, failure=condition)

    def _write_status(self, rs: ReplicaSet, status: ReplicaSetStatus) -> None:
        counts = {
            "fullyLabeledReplicas": status.fully_labeled,
            "readyReplicas": status.ready,
            "availableReplicas": status.available,
        }
        conditions = conditions_json([status.failure] if status.failure else [])
        for condition in conditions:
            del condition["lastUpdateTime"]  # a Deployment's conditions have it, a ReplicaSet's do not
        patch: Json = {
            "replicas": status.replicas,
            "observedGeneration": status.observed_generation,
            "conditions": conditions or None,
            **{name: count or None for name, count in counts.items()},
        }
        raw = self._cluster.api.patch(
            REPLICASETS,
            rs.meta.namespace,
            rs.meta.name,
            {"status": patch},
            subresource="status",
            field_manager=MANAGER,
        )
        self._cluster.replica_sets.wrote(raw)

    def _until_available(self, rs: ReplicaSet, pods: list[Pod]) -> float:
        now = self._cluster.now()
        ages = ((now - pod.ready_since).total_seconds() for pod in pods if pod.ready)
        left = [rs.min_ready_seconds - age for age in ages if age < rs.min_ready_seconds]
        return min(left, default=0.0) + 0.05

    def _record(self, rs: ReplicaSet, kind: EventType, reason: str, message: str) -> None:
        about = About("apps/v1", "ReplicaSet", rs.meta.namespace, rs.meta.name, rs.meta.uid)
        self._cluster.events.record(about, kind, reason, message)
