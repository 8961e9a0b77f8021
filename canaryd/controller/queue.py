"""A queue of keys with delays: a key waits in it once, and is with one worker at a time."""

from __future__ import annotations

import heapq
import threading
import time
from collections.abc import Callable

from canaryd.cluster.resources import Key


class KeyedQueue:
    """Add keys from any thread; workers take them. A key added while a worker has it comes back afterwards."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._due: dict[Key, float] = {}
        self._heap: list[tuple[float, Key]] = []
        self._taken: set[Key] = set()
        self._closed = False
        self._changed = threading.Condition()

    def add(self, key: Key, after: float = 0.0) -> None:
        """Have `key` looked at in `after` seconds, or sooner if it waits for less already."""
        due = self._clock() + after
        with self._changed:
            if self._closed or self._due.get(key, float("inf")) <= due:
                return
            self._due[key] = due
            heapq.heappush(self._heap, (due, key))
            self._changed.notify()

    def take(self) -> Key | None:
        """The next key that is due, when it is; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                wait = self._wait()
                if wait <= 0:
                    key = heapq.heappop(self._heap)[1]
                    del self._due[key]
                    self._taken.add(key)
                    return key
                self._changed.wait(min(wait, 60.0))
            return None

    def done(self, key: Key) -> None:
        """The worker has finished with `key`."""
        with self._changed:
            self._taken.discard(key)
            if key in self._due:
                heapq.heappush(self._heap, (self._due[key], key))
            self._changed.notify()

    def close(self) -> None:
        """Wake all workers; nothing is given out any more."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def __len__(self) -> int:
        with self._changed:
            return len(self._due)

    def _wait(self) -> float:
        """Seconds until the first key is due; entries that were overtaken or are with a worker are dropped."""
        while self._heap:
            due, key = self._heap[0]
            if self._due.get(key) == due and key not in self._taken:
                return due - self._clock()
            heapq.heappop(self._heap)
        return float("inf")
