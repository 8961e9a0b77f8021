"""Local copies of what runs are decided from, with canaryd's own writes seen at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from canaryd.cluster.reflector import Reflector
from canaryd.cluster.resources import (
    CANARYRUNS,
    DEPLOYMENTS,
    DESTINATIONRULES,
    PODS,
    REPLICASETS,
    SERVICES,
    VIRTUALSERVICES,
    Json,
    Key,
    Resource,
)
from canaryd.cluster.transport import Api
from canaryd.cluster.workloads import owned_by, owns_pause

ROLE = "canaryd.io/role"
_OWN_WRITE_LIFE = 30.0  # seconds that an own write is believed of an object that no watch has shown

OnChange = Callable[[Resource, Key, Json | None, Json | None], None]


class Cache:
    """A reflector, and over it what canaryd wrote itself until the watch tells of it."""

    def __init__(
        self,
        api: Api,
        resource: Resource,
        on_change: OnChange,
        *,
        keep: Callable[[Json], Json | None] = lambda obj: obj,
        labels: str = "",
    ) -> None:
        self._own: dict[Key, tuple[float, Json]] = {}
        self._lock = threading.Lock()
        self._tell = on_change
        self._resource = resource
        self.reflector: Reflector[Json] = Reflector(
            api, resource, parse=keep, on_change=self._changed, labels=labels
        )

    def saw(self, obj: Json) -> None:
        """The server's answer to a write of ours."""
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        with self._lock:
            own = self._own.get(key)
            if own is None or _version(own[1]) <= _version(obj):
                self._own[key] = (time.monotonic(), obj)

    def get(self, key: Key) -> Json | None:
        watched = self.reflector.get(key)
        with self._lock:
            own = self._own.get(key)
            if own is None:
                return watched
            at, obj = own
            # A watch that has stalled must not bring an older state back: it would look like somebody's edit.
            told = _version(watched) >= _version(obj) if watched else time.monotonic() - at > _OWN_WRITE_LIFE
            if told:
                del self._own[key]
                return watched
            return obj

    def items(self) -> Iterator[Json]:
        """Every object; own writes in their newest form."""
        keys = [key for key, _ in self.reflector.items()]
        with self._lock:
            keys += [key for key in self._own if key not in set(keys)]
        for key in keys:
            obj = self.get(key)
            if obj is not None:
                yield obj

    def _changed(self, key: Key, old: Json | None, new: Json | None) -> None:
        if new is None:
            with self._lock:
                self._own.pop(key, None)
        self._tell(self._resource, key, old, new)


def _version(obj: Json) -> int:
    version = obj["metadata"].get("resourceVersion", "0")
    return int(version) if version.isdigit() else 0


def _slim(obj: Json) -> Json:
    meta = {k: v for k, v in obj["metadata"].items() if k != "managedFields"}
    return {**obj, "metadata": meta}


def _managed(obj: Json) -> Json | None:
    """A Deployment that is managed, was, or is a canary of ours; others are not kept."""
    meta = obj["metadata"]
    annotated = any(name.startswith("canaryd.io/") for name in meta.get("annotations") or {})
    return obj if annotated or ROLE in (meta.get("labels") or {}) or owns_pause(obj) else None


class Caches:
    """All caches together."""

    def __init__(self, api: Api, on_change: OnChange) -> None:
        self.deployments = Cache(api, DEPLOYMENTS, on_change, keep=_managed)
        self.replicasets = Cache(api, REPLICASETS, on_change, keep=_slim)
        self.canary_pods = Cache(api, PODS, on_change, keep=_slim, labels=f"{ROLE}=canary")
        self.services = Cache(api, SERVICES, on_change, keep=_slim)
        self.virtualservices = Cache(api, VIRTUALSERVICES, on_change)
        self.destinationrules = Cache(api, DESTINATIONRULES, on_change)
        self.runs = Cache(api, CANARYRUNS, on_change, keep=_slim)
        self._all = (
            self.deployments,
            self.replicasets,
            self.canary_pods,
            self.services,
            self.virtualservices,
            self.destinationrules,
            self.runs,
        )

    def start(self) -> None:
        for cache in self._all:
            cache.reflector.start()

    def stop(self) -> None:
        for cache in self._all:
            cache.reflector.stop()

    def unsynced(self) -> list[str]:
        """Resources whose first list has not come in yet."""
        return [str(cache.reflector.resource) for cache in self._all if not cache.reflector.synced.is_set()]

    def replicasets_of(self, deployment: Json) -> list[Json]:
        uid, namespace = deployment["metadata"]["uid"], deployment["metadata"]["namespace"]
        return [
            rs
            for rs in self.replicasets.items()
            if rs["metadata"]["namespace"] == namespace and owned_by(rs, uid)
        ]

    def pods_of_canary(self, namespace: str, revision: str) -> list[Json]:
        return [
            pod
            for pod in self.canary_pods.items()
            if pod["metadata"]["namespace"] == namespace
            and pod["metadata"]["labels"].get("canaryd.io/revision") == revision
        ]
