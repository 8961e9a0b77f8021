"""Can this release be made here? Each check names the object that is in the way and the cure.

`canaryd.io/accept: <check>` overrides a check by its name, save for those without which there is no release:
`configuration`, `service`, `running`, `no-route`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from canaryd.cluster.resources import Json
from canaryd.cluster.workloads import ready, revision
from canaryd.controller import second_copy
from canaryd.domain.world import Finding, Ground
from canaryd.mesh import destinationrule, discover, entrances
from canaryd.mesh.hosts import service_host
from config.annotations import AnnotationError, Managed, parse, resolve
from config.policy import Policy

CHECKS = (
    "endpoints",
    "selector",
    "revision-history",
    "routes",
    "entrances",
    "destination-rule",
    "second-copy",
    "other-controller",
    "allocation",  # not a check of preflight: the share seen during the run, see analysis.allocation
)
"""The checks that `canaryd.io/accept` may name."""

_NO_TRAFFIC = "the release would get no traffic; put the labels back, or take them out of the selector first"


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
    ways: Sequence[Json] = ()  # HTTPRoutes, GRPCRoutes and Ingresses, with their kind
    carried: bool = (
        False  # an earlier run ended with its canary carrying the traffic, and this one takes over
    )


def examine(snapshot: Snapshot, policies: Mapping[str, Policy], default: str, root: str) -> Ground:
    """What the release would stand on, or everything that is in its way.

    A run that takes over stands on the ground of the one before: the routes and subsets are canaryd's, and the
    endpoints are the carrier's pods. What may have changed since is looked at.
    """
    annotations = snapshot.deployment["metadata"].get("annotations") or {}
    managed = parse(annotations, checks=CHECKS)
    if not isinstance(managed, Managed):
        return Ground(_configuration(managed))
    policy = resolve(managed, policies, default)
    if not isinstance(policy, Policy):
        return Ground(_configuration(policy))
    ground = Ground((), policy=policy)
    findings: list[Finding] = []
    if snapshot.carried:
        findings += _carried(snapshot)
    else:
        ground = _place(snapshot, managed, ground, findings, root)
    findings += _deployment(snapshot)
    standing = [f for f in findings if f.check not in managed.accept]
    if not standing and not ground.routes and not snapshot.carried:
        standing.append(
            Finding("no-route", f"no route that canaryd could manage sends to Service {ground.service}")
        )
    return replace(ground, findings=tuple(standing))


def _configuration(errors: Iterable[AnnotationError]) -> tuple[Finding, ...]:
    return tuple(Finding("configuration", str(error)) for error in errors)


def _carried(snapshot: Snapshot) -> Iterator[Finding]:
    labels = _labels(snapshot.deployment["spec"]["template"])
    if not any(selects(service, labels) for service in snapshot.services):
        yield Finding("selector", f"no Service selects the new template's labels: {_NO_TRAFFIC}")


def _place(
    snapshot: Snapshot, managed: Managed, ground: Ground, findings: list[Finding], root: str
) -> Ground:
    """The Service and its routes; what is in the way is added to `findings`."""
    service = _service(snapshot, managed, findings)
    if service is None:
        return ground
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    host = service_host(name, namespace)
    findings += _selector(snapshot.deployment, service)
    findings += _endpoints(snapshot, service)
    findings += entrances.service_findings(service)
    findings += entrances.bypass_findings(snapshot.ways, service)
    findings += destinationrule.findings(snapshot.destinationrules, name, namespace, host, root)
    wanted = managed.virtual_service
    narrowing = discover.Narrowing(
        (wanted.namespace or namespace, wanted.name) if wanted else None, managed.routes
    )
    routes, objections = discover.find_routes(snapshot.virtualservices, service, narrowing)
    findings += objections
    return replace(ground, service=name, host=host, routes=routes)


def selects(service: Json, labels: Mapping[str, str]) -> bool:
    """Whether the Service's selector picks a pod with these labels; without a selector it picks none."""
    spec = service.get("spec") or {}
    selector = spec.get("selector") or {}
    if spec.get("type") == "ExternalName":  # a name for another host: its selector is not looked at
        return False
    return bool(selector) and all(labels.get(k) == v for k, v in selector.items())


def _service(snapshot: Snapshot, managed: Managed, findings: list[Finding]) -> Json | None:
    """The Service whose traffic is stepped."""
    running = (*_running(snapshot), *snapshot.serving, snapshot.deployment)[0]
    found = [s for s in snapshot.services if selects(s, _labels(running["spec"]["template"]))]
    names = ", ".join(sorted(service["metadata"]["name"] for service in found))
    if managed.service:
        return _named_service(managed.service, snapshot.services, found, findings)
    if len(found) == 1:
        return found[0]
    if found:
        said = (
            f"{len(found)} Services select the Deployment's pods ({names}); name one with canaryd.io/service"
        )
    else:
        said = (
            "no Service selects the Deployment's pods, and it is a Service's traffic that canaryd steps; create "
            "one, or take canaryd.io/enabled off"
        )
    findings.append(Finding("service", said))
    return None


def _named_service(
    name: str, services: Sequence[Json], found: Sequence[Json], findings: list[Finding]
) -> Json | None:
    """The Service that canaryd.io/service names, if it is one of those `found` to select the pods."""
    chosen = next((s for s in found if s["metadata"]["name"] == name), None)
    others = ", ".join(sorted(s["metadata"]["name"] for s in found if s is not chosen))
    if chosen is None:
        there = any(s["metadata"]["name"] == name for s in services)
        fault = "does not select the Deployment's pods" if there else "does not exist"
        findings.append(
            Finding(
                "service",
                f"Service {name} (canaryd.io/service) {fault}; those that select the pods: {others or 'none'}",
            )
        )
    elif others:
        findings.append(
            Finding(
                "entrances",
                f"Services {others} select the pods too and would send canary pods their pod share; narrow their "
                f"selectors, {entrances.ACCEPT}",
            )
        )
    return chosen


def _labels(template: Json) -> Mapping[str, str]:
    found: Mapping[str, str] = (template.get("metadata") or {}).get("labels") or {}
    return found


def _selector(deployment: Json, service: Json) -> Iterator[Finding]:
    """The Service must go on selecting the pods: neither the canary nor the promoted would get traffic."""
    labels = _labels(deployment["spec"]["template"])
    if selects(service, labels):
        return
    selector = (service.get("spec") or {}).get("selector") or {}
    missing = ", ".join(f"{k}={v}" for k, v in sorted(selector.items()) if labels.get(k) != v)
    said = f"Service {service['metadata']['name']} selects {missing}, which the new template does not have"
    yield Finding("selector", f"{said}: {_NO_TRAFFIC}")


def _running(snapshot: Snapshot) -> list[Json]:
    """The ReplicaSets whose pods serve, without the new revision's own: a few of its pods may be there."""
    new = revision(snapshot.deployment["spec"]["template"])
    return [rs for rs in snapshot.serving if revision(rs["spec"]["template"]) != new]


def _endpoints(snapshot: Snapshot, service: Json) -> Iterator[Finding]:
    """The fence sends to the pods of the running ReplicaSet alone: others would be cut off."""
    running = _running(snapshot)
    if len(running) != 1:
        names = ", ".join(sorted(rs["metadata"]["name"] for rs in running)) or "none"
        yield Finding("running", f"not exactly one ReplicaSet runs ({names}); wait for the rollout to end")
        return
    endpoints = [pod for pod in snapshot.pods if _is_endpoint(pod, service)]
    own = {rs["metadata"]["uid"] for rs in snapshot.serving}
    foreign = sorted(p["metadata"]["name"] for p in endpoints if not own & _owners(p))
    if foreign:
        shown = ", ".join(foreign[:5]) + (f" and {len(foreign) - 5} more" if len(foreign) > 5 else "")
        yield Finding(
            "endpoints",
            f"Service {service['metadata']['name']} also sends to pods that are not of the running ReplicaSet "
            f"({shown}): they would be cut off; narrow the Service's selector, or accept that with "
            "canaryd.io/accept: endpoints",
        )
    stable = running[0]["metadata"]
    if not any(ready(pod) and stable["uid"] in _owners(pod) for pod in endpoints):
        yield Finding(
            "running",
            f"no pod of ReplicaSet {stable['name']} is ready: there is nothing to compare with; canaryd.io/skip with "
            "the new revision rolls it out all the same",
        )


def _is_endpoint(pod: Json, service: Json) -> bool:
    unready = bool((service.get("spec") or {}).get("publishNotReadyAddresses"))
    serves = ready(pod) or (unready and "deletionTimestamp" not in pod["metadata"])
    return serves and selects(service, pod["metadata"].get("labels") or {})


def _owners(pod: Json) -> set[str]:
    return {owner["uid"] for owner in pod["metadata"].get("ownerReferences") or []}


def _deployment(snapshot: Snapshot) -> Iterator[Finding]:
    spec = snapshot.deployment["spec"]
    history = spec.get("revisionHistoryLimit", 10)
    if history < 2:
        yield Finding(
            "revision-history",
            f"spec.revisionHistoryLimit is {history}, and the running ReplicaSet could be deleted as history; set it to "
            "2 or more",
        )
    for other in snapshot.others:
        yield Finding("other-controller", f"{other} manages this Deployment too; remove one of the two")
    yield from second_copy.findings(spec["template"], snapshot.claims)
