"""Istio's objects and Services, as the tests of the mesh write them."""

from __future__ import annotations

from typing import Any

from canaryd.cluster.resources import Json
from canaryd.domain.model import RouteRef
from canaryd.mesh import virtualservice as vs_

HOST = "checkout.shop.svc.cluster.local"
OWNER: Json = {
    "apiVersion": "canaryd.io/v1alpha1",
    "kind": "CanaryRun",
    "name": "checkout-1",
    "uid": "run-1",
    "controller": True,
    "blockOwnerDeletion": True,
}


def destination(host: str = "checkout", *, subset: str = "", port: int = 0, **entry: Any) -> Json:
    """One entry of `route`."""
    found: Json = {"host": host}
    if subset:
        found["subset"] = subset
    if port:
        found["port"] = {"number": port}
    return {"destination": found, **entry}


def route(*entries: Json, name: str = "", match: list[Json] | None = None, **more: Any) -> Json:
    """One entry of `spec.http`; without entries it sends to checkout."""
    found: Json = {"route": list(entries) or [destination()]}
    if name:
        found["name"] = name
    if match is not None:
        found["match"] = match
    return {**found, **more}


def path(prefix: str) -> list[Json]:
    """Conditions that a request's path meets."""
    return [{"uri": {"prefix": prefix}}]


def virtual_service(*http: Json, name: str = "checkout", namespace: str = "shop", **more: Any) -> Json:
    """A VirtualService for the host checkout; `more` are fields of its spec, meta_* of its metadata."""
    meta = {key.removeprefix("meta_"): more.pop(key) for key in list(more) if key.startswith("meta_")}
    spec: Json = {"hosts": ["checkout"], **more}
    if http:
        spec["http"] = list(http)
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": name, "namespace": namespace, "uid": "vs-1", "resourceVersion": "7", **meta},
        "spec": spec,
    }


def rule(
    *subsets: str, host: str = "checkout", name: str = "checkout", namespace: str = "shop", **spec: Any
) -> Json:
    """A DestinationRule with subsets of these names."""
    listed = [{"name": each, "labels": {"version": each}} for each in subsets]
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {
            "name": name,
            "namespace": namespace,
            "uid": f"{namespace}/{name}",
            "resourceVersion": "3",
        },
        "spec": {"host": host, **({"subsets": listed} if listed else {}), **spec},
    }


def service(*ports: Json, name: str = "checkout", namespace: str = "shop", **spec: Any) -> Json:
    """A Service that selects app: checkout; without ports it has the port http."""
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "selector": {"app": "checkout"},
            "clusterIP": "10.0.0.7",
            "ports": list(ports) or [{"name": "http", "port": 80}],
            **spec,
        },
    }


def reference(vs: Json, index: int = 0, host: str = HOST) -> RouteRef:
    """The reference to a managed route of `vs`, which must be one."""
    found = {c.index: c for c in vs_.candidates(vs, host)}[index]
    assert not found.objection, found.objection
    return vs_.reference(vs, found)
