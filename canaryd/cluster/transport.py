"""Calls to the Kubernetes API: raw objects in and out, a deadline on each, errors of one tree.

The `kubernetes` package gives configuration, credentials and the connection pool. Its typed API is left
aside: a typed model raises on a shape it does not know, and its Watch has no client timeout.
"""

from __future__ import annotations

import builtins
from collections.abc import Mapping
from typing import TYPE_CHECKING, Literal
from urllib.parse import urlencode

from canaryd.cluster.errors import Gone, ServerError
from canaryd.cluster.kubeconfig import client_for
from canaryd.cluster.resources import PODS, Json, Resource
from canaryd.cluster.watch import Watch, WatchEvent
from canaryd.cluster.wire import Wire

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

__all__ = ["Api", "Patch", "Watch", "WatchEvent"]

Patch = Literal["merge", "json", "strategic"]
_PATCH_TYPES: dict[Patch, str] = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    "strategic": "application/strategic-merge-patch+json",
}
_WATCH_TIMEOUT = (3.0, 70.0)
"""Seconds to connect and between two reads: longer than any watch may be asked to last, so that only a dead
connection runs into it."""


class Api:
    """A connection to one API server. Thread-safe; threads share the connections.

    timeout: seconds to connect, and seconds of silence allowed then. An answer that trickles is given up when
    their sum has passed since the request, plus at most one more silence. Every method raises errors.ApiError
    and nothing else, except ValueError for a path that cannot be. Only a read whose connection
    was reset is tried again, once.
    """

    def __init__(self, client: ApiClient, *, timeout: tuple[float, float] = (3.0, 10.0)) -> None:
        self._wire = Wire(client, timeout)

    @classmethod
    def connect(
        cls,
        kubeconfig: str | None = None,
        context: str | None = None,
        *,
        user_agent: str = "canaryd",
        timeout: tuple[float, float] = (3.0, 10.0),
        pool: int = 16,
    ) -> Api:
        """By kubeconfig, or from inside a pod. Raises Misconfigured. Nothing is sent yet."""
        return cls(client_for(kubeconfig, context, user_agent=user_agent, pool=pool), timeout=timeout)

    @property
    def server(self) -> str:
        """The API server's address, such as "https://127.0.0.1:6443"."""
        return self._wire.server

    def close(self) -> None:
        """Close the idle connections."""
        self._wire.close()

    def get(self, res: Resource, namespace: str | None, name: str, *, subresource: str | None = None) -> Json:
        """One object."""
        return self._wire.call(
            "get", "GET", res.path(namespace, name, subresource), res.target(namespace, name)
        )

    def list(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        labels: str = "",
        fields: str = "",
        page: int = 500,
    ) -> tuple[list[Json], str]:
        """All objects that match, with apiVersion and kind, and the resourceVersion they are true at.

        Read in pages of `page` objects; begun anew when a page's token has expired meanwhile, the last
        time in one piece.
        """
        for size in (page, page, 0):
            try:
                return self._pages(res, namespace, {"labelSelector": labels, "fieldSelector": fields}, size)
            except Gone as gone:
                expired = gone
        raise expired

    def create(
        self, res: Resource, namespace: str | None, body: Json, *, subresource: str | None = None
    ) -> Json:
        """The object as the server made it; apiVersion and kind need not be given.

        For a subresource, body's metadata.name says of which object.
        """
        name = body.get("metadata", {}).get("name")
        path = res.path(namespace, name, subresource) if subresource else res.path(namespace)
        if not subresource:
            body = {"apiVersion": res.api_version, "kind": res.kind, **body}
        return self._wire.call("create", "POST", path, res.target(namespace, name), body=body)

    def replace(
        self, res: Resource, namespace: str | None, name: str, body: Json, *, subresource: str | None = None
    ) -> Json:
        """The object as it is now; apiVersion and kind need not be given, except for `scale` and the like.

        Conflict where body's resourceVersion is not the current one.
        """
        path = res.path(namespace, name, subresource)
        if subresource in (None, "status"):
            body = {"apiVersion": res.api_version, "kind": res.kind, **body}
        return self._wire.call("replace", "PUT", path, res.target(namespace, name), body=body)

    def patch(
        self,
        res: Resource,
        namespace: str | None,
        name: str,
        body: Json | builtins.list[Json],
        *,
        kind: Patch = "merge",
        subresource: str | None = None,
        field_manager: str = "canaryd",
    ) -> Json:
        """The object as it is now. kind "json" takes a list of operations, the others an object."""
        if isinstance(body, list) != (kind == "json"):
            raise ValueError(f"a {kind} patch cannot be a {type(body).__name__}")
        path = _with(res.path(namespace, name, subresource), {"fieldManager": field_manager})
        target = res.target(namespace, name)
        return self._wire.call("patch", "PATCH", path, target, body=body, content_type=_PATCH_TYPES[kind])

    def delete(
        self,
        res: Resource,
        namespace: str | None,
        name: str,
        *,
        uid: str | None = None,
        resource_version: str | None = None,
        propagation: Literal["Background", "Foreground", "Orphan"] = "Background",
        grace: int | None = None,
    ) -> None:
        """Ask for the deletion; finalizers and the grace period (seconds) may hold it up.

        Conflict where the object is not the one of that uid and resourceVersion.
        """
        options: Json = {"apiVersion": "v1", "kind": "DeleteOptions", "propagationPolicy": propagation}
        preconditions = {"uid": uid, "resourceVersion": resource_version}
        if any(preconditions.values()):
            options["preconditions"] = {key: value for key, value in preconditions.items() if value}
        if grace is not None:
            options["gracePeriodSeconds"] = grace
        self._wire.call(
            "delete", "DELETE", res.path(namespace, name), res.target(namespace, name), body=options
        )

    def watch(
        self,
        res: Resource,
        namespace: str | None = None,
        *,
        resource_version: str,
        labels: str = "",
        fields: str = "",
        timeout_seconds: int,
    ) -> Watch:
        """What happens after resource_version, until the server ends it after about timeout_seconds (<= 65).

        The answer is open when this returns. Silence of 70 s raises Unreachable; see Watch.
        """
        query = {
            "watch": "true",
            "allowWatchBookmarks": "true",
            "resourceVersion": resource_version,
            "timeoutSeconds": str(timeout_seconds),
            "labelSelector": labels,
            "fieldSelector": fields,
        }
        target = res.target(namespace)
        path = _with(res.path(namespace), query)
        return Watch(self._wire.stream("watch", path, target, timeout=_WATCH_TIMEOUT), target)

    def logs(
        self,
        namespace: str,
        pod: str,
        *,
        container: str | None = None,
        previous: bool = False,
        tail_lines: int = 20,
    ) -> str:
        """The last lines of a container, of its previous life where asked; at most 64 KiB."""
        query = {
            "container": container or "",
            "previous": "true" if previous else "",
            "tailLines": str(tail_lines),
            "limitBytes": str(1 << 16),
        }
        path = _with(PODS.path(namespace, pod, "log"), query)
        _, body = self._wire.answer("logs", "GET", path, PODS.target(namespace, pod), accept="*/*")
        return body.decode("utf-8", "replace")

    def _pages(
        self, res: Resource, namespace: str | None, query: dict[str, str], size: int
    ) -> tuple[builtins.list[Json], str]:
        items: list[Json] = []
        token = ""
        while True:
            path = _with(res.path(namespace), {**query, "limit": str(size or ""), "continue": token})
            answer = self._wire.call("list", "GET", path, res.target(namespace))
            metadata, found = answer.get("metadata") or {}, answer.get("items") or []
            version, token = metadata.get("resourceVersion"), metadata.get("continue") or ""
            if not version or not all(isinstance(item, dict) for item in found):
                raise ServerError(200, "BadAnswer", "not a list of objects", "list", res.target(namespace))
            items += ({**item, "apiVersion": res.api_version, "kind": res.kind} for item in found)
            if not token:
                return items, version


def _with(path: str, query: Mapping[str, str]) -> str:
    return f"{path}?{urlencode({key: value for key, value in query.items() if value})}"
