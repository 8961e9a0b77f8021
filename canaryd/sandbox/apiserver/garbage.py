"""What the cluster clears away by itself: dependents of gone owners, and the content of namespaces and
definitions on their way out.

The rules are those of Kubernetes' garbage collector. It works from an index of owners that every commit
updates, on the server's own loop, right after the write that made the work.
"""

from __future__ import annotations

import asyncio
import logging
from collections import defaultdict
from collections.abc import Callable, Iterable

from canaryd.cluster.resources import Json, Key
from canaryd.sandbox.apiserver.core import Core
from canaryd.sandbox.apiserver.definitions import CLEANUP
from canaryd.sandbox.apiserver.deletion import FOREGROUND, ORPHAN, DeleteOptions, delete
from canaryd.sandbox.apiserver.errors import StatusError
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.paths import ApiPath, RequestInfo
from canaryd.sandbox.apiserver.store import Change, Snapshot

_log = logging.getLogger(__name__)
Place = tuple[str, Key]
"""Where an object is: its resource's store key, and its own key."""


def _owner_uids(snapshot: Snapshot | None) -> set[str]:
    if snapshot is None:
        return set()
    return {owner["uid"] for owner in snapshot.body["metadata"].get("ownerReferences") or ()}


class GarbageCollector:
    """Knows all owners from its creation on; run it as a task, and close it in the end."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._live: dict[str, Place] = {}
        self._dependents: defaultdict[str, set[Place]] = defaultdict(set)
        self._dirty: dict[Place, None] = {}
        self._wake = asyncio.Event()
        for resource in core.store.resources():
            for key, snapshot in core.store.all(resource):
                self._observe(Change("ADDED", resource, key, None, snapshot))
        self.close = core.store.subscribe(self._observe)

    def _observe(self, change: Change) -> None:
        place = (change.resource, change.key)
        for uid in _owner_uids(change.before):
            self._dependents[uid].discard(place)
        uid = change.after.body["metadata"]["uid"]
        if change.type == "DELETED":
            self._live.pop(uid, None)
            self._examine(self._dependents.get(uid, ()))
            self._examine(self._waiting_for(change))
        else:
            self._live[uid] = place
            for owner in _owner_uids(change.after):
                self._dependents[owner].add(place)
            if change.after.body["metadata"].keys() & {"ownerReferences", "deletionTimestamp"}:
                self._examine([place])

    def _waiting_for(self, change: Change) -> Iterable[Place]:
        """What may be finished once this object is gone: owners, its namespace, its definition."""
        owners = [self._live[uid] for uid in _owner_uids(change.before) if uid in self._live]
        return [*owners, ("namespaces", ("", change.key[0])),
                ("customresourcedefinitions.apiextensions.k8s.io", ("", change.resource))]  # fmt: skip

    def _examine(self, places: Iterable[Place]) -> None:
        self._dirty.update(dict.fromkeys(places))
        if self._dirty:
            self._wake.set()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            work, self._dirty = list(self._dirty), {}
            for place in work:
                self._settle(place)
            await asyncio.sleep(0)

    def _settle(self, place: Place) -> None:
        resource = self._core.registry.by_store_key(place[0])
        found = self._core.store.get(*place)
        if resource is None or found is None:
            return
        try:
            if found.body["metadata"].get("deletionTimestamp"):
                self._advance(resource, place, found)
            else:
                self._keep_or_collect(resource, place, found)
        except StatusError as error:
            _log.warning("garbage collection of %s %s: %s", *place, error.message)

    # ---- objects whose owners are gone --------------------------------------------------------------

    def _keep_or_collect(self, resource: ResourceType, place: Place, found: Snapshot) -> None:
        owners = found.body["metadata"].get("ownerReferences") or []
        if not owners:
            return
        absent = [owner for owner in owners if self._is_absent(owner, place[1][0])]
        waiting = [owner for owner in owners if self._waits_for_dependents(owner)]
        solid = [owner for owner in owners if owner not in absent and owner not in waiting]
        if solid:
            if absent or waiting:
                self._put_owners(resource, place, found, solid)
        elif waiting:
            self._delete(resource, place, found, "Foreground")
        elif absent:
            self._delete(resource, place, found, "Background")

    def _is_absent(self, owner: Json, namespace: str) -> bool:
        """True if the owner does not exist; one of a kind that is not served is left in doubt."""
        place = self._live.get(owner["uid"])
        if place is not None:
            return place[1][0] not in ("", namespace)
        return self._core.registry.by_kind(owner["apiVersion"], owner["kind"]) is not None

    def _waits_for_dependents(self, owner: Json) -> bool:
        place = self._live.get(owner["uid"])
        found = self._core.store.get(*place) if place else None
        if found is None:
            return False
        meta = found.body["metadata"]
        return bool(meta.get("deletionTimestamp")) and FOREGROUND in (meta.get("finalizers") or ())

    # ---- objects on their way out -------------------------------------------------------------------

    def _advance(self, resource: ResourceType, place: Place, found: Snapshot) -> None:
        meta = found.body["metadata"]
        finalizers = meta.get("finalizers") or []
        if ORPHAN in finalizers:
            for dependent, snapshot in self._dependents_of(meta["uid"]):
                left = [o for o in snapshot.body["metadata"]["ownerReferences"] if o["uid"] != meta["uid"]]
                held = self._core.registry.by_store_key(dependent[0])
                if held is not None:
                    self._put_owners(held, dependent, snapshot, left)
            self._drop_finalizer(resource, place, ORPHAN)
        elif FOREGROUND in finalizers:
            self._wait_for_dependents(resource, place, meta["uid"])
        elif CLEANUP in finalizers:
            self._empty_definition(resource, place, found)
        elif place[0] == "namespaces":
            self._empty_namespace(resource, place)

    def _dependents_of(self, uid: str) -> list[tuple[Place, Snapshot]]:
        places = list(self._dependents.get(uid, ()))
        found = [(place, self._core.store.get(*place)) for place in places]
        return [(place, snapshot) for place, snapshot in found if snapshot is not None]

    def _wait_for_dependents(self, resource: ResourceType, place: Place, uid: str) -> None:
        for dependent, snapshot in self._dependents_of(uid):
            if not snapshot.body["metadata"].get("deletionTimestamp"):
                self._settle(dependent)
        blocking = [
            snapshot
            for _, snapshot in self._dependents_of(uid)
            if any(
                owner["uid"] == uid and owner.get("blockOwnerDeletion")
                for owner in snapshot.body["metadata"]["ownerReferences"]
            )
        ]
        if not blocking:
            self._drop_finalizer(resource, place, FOREGROUND)

    def _empty_namespace(self, resource: ResourceType, place: Place) -> None:
        namespace = place[1][1]
        if self._delete_where(lambda _resource, key: key[0] == namespace):
            return
        found = self._core.store.get(*place)
        if found is not None and not found.body["metadata"].get("finalizers"):
            self._core.remove(resource, place[1], self._info("delete", resource, place))

    def _empty_definition(self, resource: ResourceType, place: Place, found: Snapshot) -> None:
        spec = found.body["spec"]
        store_key = f"{spec['names']['plural']}.{spec['group']}"
        if not self._delete_where(lambda name, _key: name == store_key):
            self._drop_finalizer(resource, place, CLEANUP)

    def _delete_where(self, chosen: Callable[[str, Key], bool]) -> int:
        """Delete all chosen objects; the answer is how many are still there."""
        store, left = self._core.store, 0
        for name in store.resources():
            resource = self._core.registry.by_store_key(name)
            places = [(name, key) for key, _ in store.all(name) if chosen(name, key)]
            for place in places if resource else ():
                found = store.get(*place)
                if found is not None and resource is not None:
                    if not found.body["metadata"].get("deletionTimestamp"):
                        self._delete(resource, place, found, "Background")
                    left += store.get(*place) is not None
        return left

    # ---- the writes ---------------------------------------------------------------------------------

    def _info(self, verb: str, resource: ResourceType, place: Place) -> RequestInfo:
        path = ApiPath(resource.group, resource.storage, resource.plural, *place[1])
        return RequestInfo(verb, path, {}, user_agent="garbage-collector")

    def _delete(self, resource: ResourceType, place: Place, found: Snapshot, propagation: str) -> None:
        options = DeleteOptions(propagation=propagation, uid=found.body["metadata"]["uid"])
        delete(self._core, resource, place[1], options, self._info("delete", resource, place))

    def _put_owners(self, resource: ResourceType, place: Place, found: Snapshot, owners: list[Json]) -> None:
        meta = {key: value for key, value in found.body["metadata"].items() if key != "ownerReferences"}
        if owners:
            meta["ownerReferences"] = owners
        body = {**found.body, "metadata": meta}
        self._core.commit(resource, place[1], body, self._info("patch", resource, place))

    def _drop_finalizer(self, resource: ResourceType, place: Place, name: str) -> None:
        found = self._core.store.get(*place)
        if found is None:
            return
        left = [other for other in found.body["metadata"].get("finalizers") or () if other != name]
        info = self._info("patch", resource, place)
        if not left:
            self._core.remove(resource, place[1], info)
            return
        body = {**found.body, "metadata": {**found.body["metadata"], "finalizers": left}}
        self._core.commit(resource, place[1], body, info)
