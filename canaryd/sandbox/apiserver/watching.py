"""Watches: from a version on, what a selection sees of the changes, in order and without gaps."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass

from canaryd.sandbox.apiserver.selectors import Selection
from canaryd.sandbox.apiserver.store import Change, EventType, Snapshot, Store

_MOST_PENDING = 20_000


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """What one change is to one watcher; `revision` is the change's."""

    type: EventType
    snapshot: Snapshot
    revision: int


def narrowed(change: Change, selection: Selection) -> WatchEvent | None:
    """The change as the selection sees it: leaving it is a deletion, entering it an addition."""
    before = change.before is not None and selection.matches(change.before.body)
    after = change.type != "DELETED" and selection.matches(change.after.body)
    if not before and not after:
        return None
    if after:
        return WatchEvent("MODIFIED" if before else "ADDED", change.after, change.revision)
    if change.type == "DELETED" or change.before is None:
        return WatchEvent("DELETED", change.after, change.revision)
    # The last state that matched, under the version of the change that took it out.
    meta = {**change.before.body["metadata"], "resourceVersion": str(change.revision)}
    last = Snapshot({**change.before.body, "metadata": meta}, change.revision)
    return WatchEvent("DELETED", last, change.revision)


class Watch:
    """One client's watch. Close it, or it goes on collecting."""

    def __init__(self, store: Store, resource: str, selection: Selection, since: int | None) -> None:
        """Start after revision `since`; None starts with what exists now, as additions.

        Raises 410 Expired if the changes since then are no longer all known.
        """
        self._store = store
        self._resource = resource
        self._selection = selection
        self._pending: list[WatchEvent] = []
        self._ready = asyncio.Event()
        self.overflowed = False
        self._pending.extend(self._existing() if since is None else self._missed(since))
        if self._pending:
            self._ready.set()
        self._unsubscribe = store.subscribe(self._offer)

    def _existing(self) -> Iterator[WatchEvent]:
        for _, snapshot in self._store.all(self._resource):
            if self._selection.matches(snapshot.body):
                yield WatchEvent("ADDED", snapshot, snapshot.revision)

    def _missed(self, since: int) -> Iterator[WatchEvent]:
        for change in self._store.since(since):
            if change.resource == self._resource:
                event = narrowed(change, self._selection)
                if event is not None:
                    yield event

    def _offer(self, change: Change) -> None:
        if change.resource != self._resource or self.overflowed:
            return
        event = narrowed(change, self._selection)
        if event is None:
            return
        self._pending.append(event)
        self.overflowed = len(self._pending) > _MOST_PENDING
        self._ready.set()

    async def next(self, timeout: float) -> list[WatchEvent]:
        """The events that came since the last call; empty if none came within `timeout` seconds."""
        if not self._pending:
            try:
                await asyncio.wait_for(self._ready.wait(), max(timeout, 0))
            except TimeoutError:
                return []
        events, self._pending = self._pending, []
        self._ready.clear()
        return events

    @property
    def revision(self) -> int:
        """The store's revision: once all pending events are taken, the watch has seen all up to it."""
        return self._store.revision

    def close(self) -> None:
        self._unsubscribe()
