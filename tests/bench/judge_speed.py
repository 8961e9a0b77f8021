"""How long one update of the judge takes (errors and eight latency edges); aim: under 1 ms on one core.

python tests/bench/judge_speed.py
"""

from __future__ import annotations

import json
import time

import numpy as np

from analysis import Counts, Interval, Judge, JudgeConfig, JudgeState

EDGES = (0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
CASES = {  # name -> requests an interval, weight, base error rate
    "300 rps, 1 s, 10 %": (300, 0.1, 0.01),
    "300 rps, 15 s, 50 %": (4500, 0.5, 0.01),
    "10 000 rps, 15 s, 10 %": (150_000, 0.1, 0.01),
    "10 000 rps, 15 s, 50 %, base 5 %": (150_000, 0.5, 0.05),
}


def pod(n: int, rate: float, rng: np.random.Generator) -> Counts:
    errors = int(rng.binomial(n, rate))
    latency = np.searchsorted(EDGES, rng.lognormal(np.log(0.06), 1.2, n - errors))
    return Counts(n, errors, tuple(np.bincount(latency, minlength=len(EDGES) + 1).tolist()))


def measure(requests: int, weight: float, rate: float) -> tuple[float, float, JudgeState]:
    """Milliseconds per update and per verdict, and the state that came of it."""
    rng, judge = np.random.default_rng(1), Judge(JudgeConfig())
    intervals = []
    for i in range(60):
        canary = int(rng.binomial(requests, weight))
        arms = {"c": pod(canary, rate, rng)}, {"b": pod(requests - canary, rate, rng)}
        intervals.append(Interval(i, i + 1, weight, *arms, EDGES))
    state = judge.start()
    for interval in intervals[:10]:
        state = judge.update(state, interval)
    start = time.process_time()
    for interval in intervals[10:]:
        state = judge.update(state, interval)
    updated = time.process_time()
    for _ in range(50):
        judge.verdict(state)
    return (updated - start) * 20, (time.process_time() - updated) * 20, state


def main() -> None:
    for name, case in CASES.items():
        update, verdict, state = measure(*case)
        edges, size = len(state.latency.judged), len(json.dumps(state.to_json()))
        print(f"{name:<34} update {update:.2f} ms, verdict {verdict:.2f} ms, {edges} edges, {size} bytes")


if __name__ == "__main__":
    main()
