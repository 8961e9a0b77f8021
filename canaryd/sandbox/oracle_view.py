"""How the oracle reads routes, subsets and runs: from raw objects alone, sharing no code with what it checks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from itertools import zip_longest
from typing import Any, NamedTuple

from canaryd.cluster.resources import Json

OURS = {"stable", "canary"}
ENDED = ("Succeeded", "RolledBack")


class Share(NamedTuple):
    """A destination that names a subset of ours: host as "name.namespace", weight in percent."""

    host: str
    subset: str
    weight: int


def host_of(host: str, namespace: str) -> str:
    """ "checkout", "checkout.shop" and "checkout.shop.svc.cluster.local" as "checkout.shop"."""
    name, *rest = host.split(".")
    return f"{name}.{rest[0] if rest else namespace}"


def routes(vs: Json | None) -> Iterator[list[Json]]:
    """The destinations of each route."""
    for route in vs["spec"].get("http") or [] if vs else ():
        yield route.get("route") or []


def managed(entries: list[Json]) -> bool:
    """Whether a route names a subset of ours."""
    return any(entry["destination"].get("subset") in OURS for entry in entries)


def splits(vs: Json | None) -> Iterator[list[Json]]:
    """Routes between our two subsets."""
    for entries in routes(vs):
        if len(entries) > 1 and managed(entries):
            yield entries


def shares(vs: Json | None) -> Iterator[Share]:
    """Every destination that names a subset of ours; a lone destination has all traffic."""
    for entries in routes(vs):
        for entry in entries:
            subset = entry["destination"].get("subset")
            if subset in OURS and vs is not None:
                host = host_of(entry["destination"]["host"], vs["metadata"]["namespace"])
                yield Share(host, subset, 100 if len(entries) == 1 else entry.get("weight") or 0)


def canary_weight(vs: Json | None) -> int:
    """Percent; 0 where there is no canary."""
    return max(_canary_by_route(vs), default=0)


def rises(before: Json | None, after: Json | None) -> bool:
    """Whether a route gives the canary more than it did."""
    pairs = zip_longest(_canary_by_route(before), _canary_by_route(after), fillvalue=0)
    return any(new > old for old, new in pairs)


def _canary_by_route(vs: Json | None) -> list[int]:
    return [
        sum(
            100 if len(entries) == 1 else entry.get("weight") or 0
            for entry in entries
            if entry["destination"].get("subset") == "canary"
        )
        for entries in routes(vs)
    ]


def names_version(request: bytes) -> bool:
    """Whether a write's request makes the server refuse it where the object is not what was read.

    A list is a JSON Patch. For a deletion the uid is enough: it is meant whatever has become of the object.
    """
    body = json.loads(request or b"{}")
    if isinstance(body, list):
        return any(
            operation["op"] in ("test", "replace", "add")
            and operation["path"] == "/metadata/resourceVersion"
            and operation.get("value")
            for operation in body
        )
    preconditions = body.get("preconditions") or {}
    meta = body.get("metadata") or {}
    return bool(
        meta.get("resourceVersion") or preconditions.get("resourceVersion") or preconditions.get("uid")
    )


def plain_to(vs: Json | None, host: str) -> bool:
    """Whether a route sends to all pods of `host` ("name.namespace")."""
    return vs is not None and any(
        not entry["destination"].get("subset")
        and host_of(entry["destination"]["host"], vs["metadata"]["namespace"]) == host
        for entries in routes(vs)
        for entry in entries
    )


def subsets(rule: Json | None) -> dict[str, Mapping[str, str]]:
    """Labels by subset."""
    return {s["name"]: s.get("labels") or {} for s in (rule["spec"].get("subsets") or [] if rule else ())}


def status(run: Json | None) -> Json:
    return (run or {}).get("status") or {}


def run_host(run: Json) -> str:
    """The Service that the run steps, as "name.namespace"."""
    return f"{status(run).get('service', '')}.{run['metadata']['namespace']}"


def run_routes(run: Json) -> set[tuple[str, str]]:
    """Namespace and name of the VirtualServices that a run manages routes of."""
    refs = [route["virtualService"] for route in status(run).get("routes") or []]
    return {(ref["namespace"], ref["name"]) for ref in refs}


def role(obj: Json | None) -> str:
    """The value of canaryd's label for roles, "" without it."""
    return str(((obj or {}).get("metadata", {}).get("labels") or {}).get("canaryd.io/role", ""))


def is_ready(pod: Json | None) -> bool:
    """Ready, and not on its way out."""
    return (
        pod is not None
        and "deletionTimestamp" not in pod["metadata"]
        and any(
            c.get("type") == "Ready" and c.get("status") == "True"
            for c in (pod.get("status") or {}).get("conditions") or []
        )
    )


def replicas(deployment: Json | None) -> int:
    """Wanted pods; 0 for one that is gone or going."""
    if deployment is None or "deletionTimestamp" in deployment["metadata"]:
        return 0
    return int(deployment["spec"].get("replicas", 1))


def without_managed(before: Json, after: Json) -> tuple[Any, Any]:
    """Both states of a VirtualService without what a release may change: the destinations of routes that
    name a subset of ours before or after."""
    old, new = _copy(before), _copy(after)
    pairs = zip(old["spec"].get("http") or [], new["spec"].get("http") or [], strict=False)
    for one, other in pairs:
        if managed(one.get("route") or []) or managed(other.get("route") or []):
            one.pop("route", None)
            other.pop("route", None)
    return old, new


def _copy(vs: Json) -> Any:
    copy = json.loads(json.dumps({k: v for k, v in vs.items() if k != "status"}))
    for name in ("resourceVersion", "generation", "managedFields"):
        copy["metadata"].pop(name, None)
    return copy


def difference(before: Json, after: Json) -> str:
    """The names of the fields that differ."""
    changed = {k for k in {*before, *after} if before.get(k) != after.get(k)}
    return ", ".join(sorted(changed))


def twin_differs(entries: list[Json]) -> bool:
    """Whether the destinations of a split differ in more than subset and weight."""
    bare = [
        {
            **{k: v for k, v in entry.items() if k != "weight"},
            "destination": {k: v for k, v in entry["destination"].items() if k != "subset"},
        }
        for entry in entries
    ]
    return any(entry != bare[0] for entry in bare)
