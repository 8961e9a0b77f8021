"""How often bursts make `analysis.bursts` condemn a harmless release, and how soon it condemns a bad one.

    python -m tests.bench.bursts [--runs 10000] [--seed 1] [--only null|power] [--cell TEXT]

Each pod's bursts begin at random moments, last 10 to 60 seconds and are not aligned with anything; burst_block is
60 seconds, alpha 1 %. Under `null` both arms are alike, or the canary is exactly as bad as is tolerated; printed
are the releases whose evidence ever reached 1/alpha within half an hour, with the upper 95 % Clopper-Pearson
limit. Under `power` the canary's odds are multiplied; printed are the median seconds and blocks until 1/alpha.
Every run is one proportion of the same Bursts: they are computed together.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from dataclasses import dataclass
from unittest import mock

import numpy as np
from numpy.typing import NDArray
from scipy.stats import beta

from analysis import bursts
from analysis.bursts import Bursts, Tolerated

ALPHA = 0.01
BLOCK = 60.0


@dataclass(frozen=True)
class Cell:
    """canary, baseline: pods; requests: per pod and minute in either arm; burst: mean seconds between a pod's
    bursts, shortest, longest, error rate within (None: no bursts); shocks: mean seconds between shocks of 2-10
    seconds that hit all pods; lag: pods are read up to an interval late; draining: one pod of each arm has a
    tenth of the requests; drift: the base rate swings by 80 %; onset: seconds until the canary's odds are lifted.
    """

    name: str
    canary: int
    baseline: int
    requests: tuple[float, float] = (500.0, 500.0)
    base: float = 0.005
    lift: float = 1.0
    burst: tuple[float, float, float, float] | None = (300.0, 10.0, 60.0, 0.3)
    shocks: float | None = None
    lag: bool = False
    draining: bool = False
    drift: bool = False
    onset: float = 0.0
    interval: float = 15.0
    seconds: float = 1800.0
    tolerated: tuple[float, float | None] = (1.0, None)


class Traffic:
    """Requests and bad events (pods, runs), interval by interval."""

    def __init__(self, cell: Cell, runs: int, rng: np.random.Generator) -> None:
        self.cell, self.runs, self.rng = cell, runs, rng
        self.pods = cell.canary + cell.baseline
        self.steps = int(cell.seconds / cell.interval)
        self.lags = rng.uniform(0, cell.interval if cell.lag else 0, (self.pods, runs))
        self.phase = rng.uniform(0, 1, runs)
        self.in_burst = np.zeros((self.steps, self.pods, runs), dtype=np.float32)
        if cell.burst:
            every, shortest, longest, _ = cell.burst
            for pod in range(self.pods):
                self._add(every, (shortest, longest), [pod])
        self.in_shock = np.zeros_like(self.in_burst) if cell.shocks else None
        if cell.shocks:
            self._add(cell.shocks, (2.0, 10.0), range(self.pods), shock=True)
        is_canary = np.arange(self.pods) < cell.canary
        self.mean = np.where(is_canary, *cell.requests) * cell.interval / 60
        if cell.draining:
            self.mean[0] /= 10 if cell.canary > 1 else 1
            self.mean[-1] /= 10
        self.is_canary = is_canary[:, None]

    def _add(
        self,
        every: float,
        lasting: tuple[float, float],
        pods: list[int] | range,
        *,
        shock: bool = False,
    ) -> None:
        """Add the share of each interval that lies within events that begin at random."""
        target = self.in_shock if shock else self.in_burst
        assert target is not None
        before = lasting[1] + self.cell.interval
        width = self.cell.interval
        counts = self.rng.poisson((self.cell.seconds + before) / every, self.runs)
        for k in range(int(counts.max())):
            (hit,) = np.nonzero(counts > k)
            start = self.rng.uniform(-before, self.cell.seconds, len(hit))
            length = self.rng.uniform(*lasting, len(hit))
            for pod in pods:
                begin = start + self.lags[pod, hit]
                first = np.floor(begin / width).astype(int)
                for step in range(int(lasting[1] / width) + 2):
                    at = first + step
                    inside = (at >= 0) & (at < self.steps)
                    share = np.minimum(begin + length, (at + 1) * width) - np.maximum(begin, at * width)
                    share = np.clip(share / width, 0, 1)[inside]
                    np.add.at(target, (at[inside], pod, hit[inside]), share)
        np.minimum(target, 1, out=target)

    def interval(self, step: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        cell, now = self.cell, step * self.cell.interval
        base = np.full(self.runs, cell.base)
        if cell.drift:
            base = cell.base * (1 + 0.8 * np.sin(2 * math.pi * (now / 1800 + self.phase)))
        odds = base / (1 - base)
        lifted = odds * (cell.lift if now >= cell.onset else 1.0)
        rate = np.where(self.is_canary, lifted / (1 + lifted), base)
        if self.in_shock is not None:
            rate = rate + self.in_shock[step] * np.maximum(0.2 - rate, 0)
        if cell.burst:
            rate = rate + self.in_burst[step] * np.maximum(cell.burst[3] - rate, 0)
        requests = self.rng.poisson(self.mean[:, None], (self.pods, self.runs))
        return requests, self.rng.binomial(requests, np.minimum(rate, 1.0))


def play(cell: Cell, runs: int, seed: int) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Per run: seconds until the evidence reached 1/alpha (infinite where it never did), and blocks until then."""
    traffic = Traffic(cell, runs, np.random.default_rng(seed))
    tolerated = tuple(Tolerated(str(run), *cell.tolerated) for run in range(runs))
    state, hit, blocks = Bursts(), np.full(runs, np.inf), np.zeros(runs, dtype=np.int64)
    for step in range(traffic.steps):
        requests, bad = (counts.tolist() for counts in traffic.interval(step))
        pods = {str(pod): (requests[pod], bad[pod]) for pod in range(traffic.pods)}
        end = (step + 1) * cell.interval
        state = state.after(
            {pod: pods[pod] for pod in list(pods)[: cell.canary]},
            {pod: pods[pod] for pod in list(pods)[cell.canary :]},
            start=step * cell.interval,
            end=end,
            weight=0.1,
            tolerated=tolerated,
            burst_block=BLOCK,
        )
        reached = np.array([track.evidence() for track in state.tracks]) >= 1 / ALPHA
        new = reached & np.isinf(hit)
        hit[new] = end
        blocks[new] = np.array([track.blocks for track in state.tracks])[new]
    return hit, blocks


OFTEN = (300.0, 10.0, 60.0, 0.3)
RARE = (1200.0, 10.0, 60.0, 0.3)
MILD = (300.0, 30.0, 60.0, 0.02)
DEAD = (600.0, 10.0, 60.0, 1.0)


def null_cells() -> list[Cell]:
    cells = [
        Cell("bursts often", canary, baseline, (requests, requests))
        for canary, baseline in ((1, 1), (1, 3), (1, 6), (2, 6))
        for requests in (50.0, 500.0, 5000.0)
    ]
    for canary, baseline in ((1, 1), (1, 6), (2, 6)):
        cells += [
            Cell("bursts rare", canary, baseline, burst=RARE),
            Cell("bursts mild", canary, baseline, burst=MILD, requests=(5000.0, 5000.0)),
            Cell("bursts total", canary, baseline, burst=DEAD),
            Cell("intervals of 10 s", canary, baseline, interval=10.0),
            Cell("no bursts", canary, baseline, burst=None),
            Cell("canary at 1 %", canary, baseline, (50.0, 5000.0)),
            Cell("shocks, read late", canary, baseline, shocks=120.0, lag=True, burst=None),
            Cell("bursts, shocks, read late", canary, baseline, shocks=120.0, lag=True),
            Cell("drift", canary, baseline, drift=True),
            Cell("draining", canary, baseline, draining=True),
            Cell("at ratio 1.25", canary, baseline, (5000.0, 5000.0), lift=1.25, tolerated=(1.25, None)),
            Cell("at ratio 1.25, half slow", canary, baseline, base=0.5, lift=1.25, tolerated=(1.25, None)),
            Cell("bursts of 60-120 s", canary, baseline, burst=(600.0, 60.0, 120.0, 0.3)),
        ]
    return cells


def power_cells() -> list[Cell]:
    return [
        Cell(
            name, canary, baseline, (requests, requests), lift=lift, burst=burst, seconds=3600.0, onset=onset,
            tolerated=(1.25, 0.0005),
        )
        for name, burst, onset in (("no bursts", None, 0.0), ("bursts rare", RARE, 0.0), ("late", None, 900.0))
        for canary, baseline in ((1, 1), (1, 6), (2, 6), (2, 3))
        for requests in (50.0, 500.0, 5000.0)
        for lift in (2.0, 5.0, 10.0)
    ]  # fmt: skip


def upper(hits: int, runs: int) -> float:
    return float(beta.ppf(0.975, hits + 1, runs - hits)) if hits < runs else 1.0


def line(cell: Cell, runs: int, seed: int) -> str:
    began = time.process_time()
    hit, blocks = play(cell, runs, seed)
    found = np.isfinite(hit)
    hits = int(found.sum())
    text = (
        f"{cell.name:<26} {cell.canary}+{cell.baseline} pods, {cell.requests[0]:>5g}/{cell.requests[1]:<5g} a minute"
        f"  lift {cell.lift:<4g} reached {hits / runs:.4f} (at most {upper(hits, runs):.4f})"
    )
    if cell.lift > 1 and hits > runs / 2:
        seconds = statistics.median(hit.tolist()) - cell.onset
        text += f"  median {seconds:.0f} s, {statistics.median(blocks[found].tolist()):.0f} blocks"
    return f"{text}  [{time.process_time() - began:.0f} s]"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", choices=("null", "power"))
    parser.add_argument("--cell", default="")
    args = parser.parse_args()
    # Runs share one Bursts here, so all their blocks may end at once.
    with mock.patch.object(bursts, "AT_ONCE", 10**9):
        for kind, cells in (("null", null_cells()), ("power", power_cells())):
            for cell in cells if args.only in {None, kind} else []:
                if args.cell in cell.name:
                    print(
                        line(cell, args.runs if kind == "null" else min(args.runs, 500), args.seed),
                        flush=True,
                    )


if __name__ == "__main__":
    main()
