"""A policy played against a chosen fault, many times: what becomes of releases, with exact limits.

Traffic and faults are the arena's (arena/scenario.py); the judge and its ladder are those of the policy.
"""

from __future__ import annotations

import math
import multiprocessing
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

import numpy as np

from analysis.arena.canaryd import Canaryd
from analysis.arena.cells import clopper_pearson
from analysis.arena.scenario import Scenario
from analysis.arena.tournament import leave_interrupts_to_the_parent, one_thread_each
from analysis.arena.traffic import Release
from analysis.judge import Judge
from analysis.judge_config import JudgeConfig
from analysis.plan import Ladder, Traffic
from analysis.replay import Header, Record, Recording
from analysis.slowness import P99, quantile

End = Literal["rolled back", "retreated", "promoted", "inconclusive"]
ENDS: Final[tuple[End, ...]] = get_args(End)

_BATCH: Final = 10  # releases that a worker plays at a time


@dataclass(frozen=True, slots=True)
class Simulation:
    """What is played: releases of `scenario`, judged by `config`, climbing `ladder`; `seed` makes it repeatable."""

    scenario: Scenario
    config: JudgeConfig
    ladder: Ladder
    seed: int

    @property
    def climbed(self) -> Ladder:
        """The ladder with times as the arena counts them: a step's least time begins with its weight."""
        return replace(self.ladder, step_min=self.ladder.step_min + self.scenario.settle)

    def release(self, run: int) -> Release:
        """The run-th release; the same for every policy."""
        return Release(self.scenario, (self.seed, run))


@dataclass(frozen=True, slots=True)
class Played:
    """How one release ended. Seconds from its first weight on.

    end: "retreated" where an alarm stood when the deadline came, "inconclusive" where none did; ended: when;
    protected: when the canary was first taken back to the lowest step or out, after the fault began; failed:
    requests expected to have failed because of the fault until the end; failed_before: until it was taken back.
    """

    end: End
    ended: float
    protected: float | None
    failed: float
    failed_before: float


@dataclass(frozen=True, slots=True)
class Quantiles:
    """Of those that have one, in the mean, at the median and at 95 %."""

    mean: float
    median: float
    p95: float


@dataclass(frozen=True, slots=True)
class Summary:
    """ends: how many, and their share with exact 95 % limits; protected: the same of releases that were ever taken
    back; failed, failed_before: over all releases; to_protect: seconds from the onset of the fault, to_promote: from the first
    weight, each over the releases that got there, None where none did."""

    releases: int
    ends: dict[End, tuple[int, list[float]]]
    protected: tuple[int, list[float]]
    failed: Quantiles
    failed_before: Quantiles
    to_protect: Quantiles | None
    to_promote: Quantiles | None


def scenario_of(traffic: Traffic, ladder: Ladder, config: JudgeConfig) -> Scenario:
    """A harmless release of this traffic; its latencies, where they are known, become lognormal."""
    scenario = Scenario(
        base_rate=traffic.error_rate,
        rps=traffic.rps,
        interval=ladder.interval,
        settle=ladder.shift,
        deadline=config.horizon - ladder.before,
    )
    median, slowest = (quantile(traffic.edges, traffic.slower, share) for share in (0.5, 0.01))
    if median is None or slowest is None:
        return scenario
    sigma = math.log(slowest / median) / P99
    return replace(scenario, latency=True, latency_median=median, latency_sigma=sigma)


def play(simulation: Simulation, run: int) -> Played:
    """The run-th release. Deterministic."""
    scenario, release = simulation.scenario, simulation.release(run)
    contender = Canaryd(simulation.config, simulation.climbed)
    failed, before, protected = 0.0, None, None
    end: End = "inconclusive"
    while (tick := release.tick(contender.weight)) is not None:
        failed += tick.excess_failed
        decision = contender.look(tick)
        if decision in ("retreat", "rollback") and protected is None and tick.end > scenario.onset:
            protected, before = tick.end, failed
        end = "retreated" if decision == "retreat" else "inconclusive"
        if decision in ("rollback", "promote"):
            end = "rolled back" if decision == "rollback" else "promoted"
            break
    ended = scenario.deadline if tick is None else tick.end
    return Played(end, ended, protected, failed, failed if before is None else before)


def play_all(simulation: Simulation, runs: int, workers: int) -> Iterator[list[Played]]:
    """Releases 0 up to `runs`, in batches as they come, from so many processes."""
    batches = [range(first, min(first + _BATCH, runs)) for first in range(0, runs, _BATCH)]
    if workers == 1:
        yield from (_play_batch(simulation, batch) for batch in batches)
        return
    spawned = ProcessPoolExecutor(
        workers, multiprocessing.get_context("spawn"), initializer=leave_interrupts_to_the_parent
    )
    with one_thread_each(), spawned as pool:
        futures = [pool.submit(_play_batch, simulation, batch) for batch in batches]
        try:
            yield from (future.result() for future in as_completed(futures))
        finally:
            pool.shutdown(cancel_futures=True)


def summarise(simulation: Simulation, played: Sequence[Played]) -> Summary:
    """What became of them; `played` has at least one."""
    counted, onset = Counter(one.end for one in played), simulation.scenario.onset
    protected = [one.protected - onset for one in played if one.protected is not None]
    failed, before = (
        _quantiles(values) for values in zip(*((p.failed, p.failed_before) for p in played), strict=True)
    )
    assert failed is not None and before is not None
    return Summary(
        len(played),
        {end: (counted[end], clopper_pearson(counted[end], len(played))) for end in ENDS},
        (len(protected), clopper_pearson(len(protected), len(played))),
        failed,
        before,
        _quantiles(protected),
        _quantiles([one.ended for one in played if one.end == "promoted"]),
    )


def record(simulation: Simulation, run: int, name: str, policy: str) -> Recording:
    """The run-th release as a recording, with the judge's decisions."""
    release, judge = simulation.release(run), Judge(simulation.config)
    contender, state = Canaryd(simulation.config, simulation.climbed), judge.start()
    records: list[Record] = []
    while (tick := release.tick(contender.weight)) is not None:
        done = contender.look(tick) in ("rollback", "promote")
        if tick.interval is not None and tick.judged:
            state = judge.update(state, tick.interval)
            records.append(Record(tick.interval, decision=judge.verdict(state).decision))
        elif tick.interval is not None:
            records.append(Record(tick.interval, "WeightChange", "the weight has not settled"))
        if done:
            break
    return Recording(Header(name, simulation.config, policy), tuple(records))


def _play_batch(simulation: Simulation, runs: range) -> list[Played]:
    return [play(simulation, run) for run in runs]


def _quantiles(values: Sequence[float]) -> Quantiles | None:
    if not values:
        return None
    median, p95 = np.quantile(values, [0.5, 0.95])
    return Quantiles(float(np.mean(values)), float(median), float(p95))
