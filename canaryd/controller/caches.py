"""Local copies of what runs are decided from, with canaryd's own writes seen at once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import partial

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
EVERYWHERE = ""  # the namespace that stands for all of them
_OWN_WRITE_LIFE = 30.0  # seconds that an own write is believed of an object that no watch has shown

OnChange = Callable[[Resource, Key, Json | None, Json | None], None]


class Cache:
    """What reflectors hold, and over it what canaryd wrote itself until the watch tells of it.

    There is a reflector for each of `namespaces`, or one for the whole cluster where none is named.
    """

    def __init__(
        self,
        api: Api,
        resource: Resource,
        on_change: OnChange,
        *,
        namespaces: Iterable[str] = (),
        keep: Callable[[Json], Json | None] = lambda obj: obj,
        labels: str = "",
    ) -> None:
        self._own: dict[Key, tuple[float, Json]] = {}
        self._lock = threading.Lock()
        self._tell = on_change
        self._resource = resource
        self.reflectors: Mapping[str, Reflector[Json]] = {
            namespace: Reflector(
                api, resource, parse=keep, on_change=self._changed, namespace=namespace, labels=labels
            )
            for namespace in tuple(namespaces) or (EVERYWHERE,)
        }

    def saw(self, obj: Json) -> None:
        """The server's answer to a write of ours."""
        meta = obj["metadata"]
        key = (meta.get("namespace", ""), meta["name"])
        with self._lock:
            own = self._own.get(key)
            if own is None or _version(own[1]) <= _version(obj):
                self._own[key] = (time.monotonic(), obj)

    def get(self, key: Key) -> Json | None:
        reflector = self.reflectors.get(key[0]) or self.reflectors.get(EVERYWHERE)
        watched = reflector.get(key) if reflector else None
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
        keys = [key for reflector in self.reflectors.values() for key, _ in reflector.items()]
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
    """All caches together, of `namespaces` or of the whole cluster where none is named.

    DestinationRules are those of the mesh's root namespace, too: these hold for hosts everywhere.
    """

    def __init__(
        self, api: Api, on_change: OnChange, *, namespaces: Sequence[str] = (), root_namespace: str = ""
    ) -> None:
        cache = partial(Cache, api, on_change=on_change, namespaces=namespaces)
        ruled = dict.fromkeys((*namespaces, root_namespace)) if namespaces else ()
        self.deployments = cache(DEPLOYMENTS, keep=_managed)
        self.replicasets = cache(REPLICASETS, keep=_slim)
        self.canary_pods = cache(PODS, keep=_slim, labels=f"{ROLE}=canary")
        self.services = cache(SERVICES, keep=_slim)
        self.virtualservices = cache(VIRTUALSERVICES)
        self.destinationrules = cache(DESTINATIONRULES, namespaces=ruled)
        self.runs = cache(CANARYRUNS, keep=_slim)
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
        for reflector in self._reflectors():
            reflector.start()

    def stop(self) -> None:
        for reflector in self._reflectors():
            reflector.stop()

    def unsynced(self) -> list[str]:
        """Resources whose first list has not come in yet."""
        missing = [
            str(reflector.resource) for reflector in self._reflectors() if not reflector.synced.is_set()
        ]
        return list(dict.fromkeys(missing))

    def _reflectors(self) -> Iterator[Reflector[Json]]:
        for cache in self._all:
            yield from cache.reflectors.values()

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
