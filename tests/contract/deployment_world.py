"""Clusters whose controllers run, and a small world in one of their namespaces to try Deployments in.

There is no kubelet: `World.settle` plays the node and turns pods ready.
"""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from canaryd.cluster.errors import Conflict, NotFound, NotServed
from canaryd.cluster.resources import DEPLOYMENTS, NAMESPACES, PODS, REPLICASETS, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.controllers.controllers import Controllers
from contract.servers import deployment

_REAL = pytest.mark.real


@pytest.fixture(
    scope="module",
    params=["sandbox", pytest.param("real", marks=_REAL), pytest.param("sandbox on real", marks=_REAL)],
)
def cluster_api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A cluster whose controllers run."""
    if request.param == "sandbox":
        with ApiServer() as server:
            path = server.kubeconfig(tmp_path_factory.mktemp("deployments") / "kubeconfig")
            yield from _with_controllers(path)
        return
    from canaryd.sandbox.realcluster import RealCluster, available

    reason = available()
    if reason is not None and os.environ.get("CANARYD_REQUIRE_REAL"):
        pytest.fail(f"CANARYD_REQUIRE_REAL is set, but: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
    if request.param == "real":
        with RealCluster() as cluster:
            yield Api.connect(str(cluster.kubeconfig))
        return
    with RealCluster(controllers=("garbagecollector", "namespace")) as cluster:
        yield from _with_controllers(cluster.kubeconfig)


def _with_controllers(kubeconfig: Path) -> Iterator[Api]:
    api = Api.connect(str(kubeconfig))
    controllers = Controllers(api)
    controllers.start()
    try:
        yield api
    finally:
        controllers.stop()
        api.close()


class World:
    """A namespace with a Deployment named web. Pods of an image in `unready` stay so; all others turn ready
    while the test waits."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.unready: set[str] = set()

    def create(self, *, wait: bool = True, **spec: Any) -> Json:
        made = self.api.create(DEPLOYMENTS, self.namespace, deployment(**spec))
        if wait:
            replicas = spec.get("replicas", 1)
            self.settle(lambda: self.complete(replicas), "the first rollout is complete")
        return made

    def patch(self, kind: Literal["merge", "strategic"] = "merge", **spec: Any) -> None:
        """Changes the spec, and waits until the controller has seen it."""
        changed = self.api.patch(DEPLOYMENTS, self.namespace, "web", {"spec": spec}, kind=kind)
        generation = changed["metadata"]["generation"]
        self.settle(
            lambda: self.status().get("observedGeneration", 0) >= generation, "the change is observed"
        )

    def orphan(self) -> None:
        """Deletes the Deployment and leaves its ReplicaSets."""
        self.api.delete(DEPLOYMENTS, self.namespace, "web", propagation="Orphan")
        self.settle(lambda: not self.api.list(DEPLOYMENTS, self.namespace)[0], "deleted")
        assert not any(rs["metadata"].get("ownerReferences") for rs in self.sets())

    def set_image(self, image: str, **spec: Any) -> None:
        template = {"spec": {"containers": [{"name": "a", "image": image}]}}
        self.patch("strategic", template=template, **spec)

    def deployment(self) -> Json:
        return self.api.get(DEPLOYMENTS, self.namespace, "web")

    def status(self) -> Json:
        found: Json = self.deployment().get("status") or {}
        return found

    def condition(self, kind: str) -> Json:
        found: Json = next((c for c in self.status().get("conditions", ()) if c["type"] == kind), {})
        return found

    def complete(self, replicas: int) -> bool:
        status = self.status()
        counts = (status.get(name, 0) for name in ("replicas", "updatedReplicas", "availableReplicas"))
        return set(counts) == {replicas} and self.deployment()["metadata"]["generation"] == status.get(
            "observedGeneration"
        )

    def sets(self) -> list[Json]:
        return self.api.list(REPLICASETS, self.namespace)[0]

    def sizes(self) -> dict[str, int]:
        """Wanted replicas by image."""
        return {image_of(rs["spec"]["template"]): rs["spec"]["replicas"] for rs in self.sets()}

    def pods(self) -> list[Json]:
        return [p for p in self.api.list(PODS, self.namespace)[0] if "deletionTimestamp" not in p["metadata"]]

    def serving(self) -> dict[str, int]:
        """Ready pods by image."""
        found: dict[str, int] = {}
        for pod in self.pods():
            found[image_of(pod)] = found.get(image_of(pod), 0) + is_ready(pod)
        return {image: count for image, count in found.items() if count}

    def mark(self, pod: Json, *, ready: bool, phase: str = "Running") -> None:
        """Sets a pod's status, as a kubelet does."""
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {"type": "Ready", "status": str(ready), "lastTransitionTime": now}
        # Endpoints refuse loopback addresses on a real server; nothing is ever sent to this one.
        address = f"10.0.0.{int(pod['metadata']['uid'][:2], 16) % 250 + 1}"
        status = {"phase": phase, "podIP": address, "conditions": [condition]}
        try:
            if not pod["spec"].get("nodeName"):
                self._bind(pod)
            self.api.patch(
                PODS, self.namespace, pod["metadata"]["name"], {"status": status}, subresource="status"
            )
        except (NotFound, Conflict):  # it was deleted since it was listed
            return

    def settle(
        self, holds: Callable[[], object], what: str, *, watch: Callable[[], None] | None = None
    ) -> None:
        """Plays the node until it holds. `watch` is called between two steps."""
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, f"not within 60 s: {what}"
            self.play_node(watch)
            time.sleep(0.03)

    def play_node(self, watch: Callable[[], None] | None = None) -> None:
        """What a kubelet does, once: new pods turn ready, and those that were deleted go."""
        for pod in self.api.list(PODS, self.namespace)[0]:
            if "deletionTimestamp" in pod["metadata"]:
                self._end(pod)
            elif not is_ready(pod) and image_of(pod) not in self.unready and not finished(pod):
                self.mark(pod, ready=True)
                if watch is not None:
                    watch()
        if watch is not None:
            watch()

    def _end(self, pod: Json) -> None:
        meta = pod["metadata"]
        try:
            self.api.delete(PODS, self.namespace, meta["name"], uid=meta["uid"], grace=0)
        except (NotFound, Conflict):
            return

    def _bind(self, pod: Json) -> None:
        name = pod["metadata"]["name"]
        target = {"apiVersion": "v1", "kind": "Node", "name": "n1"}
        binding = {"apiVersion": "v1", "kind": "Binding", "metadata": {"name": name}, "target": target}
        try:
            self.api.create(PODS, self.namespace, binding, subresource="binding")
        except NotServed:  # the sandbox's API server lets nodeName be written instead
            self.api.patch(PODS, self.namespace, name, {"spec": {"nodeName": "n1"}})

    def stays(self, holds: Callable[[], object], seconds: float = 1.0) -> None:
        """Plays the node for a while, in which it must hold all the time."""
        end = time.monotonic() + seconds
        self.settle(lambda: time.monotonic() > end, "", watch=lambda: _check(holds()))


def _check(holds: object) -> None:
    assert holds


def image_of(template_or_pod: Json) -> str:
    return str(template_or_pod["spec"]["containers"][0]["image"])


def is_ready(pod: Json) -> bool:
    conditions = (pod.get("status") or {}).get("conditions") or ()
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


def finished(pod: Json) -> bool:
    return (pod.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def names(objects: list[Json]) -> set[str]:
    return {each["metadata"]["name"] for each in objects}


@pytest.fixture
def world(cluster_api: Api) -> Iterator[World]:
    namespace = f"deployments-{uuid.uuid4().hex[:8]}"
    cluster_api.create(NAMESPACES, None, {"metadata": {"name": namespace}})
    yield World(cluster_api, namespace)
    cluster_api.delete(NAMESPACES, None, namespace)  # not waited for: no node ends its pods any more


def rolling(surge: int | str, unavailable: int | str) -> Json:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
