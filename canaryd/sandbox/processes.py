"""Programs that the sandbox starts, and that never outlive it.

The kernel ends a child when its parent dies (PR_SET_PDEATHSIG), also where the parent is killed with -9. Two
things about that are easily missed. "Parent" means the *thread* that forked: a child of a worker thread would
die with that thread, so every child is started from one thread that lives as long as the process. And the
setting is made by `setpriv` (util-linux) between fork and exec rather than by a Python function there, which
is not safe in a process with threads.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
from collections.abc import Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import IO

# Below Linux's range for outgoing connections: nothing else takes a port here by accident between the moment
# it is found free and the moment a child binds it.
_PORTS = range(20_000, 32_000)

# A parent that died before the setting was made would never be noticed.
_UNLESS_ORPHANED = '[ "$PPID" = "$1" ] || exit 1; shift; exec "$@"'

_spawner = ThreadPoolExecutor(max_workers=1, thread_name_prefix="spawner")


class ProcessError(Exception):
    """A child did not start, or ended when it should have run. The message carries its last lines."""


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdout: int | IO[bytes] = subprocess.DEVNULL,
    stderr: int | IO[bytes] = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """Start `argv`, in some milliseconds; env replaces the environment. The caller reaps the child.

    It leads a process group of its own, so Ctrl-C in the terminal reaches the sandbox alone, which then stops
    its parts in order. A program that is not there says so and ends with 127, as in a shell. ProcessError
    where `setpriv` is missing, OSError where `cwd` is.
    """
    setpriv = shutil.which("setpriv")
    if setpriv is None:
        raise ProcessError(f"{argv[0]}: `setpriv` is missing: install the package util-linux")
    guard = [setpriv, "--pdeathsig", "KILL", "--", "/bin/sh", "-c", _UNLESS_ORPHANED, "sh", str(os.getpid())]
    starting = _spawner.submit(
        subprocess.Popen,
        [*guard, *argv],
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )
    try:
        return starting.result()
    except BaseException:  # a signal came while it was starting
        starting.add_done_callback(_unwanted)
        raise


def _unwanted(started: Future[subprocess.Popen[bytes]]) -> None:
    """End the child of a start that was interrupted."""
    if started.exception() is None:
        started.result().kill()


def signal_group(process: subprocess.Popen[bytes], number: int) -> None:
    """Send a signal to the child and to what it started. Nothing happens when it has been reaped."""
    if process.returncode is not None:
        return  # its pid may be somebody else's by now
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, number)


class ChildProcess:
    """One program: started, watched, stopped; its output goes to a file."""

    def __init__(
        self,
        name: str,
        argv: Sequence[str | Path],
        *,
        log: Path,
        env: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """name is for messages. env replaces the environment where given. log is appended to."""
        self.name = name
        self.argv = [str(word) for word in argv]
        self.log = log
        self._env = env
        self._cwd = cwd
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it. ProcessError where the program or `setpriv` is missing."""
        if shutil.which(self.argv[0]) is None:
            raise ProcessError(f"{self.name}: there is no program {self.argv[0]}")
        with self.log.open("ab") as out:
            self._process = spawn(
                self.argv, env=self._env, cwd=self._cwd, stdout=out, stderr=subprocess.STDOUT
            )

    @property
    def pid(self) -> int:
        """Its process id. RuntimeError before start()."""
        if self._process is None:
            raise RuntimeError(f"{self.name} has not been started")
        return self._process.pid

    @property
    def running(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def exit_code(self) -> int | None:
        """None while it runs (or before start()); negative is the signal that ended it."""
        return None if self._process is None else self._process.poll()

    def wait(self, timeout: float) -> int | None:
        """Its exit code, or None when it still runs after `timeout` seconds."""
        if self._process is None:
            return None
        try:
            return self._process.wait(timeout)
        except subprocess.TimeoutExpired:
            return None

    def signal(self, number: int) -> None:
        """Send a signal to the program alone; nothing happens when it has ended."""
        if self._process is not None:
            self._process.send_signal(number)

    def require_running(self) -> None:
        """ProcessError with its last lines when it has ended."""
        if not self.running:
            raise ProcessError(f"{self.name} ended with {self.exit_code}:\n{self.tail()}")

    def tail(self, lines: int = 20) -> str:
        """The last lines of its output."""
        try:
            text = self.log.read_bytes()[-64_000:].decode(errors="replace")
        except FileNotFoundError:
            return ""
        return "\n".join(text.splitlines()[-lines:])

    def stop(self, grace: float = 5.0) -> int | None:
        """Ask it to end; after `grace` seconds end it, and in any case what it started. Its exit code."""
        if self._process is None or self._process.poll() is not None:
            return self.exit_code
        self._process.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(grace)
        # At once after the wait, never later: a number long free may be somebody else's group by then.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        return self._process.wait()

    def __enter__(self) -> ChildProcess:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port on `host` that nothing listens on at this moment."""
    for port in random.sample(_PORTS, 200):
        with socket.socket() as probe:
            try:
                probe.bind((host, port))
            except OSError:
                continue
            return port
    raise ProcessError(f"found no free port on {host} between {_PORTS.start} and {_PORTS.stop}")
