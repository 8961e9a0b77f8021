"""A little world for reflectors to follow, and the faults it may have."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from scripted_apiserver import Exchange, Scripted, status_object, thing

from canaryd.cluster.reflector import Key, Reflector
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
