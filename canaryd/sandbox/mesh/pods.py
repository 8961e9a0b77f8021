"""Pods: whether they take traffic, on which ports, and of which workload they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from canaryd.cluster.resources import Json

INBOUND_PORT = 15006
"""Where a sidecar takes the traffic for its pod."""

_SECOND_PORTS = 20_000
_USUAL_PORT = 8080


@dataclass(frozen=True, slots=True)
class Pod:
    """ip is "" until the node has given one. ports are the containers' declared ones, in order."""

    namespace: str
    name: str
    labels: Mapping[str, str]
    ip: str
    ready: bool
    terminating: bool
    ended: bool
    workload: str
    ports: tuple[tuple[str, int], ...] = ()

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    def takes_traffic(self, *, even_unready: bool = False) -> bool:
        return bool(self.ip) and not self.ended and not self.terminating and (self.ready or even_unready)

    def port(self, target: int | str) -> int | None:
        """The number of a Service's target port; None where the pod declares no port of that name."""
        if isinstance(target, int):
            return target
        return next((number for name, number in self.ports if name == target), None)

    def inbound_port(self, target: int) -> int:
        """Where its sidecar listens for the traffic that is meant for port `target`.

        A real sidecar has one port and asks the kernel for the original one. There is no such redirection
        here: the first declared port (8080 where none is declared) gets 15006, any other one of its own.
        """
        first = self.ports[0][1] if self.ports else _USUAL_PORT
        if target == first:
            return INBOUND_PORT
        other = target + _SECOND_PORTS
        return other if other <= 65_535 else target - _SECOND_PORTS


def parse_pod(obj: Json) -> Pod:
    """A Pod of the API. KeyError, TypeError or ValueError where it has another shape."""
    metadata, status = obj["metadata"], obj.get("status") or {}
    return Pod(
        namespace=metadata["namespace"],
        name=metadata["name"],
        labels=dict(metadata.get("labels") or {}),
        ip=status.get("podIP") or "",
        ready=any(
            condition.get("type") == "Ready" and condition.get("status") == "True"
            for condition in status.get("conditions") or ()
        ),
        terminating="deletionTimestamp" in metadata,
        ended=status.get("phase") in ("Succeeded", "Failed"),
        workload=_workload(metadata),
        ports=tuple(
            (str(port.get("name", "")), int(port["containerPort"]))
            for container in (obj.get("spec") or {}).get("containers") or ()
            for port in container.get("ports") or ()
        ),
    )


def _workload(metadata: Json) -> str:
    """As Istio names it: the owner, and for a ReplicaSet of a Deployment the Deployment."""
    for owner in metadata.get("ownerReferences") or ():
        if owner.get("controller"):
            name = str(owner["name"])
            template = (metadata.get("labels") or {}).get("pod-template-hash")
            if owner.get("kind") == "ReplicaSet" and template:
                return name.removesuffix(f"-{template}")
            return name
    return str(metadata["name"])
