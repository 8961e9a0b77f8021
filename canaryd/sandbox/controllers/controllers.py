"""The three controllers together: one set of views, one queue, two workers."""

import threading
from datetime import UTC, datetime
from typing import Literal

import structlog

from canaryd.cluster.errors import ApiError, Conflict, Forbidden, NotFound
from canaryd.cluster.resources import DEPLOYMENTS, ENDPOINTS, PODS, REPLICASETS, SERVICES, Key
from canaryd.cluster.transport import Api
from canaryd.sandbox.controllers.cluster import MANAGER, Cluster
from canaryd.sandbox.controllers.deployments import DeploymentController
from canaryd.sandbox.controllers.endpoints import EndpointsController
from canaryd.sandbox.controllers.events import EventRecorder
from canaryd.sandbox.controllers.keyed_queue import KeyedQueue
from canaryd.sandbox.controllers.model import (
    Deployment,
    Meta,
    ReplicaSet,
    parse_deployment,
    parse_replica_set,
)
from canaryd.sandbox.controllers.network import (
    Endpoints,
    Pod,
    Service,
    parse_endpoints,
    parse_pod,
    parse_service,
)
from canaryd.sandbox.controllers.replica_sets import ReplicaSetController
from canaryd.sandbox.controllers.view import View

Kind = Literal["Deployment", "ReplicaSet", "Endpoints"]
_LOOK = 1.0  # seconds; while the first lists are awaited, stop() is looked at as often

_log = structlog.get_logger()


class Controllers:
    """Deployment, ReplicaSet and Endpoints controllers.

    namespace: the only one they look after; all of them by default.
    """

    def __init__(self, api: Api, *, namespace: str | None = None, workers: int = 2) -> None:
        self._queue: KeyedQueue[tuple[Kind, Key]] = KeyedQueue()
        self._cluster = cluster = Cluster(
            api=api,
            events=EventRecorder(api, MANAGER),
            now=lambda: datetime.now(UTC),
            deployments=View(
                api, DEPLOYMENTS, parse=parse_deployment, on_change=self._deployment, namespace=namespace
            ),
            replica_sets=View(
                api, REPLICASETS, parse=parse_replica_set, on_change=self._replica_set, namespace=namespace
            ),
            pods=View(api, PODS, parse=parse_pod, on_change=self._pod, namespace=namespace),
            services=View(api, SERVICES, parse=parse_service, on_change=self._service, namespace=namespace),
            endpoints=View(
                api, ENDPOINTS, parse=parse_endpoints, on_change=self._endpoints, namespace=namespace
            ),
        )
        network = (cluster.pods, cluster.services, cluster.endpoints)
        self._views = (cluster.deployments, cluster.replica_sets, *network)
        self._sync = {
            "Deployment": DeploymentController(cluster).sync,
            "ReplicaSet": ReplicaSetController(cluster).sync,
            "Endpoints": EndpointsController(cluster).sync,
        }
        self._workers = [
            threading.Thread(target=self._work, name=f"controller-{number}", daemon=True)
            for number in range(workers)
        ]

    def start(self) -> None:
        """Starts. Nothing is decided before everything has been listed. Once only."""
        for view in self._views:
            view.start()
        for worker in self._workers:
            worker.start()

    def stop(self) -> None:
        """Ends when the work in hand is done."""
        self._queue.close()
        for view in self._views:
            view.stop()
        for worker in self._workers:
            if worker.ident is not None:  # it was started
                worker.join()

    def _work(self) -> None:
        while not all(view.wait(_LOOK) for view in self._views):
            if self._queue.closed:
                return
        while (item := self._queue.take()) is not None:
            kind, key = item
            try:
                again = self._sync[kind](key)
            except ApiError as error:
                if _namespace_ends(error):
                    self._queue.done(item)
                    continue
                if not isinstance(error, Conflict | NotFound):  # somebody was faster; the watch will tell
                    _log.warning("sync failed", kind=kind, key="/".join(key), error=str(error))
                self._queue.failed(item)
            except Exception:  # noqa: BLE001 - the worker outlives whatever one object brings
                _log.exception("sync failed", kind=kind, key="/".join(key))
                self._queue.failed(item)
            else:
                self._queue.done(item, again_after=again)

    # What a change of one object means for others. Runs in the reflectors' threads.

    def _deployment(self, key: Key, old: Deployment | None, new: Deployment | None) -> None:
        del old, new
        self._queue.add(("Deployment", key))

    def _replica_set(self, key: Key, old: ReplicaSet | None, new: ReplicaSet | None) -> None:
        self._queue.add(("ReplicaSet", key))
        for rs in (old, new):
            if rs is None:
                continue
            if owner := rs.meta.controller:
                self._queue.add(("Deployment", (rs.meta.namespace, owner.name)))
        if new is not None and new.meta.controller is None:
            for deployment in self._cluster.deployments.within(new.meta.namespace):
                if deployment.selector.matches(new.meta.labels):
                    self._queue.add(("Deployment", deployment.meta.key))

    def _pod(self, key: Key, old: Pod | None, new: Pod | None) -> None:
        del key
        for pod in (old, new):
            if pod is not None:
                self._tell_services(pod.meta)
        pod = new or old
        assert pod is not None
        if owner := pod.meta.controller:
            replica_set = (pod.meta.namespace, owner.name)
            self._queue.add(("ReplicaSet", replica_set))
            if new is None:  # a Deployment of strategy Recreate waits for the last old pod to go
                self._tell_deployment(replica_set)
        elif new is not None:
            for rs in self._cluster.replica_sets.within(pod.meta.namespace):
                if rs.selector.matches(pod.meta.labels):
                    self._queue.add(("ReplicaSet", rs.meta.key))

    def _tell_services(self, pod: Meta) -> None:
        for service in self._cluster.services.within(pod.namespace):
            if service.selector is not None and service.selector.matches(pod.labels):
                self._queue.add(("Endpoints", service.meta.key))

    def _tell_deployment(self, replica_set: Key) -> None:
        rs = self._cluster.replica_sets.get(replica_set)
        if rs is not None and (owner := rs.meta.controller):
            self._queue.add(("Deployment", (rs.meta.namespace, owner.name)))

    def _service(self, key: Key, old: Service | None, new: Service | None) -> None:
        del old, new
        self._queue.add(("Endpoints", key))

    def _endpoints(self, key: Key, old: Endpoints | None, new: Endpoints | None) -> None:
        del old
        if new is None or self._cluster.services.get(key) is not None:
            self._queue.add(("Endpoints", key))


def _namespace_ends(error: ApiError) -> bool:
    """Nothing can be created in a namespace that is being deleted, and soon nothing need be."""
    return isinstance(error, Forbidden) and "being terminated" in error.message
