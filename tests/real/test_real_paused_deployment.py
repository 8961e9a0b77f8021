"""What `spec.paused` means to the real Deployment controller: the gate of a release in place rests on it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest

from canaryd.cluster.resources import DEPLOYMENTS, PODS, REPLICASETS, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.realcluster import RealCluster

pytestmark = pytest.mark.real

LABELS = {"app": "checkout"}
NAME = "checkout"


@dataclass(frozen=True, slots=True)
class Workload:
    """A Deployment in a namespace of its own, and a kubelet's part: pods turn ready when looked at."""

    api: Api
    namespace: str

    def create(self, *, image: str, replicas: int) -> None:
        container = {"name": "app", "image": image}
        self.api.create(
            DEPLOYMENTS,
            self.namespace,
            {
                "metadata": {"name": NAME},
                "spec": {
                    "replicas": replicas,
                    "selector": {"matchLabels": LABELS},
                    "template": {"metadata": {"labels": LABELS}, "spec": {"containers": [container]}},
                },
            },
        )
        self.settle(lambda: self.serving() == {image: replicas}, f"{replicas} pods of {image} are ready")

    def patch(self, spec: Json) -> None:
        """Change the Deployment and wait until its controller has seen the change."""
        wanted = self.api.patch(DEPLOYMENTS, self.namespace, NAME, {"spec": spec}, kind="strategic")
        generation = wanted["metadata"]["generation"]
        self.settle(
            lambda: self.status().get("observedGeneration", 0) >= generation, "the change is observed"
        )

    def set_image(self, image: str) -> None:
        self.patch({"template": {"spec": {"containers": [{"name": "app", "image": image}]}}})

    def status(self) -> Json:
        status: Json = self.api.get(DEPLOYMENTS, self.namespace, NAME).get("status", {})
        return status

    def replica_sets(self) -> dict[str, int]:
        """Wanted replicas by image."""
        items, _ = self.api.list(REPLICASETS, self.namespace)
        return {image_of(item["spec"]["template"]): item["spec"]["replicas"] for item in items}

    def pods(self) -> list[Json]:
        items, _ = self.api.list(PODS, self.namespace)
        return [item for item in items if "deletionTimestamp" not in item["metadata"]]

    def serving(self) -> dict[str, int]:
        """Ready pods by image."""
        ready: dict[str, int] = {}
        for pod in self.pods():
            if is_ready(pod):
                ready[image_of(pod)] = ready.get(image_of(pod), 0) + 1
        return ready

    def settle(self, holds: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + 60
        while not holds():
            assert time.monotonic() < deadline, what
            self._play_node()
            time.sleep(0.05)

    def _play_node(self) -> None:
        for pod in self.pods():
            if not is_ready(pod):
                conditions = [{"type": "Ready", "status": "True"}]
                status = {"phase": "Running", "podIP": "127.0.0.1", "conditions": conditions}
                name = pod["metadata"]["name"]
                self.api.patch(PODS, self.namespace, name, {"status": status}, subresource="status")


def image_of(template_or_pod: Json) -> str:
    return str(template_or_pod["spec"]["containers"][0]["image"])


def is_ready(pod: Json) -> bool:
    conditions: list[dict[str, Any]] = pod.get("status", {}).get("conditions", [])
    return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)


@pytest.fixture
def paused(real_cluster: RealCluster, real_api: Api) -> Workload:
    """Three ready pods of v1, paused, with v2 as the pending template."""
    workload = Workload(real_api, real_cluster.create_namespace())
    workload.create(image="app:v1", replicas=3)
    workload.patch({"paused": True})
    workload.set_image("app:v2")
    return workload


def test_a_new_template_rolls_nothing(paused: Workload) -> None:
    assert paused.replica_sets() == {"app:v1": 3}
    assert paused.serving() == {"app:v1": 3}


def test_a_lost_pod_is_replaced_by_what_runs(paused: Workload) -> None:
    lost = paused.pods()[0]["metadata"]
    paused.api.delete(PODS, paused.namespace, lost["name"], uid=lost["uid"])

    paused.settle(
        lambda: (
            paused.serving() == {"app:v1": 3}
            and lost["uid"] not in {pod["metadata"]["uid"] for pod in paused.pods()}
        ),
        "the lost pod is replaced",
    )
    assert paused.replica_sets() == {"app:v1": 3}


@pytest.mark.parametrize("replicas", [5, 1], ids=["up", "down"])
def test_scaling_scales_what_runs(paused: Workload, replicas: int) -> None:
    paused.patch({"replicas": replicas})

    paused.settle(lambda: paused.serving() == {"app:v1": replicas}, "what runs is scaled")
    assert paused.replica_sets() == {"app:v1": replicas}


def test_scaling_up_from_zero_scales_what_ran_last(paused: Workload) -> None:
    paused.patch({"replicas": 0})
    paused.settle(lambda: not paused.pods(), "no pods are left")

    paused.patch({"replicas": 2})

    paused.settle(lambda: paused.serving() == {"app:v1": 2}, "what ran last is back")


def test_unpausing_rolls_out_the_pending_template(paused: Workload) -> None:
    paused.patch({"paused": None})

    paused.settle(lambda: paused.serving() == {"app:v2": 3}, "the pending template is rolled out")
    assert paused.replica_sets() == {"app:v1": 0, "app:v2": 3}


def test_the_old_template_and_unpausing_in_one_patch_rolls_nothing(paused: Workload) -> None:
    before = {pod["metadata"]["uid"] for pod in paused.pods()}

    paused.patch(
        {"paused": False, "template": {"spec": {"containers": [{"name": "app", "image": "app:v1"}]}}}
    )

    assert {pod["metadata"]["uid"] for pod in paused.pods()} == before
    assert paused.replica_sets() == {"app:v1": 3}
