"""Writing traffic objects: JSON Patch with tests, never a whole object of the user's."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import structlog

from canaryd.cluster.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from canaryd.cluster.resources import DESTINATIONRULES, VIRTUALSERVICES, Json, Resource, key_of
from canaryd.cluster.transport import Api
from canaryd.domain.model import Form, Labels, RouteRef, Traffic
from canaryd.mesh import destinationrule, ownership
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
        self,
        ref: RouteRef,
        host: str,
        traffic: Traffic,
        cached: Json | None,
        owner: Json,
        *,
        siblings: Iterable[RouteRef] = (),
    ) -> None:
        """Bring one route to `traffic`. A fall is tried again within the call, on what the server has now.

        siblings: all routes of the run. Raises Conflict or Invalid when a rise met what is not there any
        more: the next tick decides anew.
        """
        if ref.made and traffic.form is Form.PLAIN:
            if cached is not None and ownership.is_ours(cached):
                self._delete(VIRTUALSERVICES, ref.namespace, ref.name, cached["metadata"]["uid"])
            return
        if ref.made and cached is None and self._made(ref, host, traffic, owner):
            return
        self._bring(ref, host, traffic, cached, owner, tuple(siblings))

    def _made(self, ref: RouteRef, host: str, traffic: Traffic, owner: Json) -> bool:
        """Whether the VirtualService for the run had to be made, and was."""
        try:
            body = vs_.made(ref, host, traffic, owner)
            self._saw_route(self._api.create(VIRTUALSERVICES, ref.namespace, body))
        except AlreadyExists:
            return False
        return True

    def _bring(
        self,
        ref: RouteRef,
        host: str,
        traffic: Traffic,
        cached: Json | None,
        owner: Json,
        siblings: tuple[RouteRef, ...],
    ) -> None:
        """Nothing where the route is not there any more."""
        vs = cached
        for attempt in range(_TRIES):
            if vs is None:
                vs = self._api.get(VIRTUALSERVICES, ref.namespace, ref.name)
            change = (
                vs_.made_patch(_ours(vs, ref.name), ref, host, traffic, owner)
                if ref.made
                else vs_.patch(vs, ref, host, traffic, siblings)
            )
            if change is None or not change.operations:
                return
            try:
                self._patch(vs, change.operations)
                return
            except (Conflict, Invalid):
                if not change.falls or attempt == _TRIES - 1:
                    raise
                vs = None

    def _patch(self, vs: Json, operations: list[Json]) -> None:
        meta = vs["metadata"]
        self._saw_route(
            self._api.patch(VIRTUALSERVICES, meta["namespace"], meta["name"], operations, kind="json")
        )

    def give_back(self, vs: Json, owners: Any) -> None:
        """Field ownership of the routes as in `owners`: else a server-side apply would meet a conflict.

        A write of its own, since the server counts a change of routes as canaryd's whatever managedFields
        come with it. Not worth failing for: the routes are put back already, and it is done again.
        """
        name = "/".join(key_of(vs))
        try:
            for _ in range(_TRIES):
                operations = ownership.patch(vs, owners)
                if operations is None or self._patched(vs, operations):
                    return
                vs = self._api.get(VIRTUALSERVICES, *key_of(vs))
        except ApiError as error:
            log.warning("route.ownership_kept", virtual_service=name, error=str(error))

    def _patched(self, vs: Json, operations: list[Json]) -> bool:
        """Whether the object was still as it was read."""
        try:
            self._patch(vs, operations)
        except (Conflict, Invalid):
            return False
        return True

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
            if cached is not None and ownership.is_ours(cached):
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
                "resourceVersion": _ours(cached, name)["metadata"]["resourceVersion"],
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


def _ours(obj: Json, name: str) -> Json:
    """The object, if canaryd made it: an owner's object of the same name is not written over."""
    if ownership.is_ours(obj):
        return obj
    message = f"{name} was not made by canaryd, and has the name that it needs; rename it"
    raise Conflict(409, "NotOurs", message, "patch", name)
