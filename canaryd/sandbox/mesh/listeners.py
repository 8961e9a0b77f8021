"""Envoy's listeners: one that clients talk to, and one for each pod, and what each of them counts.

Requests are counted by the access logger `stats`, at the end of each request, as Istio's telemetry counts
them: once per request, with the answer's code and Envoy's flags. Cluster statistics would know neither the
flags nor the pod.
"""

from __future__ import annotations

from collections.abc import Mapping

from canaryd.cluster.resources import Json

FLAGS_HEADER = "x-envoy-response-flags"
"""On every answer of the outer listener: "-", or why an Envoy made the answer up, e.g. "UH"."""

GATEWAY_LISTENER = "gateway"
GATEWAY_ROUTES = "mesh"
STATS_PREFIX = "istio"

BUCKETS_MS = (
    *(0.5, 1, 5, 10, 25, 50, 100, 250, 500),
    *(1_000, 2_500, 5_000, 10_000, 30_000, 60_000),
    *(300_000, 600_000, 1_800_000, 3_600_000),
)
"""Upper bounds of istio_request_duration_milliseconds."""

METADATA = "canaryd"
"""The key below which endpoints carry `workload` and `namespace`, and clusters `service`."""

_TYPE = "type.googleapis.com/"
_SOURCE_TAGS = {
    "reporter": "source",
    "destination_workload": f"%UPSTREAM_METADATA({METADATA}:workload)%",
    "destination_workload_namespace": f"%UPSTREAM_METADATA({METADATA}:namespace)%",
    "destination_service_name": f"%CLUSTER_METADATA({METADATA}:service)%",
}


def gateway_listener(port: int, routes: Json) -> Json:
    """The outer listener on loopback. routes: where its routes come from."""
    manager = _manager("gateway", _SOURCE_TAGS)
    manager["rds"] = {"route_config_name": GATEWAY_ROUTES, "config_source": routes}
    manager["http_filters"] = [
        _filter("fault", "envoy.extensions.filters.http.fault.v3.HTTPFault"),
        _filter("router", "envoy.extensions.filters.http.router.v3.Router"),
    ]
    return _listener(GATEWAY_LISTENER, "127.0.0.1", port, manager)


def gateway_routes(virtual_hosts: list[Json]) -> Json:
    """The routes of the outer listener. A route to a cluster that does not exist answers 503 with flag NC."""
    return {
        "@type": _TYPE + "envoy.config.route.v3.RouteConfiguration",
        "name": GATEWAY_ROUTES,
        "virtual_hosts": virtual_hosts,
        "validate_clusters": False,
        # What the pod's own Envoy said stands: its "UF" is not hidden by our "-".
        "response_headers_to_add": [_flags_header("ADD_IF_ABSENT")],
    }


def inbound_listener(name: str, address: str, port: int, *, cluster: str, tags: Mapping[str, str]) -> Json:
    """The sidecar's side of a pod: takes requests on (address, port) and hands them to the cluster."""
    manager = _manager("inbound", {"reporter": "destination", **tags})
    manager["generate_request_id"] = False
    manager["http_filters"] = [_filter("router", "envoy.extensions.filters.http.router.v3.Router")]
    route = {
        "cluster": cluster,
        "timeout": "0s",
        "retry_policy": {"retry_on": "reset-before-request", "num_retries": 2},
    }
    manager["route_config"] = {
        "name": name,
        "virtual_hosts": [
            {"name": "pod", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "route": route}]}
        ],
        "validate_clusters": False,
        # Only an Envoy may set it.
        "response_headers_to_remove": [FLAGS_HEADER],
    }
    return {
        "@type": _TYPE + "envoy.config.listener.v3.Listener",
        **_listener(name, address, port, manager),
    }


def _listener(name: str, address: str, port: int, manager: Json) -> Json:
    return {
        "name": name,
        "address": {"socket_address": {"address": address, "port_value": port}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
        # Otherwise a second sandbox on the same address would silently take half of the requests.
        "enable_reuse_port": False,
    }


def _manager(role: str, tags: Mapping[str, str]) -> Json:
    package = "envoy.extensions.filters.network.http_connection_manager.v3"
    return {
        "@type": f"{_TYPE}{package}.HttpConnectionManager",
        "stat_prefix": role,
        "access_log": [_counting(tags)],
        "http_protocol_options": {"accept_http_10": True},
        "server_header_transformation": "PASS_THROUGH",
        "stream_idle_timeout": "0s",
        "local_reply_config": {"mappers": [_flags_on_own_answers()]},
    }


def _flags_on_own_answers() -> Json:
    any_status = {"op": "GE", "value": {"default_value": 0, "runtime_key": "canaryd.any_status"}}
    return {
        "filter": {"status_code_filter": {"comparison": any_status}},
        "headers_to_add": [_flags_header("OVERWRITE_IF_EXISTS_OR_ADD")],
    }


def _flags_header(action: str) -> Json:
    return {"header": {"key": FLAGS_HEADER, "value": "%RESPONSE_FLAGS%"}, "append_action": action}


def _counting(tags: Mapping[str, str]) -> Json:
    every = {
        **tags,
        "request_protocol": "http",
        "response_code": "%RESPONSE_CODE%",
        "response_flags": "%RESPONSE_FLAGS%",
    }
    listed = [{"name": name, "value_format": value} for name, value in every.items()]
    return {
        "name": "envoy.access_loggers.stats",
        "typed_config": {
            "@type": _TYPE + "envoy.extensions.access_loggers.stats.v3.Config",
            "stats_scope": {"prefix": STATS_PREFIX},
            "counters": [{"stat": {"name": "requests_total", "tags": listed}, "value_fixed": 1}],
            "histograms": [
                {
                    "stat": {"name": "request_duration_milliseconds", "tags": listed},
                    # The name says the unit: Envoy would append another.
                    "unit": "Unspecified",
                    "value_format": "%DURATION%",
                }
            ],
        },
    }


def _filter(name: str, kind: str) -> Json:
    return {"name": f"envoy.filters.http.{name}", "typed_config": {"@type": _TYPE + kind}}
