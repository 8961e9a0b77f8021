"""All metrics together: weighted e-values for harm, every metric safe, who is guilty, what is missing."""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from analysis import confidence, safety
from analysis.alarm import log_bursts
from analysis.judge_config import LATENCY, JudgeConfig
from analysis.metrics import Metric, Metrics, metrics
from analysis.proportion import Proportions
from analysis.state import JudgeState
from analysis.verdict import MetricEvidence

Floats = NDArray[np.float64]

_LOG_CAP: Final = math.log(1e300)
_UNSEEN_WEIGHT: Final = (
    0.5  # the share that an estimate of missing requests assumes before any weight is known
)
_MOST_REQUESTS: Final = 10**12
_ROUNDING: Final = 1e-12
_SUSPICION: Final = math.log(2)  # log odds from which an edge accuses


@dataclass(frozen=True, slots=True)
class Harm:
    """The evidence of harm, tier A, in logs.

    decisive: each metric's e-value that is held against the threshold (boosted); odds: the same without
    boosting, which people may read as betting odds; rows: each row's, without boosting; total, total_odds: the
    weighted sums; refuted: the total reached 1/alpha; leading: the metric that contributes most.
    """

    decisive: tuple[float, ...]
    odds: tuple[float, ...]
    rows: Floats
    total: float
    total_odds: float
    refuted: bool
    leading: int


@dataclass(frozen=True, slots=True)
class Evidence:
    """metrics by name; harm: tier A; log_bursts: tier B; safe: every metric is; requests_needed: the largest of the metrics'
    (None: out of reach)."""

    metrics: Mapping[str, MetricEvidence]
    harm: Harm
    log_bursts: float
    safe: bool
    requests_needed: int | None


def e_value(log: float) -> float:
    """exp(log), capped so that JSON can carry it."""
    return math.exp(min(log, _LOG_CAP))


def all_metrics(state: JudgeState, config: JudgeConfig) -> Metrics:
    """The metrics of that state's run."""
    return metrics(config, state.absent, state.latency.judged)


def harm(state: JudgeState, config: JudgeConfig) -> Harm:
    """Tier A's evidence against "no metric is worse than it may be"."""
    known, rows = all_metrics(state, config), state.rows
    odds = rows.log_harm(known.layout)
    decisive = odds.copy()
    decisive[: len(rows.difference)] = rows.log_boosted(known.layout)
    logs = tuple(_averaged(decisive, metric.accusing) for metric in known.metrics)
    plain = tuple(_averaged(odds, metric.accusing) for metric in known.metrics)
    if config.slow_ratio == 1 and state.latency.tilts.scores:
        tilts = state.latency.tilts.log_value()
        logs, plain = _with_tilts(known, logs, tilts), _with_tilts(known, plain, tilts)
    total = _weighted(known, logs)
    parts = [math.log(metric.share) + log for metric, log in zip(known.metrics, logs, strict=True)]
    return Harm(
        logs,
        plain,
        odds,
        total,
        _weighted(known, plain),
        # Boosted wealth stops at its threshold, so that equality must be told from rounding.
        refuted=total >= -math.log(config.alpha) - _ROUNDING,
        leading=max(range(len(parts)), key=parts.__getitem__),
    )


def _with_tilts(known: Metrics, logs: tuple[float, ...], tilts: float) -> tuple[float, ...]:
    """Latency's evidence is half by edges, half by tilts."""
    return tuple(
        log_sum([log, tilts]) - math.log(2) if metric.name == LATENCY else log
        for metric, log in zip(known.metrics, logs, strict=True)
    )


def bursts(state: JudgeState, config: JudgeConfig) -> tuple[float, tuple[float, ...]]:
    """Tier B's evidence of harm, in logs: the sum by shares, and each metric's."""
    known = all_metrics(state, config)
    logs = log_bursts(state.bursts, known)
    return _weighted(known, logs), logs


def tempered(state: JudgeState, config: JudgeConfig) -> float:
    """Tier A's evidence of harm, tempered: log of the sum by shares."""
    known = all_metrics(state, config)
    rows = state.rows.log_tempered(known.layout)
    return _weighted(known, tuple(_averaged(rows, metric.accusing) for metric in known.metrics))


def _averaged(logs: Floats, rows: tuple[int, ...]) -> float:
    """log of the mean e-value of these rows; 0 before there are any."""
    if len(rows) == 1:
        return float(logs[rows[0]])
    return log_sum([float(logs[row]) for row in rows]) - math.log(len(rows)) if rows else 0.0


def _weighted(known: Metrics, logs: tuple[float, ...]) -> float:
    """log of the sum by shares. What is not measured yet has the e-value 1, as what nobody bets on has."""
    parts = [math.log(metric.share) + log for metric, log in zip(known.metrics, logs, strict=True)]
    return log_sum(parts)


def log_sum(logs: list[float]) -> float:
    """log of the sum of exponentials."""
    top = max(logs)
    return top + math.log(sum([math.exp(log - top) for log in logs]))


def weigh(state: JudgeState, config: JudgeConfig) -> Evidence:
    """What the state says about every metric that is judged."""
    known = all_metrics(state, config)
    against = harm(state, config)
    total_bursts, burst_logs = bursts(state, config)
    shown = {
        metric.name: _shown(metric, i, state, config, against, burst_logs)
        for i, metric in enumerate(known.metrics)
        if metric.name != LATENCY or state.latency.edges or config.slow_edges
    }
    needed = [metric.requests_needed for metric in shown.values()]
    return Evidence(
        shown,
        against,
        total_bursts,
        safe=all_safe(state, config),
        requests_needed=None if None in needed else max(n for n in needed if n is not None),
    )


def all_safe(state: JudgeState, config: JudgeConfig) -> bool:
    """Whether every metric is shown to be safe; latency that nobody measures or asks for is none."""
    return all(
        bool(metric.deciding) and _log_safe(metric, state.rows) >= -math.log(config.beta)
        for metric in all_metrics(state, config).metrics
        if metric.name != LATENCY or state.latency.edges or config.slow_edges
    )


def _log_safe(metric: Metric, rows: Proportions) -> float:
    """log of the least e-value for safety among the rows that decide it."""
    return min((float(rows.money[row, 2]) for row in metric.deciding), default=0.0)


def _row_to_show(metric: Metric, state: JudgeState, against: Harm) -> int | None:
    """The row that accuses, if one does; otherwise the one that is farthest from safe."""
    loudest = max(metric.accusing, key=lambda row: float(against.rows[row]), default=None)
    if loudest is not None and (metric.name != LATENCY or against.rows[loudest] > _SUSPICION):
        return loudest
    return min(metric.deciding, key=lambda row: float(state.rows.money[row, 2]), default=None)


def _shown(
    metric: Metric,
    place: int,
    state: JudgeState,
    config: JudgeConfig,
    against: Harm,
    burst_logs: tuple[float, ...],
) -> MetricEvidence:
    rows, row = state.rows, _row_to_show(metric, state, against)
    log_safe = _log_safe(metric, rows)
    safe = bool(metric.deciding) and log_safe >= -math.log(config.beta)
    tally = [0, 0, 0, 0] if row is None else [int(value) for value in rows.tally[row, :4]]
    ratio, ratio_limits, difference_limits = None, _NO_LIMITS, _NO_LIMITS
    if row is not None:
        layout = all_metrics(state, config).layout
        ratio = rows.odds_ratio(row)
        ratio_limits = confidence.odds_limits(layout.grid.log_odds[row], rows.odds[row])
        if row < len(rows.excess):
            difference_limits = confidence.excess_limits(rows.excess[row].reshape(2, -1))
    rates = _rate(tally[0], tally[1]), _rate(tally[2], tally[3])
    return MetricEvidence(
        name=metric.name,
        canary_requests=tally[1],
        canary_bad=tally[0],
        canary_rate=rates[0],
        baseline_requests=tally[3],
        baseline_bad=tally[2],
        baseline_rate=rates[1],
        ratio=ratio,
        ratio_low=ratio_limits[0],
        ratio_high=ratio_limits[1],
        ratio_confidence=confidence.LEVEL,
        evidence_harm=e_value(against.odds[place]),
        harm_threshold=1 / (config.alpha * metric.share),
        evidence_safe=e_value(log_safe),
        safe_threshold=1 / config.beta,
        safe=safe,
        guilty=against.refuted and _guilty(place, state, config, against),
        requests_needed=0 if safe else _missing(metric, state, config),
        edge=_edge(row, state),
        difference=None if None in rates else rates[0] - rates[1],  # type: ignore[operator]
        difference_low=difference_limits[0],
        difference_high=difference_limits[1],
        evidence_bursts=e_value(burst_logs[place]),
    )


_NO_LIMITS: Final[tuple[float | None, float | None]] = (None, None)


def _edge(row: int | None, state: JudgeState) -> float | None:
    """The edge (seconds) that a row is about, None for errors and custom metrics."""
    first = len(state.rows.difference)
    if row is None or row < first:
        return None
    return state.latency.edges[state.latency.judged[row - first].index]


def _rate(bad: int, requests: int) -> float | None:
    return bad / requests if requests else None


def _guilty(place: int, state: JudgeState, config: JudgeConfig, against: Harm) -> bool:
    """Closed testing: every set of metrics that contains this one is refuted by its weighted average e-value.

    The worst such set is the metric and all those with less evidence than the threshold.
    """
    limit = -math.log(config.alpha)
    known = all_metrics(state, config).metrics
    company = [i for i in range(len(known)) if i == place or against.decisive[i] < limit]
    logs = [math.log(known[i].share) + against.decisive[i] for i in company]
    return log_sum(logs) - math.log(sum(known[i].share for i in company)) >= limit - _ROUNDING


def _missing(metric: Metric, state: JudgeState, config: JudgeConfig) -> int | None:
    """Requests (both arms) until every deciding row is expected to be safe if the arms are alike."""
    weight = _UNSEEN_WEIGHT if state.weight < 0 else state.weight
    if not metric.deciding:
        each = [_missing_of(_UNSEEN, 0, weight, metric, config.beta)]
    else:
        each = [_missing_of(state.rows, row, weight, metric, config.beta) for row in metric.deciding]
    return None if None in each else max(n for n in each if n is not None)


_UNSEEN: Final = Proportions.start(1, 0)


def _missing_of(rows: Proportions, row: int, weight: float, metric: Metric, beta: float) -> int | None:
    gap = -math.log(beta) - float(rows.money[row, 2])
    if gap <= 0:
        return 0
    # The estimate is shown with two or three digits: neighbouring states share it.
    theta = float(f"{rows.baseline_rate(row):.3g}")
    growth, by_ratio = _growth(theta, weight, metric.safe_ratio, metric.safe_delta)
    if growth <= 0:
        return None
    half = rows.safety[row].reshape(2, -1)[0 if by_ratio else 1]
    return min(math.ceil((gap - safety.log_share_alike(half)) / growth), _MOST_REQUESTS)


@functools.lru_cache(maxsize=4096)
def _growth(theta: float, weight: float, safe_ratio: float, safe_delta: float) -> tuple[float, bool]:
    by_ratio = bool(safety.by_ratio(*(np.array(v) for v in (theta, safe_ratio, safe_delta))))
    return safety.growth_per_request(theta, weight, safe_ratio, safe_delta), by_ratio
