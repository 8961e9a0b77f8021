"""A container's running process on an event loop, and the log that its output goes to.

The kernel tells of its end through a pidfd, so no thread waits and no signal handler is needed.
"""

import asyncio
import os
import signal
import subprocess
import threading
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path

from canaryd.sandbox.processes import signal_group, spawn

_READ = 64 * 1024  # bytes at once from a container's output
_LONGEST_LINE = 16 * 1024


class LogRing:
    """The last 1,000 lines of a container. Written by the event loop, read from any thread."""

    def __init__(self, lines: int = 1000) -> None:
        self._lines: deque[str] = deque(maxlen=lines)
        self._rest = b""
        self._lock = threading.Lock()

    def write(self, data: bytes) -> None:
        """Takes output as it comes; a line without its end yet is shown like the others."""
        with self._lock:
            *whole, self._rest = (self._rest + data).split(b"\n")
            if len(self._rest) > _LONGEST_LINE:
                whole, self._rest = [*whole, self._rest], b""
            self._lines.extend(line[:_LONGEST_LINE].decode("utf-8", "replace") for line in whole)

    def tail(self, lines: int | None = None) -> str:
        """The last `lines` lines, or all that are kept, each with its newline."""
        with self._lock:
            kept = [*self._lines]
            if self._rest:
                kept.append(self._rest.decode("utf-8", "replace"))
        chosen = kept if lines is None else kept[-lines:] if lines > 0 else []
        return "".join(f"{line}\n" for line in chosen)


class RunningProcess:
    """A child whose output goes to `log`, started by the constructor on the running event loop."""

    def __init__(
        self, argv: Sequence[str], *, env: Mapping[str, str], log: LogRing, cwd: Path | None = None
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._log = log
        self._exit: asyncio.Future[int] = self._loop.create_future()
        reader, writer = os.pipe()
        try:
            self._popen = spawn(argv, env=env, cwd=cwd, stdout=writer, stderr=subprocess.STDOUT)
        except BaseException:
            os.close(reader)
            raise
        finally:
            os.close(writer)
        os.set_blocking(reader, False)
        self._output = reader
        self._pidfd = os.pidfd_open(self._popen.pid)
        self._loop.add_reader(reader, self._read)
        self._loop.add_reader(self._pidfd, self._ended)

    @property
    def pid(self) -> int:
        return self._popen.pid

    async def wait(self) -> int:
        """Its exit code, 128 + the signal's number when a signal ended it, as shells and kubelets count."""
        return await asyncio.shield(self._exit)

    async def stop(self, grace: float) -> int:
        """SIGTERM, and SIGKILL after `grace` seconds. Returns the exit code."""
        signal_group(self._popen, signal.SIGTERM)
        try:
            async with asyncio.timeout(grace):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    def kill(self) -> None:
        """SIGKILL, to whatever it started as well."""
        signal_group(self._popen, signal.SIGKILL)

    def _read(self) -> None:
        try:
            data = os.read(self._output, _READ)
        except BlockingIOError:
            return
        if data:
            self._log.write(data)
        else:
            self._loop.remove_reader(self._output)

    def _ended(self) -> None:
        self.kill()  # what it left behind, while its unreaped pid still names the group
        code = self._popen.wait()
        self._loop.remove_reader(self._pidfd)
        self._loop.remove_reader(self._output)
        os.close(self._pidfd)
        self._drain()
        if not self._exit.done():
            self._exit.set_result(code if code >= 0 else 128 - code)

    def _drain(self) -> None:
        """The last words, which may still be in the pipe."""
        try:
            while data := os.read(self._output, _READ):
                self._log.write(data)
        except BlockingIOError:
            pass
        finally:
            os.close(self._output)
