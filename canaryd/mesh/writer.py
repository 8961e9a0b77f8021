"""Writing traffic objects: JSON Patch with tests, never a whole object of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

import structlog

from canaryd.cluster.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from canaryd.cluster.resources import DESTINATIONRULES, VIRTUALSERVICES, Json, Resource
from canaryd.cluster.transport import Api
from canaryd.domain.model import Form, Labels, RouteRef, Traffic
from canaryd.mesh import destinationrule
from canaryd.mesh import virtualservice as vs_

log = structlog.get_logger(__name__)

_TRIES = 5
Saw = Callable[[Json], None]


class MeshWriter:
    """Writes routes and subsets; `saw_route` and `saw_rule` are told what the server made of it."""

    def __init__(self, api: Api, root: str, saw_route: Saw, saw_rule: Saw) -> None:
        self._api = api
        self._root = root
        self._saw_route = saw_route
        self._saw_rule = saw_rule

    def put_traffic(
        self, ref: RouteRef, host: str, traffic: Traffic, cached: Json | None, owner: Json
    ) -> None:
        """Bring one route to `traffic`. A fall is tried again within the call, on what the server has now.

        Raises Conflict or Invalid when a rise was tested against what is not there any more: the next tick
        decides anew.
        """
        if ref.made:
            self._put_made(ref, host, traffic, cached, owner)
            return
        vs = cached
        for attempt in range(_TRIES):
            if vs is None:
                vs = self._api.get(VIRTUALSERVICES, ref.namespace, ref.name)
            operations = vs_.patch(vs, ref, host, traffic)
            if operations is None:
                return
            rises = any(op["path"] == "/metadata/resourceVersion" for op in operations)
            try:
                self._patch(ref, operations)
                break
            except (Conflict, Invalid):
                if rises or attempt == _TRIES - 1:
                    raise
                vs = None
        if traffic.form is Form.PLAIN:
            self._give_back(ref)

    def _patch(self, ref: RouteRef, operations: list[Json]) -> None:
        self._saw_route(self._api.patch(VIRTUALSERVICES, ref.namespace, ref.name, operations, kind="json"))

    def _give_back(self, ref: RouteRef) -> None:
        """Field ownership as it was: else a server-side apply by the owner would meet a conflict."""
        vs = self._api.get(VIRTUALSERVICES, ref.namespace, ref.name)
        owners = vs_.owners_given_back(vs, ref.owners)
        if owners is None:
            return
        operations: list[Json] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": vs["metadata"]["resourceVersion"]},
            {"op": "replace", "path": "/metadata/managedFields", "value": owners},
        ]
        try:
            self._patch(ref, operations)
        except ApiError as error:
            log.info("route.ownership_kept", route=str(ref), error=str(error))

    def _put_made(self, ref: RouteRef, host: str, traffic: Traffic, cached: Json | None, owner: Json) -> None:
        if traffic.form is Form.PLAIN:
            if cached is not None:
                self._delete(VIRTUALSERVICES, ref.namespace, ref.name, cached["metadata"]["uid"])
            return
        if cached is None:
            body = vs_.made(ref, host, traffic, owner)
            try:
                self._saw_route(self._api.create(VIRTUALSERVICES, ref.namespace, body))
                return
            except AlreadyExists:
                cached = self._api.get(VIRTUALSERVICES, ref.namespace, ref.name)
        operations = vs_.patch(cached, ref, host, traffic)
        if operations is not None:
            self._patch(ref, operations)

    def put_subsets(
        self,
        service: str,
        namespace: str,
        host: str,
        subsets: Mapping[str, Labels],
        rules: Iterable[Json],
        cached: Json | None,
        owner: Json,
    ) -> None:
        """canaryd's DestinationRule with these subsets; without any the rule is removed."""
        name = destinationrule.rule_name(service)
        if not subsets:
            if cached is not None:
                self._delete(DESTINATIONRULES, namespace, name, cached["metadata"]["uid"])
            return
        if cached is None:
            beside = destinationrule.beside(rules, service, namespace, host, self._root)
            body = destinationrule.body(service, namespace, host, subsets, beside, owner)
            try:
                self._saw_rule(self._api.create(DESTINATIONRULES, namespace, body))
                return
            except AlreadyExists:
                cached = self._api.get(DESTINATIONRULES, namespace, name)
        change = {
            "metadata": {
                "resourceVersion": cached["metadata"]["resourceVersion"],
                "ownerReferences": [owner],
            },
            "spec": {"subsets": destinationrule.subset_list(subsets)},
        }
        self._saw_rule(self._api.patch(DESTINATIONRULES, namespace, name, change))

    def _delete(self, resource: Resource, namespace: str, name: str, uid: str) -> None:
        try:
            self._api.delete(resource, namespace, name, uid=uid)
        except NotFound:
            return
