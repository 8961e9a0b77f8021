"""Protect, then condemn: what the judge does between the first evidence of harm and proof against bursts.

Tier A's evidence of 1/alpha raises an alarm: `retreat`. It is confirmed (`rollback`) when tier B's evidence is
there as well; cleared when all that was seen since is 1/beta times likelier under the edge of harm than under
the odds that were seen at the alarm, and tier B has compared as many blocks since as would have condemned had
the fault gone on. Then tier A starts afresh. After the third time an alarm stays: the deadline ends the run.

Where pods are unknown there are no blocks; then tempered evidence condemns (tempering.py), and nothing is
certified against bursts.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from analysis.bursts import Bursts, Tolerated
from analysis.counts import Counts, Interval
from analysis.judge_config import ERRORS, JudgeConfig
from analysis.latency import Latency
from analysis.metrics import Metric, Metrics
from analysis.proportion import Proportions

MOST_CLEARED: Final = 3

PodCounts = tuple[list[int], list[int]]


@dataclass(frozen=True, slots=True)
class Alarm:
    """metric: the one that leads; row: its row that accuses; column: the odds seen there (of Proportions.odds);
    log_milder: how much likelier the edge of harm was then than these odds; log_evidence: tier A's total;
    potential: what tier B's track of the row must have grown to before the alarm can be cleared.
    """

    metric: str
    row: int
    column: int
    log_milder: float
    log_evidence: float
    potential: float


def raised(
    metric: Metric, row: int, log_evidence: float, rows: Proportions, bursts: Bursts, config: JudgeConfig
) -> Alarm:
    """An alarm of that metric, whose row accuses."""
    column = rows.lifted(row)
    needed = 0.0
    for track in bursts.tracks:
        if track.name == track_name(row):
            needed = track.potential_needed(-math.log(config.alpha * metric.share))
    milder = rows.log_milder(row, column)
    return Alarm(metric.name, row, column, milder, log_evidence, needed)


def is_cleared(alarm: Alarm, rows: Proportions, bursts: Bursts, config: JudgeConfig) -> bool:
    """Whether what was seen since speaks against it, and tier B had its chance."""
    since = rows.log_milder(alarm.row, alarm.column) - alarm.log_milder
    if since < -math.log(config.beta):
        return False
    tracks = [track for track in bursts.tracks if track.name == track_name(alarm.row)]
    return not bursts.pods_known or all(track.potential >= alarm.potential for track in tracks)


def track_name(row: int) -> str:
    """The name of a row's track in tier B."""
    return str(row)


def log_bursts(bursts: Bursts, known: Metrics) -> tuple[float, ...]:
    """log of each metric's e-value, tier B: the mean over the rows that accuse; 0 without blocks."""
    logs = bursts.log_evidence()
    return tuple(
        math.log(
            sum(math.exp(logs.get(track_name(row), 0.0)) for row in metric.accusing) / len(metric.accusing)
        )
        if metric.accusing
        else 0.0
        for metric in known.metrics
    )


def blocks_after(
    bursts: Bursts, interval: Interval, latency: Latency, known: Metrics, config: JudgeConfig
) -> Bursts:
    """Tier B after one interval. latency: the edges that were judged before it."""
    canary = _by_pod(interval, latency, config, canary=True)
    baseline = _by_pod(interval, latency, config, canary=False)
    rows = [row for metric in known.metrics for row in metric.accusing]
    tolerances = known.layout.tolerances
    # Without a difference that is tolerated the ratio alone decides.
    tolerated = [
        Tolerated(track_name(row), tolerances[row].harm_ratio, tolerances[row].harm_delta or None)
        for row in rows
    ]
    kept = {row: place for place, row in enumerate(rows)}
    return bursts.after(
        {pod: _kept(counts, kept) for pod, counts in canary.items()},
        {pod: _kept(counts, kept) for pod, counts in baseline.items()},
        start=interval.start,
        end=interval.end,
        weight=interval.weight,
        tolerated=tolerated,
        burst_block=config.burst_block,
    )


def _kept(counts: PodCounts, rows: Mapping[int, int]) -> PodCounts:
    return [counts[0][row] for row in rows], [counts[1][row] for row in rows]


def _by_pod(
    interval: Interval, latency: Latency, config: JudgeConfig, *, canary: bool
) -> dict[str, PodCounts]:
    """Requests and bad events of every row, by pod. A custom metric whose pods are unknown counts nothing."""
    pods: dict[str, PodCounts] = {}
    names = [ERRORS, *(one.name for one in config.custom)]
    for place, name in enumerate(names):
        if name == ERRORS:
            counts: Mapping[str, Counts] = interval.canary if canary else interval.baseline
        elif name in interval.custom:
            arms = interval.custom[name]
            counts = arms.canary if canary else arms.baseline
            if "" in counts:
                continue
        else:
            continue
        for pod, one in counts.items():
            requests, bad = pods.setdefault(pod, ([0] * len(names), [0] * len(names)))
            requests[place], bad[place] = one.requests, one.errors
    if not latency.judged:
        return pods
    histograms = interval.canary if canary else interval.baseline
    for pod, (requests, bad) in pods.items():
        buckets = histograms[pod].latency if pod in histograms else ()
        slower = latency.slower(buckets)
        requests.extend([sum(buckets)] * len(slower))
        bad.extend(slower)
    return pods
