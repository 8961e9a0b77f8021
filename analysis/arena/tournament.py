"""Plays cells in worker processes. Results depend on the seed alone: not on the machine, nor on how many workers."""

from __future__ import annotations

import contextlib
import hashlib
import multiprocessing
import os
import signal
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from typing import Final

from analysis.arena.cells import Cell
from analysis.arena.runs import Outcome, play

_BATCH: Final = 20  # runs that a worker plays at a time
_THREADS: Final = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def tournament(cells: Sequence[Cell], seed: int, workers: int) -> Iterator[tuple[Cell, list[Outcome]]]:
    """Play every cell; each comes as soon as it is done, its outcomes in the order of its runs."""
    if workers == 1:
        for cell in cells:
            yield cell, play_runs(cell, seed, 0, cell.runs)
        return
    with (
        one_thread_each(),
        ProcessPoolExecutor(
            workers, multiprocessing.get_context("spawn"), initializer=leave_interrupts_to_the_parent
        ) as pool,
    ):
        batches: dict[Future[list[Outcome]], tuple[int, int]] = {}
        for index, cell in enumerate(cells):
            for first in range(0, cell.runs, _BATCH):
                last = min(first + _BATCH, cell.runs)
                batches[pool.submit(play_runs, cell, seed, first, last)] = index, first
        try:
            yield from _gathered(cells, batches)
        finally:
            pool.shutdown(cancel_futures=True)


def play_runs(cell: Cell, seed: int, first: int, last: int) -> list[Outcome]:
    """The runs `first` up to `last` of a cell. Every judge meets the same releases of a scenario."""
    digest = hashlib.sha256(cell.name.encode()).digest()
    scenario = int.from_bytes(digest[:8], "big")
    config = cell.config
    return [play(cell.judge, cell.scenario, config, (seed, scenario, run)) for run in range(first, last)]


def overridden_threads() -> list[str]:
    """The thread settings of the environment that workers do not follow: each of them uses one thread."""
    return [f"{name}={os.environ[name]}" for name in _THREADS if os.environ.get(name, "1") != "1"]


def _gathered(
    cells: Sequence[Cell], batches: dict[Future[list[Outcome]], tuple[int, int]]
) -> Iterator[tuple[Cell, list[Outcome]]]:
    played: dict[int, dict[int, list[Outcome]]] = {index: {} for index in range(len(cells))}
    for future in as_completed(batches):
        index, first = batches[future]
        played[index][first] = future.result()
        if sum(map(len, played[index].values())) == cells[index].runs:
            parts = played.pop(index)
            yield cells[index], [one for first in sorted(parts) for one in parts[first]]


def leave_interrupts_to_the_parent() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@contextlib.contextmanager
def one_thread_each() -> Iterator[None]:
    """A worker is a fresh interpreter, which reads these when it loads numpy."""
    before = {name: os.environ.get(name) for name in _THREADS}
    os.environ.update(dict.fromkeys(_THREADS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
