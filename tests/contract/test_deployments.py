"""What Deployments, ReplicaSets and Endpoints promise: the ground that a release in place stands on.

Held against the sandbox, against a real API server and controller manager, and against the sandbox's
controllers on a real API server. There is no kubelet: `World.settle` plays the node and turns pods ready.
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
from canaryd.cluster.resources import DEPLOYMENTS, ENDPOINTS, NAMESPACES, PODS, REPLICASETS, SERVICES, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.controllers.controllers import Controllers
from contract.servers import deployment

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
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
        except NotFound:
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
    world = World(cluster_api, namespace)
    yield world
    cluster_api.delete(NAMESPACES, None, namespace)
    world.settle(lambda: not cluster_api.list(PODS, namespace)[0], "the namespace is empty")


# ---- a rollout ---------------------------------------------------------------------------------------------


def test_a_deployment_makes_one_replica_set_and_its_pods(world: World) -> None:
    made = world.create(replicas=2)
    (rs,) = world.sets()
    hashed = rs["metadata"]["labels"][HASH]
    assert rs["metadata"]["name"] == f"web-{hashed}"
    assert rs["metadata"]["labels"] == {"app": "web", HASH: hashed}
    assert rs["spec"]["selector"]["matchLabels"] == {"app": "web", HASH: hashed}
    (owner,) = rs["metadata"]["ownerReferences"]
    assert owner["uid"] == made["metadata"]["uid"]
    assert (owner["kind"], owner["controller"], owner["blockOwnerDeletion"]) == ("Deployment", True, True)
    for pod in world.pods():
        meta = pod["metadata"]
        assert meta["generateName"] == f"web-{hashed}-"
        assert meta["labels"] == {"app": "web", HASH: hashed}
        assert meta["ownerReferences"][0]["uid"] == rs["metadata"]["uid"]
        assert meta["ownerReferences"][0]["controller"]


def test_a_complete_rollout_says_so(world: World) -> None:
    world.create(replicas=2)
    world.settle(lambda: world.condition("Progressing").get("reason") == "NewReplicaSetAvailable", "complete")
    status = world.status()
    expected = {"replicas": 2, "updatedReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    assert {name: status.get(name) for name in expected} == expected
    assert "unavailableReplicas" not in status
    assert world.condition("Available")["status"] == "True"
    assert world.deployment()["metadata"]["annotations"][REVISION] == "1"
    (rs,) = world.sets()
    assert rs["metadata"]["annotations"][REVISION] == "1"
    expected = {"replicas": 2, "fullyLabeledReplicas": 2, "readyReplicas": 2, "availableReplicas": 2}
    assert {name: rs["status"].get(name) for name in expected} == expected
    assert rs["status"]["observedGeneration"] == rs["metadata"]["generation"]


def test_a_new_template_rolls_within_surge_and_what_may_lack(world: World) -> None:
    world.create(replicas=4, strategy=rolling(1, 1))
    seen: list[tuple[int, int]] = []

    def look() -> None:
        pods = world.pods()
        seen.append((len(pods), sum(map(is_ready, pods))))

    world.set_image("web:2")
    world.settle(lambda: world.complete(4) and world.serving() == {"web:2": 4}, "rolled", watch=look)
    assert max(pods for pods, _ in seen) <= 5
    assert min(ready for _, ready in seen) >= 3
    assert world.sizes() == {"web:1": 0, "web:2": 4}


def test_a_rollout_waits_for_pods_that_are_not_ready(world: World) -> None:
    world.create(replicas=4, strategy=rolling(1, 0))
    world.unready = {"web:2"}
    world.set_image("web:2")
    world.settle(lambda: world.sizes() == {"web:1": 4, "web:2": 1}, "one new pod waits")
    world.stays(lambda: world.sizes() == {"web:1": 4, "web:2": 1})
    assert world.serving() == {"web:1": 4}


def test_old_pods_that_are_not_ready_go_first(world: World) -> None:
    world.create(replicas=4, strategy=rolling(1, 1))
    world.unready = {"web:2"}
    world.set_image("web:2")
    world.settle(lambda: world.sizes() == {"web:1": 3, "web:2": 2}, "stuck halfway")
    world.unready = {"web:2", "web:3"}
    world.set_image("web:3")
    world.settle(
        lambda: world.sizes() == {"web:1": 3, "web:2": 0, "web:3": 2}, "the broken revision makes room"
    )
    assert world.serving() == {"web:1": 3}


def test_recreate_ends_the_old_before_the_new_begins(world: World) -> None:
    world.create(replicas=2, strategy={"type": "Recreate"})

    def look() -> None:
        assert len({image_of(pod) for pod in world.pods()}) <= 1

    world.set_image("web:2")
    world.settle(lambda: world.serving() == {"web:2": 2}, "rolled", watch=look)


def test_ready_pods_count_after_min_ready_seconds(world: World) -> None:
    world.create(replicas=1, minReadySeconds=3, wait=False)
    world.settle(lambda: world.status().get("readyReplicas") == 1, "ready")
    assert not world.status().get("availableReplicas")
    assert world.status()["unavailableReplicas"] == 1
    world.settle(lambda: world.status().get("availableReplicas") == 1, "available")


def test_a_rollout_without_progress_misses_its_deadline(world: World) -> None:
    world.create(replicas=1, progressDeadlineSeconds=2)
    world.unready = {"web:2"}
    world.set_image("web:2")
    world.settle(
        lambda: world.condition("Progressing").get("reason") == "ProgressDeadlineExceeded", "deadline"
    )
    assert world.condition("Progressing")["status"] == "False"
    world.unready = set()
    world.settle(
        lambda: world.condition("Progressing").get("reason") == "NewReplicaSetAvailable", "recovered"
    )


def test_a_change_of_the_templates_annotations_alone_rolls(world: World) -> None:
    world.create(replicas=1)
    before = names(world.pods())
    world.patch(template={"metadata": {"annotations": {"kubectl.kubernetes.io/restartedAt": "now"}}})
    world.settle(lambda: world.complete(1) and not names(world.pods()) & before, "restarted")
    assert len(world.sets()) == 2


def test_the_same_template_again_changes_nothing(world: World) -> None:
    world.create(replicas=2)
    before = names(world.pods())
    world.set_image("web:1")
    world.patch(replicas=2)
    world.stays(lambda: names(world.pods()) == before and len(world.sets()) == 1)


# ---- paused ------------------------------------------------------------------------------------------------


@pytest.fixture
def pending(world: World) -> World:
    """Three ready pods of web:1, paused, with web:2 as the pending template."""
    world.create(replicas=3)
    world.patch(paused=True)
    world.set_image("web:2")
    return world


def test_paused_rolls_nothing_out(pending: World) -> None:
    before = names(pending.pods())
    pending.stays(lambda: names(pending.pods()) == before)
    assert pending.sizes() == {"web:1": 3}
    assert pending.condition("Progressing")["reason"] == "DeploymentPaused"
    assert pending.condition("Progressing")["status"] == "Unknown"
    assert pending.deployment()["metadata"]["annotations"][REVISION] == "1"
    assert not pending.status().get("updatedReplicas")


def test_paused_from_the_start_makes_no_pods(world: World) -> None:
    world.create(replicas=2, paused=True, wait=False)
    world.settle(lambda: world.status().get("observedGeneration") == 1, "observed")
    world.stays(lambda: not world.sets())


def test_paused_replaces_lost_pods(pending: World) -> None:
    lost = pending.pods()[0]["metadata"]
    pending.api.delete(PODS, pending.namespace, lost["name"], uid=lost["uid"])
    pending.settle(
        lambda: pending.serving() == {"web:1": 3} and lost["name"] not in names(pending.pods()), "replaced"
    )
    assert pending.sizes() == {"web:1": 3}


def test_paused_replaces_failed_pods(pending: World) -> None:
    failed = pending.pods()[0]
    pending.mark(failed, ready=False, phase="Failed")
    pending.settle(lambda: pending.serving() == {"web:1": 3}, "replaced")


@pytest.mark.parametrize("replicas", [5, 1, 0])
def test_paused_follows_a_resize(pending: World, replicas: int) -> None:
    pending.patch(replicas=replicas)
    expected = {"web:1": replicas} if replicas else {}
    pending.settle(lambda: pending.serving() == expected and len(pending.pods()) == replicas, "resized")
    assert pending.sizes() == {"web:1": replicas}


def test_paused_and_back_from_zero_runs_what_ran(pending: World) -> None:
    pending.patch(replicas=0)
    pending.settle(lambda: not pending.pods(), "no pods are left")
    pending.patch(replicas=2)
    pending.settle(lambda: pending.serving() == {"web:1": 2}, "what ran last is back")


def test_resuming_rolls_the_pending_template_out(pending: World) -> None:
    pending.patch(paused=None)
    pending.settle(lambda: pending.complete(3) and pending.serving() == {"web:2": 3}, "rolled")
    assert pending.sizes() == {"web:1": 0, "web:2": 3}
    assert pending.deployment()["metadata"]["annotations"][REVISION] == "2"


def test_resuming_with_the_old_template_in_one_patch_rolls_nothing(pending: World) -> None:
    before = names(pending.pods())
    pending.set_image("web:1", paused=False)
    pending.stays(lambda: names(pending.pods()) == before)
    assert pending.sizes() == {"web:1": 3}


@pytest.mark.parametrize(
    ("replicas", "expected"), [(20, {"web:1": 15, "web:2": 10}), (5, {"web:1": 4, "web:2": 3})]
)
def test_paused_in_the_middle_is_resized_in_proportion(
    world: World, replicas: int, expected: dict[str, int]
) -> None:
    world.create(replicas=10, strategy=rolling("25%", "25%"))
    world.unready = {"web:2"}
    world.set_image("web:2")
    world.settle(lambda: world.sizes() == {"web:1": 8, "web:2": 5}, "stuck halfway")
    world.patch(paused=True)
    world.patch(replicas=replicas)
    world.settle(lambda: world.sizes() == expected, f"resized to {replicas}")
    world.stays(lambda: world.sizes() == expected, 0.5)


# ---- history -----------------------------------------------------------------------------------------------


def test_going_back_takes_the_old_replica_set_up_again(world: World) -> None:
    world.create(replicas=1)
    (first,) = world.sets()
    world.set_image("web:2")
    world.settle(lambda: world.serving() == {"web:2": 1} and world.complete(1), "rolled")
    world.set_image("web:1")
    world.settle(lambda: world.serving() == {"web:1": 1} and world.complete(1), "rolled back")
    assert len(world.sets()) == 2
    again = world.api.get(REPLICASETS, world.namespace, first["metadata"]["name"])
    assert again["metadata"]["uid"] == first["metadata"]["uid"]
    assert again["metadata"]["annotations"][REVISION] == "3"
    assert again["metadata"]["annotations"]["deployment.kubernetes.io/revision-history"] == "1"
    assert world.deployment()["metadata"]["annotations"][REVISION] == "3"


def test_up_from_zero_with_an_old_template_takes_its_replica_set(world: World) -> None:
    world.create(replicas=1)
    world.set_image("web:2")
    world.settle(lambda: world.serving() == {"web:2": 1} and world.complete(1), "rolled")
    world.patch(replicas=0)
    world.settle(lambda: not world.pods(), "no pods are left")
    world.set_image("web:1")
    world.patch(replicas=2)
    world.settle(lambda: world.serving() == {"web:1": 2} and world.complete(2), "the old one is back")
    assert len(world.sets()) == 2


def test_history_is_kept_up_to_its_limit(world: World) -> None:
    world.create(replicas=1, revisionHistoryLimit=1)
    for image in ("web:2", "web:3", "web:4"):
        world.set_image(image)
        serving = {image: 1}
        time.sleep(1.1)  # old servers sort by time of creation, which counts in seconds
        world.settle(lambda serving=serving: world.serving() == serving and world.complete(1), "rolled")  # type: ignore[misc]
    world.settle(lambda: len(world.sets()) == 2, "cleaned up")
    assert world.sizes() == {"web:3": 0, "web:4": 1}


# ---- ownership ---------------------------------------------------------------------------------------------


def test_an_orphaned_replica_set_is_adopted_with_its_pods(world: World) -> None:
    world.create(replicas=2)
    before = names(world.pods())
    world.orphan()
    made = world.create(replicas=2)
    (rs,) = world.sets()
    assert rs["metadata"]["ownerReferences"][0]["uid"] == made["metadata"]["uid"]
    assert names(world.pods()) == before


def test_an_orphan_of_another_template_is_adopted_and_rolled_away(world: World) -> None:
    world.create(replicas=2)
    world.orphan()
    world.create(replicas=2, image="web:2", wait=False)
    world.settle(lambda: world.serving() == {"web:2": 2}, "rolled")
    assert world.sizes() == {"web:1": 0, "web:2": 2}


def test_a_pod_that_no_longer_matches_is_released_and_replaced(world: World) -> None:
    world.create(replicas=2)
    taken = world.pods()[0]["metadata"]["name"]
    world.api.patch(PODS, world.namespace, taken, {"metadata": {"labels": {"app": "debug"}}})
    world.settle(lambda: len(world.pods()) == 3, "replaced")
    world.settle(
        lambda: not world.api.get(PODS, world.namespace, taken)["metadata"].get("ownerReferences"), "released"
    )
    world.api.patch(PODS, world.namespace, taken, {"metadata": {"labels": {"app": "web"}}})
    world.settle(lambda: len(world.pods()) == 2, "adopted again, and one too many deleted")


def test_deleting_the_deployment_takes_everything_along(world: World) -> None:
    world.create(replicas=2)
    world.api.delete(DEPLOYMENTS, world.namespace, "web")
    world.settle(lambda: not world.sets() and not world.pods(), "gone")


def test_two_deployments_with_overlapping_selectors_leave_each_other_alone(world: World) -> None:
    world.create(replicas=1)
    second = deployment("second", replicas=1)
    second["spec"]["template"]["metadata"]["labels"] = {"app": "web", "role": "canary"}
    second["spec"]["selector"]["matchLabels"] = {"app": "web", "role": "canary"}
    world.api.create(DEPLOYMENTS, world.namespace, second)
    world.settle(lambda: len(world.pods()) == 2, "both run")
    world.stays(lambda: len(world.pods()) == 2 and len(world.sets()) == 2)


# ---- ReplicaSets -------------------------------------------------------------------------------------------


def test_shrinking_takes_pods_that_are_not_ready_first(world: World) -> None:
    world.create(replicas=4)
    world.unready = {"web:1"}
    unready, *ready = world.pods()
    world.mark(unready, ready=False)
    world.settle(lambda: world.status().get("readyReplicas") == 3, "one is not ready")
    world.patch(replicas=3)
    world.settle(lambda: len(world.pods()) == 3, "shrunk")
    assert names(world.pods()) == names(ready)


def test_a_replica_set_of_its_own_keeps_its_pods(world: World) -> None:
    template = deployment()["spec"]["template"]
    spec = {"replicas": 2, "selector": {"matchLabels": {"app": "web"}}, "template": template}
    world.api.create(REPLICASETS, world.namespace, {"metadata": {"name": "alone"}, "spec": spec})
    world.settle(lambda: world.serving() == {"web:1": 2}, "it runs")
    lost = world.pods()[0]["metadata"]["name"]
    world.api.delete(PODS, world.namespace, lost)
    world.settle(lambda: world.serving() == {"web:1": 2} and lost not in names(world.pods()), "replaced")


# ---- Endpoints ---------------------------------------------------------------------------------------------


def endpoints(world: World) -> tuple[set[str], set[str]]:
    """Names of the pods that the Service web has: ready, not ready."""
    try:
        subsets = world.api.get(ENDPOINTS, world.namespace, "web").get("subsets") or []
    except NotFound:
        return set(), set()
    groups = ([a["targetRef"]["name"] for s in subsets for a in s.get(kind) or ()] for kind in _KINDS)
    first, second = map(set, groups)
    return first, second


_KINDS = ("addresses", "notReadyAddresses")


@pytest.fixture
def served(world: World) -> World:
    """Two ready pods behind the Service web."""
    ports = [{"name": "http", "port": 80, "targetPort": 8080}]
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "web"}, "ports": ports}}
    world.api.create(SERVICES, world.namespace, service)
    world.create(replicas=2)
    world.settle(lambda: endpoints(world) == (names(world.pods()), set()), "both pods are served")
    return world


def test_endpoints_carry_the_ports_of_the_pods(served: World) -> None:
    (subset,) = served.api.get(ENDPOINTS, served.namespace, "web")["subsets"]
    assert subset["ports"] == [{"name": "http", "port": 8080, "protocol": "TCP"}]


def test_endpoints_follow_readiness(served: World) -> None:
    served.unready = {"web:1"}
    pod, other = served.pods()
    served.mark(pod, ready=False)
    expected = ({other["metadata"]["name"]}, {pod["metadata"]["name"]})
    served.settle(lambda: endpoints(served) == expected, "not ready")
    served.mark(pod, ready=True)
    served.settle(lambda: endpoints(served) == (names([pod, other]), set()), "ready again")


def test_endpoints_follow_deletion_and_labels(served: World) -> None:
    gone = served.pods()[0]["metadata"]["name"]
    served.api.delete(PODS, served.namespace, gone)
    served.settle(lambda: gone not in endpoints(served)[0] and len(endpoints(served)[0]) == 2, "replaced")
    relabelled = served.pods()[0]["metadata"]["name"]
    served.api.patch(PODS, served.namespace, relabelled, {"metadata": {"labels": {"app": "x"}}})
    served.settle(lambda: relabelled not in endpoints(served)[0], "left")


def test_endpoints_follow_the_service(served: World) -> None:
    served.api.patch(SERVICES, served.namespace, "web", {"spec": {"selector": {"role": "canary"}}})
    served.settle(lambda: endpoints(served) == (set(), set()), "selects nothing")
    served.api.delete(SERVICES, served.namespace, "web")

    def gone() -> bool:
        try:
            served.api.get(ENDPOINTS, served.namespace, "web")
        except NotFound:
            return True
        return False

    served.settle(gone, "removed with the Service")


def rolling(surge: int | str, unavailable: int | str) -> Json:
    return {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}}
