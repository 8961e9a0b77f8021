"""VirtualServices: recognising a managed route, its three forms, and the JSON Patch from one to another."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.domain.model import Form, RouteRef, RouteView, Traffic
from canaryd.mesh.hosts import full_host

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
    return list(vs.get("spec", {}).get("gateways") or ["mesh"])


def http_routes(vs: Json) -> list[Json]:
    return list(vs.get("spec", {}).get("http") or [])


def candidates(vs: Json, host: str) -> Iterator[Candidate]:
    """The HTTP routes of `vs` that send requests, or copies of them, to `host`."""
    namespace = vs["metadata"]["namespace"]
    for index, route in enumerate(http_routes(vs)):
        hosts = [_host(entry, namespace) for entry in route.get("route") or []]
        mirrors = [
            m for m in (route.get("mirror"), *(m.get("destination") for m in route.get("mirrors") or [])) if m
        ]
        mirrored = host in [full_host(m.get("host", ""), namespace) for m in mirrors]
        if host in hosts or mirrored:
            yield Candidate(index, route.get("name", ""), route, _objection(route, hosts, host, mirrored))


def _objection(route: Json, hosts: list[str], host: str, mirrored: bool) -> str:
    if mirrored:
        return "mirrors to the Service, so copies of requests would reach canary pods"
    if hosts != [host]:
        return "splits between several destinations: " + ", ".join(hosts)
    subset = route["route"][0]["destination"].get("subset")
    return f"names subset {subset} already" if subset else ""


def other_protocols(vs: Json, host: str) -> list[str]:
    """ "tcp" or "tls" where such a route of `vs` sends to `host`: weights of HTTP routes do not govern it."""
    namespace = vs["metadata"]["namespace"]
    return [
        protocol
        for protocol in ("tcp", "tls")
        for route in vs.get("spec", {}).get(protocol) or []
        if host in [_host(entry, namespace) for entry in route.get("route") or []]
    ]


def _host(entry: Json, namespace: str) -> str:
    return full_host(entry.get("destination", {}).get("host", ""), namespace)


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


def find(vs: Json, ref: RouteRef, host: str) -> int | None:
    """The route's index now: by its name, or by its conditions and destinations where it has none."""
    namespace = vs["metadata"]["namespace"]
    for index, route in enumerate(http_routes(vs)):
        entries = route.get("route") or []
        ours = bool(entries) and all(_host(entry, namespace) == host for entry in entries)
        same = route.get("name", "") == ref.route and (bool(ref.route) or route.get("match") == ref.match)
        if same and ours:
            return index
    return None


def view(vs: Json | None, ref: RouteRef, host: str) -> RouteView:
    """The managed route as it is now. Where its owner wrote a new plain form, that is the first form from now on."""
    if vs is None:
        return RouteView(ref, Traffic() if ref.made else None, gone=not ref.made)
    index = find(vs, ref, host) if ref.made or vs["metadata"].get("uid") == ref.uid else None
    if index is None:
        return RouteView(ref, None, gone=True, by=last_writer(vs))
    entries = http_routes(vs)[index]["route"]
    seen = traffic(entries)
    if seen is not None and seen.form is Form.PLAIN and not ref.made:
        ref = replace(ref, first=entries)
    return RouteView(ref, seen, by=last_writer(vs))


def traffic(entries: list[Json]) -> Traffic | None:
    """The form of a route's destinations; None if canaryd would not have written them."""
    subsets = [entry.get("destination", {}).get("subset") for entry in entries]
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


def patch(vs: Json, ref: RouteRef, host: str, wanted: Traffic) -> list[Json] | None:
    """The JSON Patch that brings the route to `wanted`; None if the route is not there any more.

    A rise, and every change of form, tests the resourceVersion. A fall tests only the route's name and
    destinations: taking traffic from the canary is right whatever else has changed.
    """
    index = find(vs, ref, host)
    if index is None:
        return None
    route = http_routes(vs)[index]
    seen, path = traffic(route["route"]), f"/spec/http/{index}"
    tests: list[Json] = [{"op": "test", "path": f"{path}/name", "value": ref.route}] if ref.route else []
    both = seen is not None and seen.form is Form.SPLIT and wanted.form is Form.SPLIT
    if not (seen is not None and wanted.canary_share_below(seen)):
        version = vs["metadata"]["resourceVersion"]
        tests.append({"op": "test", "path": "/metadata/resourceVersion", "value": version})
    if both:
        tests += _destinations(path, route["route"])
        return [*tests, *_weights(path, wanted)]
    tests.append({"op": "test", "path": f"{path}/route", "value": route["route"]})
    return [*tests, {"op": "replace", "path": f"{path}/route", "value": entries_for(ref, wanted)}]


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
            "labels": {"app.kubernetes.io/managed-by": "canaryd"},
            "ownerReferences": [owner],
        },
        "spec": {"hosts": [host], "http": [{"name": ref.route, "route": entries_for(ref, wanted)}]},
    }


def last_writer(vs: Json) -> str:
    """Who wrote the routes last, by managedFields: a field manager and the time; "" if nobody is named."""
    owners = [
        entry
        for entry in vs["metadata"].get("managedFields") or []
        if "f:http" in (entry.get("fieldsV1") or {}).get("f:spec", {})
    ]
    if not owners:
        return ""
    newest = max(owners, key=lambda entry: entry.get("time") or "")
    return f"{newest.get('manager', 'somebody')} at {newest.get('time', 'an unknown time')}"


def owners_given_back(vs: Json, saved: Any) -> list[Json] | None:
    """managedFields without canaryd's entry and with what it took; None if there is nothing to give back.

    Without this a server-side apply by the owner would end in a conflict with canaryd.
    """
    current = vs["metadata"].get("managedFields") or []
    if not any(entry.get("manager") == "canaryd" for entry in current):
        return None
    first = {_owner(entry): entry for entry in saved or []}
    kept = [first.get(_owner(entry), entry) for entry in current if entry.get("manager") != "canaryd"]
    back = [entry for entry in first.values() if _owner(entry) not in {_owner(k) for k in kept}]
    return [*kept, *(entry for entry in back if entry.get("manager") != "canaryd")] or [{}]


def _owner(entry: Json) -> tuple[Any, ...]:
    return (entry.get("manager"), entry.get("operation"), entry.get("subresource", ""))
