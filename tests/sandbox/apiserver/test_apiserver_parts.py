"""The small pieces, by table: ages, JSONPath, pod words, protobuf bodies, field validation."""

from __future__ import annotations

import datetime as dt
import http.client
import json
from collections.abc import Iterator
from typing import Any

import pytest

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.apiserver.columns import Moment, human_duration
from canaryd.sandbox.apiserver.columns_workloads import WORKLOADS
from canaryd.sandbox.apiserver.errors import StatusError
from canaryd.sandbox.apiserver.jsonpath import find
from canaryd.sandbox.apiserver.negotiate import Form, negotiate
from canaryd.sandbox.apiserver.paths import ApiPath, parse_path
from canaryd.sandbox.apiserver.wire import decode_protobuf

NOW = Moment(dt.datetime(2026, 1, 1, 1, 0, 0, tzinfo=dt.UTC))


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [(0, "0s"), (119, "119s"), (120, "2m"), (125, "2m5s"), (599, "9m59s"), (600, "10m"), (3599, "59m"),
     (7200, "120m"), (10800, "3h"), (11100, "3h5m"), (86400, "24h"), (172800, "2d"), (180000, "2d2h"),
     (700000, "8d"), (86400 * 400, "1y35d"), (-5, "<invalid>")],
)  # fmt: skip
def test_ages(seconds: int, shown: str) -> None:
    assert human_duration(seconds) == shown


_DOCUMENT = {
    "spec": {"a": 1, "list": ["x", "y"], "dotted.key": 2, "none": None},
    "items": [{"type": "Ready", "n": 1}, {"type": "Other", "n": 2}],
}


@pytest.mark.parametrize(
    ("path", "found"),
    [
        (".spec.a", [1]),
        ("{.spec.a}", [1]),
        ("spec.a", [1]),
        (".spec.list", [["x", "y"]]),
        (".spec.list[0]", ["x"]),
        (".spec.list[-1]", ["y"]),
        (".spec.list[7]", []),
        (".spec.list[*]", ["x", "y"]),
        (".spec.dotted\\.key", [2]),
        (".spec['dotted.key']", [2]),
        (".spec.none", [None]),
        (".spec.nothing.below", []),
        (".items[?(@.type=='Ready')].n", [1]),
        ('.items[?(@.type=="Other")].n', [2]),
        (".items[*].n", [1, 2]),
        (".spec[", []),
    ],
)
def test_json_paths(path: str, found: list[Any]) -> None:
    assert find(path, _DOCUMENT) == found


@pytest.mark.parametrize(
    ("path", "parsed"),
    [
        ("/api/v1/pods", ApiPath("", "v1", "pods")),
        ("/api/v1/namespaces", ApiPath("", "v1", "namespaces")),
        ("/api/v1/namespaces/n", ApiPath("", "v1", "namespaces", "", "n")),
        ("/api/v1/namespaces/n/status", ApiPath("", "v1", "namespaces", "", "n", "status")),
        ("/api/v1/namespaces/n/pods/p/log", ApiPath("", "v1", "pods", "n", "p", "log")),
        ("/apis/apps/v1/namespaces/n/deployments/d", ApiPath("apps", "v1", "deployments", "n", "d")),
        ("/apis/apps/v1", None),
        ("/healthz", None),
        ("/api/v1/namespaces/n/pods/p/a/b/c", None),
    ],
)
def test_paths(path: str, parsed: ApiPath | None) -> None:
    assert parse_path(path) == parsed


@pytest.mark.parametrize(
    ("accept", "form"),
    [
        ("", Form()),
        ("application/json", Form()),
        ("*/*", Form()),
        ("application/json;as=Table;v=v1;g=meta.k8s.io,application/json", Form("table", "meta.k8s.io/v1")),
        ("application/json;as=Table;v=v9;g=meta.k8s.io,application/json", Form()),
        ("application/vnd.kubernetes.protobuf,application/json", Form()),
        ("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io", Form("metadata", "meta.k8s.io/v1")),
    ],
)
def test_negotiation(accept: str, form: Form) -> None:
    assert negotiate(accept) == form


def _pod(status: Json, **meta: Any) -> Json:
    return {"metadata": {"name": "p", **meta}, "spec": {"containers": [{"name": "a"}]}, "status": status}


def _container(state: Json, **more: Any) -> Json:
    return {"phase": "Running", "containerStatuses": [{"state": state, **more}]}


@pytest.mark.parametrize(
    ("pod", "cells"),
    [
        pytest.param(_pod({"phase": "Pending"}), ["0/1", "Pending", "0"], id="pending"),
        pytest.param(_pod(_container({"running": {}}, ready=True)), ["1/1", "Running", "0"], id="running"),
        pytest.param(
            _pod(_container({"waiting": {"reason": "CrashLoopBackOff"}}, restartCount=3)),
            ["0/1", "CrashLoopBackOff", "3"],
            id="crashing",
        ),
        pytest.param(
            _pod(_container({"terminated": {"exitCode": 2}})), ["0/1", "ExitCode:2", "0"], id="exited"
        ),
        pytest.param(_pod(_container({"terminated": {"signal": 9}})), ["0/1", "Signal:9", "0"], id="killed"),
        pytest.param(
            _pod(
                _container(
                    {"running": {}},
                    ready=True,
                    restartCount=2,
                    lastState={"terminated": {"finishedAt": "2026-01-01T00:59:00Z"}},
                )
            ),
            ["1/1", "Running", "2 (60s ago)"],
            id="restarted",
        ),
        pytest.param(
            _pod({"phase": "Running"}, deletionTimestamp="2026-01-01T00:00:00Z"),
            ["0/1", "Terminating", "0"],
            id="ending",
        ),
    ],
)
def test_cells_of_a_pod(pod: Json, cells: list[str]) -> None:
    assert [column.cell(pod, NOW) for column in WORKLOADS["pods"][1:4]] == cells


# ---- protobuf ---------------------------------------------------------------------------------------


def _bytes(number: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    assert len(data) < 128
    return bytes([number << 3 | 2, len(data)]) + data


def _envelope(api_version: str, kind: str, raw: bytes) -> bytes:
    head = _bytes(1, _bytes(1, api_version) + _bytes(2, kind))
    return b"k8s\x00" + head + _bytes(2, raw) + _bytes(3, "") + _bytes(4, "")


def test_protobuf_object() -> None:
    meta = _bytes(1, "c") + _bytes(2, "") + _bytes(8, "") + _bytes(11, _bytes(1, "l") + _bytes(2, "v"))
    raw = _bytes(1, meta) + _bytes(2, _bytes(1, "k") + _bytes(2, "v"))
    assert decode_protobuf(_envelope("v1", "ConfigMap", raw)) == {
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": "c", "labels": {"l": "v"}},
        "data": {"k": "v"},
    }


def test_protobuf_keeps_the_zero_of_a_pointer() -> None:
    replicas = bytes([1 << 3, 0])
    decoded = decode_protobuf(_envelope("apps/v1", "Deployment", _bytes(2, replicas)))
    assert decoded["spec"] == {"replicas": 0}


@pytest.mark.parametrize(
    ("data", "status"),
    [
        pytest.param(b"nonsense", 400, id="no envelope"),
        pytest.param(b"k8s\x00\x0a\x7f", 400, id="cut off"),
        pytest.param(_envelope("v1", "Unheard", b""), 415, id="unknown kind"),
        pytest.param(_envelope("v1", "ConfigMap", bytes([9 << 3, 1])), 415, id="unknown field"),
    ],
)
def test_protobuf_that_is_not_understood(data: bytes, status: int) -> None:
    with pytest.raises(StatusError) as caught:
        decode_protobuf(data)
    assert caught.value.code == status


# ---- what a newer server than the contract's does ---------------------------------------------------


@pytest.fixture(scope="module")
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


def _ask(
    server: ApiServer, method: str, path: str, body: Any = None, **headers: str
) -> tuple[int, Any, list[str]]:
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
    data = json.dumps(body) if body is not None else None
    connection.request(method, path, data, {"Content-Type": "application/json", **headers})
    response = connection.getresponse()
    text = response.read()
    connection.close()
    warnings = response.headers.get_all("Warning") or []
    return response.status, json.loads(text) if text[:1] == b"{" else text, warnings


_TYPO = {"metadata": {"generateName": "a-"}, "data": {}, "dta": {"k": "v"}}


@pytest.mark.parametrize(
    ("query", "status", "warned"),
    [("", 201, True), ("?fieldValidation=Warn", 201, True), ("?fieldValidation=Ignore", 201, False),
     ("?fieldValidation=Strict", 400, False)],
)  # fmt: skip
def test_unknown_fields(server: ApiServer, query: str, status: int, warned: bool) -> None:
    answer = _ask(server, "POST", f"/api/v1/namespaces/default/configmaps{query}", _TYPO)
    assert answer[0] == status
    assert answer[2] == (['299 - "unknown field \\"dta\\""'] if warned else [])
    if status == 400:
        assert 'strict decoding error: unknown field "dta"' in answer[1]["message"]


def test_discovery_in_one_piece(server: ApiServer) -> None:
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    _, found, _ = _ask(server, "GET", "/apis", Accept=accept)
    assert (found["kind"], found["apiVersion"]) == ("APIGroupDiscoveryList", "apidiscovery.k8s.io/v2")
    apps = next(group for group in found["items"] if group["metadata"]["name"] == "apps")
    deployments = next(r for r in apps["versions"][0]["resources"] if r["resource"] == "deployments")
    assert {sub["subresource"] for sub in deployments["subresources"]} == {"status", "scale"}


def test_openapi_tells_of_validation_and_carries_schemas(server: ApiServer) -> None:
    _, index, _ = _ask(server, "GET", "/openapi/v3")
    _, found, _ = _ask(server, "GET", index["paths"]["apis/apps/v1"]["serverRelativeURL"])
    patch = found["paths"]["/apis/apps/v1/namespaces/{namespace}/deployments/{name}"]["patch"]
    assert "fieldValidation" in [parameter["name"] for parameter in patch["parameters"]]
    spec = found["components"]["schemas"]["V1DeploymentSpec"]["properties"]
    assert spec["replicas"]["type"] == "integer"
    status, document, _ = _ask(server, "GET", "/openapi/v2")
    assert status == 200 and b"fieldValidation" in document and b"dryRun" in document


def test_scaler_owns_the_replicas(server: ApiServer) -> None:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    path = "/apis/apps/v1/namespaces/default/deployments"
    _ask(server, "POST", path, {"metadata": {"name": "scaled"}, "spec": spec})
    change = {"metadata": {"name": "scaled", "namespace": "default"}, "spec": {"replicas": 5}}
    assert _ask(server, "PUT", f"{path}/scaled/scale?fieldManager=scaler", change)[0] == 200
    _, found, _ = _ask(server, "GET", f"{path}/scaled")
    [entry] = [e for e in found["metadata"]["managedFields"] if e["manager"] == "scaler"]
    assert (entry["subresource"], entry["fieldsV1"]) == ("scale", {"f:spec": {"f:replicas": {}}})


@pytest.mark.parametrize("path", ["/healthz", "/readyz", "/livez"])
def test_health(server: ApiServer, path: str) -> None:
    assert _ask(server, "GET", path)[:2] == (200, b"ok")


def test_apply_patches_are_refused_clearly(server: ApiServer) -> None:
    _ask(server, "POST", "/api/v1/namespaces/default/configmaps", {"metadata": {"name": "applied"}})
    path = "/api/v1/namespaces/default/configmaps/applied?fieldManager=x"
    status, found, _ = _ask(server, "PATCH", path, {}, **{"Content-Type": "application/apply-patch+yaml"})
    assert status == 415 and "server-side apply is not served here" in found["message"]
