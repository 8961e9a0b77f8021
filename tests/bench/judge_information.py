"""How much information the judge needs to protect, beside the test that knows both rates.

    python tests/bench/judge_information.py [--reps 100] [--quick] [--json FILE]

Per cell: mean information (both arms' requests until the evidence of harm reached 1/alpha, times the divergence
per request from the nearest harmless pair of rates) over log(1/alpha), for the judge and for Wald's sequential
probability ratio test between the true pair and that harmless pair, at the same intervals of 10 s; then the
mean of canary failures beyond the baseline's rate over the least that any judge of level alpha needs.
"""

from __future__ import annotations

import argparse
import itertools
import json
import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from analysis import Counts, Interval, Judge, JudgeConfig
from analysis.projection import project

Floats = NDArray[np.float64]

SECONDS = 10.0
MOST_INTERVALS = 720
ALPHA = 0.01


@dataclass(frozen=True)
class Cell:
    base: float
    lift: float  # ratio of the rates
    weight: float
    rps: float
    tolerant: bool

    @property
    def rate(self) -> float:
        return self.base * self.lift

    @property
    def config(self) -> JudgeConfig:
        if self.tolerant:
            return JudgeConfig(alpha=ALPHA, burst_block=0)
        return JudgeConfig(alpha=ALPHA, burst_block=0, harm_ratio=1.0, harm_delta=0.0)

    def harmless(self) -> tuple[float, float, float]:
        """The nearest pair of rates that is no harm, and the divergence per request (of both arms)."""
        config, w = self.config, self.weight
        b = np.geomspace(self.base / 2, min(2 * self.rate, 0.5), 20001)
        by_odds = config.harm_ratio * b / (1 - b + config.harm_ratio * b)
        divergences = [w * kl(self.rate, by_odds) + (1 - w) * kl(self.base, b)]
        at = int(np.argmin(divergences[0]))
        pairs = [(float(by_odds[at]), float(b[at]), float(divergences[0][at]))]
        one = np.ones(1)
        c, near = project(w, 1 - w, self.rate * one, self.base * one, config.harm_delta * one)
        pairs.append(
            (float(c[0]), float(near[0]), float((w * kl(self.rate, c) + (1 - w) * kl(self.base, near))[0]))
        )
        return min(pairs, key=lambda pair: pair[2])

    def floor(self) -> float:
        """The least mean excess of failed requests (canary's share going to 0)."""
        config, p_b = self.config, self.base
        c = config.harm_ratio * p_b / (1 - p_b + config.harm_ratio * p_b)
        least = min(
            float(kl(self.rate, np.array(c))), float(kl(self.rate, np.array(p_b + config.harm_delta)))
        )
        return (self.rate - p_b) * -math.log(ALPHA) / least


def kl(p: float, q: Floats) -> Floats:
    return np.asarray(p * np.log(p / q) + (1 - p) * (math.log1p(-p) - np.log1p(-q)))


def run(cell: Cell, rng: np.random.Generator) -> tuple[float, float, float, bool]:
    """Requests until the judge, until the SPRT; excess failures until the judge; whether the judge found it."""
    c, b, _ = cell.harmless()
    gains = (
        math.log(cell.rate / c),
        math.log1p(-cell.rate) - math.log1p(-c),
        math.log(cell.base / b),
        math.log1p(-cell.base) - math.log1p(-b),
    )
    judge = Judge(cell.config)
    state, log_ratio, requests = judge.start(), 0.0, 0
    known = found = None
    excess, at_found = 0.0, 0.0
    for i in range(MOST_INTERVALS):
        n = int(rng.poisson(cell.rps * SECONDS))
        n_c = int(rng.binomial(n, cell.weight))
        x_c, x_b = int(rng.binomial(n_c, cell.rate)), int(rng.binomial(n - n_c, cell.base))
        requests += n
        excess += x_c - n_c * cell.base
        log_ratio += x_c * gains[0] + (n_c - x_c) * gains[1] + x_b * gains[2] + (n - n_c - x_b) * gains[3]
        if known is None and log_ratio >= -math.log(ALPHA):
            known = requests
        if found is None:
            counts = {"c": Counts(n_c, x_c)}, {"b": Counts(n - n_c, x_b)}
            state = judge.update(state, Interval(i * SECONDS, (i + 1) * SECONDS, cell.weight, *counts))
            if judge.decide(state) == "rollback":
                found, at_found = requests, excess
        if known is not None and found is not None:
            break
    return found or requests, known or requests, at_found if found else excess, found is not None


def cells(quick: bool) -> list[Cell]:
    lifts = (1.5, 2, 3, 5, 10)
    bases = (0.001, 0.005, 0.01, 0.05)
    weights, rates = ((0.1, 0.5), (300,)) if quick else ((0.01, 0.05, 0.25, 0.5), (30, 200, 1000))
    found = []
    for lift, base, weight, rps, tolerant in itertools.product(lifts, bases, weights, rates, (True, False)):
        cell = Cell(base, lift, weight, rps, tolerant)
        *_, least = cell.harmless()
        # Harmful beyond doubt, and with the traffic to show it in a fifth of the run.
        if least > 1e-9 and 5 * -math.log(ALPHA) / (least * rps * SECONDS) < MOST_INTERVALS / 2:
            found.append(cell)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reps", type=int, default=100)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    rows = []
    for i, cell in enumerate(cells(args.quick)):
        rng = np.random.default_rng([args.seed, i])
        runs = np.array([run(cell, rng) for _ in range(args.reps)], dtype=np.float64)
        *_, least = cell.harmless()
        ours, sprt = runs[:, :2].mean(axis=0) * least / -math.log(ALPHA)
        excess = runs[:, 2].mean() / cell.floor()
        limit, aim = max(1.35, 1.2 * sprt), max(1.25, 1.15 * sprt)
        mark = "  " if ours <= aim else "+ " if ours <= limit else "++"
        rows.append(
            {**cell.__dict__, "ours": ours, "sprt": sprt, "excess": excess, "found": runs[:, 3].mean()}
        )
        print(
            f"{mark} base {100 * cell.base:<4g}% lift {cell.lift:<4g} weight {cell.weight:<5g} {cell.rps:>5g}/s "
            f"{'tolerant' if cell.tolerant else 'strict  '} judge {ours:5.2f} SPRT {sprt:5.2f} "
            f"excess/floor {excess:5.2f} found {runs[:, 3].mean():.2f}",
            flush=True,
        )
    over = sum(row["ours"] > max(1.35, 1.2 * row["sprt"]) for row in rows)
    print(
        f"{len(rows)} cells, {over} beyond the limit; means: judge {np.mean([r['ours'] for r in rows]):.3f}, "
        f"SPRT {np.mean([r['sprt'] for r in rows]):.3f}, excess/floor {np.mean([r['excess'] for r in rows]):.3f}"
    )
    if args.json:
        args.json.write_text(json.dumps(rows, indent=1))


if __name__ == "__main__":
    main()
