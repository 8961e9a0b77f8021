"""What the server itself decides about built-in objects when they are created or changed."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.definitions import established
from canaryd.sandbox.apiserver.kinds import ResourceType

SERVICE_RANGE = ipaddress.IPv4Network("10.96.0.0/16")
_FIRST_NODE_PORT = 30000


class Preparation:
    """Gives new objects their first status, addresses and counters."""

    def __init__(self) -> None:
        self._next_address = 10
        self._next_port = _FIRST_NODE_PORT

    def create(self, resource: ResourceType, body: Json, now: str) -> None:
        """Bring a new object, with its defaults filled in, into its first state."""
        if resource.generation:
            body["metadata"]["generation"] = 1
        if resource.custom:
            if resource.status:
                body.pop("status", None)
            return
        if resource.status:
            body["status"] = {}
        match resource.kind:
            case "Pod":
                body["status"] = {"phase": "Pending", "qosClass": _quality(body["spec"])}
            case "ReplicaSet":
                body["status"] = {"replicas": 0}
            case "Namespace":
                body["status"] = {"phase": "Active"}
            case "PersistentVolumeClaim":
                body["status"] = {"phase": "Pending"}
            case "Service":
                body["status"] = {"loadBalancer": {}}
                self._addresses(body["spec"])
            case "CustomResourceDefinition":
                body["status"] = established(body, now)

    def update(self, resource: ResourceType, body: Json, old: Json, now: str, *, main: bool) -> None:
        """Carry over what the server owns; a write to the `main` resource counts the generation."""
        if resource.kind == "Service" and not resource.custom:
            self._keep_addresses(body["spec"], old["spec"])
        if resource.kind == "CustomResourceDefinition" and not resource.custom:
            body["status"] = established(body, now)
        if resource.generation and main:
            before = old["metadata"].get("generation", 0)
            body["metadata"]["generation"] = before + (1 if _wants_more(resource, body, old) else 0)

    def _addresses(self, spec: Json) -> None:
        if spec["type"] == "ExternalName":
            return
        if not spec.get("clusterIP"):
            self._next_address += 1
            spec["clusterIP"] = str(SERVICE_RANGE[self._next_address % SERVICE_RANGE.num_addresses])
        spec["clusterIPs"] = [spec["clusterIP"]]
        if spec["type"] in ("NodePort", "LoadBalancer"):
            for port in spec.get("ports", ()):
                if not port.get("nodePort"):
                    self._next_port += 1
                    port["nodePort"] = self._next_port

    def _keep_addresses(self, spec: Json, old: Json) -> None:
        if spec["type"] != "ExternalName" and old.get("clusterIP"):
            for key in ("clusterIP", "clusterIPs"):
                if not spec.get(key):
                    spec[key] = old[key]
        if spec["type"] != "ExternalName" and not old.get("clusterIP"):
            self._addresses(spec)


def _wants_more(resource: ResourceType, body: Json, old: Json) -> bool:
    """True if a change calls for a new generation, by the rule of the kind."""
    if not resource.custom:
        annotations = resource.kind == "Deployment" and body["metadata"].get("annotations") != old[
            "metadata"
        ].get("annotations")
        keys: Iterable[str] = ("spec",) if resource.kind != "EndpointSlice" else ("endpoints", "ports")
        return annotations or any(body.get(key) != old.get(key) for key in keys)
    ignored = {"apiVersion", "kind", "metadata"} | ({"status"} if resource.status else set())
    return any(body.get(key) != old.get(key) for key in (body.keys() | old.keys()) - ignored)


def _quality(spec: Json) -> str:
    """A pod's quality-of-service class, from its containers' cpu and memory."""
    containers = [*spec.get("containers", ()), *spec.get("initContainers", ())]
    resources = [container.get("resources") or {} for container in containers]
    measured = ("cpu", "memory")
    if not any(part.get(key) for part in resources for key in ("requests", "limits")):
        return "BestEffort"
    for part in resources:
        limits, requests = part.get("limits") or {}, part.get("requests") or {}
        if any(name not in limits or limits[name] != requests.get(name) for name in measured):
            return "Burstable"
    return "Guaranteed"
