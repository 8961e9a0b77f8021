"""Starts child processes that cannot outlive the sandbox, not even when it is killed with SIGKILL.

Linux kills a child when its parent dies if the child asked for it (prctl PR_SET_PDEATHSIG). Asking from
`preexec_fn` would run Python between fork and exec of a process full of threads, which can deadlock; so a
launcher of a few lines asks, and then becomes the command. It costs some 10 ms per start.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

CANNOT_EXECUTE = 127  # exit code of a command that is not there, as in a shell

_LAUNCHER = """
import ctypes, os, signal, sys
ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # 1 is PR_SET_PDEATHSIG
if os.getppid() != int(sys.argv[1]):  # the parent died before the line above
    os._exit(1)
signal.signal(signal.SIGPIPE, signal.SIG_DFL)
try:
    os.execvp(sys.argv[2], sys.argv[2:])
except OSError as error:
    print(f"cannot execute {sys.argv[2]!r}: {error.strerror}", file=sys.stderr)
    sys.stderr.flush()
    os._exit(127)
"""


def spawn(
    argv: Sequence[str],
    *,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    stdin: int = subprocess.DEVNULL,
    stdout: int = subprocess.DEVNULL,
    stderr: int = subprocess.DEVNULL,
) -> "subprocess.Popen[bytes]":
    """Starts `argv` in a session of its own; a command that cannot be executed exits with CANNOT_EXECUTE.

    The kernel kills the child when the *thread* that called this ends: call it from one that lives as long
    as the child should. The caller waits for the child, or leaves a zombie. `env` replaces the environment.
    """
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, str(os.getpid())]
    return subprocess.Popen(
        [*launcher, *argv],
        env=None if env is None else dict(env),
        cwd=cwd,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
        start_new_session=True,
    )


def signal_group(process: "subprocess.Popen[bytes]", number: signal.Signals) -> None:
    """Sends a signal to the child and to what it started. Nothing happens when the child was reaped."""
    if process.returncode is not None:
        return  # its pid may be somebody else's by now
    try:
        os.killpg(process.pid, number)
    except ProcessLookupError:
        return
