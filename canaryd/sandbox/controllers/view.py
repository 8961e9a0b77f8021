"""Reads that see one's own writes.

A controller decides from a local copy that lags behind the server. Deciding again before the copy shows the
last decision would create every pod twice. So what the server answered to a write is kept beside the copy
until the watch has brought that version, or a later one.
"""

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from typing import Generic, Protocol, TypeVar

from canaryd.cluster.reflector import Reflector
from canaryd.cluster.resources import Json, Key, Resource
from canaryd.cluster.transport import Api
from canaryd.sandbox.controllers.model import Meta

_FORGOTTEN = 30.0  # seconds after which a write that the watch never showed is let go


class Parsed(Protocol):
    """What a view holds: a frozen dataclass with its metadata parsed."""

    @property
    def meta(self) -> Meta: ...


T = TypeVar("T", bound=Parsed)


class View(Generic[T]):
    """All objects of one resource: the reflector's copy with one's own writes laid over it. Thread-safe."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        *,
        parse: Callable[[Json], T],
        on_change: Callable[[Key, T | None, T | None], None],
        namespace: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._parse = parse
        self._tell = on_change
        self._clock = clock
        self._lock = threading.Lock()
        self._written: dict[Key, tuple[T, float]] = {}
        self._removed: dict[str, float] = {}  # by uid
        self._gone: deque[str] = deque(maxlen=256)  # uids that the watch has shown to be deleted
        self._reflector = Reflector(api, resource, parse=parse, on_change=self._changed, namespace=namespace)

    def start(self) -> None:
        self._reflector.start()

    def stop(self) -> None:
        self._reflector.stop()

    def wait(self, timeout: float) -> bool:
        """Waits until the first list is in; False when that took longer than `timeout` seconds."""
        return self._reflector.synced.wait(timeout)

    def get(self, key: Key) -> T | None:
        """The object as of the last thing known of it, or None."""
        seen = self._reflector.get(key)
        with self._lock:
            return self._latest(key, seen)

    def within(self, namespace: str) -> list[T]:
        """All objects of a namespace."""
        seen = {key: value for key, value in self._reflector.items() if key[0] == namespace}
        with self._lock:
            keys = [*seen, *(key for key in self._written if key not in seen and key[0] == namespace)]
            latest = (self._latest(key, seen.get(key)) for key in keys)
            return [value for value in latest if value is not None]

    def wrote(self, raw: Json) -> T:
        """Takes the server's answer to a write. Returns it parsed."""
        value = self._parse(raw)
        with self._lock:
            known = self._written.get(value.meta.key)
            stale = known is not None and known[0].meta.version > value.meta.version
            if value.meta.uid not in self._gone and not stale:
                self._written[value.meta.key] = (value, self._clock() + _FORGOTTEN)
        return value

    def removed(self, value: T) -> None:
        """Takes note that the object's deletion was asked for: it is shown as being deleted from now on."""
        with self._lock:
            self._removed[value.meta.uid] = self._clock() + _FORGOTTEN

    def _latest(self, key: Key, seen: T | None) -> T | None:
        value = seen
        if key in self._written:
            written, due = self._written[key]
            if self._clock() > due or (seen is not None and seen.meta.version >= written.meta.version):
                del self._written[key]
            else:
                value = written
        if value is None or value.meta.deleting or value.meta.uid not in self._removed:
            return value
        if self._clock() > self._removed[value.meta.uid]:
            del self._removed[value.meta.uid]
            return value
        return _deleting(value)

    def _changed(self, key: Key, old: T | None, new: T | None) -> None:
        with self._lock:
            if old is not None and (new is None or new.meta.uid != old.meta.uid):
                self._gone.append(old.meta.uid)
                self._removed.pop(old.meta.uid, None)
                if key in self._written and self._written[key][0].meta.uid == old.meta.uid:
                    del self._written[key]
        self._tell(key, old, new)


def _deleting(value: T) -> T:
    return replace(value, meta=replace(value.meta, deleting=True))  # type: ignore[type-var]
