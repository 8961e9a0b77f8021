"""Which metrics there are, which rows of a state speak for them, and how the evidence is shared out."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Final

from analysis.judge_config import ERRORS, LATENCY, JudgeConfig
from analysis.latency import Edge
from analysis.proportion import Layout, Tolerance, layout

RESERVE: Final = 0.15  # what is left of the share of a metric that the first judged interval did not bring


@dataclass(frozen=True, slots=True)
class Metric:
    """accusing, deciding: the rows that speak of harm (averaged) and of safety (each must be safe)."""

    name: str
    share: float
    accusing: tuple[int, ...]
    deciding: tuple[int, ...]
    safe_ratio: float
    safe_delta: float


@dataclass(frozen=True, slots=True)
class Metrics:
    """All metrics, errors first; the layout of their rows."""

    metrics: tuple[Metric, ...]
    layout: Layout


def shares(config: JudgeConfig, absent: tuple[str, ...]) -> dict[str, float]:
    """Each metric's share of the evidence of harm, errors first; what is absent keeps a reserve only.

    absent: the metrics that the first judged interval did not bring. That they were not there says nothing of
    how they are, so that shares made of it are fair.
    """
    full = {one.name: one.weight for one in config.custom}
    if config.latency_weight > 0:
        full[LATENCY] = config.latency_weight
    kept = {name: share * (RESERVE if name in absent else 1.0) for name, share in full.items()}
    return {ERRORS: 1 - sum(kept.values()), **kept}


@functools.lru_cache(maxsize=256)
def metrics(config: JudgeConfig, absent: tuple[str, ...], edges: tuple[Edge, ...]) -> Metrics:
    """Of a run with that configuration; edges: the latency edges that are judged."""
    share = shares(config, absent)
    found = [Metric(ERRORS, share[ERRORS], (0,), (0,), config.safe_ratio, config.safe_delta)]
    tolerances = [_tolerance(config, share[ERRORS])]
    for row, one in enumerate(config.custom, start=1):
        found.append(Metric(one.name, share[one.name], (row,), (row,), one.safe_ratio, one.safe_delta))
        cap = -math.log(config.alpha * share[one.name])
        tolerances.append(Tolerance(one.harm_ratio, one.harm_delta, one.safe_ratio, one.safe_delta, cap))
    first = len(tolerances)
    if LATENCY in share:
        accusing = tuple(first + i for i, edge in enumerate(edges) if edge.for_harm)
        deciding = tuple(first + i for i, edge in enumerate(edges) if edge.decides)
        margins = config.slow_safe_ratio, config.slow_safe_delta
        found.append(Metric(LATENCY, share[LATENCY], accusing, deciding, *margins))
        tolerances += [Tolerance(config.slow_ratio, None, *margins, decides=edge.decides) for edge in edges]
    return Metrics(tuple(found), layout(tuple(tolerances)))


def _tolerance(config: JudgeConfig, share: float) -> Tolerance:
    cap = -math.log(config.alpha * share)
    return Tolerance(config.harm_ratio, config.harm_delta, config.safe_ratio, config.safe_delta, cap)
