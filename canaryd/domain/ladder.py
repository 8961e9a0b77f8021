"""Arithmetic of the ladder: which weight is next, and how many canary pods it takes."""

from __future__ import annotations

from analysis import Verdict
from canaryd.domain.model import Run
from canaryd.domain.world import World


def canary_size(weight: int, stable_now: int, stable_at_start: int) -> int:
    """Pods that carry `weight` percent of the traffic: at least 2 above 5 %, so that one bad pod can be told.

    >>> canary_size(1, 4, 4), canary_size(10, 4, 4), canary_size(100, 3, 4)
    (1, 2, 4)
    """
    least = 2 if weight > 5 else 1
    return max(least, -(-weight * max(stable_now, stable_at_start) // 100))


def stable_ready(run: Run, world: World) -> int:
    """Ready pods of the stable arm."""
    if run.carrier:
        return world.carrier.ready if world.carrier else 0
    stable = run.stable
    return sum(rs.ready for rs in world.replicasets if stable and rs.revision == stable.revision)


def next_traffic(world: World, weight: int) -> float:
    """Requests that the canary will get at `weight` before a bad reading could take them away again."""
    terms = world.terms
    return world.measured.request_rate * weight / 100 * (2 * terms.scrape + terms.settle)


def canary_requests(verdict: Verdict | None) -> int:
    """Requests of the canary that were judged so far."""
    metric = verdict.metrics.get("errors") if verdict else None
    return metric.canary_requests if metric else 0
