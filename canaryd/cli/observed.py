"""A Deployment's present traffic, from Prometheus, and the policy that its annotations ask for."""

from __future__ import annotations

import dataclasses
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

import click

from analysis.counts import Totals, pooled
from analysis.errors import AnalysisError
from analysis.plan import Traffic
from analysis.prometheus import Reader, client
from analysis.readings import PodDelta, common_edges, deltas
from analysis.telemetry import PodReading, WorkloadRef
from canaryd.cli.policies import policy_of, refuse
from canaryd.cluster.errors import ApiError
from canaryd.cluster.resources import DEPLOYMENTS, PODS, Json
from canaryd.cluster.runs import seconds
from canaryd.cluster.transport import Api
from config import AnnotationError, Policy, Settings
from config.annotation_table import PREFIX
from config.annotations import parse, resolve

_LOOK_BACK = 120.0  # seconds before each end of the window in which a pod's scrape is looked for


@dataclass(frozen=True, slots=True)
class Observed:
    """What a Deployment gets now: its traffic, in how many pods it was seen, requests counted, and its policy."""

    traffic: Traffic
    pods: int
    requests: int
    policy: Policy


def observe(
    settings: Settings,
    access: tuple[Path | None, str | None],
    deployment: tuple[str, str],
    policy: str | None,
    window: float,
) -> Observed:
    """The traffic of `deployment` (namespace, name) over the last `window` seconds.

    access: kubeconfig and context; policy: the name of one to take instead of the Deployment's. Ends the
    command, with 1 where the cluster or Prometheus cannot tell, with 2 where the annotations cannot be used.
    """
    now = time.time()
    try:
        with _connected(settings, access) as (api, reader):
            obj = api.get(DEPLOYMENTS, *deployment)
            pods, _ = api.list(PODS, deployment[0], labels=_selector(obj))
            births = {pod["metadata"]["name"]: seconds(pod["metadata"]["creationTimestamp"]) for pod in pods}
            served = _served(reader, WorkloadRef(*deployment), births, now, window)
    except (ApiError, AnalysisError) as error:
        _give_up(str(error))
    chosen = _policy(obj, settings, policy)
    total = pooled(delta.counts for delta in served.values())
    if not total.requests:
        _give_up(f"deployment {'/'.join(deployment)} served no requests in the last {window:.0f} s")
    return Observed(_traffic(served, total), len(served), total.requests, chosen)


@contextmanager
def _connected(settings: Settings, access: tuple[Path | None, str | None]) -> Iterator[tuple[Api, Reader]]:
    kubeconfig, context = access
    prometheus = client(settings.prometheus)
    timeout = settings.api.connect_timeout, settings.api.timeout
    api = Api.connect(str(kubeconfig) if kubeconfig else None, context, timeout=timeout)
    try:
        yield api, Reader(prometheus)
    finally:
        api.close()
        prometheus.close()


def _served(
    reader: Reader, workload: WorkloadRef, births: Mapping[str, float], now: float, window: float
) -> Mapping[str, PodDelta]:
    """What each pod that exists now served since the window began, or since it was born. Raises AnalysisError."""
    before, after = (
        {name: pod for name, pod in _newest(reader, workload, at).items() if name in births}
        for at in (now - window, now)
    )
    young = {pod: birth for pod, birth in births.items() if birth > now - window}
    return deltas(before, after, since=now - window, born=young)


def _newest(reader: Reader, workload: WorkloadRef, at: float) -> Mapping[str, PodReading]:
    reading = reader.read([workload], at, _LOOK_BACK)
    if workload in reading.failures:
        raise reading.failures[workload]
    samples = reading.workloads[workload]
    if samples.fault:
        raise AnalysisError(f"the series of {workload} cannot be used: {samples.fault}")
    found = {name: pod.newest(at) for name, pod in samples.pods.items()}
    return {name: one for name, one in found.items() if one is not None}


def _traffic(served: Mapping[str, PodDelta], total: Totals) -> Traffic:
    """Requests per second are summed over pods, each over the time that it was seen."""
    rps = sum(delta.counts.requests / (delta.end - delta.start) for delta in served.values())
    edges, buckets = common_edges(served), total.latency
    slower = tuple(sum(buckets[i + 1 :]) / sum(buckets) for i in range(len(edges))) if sum(buckets) else ()
    return Traffic(rps, total.errors / total.requests, edges if slower else (), slower)


def _policy(deployment: Json, settings: Settings, name: str | None) -> Policy:
    """The policy that a run of this Deployment would have; also before it is enabled."""
    annotations = {**(deployment["metadata"].get("annotations") or {}), f"{PREFIX}enabled": "true"}
    managed = parse(annotations)
    if isinstance(managed, tuple):
        _refuse_annotations(managed)
    if name is not None:
        managed = dataclasses.replace(managed, policy_name=policy_of(settings, name).name)
    policy = resolve(managed, settings.policies, settings.default_policy)
    if isinstance(policy, tuple):
        _refuse_annotations(policy)
    return policy


def _refuse_annotations(faults: tuple[AnnotationError, ...]) -> NoReturn:
    refuse("\n".join(map(str, faults)))


def _selector(deployment: Json) -> str:
    labels: Mapping[str, str] = deployment["spec"]["selector"].get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in sorted(labels.items()))


def _give_up(message: str) -> NoReturn:
    click.echo(message, err=True)
    sys.exit(1)
