"""canaryd as a process: caches, workers, and one APScheduler job that ticks."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

import structlog

from analysis.intervals import IntervalBuilder
from canaryd.cluster.errors import ApiError, Conflict
from canaryd.cluster.resources import DEPLOYMENTS, Json, Key, Resource
from canaryd.cluster.transport import Api
from canaryd.controller.caches import Caches
from canaryd.controller.measure import Asks, Measurer
from canaryd.controller.queue import KeyedQueue
from canaryd.controller.reconciler import Reconciler
from canaryd.controller.sweep import suspects
from config.settings import Settings

log = structlog.get_logger(__name__)

_LONGEST_RETRY = 60.0


class Daemon:
    """Start, stop, and nothing in between that is not in the cluster."""

    def __init__(
        self,
        api: Api,
        settings: Settings,
        builder: IntervalBuilder,
        asks: Asks,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._queue = KeyedQueue()
        self._caches = Caches(
            api, self._changed, namespaces=settings.namespaces, root_namespace=settings.root_namespace
        )
        self._measurer = Measurer(builder, self._caches, asks, self._queue.add)
        self._reconciler = Reconciler(api, self._caches, settings, self._measurer, clock)
        self._failures: dict[Key, int] = {}
        self._workers = [
            threading.Thread(target=self._work, name=f"worker {n}", daemon=True)
            for n in range(settings.workers)
        ]
        self._stopping = threading.Event()
        self._scheduler: object | None = None
        self.last_tick = time.monotonic()

    def start(self) -> None:
        """Fill the caches, then begin to tick. Returns when the first reconciles may run."""
        from apscheduler.schedulers.background import BackgroundScheduler  # noqa: PLC0415 - slow to import

        self._caches.start()
        self._await_caches()
        if self._stopping.is_set():
            return
        for worker in self._workers:
            worker.start()
        scheduler = BackgroundScheduler(timezone="UTC")
        # The defaults drop a late job and pile up jobs behind a slow one.
        scheduler.add_job(
            self.tick,
            "interval",
            seconds=self._settings.tick,
            coalesce=True,
            misfire_grace_time=None,
            max_instances=1,
        )
        scheduler.start()
        self._scheduler = scheduler
        self._enqueue_all()
        log.info("started", tick=self._settings.tick, workers=len(self._workers))

    def stop(self) -> None:
        """Stop deciding at once; a write under way is finished. The cluster stays as it is."""
        self._stopping.set()
        scheduler = self._scheduler
        if scheduler is not None:
            scheduler.shutdown(wait=False)  # type: ignore[attr-defined]
        self._queue.close()
        for worker in self._workers:
            if worker.is_alive():
                worker.join(5.0)
        self._reconciler.stop()
        self._caches.stop()

    def unhealthy(self) -> str:
        """Why the process should be restarted; "" when it ticks. A dependency that is down is no reason."""
        age = time.monotonic() - self.last_tick
        return f"no tick for {age:.0f} s" if age > 10 * self._settings.tick + 60 else ""

    def unready(self) -> str:
        """Why the daemon does not decide yet; "" when it does."""
        missing = self._caches.unsynced()
        return f"waiting for {', '.join(missing)}" if missing else ""

    def tick(self) -> None:
        """Read Prometheus once for all active runs, then have each of them looked at."""
        active = [run for run in self._reconciler.runs() if run.active]
        self._measurer.read(active, self._clock())
        for run in active:
            self._queue.add((run.namespace, run.target.name))
        self.last_tick = time.monotonic()

    def _await_caches(self) -> None:
        told = 0.0
        while (missing := self._caches.unsynced()) and not self._stopping.is_set():
            self.last_tick = time.monotonic()
            if time.monotonic() - told > 10:
                told = time.monotonic()
                log.info("waiting for the first lists", resources=missing)
            self._stopping.wait(0.05)

    def _enqueue_all(self) -> None:
        written = suspects(self._caches.virtualservices.items())
        self._reconciler.give_back_left()
        for deployment in self._caches.deployments.items():
            key = (deployment["metadata"]["namespace"], deployment["metadata"]["name"])
            if key[0] in written:
                self._reconciler.suspect(key)
            self._queue.add(key)
        for run in self._reconciler.runs():
            self._queue.add((run.namespace, run.target.name))

    def _work(self) -> None:
        while (key := self._queue.take()) is not None:
            try:
                again = self._reconciler.reconcile(key)
                self._failures.pop(key, None)
            except Conflict as error:
                log.info("reconcile.raced", namespace=key[0], name=key[1], error=str(error))
                again = 0.2
            except ApiError as error:
                again = self._later(key)
                log.warning("reconcile.failed", namespace=key[0], name=key[1], error=str(error), again=again)
            except Exception:
                again = self._later(key)
                log.exception("reconcile.crashed", namespace=key[0], name=key[1], again=again)
            finally:
                self._queue.done(key)
            if again is not None:
                self._queue.add(key, again)

    def _later(self, key: Key) -> float:
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        return float(min(0.5 * 2 ** min(failures, 10), _LONGEST_RETRY))

    def _changed(self, resource: Resource, key: Key, old: Json | None, new: Json | None) -> None:
        """From a watch event to the Deployments that it may concern."""
        obj = new if new is not None else old
        if obj is None:
            return
        if resource == DEPLOYMENTS:
            self._queue.add(key)
        owner = _owner(obj)
        if owner is not None:
            self._queue.add((key[0], owner))
        target = (obj["metadata"].get("labels") or {}).get("canaryd.io/target")
        if target:
            self._queue.add((key[0], target))
        if resource.kind == "CanaryRun":
            if new is None:
                self._reconciler.suspect((key[0], obj["spec"]["target"]["name"]))
            self._queue.add((key[0], obj["spec"]["target"]["name"]))
        if resource.kind in ("VirtualService", "DestinationRule", "Pod", "Service"):
            self._active(resource, key)

    def _active(self, resource: Resource, key: Key) -> None:
        for run in self._reconciler.runs():
            routed = resource.kind == "VirtualService" and key in [(r.namespace, r.name) for r in run.routes]
            if run.active and (routed or run.namespace == key[0]):
                self._queue.add((run.namespace, run.target.name))


def _owner(obj: Json) -> str | None:
    """The name of the Deployment that controls a ReplicaSet."""
    for owner in obj["metadata"].get("ownerReferences") or []:
        if owner.get("controller") and owner.get("kind") == "Deployment":
            return str(owner["name"])
    return None
