"""Protect, then condemn: alarms, what confirms them, what clears them, and what is certified."""

from __future__ import annotations

import itertools
import json
import math

import numpy as np
import pytest
from scipy.stats import binom

from analysis import Counts, Interval, Judge, JudgeConfig, JudgeState, Verdict, tempering
from analysis.alarm import MOST_CLEARED

BURSTS = JudgeConfig(min_judged=0, latency_weight=0, burst_block=60.0)


class Release:
    """Six canary pods, six of the baseline, intervals of 10 s."""

    def __init__(self, config: JudgeConfig = BURSTS, *, pods: bool = True, seed: int = 1) -> None:
        self.judge, self.state = Judge(config), Judge(config).start()
        self.rng, self.pods, self.now = np.random.default_rng(seed), pods, 0.0

    def step(self, *, canary: float = 0.01, baseline: float = 0.01, struck: float = 0.0) -> Verdict:
        """One interval; struck: the rate of one canary pod."""
        arms = []
        for rate, one in ((canary, struck), (baseline, 0.0)):
            names = [f"{i}" for i in range(6)]
            rates = [one or rate, *[rate] * 5]
            pods = {n: Counts(100, int(self.rng.binomial(100, r))) for n, r in zip(names, rates, strict=True)}
            total = Counts(600, sum(one.errors for one in pods.values()))
            arms.append(pods if self.pods else {"": total})
        interval = Interval(self.now, self.now + 10, 0.5, arms[0], arms[1])
        self.state = self.judge.update(self.state, interval)
        self.now += 10
        return self.judge.verdict(self.state)

    def until(self, decision: str, most: int, **rates: float) -> Verdict:
        for _ in range(most):
            verdict = self.step(**rates)
            if verdict.decision == decision:
                return verdict
        raise AssertionError(f"no {decision} within {most} intervals, but {verdict}")

    def verdict(self, *, deadline_passed: bool = False) -> Verdict:
        return self.judge.verdict(self.state, deadline_passed=deadline_passed)


def test_a_lasting_fault_is_an_alarm_and_then_proved() -> None:
    release = Release()
    alarm = release.until("retreat", 10, canary=0.05)
    assert alarm.reason == "ErrorRateAlarm"
    assert "may be a burst" in alarm.because
    assert alarm.certified
    assert alarm.evidence_bursts < alarm.harm_threshold <= alarm.evidence_harm * (1 + 1e-9)
    proof = release.until("rollback", 120, canary=0.05)
    assert proof.reason == "ErrorRateRegression"
    assert proof.evidence_bursts >= proof.harm_threshold
    assert "not certified" not in proof.because


def test_a_burst_in_one_pod_is_an_alarm_that_is_cleared_and_then_promoted() -> None:
    release = Release()
    for _ in range(3):
        release.step()
    release.until("retreat", 6, struck=0.6)
    seen = {release.step().decision for _ in range(150)}
    assert "rollback" not in seen
    assert release.state.alarm is None
    assert release.state.cleared == 1
    assert release.verdict().evidence_harm < 10
    assert release.until("promote", 400).decision == "promote"


def test_an_alarm_is_not_cleared_before_the_burst_test_had_its_chance() -> None:
    release = Release()
    release.until("retreat", 10, canary=0.05)
    alarm = release.state.alarm
    assert alarm is not None
    while release.state.alarm is not None:
        before = release.state
        release.step()
    assert before.alarm is not None
    assert release.state.bursts.tracks[0].potential >= alarm.potential > 0


def test_never_promoted_during_an_alarm_and_inconclusive_at_the_deadline() -> None:
    release = Release()
    for _ in range(200):
        release.step()
    assert release.verdict().decision == "promote"
    release.until("retreat", 10, canary=0.1)
    assert release.verdict(deadline_passed=True).decision == "inconclusive"
    assert release.verdict(deadline_passed=True).because.startswith("The deadline came first: errors:")


def test_the_last_of_many_alarms_stays() -> None:
    release = Release(seed=5)
    for cleared in range(MOST_CLEARED):
        release.until("retreat", 60, struck=0.6)
        for _ in range(200):
            if release.step().decision not in ("retreat", "rollback"):
                break
        assert release.state.cleared == cleared + 1
    release.until("retreat", 60, struck=0.6)
    assert {release.step().decision for _ in range(200)} == {"retreat"}


def test_independent_errors_need_no_second_proof() -> None:
    release = Release(JudgeConfig(min_judged=0, latency_weight=0, burst_block=0))
    verdict = release.until("rollback", 10, canary=0.05)
    assert not verdict.certified
    assert "not certified against bursts" in verdict.because
    assert release.state.alarm is None


def test_condemned_at_once_where_the_policy_says_so() -> None:
    config = JudgeConfig(min_judged=0, latency_weight=0, condemn_at_once=True)
    release = Release(config)
    release.until("rollback", 10, canary=0.1)
    assert release.state.bursts.log_evidence()["0"] < -math.log(config.alpha)
    slow = Release(JudgeConfig(min_judged=0, latency_weight=0))
    assert slow.until("retreat", 10, canary=0.1).decision == "retreat"


def test_unknown_pods_are_condemned_by_tempered_evidence() -> None:
    calm = Release(pods=False)
    verdict = calm.until("rollback", 20, canary=0.05)
    assert not verdict.certified
    assert "not certified against bursts" in verdict.because
    stormy = Release(pods=False)
    for _ in range(60):  # the errors of either arm come ten at a time
        stormy.step(canary=stormy.rng.choice([0.0, 0.02]), baseline=stormy.rng.choice([0.0, 0.02]))
    phi = float(tempering.dispersion(stormy.state.rows.tempering)[0])
    assert phi > 3


def test_tempering_is_fair() -> None:
    """A power below one of something fair is fair: all small tables, several pasts."""
    config = JudgeConfig(latency_weight=0, harm_delta=0.0)
    judge = Judge(config)
    starts = [judge.start()]
    for bad in (0, 5):
        pods = {"": Counts(6, bad)}, {"": Counts(6, 5 - bad)}
        starts.append(judge.update(starts[-1], Interval(len(starts), len(starts) + 1.0, 0.5, *pods)))
    assert max(float(tempering.dispersion(state.rows.tempering)[0]) for state in starts) > 1
    for state, n_c, n_b in itertools.product(starts, (1, 4, 6), (2, 6)):
        gains = {}
        for x_c, x_b in itertools.product(range(n_c + 1), range(n_b + 1)):
            pods = {"": Counts(n_c, x_c)}, {"": Counts(n_b, x_b)}
            after = judge.update(state, Interval(90, 91, 0.5, *pods))
            gains[x_c, x_b] = float(after.rows.tempering[0, 0] - state.rows.tempering[0, 0])
        for p_b in (0.01, 0.2, 0.5, 0.9):
            odds = config.harm_ratio * p_b / (1 - p_b)
            mean = sum(
                binom.pmf(x_c, n_c, odds / (1 + odds)) * binom.pmf(x_b, n_b, p_b) * math.exp(gain)
                for (x_c, x_b), gain in gains.items()
            )
            assert mean <= 1 + 1e-9


@pytest.mark.parametrize("intervals", [2, 7, 20])
def test_an_alarm_survives_a_restart(intervals: int) -> None:
    release = Release()
    for _ in range(intervals):
        release.step(canary=0.05)
    stored = json.loads(json.dumps(release.state.to_json()))
    assert JudgeState.from_json(stored) == release.state
    if intervals == 7:
        assert release.state.alarm is not None
