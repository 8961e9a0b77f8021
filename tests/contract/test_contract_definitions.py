"""Custom kinds: served as soon as they are defined, their schema enforced."""

from __future__ import annotations

import copy
from typing import Any

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import CRDS, Json, Resource
from contract.conftest import definition, install
from contract.servers import MERGE_PATCH, THINGS, Server, eventually, thing

PATH = "/apis/contract.canaryd.io/v1/namespaces/{ns}/things"
CRD_PATH = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"


def test_definition_is_established(server: Server, things: None) -> None:
    status = server.api.get(CRDS, None, "things.contract.canaryd.io")["status"]
    conditions = {c["type"]: c["status"] for c in status["conditions"]}
    assert conditions == {"NamesAccepted": "True", "Established": "True"}
    assert status["storedVersions"] == ["v1"]
    assert status["acceptedNames"]["listKind"] == "ThingList"


@pytest.mark.parametrize(
    ("break_it", "field"),
    [
        pytest.param(lambda crd: crd["metadata"].update(name="other"), "metadata.name", id="name"),
        pytest.param(lambda crd: crd["spec"].pop("scope"), "spec.scope", id="no scope"),
        pytest.param(lambda crd: crd["spec"].update(scope="World"), "spec.scope", id="scope"),
        pytest.param(lambda crd: crd["spec"].update(versions=[]), "spec.versions", id="no versions"),
        pytest.param(
            lambda crd: crd["spec"]["versions"][1].update(storage=True), "spec.versions", id="two storages"
        ),
        pytest.param(
            lambda crd: crd["spec"]["versions"][0].pop("schema"), "schema.openAPIV3Schema", id="no schema"
        ),
    ],
)
def test_definition_is_checked(server: Server, break_it: Any, field: str) -> None:
    crd = definition("broken.example.com")
    break_it(crd)
    reply = server.ask("POST", CRD_PATH, crd)
    assert reply.status == 422
    assert any(field in cause for cause, _ in reply.causes), reply.causes


def test_discovery_lists_the_custom_kind(server: Server, things: None) -> None:
    group = server.ask("GET", "/apis/contract.canaryd.io").body
    assert [v["version"] for v in group["versions"]] == ["v1", "v1beta1"]
    assert group["preferredVersion"]["version"] == "v1"
    resources = {r["name"]: r for r in server.ask("GET", "/apis/contract.canaryd.io/v1").body["resources"]}
    assert resources.keys() == {"things", "things/status", "things/scale"}
    assert resources["things"]["shortNames"] == ["thg"] and resources["things"]["categories"] == ["contract"]
    assert (resources["things/scale"]["group"], resources["things/scale"]["kind"]) == ("autoscaling", "Scale")


@pytest.mark.parametrize("path", ["v1/namespaces/x/nothings", "v1alpha1/namespaces/x/things", "v9/things"])
def test_what_the_definition_does_not_serve(server: Server, things: None, path: str) -> None:
    reply = server.ask("GET", f"/apis/contract.canaryd.io/{path}")
    assert (reply.status, reply.body) == (404, "404 page not found\n")


def test_versions_show_the_same_object(server: Server, things: None, namespace: str) -> None:
    beta = Resource("contract.canaryd.io", "v1beta1", "things", "Thing")
    made = server.api.create(THINGS, namespace, thing())
    seen = server.api.get(beta, namespace, "one")
    assert seen["apiVersion"] == "contract.canaryd.io/v1beta1"
    assert (seen["spec"], seen["metadata"]["uid"]) == (made["spec"], made["metadata"]["uid"])
    server.api.patch(beta, namespace, "one", {"spec": {"size": 5}})
    assert server.api.get(THINGS, namespace, "one")["spec"]["size"] == 5
    assert len(server.api.list(beta, namespace)[0]) == 1


def test_wrong_version_in_the_body_is_refused(server: Server, things: None, namespace: str) -> None:
    body = {**thing(), "apiVersion": "contract.canaryd.io/v1beta1"}
    assert server.ask("POST", PATH.format(ns=namespace), body).status == 400


@pytest.mark.parametrize(("missing", "status"), [("kind", 400), ("apiVersion", 500)])
def test_custom_bodies_say_what_they_are(
    server: Server, things: None, namespace: str, missing: str, status: int
) -> None:
    body = {key: value for key, value in thing().items() if key != missing}
    assert server.ask("POST", PATH.format(ns=namespace), body).status == status


_BAD = [
    pytest.param({"size": 0}, "spec.size", "greater than or equal to 1", id="minimum"),
    pytest.param({"size": 11}, "spec.size", "less than or equal to 10", id="maximum"),
    pytest.param({"size": "1"}, "spec.size", 'must be of type integer: "string"', id="text for a number"),
    pytest.param({"size": 1.5}, "spec.size", 'must be of type integer: "number"', id="fraction"),
    pytest.param({"size": None}, "spec.size", "Required value", id="required"),
    pytest.param({"color": "blue"}, "spec.color", 'supported values: "red", "green"', id="enum"),
    pytest.param({"code": "yy"}, "spec.code", "should match '^x+$'", id="pattern"),
    pytest.param({"code": "x"}, "spec.code", "should be at least 2 chars long", id="too short"),
    pytest.param({"code": "xxxxxx"}, "spec.code", "", id="too long"),
    pytest.param({"port": True}, "spec.port", "must be of type integer,string", id="neither int nor string"),
    pytest.param({"counts": {"a": "b"}}, "spec.counts.a", "must be of type integer", id="map value"),
    pytest.param({"hosts": ["a", "b", "c"]}, "spec.hosts", "", id="too many items"),
    pytest.param({"hosts": "a"}, "spec.hosts", "must be of type array", id="no list"),
    pytest.param({"hosts": [1]}, "spec.hosts", "must be of type string", id="item"),
    pytest.param({"parts": [{"share": 1}]}, "spec.parts", "Required value", id="required in an item"),
]


@pytest.mark.parametrize(("spec", "field", "says"), _BAD)
def test_schema_is_enforced_on_create(
    server: Server, things: None, namespace: str, spec: Json, field: str, says: str
) -> None:
    reply = server.ask("POST", PATH.format(ns=namespace), thing(**spec))
    assert (reply.status, reply.body["reason"]) == (422, "Invalid")
    # Servers before 1.24 leave the indexes of items out of the field.
    assert any(cause.startswith(field) for cause, _ in reply.causes), reply.causes
    assert says in reply.body["message"]


@pytest.mark.parametrize(("spec", "field", "says"), _BAD)
def test_schema_is_enforced_on_patch(
    server: Server, things: None, namespace: str, spec: Json, field: str, says: str
) -> None:
    made = server.api.create(THINGS, namespace, thing())
    path = PATH.format(ns=namespace) + "/one"
    reply = server.ask("PATCH", path, {"spec": spec}, content_type=MERGE_PATCH)
    assert reply.status == 422 and says in reply.body["message"]
    assert server.api.get(THINGS, namespace, "one") == made


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        pytest.param({}, {}, id="default of a scalar"),
        pytest.param({"junk": 1}, {}, id="unknown field"),
        pytest.param(
            {"parts": [{"name": "a", "junk": 1}]}, {"parts": [{"name": "a", "share": 7}]}, id="in items"
        ),
        pytest.param(
            {"free": {"any": {"thing": [1, None]}}}, {"free": {"any": {"thing": [1, None]}}}, id="free"
        ),
        pytest.param({"note": None}, {"note": None}, id="null where allowed"),
        pytest.param({"plain": None}, {}, id="null where not allowed"),
        pytest.param({"color": None}, {}, id="null where there is a default"),
        pytest.param({"port": 80}, {"port": 80}, id="int or string: int"),
        pytest.param({"port": "http"}, {"port": "http"}, id="int or string: string"),
        pytest.param({"counts": {"a": 1}}, {"counts": {"a": 1}}, id="map"),
        pytest.param({"hosts": []}, {"hosts": []}, id="empty list"),
    ],
)
def test_pruned_and_defaulted(server: Server, things: None, namespace: str, given: Json, kept: Json) -> None:
    made = server.api.create(THINGS, namespace, thing(**given))
    assert made["spec"] == {"size": 1, "color": "red", **kept}


def test_replace_wants_the_version(server: Server, things: None, namespace: str) -> None:
    server.api.create(THINGS, namespace, thing())
    with pytest.raises(errors.Invalid, match="must be specified for an update"):
        server.api.replace(THINGS, namespace, "one", thing(size=2))


def test_generation_of_a_custom_object(server: Server, things: None, namespace: str) -> None:
    made = server.api.create(THINGS, namespace, thing())
    steps: list[tuple[Json, str | None, int]] = [
        ({"metadata": {"annotations": {"a": "b"}}}, None, 1),
        ({"status": {"phase": "Up"}}, "status", 1),
        ({"spec": {"size": 2}}, None, 2),
        ({"spec": {"size": 2}}, None, 2),
    ]
    assert made["metadata"]["generation"] == 1
    for patch, subresource, generation in steps:
        changed = server.api.patch(THINGS, namespace, "one", patch, subresource=subresource)
        assert changed["metadata"]["generation"] == generation


def test_a_definition_can_be_changed_and_removed(server: Server, namespace: str) -> None:
    crd = definition("shortlived.example.com")
    kind = Resource("shortlived.example.com", "v1", "things", "Thing")
    install(server, crd)
    body = {**thing(size=5), "apiVersion": kind.api_version}
    server.api.create(kind, namespace, body)
    changed = copy.deepcopy(crd["spec"]["versions"])
    changed[0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["size"]["maximum"] = 4
    server.api.patch(CRDS, None, crd["metadata"]["name"], {"spec": {"versions": changed}})

    def refused() -> bool:
        patch = {"metadata": {"annotations": {"tried": "again"}}}
        path = kind.path(namespace, "one")
        return server.ask("PATCH", path, patch, content_type=MERGE_PATCH).status == 422

    eventually(refused)
    server.api.delete(CRDS, None, crd["metadata"]["name"])
    eventually(lambda: server.ask("GET", kind.path(namespace)).body == "404 page not found\n")
    eventually(lambda: server.ask("GET", f"{CRD_PATH}/{crd['metadata']['name']}").status == 404)


def _without_cel(schema: Any) -> Any:
    """Servers before 1.25 do not know CEL rules, and the sandbox does not run them."""
    if isinstance(schema, dict):
        return {k: _without_cel(v) for k, v in schema.items() if k != "x-kubernetes-validations"}
    return [_without_cel(item) for item in schema] if isinstance(schema, list) else schema


@pytest.fixture(scope="module")
def istio(server: Server, official_crds: list[Json]) -> Resource:
    """VirtualService, from the published definition."""
    for crd in official_crds:
        install(server, _without_cel(crd))
    return Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")


def _virtual_service(**route: Any) -> Json:
    routes = [{"destination": {"host": "web", "subset": "stable"}, "weight": 100, **route}]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "web"},
        "spec": {"hosts": ["web"], "http": [{"name": "main", "route": routes}]},
    }


def test_official_definitions_are_served(server: Server, istio: Resource, official_crds: list[Json]) -> None:
    for crd in official_crds:
        spec = crd["spec"]
        for version in (v["name"] for v in spec["versions"] if v["served"]):
            path = f"/apis/{spec['group']}/{version}/{spec['names']['plural']}"
            assert server.ask("GET", path).status == 200, path


def test_virtual_service_is_kept_as_written(server: Server, istio: Resource, namespace: str) -> None:
    body = _virtual_service()
    server.api.create(istio, namespace, body)
    for version in ("v1", "v1beta1", "v1alpha3"):
        seen = server.api.get(Resource(istio.group, version, istio.plural, istio.kind), namespace, "web")
        assert seen["spec"] == body["spec"]


@pytest.mark.parametrize(
    ("route", "field"),
    [
        pytest.param({"weight": "50"}, "spec.http", id="weight as text"),
        pytest.param({"destination": {"subset": "x"}}, "spec.http", id="destination without host"),
    ],
)
def test_virtual_service_is_checked(
    server: Server, istio: Resource, namespace: str, route: Json, field: str
) -> None:
    reply = server.ask("POST", istio.path(namespace), _virtual_service(**route))
    assert reply.status == 422
    assert any(cause.startswith(field) for cause, _ in reply.causes), reply.body
