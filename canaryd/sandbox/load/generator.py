"""Sends requests when they are due, whether or not earlier ones were answered."""

import asyncio
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from canaryd.sandbox.load.client import Exchange, Pool, Target
from canaryd.sandbox.load.report import LogRow, Outcome, Recorder, Report

HIGHEST_RPS = 5000.0
LONGEST = 3600.0  # seconds
MOST_UNDER_WAY = 2000
_TIMEOUT = 5.0  # seconds until a request without an answer is given up
_SWEEP = 0.25  # seconds between looks for such requests


@dataclass(frozen=True, slots=True)
class Plan:
    """How much is sent, for how long. Raises ValueError beyond the bounds above."""

    rps: float
    seconds: float
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0 < self.rps <= HIGHEST_RPS:
            raise ValueError(f"rps must be above 0 and at most {HIGHEST_RPS:g}, not {self.rps:g}")
        if not 0 < self.seconds <= LONGEST:
            raise ValueError(f"seconds must be above 0 and at most {LONGEST:g}, not {self.seconds:g}")


class Generator:
    """One run of load. `tell(report, rows)` is called every `period` seconds, and at the end."""

    def __init__(
        self, target: Target, plan: Plan, tell: Callable[[Report, list[LogRow]], None], *, period: float = 0.5
    ) -> None:
        self._target = target
        self._plan = plan
        self._tell = tell
        self._period = period
        self._recorder = Recorder()
        self._under_way = 0
        self._stop = asyncio.Event()

    def stop(self) -> None:
        """Sends nothing more; `run` returns when what is under way has ended."""
        self._stop.set()

    async def run(self) -> Report:
        """Sends for the planned time, waits for the last answers, returns the totals."""
        loop = asyncio.get_running_loop()
        begun = loop.time()
        pool = Pool(self._target, self._finish, self._retry)
        reporting = loop.create_task(self._report(begun))
        sweeping = loop.create_task(self._sweep(pool))
        try:
            await self._send(pool, begun)
            while self._under_way:
                await asyncio.sleep(0.01)
        finally:
            reporting.cancel()
            sweeping.cancel()
            pool.close()
        report = self._recorder.report(loop.time() - begun)
        self._tell(report, self._recorder.new_rows())
        return report

    async def _send(self, pool: Pool, begun: float) -> None:
        """Request i is due at a random moment of the i-th slot of 1/rps seconds: a fixed rate, without the
        beat that an even one would have with the turns of a weighted split."""
        draw = random.Random(self._plan.seed)
        loop, slot, index = asyncio.get_running_loop(), 1 / self._plan.rps, 0
        due = begun + draw.random() * slot
        while due < begun + self._plan.seconds and not self._stop.is_set():
            pause = due - loop.time()
            if pause > 0:
                await asyncio.sleep(pause)
                continue
            if self._under_way >= MOST_UNDER_WAY:
                self._recorder.dropped += 1
            else:
                self._under_way += 1
                self._recorder.sent += 1
                pool.send(Exchange(due))
            index += 1
            due = begun + (index + draw.random()) * slot

    def _finish(self, exchange: Exchange, outcome: Outcome) -> None:
        del exchange
        self._under_way -= 1
        self._recorder.add(outcome, time.time())

    def _retry(self) -> None:
        self._recorder.retried += 1

    async def _report(self, begun: float) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(self._period)
            self._tell(self._recorder.report(loop.time() - begun), self._recorder.new_rows())

    async def _sweep(self, pool: Pool) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await asyncio.sleep(_SWEEP)
            pool.expire(loop.time() - _TIMEOUT)
