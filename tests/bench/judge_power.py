"""What the judge does to releases on a ladder: false rollbacks, failed requests, time to promote.

    python tests/bench/judge_power.py [--reps 200] [--seed 1] [--rps 300] [--base 0.01]

A release climbs 1, 2, 5, 10, 25, 50 % with intervals of one second. It takes a step when the judged time of
the step is at least --step-min and (upper limit of the excess rate) x (canary requests of the next step in
--exposure seconds) is within the harm budget of ten failures. Printed per lift: how many were rolled back,
with Clopper-Pearson limits, canary failures beyond the baseline's rate until then, and the time to promote.
"""

from __future__ import annotations

import argparse
import statistics
from dataclasses import dataclass

import numpy as np
from scipy.stats import beta

from analysis import Counts, Interval, Judge, JudgeConfig

LADDER = (0.01, 0.02, 0.05, 0.10, 0.25, 0.50)
BUDGET = 10.0


@dataclass(frozen=True)
class Setting:
    rps: float
    base: float
    step_min: float
    exposure: float
    horizon: int


@dataclass(frozen=True)
class Outcome:
    decision: str
    seconds: float
    excess: float
    weight: float


def release(judge: Judge, lift: float, setting: Setting, rng: np.random.Generator) -> Outcome:
    state, step, since, excess = judge.start(), 0, 0, 0.0
    rate = lift * setting.base / (1 - setting.base + lift * setting.base)  # `lift` is a ratio of odds
    for second in range(setting.horizon):
        canary = int(rng.binomial(rng.poisson(setting.rps), LADDER[step]))
        baseline = int(rng.poisson(setting.rps * (1 - LADDER[step])))
        failed = int(rng.binomial(canary, rate))
        excess += failed - setting.base * canary
        arms = (
            {"c": Counts(canary, failed)},
            {"b": Counts(baseline, int(rng.binomial(baseline, setting.base)))},
        )
        state = judge.update(state, Interval(second, second + 1, LADDER[step], *arms))
        verdict = judge.verdict(state)
        if verdict.decision in {"rollback", "promote"}:
            return Outcome(verdict.decision, second + 1, excess, LADDER[step])
        if step + 1 < len(LADDER) and second - since >= setting.step_min:
            exposed = setting.rps * LADDER[step + 1] * setting.exposure
            if verdict.excess_at_risk * exposed <= BUDGET:
                step, since = step + 1, second
    return Outcome("continue", setting.horizon, excess, LADDER[step])


def clopper_pearson(x: int, n: int) -> tuple[float, float]:
    low = float(beta.ppf(0.025, x, n - x + 1)) if x else 0.0
    high = float(beta.ppf(0.975, x + 1, n - x)) if x < n else 1.0
    return low, high


def report(name: str, lift: float, outcomes: list[Outcome]) -> None:
    back = [o for o in outcomes if o.decision == "rollback"]
    promoted = sorted(o.seconds for o in outcomes if o.decision == "promote")
    low, high = clopper_pearson(len(back), len(outcomes))
    line = f"{name:<14} lift {lift:<4g} rolled back {len(back)}/{len(outcomes)} [{low:.4f}, {high:.4f}]"
    if back:
        line += (
            f"  excess failed mean {statistics.mean(o.excess for o in back):.1f}"
            f" median {statistics.median(o.excess for o in back):.1f}"
            f" max {max(o.excess for o in back):.0f}"
            f"  seconds median {statistics.median(o.seconds for o in back):.0f}"
            f" weight median {statistics.median(o.weight for o in back):g}"
        )
    if promoted:
        line += (
            f"  promoted {len(promoted)}, seconds median {statistics.median(promoted):.0f}"
            f" p95 {promoted[int(0.95 * (len(promoted) - 1))]:.0f}"
        )
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("--reps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rps", type=float, default=300)
    parser.add_argument("--base", type=float, default=0.01)
    parser.add_argument("--step-min", type=float, default=10)
    parser.add_argument("--exposure", type=float, default=4)
    parser.add_argument("--horizon", type=int, default=1200)
    parser.add_argument("--min-judged", type=float, default=0)
    parser.add_argument("--lifts", type=float, nargs="+", default=[1, 2, 5, 10])
    args = parser.parse_args()
    setting = Setting(args.rps, args.base, args.step_min, args.exposure, args.horizon)
    for safe_ratio, safe_delta in ((2.0, 0.005), (1.5, 0.001)):
        config = JudgeConfig(safe_ratio=safe_ratio, safe_delta=safe_delta, min_judged=args.min_judged)
        for lift in args.lifts:
            rng = np.random.default_rng([args.seed, round(1000 * lift)])
            outcomes = [release(Judge(config), lift, setting, rng) for _ in range(args.reps)]
            report(f"{safe_ratio:g}/{safe_delta:g}", lift, outcomes)


if __name__ == "__main__":
    main()
