"""The local copy: it follows, it says what changed, it survives, it ends."""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import structlog.testing
from scripted_apiserver import PATIENCE, Exchange, Scripted, eventually, scripted, status_object, thing

from canaryd.cluster import transport
from canaryd.cluster.reflector import Key, Reflector, _Backoff
from canaryd.cluster.resources import DEPLOYMENTS, Json


@dataclass(frozen=True, slots=True)
class Thing:
    name: str
    size: int


def parse(obj: Json) -> Thing | None:
    """Things of size 0 are of no interest, those without a size malformed."""
    size = obj["spec"]["size"]
    return Thing(obj["metadata"]["name"], size) if size else None


class World:
    """The objects of a little API server and the history of their changes; any watch can be made to end."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.objects: dict[str, Json] = {}
        self.version = 0
        self.oldest = 0
        self.events: list[tuple[int, str, Json]] = []
        self.watches = 0
        self.interrupted = 0

    def put(self, name: str, **spec: object) -> None:
        with self.changed:
            kind = "MODIFIED" if name in self.objects else "ADDED"
            self._record(kind, thing(name, str(self.version + 1), **spec))
            self.objects[name] = self.events[-1][2]

    def drop(self, name: str) -> None:
        with self.changed:
            gone = self.objects.pop(name)
            metadata = {**gone["metadata"], "resourceVersion": str(self.version + 1)}
            self._record("DELETED", {**gone, "metadata": metadata})

    def bookmark(self) -> None:
        with self.changed:
            self.version += 1
            self.events.append(
                (self.version, "BOOKMARK", {"metadata": {"resourceVersion": str(self.version)}})
            )
            self.changed.notify_all()

    def forget(self) -> None:
        """Versions before the present one are too old from now on."""
        with self.changed:
            self.oldest = self.version

    def interrupt(self) -> None:
        """End all watches."""
        with self.changed:
            self.interrupted += 1
            self.changed.notify_all()

    def _record(self, kind: str, obj: Json) -> None:
        self.version += 1
        self.events.append((self.version, kind, obj))
        self.changed.notify_all()

    def __call__(self, request: Exchange) -> None:
        if not request.watches:
            with self.changed:
                items, version = list(self.objects.values()), str(self.version)
            request.list(items, version)
            return
        with self.changed:
            at, mine = int(request.query["resourceVersion"]), self.interrupted
            self.watches += 1
        request.stream()
        if at < self.oldest:
            request.event("ERROR", status_object(410, "Expired", "too old"))
        else:
            self._send(request, at, mine)
        request.end()

    def _send(self, request: Exchange, at: int, mine: int) -> None:
        while not request.over and self.interrupted == mine:
            with self.changed:
                news = [event for event in self.events if event[0] > at]
                if not news:
                    self.changed.wait(0.02)
            for version, kind, obj in news:
                request.event(kind, obj)
                at = version


class Changes:
    """What on_change was told."""

    def __init__(self) -> None:
        self.told: list[tuple[Key, Any, Any]] = []

    def __call__(self, key: Key, old: Any, new: Any) -> None:
        self.told.append((key, old, new))

    def sizes(self) -> list[tuple[str, int | None, int | None]]:
        return [(key[1], old and old.size, new and new.size) for key, old, new in self.told]

    def fold(self) -> dict[Key, Any]:
        """The state that the changes lead to; each must start from where the last one ended."""
        state: dict[Key, Any] = {}
        for key, old, new in self.told:
            assert state.get(key) == old
            assert old != new
            state[key] = new
        return {key: value for key, value in state.items() if value is not None}


@contextmanager
def reflecting(
    server: Scripted,
    *,
    parse: Callable[[Json], Any] = parse,
    on_change: Callable[[Key, Any, Any], None] | None = None,
    **more: Any,
) -> Iterator[Reflector[Any]]:
    reflector = Reflector(
        server.api(), DEPLOYMENTS, parse=parse, on_change=on_change, rng=random.Random(1), **more
    )
    reflector.start()
    try:
        yield reflector
    finally:
        reflector.stop()
        assert not reflector._thread.is_alive()


def sizes(reflector: Reflector[Any]) -> dict[str, int]:
    return {key[1]: value.size for key, value in reflector.items()}


def test_it_lists_and_then_follows(tmp_path: Path) -> None:
    world, changes = World(), Changes()
    world.put("a", size=1)
    with scripted(tmp_path, world) as server, reflecting(server, on_change=changes) as reflector:
        assert reflector.synced.wait(PATIENCE)
        assert reflector.get(("shop", "a")) == Thing("a", 1)
        assert reflector.get(("shop", "b")) is None
        world.put("b", size=2)
        world.put("a", size=3)
        world.drop("b")
        eventually(lambda: len(changes.told) == 4, "all changes")
        assert reflector.items() == [(("shop", "a"), Thing("a", 3))]
        assert len(server.seen(watches=False)) == 1
    assert changes.sizes() == [("a", None, 1), ("b", None, 2), ("a", 1, 3), ("b", 2, None)]


def test_before_it_starts_it_is_empty(tmp_path: Path) -> None:
    with scripted(tmp_path, World()) as server:
        reflector = Reflector(server.api(), DEPLOYMENTS, parse=parse)
        assert (reflector.items(), reflector.synced.is_set()) == ([], False)
        assert reflector.last_contact == -math.inf
        reflector.stop()


def test_requests_name_what_is_wanted(tmp_path: Path) -> None:
    world = World()
    with (
        scripted(tmp_path, world) as server,
        reflecting(server, namespace="shop", labels="a=b", fields="x=y") as reflector,
    ):
        eventually(lambda: server.seen(watches=True), "a watch")
        assert reflector._thread.name == "reflector deployments.apps"
        for request in server.seen():
            assert request.path == "/apis/apps/v1/namespaces/shop/deployments"
            assert (request.query["labelSelector"], request.query["fieldSelector"]) == ("a=b", "x=y")
        assert 30 <= int(server.seen(watches=True)[0].query["timeoutSeconds"]) <= 60


def test_an_unchanged_value_is_no_change(tmp_path: Path) -> None:
    world, changes = World(), Changes()
    world.put("a", size=1, colour="red")
    with scripted(tmp_path, world) as server, reflecting(server, on_change=changes) as reflector:
        assert reflector.synced.wait(PATIENCE)
        world.put("a", size=1, colour="blue")
        world.put("a", size=2)
        eventually(lambda: len(changes.told) == 2, "the change of size")
    assert changes.sizes() == [("a", None, 1), ("a", 1, 2)]


def test_a_watch_goes_on_from_the_last_bookmark(tmp_path: Path) -> None:
    world = World()
    with scripted(tmp_path, world) as server, reflecting(server) as reflector:
        assert reflector.synced.wait(PATIENCE)
        for _ in range(7):
            world.bookmark()
        eventually(lambda: reflector._version == "7", "the bookmark")
        world.forget()
        world.interrupt()
        eventually(lambda: len(server.seen(watches=True)) >= 2, "the next watch")
        assert server.seen(watches=True)[1].query["resourceVersion"] == "7"
        world.put("a", size=1)
        eventually(lambda: sizes(reflector) == {"a": 1}, "the object")
        assert len(server.seen(watches=False)) == 1, "no second list"


def test_a_forgotten_version_means_a_new_list_and_all_that_differs_is_told(tmp_path: Path) -> None:
    world, changes = World(), Changes()
    for name in "abc":
        world.put(name, size=1)
    hold = threading.Event()

    def play(request: Exchange) -> None:
        if request.watches and not hold.is_set():
            request.fail(500, "InternalError")
        else:
            world(request)

    with scripted(tmp_path, play) as server, reflecting(server, on_change=changes) as reflector:
        assert reflector.synced.wait(PATIENCE)
        world.put("b", size=2)
        world.drop("c")
        world.put("d", size=4)
        world.forget()
        hold.set()
        eventually(lambda: sizes(reflector) == {"a": 1, "b": 2, "d": 4}, "the new state")
    assert sorted(changes.sizes()[3:]) == [("b", 1, 2), ("c", 1, None), ("d", None, 4)]


def test_a_new_list_parses_only_what_is_new(tmp_path: Path) -> None:
    world = World()
    parsed: list[str] = []

    def note(obj: Json) -> str:
        parsed.append(obj["metadata"]["resourceVersion"])
        return parsed[-1]

    world.put("a", size=1)
    with scripted(tmp_path, world) as server, reflecting(server, parse=note) as reflector:
        assert reflector.synced.wait(PATIENCE)
        world.put("b", size=1)
        eventually(lambda: len(reflector.items()) == 2, "the second")
        world.bookmark()
        world.forget()
        reflector._version = "1"
        world.interrupt()
        eventually(lambda: len(server.seen(watches=False)) == 2, "the second list")
        world.put("c", size=1)
        eventually(lambda: len(reflector.items()) == 3, "the third")
    assert parsed == ["1", "2", "4"]


@pytest.mark.parametrize(
    "refusal",
    [
        lambda r: r.fail(410, "Expired"),
        lambda r: r.fail(504, "Timeout", "Timeout: Too large resource version: 500, current: 100"),
    ],
)
def test_a_version_refused_at_once_means_a_new_list(
    tmp_path: Path, refusal: Callable[[Exchange], None]
) -> None:
    world = World()
    refused = threading.Event()

    def play(request: Exchange) -> None:
        if request.watches and not refused.is_set():
            refused.set()
            refusal(request)
        else:
            world(request)

    with scripted(tmp_path, play) as server, reflecting(server):
        eventually(lambda: world.watches, "a good watch")
        assert len(server.seen(watches=False)) == 2


def end_at_once(request: Exchange) -> None:
    request.stream()
    request.end()


def cut_at_once(request: Exchange) -> None:
    request.stream()
    request.cut()


def end_after_a_bookmark(request: Exchange) -> None:
    request.stream()
    request.event("BOOKMARK", {"metadata": {"resourceVersion": "0"}})
    request.end()


FAULTS: dict[str, Callable[[Exchange], None]] = {
    "ends at once": end_at_once,
    "cuts at once": cut_at_once,
    "resets": Exchange.reset,
    "bookmarks and ends": end_after_a_bookmark,
    "has forgotten": lambda r: r.fail(410, "Expired"),
    "throttles": lambda r: r.fail(429, "TooManyRequests"),
    "fails": lambda r: r.fail(500, "InternalError"),
    "does not serve the kind": lambda r: r.raw(b"404 page not found\n", 404, "text/plain"),
    "answers HTML": lambda r: r.raw(b"<html>", 200, "text/html"),
}
every_fault = pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())


@every_fault
def test_no_hot_loop(tmp_path: Path, fault: Callable[[Exchange], None]) -> None:
    def play(request: Exchange) -> None:
        fault(request) if request.watches else request.list([], "1")

    with scripted(tmp_path, play) as server, reflecting(server):
        eventually(lambda: len(server.seen(watches=True)) >= 2, "another try")
        time.sleep(1.0)
        # With pauses of at least 0.1, 0.2, 0.4 s ... four tries fit in, and slack for a slow start.
        assert len(server.seen(watches=True)) <= 6
        assert len(server.seen(watches=False)) <= 6


@every_fault
@pytest.mark.parametrize("at", ["list", "watch"])
def test_it_recovers(tmp_path: Path, fault: Callable[[Exchange], None], at: str) -> None:
    world, broken = World(), threading.Event()
    broken.set()

    def play(request: Exchange) -> None:
        if broken.is_set() and request.watches is (at == "watch"):
            fault(request)
        else:
            world(request)

    with scripted(tmp_path, play) as server, reflecting(server) as reflector:
        eventually(lambda: len(server.seen(watches=at == "watch")) >= 2, "a second try")
        assert reflector.synced.is_set() is (at == "watch")
        world.put("a", size=1)
        broken.clear()
        eventually(lambda: sizes(reflector) == {"a": 1}, "the object")
        assert reflector.synced.is_set()


def test_it_waits_as_long_as_the_server_asks(tmp_path: Path) -> None:
    world = World()
    times: list[float] = []

    def play(request: Exchange) -> None:
        times.append(time.monotonic())
        if len(times) == 1:
            request.raw(b"slow", 429, "text/plain", Retry_After="1")
        else:
            world(request)

    with scripted(tmp_path, play) as server, reflecting(server) as reflector:
        assert reflector.synced.wait(PATIENCE)
    assert times[1] - times[0] >= 1.0


def test_a_server_that_is_not_there_yet(tmp_path: Path) -> None:
    with scripted(tmp_path, World()) as gone:
        url = gone.url
    with scripted(tmp_path, World()) as server, structlog.testing.capture_logs() as logs:
        reflector = Reflector(server.api(cluster={"server": url}), DEPLOYMENTS, parse=parse)
        reflector.start()
        eventually(lambda: len(logs) >= 2, "tries")
        reflector.stop()
    assert {(line["event"], line["log_level"], line["resource"]) for line in logs} == {
        ("reflector.failed", "warning", "deployments.apps")
    }
    assert "refused" in logs[0]["error"]


def test_a_half_open_watch_is_replaced(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transport, "_WATCH_TIMEOUT", (3.0, 0.3))
    world = World()

    def play(request: Exchange) -> None:
        if request.watches and len(server.seen(watches=True)) == 1:
            request.stream()
            request.hang()
        else:
            world(request)

    with scripted(tmp_path, play) as server, reflecting(server) as reflector:
        assert reflector.synced.wait(PATIENCE)
        world.put("a", size=1)
        eventually(lambda: sizes(reflector) == {"a": 1}, "the object")
        assert len(server.seen(watches=False)) == 1


def test_stop_does_not_wait_for_a_silent_watch(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        if request.watches:
            request.stream()
            request.hang()
        else:
            request.list([], "1")

    with scripted(tmp_path, play) as server:
        reflector = Reflector(server.api(), DEPLOYMENTS, parse=parse)
        reflector.start()
        eventually(lambda: reflector._watch is not None, "the watch")
        began = time.monotonic()
        reflector.stop()
        assert time.monotonic() - began < 4, "the read timeout is 70 s, the join gives up after 5 s"
        assert not reflector._thread.is_alive()


def test_stop_does_not_wait_for_a_pause(tmp_path: Path) -> None:
    with scripted(tmp_path, lambda r: r.raw(b"", 429, Retry_After="30")) as server:
        reflector = Reflector(server.api(), DEPLOYMENTS, parse=parse)
        reflector.start()
        eventually(server.seen, "the first try")
        began = time.monotonic()
        reflector.stop()
        assert time.monotonic() - began < 4
        assert not reflector._thread.is_alive()


def test_a_callback_may_stop_the_reflector(tmp_path: Path) -> None:
    world = World()
    world.put("a", size=1)
    with structlog.testing.capture_logs() as logs, scripted(tmp_path, world) as server:
        reflector = Reflector(server.api(), DEPLOYMENTS, parse=parse, on_change=lambda *_: reflector.stop())
        reflector.start()
        reflector._thread.join(PATIENCE)
        assert not reflector._thread.is_alive()
    assert logs == []


def test_what_parse_skips_or_cannot_read_is_not_kept(tmp_path: Path) -> None:
    world, changes = World(), Changes()
    world.put("skipped", size=0)
    world.put("malformed", colour="red")
    world.put("good", size=1)
    with (
        structlog.testing.capture_logs() as logs,
        scripted(tmp_path, world) as server,
        reflecting(server, on_change=changes) as reflector,
    ):
        assert reflector.synced.wait(PATIENCE)
        assert sizes(reflector) == {"good": 1}
        world.put("good", colour="red")
        eventually(lambda: sizes(reflector) == {}, "the malformed version to drop the good one")
        world.put("good", size=2)
        world.put("skipped", size=3)
        world.put("good", size=0)
        eventually(lambda: sizes(reflector) == {"skipped": 3}, "what is good now")
    assert changes.sizes() == [
        ("good", None, 1),
        ("good", 1, None),
        ("good", None, 2),
        ("skipped", None, 3),
        ("good", 2, None),
    ]
    unparsable = [line["name"] for line in logs if line["event"] == "reflector.unparsable"]
    assert unparsable == ["malformed", "good"]


def test_an_object_without_a_name_harms_no_other(tmp_path: Path) -> None:
    def play(request: Exchange) -> None:
        if request.watches:
            request.stream()
            request.event("ADDED", {"metadata": None})
            request.event("ADDED", {})
            request.event("ADDED", thing("b", "2", size=2))
            request.hang()
        else:
            request.list([{"metadata": {}}, {"metadata": "x"}, thing("a", "1", size=1)], "1")

    with scripted(tmp_path, play) as server, reflecting(server) as reflector:
        eventually(lambda: sizes(reflector) == {"a": 1, "b": 2}, "the good ones")


def test_a_callbacks_fault_is_logged_and_goes_no_further(tmp_path: Path) -> None:
    world = World()
    world.put("a", size=1)

    def explode(key: Key, old: object, new: object) -> None:
        raise RuntimeError("callback")

    with (
        structlog.testing.capture_logs() as logs,
        scripted(tmp_path, world) as server,
        reflecting(server, on_change=explode) as reflector,
    ):
        assert reflector.synced.wait(PATIENCE)
        world.put("b", size=2)
        eventually(lambda: sizes(reflector) == {"a": 1, "b": 2}, "both")
        assert len(server.seen(watches=False)) == 1
    assert [line["name"] for line in logs if line["event"] == "reflector.callback_failed"] == ["a", "b"]


def test_contact_is_the_last_good_answer(tmp_path: Path) -> None:
    world, broken = World(), threading.Event()

    def play(request: Exchange) -> None:
        request.fail(500, "InternalError") if broken.is_set() else world(request)

    with scripted(tmp_path, play) as server, reflecting(server) as reflector:
        eventually(lambda: world.watches, "a watch")
        before = time.monotonic()
        world.bookmark()
        eventually(lambda: reflector.last_contact >= before, "the bookmark")
        broken.set()
        world.interrupt()
        eventually(lambda: len(server.seen(watches=True)) >= 2, "the watch that fails")
        contact = reflector.last_contact
        eventually(lambda: len(server.seen(watches=True)) >= 4, "more that fail")
        assert reflector.last_contact == contact


@pytest.mark.parametrize("seed", range(4))
def test_the_copy_ends_as_the_world_whatever_happens_between(tmp_path: Path, seed: int) -> None:
    rng, world, changes = random.Random(seed), World(), Changes()

    def play(request: Exchange) -> None:
        if rng.random() < 0.15:
            FAULTS[rng.choice(["resets", "fails", "ends at once"])](request)
        else:
            world(request)

    def step() -> None:
        name = rng.choice("abcdef")
        deed = rng.random()
        if deed < 0.2 and name in world.objects:
            world.drop(name)
        elif deed < 0.27:
            world.interrupt()
        elif deed < 0.3:
            world.forget()
            world.interrupt()
        elif deed < 0.35:
            world.bookmark()
        else:
            world.put(name, size=rng.randrange(5)) if deed < 0.95 else world.put(name, colour="red")

    with scripted(tmp_path, play) as server, reflecting(server, on_change=changes) as reflector:
        for _ in range(150):
            step()
            time.sleep(rng.choice([0, 0, 0.01]))
        expected = {
            name: obj["spec"]["size"] for name, obj in world.objects.items() if obj["spec"].get("size")
        }
        eventually(lambda: sizes(reflector) == expected, f"{expected}")
    assert changes.fold() == dict(reflector.items())


def test_snapshots_while_it_changes(tmp_path: Path) -> None:
    world = World()
    with scripted(tmp_path, world) as server, reflecting(server) as reflector:
        for i in range(100):
            world.put(f"d{i % 10}", size=i + 1)
            assert all(isinstance(value, Thing) for _, value in reflector.items())
        eventually(lambda: sum(sizes(reflector).values()) == sum(range(91, 101)), "the last sizes")


def test_pauses_double_to_a_limit_and_begin_anew() -> None:
    class Longest(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    backoff = _Backoff(Longest())
    pauses = [backoff.next() for _ in range(10)]
    assert pauses == pytest.approx([0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0])
    backoff.reset()
    assert backoff.next() == pytest.approx(0.2)


def test_pauses_are_drawn() -> None:
    drawn = {_Backoff(random.Random(seed)).next() for seed in range(50)}
    assert len(drawn) > 40
    assert all(0.1 <= pause <= 0.2 for pause in drawn)
