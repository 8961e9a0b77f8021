"""Deleting: preconditions, finalizers, grace, dependents, namespaces."""

from __future__ import annotations

from typing import Literal

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, PODS, REPLICASETS, Json, Resource
from contract.servers import Server, configmap, deployment, eventually, owner, pod_spec

Propagation = Literal["Background", "Foreground", "Orphan"]


def _is_gone(server: Server, kind: Resource, namespace: str, name: str) -> bool:
    try:
        server.api.get(kind, namespace, name)
    except errors.NotFound:
        return True
    return False


def test_deleted_object_is_gone(server: Server, namespace: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    server.api.delete(CONFIGMAPS, namespace, "a")
    with pytest.raises(errors.NotFound):
        server.api.get(CONFIGMAPS, namespace, "a")
    with pytest.raises(errors.NotFound):
        server.api.delete(CONFIGMAPS, namespace, "a")


def test_delete_answers_with_the_uid(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a"))
    reply = server.ask("DELETE", f"/api/v1/namespaces/{namespace}/configmaps/a")
    assert (reply.body["kind"], reply.body["status"]) == ("Status", "Success")
    assert reply.body["details"] == {"name": "a", "kind": "configmaps", "uid": made["metadata"]["uid"]}


def test_preconditions_of_delete(server: Server, namespace: str) -> None:
    meta = server.api.create(CONFIGMAPS, namespace, configmap("a"))["metadata"]
    with pytest.raises(errors.Conflict, match="UID in the precondition"):
        server.api.delete(CONFIGMAPS, namespace, "a", uid="other")
    with pytest.raises(errors.Conflict, match="ResourceVersion in the precondition"):
        server.api.delete(CONFIGMAPS, namespace, "a", resource_version="1")
    server.api.delete(CONFIGMAPS, namespace, "a", uid=meta["uid"], resource_version=meta["resourceVersion"])
    assert _is_gone(server, CONFIGMAPS, namespace, "a")


def test_unknown_propagation_is_refused(server: Server, namespace: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    assert server.ask("DELETE", path, {"propagationPolicy": "Sideways"}).status == 422
    assert server.ask("GET", path).status == 200


def test_collection_is_deleted_by_selector(server: Server, namespace: str) -> None:
    for name, color in (("a", "red"), ("b", "green")):
        server.api.create(CONFIGMAPS, namespace, configmap(name, labels={"color": color}))
    path = f"/api/v1/namespaces/{namespace}/configmaps?labelSelector=color%3Dred"
    assert server.ask("DELETE", path).status == 200
    assert _is_gone(server, CONFIGMAPS, namespace, "a") and not _is_gone(server, CONFIGMAPS, namespace, "b")


def test_collection_of_all_namespaces_cannot_be_deleted(server: Server) -> None:
    assert server.ask("DELETE", "/api/v1/configmaps").status == 405


# ---- finalizers -------------------------------------------------------------------------------------


@pytest.fixture
def held(server: Server, namespace: str) -> str:
    """A ConfigMap `a` that has been deleted, and waits for two finalizers."""
    server.api.create(CONFIGMAPS, namespace, configmap("a", finalizers=["x.io/one", "x.io/two"]))
    server.api.delete(CONFIGMAPS, namespace, "a")
    return namespace


def _finalizers(server: Server, namespace: str, *names: str) -> Json:
    return server.api.patch(CONFIGMAPS, namespace, "a", {"metadata": {"finalizers": list(names)}})


def test_finalizers_hold_an_object(server: Server, held: str) -> None:
    meta = server.api.get(CONFIGMAPS, held, "a")["metadata"]
    assert meta["deletionTimestamp"] and meta["finalizers"] == ["x.io/one", "x.io/two"]


def test_last_finalizer_lets_it_go(server: Server, held: str) -> None:
    _finalizers(server, held, "x.io/two")
    assert not _is_gone(server, CONFIGMAPS, held, "a")
    last = _finalizers(server, held)
    assert "finalizers" not in last["metadata"]
    assert _is_gone(server, CONFIGMAPS, held, "a")


def test_no_finalizer_is_added_late(server: Server, held: str) -> None:
    with pytest.raises(errors.Invalid, match="no new finalizers can be added"):
        _finalizers(server, held, "x.io/one", "x.io/two", "x.io/three")


def test_an_object_that_is_going_can_still_be_changed(server: Server, held: str) -> None:
    changed = server.api.patch(CONFIGMAPS, held, "a", {"data": {"k": "v"}})
    assert changed["data"] == {"k": "v"} and changed["metadata"]["deletionTimestamp"]


def test_deletion_cannot_be_undone(server: Server, held: str) -> None:
    changed = server.api.patch(CONFIGMAPS, held, "a", {"metadata": {"deletionTimestamp": None}})
    assert changed["metadata"]["deletionTimestamp"]


def test_second_delete_changes_nothing(server: Server, held: str) -> None:
    before = server.api.get(CONFIGMAPS, held, "a")
    server.api.delete(CONFIGMAPS, held, "a")
    assert server.api.get(CONFIGMAPS, held, "a") == before


# ---- pods -------------------------------------------------------------------------------------------


def _pod(server: Server, namespace: str, name: str, **spec: object) -> Json:
    body = {"metadata": {"name": name}, "spec": {**pod_spec("x:1"), **spec}}
    return server.api.create(PODS, namespace, body)


def test_pod_on_a_node_is_left_time_to_end(server: Server, namespace: str) -> None:
    _pod(server, namespace, "p", nodeName="n1", terminationGracePeriodSeconds=20)
    server.api.delete(PODS, namespace, "p")
    meta = server.api.get(PODS, namespace, "p")["metadata"]
    assert meta["deletionTimestamp"] and meta["deletionGracePeriodSeconds"] == 20
    server.api.delete(PODS, namespace, "p", grace=0)
    assert _is_gone(server, PODS, namespace, "p")


def test_grace_can_be_shortened_not_extended(server: Server, namespace: str) -> None:
    _pod(server, namespace, "p", nodeName="n1")
    for asked, left in ((10, 10), (5, 5), (25, 5)):
        server.api.delete(PODS, namespace, "p", grace=asked)
        found = server.api.get(PODS, namespace, "p")
        assert found["metadata"]["deletionGracePeriodSeconds"] == left
    server.api.delete(PODS, namespace, "p", grace=0)


def test_pod_without_a_node_goes_at_once(server: Server, namespace: str) -> None:
    _pod(server, namespace, "p")
    server.api.delete(PODS, namespace, "p")
    assert _is_gone(server, PODS, namespace, "p")


def test_finished_pod_goes_at_once(server: Server, namespace: str) -> None:
    _pod(server, namespace, "p", nodeName="n1")
    server.api.patch(PODS, namespace, "p", {"status": {"phase": "Succeeded"}}, subresource="status")
    server.api.delete(PODS, namespace, "p")
    assert _is_gone(server, PODS, namespace, "p")


# ---- dependents -------------------------------------------------------------------------------------


@pytest.fixture
def family(server: Server, namespace: str) -> str:
    """A Deployment `web` that owns a ReplicaSet `web` that owns a pod `web`."""
    grand = server.api.create(DEPLOYMENTS, namespace, deployment())
    body = deployment()
    meta = {"name": "web", "ownerReferences": [owner(grand, controller=True, blockOwnerDeletion=True)]}
    parent = server.api.create(REPLICASETS, namespace, {"metadata": meta, "spec": body["spec"]})
    meta = {"name": "web", "ownerReferences": [owner(parent, controller=True, blockOwnerDeletion=True)]}
    server.api.create(PODS, namespace, {"metadata": meta, "spec": pod_spec("x:1")})
    return namespace


@pytest.mark.parametrize("propagation", ["Background", "Foreground"])
def test_dependents_go_with_their_owner(server: Server, family: str, propagation: Propagation) -> None:
    server.api.delete(DEPLOYMENTS, family, "web", propagation=propagation)
    for kind in (PODS, REPLICASETS, DEPLOYMENTS):
        eventually(lambda kind=kind: _is_gone(server, kind, family, "web"))  # type: ignore[misc]


def test_foreground_waits_for_dependents(server: Server, family: str) -> None:
    server.api.patch(PODS, family, "web", {"metadata": {"finalizers": ["x.io/hold"]}})
    server.api.delete(DEPLOYMENTS, family, "web", propagation="Foreground")
    meta = server.api.get(DEPLOYMENTS, family, "web")["metadata"]
    assert meta["deletionTimestamp"] and meta["finalizers"] == ["foregroundDeletion"]
    eventually(lambda: server.api.get(PODS, family, "web")["metadata"].get("deletionTimestamp"))
    assert not _is_gone(server, REPLICASETS, family, "web") and not _is_gone(
        server, DEPLOYMENTS, family, "web"
    )
    server.api.patch(PODS, family, "web", {"metadata": {"finalizers": None}})
    eventually(lambda: _is_gone(server, DEPLOYMENTS, family, "web"))


def test_orphans_stay_without_their_owner(server: Server, family: str) -> None:
    server.api.delete(DEPLOYMENTS, family, "web", propagation="Orphan")
    eventually(lambda: _is_gone(server, DEPLOYMENTS, family, "web"))
    assert "ownerReferences" not in server.api.get(REPLICASETS, family, "web")["metadata"]
    assert server.api.get(PODS, family, "web")["metadata"]["ownerReferences"]


def test_object_of_an_absent_owner_is_collected(server: Server, namespace: str) -> None:
    parent = server.api.create(CONFIGMAPS, namespace, configmap("parent"))
    server.api.delete(CONFIGMAPS, namespace, "parent")
    server.api.create(CONFIGMAPS, namespace, configmap("child", ownerReferences=[owner(parent)]))
    eventually(lambda: _is_gone(server, CONFIGMAPS, namespace, "child"))


def test_one_living_owner_is_enough(server: Server, namespace: str) -> None:
    parents = [server.api.create(CONFIGMAPS, namespace, configmap(name)) for name in ("a", "b")]
    owners = [owner(parent) for parent in parents]
    server.api.create(CONFIGMAPS, namespace, configmap("child", ownerReferences=owners))
    server.api.delete(CONFIGMAPS, namespace, "a")
    eventually(
        lambda: server.api.get(CONFIGMAPS, namespace, "child")["metadata"]["ownerReferences"] == owners[1:]
    )
    server.api.delete(CONFIGMAPS, namespace, "b")
    eventually(lambda: _is_gone(server, CONFIGMAPS, namespace, "child"))


def test_owner_of_a_kind_that_is_not_served_is_left_in_doubt(server: Server, namespace: str) -> None:
    stranger = {"apiVersion": "nothing.example.com/v1", "kind": "Nothing", "name": "n", "uid": "u-1"}
    server.api.create(CONFIGMAPS, namespace, configmap("child", ownerReferences=[stranger]))
    parent = server.api.create(CONFIGMAPS, namespace, configmap("parent"))
    server.api.create(CONFIGMAPS, namespace, configmap("other", ownerReferences=[owner(parent)]))
    server.api.delete(CONFIGMAPS, namespace, "parent")
    eventually(lambda: _is_gone(server, CONFIGMAPS, namespace, "other"))
    assert not _is_gone(server, CONFIGMAPS, namespace, "child")


@pytest.mark.parametrize("missing", ["apiVersion", "kind", "name", "uid"])
def test_incomplete_owner_is_refused(server: Server, namespace: str, missing: str) -> None:
    reference = {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "u"}
    del reference[missing]
    with pytest.raises(errors.Invalid, match="ownerReferences"):
        server.api.create(CONFIGMAPS, namespace, configmap("child", ownerReferences=[reference]))


# ---- namespaces -------------------------------------------------------------------------------------


def test_namespace_takes_its_content_along(server: Server, namespace: str) -> None:
    made = server.api.create(NAMESPACES, None, {"metadata": {"generateName": "doomed-"}})
    name = made["metadata"]["name"]
    assert made["status"]["phase"] == "Active" and made["spec"]["finalizers"] == ["kubernetes"]
    server.api.create(CONFIGMAPS, name, configmap("held", finalizers=["x.io/hold"]))
    server.api.create(DEPLOYMENTS, name, deployment())
    server.api.delete(NAMESPACES, None, name)
    assert server.api.get(NAMESPACES, None, name)["status"]["phase"] == "Terminating"
    with pytest.raises(errors.Forbidden, match="is being terminated"):
        server.api.create(CONFIGMAPS, name, configmap("late"))
    eventually(lambda: _is_gone(server, DEPLOYMENTS, name, "web"))
    server.api.patch(CONFIGMAPS, name, "held", {"metadata": {"finalizers": None}})
    eventually(lambda: _is_gone(server, NAMESPACES, "", name), within=60)


@pytest.mark.parametrize("name", ["default", "kube-system", "kube-public"])
def test_first_namespaces_stay(server: Server, name: str) -> None:
    with pytest.raises(errors.Forbidden):
        server.api.delete(NAMESPACES, None, name)
    assert server.api.get(NAMESPACES, None, name)["status"]["phase"] == "Active"
