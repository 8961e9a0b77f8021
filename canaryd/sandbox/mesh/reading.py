"""From the JSON of a VirtualService to what it means; what Istio's webhook refuses is refused here.

The schema of the CRD lets much more through than Istio accepts: weights below zero or all zero, a route
without an action, an expression that does not compile. In a real cluster such an object never gets stored.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import timedelta

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.hosts import full_name
from canaryd.sandbox.mesh.virtualservices import (
    MESH,
    Destination,
    DirectResponse,
    Fault,
    HeaderChanges,
    Headers,
    HttpRoute,
    Match,
    Mirror,
    Redirect,
    RefusedError,
    Retries,
    Rewrite,
    StringMatch,
    VirtualService,
    WeightedDestination,
)

_DURATION = re.compile("".join(rf"(?:(\d+(?:\.\d+)?){unit})?" for unit in ("h", "m", "s", "ms")))


def parse_virtual_service(obj: Json) -> VirtualService:
    """A VirtualService of the API. RefusedError, with the reason, where Istio would not admit it."""
    try:
        return _parse(obj)
    except (KeyError, TypeError, AttributeError) as error:
        raise RefusedError(f"it has a shape that the schema does not allow: {error!r}") from error


def _parse(obj: Json) -> VirtualService:
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    namespace = metadata["namespace"]
    hosts = tuple(full_name(host, namespace) for host in spec.get("hosts") or ())
    if not any(spec.get(kind) for kind in ("http", "tcp", "tls")):
        raise RefusedError("http, tcp or tls must be provided in virtual service")
    if not hosts and spec.get("gateways"):
        raise RefusedError("a delegate (no hosts) must not have gateways")
    return VirtualService(
        namespace=namespace,
        name=metadata["name"],
        hosts=hosts,
        gateways=tuple(spec.get("gateways") or (MESH,)),
        http=tuple(_route(raw, namespace, delegate=not hosts) for raw in spec.get("http") or ()),
        export_to=tuple(spec.get("exportTo") or ()),
        created=metadata.get("creationTimestamp") or "",
    )


def _route(raw: Json, namespace: str, *, delegate: bool) -> HttpRoute:
    route = HttpRoute(
        name=raw.get("name") or "",
        matches=tuple(_match(match) for match in raw.get("match") or ()),
        destinations=tuple(_weighted(entry, namespace) for entry in raw.get("route") or ()),
        delegate=_delegate(raw.get("delegate"), namespace),
        redirect=_redirect(raw.get("redirect")),
        direct_response=_direct_response(raw.get("directResponse")),
        rewrite=_rewrite(raw.get("rewrite")),
        timeout=_seconds(raw.get("timeout")),
        retries=_retries(raw.get("retries")),
        fault=_fault(raw.get("fault")),
        mirrors=_mirrors(raw, namespace),
        headers=_headers(raw["headers"]) if raw.get("headers") else None,
    )
    _check_action(route, delegate=delegate)
    _check_weights(route.destinations)
    return route


def _check_action(route: HttpRoute, *, delegate: bool) -> None:
    actions = (route.destinations, route.delegate, route.redirect, route.direct_response)
    given = sum(bool(action) for action in actions)
    if given == 0:
        raise RefusedError("HTTP route must have a route, a redirect, a direct response or a delegate")
    if given > 1:
        raise RefusedError("HTTP route can have only one of route, redirect, direct response and delegate")
    if delegate and route.delegate is not None:
        raise RefusedError("a delegate must not delegate again")
    if delegate and any(m.gateways or m.source_labels or m.source_namespace for m in route.matches):
        raise RefusedError("a delegate must not match on gateways or sources")


def _check_weights(destinations: tuple[WeightedDestination, ...]) -> None:
    if any(entry.weight < 0 for entry in destinations):
        raise RefusedError("weight must be greater than or equal to 0")
    if len(destinations) > 1 and sum(entry.weight for entry in destinations) == 0:
        raise RefusedError("total destination weight = 0")


def _match(raw: Json) -> Match:
    return Match(
        name=raw.get("name") or "",
        uri=_condition(raw.get("uri")),
        ignore_uri_case=bool(raw.get("ignoreUriCase", False)),
        scheme=_condition(raw.get("scheme")),
        method=_condition(raw.get("method")),
        authority=_condition(raw.get("authority")),
        headers=_conditions(raw.get("headers")),
        without_headers=_conditions(raw.get("withoutHeaders")),
        query=_conditions(raw.get("queryParams")),
        port=raw.get("port") or None,
        gateways=tuple(raw.get("gateways") or ()),
        source_labels=dict(raw.get("sourceLabels") or {}),
        source_namespace=raw.get("sourceNamespace") or "",
    )


def _conditions(raw: Mapping[str, Json | None] | None) -> dict[str, StringMatch]:
    """By name. An entry without a value, or the pattern "*", asks for presence alone."""
    return {name: _condition(value) or StringMatch("present") for name, value in (raw or {}).items()}


def _condition(raw: Json | None) -> StringMatch | None:
    if not raw:
        return None
    if "exact" in raw:
        return StringMatch("exact", raw["exact"])
    if "prefix" in raw:
        return StringMatch("prefix", raw["prefix"])
    if raw["regex"] == "*":
        return StringMatch("present")
    return StringMatch("regex", _compiling(raw["regex"]))


def _compiling(pattern: str) -> str:
    """The pattern. Python's dialect is wider than Envoy's RE2: what slips through here, Envoy refuses."""
    try:
        re.compile(pattern)
    except re.error as error:
        raise RefusedError(f"the regex {pattern!r} does not compile: {error}") from error
    return pattern


def _destination(raw: Json, namespace: str) -> Destination:
    return Destination(
        host=full_name(raw["host"], namespace),
        subset=raw.get("subset") or "",
        port=(raw.get("port") or {}).get("number") or None,
    )


def _weighted(raw: Json, namespace: str) -> WeightedDestination:
    return WeightedDestination(
        destination=_destination(raw["destination"], namespace),
        weight=int(raw.get("weight") or 0),
        headers=_headers(raw.get("headers") or {}),
    )


def _delegate(raw: Json | None, namespace: str) -> tuple[str, str] | None:
    return (raw.get("namespace") or namespace, raw["name"]) if raw else None


def _headers(raw: Json) -> Headers:
    return Headers(_changes(raw.get("request")), _changes(raw.get("response")))


def _changes(raw: Json | None) -> HeaderChanges:
    raw = raw or {}
    return HeaderChanges(
        put=dict(raw.get("set") or {}), add=dict(raw.get("add") or {}), remove=tuple(raw.get("remove") or ())
    )


def _redirect(raw: Json | None) -> Redirect | None:
    if not raw:
        return None
    return Redirect(
        uri=raw.get("uri") or "",
        authority=raw.get("authority") or "",
        scheme=raw.get("scheme") or "",
        port=raw.get("port") or None,
        same_port=raw.get("derivePort") == "FROM_REQUEST_PORT",
        code=raw.get("redirectCode") or 301,
    )


def _direct_response(raw: Json | None) -> DirectResponse | None:
    return DirectResponse(raw["status"], (raw.get("body") or {}).get("string") or "") if raw else None


def _rewrite(raw: Json | None) -> Rewrite | None:
    if not raw:
        return None
    regex = raw.get("uriRegexRewrite") or {}
    return Rewrite(
        uri=raw.get("uri") or "",
        authority=raw.get("authority") or "",
        pattern=_compiling(regex.get("match") or ""),
        replacement=regex.get("rewrite") or "",
    )


def _retries(raw: Json | None) -> Retries | None:
    if raw is None:
        return None
    return Retries(
        attempts=int(raw.get("attempts") or 0),
        per_try_timeout=_seconds(raw.get("perTryTimeout")),
        retry_on=raw.get("retryOn") or "",
        backoff=_seconds(raw.get("backoff")),
        avoid_previous_pods=raw.get("retryIgnorePreviousHosts") is not False,
    )


def _fault(raw: Json | None) -> Fault | None:
    if not raw:
        return None
    abort, delay = raw.get("abort") or {}, raw.get("delay") or {}
    return Fault(
        abort_status=abort.get("httpStatus"),
        # As Istio has it: without a percentage nothing is aborted and nothing delayed.
        abort_percent=_percent(abort.get("percentage"), 0.0),
        delay=_seconds(delay.get("fixedDelay")),
        delay_percent=_percent(delay.get("percentage"), float(delay.get("percent") or 0)),
    )


def _mirrors(raw: Json, namespace: str) -> tuple[Mirror, ...]:
    if raw.get("mirror") and raw.get("mirrors"):
        raise RefusedError("HTTP route cannot contain both mirror and mirrors")
    mirrors = [
        Mirror(_destination(entry["destination"], namespace), _percent(entry.get("percentage"), 100.0))
        for entry in raw.get("mirrors") or ()
    ]
    if raw.get("mirror"):
        old = float(raw.get("mirrorPercent", 100.0))
        share = _percent(raw.get("mirrorPercentage"), old)
        mirrors.append(Mirror(_destination(raw["mirror"], namespace), share))
    return tuple(mirror for mirror in mirrors if mirror.percent > 0)


def _percent(raw: Json | None, default: float) -> float:
    return default if raw is None else float(raw.get("value") or 0.0)


def _seconds(raw: str | None) -> float | None:
    """Seconds of a duration as Go writes it: "1h30m", "1.5s", "100ms"."""
    if not raw:
        return None
    found = _DURATION.fullmatch(raw)
    if found is None:
        raise RefusedError(f"{raw!r} is not a duration, like 5s or 100ms")
    hours, minutes, seconds, millis = (float(part or 0) for part in found.groups())
    return timedelta(hours=hours, minutes=minutes, seconds=seconds, milliseconds=millis).total_seconds()
