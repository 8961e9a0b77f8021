"""Ways into a Service: which of them no HTTP route governs, so that canary pods would get their pod share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from canaryd.cluster.resources import Json, Key
from canaryd.domain.world import Finding
from canaryd.mesh.hosts import full_host, matches
from canaryd.mesh.virtualservice import gateways, http_routes

CHECK = "entrances"
ACCEPT = f"or accept it with canaryd.io/accept: {CHECK}"

_OTHER = frozenset({"tcp", "tls", "https", "udp", "mongo", "mysql", "redis"})
_OPAQUE_PORTS = frozenset({25, 53, 3306, 27017})
"""Ports that Istio takes for TCP unless their name says otherwise."""
_HTTP = frozenset({"http", "http2", "grpc", "grpc-web"})
_APP_PROTOCOLS = {"kubernetes.io/h2c": "http2", "kubernetes.io/ws": "http", "kubernetes.io/wss": "https"}


def service_findings(service: Json) -> list[Finding]:
    """What of the Service itself lets requests past every route."""
    return [Finding(CHECK, said) for said in (*_kinds(service), *_ports(service))]


def _kinds(service: Json) -> Iterator[str]:
    spec, name = service.get("spec") or {}, service["metadata"]["name"]
    if spec.get("clusterIP") == "None":
        yield (
            f"Service {name} is headless: its clients choose a pod by themselves, canary pods as well; give it "
            f"a cluster IP, {ACCEPT}"
        )
    kind = spec.get("type", "ClusterIP")
    if kind in ("NodePort", "LoadBalancer"):
        yield (
            f"Service {name} is of type {kind}: requests from outside reach the pods past the mesh; let them in "
            f"by a gateway and make it ClusterIP, {ACCEPT}"
        )
    if spec.get("publishNotReadyAddresses"):
        yield (
            f"Service {name} publishes pods that are not ready: new canary pods would be sent requests before they "
            f"can answer; unset publishNotReadyAddresses, {ACCEPT}"
        )


def _ports(service: Json) -> Iterator[str]:
    for port in (service.get("spec") or {}).get("ports") or []:
        kind = _opaque(port)
        if kind:
            yield (
                f"port {port.get('name') or port['port']} of Service {service['metadata']['name']} speaks {kind}, "
                f"which HTTP routes do not govern; give it a Service of its own, {ACCEPT}"
            )


def _opaque(port: Json) -> str:
    """What a port speaks where that is not HTTP, by Istio's rules: appProtocol, else the name up to a dash.

    A name that says nothing leaves it to Istio to find out, which takes what is HTTP for HTTP.
    """
    if port.get("protocol", "TCP") != "TCP":
        return str(port["protocol"])
    said = (port.get("appProtocol") or port.get("name") or "").lower()
    protocol = _APP_PROTOCOLS.get(said) or (
        "grpc-web" if said.startswith("grpc-web") else said.partition("-")[0]
    )
    if protocol in _OTHER:
        return protocol
    return "tcp" if protocol not in _HTTP and port.get("port") in _OPAQUE_PORTS else ""


def http_ports(service: Json) -> list[int]:
    """The Service's ports that HTTP routes govern."""
    return [port["port"] for port in (service.get("spec") or {}).get("ports") or [] if not _opaque(port)]


def bypass_findings(ways: Iterable[Json], service: Json) -> list[Finding]:
    """HTTPRoutes, GRPCRoutes and Ingresses that send to the Service: no VirtualService governs these."""
    name, namespace = service["metadata"]["name"], service["metadata"]["namespace"]
    return [
        Finding(
            CHECK,
            f"{way['kind']} {way['metadata']['namespace']}/{way['metadata']['name']} sends to Service {name} past every "
            f"VirtualService; move its traffic to one, {ACCEPT}",
        )
        for way in ways
        if (namespace, name) in _backends(way)
    ]


def _backends(way: Json) -> set[Key]:
    """The Services that an Ingress or a route of the Gateway API sends to."""
    spec, own = way.get("spec") or {}, way["metadata"]["namespace"]
    rules = spec.get("rules") or []
    refs = [
        ref
        for rule in rules
        for ref in rule.get("backendRefs") or []
        if ref.get("kind", "Service") == "Service"
    ]
    paths = [path for rule in rules for path in (rule.get("http") or {}).get("paths") or []]
    backends = [spec.get("defaultBackend") or {}, *(path.get("backend") or {} for path in paths)]
    services = [backend["service"] for backend in backends if backend.get("service")]
    return {(each.get("namespace") or own, each["name"]) for each in (*refs, *services)}


def mesh_uncovered(services: Sequence[Json], host: str, ports: Iterable[int]) -> tuple[bool, list[Finding]]:
    """Whether no VirtualService governs requests to `host` from the whole mesh, and what is half governed.

    services: all VirtualServices. Istio takes the most specific host, then the oldest object, whole: where none of its
    routes is for a client or a port, requests go to the Service as if there were no VirtualService.
    """
    claims = [vs for vs in services if "mesh" in gateways(vs) and _pattern(vs, host) is not None]
    everywhere = sorted((vs for vs in claims if _public(vs)), key=lambda vs: _rank(vs, host))
    if everywhere:
        first = everywhere[0]
        left = [str(port) for port in ports if not _applies(first, port, services)]
        return False, [Finding(CHECK, _half(first, left))] if left else []
    hidden = [vs for vs in claims if _pattern(vs, host) != host]
    return True, [Finding(CHECK, _shadowed(vs, host)) for vs in hidden]


def _half(vs: Json, ports: Sequence[str]) -> str:
    return (
        f"{label(vs)} has no route for some requests to port {', '.join(ports)} from inside the mesh (its conditions "
        "name gateways, sources or ports), and those go to every pod; add a last route without conditions, "
        f"{ACCEPT}"
    )


def _shadowed(vs: Json, host: str) -> str:
    return (
        f"{label(vs)} governs {host} by a wildcard for some namespaces alone, and one for the rest of the mesh would "
        f"hide it; give the host a VirtualService of its own, {ACCEPT}"
    )


def label(vs: Json) -> str:
    """How messages name a VirtualService."""
    return f"VirtualService {vs['metadata']['namespace']}/{vs['metadata']['name']}"


def _pattern(vs: Json, host: str) -> str | None:
    """The most specific of its hosts that covers `host`."""
    namespace = vs["metadata"]["namespace"]
    hosts = [full_host(pattern, namespace) for pattern in (vs.get("spec") or {}).get("hosts") or []]
    covering = [pattern for pattern in hosts if matches(pattern, host)]
    return max(covering, key=lambda pattern: (not pattern.startswith("*"), len(pattern)), default=None)


def _rank(vs: Json, host: str) -> tuple[bool, int, str, str, str]:
    pattern, meta = _pattern(vs, host) or "", vs["metadata"]
    age = meta.get("creationTimestamp") or ""
    return pattern.startswith("*"), -len(pattern), age, meta["name"], meta["namespace"]


def _public(vs: Json) -> bool:
    return "*" in ((vs.get("spec") or {}).get("exportTo") or ["*"])


def _applies(vs: Json, port: int, services: Sequence[Json]) -> bool:
    """Whether some route is for every client in the mesh that asks on `port`."""
    return any(
        _leads_somewhere(route, vs, services)
        and any(_is_for_all(match, port) for match in route.get("match") or [{}])
        for route in http_routes(vs)
    )


def _is_for_all(match: Json, port: int) -> bool:
    return (
        match.get("port", port) == port
        and "mesh" in (match.get("gateways") or ["mesh"])
        and not match.get("sourceLabels")
        and not match.get("sourceNamespace")
    )


def _leads_somewhere(route: Json, vs: Json, services: Sequence[Json]) -> bool:
    """A route whose delegate is missing is left out."""
    delegate = route.get("delegate")
    if not delegate:
        return True
    wanted = (delegate.get("namespace") or vs["metadata"]["namespace"], delegate.get("name"))
    return any((each["metadata"]["namespace"], each["metadata"]["name"]) == wanted for each in services)
