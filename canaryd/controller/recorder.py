"""Moves the lines of recordings from the runs' statuses into ConfigMaps, in the way of nothing.

A thread of its own writes them: a ConfigMap that is refused, or an API server that is slow with it, delays no
decision and fails no run. Lines leave the status when the next ones come, so that this costs no write.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import structlog

from canaryd.cluster.errors import ApiError
from canaryd.domain.model import Condition, Run
from canaryd.domain.recording import CONDITION

log = structlog.get_logger(__name__)

LINES = 16  # that are written together
CHARACTERS = 32 << 10  # of fewer lines
_RETRY = 60.0  # seconds after a failure


@dataclass(frozen=True, slots=True)
class _Stored:
    """Lines that are in a ConfigMap now: the number of the first, how many, and their size."""

    first: int
    lines: int
    size: int


class Recorder:
    """`store` writes a run's lines and returns their size, or raises ApiError. Thread-safe."""

    def __init__(self, store: Callable[[Run], int], clock: Callable[[], float] = time.monotonic) -> None:
        self._store = store
        self._clock = clock
        self._waiting: dict[str, Run] = {}
        self._stored: dict[str, _Stored] = {}
        self._failed: dict[str, tuple[float, ApiError]] = {}
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        self._stopped = False

    def offer(self, run: Run) -> None:
        """Have the run's lines written if there are enough of them, some time soon."""
        lines = run.recorded.lines
        if len(lines) < LINES and sum(map(len, lines)) < CHARACTERS:
            return
        with self._changed:
            stored, failed = self._stored.get(run.uid), self._failed.get(run.uid)
            if stored is not None and stored.first == run.recorded.stored:
                return  # they leave the status with the next line
            if failed is not None and self._clock() < failed[0] + _RETRY:
                return
            self._waiting[run.uid] = run
            self._changed.notify()
            if self._thread is None:
                self._thread = threading.Thread(target=self._work, name="recorder", daemon=True)
                self._thread.start()

    def settled(self, run: Run, now: float, *, grows: bool) -> Run:
        """The run without the lines that are in a ConfigMap, if it `grows` anyhow; with what failed as a condition."""
        with self._changed:
            stored, failed = self._stored.get(run.uid), self._failed.get(run.uid)
            if stored is not None and stored.first != run.recorded.stored:
                del self._stored[run.uid]
                stored = None
        if failed is not None:
            return run.with_condition(Condition(CONDITION, False, failed[1].reason, str(failed[1]), now))
        if stored is None or not grows:
            return run
        recorded = replace(
            run.recorded,
            lines=run.recorded.lines[stored.lines :],
            stored=stored.first + stored.lines,
            size=run.recorded.size + stored.size,
        )
        run = replace(run, recorded=recorded)
        if any(c.type == CONDITION for c in run.conditions) and not recorded.ended:
            return run.with_condition(Condition(CONDITION, True, "Stored", "the recording is complete", now))
        return run

    def forget(self, run: Run) -> None:
        """Nothing of the run will be written any more."""
        with self._changed:
            for known in (self._waiting, self._stored, self._failed):
                known.pop(run.uid, None)

    def stop(self) -> None:
        """Write nothing more; a write under way is finished."""
        with self._changed:
            self._stopped = True
            self._changed.notify()

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopped)
                if self._stopped:
                    return
                _, run = self._waiting.popitem()
            try:
                self.write(run)
            except Exception:
                log.exception("recording.crashed", run=run.name, namespace=run.namespace)

    def write(self, run: Run) -> None:
        """Write the run's lines now, and note what came of it."""
        try:
            size = self._store(run)
        except ApiError as error:
            self._note_failure(run, error)
            return
        with self._changed:
            self._failed.pop(run.uid, None)
            self._stored[run.uid] = _Stored(run.recorded.stored, len(run.recorded.lines), size)

    def _note_failure(self, run: Run, error: ApiError) -> None:
        with self._changed:
            known = self._failed.get(run.uid)
            self._failed[run.uid] = (self._clock(), error)
        if known is None or known[1].reason != error.reason:
            log.warning("recording.failed", run=run.name, namespace=run.namespace, error=str(error))
