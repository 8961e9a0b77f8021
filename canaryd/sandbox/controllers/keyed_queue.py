"""A queue of keys: a key waits at most once, and is worked on by one worker at a time.

A key that comes while it is being worked on is taken again afterwards, so no change is missed however many
there are. Failures come back after a pause that doubles.
"""

import heapq
import threading
import time
from collections import deque
from collections.abc import Callable, Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)

_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 10.0  # seconds before a key that failed is taken again


class KeyedQueue(Generic[K]):
    """Thread-safe."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._ready: deque[K] = deque()
        self._waiting: set[K] = set()  # in _ready, or to be put there when their worker is done
        self._working: set[K] = set()
        self._later: list[tuple[float, int, K]] = []
        self._due: dict[K, float] = {}
        self._failures: dict[K, int] = {}
        self._count = 0
        self._changed = threading.Condition()
        self._closed = False

    def add(self, key: K) -> None:
        """The key is to be worked on."""
        with self._changed:
            self._add(key)

    def add_after(self, key: K, seconds: float) -> None:
        """The key is to be worked on in `seconds`; the earliest of several such times counts."""
        with self._changed:
            due = self._clock() + seconds
            if self._due.get(key, due) < due:
                return
            self._due[key] = due
            self._count += 1
            heapq.heappush(self._later, (due, self._count, key))
            self._changed.notify()

    def take(self) -> K | None:
        """Waits for a key and takes it; None once the queue is closed."""
        with self._changed:
            while not self._closed:
                pause = self._promote()
                if self._ready:
                    key = self._ready.popleft()
                    self._waiting.discard(key)
                    self._working.add(key)
                    return key
                self._changed.wait(pause)
            return None

    def done(self, key: K, *, again_after: float | None = None) -> None:
        """The key was worked on; it is to be looked at again in `again_after` seconds, if that is given."""
        with self._changed:
            self._failures.pop(key, None)
            self._release(key)
        if again_after is not None:
            self.add_after(key, again_after)

    def failed(self, key: K) -> None:
        """The work on the key failed and is to be tried again, later each time."""
        with self._changed:
            count = self._failures[key] = self._failures.get(key, 0) + 1
            self._release(key)
        self.add_after(key, min(_LONGEST_PAUSE, _FIRST_PAUSE * 2 ** min(count - 1, 10)))

    @property
    def closed(self) -> bool:
        return self._closed

    def close(self) -> None:
        """Lets every worker go."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def _add(self, key: K) -> None:
        if key in self._waiting:
            return
        self._waiting.add(key)
        if key not in self._working:
            self._ready.append(key)
            self._changed.notify()

    def _release(self, key: K) -> None:
        self._working.discard(key)
        if key in self._waiting:
            self._ready.append(key)
            self._changed.notify()

    def _promote(self) -> float | None:
        """Moves what is due; returns the seconds until the next is, None when nothing waits for its time."""
        now = self._clock()
        while self._later and self._later[0][0] <= now:
            due, _, key = heapq.heappop(self._later)
            if self._due.get(key) == due:
                del self._due[key]
                self._add(key)
        return max(0.0, self._later[0][0] - now) if self._later else None
