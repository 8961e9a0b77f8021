"""Children of the sandbox: they live as long as their parent, no longer and no shorter."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from canaryd.sandbox.processes import ChildProcess, ProcessError, free_port


def state(pid: int) -> str:
    """As /proc has it; "" where there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except FileNotFoundError:
        return ""


def until_gone(pid: int) -> None:
    deadline = time.monotonic() + 20
    while state(pid) not in ("", "Z"):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_output_goes_to_the_log_and_the_exit_code_is_told(tmp_path: Path) -> None:
    child = ChildProcess("talker", ["sh", "-c", "echo one; echo two >&2; exit 3"], log=tmp_path / "log")
    child.start()
    assert child.wait(20) == 3
    assert child.tail() == "one\ntwo"
    with pytest.raises(ProcessError, match=r"(?s)talker ended with 3.*two"):
        child.require_running()


def test_a_program_that_is_missing(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="there is no program /no/such"):
        ChildProcess("ghost", ["/no/such"], log=tmp_path / "log").start()


def test_stop_ends_what_the_child_started(tmp_path: Path) -> None:
    script = "sleep 60 & echo $!; wait"
    with ChildProcess("shell", ["sh", "-c", script], log=tmp_path / "log") as child:
        while not child.tail():
            time.sleep(0.01)
        grandchild = int(child.tail())
        assert state(grandchild) != ""
    until_gone(grandchild)
    assert not child.running


def test_one_that_does_not_listen_is_killed(tmp_path: Path) -> None:
    script = "trap '' TERM; echo up; while true; do sleep 0.05; done"
    child = ChildProcess("stubborn", ["sh", "-c", script], log=tmp_path / "log")
    child.start()
    while not child.tail():
        time.sleep(0.01)
    assert child.stop(grace=0.2) == -9


def test_a_child_outlives_the_thread_that_started_it(tmp_path: Path) -> None:
    child = ChildProcess("sleeper", ["sleep", "60"], log=tmp_path / "log")
    thread = threading.Thread(target=child.start)
    thread.start()
    thread.join()
    time.sleep(0.3)
    assert child.running
    child.stop()


def test_a_child_dies_with_a_parent_that_is_killed(tmp_path: Path) -> None:
    code = (
        "import sys, time; from pathlib import Path; from canaryd.sandbox.processes import ChildProcess\n"
        "child = ChildProcess('sleeper', ['sleep', '60'], log=Path(sys.argv[1]))\n"
        "child.start(); print(child.pid, flush=True); time.sleep(60)"
    )
    command = [sys.executable, "-c", code, str(tmp_path / "log")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        assert state(pid) not in ("", "Z")
        parent.kill()
        parent.wait()
    until_gone(pid)


def test_before_the_start_there_is_nothing_to_stop(tmp_path: Path) -> None:
    child = ChildProcess("never", ["true"], log=tmp_path / "log")
    assert child.stop() is None
    assert (child.running, child.exit_code, child.tail()) == (False, None, "")
    with pytest.raises(RuntimeError):
        _ = child.pid


def test_free_ports_lie_outside_of_what_the_kernel_hands_out() -> None:
    assert 20_000 <= free_port() < 32_000
