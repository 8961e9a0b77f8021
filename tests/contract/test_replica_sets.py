"""Who owns what, which pods go first, and which addresses a Service has.

Held against the same three clusters as the promises of Deployments.
"""

from __future__ import annotations

import pytest

from canaryd.cluster.errors import NotFound
from canaryd.cluster.resources import DEPLOYMENTS, ENDPOINTS, PODS, REPLICASETS, SERVICES
from contract import deployment_world
from contract.deployment_world import World, names
from contract.servers import deployment

cluster_api = deployment_world.cluster_api
world = deployment_world.world

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
