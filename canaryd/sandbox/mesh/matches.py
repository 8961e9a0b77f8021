"""The conditions of a match, in Envoy's words."""

from __future__ import annotations

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.virtualservices import Match, StringMatch


def route_match(match: Match | None) -> Json:
    """Envoy's RouteMatch; None is everything. Who asks (gateways, sources, port) is not in it."""
    if match is None:
        return {"prefix": "/"}
    headers = [_header(name, value) for name, value in sorted(match.headers.items())]
    headers += [_without(name, value) for name, value in sorted(match.without_headers.items())]
    special = ((":method", match.method), (":authority", match.authority), (":scheme", match.scheme))
    headers += [_header(name, value) for name, value in special if value is not None]
    out: Json = {**_path(match.uri), "case_sensitive": not match.ignore_uri_case}
    if headers:
        out["headers"] = headers
    if match.query:
        out["query_parameters"] = [_query(name, value) for name, value in sorted(match.query.items())]
    return out


def is_catch_all(route: Json) -> bool:
    """Does an Envoy route take every request that reaches it?"""
    match = route["match"]
    whole = match.get("prefix") == "/" or match.get("safe_regex", {}).get("regex") == ".*"
    return whole and not match.get("headers") and not match.get("query_parameters")


def _path(uri: StringMatch | None) -> Json:
    if uri is None or uri.kind == "present":
        return {"prefix": "/"}
    if uri.kind == "exact":
        return {"path": uri.value}
    if uri.kind == "prefix":
        return {"prefix": uri.value}
    return {"safe_regex": {"regex": uri.value}}


def _header(name: str, value: StringMatch) -> Json:
    if value.kind == "present":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _text(value)}


def _without(name: str, value: StringMatch) -> Json:
    inverted = {**_header(name, value), "invert_match": True}
    if value.kind != "present":
        # Otherwise Envoy takes a request that lacks the header for one that has the value.
        inverted["treat_missing_header_as_empty"] = True
    return inverted


def _query(name: str, value: StringMatch) -> Json:
    if value.kind == "present":
        return {"name": name, "present_match": True}
    return {"name": name, "string_match": _text(value)}


def _text(value: StringMatch) -> Json:
    if value.kind == "regex":
        return {"safe_regex": {"regex": value.value}}
    return {value.kind: value.value}
