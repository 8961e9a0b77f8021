"""Which routes carry a Service's traffic: found by their destinations, in every VirtualService."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass

from canaryd.cluster.resources import Json
from canaryd.domain.model import RouteRef
from canaryd.domain.world import Finding
from canaryd.mesh import virtualservice as vs_
from canaryd.mesh.entrances import ACCEPT, http_ports, label, mesh_uncovered
from canaryd.mesh.hosts import service_host
from canaryd.mesh.ownership import is_ours

ALLOW_FROM = "canaryd.io/allow-from"


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What the annotations say of routes; empty means all that are found."""

    virtual_service: tuple[str, str] | None = None  # namespace, name
    routes: Collection[str] = ()


def find_routes(
    services: Iterable[Json], service: Json, narrowing: Narrowing
) -> tuple[tuple[RouteRef, ...], list[Finding]]:
    """The routes to manage for a Service, one made for the run where the mesh has none, and what is in the way.

    services: all VirtualServices. service: the Service, raw.
    """
    virtual_services = list(services)
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    host = service_host(name, namespace)
    refs: list[RouteRef] = []
    findings: list[Finding] = []
    for vs in virtual_services:
        found, objections = _of_one(vs, namespace, host, narrowing)
        refs += found
        findings += objections
    findings += _not_found(virtual_services, host, narrowing)
    uncovered, half = mesh_uncovered(virtual_services, host, http_ports(service))
    if uncovered:
        made = _to_make(name, namespace, host)
        refs.append(made)
        findings += _name_taken(virtual_services, made)
    return tuple(refs), findings + half


def _of_one(
    vs: Json, namespace: str, host: str, narrowing: Narrowing
) -> tuple[list[RouteRef], list[Finding]]:
    if is_ours(vs):
        sends = any(True for _ in vs_.candidates(vs, host))
        left = f"{label(vs)} is left from an earlier run, and goes with it"
        return [], [Finding("routes", left)] if sends else []
    refs: list[RouteRef] = []
    findings = [
        Finding(
            "entrances",
            f"{label(vs)} has a {protocol} route to the Service, whose traffic cannot be stepped; take the route out, "
            f"{ACCEPT}",
        )
        for protocol in vs_.other_protocols(vs, host)
    ]
    for candidate in vs_.candidates(vs, host):
        said = _objection(vs, candidate, namespace, narrowing)
        if said is None:
            refs.append(vs_.reference(vs, candidate))
        else:
            findings.append(said)
    return refs, findings


def _objection(vs: Json, candidate: vs_.Candidate, namespace: str, narrowing: Narrowing) -> Finding | None:
    """Why a route that sends to the Service cannot be managed."""
    name = f"{label(vs)} route {candidate.name or f'number {candidate.index + 1}'}"
    if candidate.objection:
        return Finding(
            "routes",
            f"{name} {candidate.objection}; canaryd manages routes with the Service as their one destination, without a "
            "subset",
        )
    if not _chosen(vs, candidate.name, narrowing):
        return Finding(
            "entrances",
            f"{name} sends to the Service too, but the annotations leave it out: it would send canary pods their pod "
            f"share; name it as well, {ACCEPT}",
        )
    if not _allowed(vs, namespace):
        return Finding(
            "routes", f"{name} is in another namespace; annotate it with {ALLOW_FROM}: {namespace}"
        )
    return None


def _chosen(vs: Json, route: str, narrowing: Narrowing) -> bool:
    meta = vs["metadata"]
    wanted = narrowing.virtual_service
    return (wanted is None or wanted == (meta["namespace"], meta["name"])) and (
        not narrowing.routes or route in narrowing.routes
    )


def _allowed(vs: Json, namespace: str) -> bool:
    meta = vs["metadata"]
    allowed = [part.strip() for part in (meta.get("annotations") or {}).get(ALLOW_FROM, "").split(",")]
    return meta["namespace"] == namespace or namespace in allowed or "*" in allowed


def _not_found(services: Iterable[Json], host: str, narrowing: Narrowing) -> Iterator[Finding]:
    """Names in the annotations that nothing goes by, beside those that there are."""
    there = {
        (vs["metadata"]["namespace"], vs["metadata"]["name"], candidate.name)
        for vs in services
        for candidate in vs_.candidates(vs, host)
    }
    wanted = narrowing.virtual_service
    if wanted is not None:
        if wanted not in {(namespace, name) for namespace, name, _ in there}:
            yield Finding(
                "routes",
                f"VirtualService {wanted[0]}/{wanted[1]} (canaryd.io/virtual-service) has no route to the Service; "
                f"there are: {_listed(f'{namespace}/{name}' for namespace, name, _ in there)}",
            )
            return
        there = {each for each in there if each[:2] == wanted}
    names = {route for _, _, route in there if route}
    missing = sorted(set(narrowing.routes) - names)
    if missing:
        yield Finding(
            "routes",
            f"no route named {', '.join(missing)} (canaryd.io/routes) sends to the Service; there are: {_listed(names)}",
        )


def _listed(names: Iterable[str]) -> str:
    return ", ".join(sorted(set(names))) or "none"


def _to_make(service: str, namespace: str, host: str) -> RouteRef:
    """Requests inside the mesh that no VirtualService governs go to every pod of the Service: one is made.

    Its destination names no port: Istio then takes the Service's one port, or the port that was asked for, just
    as without a VirtualService.
    """
    first = [{"destination": {"host": host}}]
    return RouteRef(namespace, f"canaryd-{service}", "", "canaryd", None, first, made=True)


def _name_taken(services: Iterable[Json], made: RouteRef) -> Iterator[Finding]:
    for vs in services:
        if (vs["metadata"]["namespace"], vs["metadata"]["name"]) == (
            made.namespace,
            made.name,
        ) and not is_ours(vs):
            yield Finding(
                "routes", f"{label(vs)} has the name of the one that canaryd makes for a run; rename it"
            )
