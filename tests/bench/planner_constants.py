"""Measures on the judge the constants of analysis/expected.py, and how far its times are off with those in force.

    python -m tests.bench.planner_constants [--runs 200] [--seed 1] [--family harm slow safe excess]

Plays canary and baseline at one weight until the judge decides, many times per cell. Printed per cell: the mean time
of the judge, that of the closed form, their quotient, and the nats above the threshold with which they would agree.
"""

from __future__ import annotations

import argparse
import functools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from analysis import Counts, Interval, Judge, JudgeConfig, Verdict, expected
from analysis.expected import Stretch, Truth, intervals_to_refute, noticed, shown_safe
from analysis.slowness import ISTIO_EDGES, lognormal, shifted

SECONDS = 15.0
HORIZON = 7200.0
LATENCY = lognormal(ISTIO_EDGES, 0.060, 0.390)

Decided = Callable[[Verdict], bool]


@dataclass(frozen=True)
class Cell:
    """What is true, at which share of the canary and how many requests per second."""

    truth: Truth
    share: float
    rps: float

    def stretches(self) -> list[Stretch]:
        count = int(HORIZON / SECONDS)
        return [Stretch(self.share, count, self.rps * SECONDS, SECONDS, self.truth)]

    def __str__(self) -> str:
        truth = self.truth
        slow = "" if truth.canary_slower == truth.baseline_slower else " slower"
        return f"{truth.baseline:<7g}{truth.canary:<8.4g}{self.share:<5g}{self.rps:<6g}{slow}"


def play(cell: Cell, config: JudgeConfig, decided: Decided, rng: np.random.Generator) -> float | None:
    """Seconds until `decided`, None beyond the horizon."""
    judge = Judge(config)
    state = judge.start()
    for i in range(int(HORIZON / SECONDS)):
        canary, baseline = (
            _counts(rng, cell.rps * share, rate, slower)
            for share, rate, slower in (
                (cell.share, cell.truth.canary, cell.truth.canary_slower),
                (1 - cell.share, cell.truth.baseline, cell.truth.baseline_slower),
            )
        )
        edges = ISTIO_EDGES if cell.truth.baseline_slower else ()
        span = i * SECONDS, (i + 1) * SECONDS
        state = judge.update(state, Interval(*span, cell.share, {"c": canary}, {"b": baseline}, edges))
        if decided(judge.verdict(state)):
            return (i + 1) * SECONDS
    return None


def _counts(rng: np.random.Generator, rps: float, rate: float, slower: Sequence[float]) -> Counts:
    requests = int(rng.poisson(rps * SECONDS))
    errors = int(rng.binomial(requests, rate))
    if not slower:
        return Counts(requests, errors)
    shares = -np.diff(np.concatenate(([1.0], slower, [0.0])))
    return Counts(requests, errors, tuple(rng.multinomial(requests - errors, shares / shares.sum()).tolist()))


def mean_time(chance: NDArray[np.float64]) -> float:
    """Seconds, of what is decided within the horizon."""
    times = SECONDS * np.arange(1, len(chance) + 1)
    return float(np.diff(chance, prepend=0.0) @ times / chance[-1])


def alarmed(verdict: Verdict) -> bool:
    return verdict.decision in {"retreat", "rollback"}


def harm_cells() -> Iterator[Cell]:
    for base in (0.0005, 0.005, 0.05):
        for lift in (1.5, 2, 3, 5, 10):
            for share, rps in ((0.02, 300), (0.1, 100), (0.5, 60)):
                yield Cell(Truth(lift * base, base), share, rps)


def slow_cells() -> Iterator[Cell]:
    for shift in (1.2, 1.3, 1.5, 2.0):
        for share, rps in ((0.02, 100), (0.1, 30), (0.5, 15)):
            yield Cell(Truth(0.005, 0.005, shifted(ISTIO_EDGES, LATENCY, shift), LATENCY), share, rps)


def safe_cells() -> Iterator[Cell]:
    for base in (0.0002, 0.001, 0.005, 0.02, 0.1):
        for share, rps in ((0.05, 300), (0.25, 60), (0.5, 30), (0.5, 120)):
            yield Cell(Truth(base, base), share, rps)
            yield Cell(Truth(base, base, LATENCY, LATENCY), share, rps)


def excess_cells() -> Iterator[tuple[Cell, float]]:
    for base in (0.0005, 0.005, 0.05):
        for lift in (1, 2):
            for share, rps in ((0.01, 100), (0.1, 100), (0.25, 300)):
                for excess in (0.1, 0.03, 0.01, 0.003, 0.001):
                    yield Cell(Truth(lift * base, base), share, rps), excess


def report(
    cell: Cell,
    what: str,
    config: JudgeConfig,
    decided: Decided,
    foretold: Callable[[], float | None],
    constants: tuple[str, ...],
    runs: int,
    rng: np.random.Generator,
) -> None:
    """One line: observed, foretold, quotient, and by how many nats `constants` would have to move."""
    seconds = foretold()
    if seconds is None or not 45 < seconds < 0.3 * HORIZON:
        return
    seen = [found for _ in range(runs) if (found := play(cell, config, decided, rng)) is not None]
    if len(seen) < 0.95 * runs:
        return
    mean = float(np.mean(seen))
    error = 100 * float(np.std(seen)) / math.sqrt(len(seen)) / mean
    in_force = {name: getattr(expected, name) for name in constants}
    low, high = -6.0, 8.0
    for _ in range(20):
        middle = (low + high) / 2
        for name, value in in_force.items():
            setattr(expected, name, value + middle)
        moved = foretold()
        low, high = (middle, high) if moved is not None and moved < mean else (low, middle)
    for name, value in in_force.items():
        setattr(expected, name, value)
    print(
        f"{what:<7}{cell} judge {mean:7.0f} +-{error:3.0f} %  closed form {seconds:7.0f}  {seconds / mean:5.2f}"
        f"  nats {low:+5.2f}",
        flush=True,
    )


def chance_time(chance: Callable[[], NDArray[np.float64]]) -> float | None:
    found = chance()
    return mean_time(found) if found[-1] > 0.97 else None


def excess_time(cell: Cell, excess: float) -> float | None:
    found = intervals_to_refute(excess, cell.stretches())
    return None if not found else found * SECONDS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--runs", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--family", nargs="+", default=["harm", "slow", "safe", "excess"])
    args = parser.parse_args()
    rng = np.random.default_rng(args.seed)
    tell: dict[str, Any] = {"runs": args.runs, "rng": rng}
    judged, promoting = JudgeConfig(), JudgeConfig(min_judged=0.0)
    bare = JudgeConfig(latency_weight=0.0)
    for family, cells, constants in (
        ("harm", harm_cells(), ("RATIO_EXTRA", "DIFFERENCE_EXTRA")),
        ("slow", slow_cells(), ("SLOW_EXTRA",)),
    ):
        for cell in cells if family in args.family else ():
            chance = functools.partial(noticed, cell.stretches(), judged)
            report(cell, family, judged, alarmed, functools.partial(chance_time, chance), constants, **tell)
    for cell in safe_cells() if "safe" in args.family else ():

        def all_safe(cell: Cell = cell) -> NDArray[np.float64]:
            metrics = shown_safe(cell.stretches(), promoting, ISTIO_EDGES)
            return np.asarray(np.prod(list(metrics.values()), axis=0))

        found = functools.partial(chance_time, all_safe)
        what = "safe+l" if cell.truth.baseline_slower else "safe"
        report(cell, what, promoting, lambda v: v.decision == "promote", found, ("SAFE_EXTRA",), **tell)
    for cell, excess in excess_cells() if "excess" in args.family else ():
        time = functools.partial(excess_time, cell, excess)
        limit = functools.partial(lambda verdict, x: verdict.excess_rate_upper <= x, x=excess)
        report(cell, f"{excess:g}", bare, limit, time, ("EXCESS_EXTRA",), **tell)


if __name__ == "__main__":
    main()
