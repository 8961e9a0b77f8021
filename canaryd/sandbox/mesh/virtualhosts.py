"""Which routes a request gets by its Host.

The one outer listener plays two clients. A Host that is a Service's name, in any of its forms, is what a
sidecar would send (gateway `mesh`); any other host of a VirtualService is what the ingress gateway would get.
So a VirtualService that is bound to a gateway alone has no effect on requests to the Service's own name, just
as in Istio.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.hosts import CLUSTER_DOMAIN, covers, exported, most_specific
from canaryd.sandbox.mesh.matches import is_catch_all
from canaryd.sandbox.mesh.routes import Client, ClusterOf, plain_route, routes_of
from canaryd.sandbox.mesh.services import Service, ServicePort
from canaryd.sandbox.mesh.virtualservices import Destination, VirtualService

_PREFIXES = {"mesh": "outbound", "gateway": "gateway"}
_HTTP = 80


@dataclass(frozen=True, slots=True)
class Registry:
    """The Services by full name, to work out what destinations mean."""

    services: tuple[Service, ...]
    _by_host: dict[str, Service] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_host", {service.host: service for service in self.services})

    def __contains__(self, host: object) -> bool:
        return host in self._by_host

    def clusters_for(self, client: Client, port: int) -> ClusterOf:
        """How a client that asked on `port` names the cluster of a destination."""

        def cluster_of(destination: Destination) -> str:
            service = self._by_host.get(destination.host)
            number = destination.port
            if number is None:
                lone = service is not None and len(service.ports) == 1
                number = service.ports[0].number if service is not None and lone else port
            return cluster_name(client, destination.host, number, destination.subset)

        return cluster_of


def cluster_name(client: Client, host: str, port: int, subset: str = "") -> str:
    """Like Istio's: "outbound|8080|canary|checkout.shop.svc.cluster.local"."""
    return f"{_PREFIXES[client.role]}|{port}|{subset}|{host}"


def mesh_hosts(
    registry: Registry, virtual_services: Sequence[VirtualService], client: Client
) -> Iterable[Json]:
    """The virtual hosts of a sidecar for the Services, one for each port."""
    seen = visible(virtual_services, client)
    for service in registry.services:
        governing = governing_service(seen, service.host)
        for port in service.http_ports:
            cluster_of = registry.clusters_for(client, port.number)
            routes = routes_of(governing, client, port.number, cluster_of) if governing else []
            plain = plain_route(cluster_name(client, service.host, port.number))
            yield _virtual_host(
                f"{service.host}:{port.number}",
                _service_domains(service, port, registry, client.namespace),
                routes or [plain],
            )


def visible(virtual_services: Iterable[VirtualService], client: Client) -> list[VirtualService]:
    """Those bound to this client's role and exported to its namespace, the oldest first."""
    bound = (
        service
        for service in virtual_services
        if (service.for_mesh if client.role == "mesh" else service.for_gateways)
    )
    return sorted(
        (service for service in bound if exported(service.export_to, service.namespace, client.namespace)),
        key=lambda service: service.age,
    )


def governing_service(virtual_services: Sequence[VirtualService], host: str) -> VirtualService | None:
    """The one that a sidecar applies to a Service: the most specific host, then the oldest."""
    pattern = most_specific((name for service in virtual_services for name in service.hosts), host)
    return next((service for service in virtual_services if pattern in service.hosts), None)


def other_hosts(
    registry: Registry, virtual_services: Sequence[VirtualService], client: Client, listen_port: int
) -> Iterable[Json]:
    """The virtual hosts for names that are no Service's.

    The gateway joins the routes of all VirtualServices of a host, those that take everything last; for a
    sidecar the oldest counts alone.
    """
    seen = visible(virtual_services, client)
    for host in dict.fromkeys(name for service in seen for name in service.hosts):
        known = host in registry or any(covers(host, service.host) for service in registry.services)
        if client.role == "mesh" and known:
            continue
        cluster_of = registry.clusters_for(client, _HTTP)
        claiming = [service for service in seen if host in service.hosts]
        if client.role == "mesh":
            claiming = claiming[:1]
        routes = [route for service in claiming for route in routes_of(service, client, _HTTP, cluster_of)]
        if routes:
            domains = ["*"] if host == "*" else [host, f"{host}:{_HTTP}", f"{host}:{listen_port}"]
            yield _virtual_host(f"{client.role} {host}", domains, sorted(routes, key=is_catch_all))


def without_repetition(virtual_hosts: Iterable[Json]) -> list[Json]:
    """Each domain once, for the first that claims it: Envoy refuses a configuration that repeats one."""
    taken: set[str] = set()
    out = []
    for host in virtual_hosts:
        domains = [name for name in dict.fromkeys(host["domains"]) if name not in taken]
        taken.update(domains)
        if domains:
            out.append({**host, "domains": domains})
    return out


def _virtual_host(name: str, domains: list[str], routes: list[Json]) -> Json:
    return {"name": name, "domains": domains, "routes": routes}


def _service_domains(service: Service, port: ServicePort, registry: Registry, client: str) -> list[str]:
    stem = f"{service.name}.{service.namespace}"
    names = [f"{stem}.svc.{CLUSTER_DOMAIN}", f"{stem}.svc", stem]
    if _short_name_means(service, registry, client):
        names.append(service.name)
    domains = [f"{name}:{port.number}" for name in names]
    return [*names, *domains] if port == service.default_port else domains


def _short_name_means(service: Service, registry: Registry, client: str) -> bool:
    """A short name means the Service of the client's namespace.

    Where that has none, DNS would fail; the sandbox takes the first namespace that has one, so that
    `Host: checkout` works for a load generator without a namespace of its own.
    """
    spaces = sorted(other.namespace for other in registry.services if other.name == service.name)
    return service.namespace == (client if client in spaces else spaces[0])
