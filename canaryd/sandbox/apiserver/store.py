"""The memory of the server: immutable snapshots of objects, one revision counter, a bounded history.

An object handed to `commit` must never be changed afterwards. That is what lets readers, watchers and
hooks share it, and its JSON text, without copies.
"""

from __future__ import annotations

import bisect
import itertools
import json
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from canaryd.cluster.resources import Json, Key
from canaryd.sandbox.apiserver.errors import expired

EventType = Literal["ADDED", "MODIFIED", "DELETED"]


def dump(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


class Snapshot:
    """One state of one object; its JSON text is made at most once."""

    __slots__ = ("_text", "body", "revision")

    def __init__(self, body: Json, revision: int) -> None:
        self.body = body
        self.revision = revision
        self._text: bytes | None = None

    @property
    def text(self) -> bytes:
        """The object's JSON without its opening brace, apiVersion and kind: these depend on the view."""
        if self._text is None:
            rest = {key: value for key, value in self.body.items() if key not in ("apiVersion", "kind")}
            self._text = dump(rest)[1:]
        return self._text

    def copy(self) -> Json:
        """A deep copy that the caller may change."""
        body: Json = json.loads(b"{" + self.text)
        return {"apiVersion": self.body["apiVersion"], "kind": self.body["kind"], **body}


@dataclass(frozen=True, slots=True)
class Change:
    """One committed write. After a deletion `after` is the last state under the deletion's revision."""

    type: EventType
    resource: str
    key: Key
    before: Snapshot | None
    after: Snapshot

    @property
    def revision(self) -> int:
        return self.after.revision


Listener = Callable[[Change], None]


class Store:
    """Objects by resource and key. Not thread-safe: it lives in the server's event loop."""

    def __init__(self, history: int = 10_000) -> None:
        self.revision = 1
        self.compacted = 0
        """Changes up to this revision are forgotten; a watch can only start from here on."""
        self._history: deque[Change] = deque()
        self._limit = history
        self._tables: dict[str, dict[Key, Snapshot]] = {}
        self._listeners: list[Listener] = []

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Call `listener` after every commit, in order; the answer ends the subscription."""
        self._listeners.append(listener)
        return lambda: self._listeners.remove(listener)

    def get(self, resource: str, key: Key) -> Snapshot | None:
        return self._tables.get(resource, {}).get(key)

    def all(self, resource: str) -> list[tuple[Key, Snapshot]]:
        """Every object of a resource, ordered by key as the real server's storage orders them."""
        return sorted(self._tables.get(resource, {}).items(), key=lambda item: item[0])

    def resources(self) -> list[str]:
        return [resource for resource, table in self._tables.items() if table]

    def commit(self, resource: str, key: Key, body: Json) -> Snapshot:
        """Store `body` as the object's new state, under a new resourceVersion that it is given here."""
        before = self.get(resource, key)
        after = self._stamped(body)
        self._tables.setdefault(resource, {})[key] = after
        self._publish(Change("MODIFIED" if before else "ADDED", resource, key, before, after))
        return after

    def remove(self, resource: str, key: Key) -> Snapshot:
        """Forget the object; the answer is its last state under the deletion's resourceVersion."""
        before = self._tables[resource].pop(key)
        after = self._stamped(before.body)
        self._publish(Change("DELETED", resource, key, before, after))
        return after

    def _stamped(self, body: Json) -> Snapshot:
        self.revision += 1
        meta = {**body["metadata"], "resourceVersion": str(self.revision)}
        return Snapshot({**body, "metadata": meta}, self.revision)

    def _publish(self, change: Change) -> None:
        self._history.append(change)
        if len(self._history) > self._limit:
            self.compacted = self._history.popleft().revision
        for listener in tuple(self._listeners):
            listener(change)

    def compact(self) -> None:
        """Forget all history: every watch from an older version gets 410."""
        self._history.clear()
        self.compacted = self.revision

    def since(self, revision: int) -> Iterator[Change]:
        """The changes after `revision`; raises 410 Expired if they are no longer all known."""
        if revision < self.compacted or revision > self.revision:
            raise expired(f"too old resource version: {revision} ({self.compacted})")
        start = bisect.bisect_right(self._history, revision, key=lambda change: change.revision)
        return iter(list(itertools.islice(self._history, start, None)))
