"""Measuring: one reading for all active runs together, then each run's own metrics; evidence for each of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import structlog

from analysis import Interval
from analysis.arms import Pods
from analysis.custom import CustomCounts, due
from analysis.custom_queries import Answer, CounterQuery, ValueQuery, texts
from analysis.intervals import Blind, IntervalBuilder, Outcome, Quarantined, RunQuery
from analysis.telemetry import WorkloadRef
from canaryd.cluster.resources import Key
from canaryd.cluster.runs import seconds
from canaryd.controller import evidence
from canaryd.controller.caches import Caches
from canaryd.controller.evidence import JUDGED
from canaryd.domain.model import LADDER, PROMOTING, Run, Stage
from canaryd.domain.world import Measured
from config import promql
from config.metrics import ProportionMetric

log = structlog.get_logger(__name__)

# Readings begin before the first judged interval: the first one is only a base line.
READ = LADDER | PROMOTING | {Stage.CANARY_SUBSET, Stage.CANARY_DESTINATION}

_KEPT = 50  # intervals of one run that may wait for a worker; more means that none comes
_GENERATED = 58  # characters of a generateName that the API server keeps

Asks = Callable[
    [Sequence[str], float], Mapping[str, Answer]
]  # PromQL, evaluated at (seconds since the epoch)


@dataclass(slots=True)
class _Inbox:
    """What was read for one run and not yet decided on.

    taken: how many of the outcomes the decision under way has seen; custom: the counters of the run's own
    metrics, for the one thread that is `asking`; canary_pods: all that ever were.
    """

    outcomes: list[Interval | Quarantined] = field(default_factory=list)  # not yet in a saved status
    taken: int = 0
    blind: Blind | None = None
    rate: float = 0.0
    share: float | None = None
    unseen: Mapping[str, str] = field(default_factory=dict)
    custom: CustomCounts = field(default_factory=CustomCounts)
    asking: bool = False
    canary_pods: dict[str, float] = field(default_factory=dict)


@dataclass(slots=True)
class Measurer:
    """Reads at each tick; workers take what concerns their run. Thread-safe.

    asks: instant vectors for the metrics of runs; heard: told of a run's Deployment when its metrics have come.
    They are asked on a thread per run, so that one whose queries take long delays nobody else.
    """

    builder: IntervalBuilder
    caches: Caches
    asks: Asks
    heard: Callable[[Key], None] = lambda _: None
    _inboxes: dict[str, _Inbox] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def read(self, runs: Sequence[Run], at: float) -> None:
        """One reading of Prometheus for all `runs` that measure; never raises for a fault of Prometheus."""
        measuring = {run.uid: run for run in runs if run.stage in READ and run.stable is not None}
        with self._lock:
            self._inboxes = {uid: self._inboxes.get(uid) or _Inbox() for uid in measuring}
            queries = {uid: self._query(run, self._inboxes[uid]) for uid, run in measuring.items()}
        outcomes = self.builder.tick(list(queries.values()), at)
        for uid, outcome in outcomes.items():
            with self._lock:
                inbox = self._inboxes[uid]
                inbox.asking = bool(queries[uid].custom) and due(outcome)
                if not inbox.asking:
                    _receive(inbox, outcome)
            if inbox.asking:
                key = measuring[uid].namespace, measuring[uid].target.name
                asked = (key, inbox, queries[uid], outcome, at)
                threading.Thread(target=self._ask, args=asked, name="custom metrics", daemon=True).start()

    def _ask(self, key: Key, inbox: _Inbox, query: RunQuery, outcome: Outcome, at: float) -> None:
        """Ask for a run's own metrics, and hand in its interval with them."""
        unseen: Mapping[str, str] = {one.name: "an error of canaryd's, see its log" for one in query.custom}
        try:
            taken = inbox.custom.take(query, outcome, self.asks(texts(query.custom), at), at)
            outcome, unseen = taken.outcome, taken.unseen
        except Exception:
            log.exception("metrics.crashed", namespace=key[0], name=key[1])
        with self._lock:
            inbox.asking = False
            inbox.unseen = unseen
            _receive(inbox, outcome)
        self.heard(key)

    def _query(self, run: Run, inbox: _Inbox) -> RunQuery:
        assert run.stable is not None
        inbox.canary_pods |= self._births(run.namespace, run.revision)
        query = RunQuery(
            run_id=run.uid,
            canary=WorkloadRef(run.namespace, run.canary_name),
            baseline=WorkloadRef(run.namespace, run.stable.workload),
            weight=run.wanted.traffic.weight / 100,
            settled_since=run.judged_since if run.stage in JUDGED else None,
            canary_pods=dict(inbox.canary_pods),
            baseline_pods=self._baseline_pods(run),
            warm_up=run.policy.warm_up if run.policy else 0.0,
            asking=inbox.asking,
        )
        return with_metrics(query, run)

    def _baseline_pods(self, run: Run) -> Pods:
        assert run.stable is not None
        if run.stable.replicaset:
            return f"{run.stable.replicaset}-"[:_GENERATED]
        return self._births(run.namespace, run.stable.revision)

    def _births(self, namespace: str, revision: str) -> dict[str, float]:
        return {
            pod["metadata"]["name"]: seconds(pod["metadata"]["creationTimestamp"])
            for pod in self.caches.pods_of_canary(namespace, revision)
        }

    def measured(self, run: Run, now: float) -> Measured:
        """What the ticks since the last decision say of `run`; `accept` once it has been saved with it."""
        if run.stage not in READ or run.policy is None:
            return Measured()
        with self._lock:
            inbox = self._inboxes.setdefault(run.uid, _Inbox())
            inbox.taken = len(inbox.outcomes)
            outcomes, blind, rate, share = tuple(inbox.outcomes), inbox.blind, inbox.rate, inbox.share
            unseen = "; ".join(f"{name}: {why}" for name, why in inbox.unseen.items())
        found = evidence.measured(run, outcomes, now, rate=rate, share=share)
        found = replace(found, unseen=unseen)
        if blind is None or found.judged_to is not None:
            return found
        dark = Measured(
            evidence=found.evidence if found.lines else None,
            lines=found.lines,
            recorded_to=found.recorded_to,
            request_rate=rate,
        )
        if blind.reason == "NoSeries":
            return replace(dark, silent=blind.because)
        return replace(dark, blind=blind.because)

    def accept(self, run: Run) -> None:
        """The outcomes were used: they must not count twice."""
        with self._lock:
            inbox = self._inboxes.get(run.uid)
            if inbox is not None:
                del inbox.outcomes[: inbox.taken]
                inbox.taken = 0


def with_metrics(query: RunQuery, run: Run) -> RunQuery:
    """With the queries for the metrics of the run's policy, for these arms."""
    arms = (query.canary, _pattern(query.canary_pods)), (query.baseline, _pattern(query.baseline_pods))

    def for_arms(expression: str) -> tuple[str, str]:
        canary, baseline = (
            promql.filled(expression, namespace=ref.namespace, workload=ref.name, pods=pods)
            for ref, pods in arms
        )
        return canary, baseline

    metrics = run.policy.metrics if run.policy else ()
    custom = tuple(
        CounterQuery(one.name, for_arms(one.bad), for_arms(one.total))
        if isinstance(one, ProportionMetric)
        else ValueQuery(one.name, for_arms(one.value)[0])
        for one in metrics
    )
    return replace(query, custom=custom)


def _pattern(pods: Pods) -> str:
    if pods is None:
        return ".+"
    return promql.prefixed(pods) if isinstance(pods, str) else promql.named(pods)


def _receive(inbox: _Inbox, outcome: Outcome) -> None:
    inbox.blind = outcome if isinstance(outcome, Blind) else None
    if isinstance(outcome, Interval | Quarantined):
        inbox.outcomes.append(outcome)
        del inbox.outcomes[:-_KEPT]
        interval = outcome if isinstance(outcome, Interval) else outcome.interval
        canary, total = evidence.requests(interval)
        inbox.rate = total / (interval.end - interval.start)
        if interval.whole:
            inbox.share = canary / total if total else None
