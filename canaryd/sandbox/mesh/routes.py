"""One route of a VirtualService, in Envoy's words."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.matches import is_catch_all, route_match
from canaryd.sandbox.mesh.virtualservices import (
    MESH,
    Destination,
    Fault,
    HeaderChanges,
    Headers,
    HttpRoute,
    Match,
    Mirror,
    Redirect,
    Retries,
    VirtualService,
    WeightedDestination,
)

ClusterOf = Callable[[Destination], str]
"""The name of the cluster for a destination, whether or not there is such a cluster."""

FAULT_FILTER = "envoy.filters.http.fault"

_TYPE = "type.googleapis.com/"
_RETRY_ON = "connect-failure,refused-stream,unavailable,cancelled,reset-before-request"
_PREVIOUS_PODS = {
    "name": "envoy.retry_host_predicates.previous_hosts",
    "typed_config": {"@type": _TYPE + "envoy.extensions.retry.host.previous_hosts.v3.PreviousHostsPredicate"},
}
_REDIRECT_CODES = {
    301: "MOVED_PERMANENTLY",
    302: "FOUND",
    303: "SEE_OTHER",
    307: "TEMPORARY_REDIRECT",
    308: "PERMANENT_REDIRECT",
}


@dataclass(frozen=True, slots=True)
class Client:
    """Who asks: a sidecar ("mesh") or the gateway, in which namespace."""

    role: str
    namespace: str

    def takes(self, match: Match, port: int) -> bool:
        """Do the conditions on who asks, and on which port, hold? Its pods carry no labels."""
        if match.port is not None and match.port != port:
            return False
        if match.gateways:
            return any((gateway == MESH) == (self.role == MESH) for gateway in match.gateways)
        return not match.source_labels and match.source_namespace in ("", self.namespace)


def routes_of(service: VirtualService, client: Client, port: int, cluster_of: ClusterOf) -> list[Json]:
    """Envoy's routes, first match first, up to the first that takes everything."""
    out: list[Json] = []
    for route in service.http:
        for match in route.matches or (None,):
            if match is None or client.takes(match, port):
                out.append(_route(route, match, port, cluster_of))
                if is_catch_all(out[-1]):
                    return out
    return out


def plain_route(cluster: str) -> Json:
    """What a Service without a VirtualService gets."""
    return {
        "name": "default",
        "match": route_match(None),
        "route": {"cluster": cluster, "timeout": "0s", "retry_policy": _retry_policy(Retries())},
    }


def clusters_in(route: Json) -> set[str]:
    """The clusters that a route may send a request to, mirrors included."""
    action = route.get("route", {})
    names = {entry["name"] for entry in action.get("weighted_clusters", {}).get("clusters", ())}
    names |= {mirror["cluster"] for mirror in action.get("request_mirror_policies", ())}
    return names | ({action["cluster"]} if "cluster" in action else set())


def _route(route: HttpRoute, match: Match | None, port: int, cluster_of: ClusterOf) -> Json:
    out: Json = {
        "name": ".".join(part for part in (route.name, match.name if match else "") if part),
        "match": route_match(match),
        **_header_changes(route.headers or Headers()),
    }
    if route.redirect is not None:
        out["redirect"] = _redirect(route.redirect, port)
    elif route.direct_response is not None:
        out["direct_response"] = {"status": route.direct_response.status}
        if route.direct_response.body:
            out["direct_response"]["body"] = {"inline_string": route.direct_response.body}
    else:
        out["route"] = _action(route, cluster_of)
    if len(route.destinations) == 1:
        _add_header_changes(out, route.destinations[0].headers)
    if route.fault is not None:
        out["typed_per_filter_config"] = {FAULT_FILTER: _fault(route.fault)}
    return out


def _action(route: HttpRoute, cluster_of: ClusterOf) -> Json:
    action: Json = {"timeout": _duration(route.timeout or 0.0)}
    policy = _retry_policy(route.retries or Retries())
    if policy:
        action["retry_policy"] = policy
    authority = _authority(route)
    if authority:
        action["host_rewrite_literal"] = authority
    action.update(_rewrite(route))
    if route.mirrors:
        action["request_mirror_policies"] = [_mirror(mirror, cluster_of) for mirror in route.mirrors]
    if len(route.destinations) == 1:
        # A lone destination gets everything, whatever its weight.
        action["cluster"] = cluster_of(route.destinations[0].destination)
    else:
        taken = [entry for entry in route.destinations if entry.weight > 0]
        action["weighted_clusters"] = {"clusters": [_weighted(entry, cluster_of) for entry in taken]}
    return action


def _weighted(entry: WeightedDestination, cluster_of: ClusterOf) -> Json:
    out: Json = {
        "name": cluster_of(entry.destination),
        "weight": entry.weight,
        **_header_changes(entry.headers),
    }
    authority = _set_authority(entry.headers.request)
    if authority:
        out["host_rewrite_literal"] = authority
    return out


def _mirror(mirror: Mirror, cluster_of: ClusterOf) -> Json:
    return {
        "cluster": cluster_of(mirror.destination),
        "runtime_fraction": {"default_value": _share(mirror.percent)},
        "trace_sampled": False,
    }


def _rewrite(route: HttpRoute) -> Json:
    rewrite = route.rewrite
    if rewrite is None:
        return {}
    if rewrite.pattern:
        return {"regex_rewrite": {"pattern": {"regex": rewrite.pattern}, "substitution": rewrite.replacement}}
    return {"prefix_rewrite": rewrite.uri} if rewrite.uri else {}


def _authority(route: HttpRoute) -> str:
    """The host that the destination sees: the rewrite's, else one that a header change sets."""
    if route.rewrite is not None and route.rewrite.authority:
        return route.rewrite.authority
    changes = [route.headers or Headers()]
    if len(route.destinations) == 1:
        changes.append(route.destinations[0].headers)
    return next((host for change in changes if (host := _set_authority(change.request))), "")


def _set_authority(changes: HeaderChanges) -> str:
    named = {**changes.add, **changes.put}
    return next((value for name, value in named.items() if name.lower() in ("host", ":authority")), "")


def _retry_policy(retries: Retries) -> Json:
    """Istio's default, with what the VirtualService says laid over it; empty where it wants no retries."""
    if retries.attempts <= 0:
        return {}
    words = [word.strip() for word in (retries.retry_on or _RETRY_ON).split(",") if word.strip()]
    codes = [int(word) for word in words if word.isdigit() and int(word) in set(HTTPStatus)]
    conditions = [word for word in words if not word.isdigit()]
    if codes and "retriable-status-codes" not in conditions:
        conditions.append("retriable-status-codes")
    policy: Json = {
        "retry_on": ",".join(conditions),
        "num_retries": retries.attempts,
        "host_selection_retry_max_attempts": 5,
    }
    if codes:
        policy["retriable_status_codes"] = codes
    if retries.avoid_previous_pods:
        policy["retry_host_predicate"] = [_PREVIOUS_PODS]
    if retries.per_try_timeout is not None:
        policy["per_try_timeout"] = _duration(retries.per_try_timeout)
    if retries.backoff is not None:
        policy["retry_back_off"] = {"base_interval": _duration(retries.backoff)}
    return policy


def _redirect(redirect: Redirect, port: int) -> Json:
    out: Json = {"response_code": _REDIRECT_CODES.get(redirect.code, "MOVED_PERMANENTLY")}
    if redirect.uri:
        out["path_redirect"] = redirect.uri
    if redirect.authority:
        out["host_redirect"] = redirect.authority
    if redirect.scheme:
        out["scheme_redirect"] = redirect.scheme
    wanted = redirect.port or (port if redirect.same_port else None)
    if wanted and (redirect.scheme or "http", wanted) not in (("http", 80), ("https", 443)):
        out["port_redirect"] = wanted
    return out


def _fault(fault: Fault) -> Json:
    out: Json = {"@type": _TYPE + "envoy.extensions.filters.http.fault.v3.HTTPFault"}
    if fault.delay is not None:
        out["delay"] = {
            "fixed_delay": _duration(fault.delay),
            "percentage": _share(fault.delay_percent),
        }
    if fault.abort_status is not None:
        out["abort"] = {"http_status": fault.abort_status, "percentage": _share(fault.abort_percent)}
    return out


def _header_changes(headers: Headers) -> Json:
    out: Json = {}
    _add_header_changes(out, headers)
    return out


def _add_header_changes(out: Json, headers: Headers) -> None:
    for direction, changes in (("request", headers.request), ("response", headers.response)):
        added = [_header(name, value, "OVERWRITE_IF_EXISTS_OR_ADD") for name, value in _own(changes.put)]
        added += [_header(name, value, "APPEND_IF_EXISTS_OR_ADD") for name, value in _own(changes.add)]
        removed = [name for name in changes.remove if _may_change(name)]
        if added:
            out[f"{direction}_headers_to_add"] = out.get(f"{direction}_headers_to_add", []) + added
        if removed:
            out[f"{direction}_headers_to_remove"] = out.get(f"{direction}_headers_to_remove", []) + removed


def _own(changes: Mapping[str, str]) -> list[tuple[str, str]]:
    return sorted((name, value) for name, value in changes.items() if _may_change(name))


def _may_change(name: str) -> bool:
    # The host is set by a rewrite; Envoy refuses to touch the other pseudo headers.
    return not name.startswith(":") and name.lower() != "host"


def _header(name: str, value: str, action: str) -> Json:
    return {"header": {"key": name, "value": value}, "append_action": action}


def _share(percent: float) -> Json:
    return {"numerator": round(percent * 10_000), "denominator": "MILLION"}


def _duration(seconds: float) -> str:
    return f"{seconds:.6f}".rstrip("0").rstrip(".") + "s"
