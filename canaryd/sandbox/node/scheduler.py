"""Which waiting pods the node takes: those that came first, while there is room."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol

import structlog

from canaryd.cluster.errors import ApiError, Conflict, NotFound
from canaryd.cluster.resources import Json, Key
from canaryd.sandbox.controllers.events import EventType
from canaryd.sandbox.node.spec import PodSpec
from canaryd.sandbox.node.status import Condition, condition_json

_RETRY = 1.0  # seconds after a pod could not be bound
_FULL = "0/1 nodes are available: 1 Too many pods."
_log = structlog.get_logger()


class Binder(Protocol):
    """What the scheduler asks of the node."""

    async def bind(self, pod: PodSpec) -> None:
        """Gives the pod to this node. Raises ApiError."""

    async def publish(self, pod: PodSpec, status: Json) -> None:
        """Writes the pod's status. Raises ApiError."""

    def record(self, pod: PodSpec, kind: EventType, reason: str, message: str) -> None:
        """Takes an event of the pod."""


class Scheduler:
    """Lives on the node's event loop. `room()` is how many more pods the node could run."""

    def __init__(self, node: Binder, *, room: Callable[[], int]) -> None:
        self._node = node
        self._room = room
        self._waiting: dict[Key, PodSpec] = {}
        self._bound: set[Key] = set()  # bound a moment ago: the watch has yet to show it
        self._refused: set[str] = set()  # uids told that there is no room
        self._wake = asyncio.Event()

    def add(self, key: Key, pod: PodSpec) -> None:
        """The pod waits for a node."""
        self._waiting[key] = pod
        self._wake.set()

    def forget(self, key: Key) -> None:
        """The pod of this name changed: it waits no more unless it is added again, and there may be room."""
        self._waiting.pop(key, None)
        self._bound.discard(key)
        self._wake.set()

    async def run(self) -> None:
        """Binds pods for ever."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            self._refused &= {pod.uid for pod in self._waiting.values()}
            try:
                for key, pod in list(self._waiting.items()):
                    await self._place(key, pod)
            except ApiError as error:
                _log.warning("pod could not be bound", error=str(error))
                await asyncio.sleep(_RETRY)
                self._wake.set()

    async def _place(self, key: Key, pod: PodSpec) -> None:
        if self._waiting.get(key) != pod:
            return  # gone, or changed, while another was placed
        try:
            if self._room() - len(self._bound) > 0:
                await self._bind(key, pod)
            elif pod.uid not in self._refused:
                await self._refuse(pod)
        except (NotFound, Conflict):
            self._waiting.pop(key, None)  # deleted or bound meanwhile; the watch will tell

    async def _bind(self, key: Key, pod: PodSpec) -> None:
        self._bound.add(key)
        try:
            await self._node.bind(pod)
        except ApiError:
            self._bound.discard(key)
            raise
        self._waiting.pop(key, None)

    async def _refuse(self, pod: PodSpec) -> None:
        self._refused.add(pod.uid)
        condition = Condition(False, datetime.now(UTC), "Unschedulable", _FULL)
        status = {"phase": "Pending", "conditions": [condition_json("PodScheduled", condition)]}
        self._node.record(pod, "Warning", "FailedScheduling", _FULL)
        await self._node.publish(pod, status)
