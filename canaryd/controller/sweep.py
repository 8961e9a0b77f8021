"""Routes that still name canaryd's subsets although no run manages them: somebody forced a run away.

They are put back by a run like any other, one that begins at its end.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

from canaryd.cluster.resources import Json
from canaryd.controller.preflight import selects
from canaryd.domain.model import Arm, Form, Outcome, RouteRef, Run, Stage, Traffic, Wanted
from canaryd.domain.world import ReplicaSetView
from canaryd.mesh import destinationrule, ownership
from canaryd.mesh import virtualservice as vs_
from canaryd.mesh.hosts import service_host


@dataclass(frozen=True, slots=True)
class Orphans:
    """What a vanished run left: its routes with their first form worked out, and the canary's revision."""

    service: str
    host: str
    routes: tuple[RouteRef, ...]
    traffic: Traffic
    revision: str  # "" where no rule tells it


def orphans(
    deployment: Json, services: Iterable[Json], virtualservices: Iterable[Json], rules: Iterable[Json]
) -> Orphans | None:
    """What is left of a run of `deployment`; ask only while it has no active run."""
    meta = deployment["metadata"]
    labels = deployment["spec"]["template"]["metadata"].get("labels") or {}
    for service in services:
        if service["metadata"]["namespace"] != meta["namespace"] or not selects(service, labels):
            continue
        name = service["metadata"]["name"]
        host = service_host(name, meta["namespace"])
        routes = [found for vs in virtualservices for found in _routes(vs, host)]
        if not routes:
            continue
        traffic = max((seen for _, seen in routes), key=lambda seen: (seen.form is Form.SPLIT, seen.weight))
        return Orphans(
            name, host, tuple(ref for ref, _ in routes), traffic, _revision(rules, name, meta["namespace"])
        )
    return None


def restoring(run: Run, left: Orphans, stable: ReplicaSetView, canary: Json | None) -> Run:
    """`run` at its end: all traffic to the running pods, then everything goes the usual way."""
    split = left.traffic.form is Form.SPLIT
    return replace(
        run,
        stage=Stage.DRAIN,
        stage_since=run.created,
        outcome=Outcome.ROLLED_BACK,
        reason="Swept",
        because="the run that wrote these routes is gone; they are put back",
        service=left.service,
        host=left.host,
        routes=left.routes,
        stable=Arm(run.target.name, stable.revision, {"pod-template-hash": stable.hash}, stable.name),
        wanted=Wanted(
            canary=canary["spec"].get("replicas", 1) if canary else None,
            traffic=Traffic(left.traffic.form, 0),
            stable_subset={"pod-template-hash": stable.hash},
            canary_subset=run.canary_labels if split else None,
        ),
    )


def suspects(virtualservices: Iterable[Json]) -> frozenset[str]:
    """Namespaces in which some VirtualService was last written by canaryd: a run is there, or was."""
    return frozenset(
        vs["metadata"]["namespace"]
        for vs in virtualservices
        if ownership.is_ours(vs) or ownership.last_writer(vs).startswith("canaryd ")
    )


def _routes(vs: Json, host: str) -> Iterable[tuple[RouteRef, Traffic]]:
    """The routes of one VirtualService that canaryd wrote and nobody put back."""
    ours = ownership.is_ours(vs)
    if not ours and not ownership.last_writer(vs).startswith("canaryd "):
        return
    namespace = vs["metadata"]["namespace"]
    for candidate in vs_.candidates(vs, host):
        seen = vs_.traffic(candidate.route["route"], namespace, host)
        if seen is None or seen.form is Form.PLAIN:
            continue
        yield _reference(vs, candidate, made=ours), seen


def _reference(vs: Json, candidate: vs_.Candidate, *, made: bool) -> RouteRef:
    """A reference whose first form is the stable destination without what canaryd added to it."""
    entry = {k: v for k, v in candidate.route["route"][0].items() if k != "weight"}
    entry["destination"] = {k: v for k, v in entry["destination"].items() if k != "subset"}
    meta = vs["metadata"]
    return RouteRef(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        route=candidate.name,
        match=candidate.route.get("match"),
        first=[entry],
        made=made,
    )


def _revision(rules: Iterable[Json], service: str, namespace: str) -> str:
    for rule in rules:
        meta = rule["metadata"]
        if (meta["namespace"], meta["name"]) == (namespace, destinationrule.rule_name(service)):
            labels = destinationrule.subsets(rule).get("canary") or {}
            return labels.get("canaryd.io/revision", "")
    return ""
