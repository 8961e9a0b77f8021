"""The three patch formats: what they change, and how they fail."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import CONFIGMAPS, DEPLOYMENTS, SERVICES, Json
from canaryd.cluster.transport import Patch
from contract.servers import (
    JSON_PATCH,
    MERGE_PATCH,
    STRATEGIC_PATCH,
    THINGS,
    Server,
    configmap,
    deployment,
    thing,
)

_ANY: list[Patch] = ["merge", "json", "strategic"]


def _containers(body: Json) -> dict[str, Json]:
    return {c["name"]: c for c in body["spec"]["template"]["spec"]["containers"]}


def _names(body: Json) -> list[str]:
    return [c["name"] for c in body["spec"]["template"]["spec"]["containers"]]


def _with_containers(*containers: Json, **more: Any) -> Json:
    return {"spec": {"template": {"spec": {"containers": list(containers), **more}}}}


# ---- merge patch ------------------------------------------------------------------------------------


def test_merge_adds_changes_and_removes(server: Server, namespace: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a", {"keep": "1", "change": "1", "drop": "1"}))
    patch = {"data": {"change": "2", "drop": None, "add": "3"}}
    changed = server.api.patch(CONFIGMAPS, namespace, "a", patch)
    assert changed["data"] == {"keep": "1", "change": "2", "add": "3"}


def test_merge_replaces_lists_whole(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    patch = _with_containers({"name": "other", "image": "x:1"})
    assert _names(server.api.patch(DEPLOYMENTS, namespace, "web", patch)) == ["other"]


# ---- JSON patch -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("operations", "expected"),
    [
        pytest.param([{"op": "add", "path": "/data/b", "value": "2"}], {"a": "1", "b": "2"}, id="add"),
        pytest.param([{"op": "replace", "path": "/data/a", "value": "2"}], {"a": "2"}, id="replace"),
        pytest.param([{"op": "remove", "path": "/data/a"}], None, id="remove"),
        pytest.param([{"op": "copy", "from": "/data/a", "path": "/data/b"}], {"a": "1", "b": "1"}, id="copy"),
        pytest.param([{"op": "move", "from": "/data/a", "path": "/data/b"}], {"b": "1"}, id="move"),
        pytest.param([{"op": "test", "path": "/data/a", "value": "1"}], {"a": "1"}, id="test"),
    ],
)
def test_json_operations(
    server: Server, namespace: str, operations: list[Json], expected: Json | None
) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a", {"a": "1"}))
    assert server.api.patch(CONFIGMAPS, namespace, "a", operations, kind="json").get("data") == expected


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param({"op": "test", "path": "/data/a", "value": "2"}, id="test of another value"),
        pytest.param({"op": "test", "path": "/data/no", "value": "2"}, id="test of nothing"),
        pytest.param(
            {"op": "test", "path": "/metadata/resourceVersion", "value": "1"}, id="test of a version"
        ),
        pytest.param({"op": "replace", "path": "/data/no/deep", "value": "2"}, id="replace of nothing"),
        pytest.param({"op": "remove", "path": "/data/no"}, id="remove of nothing"),
        pytest.param({"op": "add", "path": "/binaryData/b", "value": ""}, id="add below nothing"),
        pytest.param({"op": "frobnicate", "path": "/data"}, id="no such operation"),
    ],
)
def test_json_patch_that_does_not_apply_is_a_bare_422(
    server: Server, namespace: str, operation: Json
) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a", {"a": "1"}))
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    also = {"op": "add", "path": "/data/first", "value": "must not stay"}
    reply = server.ask("PATCH", path, [also, operation], content_type=JSON_PATCH)
    assert (reply.status, reply.body["reason"], reply.body["details"]) == (422, "Invalid", {})
    assert server.api.get(CONFIGMAPS, namespace, "a")["data"] == {"a": "1"}


def test_json_test_of_the_version_holds(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", {"a": "1"}))
    version = made["metadata"]["resourceVersion"]
    operations = [
        {"op": "test", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/data/a", "value": "2"},
    ]
    assert server.api.patch(CONFIGMAPS, namespace, "a", operations, kind="json")["data"] == {"a": "2"}
    with pytest.raises(errors.Invalid):
        server.api.patch(CONFIGMAPS, namespace, "a", operations, kind="json")


def test_json_replaced_version_is_a_precondition(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", {"a": "1"}))
    operations = [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": made["metadata"]["resourceVersion"]},
        {"op": "replace", "path": "/data/a", "value": "2"},
    ]
    server.api.patch(CONFIGMAPS, namespace, "a", operations, kind="json")
    with pytest.raises(errors.Conflict):
        server.api.patch(CONFIGMAPS, namespace, "a", operations, kind="json")


def test_json_patch_leaves_the_other_bytes_alone(server: Server, things: None, namespace: str) -> None:
    free = {
        "weights": [{"weight": 100, "to": "a"}, {"weight": 0, "to": "b"}],
        "text": "ü",
        "empty": {},
        "none": [],
    }
    server.api.create(THINGS, namespace, thing(free=free))
    operations = [{"op": "replace", "path": "/spec/free/weights/0/weight", "value": 99}]
    changed = server.api.patch(THINGS, namespace, "one", operations, kind="json")
    free["weights"][0]["weight"] = 99  # type: ignore[index]
    assert changed["spec"] == {"size": 1, "color": "red", "free": free}


# ---- strategic merge patch --------------------------------------------------------------------------


@pytest.fixture
def web(server: Server, namespace: str) -> str:
    """A Deployment with the containers a and b."""
    body = deployment()
    body["spec"]["template"]["spec"]["containers"] = [
        {"name": "a", "image": "a:1", "env": [{"name": "X", "value": "1"}, {"name": "Y", "value": "1"}]},
        {"name": "b", "image": "b:1", "ports": [{"containerPort": 80}, {"containerPort": 81}]},
    ]
    server.api.create(DEPLOYMENTS, namespace, body)
    return namespace


def _strategic(server: Server, namespace: str, patch: Json) -> Json:
    return server.api.patch(DEPLOYMENTS, namespace, "web", patch, kind="strategic")


def test_strategic_changes_one_container(server: Server, web: str) -> None:
    changed = _containers(_strategic(server, web, _with_containers({"name": "a", "image": "a:2"})))
    assert {name: c["image"] for name, c in changed.items()} == {"a": "a:2", "b": "b:1"}
    assert [v["name"] for v in changed["a"]["env"]] == ["X", "Y"]


def test_strategic_merges_keyed_lists_inside(server: Server, web: str) -> None:
    patch = _with_containers(
        {"name": "a", "env": [{"name": "Y", "value": "2"}, {"name": "Z", "value": "3"}]},
        {"name": "b", "ports": [{"containerPort": 80, "name": "http"}]},
    )
    changed = _containers(_strategic(server, web, patch))
    assert {v["name"]: v["value"] for v in changed["a"]["env"]} == {"X": "1", "Y": "2", "Z": "3"}
    assert [(p["containerPort"], p.get("name")) for p in changed["b"]["ports"]] == [(80, "http"), (81, None)]


@pytest.mark.parametrize(
    ("patch", "names"),
    [
        pytest.param([{"name": "a", "$patch": "delete"}], ["b"], id="delete"),
        pytest.param([{"name": "c", "image": "c:1"}], ["c", "a", "b"], id="a new one comes first"),
        pytest.param([{"$patch": "replace"}, {"name": "c", "image": "c:1"}], ["c"], id="replace"),
    ],
)
def test_strategic_directives_for_lists(
    server: Server, web: str, patch: list[Json], names: list[str]
) -> None:
    assert _names(_strategic(server, web, _with_containers(*patch))) == names


def test_strategic_element_order(server: Server, web: str) -> None:
    order = {"$setElementOrder/containers": [{"name": "b"}, {"name": "c"}, {"name": "a"}]}
    patch = _with_containers({"name": "c", "image": "c:1"}, **order)
    assert _names(_strategic(server, web, patch)) == ["b", "c", "a"]


def test_strategic_removes_a_field_with_null(server: Server, web: str) -> None:
    patch = _with_containers({"name": "a", "env": None})
    assert "env" not in _containers(_strategic(server, web, patch))["a"]


def test_strategic_retain_keys(server: Server, web: str) -> None:
    patch = {"spec": {"strategy": {"$retainKeys": ["type"], "type": "Recreate"}}}
    assert _strategic(server, web, patch)["spec"]["strategy"] == {"type": "Recreate"}


def test_strategic_replaces_a_map(server: Server, web: str) -> None:
    _strategic(server, web, {"metadata": {"labels": {"a": "1", "b": "1"}}})
    patch = {"metadata": {"labels": {"$patch": "replace", "c": "1"}}}
    assert _strategic(server, web, patch)["metadata"]["labels"] == {"c": "1"}


def test_strategic_merges_finalizers_as_a_set(server: Server, web: str) -> None:
    def finalizers(patch: Json) -> list[str]:
        found: list[str] = _strategic(server, web, {"metadata": patch})["metadata"].get("finalizers", [])
        return sorted(found)

    assert finalizers({"finalizers": ["x.io/a"]}) == ["x.io/a"]
    assert finalizers({"finalizers": ["x.io/b", "x.io/a"]}) == ["x.io/a", "x.io/b"]
    assert finalizers({"$deleteFromPrimitiveList/finalizers": ["x.io/a"]}) == ["x.io/b"]
    assert finalizers({"finalizers": None}) == []


def test_strategic_wants_the_merge_key(server: Server, web: str) -> None:
    path = f"/apis/apps/v1/namespaces/{web}/deployments/web"
    reply = server.ask("PATCH", path, _with_containers({"image": "x"}), content_type=STRATEGIC_PATCH)
    assert reply.status == 500
    assert "does not contain declared merge key: name" in reply.body["message"]


def test_strategic_merges_service_ports_by_port(server: Server, namespace: str) -> None:
    ports = [{"name": "http", "port": 80}, {"name": "admin", "port": 81}]
    server.api.create(SERVICES, namespace, {"metadata": {"name": "web"}, "spec": {"ports": ports}})
    patch = {"spec": {"ports": [{"port": 81, "targetPort": 8081}]}}
    changed = server.api.patch(SERVICES, namespace, "web", patch, kind="strategic")
    assert {p["port"]: p["targetPort"] for p in changed["spec"]["ports"]} == {80: 80, 81: 8081}


def test_strategic_is_not_for_custom_kinds(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing())
    path = f"/apis/contract.canaryd.io/v1/namespaces/{namespace}/things/one"
    reply = server.ask("PATCH", path, {"spec": {"size": 2}}, content_type=STRATEGIC_PATCH)
    assert reply.status == 415
    assert "application/json-patch+json, application/merge-patch+json" in reply.body["message"]


# ---- what holds for all of them ---------------------------------------------------------------------


def _as(kind: Patch, meta: Json) -> Any:
    if kind == "json":
        return [{"op": "add", "path": f"/metadata/{key}", "value": value} for key, value in meta.items()]
    return {"metadata": meta}


@pytest.mark.parametrize("kind", _ANY)
@pytest.mark.parametrize(
    ("meta", "status"),
    [
        pytest.param({"resourceVersion": "1"}, 409, id="stale version"),
        pytest.param({"uid": "other"}, 422, id="other uid"),
        pytest.param({"name": "other"}, 400, id="other name"),
        pytest.param({"namespace": "other"}, 400, id="other namespace"),
    ],
)
def test_patch_cannot_change_identity(
    server: Server, namespace: str, kind: Patch, meta: Json, status: int
) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    with pytest.raises(errors.ApiError) as caught:
        server.api.patch(CONFIGMAPS, namespace, "a", _as(kind, meta), kind=kind)
    assert caught.value.status == status


@pytest.mark.parametrize("kind", _ANY)
def test_patch_with_the_current_version_applies(server: Server, namespace: str, kind: Patch) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a"))
    meta = {"resourceVersion": made["metadata"]["resourceVersion"], "labels": {"k": "v"}}
    changed = server.api.patch(CONFIGMAPS, namespace, "a", _as(kind, meta), kind=kind)
    assert changed["metadata"]["labels"] == {"k": "v"}


@pytest.mark.parametrize("media", [JSON_PATCH, MERGE_PATCH, STRATEGIC_PATCH])
def test_invalid_result_is_refused(server: Server, namespace: str, media: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    patch: Any = {"spec": {"replicas": -1}}
    if media == JSON_PATCH:
        patch = [{"op": "replace", "path": "/spec/replicas", "value": -1}]
    path = f"/apis/apps/v1/namespaces/{namespace}/deployments/web"
    reply = server.ask("PATCH", path, patch, content_type=media)
    assert (reply.status, reply.causes) == (422, [("spec.replicas", "FieldValueInvalid")])


def test_unknown_patch_format_is_unsupported(server: Server, namespace: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    path = f"/api/v1/namespaces/{namespace}/configmaps/a"
    assert server.ask("PATCH", path, {}, content_type="application/json").status == 415
