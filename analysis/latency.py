"""Latency: only histogram buckets exist, so "slower than an edge" is the bad event.

Harm is the average of the e-processes of up to eight edges whose exceedance in the baseline lies between
0.2 and 95 %: valid whatever the dependence between edges. Safety is decided by one to three slow edges, each
of which must be shown to be safe. Edges are chosen once, from a past that is then not judged: a choice made
from the counts it is applied to would break the bound.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis.errors import EdgesDiffer, UnknownEdge
from analysis.tilts import Tilts, chosen

Floats = NDArray[np.float64]

_BASELINE_REQUESTS: Final = 200  # seen before edges are chosen
_MOST_EDGES: Final = 8
_EXCEEDANCE: Final = (0.002, 0.95)
# The baseline's exceedance at the edges that decide safety unless named.
_SLOW_BY_DEFAULT: Final = (0.5, 0.05)


@dataclass(frozen=True, slots=True)
class Edge:
    """One edge that is judged: its index among the histogram's, what it counts for."""

    index: int
    for_harm: bool
    decides: bool


@dataclass(frozen=True, slots=True)
class Latency:
    """edges: the histogram's, seconds; past: the baseline's buckets until edges are chosen; judged: those;
    tilts: evidence by all buckets together, which counts where no slowness is tolerated."""

    edges: tuple[float, ...] = ()
    past: tuple[int, ...] = ()
    judged: tuple[Edge, ...] = ()
    tilts: Tilts = field(default_factory=Tilts)

    def check(self, edges: tuple[float, ...], named: tuple[float, ...]) -> None:
        """Raises EdgesDiffer when `edges` are not those of before, UnknownEdge when a named one is no edge."""
        if self.edges and edges != self.edges:
            raise EdgesDiffer("edges", edges, f"the edges that were judged before, {self.edges}")
        if self.judged:
            return
        for name in named:
            if not any(math.isclose(name, edge, rel_tol=1e-9) for edge in edges):
                raise UnknownEdge("slow_edges", name, f"an edge of the histogram, which has {edges}")

    def learned(
        self, edges: tuple[float, ...], buckets: tuple[int, ...], named: tuple[float, ...], *, tilting: bool
    ) -> tuple[Latency, Floats]:
        """With one more interval's `buckets` of the baseline, and for each edge chosen now, what is known of it.

        Until the baseline has shown enough, only its past grows; then edges are chosen from it, and the past of
        their exceedance is returned, shape (chosen, 4) as Proportions.recent; tilting: scores as well.
        """
        past = tuple(a + b for a, b in itertools.zip_longest(self.past, buckets, fillvalue=0))
        requests = sum(past)
        if requests < _BASELINE_REQUESTS:
            return Latency(edges, past), np.zeros((0, 4))
        slower = [sum(past[i + 1 :]) for i in range(len(edges))]
        rates = [(x + 0.5) / (requests + 1) for x in slower]
        slow = _slow_indices(edges, rates, named)
        harmful = _harm_indices(slower, requests, rates, slow)
        judged = tuple(Edge(i, i in harmful, i in slow) for i in sorted(slow | harmful))
        recent = np.array([[0.0, 0.0, slower[edge.index], requests] for edge in judged])
        return Latency(edges, (), judged, chosen(past) if tilting else Tilts()), recent

    def slower(self, buckets: tuple[int, ...]) -> list[int]:
        """How many requests are slower than each judged edge; zeros without a histogram."""
        if not buckets:
            return [0] * len(self.judged)
        above = list(itertools.accumulate(reversed(buckets)))
        return [above[len(self.edges) - 1 - edge.index] for edge in self.judged]

    def cells(self, canary: tuple[int, ...], baseline: tuple[int, ...]) -> list[tuple[int, int, int, int]]:
        """Bad events and requests of both arms at every judged edge, from their buckets (none: zeros)."""
        n_c, n_b = sum(canary), sum(baseline)
        pairs = zip(self.slower(canary), self.slower(baseline), strict=True)
        return [(x_c, n_c, x_b, n_b) for x_c, x_b in pairs]


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
