"""Watches, and the ways in which they end."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scripted_apiserver import PATIENCE, Exchange, scripted, status_object, thing

from canaryd.cluster import errors as e
from canaryd.cluster import transport
from canaryd.cluster.resources import DEPLOYMENTS
from canaryd.cluster.transport import Watch, WatchEvent


@contextmanager
def watching(folder: Path, play: Callable[[Exchange], None]) -> Iterator[Watch]:
    with (
        scripted(folder, play) as server,
        server.api().watch(DEPLOYMENTS, "shop", resource_version="5", timeout_seconds=40) as watch,
    ):
        yield watch


def line(kind: str, obj: object) -> bytes:
    return json.dumps({"type": kind, "object": obj}).encode() + b"\n"


def test_the_request_and_its_events(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        request.event("ADDED", thing("a", "6"))
        request.event("BOOKMARK", {"metadata": {"resourceVersion": "9"}})
        request.event("DELETED", thing("a", "10"))
        request.end()

    with scripted(tmp_path, play) as server:
        watch = server.api().watch(
            DEPLOYMENTS, "shop", resource_version="5", labels="a=b", fields="x=y", timeout_seconds=40
        )
        events = list(watch)
        (request,) = server.seen()
        assert list(watch) == []
    assert events == [
        WatchEvent("ADDED", thing("a", "6")),
        WatchEvent("BOOKMARK", {"metadata": {"resourceVersion": "9"}}),
        WatchEvent("DELETED", thing("a", "10")),
    ]
    assert request.path == "/apis/apps/v1/namespaces/shop/deployments"
    assert request.query == {
        "watch": "true",
        "allowWatchBookmarks": "true",
        "resourceVersion": "5",
        "timeoutSeconds": "40",
        "labelSelector": "a=b",
        "fieldSelector": "x=y",
    }


@pytest.mark.parametrize("size", [1, 7, 1000, 1 << 20])
def test_chunks_do_not_matter(tmp_path: Path, size: int) -> None:
    events = [thing("ä", str(i), note="x" * i) for i in range(20)]

    def play(request: Exchange) -> None:
        data = b"".join(line("MODIFIED", obj) + b"\n" * (i % 2) for i, obj in enumerate(events))
        request.stream()
        for at in range(0, len(data), size):
            request.chunk(data[at : at + size])
        request.end()

    with watching(tmp_path, play) as watch:
        assert [event.object for event in watch] == events


def test_a_large_event(tmp_path: Path) -> None:
    large = thing("a", "6", note="x" * 3_000_000)

    def play(request: Exchange) -> None:
        request.stream()
        request.event("ADDED", large)
        request.end()

    with watching(tmp_path, play) as watch:
        assert next(watch).object == large


@pytest.mark.parametrize("chunked", [True, False])
def test_an_event_is_there_before_the_next_one(tmp_path: Path, chunked: bool) -> None:
    read = threading.Event()

    def play(request: Exchange) -> None:
        if chunked:
            request.stream()
        else:
            request.until_close()
        for version in ("6", "7"):
            data = line("ADDED", thing("a", version))
            request.chunk(data) if chunked else request.write(data)
            assert read.wait(PATIENCE)
        request.cut()

    with watching(tmp_path, play) as watch:
        assert next(watch).object["metadata"]["resourceVersion"] == "6"
        read.set()
        assert [event.object["metadata"]["resourceVersion"] for event in watch] == ["7"]


ENDS: dict[str, Callable[[Exchange], None]] = {
    "in order": Exchange.end,
    "by closing the connection": Exchange.cut,
}


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
@pytest.mark.parametrize("events", [0, 2])
def test_a_server_that_closes_ends_the_watch(
    tmp_path: Path, end: Callable[[Exchange], None], events: int
) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        for i in range(events):
            request.event("ADDED", thing("a", str(i)))
        end(request)

    with watching(tmp_path, play) as watch:
        assert len(list(watch)) == events


def test_the_last_line_needs_no_end(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        request.chunk(line("ADDED", thing("a", "6")).rstrip())
        request.end()

    with watching(tmp_path, play) as watch:
        assert len(list(watch)) == 1


def failing(tmp_path: Path, play: Callable[[Exchange], None]) -> e.ApiError:
    """The error in which a watch ends after one good event."""

    def begin(request: Exchange) -> None:
        request.stream()
        request.event("ADDED", thing("a", "6"))
        play(request)

    with watching(tmp_path, begin) as watch:
        assert next(watch).type == "ADDED"
        with pytest.raises(e.ApiError) as caught:
            next(watch)
        assert list(watch) == [], "a watch that failed has ended"
    return caught.value


def test_an_expired_version_in_the_stream_is_gone(tmp_path: Path) -> None:
    error = failing(tmp_path, lambda r: r.event("ERROR", status_object(410, "Expired", "too old")))
    assert isinstance(error, e.Gone)
    assert str(error) == "watch deployments.apps shop: 410 Expired: too old"


def test_an_expired_version_at_once_is_gone(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda r: r.fail(410, "Expired")) as server, pytest.raises(e.Gone):
        server.api().watch(DEPLOYMENTS, resource_version="1", timeout_seconds=30)


@pytest.mark.parametrize(
    ("code", "kind"), [(500, e.ServerError), (403, e.Forbidden), (429, e.TooManyRequests)]
)
def test_other_errors_in_the_stream(tmp_path: Path, code: int, kind: type[e.ApiError]) -> None:
    error = failing(tmp_path, lambda r: r.event("ERROR", status_object(code, "Whatever", "why")))
    assert type(error) is kind


@pytest.mark.parametrize(
    "garbage",
    [
        b"<html>\n",
        b"[]\n",
        b"{}\n",
        b"null\n",
        b'{"type": "ADDED"}\n',
        b'{"type": "ADDED", "object": []}\n',
        b'{"type": "ERROR", "object": "x"}\n',
        b'{"type": "EXPLODED", "object": {}}\n',
        b'{"type": [], "object": {}}\n',
        b"\xff\xfe\n",
        b"[" * 10_000 + b"\n",
    ],
)
def test_garbage_in_the_stream(tmp_path: Path, garbage: bytes) -> None:
    def play(request: Exchange) -> None:
        request.chunk(garbage)
        request.hang()

    error = failing(tmp_path, play)
    assert isinstance(error, e.ServerError)
    assert error.reason == "BadAnswer"


@pytest.mark.parametrize("end", ENDS.values(), ids=ENDS.keys())
def test_a_stream_that_ends_inside_an_event(tmp_path: Path, end: Callable[[Exchange], None]) -> None:
    def play(request: Exchange) -> None:
        request.chunk(line("ADDED", thing("a", "7"))[:30])
        end(request)

    assert isinstance(failing(tmp_path, play), e.Unreachable)


def test_a_reset_is_no_ordinary_end(tmp_path: Path) -> None:
    assert isinstance(failing(tmp_path, Exchange.reset), e.Unreachable)


def test_a_half_open_connection_ends_by_the_read_timeout(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(transport, "_WATCH_TIMEOUT", (3.0, 0.3))
    error = failing(tmp_path, Exchange.hang)
    assert isinstance(error, e.Unreachable)
    assert "silent" in error.message


def test_an_html_page_instead_of_a_watch(tmp_path: Path) -> None:
    with (
        watching(tmp_path, lambda r: r.raw(b"<html>\nlogin\n</html>", 200, "text/html")) as watch,
        pytest.raises(e.ServerError, match="text/html"),
    ):
        next(watch)


def test_closing_from_another_thread_ends_a_silent_watch(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        request.hang()

    with watching(tmp_path, play) as watch:
        rest: list[WatchEvent] = []
        reader = threading.Thread(target=lambda: rest.extend(watch))
        reader.start()
        began = time.monotonic()
        watch.close()
        watch.close()
        reader.join(PATIENCE)
        assert time.monotonic() - began < PATIENCE
        assert not reader.is_alive()
    assert rest == []


def test_closing_after_the_end_is_nothing(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        request.stream()
        request.end()

    with scripted(tmp_path, play) as server:
        api = server.api()
        for _ in range(3):
            watch = api.watch(DEPLOYMENTS, resource_version="5", timeout_seconds=30)
            assert list(watch) == []
            watch.close()
