"""The kinds of objects canaryd reads and writes, and where the API server keeps them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

Json = dict[str, Any]
"""A raw Kubernetes object. It is parsed once, at the edge, into a frozen dataclass."""

Key = tuple[str, str]
"""(namespace, name) of an object; the namespace is "" for objects of the whole cluster."""


@dataclass(frozen=True, slots=True)
class Resource:
    """A kind as one version of an API group serves it.

    group is "" for the core group. plural is the name in URLs, kind the name in objects.
    """

    group: str
    version: str
    plural: str
    kind: str
    namespaced: bool = True

    def __str__(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def api_version(self) -> str:
        """As objects carry it: "apps/v1", or "v1" for the core group."""
        return f"{self.group}/{self.version}" if self.group else self.version

    def path(
        self, namespace: str | None = None, name: str | None = None, subresource: str | None = None
    ) -> str:
        """The URL path of a collection (no name), an object, or a subresource of one.

        No namespace ("" or None) on a namespaced kind means the collection across all namespaces. A
        ValueError tells of a path that cannot be: an object of a namespaced kind without its namespace, a
        namespace on a kind that has none, a subresource of a collection.
        """
        if namespace and not self.namespaced:
            raise ValueError(f"{self} has no namespaces, but namespace {namespace!r} was given")
        if name is not None and not name:
            raise ValueError(f"{self}: the name of an object cannot be empty")
        if name and self.namespaced and not namespace:
            raise ValueError(f"{self} {name!r}: an object of this kind needs its namespace")
        if subresource and not name:
            raise ValueError(f"{self}: {subresource!r} is a subresource of an object, not of the collection")
        parts = ["apis", self.group, self.version] if self.group else ["api", self.version]
        if namespace:
            parts += ["namespaces", namespace]
        parts += [part for part in (self.plural, name, subresource) if part]
        return "/" + "/".join(quote(part, safe="") for part in parts)

    def target(self, namespace: str | None = None, name: str | None = None) -> str:
        """How messages name an object or a collection: "deployments.apps shop/checkout"."""
        return " ".join(part for part in (str(self), "/".join(p for p in (namespace, name) if p)) if part)


def key_of(obj: Json) -> Key:
    """(namespace, name) of a raw object. KeyError or TypeError where it has no name."""
    metadata = obj["metadata"]
    return (metadata.get("namespace") or "", metadata["name"])


DEPLOYMENTS = Resource("apps", "v1", "deployments", "Deployment")
REPLICASETS = Resource("apps", "v1", "replicasets", "ReplicaSet")
PODS = Resource("", "v1", "pods", "Pod")
SERVICES = Resource("", "v1", "services", "Service")
ENDPOINTS = Resource("", "v1", "endpoints", "Endpoints")
EVENTS = Resource("", "v1", "events", "Event")
POD_TEMPLATES = Resource("", "v1", "podtemplates", "PodTemplate")
CONFIGMAPS = Resource("", "v1", "configmaps", "ConfigMap")
NAMESPACES = Resource("", "v1", "namespaces", "Namespace", namespaced=False)
LEASES = Resource("coordination.k8s.io", "v1", "leases", "Lease")
CRDS = Resource(
    "apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition", namespaced=False
)
CANARYRUNS = Resource("canaryd.io", "v1alpha1", "canaryruns", "CanaryRun")
VIRTUALSERVICES = Resource("networking.istio.io", "v1", "virtualservices", "VirtualService")
DESTINATIONRULES = Resource("networking.istio.io", "v1", "destinationrules", "DestinationRule")
GATEWAYS = Resource("networking.istio.io", "v1", "gateways", "Gateway")
