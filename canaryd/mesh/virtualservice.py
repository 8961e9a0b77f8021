"""VirtualServices: recognising a managed route, its three forms, and the JSON Patch from one to another."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace

from canaryd.cluster.resources import Json
from canaryd.domain.model import Form, RouteRef, Traffic
from canaryd.domain.world import RouteView
from canaryd.mesh.hosts import full_host
from canaryd.mesh.ownership import OURS, last_writer

STABLE, CANARY = "stable", "canary"


@dataclass(frozen=True, slots=True)
class Candidate:
    """A route that sends to the Service, and why it cannot be managed ("" if it can)."""

    index: int
    name: str
    route: Json
    objection: str


def gateways(vs: Json) -> list[str]:
    """The gateways that the VirtualService is bound to; `mesh` where it names none."""
    return list((vs.get("spec") or {}).get("gateways") or ["mesh"])


def http_routes(vs: Json) -> list[Json]:
    """The HTTP routes, in the order in which they are tried."""
    return list((vs.get("spec") or {}).get("http") or [])


def candidates(vs: Json, host: str) -> Iterator[Candidate]:
    """The HTTP routes of `vs` that send requests, or copies of them, to `host`.

    One with the name and the conditions of an earlier one is left out: no request ever gets to it.
    """
    namespace = vs["metadata"]["namespace"]
    told: list[tuple[str, object]] = []
    for index, route in enumerate(http_routes(vs)):
        entries = route.get("route") or []
        mirrored = host in [full_host(m.get("host", ""), namespace) for m in _mirrors(route)]
        identity = (route.get("name", ""), route.get("match"))
        if (mirrored or _sends(entries, namespace, host)) and identity not in told:
            told.append(identity)
            yield Candidate(index, route.get("name", ""), route, _objection(entries, namespace, mirrored))


def _mirrors(route: Json) -> Iterator[Json]:
    """Destinations that get copies of requests."""
    for mirror in (route.get("mirror"), *(m.get("destination") for m in route.get("mirrors") or [])):
        if mirror:
            yield mirror


def _objection(entries: list[Json], namespace: str, mirrored: bool) -> str:
    if mirrored:
        return "mirrors to the Service, so copies of requests would reach canary pods"
    if len(entries) > 1:
        return "splits between several destinations: " + ", ".join(_label(e, namespace) for e in entries)
    subset = entries[0]["destination"].get("subset")
    return f"names subset {subset} already" if subset else ""


def _label(entry: Json, namespace: str) -> str:
    subset = (entry.get("destination") or {}).get("subset")
    return _host(entry, namespace) + (f" subset {subset}" if subset else "")


def other_protocols(vs: Json, host: str) -> list[str]:
    """ "tcp" or "tls" where such a route of `vs` sends to `host`: weights of HTTP routes do not govern it."""
    namespace = vs["metadata"]["namespace"]
    spec = vs.get("spec") or {}
    return [
        protocol
        for protocol in ("tcp", "tls")
        if any(_sends(route.get("route") or [], namespace, host) for route in spec.get(protocol) or [])
    ]


def _host(entry: Json, namespace: str) -> str:
    return full_host((entry.get("destination") or {}).get("host", ""), namespace)


def _sends(entries: list[Json], namespace: str, host: str) -> bool:
    return any(_host(entry, namespace) == host for entry in entries)


def reference(vs: Json, candidate: Candidate) -> RouteRef:
    """What is kept of a route in order to find it again and to put it back."""
    meta = vs["metadata"]
    return RouteRef(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta.get("uid", ""),
        route=candidate.name,
        match=candidate.route.get("match"),
        first=candidate.route["route"],
        owners=meta.get("managedFields"),
    )


def find(vs: Json, ref: RouteRef, host: str, siblings: Iterable[RouteRef] = ()) -> int | None:
    """The route's index now; None where no route is it any more. Only one that still sends to `host` can be.

    By its name, and by its conditions where it has none or shares it. Where its owner changed these while it
    names canaryd's subsets, it is the one such route that none of the `siblings` (other managed routes of
    the run) is: left alone it would answer 503 once the subsets are removed.
    """
    namespace = vs["metadata"]["namespace"]
    sending = {
        index: route
        for index, route in enumerate(http_routes(vs))
        if _sends(route.get("route") or [], namespace, host)
    }
    known = _by_identity(sending, ref)
    if known is not None:
        return known
    others = {
        _by_identity(sending, other)
        for other in siblings
        if other != ref and (other.namespace, other.name) == (ref.namespace, ref.name)
    }
    lost = [
        i for i, route in sending.items() if i not in others and _names_ours(route["route"], namespace, host)
    ]
    return lost[0] if len(lost) == 1 else None


def _by_identity(routes: Mapping[int, Json], ref: RouteRef) -> int | None:
    named = [index for index, route in routes.items() if route.get("name", "") == ref.route]
    alike = [index for index in named if routes[index].get("match") == ref.match]
    return next(iter(alike or (named if ref.route else [])), None)


def _names_ours(entries: list[Json], namespace: str, host: str) -> bool:
    return any(
        _host(entry, namespace) == host and entry["destination"].get("subset") in (STABLE, CANARY)
        for entry in entries
    )


def names_subsets(vs: Json) -> bool:
    """Whether any route names a subset that is called as canaryd's are."""
    return any(
        (entry.get("destination") or {}).get("subset") in (STABLE, CANARY)
        for route in http_routes(vs)
        for entry in route.get("route") or []
    )


def view(vs: Json | None, ref: RouteRef, host: str, siblings: Iterable[RouteRef] = ()) -> RouteView:
    """The managed route as it is now, found as `find` does.

    Where its owner wrote a new plain form, that is the first form from now on. A route of which nothing is
    canaryd's any more is its owner's again, as one that was deleted: `gone`. While a destination names one
    of canaryd's subsets it is not, whatever else has changed.
    """
    if vs is None:
        return RouteView(ref, Traffic() if ref.made else None, gone=not ref.made)
    by, index = last_writer(vs), find(vs, ref, host, siblings)
    if ref.made:
        # Plain is what there is without the object: with it, even a plain route is not yet put back.
        seen = None if index is None else _seen(vs, index, host)
        return RouteView(ref, None if seen == Traffic() else seen, by=by)
    if index is None:
        return RouteView(ref, None, gone=True, by=by)
    route, meta = http_routes(vs)[index], vs["metadata"]
    if not _names_ours(route["route"], meta["namespace"], host):
        if _seen(vs, index, host) != Traffic() or meta.get("uid", "") != ref.uid:
            return RouteView(ref, None, gone=True, by=by)
        ref = replace(ref, first=route["route"])
    now = replace(ref, uid=meta.get("uid", ""), route=route.get("name", ""), match=route.get("match"))
    return RouteView(now, _seen(vs, index, host), by=by)


def _seen(vs: Json, index: int, host: str) -> Traffic | None:
    return traffic(http_routes(vs)[index]["route"], vs["metadata"]["namespace"], host)


def traffic(entries: list[Json], namespace: str, host: str) -> Traffic | None:
    """The form of a route's destinations; None if canaryd would not have written them for `host`."""
    if any(_host(entry, namespace) != host for entry in entries):
        return None
    subsets = [entry["destination"].get("subset") for entry in entries]
    if subsets == [None]:
        return Traffic(Form.PLAIN)
    if subsets == [STABLE]:
        return Traffic(Form.FENCED)
    if subsets != [STABLE, CANARY]:
        return None
    weights = [entry.get("weight", 0) for entry in entries]
    if not all(isinstance(w, int) and w >= 0 for w in weights) or sum(weights) != 100:
        return None
    return Traffic(Form.SPLIT, weights[1])


def entries_for(ref: RouteRef, wanted: Traffic) -> list[Json]:
    """The route's destinations in the wanted form; all else of the first form's destination stays."""
    first: list[Json] = ref.first
    if wanted.form is Form.PLAIN:
        return first
    base = first[0]
    stable = {**base, "destination": {**base["destination"], "subset": STABLE}}
    if wanted.form is Form.FENCED:
        return [stable]
    canary = {**base, "destination": {**base["destination"], "subset": CANARY}}
    return [{**stable, "weight": 100 - wanted.weight}, {**canary, "weight": wanted.weight}]


@dataclass(frozen=True, slots=True)
class RoutePatch:
    """A JSON Patch of one route, empty where it is as wanted. A fall carries no resourceVersion."""

    operations: list[Json]
    falls: bool


def patch(
    vs: Json, ref: RouteRef, host: str, wanted: Traffic, siblings: Iterable[RouteRef] = ()
) -> RoutePatch | None:
    """What brings the route to `wanted`; None if the route is not there any more.

    A rise, and every change of form, carries the resourceVersion (409 where it is not the current one). A
    fall tests only the route's name, or its conditions where it has none, and its destinations (422): taking
    traffic from the canary is right whatever else has changed.
    """
    index = find(vs, ref, host, siblings)
    if index is None:
        return None
    route, seen, path = http_routes(vs)[index], _seen(vs, index, host), f"/spec/http/{index}"
    if seen == wanted:
        return RoutePatch([], falls=False)
    split = seen is not None and seen.form is Form.SPLIT and wanted.form is Form.SPLIT
    falls = split and seen is not None and wanted.canary_share_below(seen)
    operations = _identity(path, route) + ([] if falls else [_version(vs)])
    if split:
        operations += _destinations(path, route["route"]) + _weights(path, wanted)
    else:
        operations += [
            {"op": "test", "path": f"{path}/route", "value": route["route"]},
            {"op": "replace", "path": f"{path}/route", "value": entries_for(ref, wanted)},
        ]
    return RoutePatch(operations, falls)


def _identity(path: str, route: Json) -> list[Json]:
    """That the route at this index is still the one: JSON Patch cannot look for it."""
    key = "name" if route.get("name") else "match"
    return [{"op": "test", "path": f"{path}/{key}", "value": route[key]}] if route.get(key) else []


def _version(vs: Json) -> Json:
    return {"op": "replace", "path": "/metadata/resourceVersion", "value": vs["metadata"]["resourceVersion"]}


def _destinations(path: str, entries: list[Json]) -> list[Json]:
    return [
        {"op": "test", "path": f"{path}/route/{i}/destination", "value": entry["destination"]}
        for i, entry in enumerate(entries)
    ]


def _weights(path: str, wanted: Traffic) -> list[Json]:
    return [
        {"op": "add", "path": f"{path}/route/{i}/weight", "value": weight}
        for i, weight in enumerate((100 - wanted.weight, wanted.weight))
    ]


def made(ref: RouteRef, host: str, wanted: Traffic, owner: Json) -> Json:
    """The VirtualService made for a run where none governs the mesh: the same semantics as none."""
    return {
        "metadata": {
            "name": ref.name,
            "namespace": ref.namespace,
            "labels": OURS,
            "ownerReferences": [owner],
        },
        "spec": {"hosts": [host], "http": [{"name": ref.route, "route": entries_for(ref, wanted)}]},
    }


def made_patch(vs: Json, ref: RouteRef, host: str, wanted: Traffic, owner: Json) -> RoutePatch:
    """What brings the VirtualService made for a run to `wanted`. The object is canaryd's: all of it is written.

    Its owner is the run that needs it now: the run that it was made for may be deleted meanwhile.
    """
    spec = made(ref, host, wanted, owner)["spec"]
    index = find(vs, ref, host)
    seen = None if index is None else _seen(vs, index, host)
    falls = seen is not None and wanted.form is Form.SPLIT and wanted.canary_share_below(seen)
    differing: list[Json] = [
        {"op": "add", "path": path, "value": value}
        for path, value, now in (
            ("/metadata/ownerReferences", [owner], vs["metadata"].get("ownerReferences")),
            ("/spec", spec, vs.get("spec")),
        )
        if now != value
    ]
    return RoutePatch(differing if falls or not differing else [_version(vs), *differing], falls)
