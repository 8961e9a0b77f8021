"""What Deployments promise: the ground that a release in place stands on.

Held against the sandbox, against a real API server and controller manager, and against the sandbox's
controllers on a real API server.
"""

from __future__ import annotations

import time

import pytest

from canaryd.cluster.resources import PODS, REPLICASETS
from contract import deployment_world
from contract.deployment_world import World, image_of, is_ready, names, rolling

REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"

cluster_api = deployment_world.cluster_api
world = deployment_world.world

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
