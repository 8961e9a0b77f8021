"""Watches: no change is lost, selections see what they select, and the end is announced."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import CONFIGMAPS, PODS, Json
from canaryd.cluster.watch import WatchEvent
from contract.servers import THINGS, Server, configmap, pod_spec, thing

Write = Callable[[Server, str], object]


def _create(name: str, **labels: str) -> Write:
    return lambda server, ns: server.api.create(CONFIGMAPS, ns, configmap(name, labels=labels))


def _label(name: str, **labels: str | None) -> Write:
    return lambda server, ns: server.api.patch(CONFIGMAPS, ns, name, {"metadata": {"labels": labels}})


def _put(name: str, **data: str) -> Write:
    return lambda server, ns: server.api.patch(CONFIGMAPS, ns, name, {"data": data})


def _delete(name: str) -> Write:
    return lambda server, ns: server.api.delete(CONFIGMAPS, ns, name)


def _changes(events: list[WatchEvent]) -> list[tuple[str, str]]:
    return [(e.type, e.object["metadata"]["name"]) for e in events if e.type != "BOOKMARK"]


def _watch(
    server: Server, namespace: str, since: str, *, labels: str = "", fields: str = ""
) -> list[WatchEvent]:
    return list(
        server.api.watch(
            CONFIGMAPS, namespace, resource_version=since, labels=labels, fields=fields, timeout_seconds=1
        )
    )


_LIFE = [_create("a"), _put("a", k="v"), _create("b"), _delete("a")]
_LIFE_SEEN = [("ADDED", "a"), ("MODIFIED", "a"), ("ADDED", "b"), ("DELETED", "a")]


def test_changes_since_a_list_are_all_seen_in_order(server: Server, namespace: str) -> None:
    _, since = server.api.list(CONFIGMAPS, namespace)
    for write in _LIFE:
        write(server, namespace)
    assert _changes(_watch(server, namespace, since)) == _LIFE_SEEN


def test_changes_are_seen_while_they_happen(server: Server, namespace: str) -> None:
    _, since = server.api.list(CONFIGMAPS, namespace)
    watch = server.api.watch(CONFIGMAPS, namespace, resource_version=since, timeout_seconds=30)
    writer = threading.Thread(target=lambda: [write(server, namespace) for write in _LIFE])
    writer.start()
    seen = [next(watch) for _ in _LIFE]
    writer.join()
    watch.close()
    assert _changes(seen) == _LIFE_SEEN


def test_a_watch_resumes_after_the_last_event(server: Server, namespace: str) -> None:
    _, since = server.api.list(CONFIGMAPS, namespace)
    for write in _LIFE:
        write(server, namespace)
    events = _watch(server, namespace, since)
    for at, event in enumerate(events):
        if event.type != "BOOKMARK":
            left = _watch(server, namespace, event.object["metadata"]["resourceVersion"])
            assert _changes(left) == _changes(events[at + 1 :])


def test_deleted_carries_a_new_version(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", {"k": "v"}))
    since = made["metadata"]["resourceVersion"]
    server.api.delete(CONFIGMAPS, namespace, "a")
    [event] = [e for e in _watch(server, namespace, since) if e.type != "BOOKMARK"]
    assert event.type == "DELETED" and event.object["data"] == {"k": "v"}
    assert int(event.object["metadata"]["resourceVersion"]) > int(since)


def test_objects_in_events_carry_their_kind(server: Server, namespace: str) -> None:
    _, since = server.api.list(CONFIGMAPS, namespace)
    _create("a")(server, namespace)
    [event] = [e for e in _watch(server, namespace, since) if e.type != "BOOKMARK"]
    assert (event.object["apiVersion"], event.object["kind"]) == ("v1", "ConfigMap")


@pytest.mark.parametrize(
    ("writes", "labels", "seen"),
    [
        pytest.param(
            [_create("a", x="1"), _create("b", x="2")], "x=1", [("ADDED", "a")], id="others are not seen"
        ),
        pytest.param(
            [_create("a"), _label("a", x="1"), _put("a", k="v")],
            "x=1",
            [("ADDED", "a"), ("MODIFIED", "a")],
            id="entering is an addition",
        ),
        pytest.param(
            [_create("a", x="1"), _label("a", x="2"), _put("a", k="v"), _delete("a")],
            "x=1",
            [("ADDED", "a"), ("DELETED", "a")],
            id="leaving is a deletion",
        ),
        pytest.param(
            [_create("a", x="1"), _label("a", x=None), _label("a", x="1"), _delete("a")],
            "x",
            [("ADDED", "a"), ("DELETED", "a"), ("ADDED", "a"), ("DELETED", "a")],
            id="leaving and coming back",
        ),
    ],
)
def test_label_selected(
    server: Server, namespace: str, writes: list[Write], labels: str, seen: list[tuple[str, str]]
) -> None:
    _, since = server.api.list(CONFIGMAPS, namespace)
    for write in writes:
        write(server, namespace)
    assert _changes(_watch(server, namespace, since, labels=labels)) == seen


def test_object_that_leaves_a_selection_is_shown_as_it_was(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", labels={"x": "1"}))
    since = made["metadata"]["resourceVersion"]
    left = server.api.patch(CONFIGMAPS, namespace, "a", {"metadata": {"labels": {"x": "2"}}})
    [event] = [e for e in _watch(server, namespace, since, labels="x=1") if e.type != "BOOKMARK"]
    assert event.object["metadata"]["labels"] == {"x": "1"}
    assert event.object["metadata"]["resourceVersion"] == left["metadata"]["resourceVersion"]


def test_field_selected_by_name(server: Server, namespace: str) -> None:
    _, since = server.api.list(CONFIGMAPS, namespace)
    for write in _LIFE:
        write(server, namespace)
    assert _changes(_watch(server, namespace, since, fields="metadata.name=b")) == [("ADDED", "b")]


def test_field_selected_by_node(server: Server, namespace: str) -> None:
    """What a node asks for: it sees a pod from its binding on."""
    _, since = server.api.list(PODS, namespace)
    server.api.create(PODS, namespace, {"metadata": {"name": "p"}, "spec": pod_spec("x:1")})
    binding = {"metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n1"}}
    server.api.create(PODS, namespace, binding, subresource="binding")
    events = server.api.watch(
        PODS, namespace, resource_version=since, fields="spec.nodeName=n1", timeout_seconds=1
    )
    assert _changes(list(events)) == [("ADDED", "p")]


def test_other_namespaces_are_not_seen(server: Server, namespace: str) -> None:
    _, since = server.api.list(CONFIGMAPS)
    server.api.create(CONFIGMAPS, "default", {"metadata": {"generateName": "elsewhere-"}})
    assert _changes(_watch(server, namespace, since)) == []


def test_without_a_version_a_watch_starts_with_what_exists(server: Server, namespace: str) -> None:
    for name in ("a", "b"):
        _create(name)(server, namespace)
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=true&timeoutSeconds=1"
    lines = server.watch_lines(path)
    assert sorted((e["type"], e["object"]["metadata"]["name"]) for e in lines) == [
        ("ADDED", "a"),
        ("ADDED", "b"),
    ]


def test_a_bookmark_before_the_end_allows_to_go_on(server: Server, namespace: str) -> None:
    """Changes of other objects move the version on, so that it does not grow too old."""
    _create("a")(server, namespace)
    _, since = server.api.list(CONFIGMAPS, namespace)
    watch = server.api.watch(
        CONFIGMAPS, namespace, resource_version=since, fields="metadata.name=a", timeout_seconds=5
    )
    last = _create("b")(server, namespace)
    marks = [e.object for e in watch if e.type == "BOOKMARK"]
    assert marks and marks[-1]["kind"] == "ConfigMap"
    assert isinstance(last, dict)
    assert int(marks[-1]["metadata"]["resourceVersion"]) >= int(last["metadata"]["resourceVersion"])


def test_no_bookmarks_unless_asked(server: Server, namespace: str) -> None:
    path = f"/api/v1/namespaces/{namespace}/configmaps?watch=true&timeoutSeconds=3"
    assert server.watch_lines(path) == []


def test_custom_objects_are_watched_alike(server: Server, things: None, namespace: str) -> None:
    _, since = server.api.list(THINGS, namespace)
    server.api.create(THINGS, namespace, thing())
    server.api.patch(THINGS, namespace, "one", {"status": {"phase": "Up"}}, subresource="status")
    events = list(server.api.watch(THINGS, namespace, resource_version=since, timeout_seconds=1))
    assert _changes(events) == [("ADDED", "one"), ("MODIFIED", "one")]


@pytest.mark.parametrize(
    "query", ["resourceVersion=x", "resourceVersion=1&labelSelector=a%20b", "fieldSelector=x%3Dy"]
)
def test_malformed_watch_is_refused(server: Server, namespace: str, query: str) -> None:
    reply = server.ask("GET", f"/api/v1/namespaces/{namespace}/configmaps?watch=true&{query}")
    assert reply.status in (400, 500) and reply.body["kind"] == "Status"


def test_a_watch_of_a_kind_that_is_not_served(server: Server) -> None:
    path = "/apis/nothing.example.com/v1/things?watch=true"
    assert server.ask("GET", path).status == 404


def _error_of(lines: list[Json]) -> Json:
    [event] = lines
    assert event["type"] == "ERROR"
    found: Json = event["object"]
    return found


def test_version_that_is_too_old_is_an_error_event(server: Server, namespace: str) -> None:
    """The watch cache of a real server forgets by its own rules; where it still knows, nothing is to be seen."""
    path = f"/api/v1/namespaces/{namespace}/services?watch=true&resourceVersion=1&timeoutSeconds=1"
    lines = server.watch_lines(path)
    if lines:
        status = _error_of(lines)
        assert (status["kind"], status["code"], status["reason"]) == ("Status", 410, "Expired")
        with pytest.raises(errors.Gone):
            list(server.api.watch(CONFIGMAPS, namespace, resource_version="1", timeout_seconds=1))
