"""Pods, Services and Endpoints as the controllers see them, parsed once from the API's JSON."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from canaryd.cluster.resources import Json
from canaryd.sandbox.controllers.model import NEVER, Meta, Selector, parse_meta, parse_selector, parse_time

_DELETION_COST = "controller.kubernetes.io/pod-deletion-cost"


@dataclass(frozen=True, slots=True)
class ContainerPort:
    name: str
    number: int
    protocol: str


@dataclass(frozen=True, slots=True)
class Pod:
    """`ready_since`: when the Ready condition last changed."""

    meta: Meta
    phase: str = "Pending"
    node: str = ""
    ip: str = ""
    ready: bool = False
    ready_since: datetime = NEVER
    restarts: int = 0
    restart_policy: str = "Always"
    ports: tuple[ContainerPort, ...] = ()
    deletion_cost: int = 0

    @property
    def finished(self) -> bool:
        return self.phase in ("Succeeded", "Failed")

    @property
    def active(self) -> bool:
        """Counts as a replica."""
        return not self.finished and not self.meta.deleting

    def available(self, min_ready_seconds: int, now: datetime) -> bool:
        """Ready, and that for `min_ready_seconds` at least."""
        if not self.ready:
            return False
        return min_ready_seconds == 0 or (now - self.ready_since).total_seconds() >= min_ready_seconds


@dataclass(frozen=True, slots=True)
class ServicePort:
    name: str
    port: int
    target: int | str
    protocol: str


@dataclass(frozen=True, slots=True)
class Service:
    """`selector` is None where somebody else keeps the Endpoints."""

    meta: Meta
    selector: Selector | None
    ports: tuple[ServicePort, ...]
    headless: bool
    publish_not_ready: bool


@dataclass(frozen=True, slots=True)
class Endpoints:
    """`subsets` stay as the API has them: they are only ever compared and written whole."""

    meta: Meta
    subsets: list[Json]


def parse_pod(raw: Json) -> Pod:
    """Reads a v1 Pod."""
    meta, spec, status = parse_meta(raw), raw.get("spec") or {}, raw.get("status") or {}
    conditions = status.get("conditions") or ()
    ready: Json = next((condition for condition in conditions if condition["type"] == "Ready"), {})
    cost = meta.annotations.get(_DELETION_COST, "0")
    return Pod(
        meta=meta,
        phase=status.get("phase") or "Pending",
        node=spec.get("nodeName") or "",
        ip=status.get("podIP") or "",
        ready=ready.get("status") == "True",
        ready_since=parse_time(ready.get("lastTransitionTime")),
        restarts=max((c.get("restartCount") or 0 for c in status.get("containerStatuses") or ()), default=0),
        restart_policy=spec.get("restartPolicy") or "Always",
        ports=tuple(_container_ports(spec)),
        deletion_cost=int(cost) if cost.lstrip("-").isdigit() else 0,
    )


def parse_service(raw: Json) -> Service:
    """Reads a v1 Service."""
    spec = raw.get("spec") or {}
    selects = spec.get("selector") and spec.get("type") != "ExternalName"
    return Service(
        meta=parse_meta(raw),
        selector=parse_selector({"matchLabels": spec["selector"]}) if selects else None,
        ports=tuple(map(_service_port, spec.get("ports") or ())),
        headless=spec.get("clusterIP") == "None",
        publish_not_ready=bool(spec.get("publishNotReadyAddresses")),
    )


def parse_endpoints(raw: Json) -> Endpoints:
    """Reads v1 Endpoints."""
    return Endpoints(parse_meta(raw), raw.get("subsets") or [])


def _container_ports(spec: Json) -> Iterator[ContainerPort]:
    for container in spec.get("containers") or ():
        for port in container.get("ports") or ():
            yield ContainerPort(port.get("name") or "", port["containerPort"], port.get("protocol") or "TCP")


def _service_port(raw: Json) -> ServicePort:
    target = raw.get("targetPort") or raw["port"]
    return ServicePort(raw.get("name") or "", raw["port"], target, raw.get("protocol") or "TCP")
