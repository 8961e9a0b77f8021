"""Which routes carry a Service's traffic: found by their destinations, in every VirtualService."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from canaryd.cluster.resources import Json
from canaryd.domain.model import Finding, RouteRef
from canaryd.mesh import virtualservice as vs_
from canaryd.mesh.hosts import covers

ALLOW_FROM = "canaryd.io/allow-from"
HTTP = ("http", "http2", "grpc", "grpc-web")
OTHER = ("tcp", "tls", "https", "udp", "mongo", "mysql", "redis")


@dataclass(frozen=True, slots=True)
class Narrowing:
    """What the annotations say of routes; empty means all that are found."""

    virtual_service: tuple[str, str] | None = None  # namespace, name
    routes: Collection[str] = ()


def find_routes(
    services: Iterable[Json], service: str, namespace: str, host: str, narrowing: Narrowing
) -> tuple[tuple[RouteRef, ...], list[Finding]]:
    """The routes to manage for `host`, one made for the run where the mesh has none, and what stands in the way.

    services: all VirtualServices, raw.
    """
    refs: list[RouteRef] = []
    findings: list[Finding] = []
    covered = False
    for vs in services:
        meta = vs["metadata"]
        in_mesh = "mesh" in vs_.gateways(vs)
        covered = covered or (in_mesh and covers(vs["spec"].get("hosts") or [], meta["namespace"], host))
        found, objections = _of_one(vs, namespace, host, narrowing)
        refs += found
        findings += objections
    findings += _not_found(refs, narrowing)
    if not covered and not findings:
        refs.append(_to_make(service, namespace, host))
    return tuple(refs), findings


def _of_one(
    vs: Json, namespace: str, host: str, narrowing: Narrowing
) -> tuple[list[RouteRef], list[Finding]]:
    meta = vs["metadata"]
    label = f"VirtualService {meta['namespace']}/{meta['name']}"
    refs: list[RouteRef] = []
    findings = [
        Finding("entrances", f"{label} has a {protocol} route to the Service: its traffic cannot be stepped")
        for protocol in vs_.other_protocols(vs, host)
    ]
    for candidate in vs_.candidates(vs, host):
        name = f"{label} route {candidate.name or f'number {candidate.index + 1}'}"
        if candidate.objection:
            findings.append(
                Finding(
                    "routes",
                    f"{name} {candidate.objection}; canaryd manages routes with the Service as their one destination",
                )
            )
        elif not _chosen(vs, candidate.name, narrowing):
            findings.append(
                Finding(
                    "entrances",
                    f"{name} sends to the Service too, but the annotations leave it out: it would send canary pods "
                    "their pod share; name it as well, or accept it with canaryd.io/accept: entrances",
                )
            )
        elif not _allowed(vs, namespace):
            findings.append(
                Finding(
                    "routes", f"{name} is in another namespace; annotate it with {ALLOW_FROM}: {namespace}"
                )
            )
        else:
            refs.append(vs_.reference(vs, candidate))
    return refs, findings


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


def _not_found(refs: Sequence[RouteRef], narrowing: Narrowing) -> list[Finding]:
    wanted = narrowing.virtual_service
    if wanted is not None and wanted not in [(ref.namespace, ref.name) for ref in refs]:
        return [
            Finding(
                "routes",
                f"VirtualService {wanted[0]}/{wanted[1]} (canaryd.io/virtual-service) has no route to the Service",
            )
        ]
    missing = sorted(set(narrowing.routes) - {ref.route for ref in refs})
    if not missing:
        return []
    there = ", ".join(sorted(ref.route for ref in refs if ref.route)) or "none with a name"
    return [
        Finding(
            "routes",
            f"no route named {', '.join(missing)} (canaryd.io/routes) sends to the Service; there are: {there}",
        )
    ]


def _to_make(service: str, namespace: str, host: str) -> RouteRef:
    """Requests inside the mesh that no VirtualService governs go to every pod of the Service: one is made."""
    first = [{"destination": {"host": host}}]
    return RouteRef(namespace, f"canaryd-{service}", "", "canaryd", None, first, made=True)


def port_findings(service: Json) -> list[Finding]:
    """Ports whose traffic no HTTP route governs: canary pods would be sent their pod share of it."""
    found = []
    for port in service.get("spec", {}).get("ports") or []:
        protocol = (port.get("appProtocol") or port.get("name") or "").lower()
        kind = next((p for p in OTHER if protocol == p or protocol.startswith(f"{p}-")), None)
        if kind or port.get("protocol", "TCP") != "TCP":
            what = kind or port["protocol"]
            found.append(
                Finding(
                    "entrances",
                    f"port {port.get('name') or port['port']} of Service {service['metadata']['name']} speaks {what}, "
                    "which HTTP routes do not govern; give it a Service of its own, or accept it with "
                    "canaryd.io/accept: entrances",
                )
            )
    return found
