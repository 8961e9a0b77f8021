"""One pod on the node: its containers together, and the status that is reported of them."""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from typing import Protocol

import structlog

from canaryd.cluster.errors import ApiError, NotFound
from canaryd.cluster.resources import Json
from canaryd.sandbox.controllers.events import EventType
from canaryd.sandbox.node.container import ContainerRunner
from canaryd.sandbox.node.process import LogRing
from canaryd.sandbox.node.spec import Container, PodSpec, RestartPolicy
from canaryd.sandbox.node.status import Conditions, Phase, Terminated, conditions, phase, status_json

_RETRY = 1.0  # seconds after a write that failed
_log = structlog.get_logger()


class Reports(Protocol):
    """What a pod tells the API server through its node."""

    async def publish(self, pod: PodSpec, status: Json) -> None:
        """Writes the pod's status. Raises ApiError."""

    async def remove(self, pod: PodSpec) -> None:
        """Deletes the pod for good; one that is gone already is fine. Raises ApiError."""

    def record(self, pod: PodSpec, kind: EventType, reason: str, message: str) -> None:
        """Takes an event of the pod."""


class PodRunner:
    """Runs a pod from its binding to its end, and reports. Lives on the node's event loop."""

    def __init__(self, pod: PodSpec, *, ip: str, node: str, reports: Reports) -> None:
        self.pod = pod
        self.ip = ip
        self._node = node
        self._reports = reports
        self._begun = datetime.now(UTC)
        self._conditions: Conditions = {}
        self._published: Json = {}
        self._changed = asyncio.Event()
        init_policy: RestartPolicy = "Never" if pod.restart_policy == "Never" else "OnFailure"
        self._init = [self._runner(spec, init_policy) for spec in pod.init_containers]
        self._containers = [self._runner(spec, pod.restart_policy) for spec in pod.containers]
        self._initialized = not self._init
        self._stopping = False
        self._tasks: list[asyncio.Task[None]] = []

    @property
    def finished(self) -> bool:
        """Whether nothing of the pod runs or will run again."""
        return self._phase() in ("Succeeded", "Failed")

    def start(self) -> None:
        """Starts the containers and the reports of their status."""
        self._changed.set()
        self._tasks = [asyncio.create_task(self._run()), asyncio.create_task(self._report())]
        for task in self._tasks:
            task.add_done_callback(self._complain)

    def delete(self, grace: float, *, lead: float) -> None:
        """Ends the pod: `lead` seconds later SIGTERM, `grace` seconds after it SIGKILL, and then the object
        is deleted. Repeats do nothing, except that a grace of 0 kills at once."""
        if grace == 0:
            for runner in self._runners():
                runner.kill()
        if not self._stopping:
            self._stopping = True
            self._tasks.append(asyncio.create_task(self._delete(grace, lead)))

    async def kill(self) -> None:
        """Ends the pod without a word to the API server. Returns when its processes are gone."""
        for runner in self._runners():
            runner.kill()
        running, *others = self._tasks
        for task in others:
            task.cancel()
        await asyncio.gather(running, *others, return_exceptions=True)

    def log(self, container: str, *, previous: bool) -> LogRing:
        """The log of a container; "" is the first. Raises LookupError."""
        for runner in self._runners():
            if runner.spec.name == container or not container:
                log = runner.previous_log if previous else runner.log
                if log is None:
                    raise LookupError(f"container {runner.spec.name} of pod {self.pod.name} has no previous")
                return log
        raise LookupError(f"pod {self.pod.name} has no container {container}")

    def _complain(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.error("pod failed on the node", pod=self.pod.name, exc_info=error)

    def _runner(self, spec: Container, policy: RestartPolicy) -> ContainerRunner:
        return ContainerRunner(
            self.pod,
            spec,
            ip=self.ip,
            node=self._node,
            policy=policy,
            changed=self._changed.set,
            record=lambda kind, reason, message: self._reports.record(self.pod, kind, reason, message),
        )

    def _runners(self) -> list[ContainerRunner]:
        return [*self._containers, *self._init]

    async def _run(self) -> None:
        for runner in self._init:
            await runner.run()
            if not isinstance(runner.state.state, Terminated) or runner.state.state.exit_code != 0:
                return
            runner.state = replace(runner.state, ready=True)
        self._initialized = True
        self._changed.set()
        if not self._stopping:
            await asyncio.gather(*(runner.run() for runner in self._containers))

    async def _report(self) -> None:
        while True:
            await self._changed.wait()
            self._changed.clear()
            try:
                await self._publish()
            except NotFound:
                return
            except ApiError:
                await asyncio.sleep(_RETRY)
                self._changed.set()

    async def _publish(self) -> None:
        status = self._status()
        if status != self._published:
            await self._reports.publish(self.pod, status)
            self._published = status

    async def _delete(self, grace: float, lead: float) -> None:
        await asyncio.sleep(lead if grace else 0)
        await asyncio.gather(*(runner.stop(grace) for runner in self._runners()))
        running, report = self._tasks[:2]
        await asyncio.wait([running])
        report.cancel()
        with contextlib.suppress(ApiError):
            await self._publish()
        await _persist(lambda: self._reports.remove(self.pod))

    def _status(self) -> Json:
        states = [runner.state for runner in self._containers]
        inits = [runner.state for runner in self._init]
        now = datetime.now(UTC)
        self._conditions = conditions(states, self._conditions, initialized=self._initialized, now=now)
        return status_json(
            states, inits, self._conditions, phase=self._phase(), ip=self.ip, start_time=self._begun
        )

    def _phase(self) -> Phase:
        ends = [runner.state.state for runner in self._init]
        if self.pod.restart_policy == "Never" and any(
            isinstance(end, Terminated) and end.exit_code != 0 for end in ends
        ):
            return "Failed"
        states = [runner.state for runner in self._containers]
        policy = self.pod.restart_policy
        return phase(states, policy, initialized=self._initialized, stopping=self._stopping)


async def _persist(write: Callable[[], Awaitable[None]]) -> None:
    while True:
        try:
            await write()
        except ApiError:
            await asyncio.sleep(_RETRY)
        else:
            return
