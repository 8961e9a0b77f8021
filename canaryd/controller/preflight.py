"""Can this release be made here? Each check names the object that is in the way and the cure.

`canaryd.io/accept: <check>` overrides a check by its name.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.cluster.workloads import ready
from canaryd.domain.model import Finding, Ground
from canaryd.mesh import destinationrule, discover
from canaryd.mesh.hosts import service_host
from config.annotations import AnnotationError, Managed, parse, resolve
from config.policy import Policy

CHECKS = (
    "service",
    "endpoints",
    "selector",
    "revision-history",
    "routes",
    "entrances",
    "destination-rule",
    "second-copy",
    "other-controller",
)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """The raw objects that preflight looks at."""

    deployment: Json
    serving: Sequence[Json]  # ReplicaSets with pods
    pods: Sequence[Json]  # of the namespace that a Service in question selects
    services: Sequence[Json]  # of the namespace
    virtualservices: Sequence[Json]
    destinationrules: Sequence[Json]
    claims: Sequence[Json] = ()  # PersistentVolumeClaims that the template mounts
    others: Sequence[str] = ()  # objects of other delivery controllers that target the Deployment


def examine(snapshot: Snapshot, policies: Mapping[str, Policy], default: str, root: str) -> Ground:
    """What the release would stand on, or everything that is in its way."""
    annotations = snapshot.deployment["metadata"].get("annotations") or {}
    managed = parse(annotations, checks=CHECKS)
    if not isinstance(managed, Managed):
        return Ground(_configuration(managed))
    policy = resolve(managed, policies, default)
    if not isinstance(policy, Policy):
        return Ground(_configuration(policy))
    ground = Ground((), policy=policy)
    findings: list[Finding] = []
    service = _service(snapshot, managed, findings)
    if service is not None:
        ground = _ground(snapshot, managed, service, ground, findings, root)
    findings += _deployment(snapshot)
    return replace(ground, findings=tuple(f for f in findings if f.check not in managed.accept))


def _configuration(errors: Iterable[AnnotationError]) -> tuple[Finding, ...]:
    return tuple(Finding("configuration", str(error)) for error in errors)


def selects(service: Json, labels: Mapping[str, str]) -> bool:
    """Whether the Service's selector picks a pod with these labels; one without a selector picks none."""
    selector = service.get("spec", {}).get("selector") or {}
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def _service(snapshot: Snapshot, managed: Managed, findings: list[Finding]) -> Json | None:
    labels = (
        snapshot.serving[0]["spec"]["template"]["metadata"].get("labels") or {} if snapshot.serving else {}
    )
    found = [service for service in snapshot.services if selects(service, labels)]
    names = ", ".join(sorted(service["metadata"]["name"] for service in found))
    if managed.service:
        chosen = [s for s in found if s["metadata"]["name"] == managed.service]
        if not chosen:
            said = f"Service {managed.service} (canaryd.io/service) does not select the Deployment's pods"
            findings.append(Finding("service", f"{said}; those that do: {names or 'none'}"))
            return None
        if len(found) > 1:
            others = ", ".join(sorted(s["metadata"]["name"] for s in found if s is not chosen[0]))
            findings.append(
                Finding(
                    "entrances",
                    f"Services {others} select the pods too and would send canary pods their pod share; narrow "
                    "their selectors, or accept it with canaryd.io/accept: entrances",
                )
            )
        return chosen[0]
    if len(found) == 1:
        return found[0]
    if not found:
        findings.append(
            Finding("service", "no Service selects the Deployment's pods; canaryd steps a Service's traffic")
        )
    else:
        findings.append(
            Finding(
                "service",
                f"{len(found)} Services select the Deployment's pods ({names}); name one with canaryd.io/service",
            )
        )
    return None


def _ground(
    snapshot: Snapshot, managed: Managed, service: Json, ground: Ground, findings: list[Finding], root: str
) -> Ground:
    meta = service["metadata"]
    name, namespace = meta["name"], meta["namespace"]
    host = service_host(name, namespace)
    template = snapshot.deployment["spec"]["template"]["metadata"].get("labels") or {}
    if not selects(service, template):
        findings.append(
            Finding(
                "selector",
                f"Service {name} does not select the new template's labels: the release would get no traffic",
            )
        )
    findings += _endpoints(snapshot, service)
    findings += discover.port_findings(service)
    findings += destinationrule.findings(snapshot.destinationrules, name, namespace, host, root)
    wanted = managed.virtual_service
    narrowing = discover.Narrowing(
        (wanted.namespace or namespace, wanted.name) if wanted else None, managed.routes
    )
    accepted = "routes" in managed.accept or "entrances" in managed.accept
    routes, objections = discover.find_routes(snapshot.virtualservices, name, namespace, host, narrowing)
    findings += objections
    if not routes and not accepted and not objections:
        findings.append(Finding("routes", f"no route sends to Service {name}"))
    return replace(ground, service=name, host=host, routes=routes)


def _endpoints(snapshot: Snapshot, service: Json) -> list[Finding]:
    """Ready endpoints that are not the running ReplicaSet's pods would be cut off by the fence."""
    if len(snapshot.serving) != 1:
        names = ", ".join(rs["metadata"]["name"] for rs in snapshot.serving) or "none"
        return [
            Finding("endpoints", f"not exactly one ReplicaSet runs ({names}); wait for the rollout to end")
        ]
    running = snapshot.serving[0]["metadata"]
    selected = [p for p in snapshot.pods if ready(p) and selects(service, p["metadata"].get("labels") or {})]
    foreign = [p["metadata"]["name"] for p in selected if not _owned(p, running["uid"])]
    if foreign:
        shown = ", ".join(sorted(foreign)[:5])
        return [
            Finding(
                "endpoints",
                f"Service {service['metadata']['name']} also sends to pods that are not of the running ReplicaSet "
                f"({shown}); the fence would cut them off",
            )
        ]
    if not selected:
        return [
            Finding("endpoints", f"no pod of ReplicaSet {running['name']} is ready: nothing to compare with")
        ]
    return []


def _owned(pod: Json, uid: str) -> bool:
    return any(owner.get("uid") == uid for owner in pod["metadata"].get("ownerReferences") or [])


def _deployment(snapshot: Snapshot) -> list[Finding]:
    spec = snapshot.deployment["spec"]
    found = []
    history = spec.get("revisionHistoryLimit", 10)
    if history < 2:
        found.append(
            Finding(
                "revision-history",
                f"spec.revisionHistoryLimit is {history}; at least 2 keep the stable ReplicaSet",
            )
        )
    found += [
        Finding("other-controller", f"{other} manages this Deployment too; remove one of the two")
        for other in snapshot.others
    ]
    return found + _second_copy(snapshot)


def _second_copy(snapshot: Snapshot) -> list[Finding]:
    """What would keep a canary pod from running beside a stable one."""
    spec: Any = snapshot.deployment["spec"]["template"]["spec"]
    found = [
        Finding(
            "second-copy",
            f"container {c['name']} takes hostPort {port['hostPort']}: a second copy may find no node",
        )
        for c in spec.get("containers") or []
        for port in c.get("ports") or []
        if port.get("hostPort")
    ]
    if spec.get("hostNetwork"):
        found.append(
            Finding("second-copy", "the pods use the host's network: a second copy may find no node")
        )
    for claim in snapshot.claims:
        modes = claim.get("spec", {}).get("accessModes") or []
        if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            found.append(
                Finding(
                    "second-copy",
                    f"PersistentVolumeClaim {claim['metadata']['name']} ({', '.join(modes)}) cannot be shared",
                )
            )
    anti = ((spec.get("affinity") or {}).get("podAntiAffinity") or {}).get(
        "requiredDuringSchedulingIgnoredDuringExecution"
    )
    if anti:
        found.append(Finding("second-copy", "required pod anti-affinity: a second copy may find no node"))
    return found
