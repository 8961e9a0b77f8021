"""Latency: only histogram buckets exist, so "slower than an edge" is the bad event.

Harm is the average of the e-processes of up to eight edges whose exceedance in the baseline lies between
0.2 and 95 %: valid whatever the dependence between edges. Safety is decided by one to three slow edges, each
of which must be shown to be safe. Edges are chosen once, from a past that is then not judged: a choice made
from the counts it is applied to would break the bound.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis.counts import Counts
from analysis.errors import EdgesDiffer, UnknownEdge
from analysis.harm import Harm
from analysis.judge_config import JudgeConfig
from analysis.proportion import Proportion, Recent, Table, Tolerance
from analysis.safety import Safety

_BASELINE_REQUESTS: Final = 200  # seen before edges are chosen
_MOST_EDGES: Final = 8
_EXCEEDANCE: Final = (0.002, 0.95)
_SLOW_BY_DEFAULT: Final = (
    0.5,
    0.05,
)  # the baseline's exceedance at the edges that decide safety unless named


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge that is judged: its index among the histogram's, whether it counts for harm, its evidence."""

    index: int
    for_harm: bool
    exceedance: Proportion

    @property
    def decides_safety(self) -> bool:
        """Whether it is one of the slow edges."""
        return self.exceedance.safety is not None


@dataclass(frozen=True, slots=True)
class Latency:
    """edges: the histogram's, seconds; past: the baseline's buckets until edges are chosen; judged: those."""

    edges: tuple[float, ...] = ()
    past: tuple[int, ...] = ()
    judged: tuple[Edge, ...] = ()

    def log_evidence(self) -> float:
        """log of the average e-value over the edges that count for harm; 0 before there are any."""
        logs = [edge.exceedance.harm.log_evidence() for edge in self.judged if edge.for_harm]
        return float(np.logaddexp.reduce(logs)) - math.log(len(logs)) if logs else 0.0

    def loudest(self) -> Edge | None:
        """The edge with the most evidence of harm, if any counts for harm."""
        candidates = [edge for edge in self.judged if edge.for_harm]
        return max(candidates, key=lambda edge: edge.exceedance.harm.log_evidence(), default=None)

    def slow(self) -> tuple[Edge, ...]:
        """The edges that decide safety."""
        return tuple(edge for edge in self.judged if edge.decides_safety)


def update(
    state: Latency,
    arms: tuple[Counts, Counts],
    edges: tuple[float, ...],
    *,
    seconds: float,
    stakes: tuple[float, float],
    config: JudgeConfig,
) -> Latency:
    """The state after one interval. arms: (canary, baseline); stakes: (an edge's first, any later one).

    Raises EdgesDiffer, UnknownEdge.
    """
    if not edges:
        return state
    if state.edges and edges != state.edges:
        raise EdgesDiffer("edges", edges, f"the edges that were judged before, {state.edges}")
    if not state.judged:
        _check_named(config.slow_edges, edges)
        return _learn(Latency(edges, state.past), arms[1], config)
    tolerance = Tolerance(
        config.slow_ratio, None, config.slow_safe_ratio, config.slow_safe_delta, config.burst_block
    )
    judged = tuple(
        Edge(
            edge.index,
            edge.for_harm,
            edge.exceedance.after(
                _exceeding(arms, edge.index),
                stake=stakes[0] if edge.exceedance.untouched else stakes[1],
                seconds=seconds,
                tolerance=tolerance,
            ),
        )
        for edge in state.judged
    )
    return Latency(state.edges, (), judged)


def _exceeding(arms: tuple[Counts, Counts], index: int) -> Table:
    canary, baseline = arms
    return Table(
        sum(canary.latency[index + 1 :]),
        sum(canary.latency),
        sum(baseline.latency[index + 1 :]),
        sum(baseline.latency),
    )


def _learn(state: Latency, baseline: Counts, config: JudgeConfig) -> Latency:
    """Until the baseline has shown enough, only its past grows; then edges are chosen from it."""
    past = tuple(a + b for a, b in itertools.zip_longest(state.past, baseline.latency, fillvalue=0))
    requests = sum(past)
    if requests < _BASELINE_REQUESTS:
        return Latency(state.edges, past)
    slower = [sum(past[i + 1 :]) for i in range(len(state.edges))]
    rates = [(x + 0.5) / (requests + 1) for x in slower]
    slow = _slow_indices(state.edges, rates, config.slow_edges)
    harmful = _harm_indices(slower, requests, rates, slow)
    judged = tuple(
        Edge(
            index,
            index in harmful,
            Proportion(
                recent=Recent(baseline_bad=slower[index], baseline_requests=requests),
                harm=Harm(),
                safety=Safety() if index in slow else None,
            ),
        )
        for index in sorted(slow | harmful)
    )
    return Latency(state.edges, (), judged)


def _slow_indices(edges: tuple[float, ...], rates: list[float], named: tuple[float, ...]) -> set[int]:
    """The named edges, or those whose exceedance is nearest (in odds) to the defaults."""
    if named:
        return {i for i, edge in enumerate(edges) if any(math.isclose(edge, n, rel_tol=1e-9) for n in named)}
    return {
        min(range(len(edges)), key=lambda i: abs(_logit(rates[i]) - _logit(wanted)))
        for wanted in _SLOW_BY_DEFAULT
    }


def _harm_indices(slower: list[int], requests: int, rates: list[float], slow: set[int]) -> set[int]:
    """Up to eight edges within range, spread evenly over the odds of exceedance; slow edges first."""
    low, high = _EXCEEDANCE
    usable = [i for i, x in enumerate(slower) if low <= x / requests <= high]
    if len(usable) <= _MOST_EDGES:
        return set(usable)
    chosen = [i for i in usable if i in slow]
    rest = [i for i in usable if i not in slow]
    while len(chosen) < _MOST_EDGES:  # farthest first
        best = max(
            rest, key=lambda i: min(abs(_logit(rates[i]) - _logit(rates[j])) for j in chosen or [rest[0]])
        )
        chosen.append(best)
        rest.remove(best)
    return set(chosen)


def _logit(p: float) -> float:
    return math.log(p / (1 - p))


def _check_named(named: tuple[float, ...], edges: tuple[float, ...]) -> None:
    for name in named:
        if not any(math.isclose(name, edge, rel_tol=1e-9) for edge in edges):
            raise UnknownEdge("slow_edges", name, f"an edge of the histogram, which has {edges}")
