"""All metrics together: weighted e-values for harm, every metric safe, who is guilty, what is missing."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

import numpy as np

from analysis import safety
from analysis.confidence import LEVEL
from analysis.judge_config import JudgeConfig
from analysis.latency import Edge, Latency
from analysis.proportion import Proportion
from analysis.state import ERRORS, LATENCY, JudgeState
from analysis.verdict import MetricEvidence

_LOG_CAP: Final = math.log(1e300)
_UNSEEN_WEIGHT: Final = (
    0.5  # the share that an estimate of missing requests assumes before any weight is known
)
_MOST_REQUESTS: Final = 10**12
_ROUNDING: Final = 1e-12


@dataclass(frozen=True, slots=True)
class Evidence:
    """metrics by name; harm: the weighted sum of e-values that is held against the threshold (errors boosted,
    boosting.py), refuted: it is there, log_odds: log of the same sum without boosting; leading: the metric that contributes most;
    safe: every metric is; requests_needed: the largest of the metrics' (None: out of reach)."""

    metrics: Mapping[str, MetricEvidence]
    log_harm: float
    refuted: bool
    log_odds: float
    leading: str
    safe: bool
    requests_needed: int | None

    @property
    def harm(self) -> float:
        """The weighted sum, capped at 1e300."""
        return e_value(self.log_harm)


@dataclass(frozen=True, slots=True)
class _Metric:
    """One metric's evidence in logs, and the proportions to show and to wait for."""

    name: str
    share: float
    log_harm: float  # what is held against the threshold
    log_odds: float  # what people read as betting odds: without boosting
    shown: Proportion
    edge: float | None
    deciding: tuple[Proportion, ...]  # empty: safety cannot be shown yet
    margins: tuple[float, float]

    @property
    def log_safe(self) -> float:
        """log of the least e-value for safety among the proportions that decide it."""
        return min((p.safety.log_wealth for p in self.deciding if p.safety), default=0.0)


def e_value(log: float) -> float:
    """exp(log), capped so that JSON can carry it."""
    return math.exp(min(log, _LOG_CAP))


def weigh(state: JudgeState, config: JudgeConfig) -> Evidence:
    """What the state says about every metric that is judged."""
    metrics = [_errors(state, config)]
    if config.latency_weight > 0 and (state.latency.edges or config.slow_edges):
        metrics.append(_latency(state.latency, config))
    # The share of a metric that is not measured stays cash: it neither accuses nor acquits.
    unused = 1 - sum(metric.share for metric in metrics)
    cash = [math.log(unused)] if unused > _ROUNDING else []
    logs = [math.log(metric.share) + metric.log_harm for metric in metrics]
    odds = [math.log(metric.share) + metric.log_odds for metric in metrics]
    log_harm = float(np.logaddexp.reduce(logs + cash))
    # Boosted wealth stops at its threshold, so that equality must be told from rounding.
    refuted = log_harm >= -math.log(config.alpha) - _ROUNDING
    shown = {
        m.name: _shown(m, state, config, guilty=refuted and _guilty(m, metrics, config)) for m in metrics
    }
    needed = [metric.requests_needed for metric in shown.values()]
    return Evidence(
        shown,
        log_harm,
        refuted,
        float(np.logaddexp.reduce(odds + cash)),
        leading=metrics[int(np.argmax(logs))].name,
        safe=all(metric.safe for metric in shown.values()),
        requests_needed=None if None in needed else max(n for n in needed if n is not None),
    )


def _errors(state: JudgeState, config: JudgeConfig) -> _Metric:
    return _Metric(
        ERRORS,
        1 - config.latency_weight,
        state.errors.harm.log_decisive(),
        state.errors.harm.log_evidence(),
        state.errors,
        None,
        (state.errors,),
        (config.safe_ratio, config.safe_delta),
    )


def _latency(latency: Latency, config: JudgeConfig) -> _Metric:
    slow = latency.slow()
    edge = _edge_to_show(latency)
    return _Metric(
        LATENCY,
        config.latency_weight,
        latency.log_evidence(),
        latency.log_evidence(),
        edge.exceedance if edge else Proportion(),
        latency.edges[edge.index] if edge else None,
        tuple(each.exceedance for each in slow),
        (config.slow_safe_ratio, config.slow_safe_delta),
    )


def _edge_to_show(latency: Latency) -> Edge | None:
    """The edge that accuses, if one does; otherwise the slow edge that is farthest from safe."""
    loudest = latency.loudest()
    if loudest is not None and loudest.exceedance.harm.log_evidence() > math.log(2):
        return loudest
    return min(latency.slow(), key=_log_safety, default=None)


def _log_safety(edge: Edge) -> float:
    return edge.exceedance.safety.log_wealth if edge.exceedance.safety else 0.0


def _shown(metric: _Metric, state: JudgeState, config: JudgeConfig, *, guilty: bool) -> MetricEvidence:
    tally = metric.shown.tally
    low, high = metric.shown.odds.limits()
    log_safe = metric.log_safe
    safe = bool(metric.deciding) and log_safe >= -math.log(config.beta)
    return MetricEvidence(
        name=metric.name,
        canary_requests=tally.canary_requests,
        canary_bad=tally.canary_bad,
        canary_rate=_rate(tally.canary_bad, tally.canary_requests),
        baseline_requests=tally.baseline_requests,
        baseline_bad=tally.baseline_bad,
        baseline_rate=_rate(tally.baseline_bad, tally.baseline_requests),
        ratio=tally.ratio(),
        ratio_low=low,
        ratio_high=high,
        ratio_confidence=LEVEL,
        evidence_harm=e_value(metric.log_odds),
        harm_threshold=1 / (config.alpha * metric.share),
        evidence_safe=e_value(log_safe),
        safe_threshold=1 / config.beta,
        safe=safe,
        guilty=guilty,
        requests_needed=0 if safe else _missing(metric, state.weight, config),
        edge=metric.edge,
    )


def _rate(bad: int, requests: int) -> float | None:
    return bad / requests if requests else None


def _guilty(metric: _Metric, metrics: list[_Metric], config: JudgeConfig) -> bool:
    """Closed testing: every set of metrics that contains this one is refuted by its weighted average e-value.

    The worst such set is the metric and all those with less evidence than the threshold.
    """
    limit = -math.log(config.alpha)
    company = [m for m in metrics if m is metric or m.log_harm < limit]
    logs = [math.log(m.share) + m.log_harm for m in company]
    average = float(np.logaddexp.reduce(logs)) - math.log(sum(m.share for m in company))
    return average >= limit - _ROUNDING


def _missing(metric: _Metric, weight: float, config: JudgeConfig) -> int | None:
    """Requests (both arms) until every deciding proportion is expected to be safe if the arms are alike."""
    weight = _UNSEEN_WEIGHT if weight < 0 else weight
    deciding = metric.deciding or (Proportion(safety=safety.Safety()),)
    each = [_missing_of(proportion, weight, metric.margins, config.beta) for proportion in deciding]
    return None if None in each else max(n for n in each if n is not None)


def _missing_of(
    proportion: Proportion, weight: float, margins: tuple[float, float], beta: float
) -> int | None:
    if proportion.safety is None:
        return None
    theta = proportion.recent.baseline_rate()
    growth = safety.growth_per_request(theta, weight, *margins)
    half = safety.favoured(theta, *margins)
    gap = -math.log(beta) - proportion.safety.log_wealth
    if gap <= 0:
        return 0
    if growth <= 0:
        return None
    return min(math.ceil((gap - proportion.safety.log_share_alike(half)) / growth), _MOST_REQUESTS)
