"""Startup, readiness and liveness probes: one attempt, and the counting of attempts to a verdict."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from canaryd.sandbox.node.environment import executable
from canaryd.sandbox.node.process import LogRing, RunningProcess
from canaryd.sandbox.node.spec import Action, Container, Exec, HttpGet, Probe, Sleep, TcpSocket, Unsupported

_EAGER, _EAGER_PERIOD = 20, 0.25  # the first probes of what is not ready yet, and the seconds between them


@dataclass(frozen=True, slots=True)
class Target:
    """The container that is acted on, and the environment of commands run in it."""

    container: Container
    ip: str
    env: dict[str, str]


async def attempt(action: Action, target: Target, timeout: float) -> str:
    """One attempt, within `timeout` seconds. Returns "" for success, else what went wrong."""
    try:
        async with asyncio.timeout(timeout):  # wait_for may swallow a cancellation before Python 3.12
            return await perform(action, target)
    except TimeoutError:
        return f"timed out after {timeout:g} s"
    except (OSError, ValueError) as error:
        return str(error) or type(error).__name__


async def perform(action: Action, target: Target) -> str:
    """Does what a probe or a hook says, with no limit in time. Raises OSError, ValueError."""
    match action:
        case HttpGet():
            return await _http_get(action, target)
        case TcpSocket(port, host):
            _, writer = await asyncio.open_connection(host or target.ip, target.container.port(port))
            writer.close()
            return ""
        case Exec(command):
            return await _run(command, target.env)
        case Sleep(seconds):
            await asyncio.sleep(seconds)
            return ""
        case Unsupported(what):
            return f"the sandbox's node does not offer {what}"


async def _http_get(action: HttpGet, target: Target) -> str:
    host, port = action.host or target.ip, target.container.port(action.port)
    reader, writer = await asyncio.open_connection(host, port)
    try:
        headers = {"host": f"{host}:{port}", "user-agent": "kube-probe/sandbox", "connection": "close"}
        headers |= {name.lower(): value for name, value in action.headers}
        lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
        writer.write(f"GET {action.path} HTTP/1.1\r\n{lines}\r\n".encode())
        status_line = (await reader.readline()).decode("latin-1").split(" ", 2)
    finally:
        writer.close()
    if len(status_line) < 2 or not status_line[1].isdigit():
        return "the answer is not HTTP"
    code = int(status_line[1])
    return "" if 200 <= code < 400 else f"HTTP probe failed with statuscode: {code}"


async def _run(command: tuple[str, ...], env: dict[str, str]) -> str:
    output = LogRing(20)
    process = RunningProcess(executable(command), env=env, log=output)
    try:
        code = await process.wait()
    finally:
        process.kill()
        await process.wait()
    return "" if code == 0 else f"command exited with {code}: {output.tail(5).strip()}"


class Prober:
    """Repeats one probe and says when its verdict changes."""

    def __init__(self, probe: Probe, target: Target) -> None:
        self._probe = probe
        self._target = target

    async def watch(self, verdict: Callable[[bool, str], Awaitable[None]], *, healthy: bool) -> None:
        """Probes for ever. Calls `verdict(healthy, why)` each time that successThreshold successes or
        failureThreshold failures in a row turn it away from `healthy`, where it begins.

        What begins unhealthy is looked at more often than it asks for at first: periods are whole seconds in
        the API, and processes are up in a tenth of one.
        """
        run, eager = 0, 0 if healthy else _EAGER
        await asyncio.sleep(self._probe.initial_delay)
        while True:
            why = await attempt(self._probe.action, self._target, self._probe.timeout)
            run = 0 if healthy == (why == "") else run + 1
            if run >= (self._probe.failure_threshold if healthy else self._probe.success_threshold):
                healthy, run = not healthy, 0
                await verdict(healthy, why)
                eager = 0
            await asyncio.sleep(min(self._probe.period, _EAGER_PERIOD) if eager else self._probe.period)
            eager = max(0, eager - 1)

    async def until_success(self) -> str:
        """Probes until success, and returns ""; or until failureThreshold failures, and returns the last."""
        failures = 0
        await asyncio.sleep(self._probe.initial_delay)
        while True:
            why = await attempt(self._probe.action, self._target, self._probe.timeout)
            failures += bool(why)
            if not why or failures >= self._probe.failure_threshold:
                return why
            await asyncio.sleep(self._probe.period)
