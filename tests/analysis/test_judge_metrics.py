"""Metrics by name: custom proportions, values with a limit, quarantine that is counted."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest

from analysis import Arms, Counts, CustomMetric, Interval, Judge, JudgeConfig, JudgeState, Threshold, Verdict
from analysis.metrics import RESERVE, shares

CHECKOUT = CustomMetric("checkout", weight=0.2)
CONFIG = JudgeConfig(min_judged=0, burst_block=0, custom=(CHECKOUT,))


def judged(
    config: JudgeConfig, seconds: int, *, checkout: tuple[float, float] | None = (0.02, 0.02), seed: int = 1
) -> tuple[JudgeState, Verdict]:
    """Errors alike in both arms; `checkout`: its rates in canary and baseline, None: not measured."""
    rng, judge = np.random.default_rng(seed), Judge(config)
    state = judge.start()
    for i in range(seconds):
        pods = [{"p": Counts(150, int(rng.binomial(150, 0.01)))} for _ in range(2)]
        custom = {}
        if checkout is not None:
            arms = [{"p": Counts(150, int(rng.binomial(150, rate)))} for rate in checkout]
            custom["checkout"] = Arms(arms[0], arms[1])
        state = judge.update(state, Interval(i, i + 1, 0.5, pods[0], pods[1], custom=custom))
        if judge.decide(state) == "rollback":
            break
    return state, judge.verdict(state)


class TestCustom:
    def test_it_accuses_by_its_own_name(self) -> None:
        _, verdict = judged(CONFIG, 300, checkout=(0.08, 0.02))
        assert (verdict.decision, verdict.reason) == ("rollback", "MetricRegression")
        assert verdict.metrics["checkout"].guilty
        assert not verdict.metrics["errors"].guilty
        assert verdict.because.startswith("checkout: canary ")
        low = verdict.metrics["checkout"].difference_low
        assert low is not None
        assert 0 < low < 0.06 < (verdict.metrics["checkout"].difference_high or 1)

    def test_it_must_be_safe_too(self) -> None:
        state, verdict = judged(CONFIG, 300)
        assert verdict.decision == "promote"
        assert verdict.metrics["checkout"].safe
        assert JudgeState.from_json(json.loads(json.dumps(state.to_json()))) == state
        _, unseen = judged(CONFIG, 300, checkout=None)
        assert unseen.decision == "continue"
        assert unseen.metrics["errors"].safe
        assert not unseen.metrics["checkout"].safe

    def test_what_the_first_interval_does_not_bring_keeps_a_reserve(self) -> None:
        assert shares(CONFIG, ()) == pytest.approx({"errors": 0.5, "checkout": 0.2, "latency": 0.3})
        state, _ = judged(CONFIG, 1, checkout=None)
        assert set(state.absent) == {"checkout", "latency"}
        kept = shares(CONFIG, state.absent)
        assert kept == pytest.approx(
            {"errors": 1 - 0.5 * RESERVE, "checkout": 0.2 * RESERVE, "latency": 0.3 * RESERVE}
        )

    def test_a_state_of_another_configuration_is_told_by_its_rows(self) -> None:
        raw = Judge(CONFIG).start().to_json()
        assert len(JudgeState.from_json(raw).rows.difference) == 2


class TestThresholds:
    def decisions(self, values: list[float | None], **limits: object) -> list[str]:
        threshold = Threshold("queue", 100.0, **limits)  # type: ignore[arg-type]
        judge = Judge(JudgeConfig(thresholds=(threshold,)))
        state = judge.start()
        found: list[str] = []
        for i, value in enumerate(values):
            pods = {"p": Counts(10, 0)}
            state = judge.update(state, Interval(i, i + 1, 0.5, pods, pods, values={"queue": value}))
            state = JudgeState.from_json(json.loads(json.dumps(state.to_json())))
            found.append(judge.decide(state))
        self.verdict = judge.verdict(state)
        return found

    def test_so_many_in_a_row(self) -> None:
        found = self.decisions([101, 150, 100, 101, 102, 180])
        assert found == ["continue"] * 5 + ["rollback"]
        assert self.verdict.reason == "ThresholdExceeded"
        assert "queue: 180 is above its limit 100, in 3 intervals" in self.verdict.because
        assert "no error bound" in self.verdict.because
        assert self.verdict.evidence_harm < 2

    def test_no_value_is_no_evidence(self) -> None:
        assert "rollback" not in self.decisions([None, math.nan, None, math.nan])
        assert self.decisions([101, None, 101, math.nan, 101])[-1] == "rollback"

    def test_a_least_value(self) -> None:
        assert self.decisions([90, 80], at_most=False, failures=2)[-1] == "rollback"
        assert "rollback" not in self.decisions([110, 120, 1e9], at_most=False, failures=1)

    def test_infinity_is_beyond_any_limit(self) -> None:
        assert self.decisions([math.inf], failures=1) == ["rollback"]

    def test_what_was_exceeded_stays_so(self) -> None:
        assert self.decisions([101, 101, 101, 5, 5])[-1] == "rollback"


class TestQuarantine:
    def test_it_is_counted_by_reason(self) -> None:
        judge = Judge()
        state = judge.start()
        for reason in ("weight changed", "warm-up", "weight changed"):
            state = judge.skip(state, reason)
        assert judge.verdict(state).skipped == {"weight changed": 2, "warm-up": 1}
        assert JudgeState.from_json(json.loads(json.dumps(state.to_json()))) == state
        assert judge.verdict(state).to_json()["skipped"] == {"weight changed": 2, "warm-up": 1}

    def test_reasons_are_bounded(self) -> None:
        judge = Judge()
        state = judge.start()
        for i in range(100):
            state = judge.skip(state, f"reason {i}")
        assert len(state.skipped) == 16
        assert sum(one.intervals for one in state.skipped) == 100
