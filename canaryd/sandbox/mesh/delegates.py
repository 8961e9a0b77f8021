"""Delegation: the routes of a root VirtualService with those of its delegates put in their place."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace

from canaryd.sandbox.mesh.hosts import exported
from canaryd.sandbox.mesh.virtualservices import HttpRoute, Match, StringMatch, VirtualService


def resolved(services: Iterable[VirtualService]) -> list[VirtualService]:
    """The VirtualServices that have hosts, each with the routes that it really has.

    A delegate that is missing, or not exported to the root's namespace, takes only its own entry away. A
    delegate's route applies where its matches are narrower than one of the root's; what the root says of
    timeouts, retries and so on holds where the delegate says nothing.
    """
    everything = list(services)
    delegates = {service.key: service for service in everything if not service.hosts}
    return [
        replace(service, http=tuple(_expanded(service, delegates))) for service in everything if service.hosts
    ]


def _expanded(
    root: VirtualService, delegates: Mapping[tuple[str, str], VirtualService]
) -> Iterable[HttpRoute]:
    for route in root.http:
        if route.delegate is None:
            yield route
            continue
        delegate = delegates.get(route.delegate)
        if delegate is not None and exported(delegate.export_to, delegate.namespace, root.namespace):
            merged = (_merged(route, leaf) for leaf in delegate.http)
            yield from (leaf for leaf in merged if leaf is not None)


def _merged(root: HttpRoute, leaf: HttpRoute) -> HttpRoute | None:
    """None where the leaf asks for something outside of what the root hands over."""
    matches = _merged_matches(root.matches, leaf.matches)
    if matches is None:
        return None
    return replace(
        leaf,
        name=_joined(root.name, leaf.name),
        matches=matches,
        rewrite=leaf.rewrite or root.rewrite,
        timeout=root.timeout if leaf.timeout is None else leaf.timeout,
        retries=leaf.retries or root.retries,
        fault=leaf.fault or root.fault,
        mirrors=leaf.mirrors or root.mirrors,
        headers=leaf.headers or root.headers,
    )


def _merged_matches(root: tuple[Match, ...], leaf: tuple[Match, ...]) -> tuple[Match, ...] | None:
    if not root or not leaf:
        return root or leaf
    merged: list[Match] = []
    for narrow in leaf:
        fitting = [_merged_match(wide, narrow) for wide in root if not _conflict(wide, narrow)]
        if not fitting:
            return None
        merged += fitting
    return tuple(merged)


def _merged_match(root: Match, leaf: Match) -> Match:
    # The root's gateways and sources stay: a delegate has none of its own.
    return replace(
        root,
        name=_joined(root.name, leaf.name),
        uri=leaf.uri or root.uri,
        scheme=leaf.scheme or root.scheme,
        method=leaf.method or root.method,
        authority=leaf.authority or root.authority,
        headers={**root.headers, **leaf.headers},
        without_headers={**root.without_headers, **leaf.without_headers},
        query={**root.query, **leaf.query},
        port=leaf.port or root.port,
    )


def _conflict(root: Match, leaf: Match) -> bool:
    pairs = [
        (root.uri, leaf.uri),
        (root.scheme, leaf.scheme),
        (root.method, leaf.method),
        (root.authority, leaf.authority),
        *((root.headers.get(name), value) for name, value in leaf.headers.items()),
        *((root.headers.get(name), value) for name, value in leaf.without_headers.items()),
        *((root.query.get(name), value) for name, value in leaf.query.items()),
    ]
    return (
        any(_outside(wide, narrow) for wide, narrow in pairs)
        or root.ignore_uri_case != leaf.ignore_uri_case
        or bool(root.port and leaf.port and root.port != leaf.port)
    )


def _outside(root: StringMatch | None, leaf: StringMatch | None) -> bool:
    """May `leaf` accept a text that `root` does not? Expressions are never compared."""
    if root is None or leaf is None:
        return False
    if root.kind == "exact":
        return leaf != root
    if root.kind == "prefix" and leaf.kind in ("exact", "prefix"):
        return not leaf.value.startswith(root.value)
    return True


def _joined(root: str, leaf: str) -> str:
    return f"{root}-{leaf}" if root and leaf else root or leaf
