"""The mesh at work: watches the API server and keeps a real Envoy in step with it, as late as asked."""

from __future__ import annotations

import heapq
import itertools
import math
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import structlog

from canaryd.cluster.reflector import Reflector
from canaryd.cluster.resources import DESTINATIONRULES, PODS, SERVICES, VIRTUALSERVICES, Json, Key, Resource
from canaryd.cluster.transport import Api
from canaryd.sandbox.mesh.delivery import Delivery
from canaryd.sandbox.mesh.destinationrules import DestinationRule, parse_destination_rule
from canaryd.sandbox.mesh.envoy import Envoy
from canaryd.sandbox.mesh.pods import Pod, parse_pod
from canaryd.sandbox.mesh.reading import parse_virtual_service
from canaryd.sandbox.mesh.services import Service, parse_service
from canaryd.sandbox.mesh.translate import Place, Resources, World, translate
from canaryd.sandbox.mesh.virtualservices import RefusedError, VirtualService
from canaryd.sandbox.scratch import Scratch

_ENDPOINTS_DELAY = 0.2
"""Seconds: endpoints travel at least this fast, as Istio pushes them without waiting for a quiet moment."""
_RETRY = 1.0
"""Seconds until another attempt after a failure."""
_GATHER = 0.01
"""Seconds to wait for what changes together with the first change."""

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Refusal:
    """Stands for a VirtualService that Istio would not have let in."""

    reason: str


Watched = Pod | Service | DestinationRule | VirtualService | Refusal
_Store = dict[Key, Watched]


@dataclass(order=True, slots=True)
class _Change:
    """An object as it will be seen from `due` (monotonic seconds) on; None: it is gone."""

    due: float
    number: int
    resource: Resource = field(compare=False)
    key: Key = field(compare=False)
    value: Watched | None = field(compare=False)


def _parse_or_refuse(obj: Json) -> VirtualService | Refusal:
    try:
        return parse_virtual_service(obj)
    except RefusedError as error:
        return Refusal(str(error))


_PARSERS: dict[Resource, Callable[[Json], Watched]] = {
    PODS: parse_pod,
    SERVICES: parse_service,
    DESTINATIONRULES: parse_destination_rule,
    VIRTUALSERVICES: _parse_or_refuse,
}


class Mesh:
    """Istio in the small. `with Mesh(api) as mesh:` and clients talk to mesh.url.

    propagation (seconds) is how long a change of routes, subsets or Services takes to have an effect;
    endpoints take min(0.2 s, propagation). client_namespace is where mesh clients are: it decides what short
    names and exportTo mean. stats_interval (seconds): how old what Prometheus reads of durations may be.
    """

    def __init__(
        self,
        api: Api,
        *,
        port: int = 0,
        propagation: float = 0.0,
        client_namespace: str = "default",
        stats_interval: float = 0.5,
    ) -> None:
        self.propagation = propagation
        self._folder = Scratch("canaryd-mesh-")
        self._envoy = Envoy(self.folder, port=port, stats_interval=stats_interval)
        self._delivery = Delivery(self._envoy)
        self._client_namespace = client_namespace
        self._stores: dict[Resource, _Store] = {resource: {} for resource in _PARSERS}
        self._changes: list[_Change] = []
        self._numbers = itertools.count()
        self._condition = threading.Condition()
        self._busy = False
        self._behind = False
        self._stopping = False
        self._worker = threading.Thread(target=self._run, name="mesh", daemon=True)
        self._reflectors: list[Reflector[Any]] = [
            Reflector(api, resource, parse=parse, on_change=self._listener(resource))
            for resource, parse in _PARSERS.items()
        ]

    def start(self, timeout: float = 30.0) -> None:
        """Returns when Envoy serves what the API server holds now. TimeoutError, ProcessError."""
        deadline = time.monotonic() + timeout
        for reflector in self._reflectors:
            reflector.start()
        for reflector in self._reflectors:
            if not reflector.synced.wait(max(0.0, deadline - time.monotonic())):
                raise TimeoutError(f"the API server did not list {reflector.resource} in {timeout:g} s")
        with self._condition:
            self._take_due(now=math.inf)
        self._delivery.first(self._translated())
        self._envoy.start()
        self._worker.start()

    def stop(self) -> None:
        """End Envoy and remove every file."""
        for reflector in self._reflectors:
            reflector.stop()
        with self._condition:
            self._stopping = True
            self._condition.notify_all()
        if self._worker.is_alive():
            self._worker.join(15)
        self._envoy.stop()
        self._folder.close()

    @property
    def port(self) -> int:
        """Of the outer listener, on 127.0.0.1."""
        return self._envoy.port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def admin(self) -> str:
        """host:port of Envoy's admin interface, for Prometheus. Known before `start`, as are port and url."""
        return f"127.0.0.1:{self._envoy.admin_port}"

    @property
    def pid(self) -> int:
        """Of Envoy."""
        return self._envoy.pid

    @property
    def folder(self) -> Path:
        """Where Envoy's files and its log are; gone after `stop`."""
        return self._folder.path

    @property
    def pending(self) -> int:
        """How many changes are on their way."""
        with self._condition:
            return len(self._changes)

    def settle(self, timeout: float = 30.0) -> None:
        """Wait until every change that the API server has told of has taken effect. TimeoutError."""
        with self._condition:
            if not self._condition.wait_for(
                lambda: not (self._changes or self._busy or self._behind), timeout
            ):
                raise TimeoutError(f"the mesh did not come to rest in {timeout:g} s")

    def _listener(self, resource: Resource) -> Callable[[Key, Any, Any], None]:
        def changed(key: Key, _old: Watched | None, new: Watched | None) -> None:
            delay = self.propagation
            if resource is PODS:
                delay = min(_ENDPOINTS_DELAY, delay)
            with self._condition:
                due = time.monotonic() + delay
                heapq.heappush(self._changes, _Change(due, next(self._numbers), resource, key, new))
                self._condition.notify_all()

        return changed

    def _run(self) -> None:
        again_in: float | None = None
        while self._wait(again_in):
            try:
                self._turn()
                again_in = self._delivery.tidy()
            except Exception:
                # Whatever it was, the next turn tells Envoy everything again.
                log.exception("mesh.failed")
                again_in = _RETRY
            finally:
                with self._condition:
                    self._busy = False
                    self._condition.notify_all()

    def _wait(self, again_in: float | None) -> bool:
        """Sleep until a change is due or `again_in` seconds are over. False when the mesh is to end."""
        again_at = math.inf if again_in is None else time.monotonic() + again_in
        with self._condition:
            while not self._stopping:
                due = min(again_at, self._changes[0].due if self._changes else again_at)
                wait = due - time.monotonic()
                if wait <= 0:
                    break
                self._condition.wait(None if math.isinf(wait) else wait)
            self._busy = True
            return not self._stopping

    def _turn(self) -> None:
        time.sleep(_GATHER)
        with self._condition:
            taken = self._take_due(time.monotonic())
        if taken or self._behind:
            self._behind = True
            began = time.monotonic()
            self._delivery.apply(self._translated())
            self._behind = False
            log.debug("mesh.applied", changes=taken, seconds=round(time.monotonic() - began, 3))

    def _take_due(self, now: float) -> int:
        taken = 0
        while self._changes and self._changes[0].due <= now:
            self._take(heapq.heappop(self._changes))
            taken += 1
        return taken

    def _take(self, change: _Change) -> None:
        store = self._stores[change.resource]
        if change.value is None:
            store.pop(change.key, None)
        elif isinstance(change.value, Refusal):
            # A real API server would have kept the former object, too.
            name = "/".join(change.key)
            log.warning("mesh.refused", virtual_service=name, because=change.value.reason)
        else:
            store[change.key] = change.value

    def _translated(self) -> Resources:
        place = Place(
            endpoints_folder=self._envoy.endpoints_folder,
            listen_port=self._envoy.port,
            client_namespace=self._client_namespace,
        )
        return translate(self._world(), place)

    def _world(self) -> World:
        def all_of(resource: Resource) -> tuple[Any, ...]:
            return tuple(self._stores[resource].values())

        return World(
            pods=all_of(PODS),
            services=all_of(SERVICES),
            virtual_services=all_of(VIRTUALSERVICES),
            destination_rules=all_of(DESTINATIONRULES),
        )

    def __enter__(self) -> Mesh:
        try:
            self.start()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()
