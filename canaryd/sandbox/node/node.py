"""The node: takes pods that wait for one, runs them as local processes, reports on them.

One thread runs everything on an event loop. Calls to the API server block, and are made from two threads
beside it.
"""

import asyncio
import threading
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

import structlog

from canaryd.cluster.errors import ApiError, Conflict, NotFound, NotServed
from canaryd.cluster.reflector import Reflector
from canaryd.cluster.resources import PODS, Json, Key
from canaryd.cluster.transport import Api
from canaryd.sandbox.controllers.events import About, EventRecorder, EventType
from canaryd.sandbox.node.addresses import LoopbackNetwork
from canaryd.sandbox.node.pod import PodRunner
from canaryd.sandbox.node.scheduler import Scheduler
from canaryd.sandbox.node.spec import PodSpec, parse_pod

T = TypeVar("T")

_MANAGER = "sandbox-node"  # who wrote it, in metadata.managedFields and in events
_log = structlog.get_logger()


class Node:
    """A scheduler, a kubelet and a container runtime in one. Back-offs take a tenth of a kubelet's time.

    max_pods: pods beyond it stay Pending, unschedulable, until there is room. termination_lead: seconds
    between a pod's deletion and SIGTERM, for its endpoint to go first; in a real cluster a preStop hook does
    this. namespace: the only one it takes pods from; all of them by default.
    """

    def __init__(
        self,
        api: Api,
        *,
        name: str = "sandbox",
        max_pods: int = 64,
        termination_lead: float = 0.3,
        namespace: str | None = None,
    ) -> None:
        self.name = name
        self._api = api
        self._max_pods = max_pods
        self._lead = termination_lead
        self._network = LoopbackNetwork()
        self._events = EventRecorder(api, _MANAGER)
        self._calls = ThreadPoolExecutor(max_workers=2, thread_name_prefix="node-api")
        self._pods = Reflector(api, PODS, parse=parse_pod, on_change=self._pod_changed, namespace=namespace)
        self._thread = threading.Thread(target=self._main, name="node", daemon=True)
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._stop: asyncio.Event
        self._scheduler: Scheduler
        self._running: dict[Key, PodRunner] = {}
        self._ending: set[asyncio.Task[None]] = set()

    def start(self) -> None:
        """Starts taking pods. Once only."""
        self._thread.start()
        self._ready.wait()
        self._pods.start()

    def stop(self) -> None:
        """Kills every process of its pods and waits until they are gone. The API server hears nothing."""
        self._pods.stop()
        if self._thread.is_alive():
            self._loop.call_soon_threadsafe(self._stop.set)
            self._thread.join()
        self._calls.shutdown(wait=False, cancel_futures=True)
        self._network.close()

    def logs(
        self,
        namespace: str,
        pod: str,
        container: str = "",
        *,
        previous: bool = False,
        tail: int | None = None,
    ) -> str:
        """The last `tail` lines of a container (all that are kept, at most 1,000, where None), of its life
        before the last restart where `previous`. Raises LookupError, which says what is not there."""
        runner = self._running.get((namespace, pod))
        if runner is None:
            raise LookupError(f"pod {namespace}/{pod} does not run on this node")
        return runner.log(container, previous=previous).tail(tail)

    async def publish(self, pod: PodSpec, status: Json) -> None:
        """Writes the pod's status. Raises ApiError."""
        patch = {"metadata": {"uid": pod.uid}, "status": status}
        await self._call(
            lambda: self._api.patch(
                PODS, pod.namespace, pod.name, patch, subresource="status", field_manager=_MANAGER
            )
        )

    async def remove(self, pod: PodSpec) -> None:
        """Deletes the pod for good. Raises ApiError, but not where the pod is gone already."""
        try:
            await self._call(lambda: self._api.delete(PODS, pod.namespace, pod.name, uid=pod.uid, grace=0))
        except (NotFound, Conflict):  # Conflict: another pod has the name by now
            return

    async def bind(self, pod: PodSpec) -> None:
        """Gives the pod to this node. Raises ApiError."""
        await self._call(lambda: self._bind(pod))

    def _bind(self, pod: PodSpec) -> None:
        binding = {
            "apiVersion": "v1",
            "kind": "Binding",
            "metadata": {"namespace": pod.namespace, "name": pod.name, "uid": pod.uid},
            "target": {"apiVersion": "v1", "kind": "Node", "name": self.name},
        }
        try:
            self._api.create(PODS, pod.namespace, binding, subresource="binding")
        except NotServed:  # the sandbox's API server lets nodeName be written instead
            patch = {"metadata": {"uid": pod.uid}, "spec": {"nodeName": self.name}}
            self._api.patch(PODS, pod.namespace, pod.name, patch, field_manager=_MANAGER)

    def record(self, pod: PodSpec, kind: EventType, reason: str, message: str) -> None:
        """Takes an event of the pod."""
        about = About("v1", "Pod", pod.namespace, pod.name, pod.uid)
        self._calls.submit(self._events.record, about, kind, reason, message)

    def _main(self) -> None:
        asyncio.run(self._serve())

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._stop = asyncio.Event()
        self._scheduler = Scheduler(self, room=self._room)
        self._ready.set()
        scheduling = asyncio.create_task(self._scheduler.run())
        await self._stop.wait()
        scheduling.cancel()
        runners = [*self._running.values()]
        await asyncio.gather(scheduling, *(runner.kill() for runner in runners), return_exceptions=True)
        if self._ending:
            await asyncio.wait(self._ending)

    def _pod_changed(self, key: Key, old: PodSpec | None, new: PodSpec | None) -> None:
        del old
        self._loop.call_soon_threadsafe(self._observe, key, new)

    def _observe(self, key: Key, pod: PodSpec | None) -> None:
        """Brings what runs under this name into line with the pod that the API server has."""
        if self._stop.is_set():
            return
        self._scheduler.forget(key)
        runner = self._running.get(key)
        if runner is not None and (pod is None or pod.uid != runner.pod.uid):
            del self._running[key]
            self._finish(runner.kill())
            runner = None
        if pod is None:
            return
        if runner is not None:
            if pod.deleting:
                runner.delete(pod.grace, lead=self._lead)
        elif pod.node_name not in ("", self.name):
            return
        elif pod.deleting:  # never ran here, or is left over from before this node started
            self._finish(self._remove_quietly(pod))
        elif not pod.node_name:
            self._scheduler.add(key, pod)
        elif not pod.finished:
            self._run(key, pod)

    def _room(self) -> int:
        return self._max_pods - sum(not runner.finished for runner in self._running.values())

    def _run(self, key: Key, pod: PodSpec) -> None:
        runner = PodRunner(pod, ip=self._network.allocate(), node=self.name, reports=self)
        self._running[key] = runner
        runner.start()

    def _finish(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(work)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)

    async def _remove_quietly(self, pod: PodSpec) -> None:
        try:
            await self.remove(pod)
        except ApiError as error:
            _log.warning("pod could not be removed", pod=pod.name, error=str(error))

    async def _call(self, call: Callable[[], T]) -> T:
        return await self._loop.run_in_executor(self._calls, call)
