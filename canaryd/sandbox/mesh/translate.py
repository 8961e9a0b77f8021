"""The translation: what the API server holds -> what Envoy is told. Pure; the same input, the same output."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.clusters import inbound, outbound_cluster, outbound_endpoints
from canaryd.sandbox.mesh.delegates import resolved
from canaryd.sandbox.mesh.destinationrules import ROOT_NAMESPACE, DestinationRule, Subset, subsets_for
from canaryd.sandbox.mesh.listeners import gateway_routes
from canaryd.sandbox.mesh.pods import Pod
from canaryd.sandbox.mesh.routes import Client, clusters_in
from canaryd.sandbox.mesh.services import Service
from canaryd.sandbox.mesh.virtualhosts import (
    Registry,
    cluster_name,
    mesh_hosts,
    other_hosts,
    visible,
    without_repetition,
)
from canaryd.sandbox.mesh.virtualservices import VirtualService


@dataclass(frozen=True, slots=True)
class World:
    """What the API server holds."""

    pods: tuple[Pod, ...] = ()
    services: tuple[Service, ...] = ()
    virtual_services: tuple[VirtualService, ...] = ()
    destination_rules: tuple[DestinationRule, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """Where the two clients are, and where Envoy finds files.

    listen_port is the outer listener's: clients may name it in the Host. endpoints_folder holds one file for
    each outbound cluster.
    """

    endpoints_folder: Path
    listen_port: int = 80
    client_namespace: str = "default"
    gateway_namespace: str = ROOT_NAMESPACE

    @property
    def mesh(self) -> Client:
        return Client("mesh", self.client_namespace)

    @property
    def gateway(self) -> Client:
        return Client("gateway", self.gateway_namespace)


@dataclass(frozen=True, slots=True)
class Resources:
    """Envoy's resources by name; endpoints by the name of their cluster. routes is the outer listener's."""

    listeners: dict[str, Json] = field(default_factory=dict)
    clusters: dict[str, Json] = field(default_factory=dict)
    endpoints: dict[str, Json] = field(default_factory=dict)
    routes: Json = field(default_factory=lambda: gateway_routes([]))

    @property
    def routed(self) -> frozenset[str]:
        """The clusters that routes send requests to."""
        hosts = self.routes["virtual_hosts"]
        return frozenset(name for host in hosts for route in host["routes"] for name in clusters_in(route))


def translate(world: World, place: Place) -> Resources:
    """What Envoy is to be told of this world."""
    registry = Registry(tuple(sorted(world.services, key=lambda service: (service.namespace, service.name))))
    pods = sorted(world.pods, key=lambda pod: pod.key)
    virtual_services = resolved(world.virtual_services)
    out = Resources(
        routes=gateway_routes(
            without_repetition(
                (
                    *mesh_hosts(registry, virtual_services, place.mesh),
                    *other_hosts(registry, virtual_services, place.gateway, place.listen_port),
                    *other_hosts(registry, virtual_services, place.mesh, place.listen_port),
                )
            )
        )
    )
    for pod in pods:
        for listener, cluster in inbound(pod, registry.services):
            out.listeners[listener["name"]] = listener
            out.clusters[cluster["name"]] = cluster
    for client in [place.mesh] + ([place.gateway] if visible(virtual_services, place.gateway) else []):
        for service, subset in _arms(client, world, registry):
            for port in service.http_ports:
                name = cluster_name(client, service.host, port.number, subset.name)
                out.clusters[name] = outbound_cluster(name, service, place.endpoints_folder)
                out.endpoints[name] = outbound_endpoints(name, service, port, subset.labels, pods)
    return out


def _arms(client: Client, world: World, registry: Registry) -> Iterator[tuple[Service, Subset]]:
    """Each Service as a whole (a subset without a name) and by the subsets that this client sees."""
    for service in registry.services:
        yield service, Subset("", {})
        for subset in subsets_for(service, world.destination_rules, client.namespace):
            yield service, subset
