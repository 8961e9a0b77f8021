"""The local copy: it follows, and says what changed."""

from __future__ import annotations

import math
import random
from pathlib import Path

import pytest
import structlog.testing
from reflected_world import Changes, Thing, World, parse, reflecting, sizes
from scripted_apiserver import PATIENCE, Exchange, eventually, scripted, thing

from canaryd.cluster.reflector import Key, Reflector, _Backoff
from canaryd.cluster.resources import DEPLOYMENTS, Json


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
