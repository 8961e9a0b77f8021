"""The local copy survives what servers and networks do, without haste, and ends when it is told to."""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
import structlog.testing
from reflected_world import FAULTS, Changes, World, end_at_once, parse, reflecting, sizes
from scripted_apiserver import PATIENCE, Exchange, eventually, scripted

from canaryd.cluster import transport
from canaryd.cluster.reflector import Reflector
from canaryd.cluster.resources import DEPLOYMENTS


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


def test_a_watch_that_lived_its_time_is_followed_by_the_next_without_a_pause(tmp_path: Path) -> None:
    hours = iter(range(0, 10**9, 3600))

    def play(request: Exchange) -> None:
        end_at_once(request) if request.watches else request.list([], "1")

    with scripted(tmp_path, play) as server, reflecting(server, clock=lambda: next(hours)):
        # With pauses that double, a dozen would take minutes.
        eventually(lambda: len(server.seen(watches=True)) >= 12, "a dozen watches")
