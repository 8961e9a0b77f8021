"""What the process around the server gets to see and to say: writes, refusals, logs, restarts."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, PODS, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.apiserver import ApiServer, RequestInfo, WriteRecord

_POD = {
    "metadata": {"name": "p"},
    "spec": {"containers": [{"name": "a", "image": "x"}, {"name": "b", "image": "x"}]},
}


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer(history=50) as running:
        yield running


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Api:
    return Api.connect(str(server.kubeconfig(tmp_path / "kubeconfig")), user_agent="tester/1.0")


def _map(name: str, **data: str) -> Json:
    return {"metadata": {"name": name}, "data": data}


def _deployment() -> Json:
    template = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "x"}]}}
    spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
    return {"metadata": {"name": "web"}, "spec": spec}


def test_every_write_is_told_in_order(server: ApiServer, api: Api) -> None:
    records: list[WriteRecord] = []
    server.on_write(records.append)
    api.create(CONFIGMAPS, "default", _map("a", k="1"))
    api.patch(CONFIGMAPS, "default", "a", {"data": {"k": "2"}}, field_manager="patcher")
    api.patch(CONFIGMAPS, "default", "a", {"data": {"k": "2"}})  # changes nothing
    api.delete(CONFIGMAPS, "default", "a")
    told = [(r.verb, r.resource, r.namespace, r.name, r.field_manager) for r in records]
    assert told == [
        ("create", "configmaps", "default", "a", "tester"),
        ("patch", "configmaps", "default", "a", "patcher"),
        ("delete", "configmaps", "default", "a", "tester"),
    ]
    states = [(r.old and r.old["data"]["k"], r.new and r.new["data"]["k"]) for r in records]
    assert states == [(None, "1"), ("1", "2"), ("2", None)]
    assert all(r.user_agent == "tester/1.0" and abs(r.at - time.time()) < 60 for r in records)
    assert json.loads(records[1].body) == {"data": {"k": "2"}}
    assert json.loads(records[2].body)["propagationPolicy"] == "Background"
    assert records[0].new == records[1].old and records[0].new["kind"] == "ConfigMap"  # type: ignore[index]


def test_subresource_of_a_write_is_told(server: ApiServer, api: Api) -> None:
    records: list[WriteRecord] = []
    api.create(DEPLOYMENTS, "default", _deployment())
    server.on_write(records.append)
    api.patch(DEPLOYMENTS, "default", "web", {"status": {"replicas": 1}}, subresource="status")
    api.patch(DEPLOYMENTS, "default", "web", {"spec": {"replicas": 2}}, subresource="scale")
    assert [(r.resource, r.subresource) for r in records] == [
        ("deployments.apps", "status"),
        ("deployments.apps", "scale"),
    ]


def test_hook_has_seen_a_write_before_its_client_has_the_answer(server: ApiServer, api: Api) -> None:
    seen: set[str] = set()
    server.on_write(lambda record: seen.add(record.name))
    for number in range(20):
        api.create(CONFIGMAPS, "default", _map(f"m{number}"))
        assert f"m{number}" in seen


def test_collector_writes_under_its_own_name(server: ApiServer, api: Api) -> None:
    gone = threading.Event()
    records: list[WriteRecord] = []

    def watch(record: WriteRecord) -> None:
        records.append(record)
        if record.name == "child" and record.new is None:
            gone.set()

    server.on_write(watch)
    parent = api.create(CONFIGMAPS, "default", _map("parent"))
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": parent["metadata"]["uid"]}
    api.create(CONFIGMAPS, "default", {"metadata": {"name": "child", "ownerReferences": [owner]}})
    api.delete(CONFIGMAPS, "default", "parent")
    assert gone.wait(30)
    assert (records[-1].verb, records[-1].user_agent) == ("delete", "garbage-collector")


def test_a_broken_hook_harms_nobody(server: ApiServer, api: Api, caplog: pytest.LogCaptureFixture) -> None:
    def broken(_record: WriteRecord) -> None:
        raise RuntimeError("out of order")

    server.on_write(broken)
    assert api.create(CONFIGMAPS, "default", _map("a"))["metadata"]["name"] == "a"
    assert "out of order" in caplog.text


def test_requests_can_be_refused(server: ApiServer, api: Api) -> None:
    asked: list[RequestInfo] = []

    def reject(info: RequestInfo) -> tuple[int, Json] | None:
        asked.append(info)
        if info.verb == "patch" and info.path.plural == "configmaps":
            status = {"kind": "Status", "code": 429, "reason": "TooManyRequests", "message": "later"}
            return 429, status
        return None

    api.create(CONFIGMAPS, "default", _map("a", k="1"))
    server.reject = reject
    with pytest.raises(errors.TooManyRequests, match="later"):
        api.patch(CONFIGMAPS, "default", "a", {"data": {"k": "2"}})
    assert api.get(CONFIGMAPS, "default", "a")["data"] == {"k": "1"}
    assert [(info.verb, info.path.name, info.manager) for info in asked] == [
        ("patch", "a", "canaryd"),
        ("get", "a", "tester"),
    ]
    server.reject = None
    assert api.patch(CONFIGMAPS, "default", "a", {"data": {"k": "2"}})["data"] == {"k": "2"}


def test_logs_come_from_the_provider(server: ApiServer, api: Api) -> None:
    asked: list[tuple[Any, ...]] = []

    def provider(namespace: str, pod: str, container: str, previous: bool, tail: int | None) -> str:
        asked.append((namespace, pod, container, previous, tail))
        return "one\ntwo\n"

    api.create(PODS, "default", _POD)
    server.set_log_provider(provider)
    assert api.logs("default", "p", container="b", previous=True, tail_lines=5) == "one\ntwo\n"
    assert asked == [("default", "p", "b", True, 5)]


@pytest.mark.parametrize(
    ("pod", "container", "status"), [("p", None, 400), ("p", "nope", 400), ("nope", None, 404)]
)
def test_logs_of_what_is_not_there(
    server: ApiServer, api: Api, pod: str, container: str | None, status: int
) -> None:
    api.create(PODS, "default", _POD)
    server.set_log_provider(lambda *_: "never")
    with pytest.raises(errors.ApiError) as caught:
        api.logs("default", pod, container=container)
    assert caught.value.status == status


def test_failing_log_provider_is_an_answer(server: ApiServer, api: Api) -> None:
    def provider(*_: Any) -> str:
        raise FileNotFoundError("no such log")

    api.create(PODS, "default", {**_POD, "spec": {"containers": [{"name": "a", "image": "x"}]}})
    server.set_log_provider(provider)
    with pytest.raises(errors.ApiError, match="no such log"):
        api.logs("default", "p")


def test_forgotten_version_is_an_expired_watch(server: ApiServer, api: Api) -> None:
    _, since = api.list(CONFIGMAPS, "default")
    api.create(CONFIGMAPS, "default", _map("a"))
    server.compact()
    with pytest.raises(errors.Gone, match="too old resource version"):
        list(api.watch(CONFIGMAPS, "default", resource_version=since, timeout_seconds=5))


def test_forgotten_page_is_gone(server: ApiServer, api: Api) -> None:
    for name in ("a", "b", "c"):
        api.create(CONFIGMAPS, "default", _map(name))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)

    def page(token: str) -> tuple[int, Json]:
        connection.request("GET", f"/api/v1/namespaces/default/configmaps?limit=1&continue={token}")
        response = connection.getresponse()
        return response.status, json.loads(response.read())

    token = page("")[1]["metadata"]["continue"]
    api.delete(CONFIGMAPS, "default", "a")
    assert page(token)[1]["items"][0]["metadata"]["name"] == "b"
    server.compact()
    status, body = page(token)
    connection.close()
    assert (status, body["reason"]) == (410, "Expired")


def test_followed_log_ends_with_the_pod(server: ApiServer, api: Api) -> None:
    lines = ["one"]
    api.create(PODS, "default", {**_POD, "spec": {"containers": [{"name": "a", "image": "x"}]}})
    server.set_log_provider(lambda *_: "".join(f"{line}\n" for line in lines))
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=30)
    connection.request("GET", "/api/v1/namespaces/default/pods/p/log?follow=true")
    response = connection.getresponse()
    assert response.readline() == b"one\n"
    lines.append("two")
    assert response.readline() == b"two\n"
    lines.append("three")
    api.patch(PODS, "default", "p", {"status": {"phase": "Failed"}}, subresource="status")
    assert response.read() == b"three\n"
    connection.close()


def test_watch_of_a_client_that_left_is_forgotten(server: ApiServer, api: Api) -> None:
    """Nothing need happen for it: a quiet kind would keep dead watches otherwise."""
    listeners = server._core.store._listeners
    before = len(listeners)
    with api.watch(CONFIGMAPS, resource_version="1", timeout_seconds=60):
        _await(lambda: len(listeners) == before + 1)
    _await(lambda: len(listeners) == before)


def _await(check: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not check():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_history_is_bounded(server: ApiServer, api: Api) -> None:
    _, since = api.list(CONFIGMAPS, "default")
    api.create(CONFIGMAPS, "default", _map("a"))
    for number in range(60):  # the server was told to remember 50
        changed = api.patch(CONFIGMAPS, "default", "a", {"data": {"k": str(number)}})
    with pytest.raises(errors.Gone):
        list(api.watch(CONFIGMAPS, "default", resource_version=since, timeout_seconds=5))
    recent = str(int(changed["metadata"]["resourceVersion"]) - 10)
    events = [
        e for e in api.watch(CONFIGMAPS, resource_version=recent, timeout_seconds=1) if e.type != "BOOKMARK"
    ]
    assert [e.object["data"]["k"] for e in events] == [str(number) for number in range(50, 60)]


def test_version_from_another_life_is_expired(api: Api) -> None:
    """A client that outlives the server's memory must start over, not wait for ever."""
    with pytest.raises(errors.Gone):
        list(api.watch(CONFIGMAPS, "default", resource_version="999999", timeout_seconds=5))


def test_stop_ends_watches_and_start_goes_on(server: ApiServer, api: Api) -> None:
    made = api.create(NAMESPACES, None, {"metadata": {"name": "kept"}})
    ended: list[str] = []

    def follow() -> None:
        try:
            list(
                api.watch(
                    NAMESPACES, resource_version=made["metadata"]["resourceVersion"], timeout_seconds=60
                )
            )
            ended.append("closed")
        except errors.ApiError:
            ended.append("cut")

    follower = threading.Thread(target=follow)
    follower.start()
    time.sleep(0.5)
    url = server.url
    server.stop()
    follower.join(30)
    assert ended and not follower.is_alive()
    with pytest.raises(errors.Unreachable):
        api.get(NAMESPACES, None, "kept")
    server.start()
    assert server.url == url
    assert api.get(NAMESPACES, None, "kept") == made
    events = list(
        api.watch(
            NAMESPACES, resource_version=str(int(made["metadata"]["resourceVersion"]) - 1), timeout_seconds=1
        )
    )
    assert [e.object["metadata"]["name"] for e in events if e.type != "BOOKMARK"] == ["kept"]


def test_collector_knows_owners_from_before_a_restart(server: ApiServer, api: Api) -> None:
    parent = api.create(CONFIGMAPS, "default", _map("parent"))
    owner = {"apiVersion": "v1", "kind": "ConfigMap", "name": "parent", "uid": parent["metadata"]["uid"]}
    api.create(CONFIGMAPS, "default", {"metadata": {"name": "child", "ownerReferences": [owner]}})
    server.stop()
    server.start()
    api.delete(CONFIGMAPS, "default", "parent")
    _await(lambda: not api.list(CONFIGMAPS, "default", fields="metadata.name=child")[0])


def test_two_servers_at_once(tmp_path: Path) -> None:
    with ApiServer() as one, ApiServer() as two:
        assert one.port != two.port
        first = Api.connect(str(one.kubeconfig(tmp_path / "one")))
        second = Api.connect(str(two.kubeconfig(tmp_path / "two")))
        first.create(CONFIGMAPS, "default", _map("a"))
        with pytest.raises(errors.NotFound):
            second.get(CONFIGMAPS, "default", "a")


def test_port_that_is_taken_is_an_error(server: ApiServer) -> None:
    with pytest.raises(OSError, match="address already in use"):
        ApiServer(server.port).start()
