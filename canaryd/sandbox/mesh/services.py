"""Services: their HTTP ports and whom they select."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.hosts import service_host

# Istio takes the protocol from appProtocol or the name's first word. Anything else it sniffs: HTTP here.
_NOT_HTTP = frozenset({"tcp", "udp", "tls", "https", "mongo", "mysql", "redis"})


@dataclass(frozen=True, slots=True)
class ServicePort:
    """number is what clients address; target is the pod's port, by number or by name."""

    number: int
    target: int | str
    http: bool = True


@dataclass(frozen=True, slots=True)
class Service:
    namespace: str
    name: str
    selector: Mapping[str, str]
    ports: tuple[ServicePort, ...]
    publish_not_ready: bool = False

    @property
    def host(self) -> str:
        return service_host(self.namespace, self.name)

    @property
    def http_ports(self) -> tuple[ServicePort, ...]:
        return tuple(port for port in self.ports if port.http)

    @property
    def default_port(self) -> ServicePort | None:
        """The port meant by a request without one: 80 where there is one, else the first."""
        ports = self.http_ports
        return next((port for port in ports if port.number == 80), ports[0] if ports else None)

    def selects(self, namespace: str, labels: Mapping[str, str]) -> bool:
        """Without a selector it selects nothing."""
        return namespace == self.namespace and bool(self.selector) and is_subset(self.selector, labels)


def is_subset(wanted: Mapping[str, str], labels: Mapping[str, str]) -> bool:
    """Are all the wanted labels there?"""
    return all(labels.get(key) == value for key, value in wanted.items())


def parse_service(obj: Json) -> Service:
    """A Service of the API. KeyError, TypeError or ValueError where it has another shape."""
    spec = obj.get("spec") or {}
    return Service(
        namespace=obj["metadata"]["namespace"],
        name=obj["metadata"]["name"],
        selector=dict(spec.get("selector") or {}),
        ports=tuple(_port(port) for port in spec.get("ports") or ()),
        publish_not_ready=bool(spec.get("publishNotReadyAddresses", False)),
    )


def _port(raw: Json) -> ServicePort:
    protocol = raw.get("appProtocol") or str(raw.get("name", "")).split("-")[0]
    return ServicePort(
        number=int(raw["port"]),
        target=raw.get("targetPort") or int(raw["port"]),
        http=raw.get("protocol", "TCP") == "TCP" and protocol.lower() not in _NOT_HTTP,
    )
