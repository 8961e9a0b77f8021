"""Calls over a real connection, to a server that answers well or badly."""

from __future__ import annotations

import threading
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from scripted_apiserver import TOKEN, Exchange, scripted, thing

from canaryd.cluster import errors as e
from canaryd.cluster.resources import DEPLOYMENTS, NAMESPACES, PODS
from canaryd.cluster.transport import Api

WEB = "/apis/apps/v1/namespaces/shop/deployments/web"

READS: dict[str, Callable[[Api], object]] = {
    "get": lambda api: api.get(DEPLOYMENTS, "shop", "web"),
    "list": lambda api: api.list(DEPLOYMENTS),
    "logs": lambda api: api.logs("shop", "web"),
}
WRITES: dict[str, Callable[[Api], object]] = {
    "create": lambda api: api.create(DEPLOYMENTS, "shop", {"metadata": {"name": "web"}}),
    "replace": lambda api: api.replace(DEPLOYMENTS, "shop", "web", {}),
    "patch": lambda api: api.patch(DEPLOYMENTS, "shop", "web", {"spec": {}}),
    "delete": lambda api: api.delete(DEPLOYMENTS, "shop", "web"),
}
CALLS = READS | WRITES
OBJECTS = {name: call for name, call in CALLS.items() if name != "logs"}


def each(calls: dict[str, Callable[[Api], object]]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("call", calls.values(), ids=calls.keys())


def echo(request: Exchange) -> None:
    request.json({"you": "sent"})


WIRE: list[tuple[Callable[[Api], object], str, str, dict[str, str], str | None, Any]] = [
    (lambda a: a.get(DEPLOYMENTS, "shop", "web"), "GET", WEB, {}, None, None),
    (lambda a: a.get(DEPLOYMENTS, "shop", "web", subresource="scale"), "GET", WEB + "/scale", {}, None, None),
    (lambda a: a.get(NAMESPACES, "", "shop"), "GET", "/api/v1/namespaces/shop", {}, None, None),
    (
        lambda a: a.create(PODS, "shop", {"metadata": {"generateName": "x-"}}),
        "POST",
        "/api/v1/namespaces/shop/pods",
        {},
        "application/json",
        {"apiVersion": "v1", "kind": "Pod", "metadata": {"generateName": "x-"}},
    ),
    (
        lambda a: a.create(PODS, "shop", {"metadata": {"name": "p"}}, subresource="eviction"),
        "POST",
        "/api/v1/namespaces/shop/pods/p/eviction",
        {},
        "application/json",
        {"metadata": {"name": "p"}},
    ),
    (
        lambda a: a.replace(DEPLOYMENTS, "shop", "web", {"a": None}, subresource="status"),
        "PUT",
        WEB + "/status",
        {},
        "application/json",
        {"apiVersion": "apps/v1", "kind": "Deployment", "a": None},
    ),
    (
        lambda a: a.patch(DEPLOYMENTS, "shop", "web", {"a": {"b": []}}),
        "PATCH",
        WEB,
        {"fieldManager": "canaryd"},
        "application/merge-patch+json",
        {"a": {"b": []}},
    ),
    (
        lambda a: a.patch(DEPLOYMENTS, "shop", "web", [{"op": "remove", "path": "/a"}], kind="json"),
        "PATCH",
        WEB,
        {"fieldManager": "canaryd"},
        "application/json-patch+json",
        [{"op": "remove", "path": "/a"}],
    ),
    (
        lambda a: a.patch(DEPLOYMENTS, "shop", "web", [], kind="json"),
        "PATCH",
        WEB,
        {"fieldManager": "canaryd"},
        "application/json-patch+json",
        [],
    ),
    (
        lambda a: a.patch(DEPLOYMENTS, "shop", "web", {}, kind="strategic", field_manager="x"),
        "PATCH",
        WEB,
        {"fieldManager": "x"},
        "application/strategic-merge-patch+json",
        {},
    ),
    (
        lambda a: a.delete(DEPLOYMENTS, "shop", "web"),
        "DELETE",
        WEB,
        {},
        "application/json",
        {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": "Background"},
    ),
    (
        lambda a: a.delete(
            DEPLOYMENTS, "shop", "web", uid="u", resource_version="5", propagation="Orphan", grace=0
        ),
        "DELETE",
        WEB,
        {},
        "application/json",
        {
            "apiVersion": "v1",
            "kind": "DeleteOptions",
            "propagationPolicy": "Orphan",
            "preconditions": {"uid": "u", "resourceVersion": "5"},
            "gracePeriodSeconds": 0,
        },
    ),
]


@pytest.mark.parametrize(("call", "method", "path", "query", "content_type", "body"), WIRE)
def test_requests_on_the_wire(
    tmp_path: Path,
    call: Callable[[Api], object],
    method: str,
    path: str,
    query: dict[str, str],
    content_type: str | None,
    body: object,
) -> None:
    with scripted(tmp_path, echo) as server:
        assert call(server.api()) in ({"you": "sent"}, None)
        (request,) = server.seen()
    assert (request.method, request.path, request.query) == (method, path, query)
    assert request.headers.get("content-type") == content_type
    assert request.headers["authorization"] == f"Bearer {TOKEN}"
    assert request.headers["user-agent"] == "canaryd"
    assert (request.sent() if request.body else None) == body


def test_a_patch_of_the_wrong_shape_is_not_sent(tmp_path: Path) -> None:
    with scripted(tmp_path, echo) as server:
        api = server.api()
        with pytest.raises(ValueError, match="merge patch cannot be a list"):
            api.patch(DEPLOYMENTS, "shop", "web", [])
        with pytest.raises(ValueError, match="json patch cannot be a dict"):
            api.patch(DEPLOYMENTS, "shop", "web", {}, kind="json")
        assert server.seen() == []


def test_list_reads_all_pages(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        at = int(request.query.get("continue", "0"))
        last = at + int(request.query["limit"])
        items = [thing(f"d{i}", str(i)) for i in range(at, min(last, 5))]
        request.list(items, "77", str(last) if last < 5 else "")

    with scripted(tmp_path, play) as server:
        items, version = server.api().list(DEPLOYMENTS, "shop", labels="a=b", fields="x=y", page=2)
        requests = server.seen()
    assert [item["metadata"]["name"] for item in items] == [f"d{i}" for i in range(5)]
    assert {(item["apiVersion"], item["kind"]) for item in items} == {("apps/v1", "Deployment")}
    assert version == "77"
    assert [request.query.get("continue") for request in requests] == [None, "2", "4"]
    assert all(r.query["labelSelector"] == "a=b" and r.query["fieldSelector"] == "x=y" for r in requests)


def test_an_empty_list_may_be_null(tmp_path: Path) -> None:
    with scripted(
        tmp_path, lambda r: r.json({"items": None, "metadata": {"resourceVersion": "3"}})
    ) as server:
        assert server.api().list(PODS) == ([], "3")


def test_list_begins_anew_when_a_page_expired_and_ends_in_one_piece(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        if request.query.get("continue"):
            request.fail(410, "Expired", "The provided continue parameter is too old")
        elif "limit" in request.query:
            request.list([thing("old", "1")], "1", "token")
        else:
            request.list([thing("a", "2"), thing("b", "3")], "3")

    with scripted(tmp_path, play) as server:
        items, version = server.api().list(DEPLOYMENTS, page=1)
    assert ([item["metadata"]["name"] for item in items], version) == (["a", "b"], "3")


def test_a_list_that_stays_gone_is_gone(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda r: r.fail(410, "Expired")) as server, pytest.raises(e.Gone):
        server.api().list(DEPLOYMENTS)


@pytest.mark.parametrize("answer", [{}, {"items": []}, {"items": [1], "metadata": {"resourceVersion": "1"}}])
def test_a_list_that_is_none(tmp_path: Path, answer: object) -> None:
    with (
        scripted(tmp_path, lambda r: r.json(answer)) as server,
        pytest.raises(e.ServerError, match="not a list"),
    ):
        server.api().list(DEPLOYMENTS)


@each(CALLS)
@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [(403, "Forbidden", e.Forbidden), (404, "NotFound", e.NotFound), (500, "InternalError", e.ServerError)],
)
def test_statuses_become_errors(
    tmp_path: Path, call: Callable[[Api], object], code: int, reason: str, kind: type[e.ApiError]
) -> None:
    with scripted(tmp_path, lambda r: r.fail(code, reason, "because")) as server:
        with pytest.raises(kind, match="because") as caught:
            call(server.api())
        assert len(server.seen()) == 1
    assert caught.value.target in {"deployments.apps shop/web", "pods shop/web", "deployments.apps"}


def test_throttling_says_how_long(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda r: r.raw(b"slow", 429, "text/plain", Retry_After="4")) as server:
        with pytest.raises(e.TooManyRequests) as caught:
            server.api().get(DEPLOYMENTS, "shop", "web")
        assert len(server.seen()) == 1
    assert caught.value.retry_after == 4


@each(OBJECTS)
@pytest.mark.parametrize("status", [200, 404, 502])
@pytest.mark.parametrize(
    "body", [b"<html>login here</html>", b"", b"[]", b"null", b'"x"', b"{", b"\xff\xfe\x00", b"[" * 10_000]
)
def test_what_no_api_server_says(
    tmp_path: Path, call: Callable[[Api], object], status: int, body: bytes
) -> None:
    with (
        scripted(tmp_path, lambda r: r.raw(body, status, "text/html")) as server,
        pytest.raises(e.ServerError, match="text/html") as caught,
    ):
        call(server.api())
    assert caught.value.status == status
    assert caught.value.ambiguous is (caught.value.verb in WRITES)


def test_redirects_are_not_followed(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.raw(b"", 302, Location="/elsewhere")

    with scripted(tmp_path, play) as server:
        with pytest.raises(e.ApiError) as caught:
            server.api().get(DEPLOYMENTS, "shop", "web")
        assert [request.path for request in server.seen()] == [WEB]
    assert caught.value.status == 302


@each(READS)
def test_a_read_is_tried_again_after_a_reset(tmp_path: Path, call: Callable[[Api], object]) -> None:
    first = threading.Event()

    def play(request: Exchange) -> None:
        if first.is_set():
            request.list([], "1")
        else:
            first.set()
            request.reset()

    with scripted(tmp_path, play) as server:
        call(server.api())
        assert len(server.seen()) == 2


@each(READS)
def test_a_read_is_tried_again_once_only(tmp_path: Path, call: Callable[[Api], object]) -> None:
    with scripted(tmp_path, Exchange.reset) as server:
        with pytest.raises(e.Unreachable) as caught:
            call(server.api())
        assert len(server.seen()) == 2
    assert not caught.value.ambiguous
    assert caught.value.__cause__ is not None


@each(WRITES)
@pytest.mark.parametrize("fault", [Exchange.reset, Exchange.cut, Exchange.hang])
def test_a_write_without_answer_is_ambiguous_and_not_repeated(
    tmp_path: Path, call: Callable[[Api], object], fault: Callable[[Exchange], None]
) -> None:
    with scripted(tmp_path, fault) as server:
        with pytest.raises(e.Unreachable) as caught:
            call(server.api(timeout=(3.0, 0.3)))
        assert len(server.seen()) == 1
    assert caught.value.ambiguous
    assert caught.value.__cause__ is not None


@each(READS)
def test_a_silent_server_is_given_up(tmp_path: Path, call: Callable[[Api], object]) -> None:
    with scripted(tmp_path, Exchange.hang) as server:
        with pytest.raises(e.Unreachable, match="timed out") as caught:
            call(server.api(timeout=(3.0, 0.3)))
        assert len(server.seen()) == 1
    assert not caught.value.ambiguous


@each(CALLS)
def test_a_refused_connection_was_no_write(tmp_path: Path, call: Callable[[Api], object]) -> None:
    with scripted(tmp_path, echo) as server:
        url = server.url
    with scripted(tmp_path, echo) as other:
        api = other.api(cluster={"server": url})
        with pytest.raises(e.Unreachable, match="refused") as caught:
            call(api)
    assert not caught.value.ambiguous


def test_an_answer_that_trickles_is_given_up(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        for _ in range(1000):
            request.chunk(b" ")
            request.wait(0.02)

    with scripted(tmp_path, play) as server, pytest.raises(e.Unreachable, match=r"not complete after 0\.6 s"):
        server.api(timeout=(0.3, 0.3)).get(DEPLOYMENTS, "shop", "web")


@pytest.mark.parametrize("call", [READS["get"], WRITES["patch"]])
def test_an_answer_that_breaks_off(tmp_path: Path, call: Callable[[Api], object]) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        request.chunk(b'{"metadata": {}')
        request.cut()

    with scripted(tmp_path, play) as server, pytest.raises(e.Unreachable, match="broken") as caught:
        call(server.api())
    assert caught.value.ambiguous is (caught.value.verb == "patch")


def test_threads_share_the_connections(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.json({"name": request.path.rpartition("/")[2]})

    with scripted(tmp_path, play) as server, ThreadPoolExecutor(8) as threads:
        api = server.api()
        names = [f"d{i}" for i in range(200)]
        found = list(threads.map(lambda name: api.get(DEPLOYMENTS, "shop", name)["name"], names))
    assert found == names


def test_connections_are_used_again(tmp_path: Path) -> None:
    ports = set()

    def play(request: Exchange) -> None:
        ports.add(request.client_port)
        request.fail(404, "NotFound") if request.method == "GET" else request.json({})

    with scripted(tmp_path, play) as server:
        api = server.api()
        for call in (WRITES["patch"], READS["get"], WRITES["create"], READS["list"]) * 5:
            try:
                call(api)
            except e.NotFound:
                continue
    assert len(ports) == 1


def test_logs_are_text(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda r: r.raw(b"panic: \xff\nbye\n", content_type="text/plain")) as server:
        text = server.api().logs("shop", "web-1", container="app", previous=True, tail_lines=7)
        (request,) = server.seen()
    assert text == "panic: �\nbye\n"
    assert request.path == "/api/v1/namespaces/shop/pods/web-1/log"
    assert request.query == {
        "container": "app",
        "previous": "true",
        "tailLines": "7",
        "limitBytes": "65536",
    }


@each(CALLS)
@pytest.mark.parametrize("fault", [Exchange.reset, lambda r: r.fail(401, "Unauthorized")])
def test_errors_hold_no_secret(
    tmp_path: Path, call: Callable[[Api], object], fault: Callable[[Exchange], None]
) -> None:
    with scripted(tmp_path, fault) as server, pytest.raises(e.ApiError) as caught:
        call(server.api())
    assert TOKEN not in "".join(traceback.format_exception(caught.value))
