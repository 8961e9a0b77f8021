"""One simulated release: at every interval it is told the canary's weight, and counts come back.

    release = Release(Scenario(base_rate=0.01, lift=2, rps=300), seed=1)
    while (tick := release.tick(weight=0.1)) is not None:
        if tick.judged:
            state = judge.update(state, tick.interval)

Requests arrive independently of each other (a Poisson process split by the weight and between an arm's pods), so
that the counts of an interval are Poisson, and its errors binomial or, with `icc`, beta-binomial. What the weight does
not change (bursts, shocks, the day, pods that come and go, lost scrapes) depends on the seed alone: every judge meets
the same.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.arena.environment import Environment
from analysis.arena.scenario import EDGES, Scenario
from analysis.counts import Counts, Interval

_CHUNK: Final = 8  # intervals that are drawn at once, as long as the weight stays


@dataclass(frozen=True, slots=True)
class Tick:
    """What one interval brought.

    end: seconds since the start; interval: the counts (None when every scrape failed: they come with the next);
    judged: False where the interval touches a change of the weight (with scrape offsets or a settle time): a
    judge that knows of quarantine leaves it out; canary_requests: all that the canary served; excess_failed: how
    many of them are expected to have failed because of the fault; rates: the true error rates of canary and
    baseline.
    """

    end: float
    interval: Interval | None
    judged: bool
    canary_requests: int
    excess_failed: float
    rates: tuple[float, float]


@dataclass(slots=True)
class _Chunk:
    """Counts of some intervals at one weight: rows of pods."""

    first: int
    requests: list[list[int]]
    errors: list[list[int]]
    latency: list[list[list[int]]] | None
    excess: list[float]


class Release:
    """A release under way. Deterministic: the same scenario, seed and weights give the same counts."""

    def __init__(self, scenario: Scenario, seed: int | Sequence[int]) -> None:
        surroundings, counts = np.random.SeedSequence(seed).spawn(2)
        self.scenario = scenario
        self._world = Environment(scenario, np.random.Generator(np.random.PCG64(surroundings)))
        self._rng = np.random.Generator(np.random.PCG64(counts))
        canary, baseline = self._world.arm_rates()
        self._rates = list(zip(canary.tolist(), baseline.tolist(), strict=True))
        self._names = [f"canary-{i}" for i in range(scenario.canary_pods)]
        self._names += [f"baseline-{i}" for i in range(scenario.baseline_pods)]
        self._lag = float(self._world.lag.max())
        self._index = 0
        self._weight = self._weight_before = 0.0
        self._changed = 0  # index of the interval with which the weight began
        self._start = 0.0  # of the next interval that is delivered
        self._carried: dict[int, tuple[int, Counts]] = {}  # by pod: unscraped since that interval, and what
        self._chunk: _Chunk | None = None

    def tick(self, weight: float) -> Tick | None:
        """The next interval with the canary's share at `weight` (0..1), or None when the deadline came."""
        if self._index >= self._world.count:
            return None
        if weight != self._weight:
            self._weight_before, self._weight = self._weight, weight
            self._changed, self._chunk = self._index, None
        chunk = self._chunk
        if chunk is None or self._index >= chunk.first + len(chunk.requests):
            chunk = self._chunk = self._draw()
        index, row = self._index, self._index - chunk.first
        self._index += 1
        pods = self._scraped(chunk, row)
        interval = None if pods is None else self._interval(pods)
        settled = self._changed * self.scenario.interval + self.scenario.settle + self._lag
        return Tick(
            end=self._index * self.scenario.interval,
            interval=interval,
            judged=interval is not None and interval.start >= settled,
            canary_requests=sum(chunk.requests[row][: self.scenario.canary_pods]),
            excess_failed=chunk.excess[row],
            rates=self._rates[index],
        )

    def excess_at_full_weight(self) -> float:
        """Requests expected to fail because of the fault if all traffic went to the canary until the deadline."""
        world, rest = self._world, slice(self._index, None)
        return float((world.rate[rest] * world.excess()[rest]).sum()) * self.scenario.interval

    def _draw(self) -> _Chunk:
        world, rng, first = self._world, self._rng, self._index
        rows = slice(first, min(first + _CHUNK, world.count))
        chance = world.failing[rows]
        requests = rng.poisson(self._means(rows))
        drawn = chance
        if self.scenario.icc:
            spread = (1 - self.scenario.icc) / self.scenario.icc
            drawn = rng.beta(chance * spread, (1 - chance) * spread)
        errors = rng.binomial(requests, drawn)
        latency = None
        if world.buckets is not None:
            laws = world.buckets if len(world.buckets) == 1 else world.buckets[rows]
            latency = rng.multinomial(requests - errors, laws).tolist()
        excess = (requests * (chance - world.unharmed[rows])).sum(axis=1)
        return _Chunk(first, requests.tolist(), errors.tolist(), latency, excess.tolist())

    def _means(self, rows: slice) -> NDArray[np.float64]:
        """Expected requests per interval and pod; the first interval may begin with the weight before."""
        world = self._world
        weight = np.full((rows.stop - rows.start, len(world.is_canary)), self._weight)
        if rows.start == self._changed:
            weight[0] += (self._weight_before - self._weight) * world.lag / self.scenario.interval
        arm = np.where(world.is_canary, weight, 1 - weight)
        return np.asarray(arm * world.share[rows] * (world.rate[rows, None] * self.scenario.interval))

    def _scraped(self, chunk: _Chunk, row: int) -> dict[int, Counts] | None:
        """What the scrapes at the end of an interval tell, by pod; None when all of them failed."""
        world, index, latency = self._world, chunk.first + row, chunk.latency
        served = {
            pod: Counts(requests, errors, tuple(latency[row][pod]) if latency else ())
            for pod, (requests, errors) in enumerate(zip(chunk.requests[row], chunk.errors[row], strict=True))
        }
        if self.scenario.late_pods:
            served = {pod: counts for pod, counts in served.items() if world.share[index, pod] > 0}
        if world.missed is None and world.reset is None:
            return served
        if world.missed is not None:
            served = self._carry(served, world.missed[index].tolist(), index)
            if not served and world.missed[index].all():
                return None
        lost = world.reset[index].tolist() if world.reset is not None else [False] * len(self._names)
        return {pod: counts for pod, counts in served.items() if not lost[pod]}

    def _carry(self, served: dict[int, Counts], missed: list[bool], index: int) -> dict[int, Counts]:
        """Pods that were scraped, with what they served since their last scrape: at one weight, or not at all."""
        told: dict[int, Counts] = {}
        for pod, counts in served.items():
            since, before = self._carried.pop(pod, (index, Counts(0, 0)))
            together = total((before, counts))
            if missed[pod]:
                self._carried[pod] = since, together
            elif since >= self._changed:
                told[pod] = together
        return told

    def _interval(self, pods: dict[int, Counts]) -> Interval:
        start, self._start = self._start, self._index * self.scenario.interval
        arms: tuple[dict[str, Counts], dict[str, Counts]] = ({}, {})
        for pod, counts in pods.items():
            arms[pod >= self.scenario.canary_pods][self._names[pod]] = counts
        if not self.scenario.pods_known:
            arms = ({"": total(arms[0].values())}, {"": total(arms[1].values())})
        edges = EDGES if self.scenario.latency else ()
        return Interval(start, self._start, self._weight, arms[0], arms[1], edges)


def total(counts: Iterable[Counts]) -> Counts:
    """The sum of counts; buckets are those of the counts that have any."""
    requests = errors = 0
    latency: tuple[int, ...] = ()
    for one in counts:
        requests += one.requests
        errors += one.errors
        latency = (
            tuple(map(operator.add, latency, one.latency))
            if latency and one.latency
            else latency or one.latency
        )
    return Counts(requests, errors, latency)
