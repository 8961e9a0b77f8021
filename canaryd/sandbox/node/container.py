"""One container of a pod: started, probed, restarted with back-off, stopped."""

import asyncio
import contextlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from canaryd.sandbox.controllers.events import EventType
from canaryd.sandbox.node import environment
from canaryd.sandbox.node.probes import Prober, Target, attempt
from canaryd.sandbox.node.process import LogRing, RunningProcess
from canaryd.sandbox.node.spec import Container, PodSpec, RestartPolicy
from canaryd.sandbox.node.status import ContainerState, Running, Terminated, Waiting

_PULL_SHOWN = 0.5  # seconds that ErrImagePull is reported before ImagePullBackOff takes its place
_LAST_GRACE = 2.0  # seconds that SIGTERM always gets, however long the preStop hook took
_MESSAGE_LINES, _MESSAGE_CHARS = 80, 2048  # a kubelet's limits for a message taken from the log


@dataclass(slots=True)
class Backoff:
    """Seconds to wait before a restart: none, then `first`, doubling up to `cap`. A tenth of a kubelet's."""

    first: float = 1.0
    cap: float = 30.0
    forgiven: float = 60.0  # a container that ran for so long starts at none again
    _next: float = 0.0

    def delay(self, ran: float) -> float:
        """The wait after a run of `ran` seconds."""
        if ran >= self.forgiven:
            self._next = 0.0
        now, self._next = self._next, min(self.cap, max(self.first, 2 * self._next))
        return now


class ContainerRunner:
    """Runs one container until it is stopped, or ends and is not to be restarted.

    `state` is what the pod's status says of it; `changed()` is called after each change. `record(type,
    reason, message)` takes the events that a kubelet would write.
    """

    def __init__(
        self,
        pod: PodSpec,
        spec: Container,
        *,
        ip: str,
        node: str,
        policy: RestartPolicy,
        changed: Callable[[], None],
        record: Callable[[EventType, str, str], None],
    ) -> None:
        self.spec = spec
        self.state = ContainerState(spec.name, spec.image)
        self.log = LogRing()
        self.previous_log: LogRing | None = None
        self._pod, self._ip, self._node, self._policy = pod, ip, node, policy
        self._changed, self._record = changed, record
        self._backoff = Backoff()
        self._process: RunningProcess | None = None
        self._stopping = asyncio.Event()

    async def run(self) -> None:
        """Returns when the container will not run again."""
        await self._pulled()
        while not self._stopping.is_set():
            try:
                env = environment.environment(self._pod, self.spec, ip=self._ip, node=self._node)
            except environment.ContainerConfigError as error:
                await self._stuck("CreateContainerConfigError", str(error))
                return
            ended = await self._live(env)
            if not self._restarts(ended.exit_code):
                return
            await self._back_off((ended.finished - ended.started).total_seconds())

    async def stop(self, grace: float) -> None:
        """Runs the preStop hook, sends SIGTERM, and SIGKILL when `grace` seconds are over for both."""
        self._stopping.set()
        process = self._process
        if process is None:
            return
        begun = asyncio.get_running_loop().time()
        if self.spec.pre_stop is not None:
            env = environment.environment(self._pod, self.spec, ip=self._ip, node=self._node)
            why = await attempt(self.spec.pre_stop, Target(self.spec, self._ip, env), grace)
            if why:
                self._record("Warning", "FailedPreStopHook", why)
        spent = asyncio.get_running_loop().time() - begun
        await process.stop(max(grace - spent, min(grace, _LAST_GRACE)))

    def kill(self) -> None:
        """SIGKILL at once; nothing is restarted."""
        self._stopping.set()
        if self._process is not None:
            self._process.kill()

    def _update(self, **values: Any) -> None:
        self.state = replace(self.state, **values)
        self._changed()

    async def _pulled(self) -> None:
        """Returns once the image is there: at once, or never before the container is stopped."""
        image = self.spec.image
        backoff = Backoff(_next=1.0)
        while not environment.pullable(image) and not self._stopping.is_set():
            message = f'failed to pull image "{image}": not found'
            self._update(state=Waiting("ErrImagePull", message))
            self._record("Warning", "Failed", message)
            await self._pause(_PULL_SHOWN)
            self._update(state=Waiting("ImagePullBackOff", f'Back-off pulling image "{image}": {message}'))
            await self._pause(backoff.delay(0.0))

    async def _live(self, env: dict[str, str]) -> Terminated:
        """One life of the process."""
        restarted = self.state.last is not None
        if restarted:
            self.previous_log, self.log = self.log, LogRing()
        begun = datetime.now(UTC)
        cwd = Path(self.spec.working_dir) if self.spec.working_dir else None
        try:
            self._process = RunningProcess(
                environment.command_line(self.spec, env), env=env, log=self.log, cwd=cwd
            )
        except OSError as error:  # no such working directory, no more processes
            self.log.write(f"cannot start: {error}\n".encode())
            return self._ended(128, begun)
        self._update(
            state=Running(begun),
            image_id=environment.image_id(self.spec),
            restarts=self.state.restarts + restarted,
            started=self.spec.startup is None,
            ready=self.spec.startup is None and self.spec.readiness is None,
        )
        probing = asyncio.create_task(self._probe(self._process, Target(self.spec, self._ip, env)))
        try:
            code = await self._process.wait()
        finally:
            probing.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await probing
        self._process = None
        return self._ended(code, begun)

    def _ended(self, code: int, begun: datetime) -> Terminated:
        message = ""
        if code != 0 and self.spec.message_from_logs:
            message = self.log.tail(_MESSAGE_LINES)[-_MESSAGE_CHARS:]
        ended = Terminated(code, message, begun, datetime.now(UTC))
        self._update(state=ended, started=False, ready=False)
        return ended

    def _restarts(self, code: int) -> bool:
        wanted = self._policy == "Always" or (self._policy == "OnFailure" and code != 0)
        return wanted and not self._stopping.is_set()

    async def _back_off(self, ran: float) -> None:
        assert isinstance(self.state.state, Terminated)
        last = self.state.state
        delay = self._backoff.delay(ran)
        if delay:
            message = f"back-off {delay:g}s restarting failed container={self.spec.name}"
            message += f" pod={self._pod.name}_{self._pod.namespace}({self._pod.uid})"
            self._update(state=Waiting("CrashLoopBackOff", message), last=last)
            self._record("Warning", "BackOff", f"Back-off restarting failed container {self.spec.name}")
            await self._pause(delay)
        self.state = replace(self.state, last=last)

    async def _stuck(self, reason: str, message: str) -> None:
        self._update(state=Waiting(reason, message))
        self._record("Warning", "Failed", message)
        await self._stopping.wait()

    async def _pause(self, seconds: float) -> None:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._stopping.wait()

    async def _probe(self, process: RunningProcess, target: Target) -> None:
        """Runs the container's probes for one life of its process."""
        if self.spec.startup is not None:
            why = await Prober(self.spec.startup, target).until_success()
            if why:
                await self._unhealthy("Startup", why, process)
                return
            self._update(started=True, ready=self.spec.readiness is None)
        await asyncio.gather(self._probe_readiness(target), self._probe_liveness(process, target))

    async def _probe_readiness(self, target: Target) -> None:
        if self.spec.readiness is None:
            return

        async def verdict(healthy: bool, why: str) -> None:
            if not healthy:
                self._record("Warning", "Unhealthy", f"Readiness probe failed: {why}")
            self._update(ready=healthy)

        await Prober(self.spec.readiness, target).watch(verdict, healthy=False)

    async def _probe_liveness(self, process: RunningProcess, target: Target) -> None:
        if self.spec.liveness is None:
            return

        async def verdict(healthy: bool, why: str) -> None:
            if not healthy:
                await self._unhealthy("Liveness", why, process)

        await Prober(self.spec.liveness, target).watch(verdict, healthy=True)

    async def _unhealthy(self, probe: str, why: str, process: RunningProcess) -> None:
        self._record("Warning", "Unhealthy", f"{probe} probe failed: {why}")
        self._record("Normal", "Killing", f"Container {self.spec.name} failed {probe.lower()} probe")
        await process.stop(self._pod.grace)
