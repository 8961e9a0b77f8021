"""A local copy of one kind of object, kept in step with the API server.

List once, then watch from the list's resourceVersion; list again only when the server has forgotten that
version (410). The library's SharedInformer fails on custom objects and spins when the server closes a watch
at once, hence one of our own. What is parsed here is trusted from here on: `parse` is the edge.
"""

from __future__ import annotations

import math
import random
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

import structlog

from canaryd.cluster.errors import ApiError, Gone
from canaryd.cluster.resources import Json, Key, Resource, key_of
from canaryd.cluster.transport import Api
from canaryd.cluster.watch import Watch, WatchEvent

__all__ = ["Key", "Reflector"]

T = TypeVar("T")

_WATCH_SECONDS = (30, 60)
"""How long a watch is asked to last: drawn anew each time, so that many watches do not end together."""
_SETTLED = 5.0
"""Seconds a watch must have lasted for its end to be an ordinary one: no pause before the next."""
_STOP_WAIT = 5.0

log = structlog.get_logger(__name__)


class Reflector(Generic[T]):
    """Holds `parse` of every object of a resource that matches, and tells of changes.

    parse gives None for an object to leave out; an exception in it is logged and leaves the object out too,
    whatever it was before. on_change(key, old, new) is called from the reflector's own thread after `get`
    shows the new state, once for each change of the parsed value; old is None for what came, new is None for
    what went. A callback must be quick, and what it raises is logged and goes no further.

    synced is set once the first list is in and told of. last_contact is the monotonic time of the server's
    last good answer, -inf before the first; with a healthy connection it is at most about 65 s old, and a
    connection that died without a sign is found after 70 s.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        *,
        parse: Callable[[Json], T | None],
        on_change: Callable[[Key, T | None, T | None], None] | None = None,
        namespace: str | None = None,
        labels: str = "",
        fields: str = "",
        rng: random.Random | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.resource = resource
        self.synced = threading.Event()
        self.last_contact = -math.inf
        self._api = api
        self._parse = parse
        self._on_change = on_change
        self._namespace = namespace
        self._labels = labels
        self._fields = fields
        self._rng = rng or random.Random()
        self._clock = clock
        self._backoff = _Backoff(self._rng)
        self._lock = threading.Lock()
        self._store: dict[Key, tuple[str, T]] = {}
        self._version: str | None = None
        self._watch: Watch | None = None
        self._settled = False
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name=f"reflector {resource}", daemon=True)
        self._log = log.bind(resource=str(resource))

    def start(self) -> None:
        """Begin in a thread of its own. Once only."""
        self._thread.start()

    def stop(self) -> None:
        """End the watch and wait for the thread, at most 5 s. The copy stays readable, and gets old."""
        self._stopping.set()
        with self._lock:
            watch = self._watch
        if watch is not None:
            watch.close()
        if self._thread.is_alive() and self._thread is not threading.current_thread():
            self._thread.join(_STOP_WAIT)

    def get(self, key: Key) -> T | None:
        """The object of that namespace and name as last seen, or None."""
        with self._lock:
            entry = self._store.get(key)
        return entry[1] if entry else None

    def items(self) -> list[tuple[Key, T]]:
        """All objects as last seen: a snapshot."""
        with self._lock:
            return [(key, value) for key, (_, value) in self._store.items()]

    def _run(self) -> None:
        while not self._stopping.is_set():
            self._settled = False
            failure = self._turn()
            if self._settled:
                self._backoff.reset()
                if failure is None:
                    continue
            self._stopping.wait(self._pause(failure))

    def _turn(self) -> Exception | None:
        """List if there is no version to watch from, then one watch. Gives back what went wrong."""
        try:
            if self._version is None:
                self._list()
            self._follow()
        except Exception as failure:  # noqa: BLE001 - the thread outlives everything, known or not
            if _version_is_void(failure):
                self._version = None
            return failure
        return None

    def _pause(self, failure: Exception | None) -> float:
        """Seconds to wait before the next turn, with a log line that says why."""
        pause = self._backoff.next()
        if self._stopping.is_set() or failure is None:
            return pause
        if _version_is_void(failure):
            self._log.info("reflector.relist", error=str(failure))
        elif isinstance(failure, ApiError):
            pause = max(pause, min(failure.retry_after or 0.0, _Backoff.LONGEST))
            self._log.warning("reflector.failed", error=str(failure), pause=round(pause, 2))
        else:
            self._log.error("reflector.failed", exc_info=failure, pause=round(pause, 2))
        return pause

    def _list(self) -> None:
        objects, version = self._api.list(
            self.resource, self._namespace, labels=self._labels, fields=self._fields
        )
        self.last_contact = self._clock()
        seen = {key for obj in objects if (key := self._take(obj)) is not None}
        with self._lock:
            vanished = self._store.keys() - seen
        for key in vanished:
            self._put(key, "", None)
        self._version = version
        self.synced.set()

    def _follow(self) -> None:
        """One watch, from opening it to its end."""
        assert self._version is not None
        watch = self._api.watch(
            self.resource,
            self._namespace,
            resource_version=self._version,
            labels=self._labels,
            fields=self._fields,
            timeout_seconds=self._rng.randint(*_WATCH_SECONDS),
        )
        opened = self.last_contact = self._clock()
        with self._lock:
            self._watch = watch
        try:
            with watch:
                # stop() sets the flag before it looks for a watch, so one of the two closes this one.
                while not self._stopping.is_set() and (event := next(watch, None)) is not None:
                    self.last_contact = self._clock()
                    self._digest(event)
        finally:
            self._settled = self._clock() - opened >= _SETTLED
        if not self._stopping.is_set():
            self.last_contact = self._clock()

    def _digest(self, event: WatchEvent) -> None:
        if event.type != "BOOKMARK":
            self._backoff.reset()
            self._take(event.object, deleted=event.type == "DELETED")
        version = (event.object.get("metadata") or {}).get("resourceVersion")
        if version:
            self._version = version

    def _take(self, obj: Json, *, deleted: bool = False) -> Key | None:
        """Bring one object of the server's into the store. Gives back its key, None if it has none."""
        try:
            key, version = key_of(obj), obj["metadata"].get("resourceVersion", "")
        except (KeyError, TypeError, AttributeError) as error:
            self._log.error("reflector.nameless", error=repr(error))
            return None
        with self._lock:
            entry = self._store.get(key)
        if deleted:
            self._put(key, version, None)
        elif entry is None or not version or entry[0] != version:
            self._put(key, version, self._parsed(key, obj))
        return key

    def _parsed(self, key: Key, obj: Json) -> T | None:
        try:
            return self._parse(obj)
        except Exception:  # noqa: BLE001 - one malformed object must not stop the others
            self._log.exception("reflector.unparsable", namespace=key[0], name=key[1])
            return None

    def _put(self, key: Key, version: str, new: T | None) -> None:
        with self._lock:
            _, old = self._store.pop(key, ("", None))
            if new is not None:
                self._store[key] = (version, new)
        if self._on_change is None:
            return
        try:
            if old != new:
                self._on_change(key, old, new)
        except Exception:  # noqa: BLE001 - a callback's fault is not the copy's
            self._log.exception("reflector.callback_failed", namespace=key[0], name=key[1])


def _version_is_void(failure: Exception) -> bool:
    """Whether the server cannot watch from our version: too old, or of a future since undone."""
    return isinstance(failure, Gone) or (
        isinstance(failure, ApiError) and "too large resource version" in failure.message.lower()
    )


class _Backoff:
    """Pauses that double from 0.2 s to 30 s, each drawn between half of that and all of it."""

    SHORTEST, LONGEST = 0.2, 30.0

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._next = self.SHORTEST

    def next(self) -> float:
        pause, self._next = self._next, min(self._next * 2, self.LONGEST)
        return pause * self._rng.uniform(0.5, 1.0)

    def reset(self) -> None:
        self._next = self.SHORTEST
