"""Processes: their output, their end, and that nothing of them is left."""

import asyncio
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import TypeVar

from pod_factory import python

from canaryd.sandbox.node.process import LogRing, RunningProcess

T = TypeVar("T")


def play(scene: Coroutine[None, None, T]) -> T:
    return asyncio.run(asyncio.wait_for(scene, 30))


def alive(pid: int) -> bool:
    """A zombie counts as alive: it must be reaped."""
    return Path(f"/proc/{pid}").exists()


def test_output_and_exit_code_are_told() -> None:
    talk = "import sys; print('out'); print('err', file=sys.stderr); print('no end', end=''); sys.exit(3)"

    async def scene() -> tuple[int, str]:
        log = LogRing()
        return await RunningProcess(python(talk), env={}, log=log).wait(), log.tail()

    code, text = play(scene())
    assert code == 3
    assert sorted(text.splitlines()) == ["err", "no end", "out"]


def test_a_command_that_is_not_there_says_so() -> None:
    async def scene() -> tuple[int, str]:
        log = LogRing()
        return await RunningProcess(["/no/such/thing"], env={}, log=log).wait(), log.tail()

    code, text = play(scene())
    assert code == 127
    assert re.search("/no/such/thing: not found|/no/such/thing: No such file", text)


def test_sigterm_first_and_sigkill_after_the_grace() -> None:
    deaf = (
        "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); "
        "print('up', flush=True); time.sleep(60)"
    )

    async def scene() -> tuple[int, int]:
        polite = RunningProcess(["sleep", "60"], env=dict(os.environ), log=LogRing())
        log = LogRing()
        stubborn = RunningProcess(python(deaf), env={}, log=log)
        while not log.tail():
            await asyncio.sleep(0.01)
        return await polite.stop(20), await stubborn.stop(0.2)

    assert play(scene()) == (128 + signal.SIGTERM, 128 + signal.SIGKILL)


def test_what_a_container_started_ends_with_it() -> None:
    parent = "import subprocess; print(subprocess.Popen(['sleep', '60']).pid, flush=True)"

    async def scene() -> int:
        log = LogRing()
        process = RunningProcess(python(parent), env=dict(os.environ), log=log)
        assert await process.wait() == 0
        return int(log.tail())

    grandchild = play(scene())
    _until(lambda: not _runs(grandchild), "the grandchild is gone")


def test_nothing_is_left_when_the_parent_is_killed() -> None:
    sandbox = (
        "import asyncio, os\n"
        "from canaryd.sandbox.node.process import LogRing, RunningProcess\n"
        "async def main():\n"
        "    process = RunningProcess(['sleep', '60'], env=dict(os.environ), log=LogRing())\n"
        "    await asyncio.sleep(0.3)\n"
        "    print(process.pid, flush=True)\n"
        "    await process.wait()\n"
        "asyncio.run(main())\n"
    )
    with subprocess.Popen([sys.executable, "-c", sandbox], stdout=subprocess.PIPE) as parent:
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        assert _runs(child)
        parent.kill()
    _until(lambda: not _runs(child), "the child is gone")


def test_no_zombie_is_left() -> None:
    async def scene() -> list[int]:
        processes = [RunningProcess(["true"], env=dict(os.environ), log=LogRing()) for _ in range(5)]
        await asyncio.gather(*(process.wait() for process in processes))
        return [process.pid for process in processes]

    assert not any(alive(pid) for pid in play(scene()))


def test_the_log_keeps_the_last_lines() -> None:
    log = LogRing(lines=3)
    for number in range(5):
        log.write(f"line {number}\n".encode())
    log.write(b"and a ha")
    log.write(b"lf\xff")
    assert log.tail() == "line 2\nline 3\nline 4\nand a half\ufffd\n"
    assert log.tail(1) == "and a half\ufffd\n"
    assert log.tail(0) == ""


def test_a_line_without_end_does_not_grow_for_ever() -> None:
    log = LogRing()
    for _ in range(100):
        log.write(b"x" * 4096)
    assert len(log.tail()) < 1000 * 17_000
    assert max(map(len, log.tail().splitlines())) <= 16 * 1024


def _runs(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"  # orphans are reaped by init, in its own time


def _until(holds: Callable[[], bool], what: str) -> None:
    deadline = time.monotonic() + 20
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)
