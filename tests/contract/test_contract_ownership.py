"""metadata.managedFields: who last changed what."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.cluster.resources import CONFIGMAPS, Json
from contract.servers import JSON_PATCH, MERGE_PATCH, THINGS, Server, configmap, thing


def _paths(fields: Json, prefix: str = "") -> set[str]:
    """The owned leaves of a fieldsV1, as `data.key`; markers of whole maps are left out."""
    leaves = set()
    for name, inner in fields.items():
        if name != ".":
            path = f"{prefix}.{name[2:]}".lstrip(".")
            leaves |= _paths(inner, path) if inner.keys() - {"."} else {path}
    return leaves


def _owned(body: Json) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for entry in body["metadata"].get("managedFields", []):
        found.setdefault(entry["manager"], set()).update(_paths(entry["fieldsV1"]))
    return found


def _patch(server: Server, namespace: str, manager: str, patch: Json) -> Json:
    return server.api.patch(CONFIGMAPS, namespace, "a", patch, field_manager=manager)


@pytest.fixture
def shared(server: Server, namespace: str) -> str:
    """A ConfigMap `a` that `maker` made, with the keys x and y."""
    path = f"/api/v1/namespaces/{namespace}/configmaps?fieldManager=maker"
    body = configmap("a", {"x": "1", "y": "1"}, labels={"l": "1"})
    assert server.ask("POST", path, body).status == 201
    return namespace


def _data(server: Server, namespace: str, manager: str) -> set[str]:
    owned = _owned(server.api.get(CONFIGMAPS, namespace, "a")).get(manager, set())
    return {path for path in owned if path.startswith(("data.", "metadata."))}


def test_creator_owns_what_it_wrote(server: Server, shared: str) -> None:
    assert _data(server, shared, "maker") == {"data.x", "data.y", "metadata.labels.l"}


def test_entry_says_how_and_when(server: Server, shared: str) -> None:
    [entry] = server.api.get(CONFIGMAPS, shared, "a")["metadata"]["managedFields"]
    assert (entry["operation"], entry["apiVersion"], entry["fieldsType"]) == ("Update", "v1", "FieldsV1")
    assert entry["time"].endswith("Z")


def test_field_moves_to_its_last_writer(server: Server, shared: str) -> None:
    _patch(server, shared, "other", {"data": {"y": "2", "z": "3"}})
    assert _data(server, shared, "maker") == {"data.x", "metadata.labels.l"}
    assert _data(server, shared, "other") == {"data.y", "data.z"}


def test_writing_the_same_value_takes_nothing(server: Server, shared: str) -> None:
    _patch(server, shared, "other", {"data": {"x": "1", "z": "3"}})
    assert _data(server, shared, "maker") == {"data.x", "data.y", "metadata.labels.l"}
    assert _data(server, shared, "other") == {"data.z"}


def test_removed_field_belongs_to_nobody(server: Server, shared: str) -> None:
    _patch(server, shared, "other", {"data": {"y": None}})
    assert _data(server, shared, "maker") == {"data.x", "metadata.labels.l"}
    assert _data(server, shared, "other") == set()


def test_manager_defaults_to_the_client(server: Server, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    made = server.ask("POST", path, configmap("a", {"x": "1"}), agent="some-tool/v1.2 (linux)").body
    assert list(_owned(made)) == ["some-tool"]


def test_lists_of_custom_kinds_are_one_field(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing(parts=[{"name": "a"}, {"name": "b"}]))
    operations = [{"op": "replace", "path": "/spec/parts/0/share", "value": 1}]
    changed = server.api.patch(THINGS, namespace, "one", operations, kind="json", field_manager="weigher")
    assert _owned(changed)["weigher"] == {"spec.parts"}
    others = set().union(*(owned for manager, owned in _owned(changed).items() if manager != "weigher"))
    assert "spec.parts" not in others and "spec.size" in others


@pytest.mark.parametrize(
    ("media", "patch"),
    [
        (MERGE_PATCH, {"metadata": {"managedFields": [{}]}}),
        (JSON_PATCH, [{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]),
    ],
)
def test_ownership_can_be_cleared(server: Server, shared: str, media: str, patch: Any) -> None:
    path = f"/api/v1/namespaces/{shared}/configmaps/a"
    cleared = server.ask("PATCH", path, patch, content_type=media).body
    assert "managedFields" not in cleared["metadata"]
    assert cleared["data"] == {"x": "1", "y": "1"}
    changed = _patch(server, shared, "other", {"data": {"x": "2"}})
    assert "managedFields" not in changed["metadata"]


def test_ownership_can_be_given_back(server: Server, shared: str) -> None:
    """What canaryd does at the end of a run: the entries are those of before its first write."""
    before = server.api.get(CONFIGMAPS, shared, "a")["metadata"]["managedFields"]
    _patch(server, shared, "canaryd", {"data": {"x": "2"}})
    _patch(server, shared, "canaryd", {"data": {"x": "1"}})
    operations = [{"op": "replace", "path": "/metadata/managedFields", "value": before}]
    restored = server.api.patch(CONFIGMAPS, shared, "a", operations, kind="json")
    assert restored["metadata"]["managedFields"] == before


def test_custom_status_has_an_owner_too(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing())
    change = {"status": {"phase": "Up"}}
    changed = server.api.patch(
        THINGS, namespace, "one", change, subresource="status", field_manager="reporter"
    )
    assert _owned(changed)["reporter"] == {"status.phase"}
