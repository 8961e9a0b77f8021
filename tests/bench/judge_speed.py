"""How long one update of the judge takes, at any traffic; aim: under 1 ms on one core.

    python tests/bench/judge_speed.py

Milliseconds of processor time, the least of several rounds: with errors alone; with eight latency edges; with
those and the burst test over six pods in either arm; the verdict. Beside them the time of a round of a hundred small numpy
operations in the same process, so that figures of different machines, or of a busy one, can be compared; then the state's size.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable

import numpy as np

from analysis import Counts, Interval, Judge, JudgeConfig, JudgeState

EDGES = (0.0005, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
REQUESTS = (10, 300, 3000, 30_000, 100_000)  # an interval, both arms
INTERVALS = 100


def pod(n: int, rate: float, rng: np.random.Generator, *, latency: bool) -> Counts:
    errors = int(rng.binomial(n, rate))
    if not latency:
        return Counts(n, errors)
    buckets = np.searchsorted(EDGES, rng.lognormal(np.log(0.06), 1.2, n - errors))
    return Counts(n, errors, tuple(np.bincount(buckets, minlength=len(EDGES) + 1).tolist()))


def intervals(requests: int, weight: float, *, latency: bool, pods: int) -> list[Interval]:
    rng, found = np.random.default_rng(1), []
    for i in range(INTERVALS):
        canary = int(rng.binomial(requests, weight))
        arms = [
            {f"{arm}{j}": pod(n // pods, 0.01, rng, latency=latency) for j in range(pods)}
            for arm, n in (("c", canary), ("b", requests - canary))
        ]
        edges = EDGES if latency else ()
        found.append(Interval(10.0 * i, 10.0 * (i + 1), weight, arms[0], arms[1], edges))
    return found


def least(work: Callable[[], object], times: int) -> float:
    """Milliseconds of one of `times` that `work` does, the least of five rounds."""
    rounds = []
    for _ in range(5):
        start = time.process_time()
        work()
        rounds.append((time.process_time() - start) / times * 1000)
    return min(rounds)


def measure(config: JudgeConfig, seen: list[Interval]) -> tuple[float, float, JudgeState]:
    """Milliseconds per update and per verdict, and the state that came of it."""
    judge = Judge(config)
    state = judge.start()
    for interval in seen[:20]:
        state = judge.update(state, interval)

    def updates() -> JudgeState:
        after = state
        for interval in seen[20:]:
            after = judge.update(after, interval)
        return after

    update, after = least(updates, len(seen) - 20), updates()
    return update, least(lambda: [judge.verdict(after) for _ in range(50)], 50), after


def small_operations() -> None:
    rows = np.ones((9, 12))
    for _ in range(100):
        np.logaddexp(rows, 0.5)


def main() -> None:
    for requests in REQUESTS:
        alone, _, _ = measure(JudgeConfig(burst_block=0), intervals(requests, 0.1, latency=False, pods=1))
        edges, _, _ = measure(JudgeConfig(burst_block=0), intervals(requests, 0.1, latency=True, pods=1))
        whole, verdict, state = measure(JudgeConfig(), intervals(requests, 0.1, latency=True, pods=6))
        unit = least(small_operations, 1)
        size = len(json.dumps(state.to_json()))
        print(
            f"{requests:>7} requests: errors {alone:.2f} ms, with edges {edges:.2f} ms, with bursts {whole:.2f} ms, "
            f"verdict {verdict:.2f} ms; 100 small operations {unit:.2f} ms; state {size} bytes",
            flush=True,
        )


if __name__ == "__main__":
    main()
