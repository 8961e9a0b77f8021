"""Status, scale, binding: each write touches its own part of the object and nothing else."""

from __future__ import annotations

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import DEPLOYMENTS, PODS, REPLICASETS, Json, Resource
from contract.servers import MERGE_PATCH, THINGS, Server, deployment, pod_spec, thing


def _replica_set() -> Json:
    body = deployment()
    return {"metadata": {"name": "web"}, "spec": body["spec"]}


_WITH_STATUS = [
    pytest.param(DEPLOYMENTS, deployment(), {"replicas": 3}, id="Deployment"),
    pytest.param(REPLICASETS, _replica_set(), {"replicas": 3}, id="ReplicaSet"),
    pytest.param(THINGS, thing("web"), {"phase": "Up"}, id="custom"),
]


@pytest.mark.parametrize(("kind", "body", "status"), _WITH_STATUS)
def test_create_ignores_status(
    server: Server, things: None, namespace: str, kind: Resource, body: Json, status: Json
) -> None:
    made = server.api.create(kind, namespace, {**body, "status": status})
    assert made.get("status", {}).get(next(iter(status))) in (None, 0)


@pytest.mark.parametrize(("kind", "body", "status"), _WITH_STATUS)
def test_main_writes_leave_status_alone(
    server: Server, things: None, namespace: str, kind: Resource, body: Json, status: Json
) -> None:
    server.api.create(kind, namespace, body)
    server.api.patch(kind, namespace, "web", {"status": status}, subresource="status")
    wiped = server.api.patch(kind, namespace, "web", {"status": None, "metadata": {"labels": {"a": "b"}}})
    assert wiped["status"] == status
    replaced = server.api.replace(kind, namespace, "web", {**wiped, "status": {}})
    assert replaced["status"] == status


@pytest.mark.parametrize(("kind", "body", "status"), _WITH_STATUS)
def test_status_writes_leave_the_rest_alone(
    server: Server, things: None, namespace: str, kind: Resource, body: Json, status: Json
) -> None:
    made = server.api.create(kind, namespace, body)
    change = {"spec": {"replicas": 9}, "status": status}
    changed = server.api.patch(kind, namespace, "web", change, subresource="status")
    assert (changed["spec"], changed["status"]) == (made["spec"], status)
    assert changed["metadata"]["generation"] == made["metadata"]["generation"]
    assert changed["metadata"]["resourceVersion"] != made["metadata"]["resourceVersion"]


@pytest.mark.parametrize(("kind", "body", "status"), _WITH_STATUS)
def test_status_can_be_replaced_with_its_version(
    server: Server, things: None, namespace: str, kind: Resource, body: Json, status: Json
) -> None:
    made = server.api.create(kind, namespace, body)
    server.api.replace(kind, namespace, "web", {**made, "status": status}, subresource="status")
    with pytest.raises(errors.Conflict):
        server.api.replace(kind, namespace, "web", {**made, "status": status}, subresource="status")
    assert server.api.get(kind, namespace, "web", subresource="status")["status"] == status


def test_status_of_a_custom_object_takes_no_metadata(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing())
    change = {"metadata": {"labels": {"a": "b"}}, "status": {"phase": "Up"}}
    changed = server.api.patch(THINGS, namespace, "one", change, subresource="status")
    assert "labels" not in changed["metadata"]


def test_status_of_a_custom_object_is_checked(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing())
    with pytest.raises(errors.Invalid, match=r"status\.phase"):
        server.api.patch(THINGS, namespace, "one", {"status": {"phase": 5}}, subresource="status")


def test_status_of_a_pod_merges_conditions_by_type(server: Server, namespace: str) -> None:
    server.api.create(PODS, namespace, {"metadata": {"name": "p"}, "spec": pod_spec("x:1")})
    for kind, state in (("Ready", "False"), ("Initialized", "True"), ("Ready", "True")):
        change = {"status": {"phase": "Running", "conditions": [{"type": kind, "status": state}]}}
        server.api.patch(PODS, namespace, "p", change, kind="strategic", subresource="status")
    conditions = server.api.get(PODS, namespace, "p")["status"]["conditions"]
    assert {c["type"]: c["status"] for c in conditions} == {"Ready": "True", "Initialized": "True"}


def test_scale_shows_size_and_selector(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment(replicas=3))
    scale = server.api.get(DEPLOYMENTS, namespace, "web", subresource="scale")
    assert (scale["kind"], scale["apiVersion"]) == ("Scale", "autoscaling/v1")
    assert scale["spec"] == {"replicas": 3}
    assert scale["status"] == {"replicas": 0, "selector": "app=web"}


@pytest.mark.parametrize(("kind", "body"), [(DEPLOYMENTS, deployment()), (REPLICASETS, _replica_set())])
def test_scale_changes_the_size_alone(server: Server, namespace: str, kind: Resource, body: Json) -> None:
    made = server.api.create(kind, namespace, body)
    server.api.patch(kind, namespace, "web", {"spec": {"replicas": 5}}, subresource="scale")
    found = server.api.get(kind, namespace, "web")
    assert found["spec"] == {**made["spec"], "replicas": 5}
    assert found["metadata"]["generation"] == 2


def test_scale_can_be_replaced_and_conflicts(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    scale = server.api.get(DEPLOYMENTS, namespace, "web", subresource="scale")
    scale["spec"] = {"replicas": 0}
    server.api.replace(DEPLOYMENTS, namespace, "web", scale, subresource="scale")
    assert server.api.get(DEPLOYMENTS, namespace, "web")["spec"]["replicas"] == 0
    with pytest.raises(errors.Conflict):
        server.api.replace(
            DEPLOYMENTS, namespace, "web", {**scale, "spec": {"replicas": 2}}, subresource="scale"
        )


def test_scale_cannot_be_negative(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web/scale"
    reply = server.ask("PATCH", path, {"spec": {"replicas": -1}}, content_type=MERGE_PATCH)
    assert (reply.status, reply.causes) == (422, [("spec.replicas", "FieldValueInvalid")])


def test_scale_of_a_custom_object_follows_its_paths(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing(replicas=2))
    status = {"status": {"replicas": 1, "selector": "a=b"}}
    server.api.patch(THINGS, namespace, "one", status, subresource="status")
    scale = server.api.get(THINGS, namespace, "one", subresource="scale")
    assert (scale["spec"], scale["status"]) == ({"replicas": 2}, {"replicas": 1, "selector": "a=b"})
    server.api.patch(THINGS, namespace, "one", {"spec": {"replicas": 4}}, subresource="scale")
    assert server.api.get(THINGS, namespace, "one")["spec"]["replicas"] == 4


def test_a_pod_is_bound_once(server: Server, namespace: str) -> None:
    server.api.create(PODS, namespace, {"metadata": {"name": "p"}, "spec": pod_spec("x:1")})
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    server.api.create(PODS, namespace, binding, subresource="binding")
    assert server.api.get(PODS, namespace, "p")["spec"]["nodeName"] == "n1"
    with pytest.raises(errors.Conflict, match="already assigned to node"):
        server.api.create(PODS, namespace, binding, subresource="binding")


def test_a_subresource_that_does_not_exist(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web/nonsense"
    assert server.ask("GET", path).status == 404
