"""The plan's figures against the judge itself: releases and single steps that are played, seeded and few.

The closed forms are to be within a quarter of what is played; a mean over so few releases is itself known to some
eight percent, so that a third is what these tests allow. tests/bench/planner_constants.py plays more of them.
"""

from __future__ import annotations

import functools
from dataclasses import replace

import numpy as np
import pytest

from analysis import Counts, Interval, Judge, JudgeConfig
from analysis.expected import Stretch, Truth, intervals_to_refute, noticed, shown_safe
from analysis.plan import Ladder, Traffic
from analysis.planner import Planner
from analysis.simulation import Simulation, play, scenario_of, summarise
from analysis.slowness import ISTIO_EDGES, lognormal, shifted

CLOSE = 0.33
SECONDS = 15.0
LATENCY = lognormal(ISTIO_EDGES, 0.06, 0.4)
LADDER = Ladder(
    weights=(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
    last_judged=0.5,
    step_min=60.0,
    harm_budget=10.0,
    interval=SECONDS,
    shift=45.0,
    exposure=45.0,
)


def draw(rng: np.random.Generator, rps: float, rate: float, slower: tuple[float, ...]) -> Counts:
    requests = int(rng.poisson(rps * SECONDS))
    errors = int(rng.binomial(requests, rate))
    if not slower:
        return Counts(requests, errors)
    shares = -np.diff(np.concatenate(([1.0], slower, [0.0])))
    return Counts(requests, errors, tuple(rng.multinomial(requests - errors, shares).tolist()))


def played(
    truth: Truth, share: float, rps: float, config: JudgeConfig, decisions: set[str], runs: int = 60
) -> float:
    """The mean time, in seconds, until the judge decides."""
    rng, judge, times = np.random.default_rng(7), Judge(config), []
    edges = ISTIO_EDGES if truth.baseline_slower else ()
    for _ in range(runs):
        state, at, decision = judge.start(), 0.0, "continue"
        while decision not in decisions:
            arms = (
                {"c": draw(rng, rps * share, truth.canary, truth.canary_slower)},
                {"b": draw(rng, rps * (1 - share), truth.baseline, truth.baseline_slower)},
            )
            state = judge.update(state, Interval(at, at + SECONDS, share, *arms, edges))
            at += SECONDS
            decision = judge.verdict(state).decision
        times.append(at)
    return float(np.mean(times))


def foretold(chance: np.ndarray) -> float:
    times = SECONDS * np.arange(1, len(chance) + 1)
    return float(np.diff(chance, prepend=0.0) @ times / chance[-1])


def at_step(truth: Truth, share: float, rps: float) -> list[Stretch]:
    return [Stretch(share, 480, rps * SECONDS, SECONDS, truth)]


@pytest.mark.parametrize(
    ("base", "lift", "share", "rps"),
    [
        (0.01, 2.0, 0.5, 100),
        (0.01, 3.0, 0.1, 100),
        (0.01, 5.0, 0.05, 100),
        (0.001, 5.0, 0.5, 100),
        (0.001, 10.0, 0.05, 300),
        (0.05, 2.0, 0.1, 100),
        (0.01, 10.0, 0.5, 100),
    ],
)
def test_the_time_until_more_errors_are_noticed(base: float, lift: float, share: float, rps: float) -> None:
    truth, config = Truth(lift * base, base), JudgeConfig()
    seen = played(truth, share, rps, config, {"retreat", "rollback"})
    assert foretold(noticed(at_step(truth, share, rps), config)) == pytest.approx(seen, rel=CLOSE)


@pytest.mark.parametrize(("shift", "share", "rps"), [(1.3, 0.5, 30), (1.5, 0.1, 30), (2.0, 0.02, 100)])
def test_the_time_until_slowness_is_noticed(shift: float, share: float, rps: float) -> None:
    truth, config = Truth(0.002, 0.002, shifted(ISTIO_EDGES, LATENCY, shift), LATENCY), JudgeConfig()
    seen = played(truth, share, rps, config, {"retreat", "rollback"})
    assert foretold(noticed(at_step(truth, share, rps), config)) == pytest.approx(seen, rel=CLOSE)


@pytest.mark.parametrize(
    ("base", "share", "rps", "latency"),
    [(0.0002, 0.5, 60, False), (0.005, 0.5, 100, False), (0.02, 0.25, 60, True), (0.1, 0.5, 30, True)],
)
def test_the_time_until_a_release_is_shown_to_be_safe(
    base: float, share: float, rps: float, latency: bool
) -> None:
    slower = LATENCY if latency else ()
    truth, config = Truth(base, base, slower, slower), JudgeConfig(min_judged=0.0)
    seen = played(truth, share, rps, config, {"promote"})
    chances = shown_safe(at_step(truth, share, rps), config, ISTIO_EDGES)
    assert foretold(np.prod(list(chances.values()), axis=0)) == pytest.approx(seen, rel=CLOSE)


@pytest.mark.parametrize(
    ("base", "share", "rps", "excess"),
    [(0.005, 0.1, 100, 0.01), (0.01, 0.01, 100, 0.1), (0.01, 0.25, 100, 0.01)],
)
def test_the_time_until_a_larger_excess_is_refuted(
    base: float, share: float, rps: float, excess: float
) -> None:
    truth, config = Truth(base, base), JudgeConfig(latency_weight=0.0)
    rng, judge, times = np.random.default_rng(3), Judge(config), []
    for _ in range(60):
        state, at = judge.start(), 0.0
        while not at or judge.verdict(state).excess_rate_upper > excess:
            arms = {"c": draw(rng, rps * share, base, ())}, {"b": draw(rng, rps * (1 - share), base, ())}
            state = judge.update(state, Interval(at, at + SECONDS, share, *arms))
            at += SECONDS
        times.append(at)
    intervals = intervals_to_refute(excess, at_step(truth, share, rps))
    assert intervals is not None
    # One interval more or less is not seen: the closed form counts in whole ones.
    assert intervals * SECONDS == pytest.approx(float(np.mean(times)), rel=CLOSE, abs=SECONDS)


@functools.cache
def released(rps: float, base: float, lift: float) -> tuple[Simulation, Planner]:
    config = JudgeConfig()
    traffic = Traffic(rps, base, ISTIO_EDGES, LATENCY)
    scenario = replace(scenario_of(traffic, LADDER, config), lift=lift)
    return Simulation(scenario, config, LADDER, seed=11), Planner(config, LADDER, traffic)


@pytest.mark.parametrize(("rps", "base"), [(100.0, 0.01), (100.0, 0.001)])
def test_a_harmless_release_climbs_and_is_promoted_as_foretold(rps: float, base: float) -> None:
    simulation, planner = released(rps, base, 1.0)
    summary = summarise(simulation, [play(simulation, run) for run in range(15)])
    promotion = planner.promotion()[1]
    assert summary.ends["promoted"][0] == 15
    assert promotion.likely
    assert summary.to_promote is not None and promotion.seconds is not None
    watched = planner.plan().steps[-1].seconds
    assert watched is not None
    assert promotion.seconds - watched == pytest.approx(summary.to_promote.mean, rel=CLOSE)


@pytest.mark.parametrize(
    ("rps", "base", "lift"), [(100.0, 0.01, 3.0), (100.0, 0.01, 10.0), (300.0, 0.002, 5.0)]
)
def test_a_faulty_release_is_taken_back_as_foretold(rps: float, base: float, lift: float) -> None:
    simulation, planner = released(rps, base, lift)
    summary = summarise(simulation, [play(simulation, run) for run in range(25)])
    fault = planner.fault(lift * base, lift)
    assert summary.protected[0] == 25
    assert fault.chance > 0.95
    assert summary.to_protect is not None and fault.seconds is not None
    assert fault.seconds == pytest.approx(summary.to_protect.mean, rel=CLOSE)
    assert fault.failed == pytest.approx(summary.failed_before.mean, rel=CLOSE)
