"""A namespace of a served API, with the writer and what its owner does to the same objects."""

from __future__ import annotations

from typing import Any

from istio_objects import OWNER, virtual_service

from canaryd.cluster.errors import ApiError
from canaryd.cluster.resources import DESTINATIONRULES, VIRTUALSERVICES, Json, Resource
from canaryd.cluster.transport import Api
from canaryd.domain.model import Labels, RouteRef, Traffic
from canaryd.mesh import destinationrule, ownership
from canaryd.mesh import virtualservice as vs_
from canaryd.mesh.hosts import service_host
from canaryd.mesh.writer import MeshWriter


class Mesh:
    """`cached` is what the writer is told of a VirtualService, as the caches would have it."""

    def __init__(self, api: Api, namespace: str) -> None:
        self.api = api
        self.namespace = namespace
        self.host = service_host("checkout", namespace)
        self.owner: Json = {**OWNER}
        self.seen: list[Json] = []
        self.rules_seen: list[Json] = []
        self.writer = MeshWriter(api, "istio-system", self.seen.append, self.rules_seen.append)

    def create(self, *http: Json, manager: str = "kubectl-create", **more: Any) -> Json:
        """A VirtualService of the user's."""
        body = virtual_service(*http, namespace=self.namespace, **more)
        meta = {k: v for k, v in body["metadata"].items() if k not in ("uid", "resourceVersion")}
        path = f"{VIRTUALSERVICES.path(self.namespace)}?fieldManager={manager}"
        return self._call("create", "POST", path, {**body, "metadata": meta})

    def apply(self, body: Json, manager: str = "gitops") -> Json:
        """Server-side apply by another field manager, without force. Raises Conflict."""
        meta = {"name": body["metadata"]["name"], "namespace": self.namespace}
        intent = {**body, "metadata": meta}
        path = f"{VIRTUALSERVICES.path(self.namespace, meta['name'])}?fieldManager={manager}"
        return self._call("patch", "PATCH", path, intent, content_type="application/apply-patch+yaml")

    def _call(self, verb: str, method: str, path: str, body: Json, **more: Any) -> Json:
        answer: Json = self.api._wire.call(verb, method, path, path, body=body, **more)
        return answer

    def get(self, name: str = "checkout") -> Json:
        return self.api.get(VIRTUALSERVICES, self.namespace, name)

    def edit(self, operations: list[Json], name: str = "checkout", manager: str = "kubectl-edit") -> Json:
        """A foreign edit, by JSON Patch."""
        return self.api.patch(
            VIRTUALSERVICES, self.namespace, name, operations, kind="json", field_manager=manager
        )

    def reference(self, vs: Json, index: int = 0) -> RouteRef:
        return vs_.reference(vs, {c.index: c for c in vs_.candidates(vs, self.host)}[index])

    def put(self, ref: RouteRef, traffic: Traffic, cached: Json | None) -> None:
        self.writer.put_traffic(ref, self.host, traffic, cached, self.owner)

    def give_back(self, ref: RouteRef) -> None:
        vs = self.get(ref.name)
        self.writer.give_back(vs, ownership.before(vs, [ref]))

    def traffic(self, ref: RouteRef) -> Traffic | None:
        """The route's form as the server has it."""
        return vs_.view(self._or_none(VIRTUALSERVICES, ref.name), ref, self.host).seen

    def rule(self) -> Json | None:
        return self._or_none(DESTINATIONRULES, destinationrule.rule_name("checkout"))

    def put_subsets(self, cached: Json | None, *beside: Json, **subsets: Labels) -> None:
        self.writer.put_subsets("checkout", self.namespace, self.host, subsets, beside, cached, self.owner)

    def _or_none(self, resource: Resource, name: str) -> Json | None:
        try:
            return self.api.get(resource, self.namespace, name)
        except ApiError as error:
            assert error.status == 404
            return None
