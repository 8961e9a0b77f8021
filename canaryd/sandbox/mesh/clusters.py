"""Envoy's clusters: a Service, or a subset of it, as a client sees it; and a pod, as its sidecar does."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from urllib.parse import quote

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.listeners import METADATA, inbound_listener
from canaryd.sandbox.mesh.pods import Pod
from canaryd.sandbox.mesh.services import Service, ServicePort, is_subset

_TYPE = "type.googleapis.com/"
_MOST = 4_294_967_295
_UNLIMITED = {
    "max_connections": _MOST,
    "max_pending_requests": _MOST,
    "max_requests": _MOST,
    "max_retries": _MOST,
}
# Below what any HTTP server keeps an idle connection open for: a request sent on a connection that the app is
# closing in that moment would be answered 503 by Envoy.
_APP_IDLE = "1s"
_PROXY_IDLE = "60s"


def outbound_cluster(name: str, service: Service, folder: Path) -> Json:
    """A cluster whose endpoints are read from a file in `folder`."""
    source = {
        "resource_api_version": "V3",
        "path_config_source": {"path": str(folder / endpoints_file(name))},
    }
    return {
        **_cluster(name, service.name, idle=_PROXY_IDLE),
        "type": "EDS",
        "eds_cluster_config": {"service_name": name, "eds_config": source},
        "lb_policy": "LEAST_REQUEST",
        # Changes of endpoints are not held back to be merged with later ones.
        "common_lb_config": {"update_merge_window": "0s"},
    }


def endpoints_file(cluster: str) -> str:
    """The name of the file with a cluster's endpoints."""
    return quote(cluster, safe="") + ".json"


def outbound_endpoints(
    name: str, service: Service, port: ServicePort, labels: Mapping[str, str], pods: Iterable[Pod]
) -> Json:
    """The pods behind one port of a Service that carry the labels and take traffic, by their sidecars."""
    endpoints = []
    for pod in pods:
        target = pod.port(port.target)
        selected = service.selects(pod.namespace, pod.labels) and is_subset(labels, pod.labels)
        if selected and target is not None and pod.takes_traffic(even_unready=service.publish_not_ready):
            endpoints.append(_endpoint(pod.ip, pod.inbound_port(target), pod))
    return {
        "@type": _TYPE + "envoy.config.endpoint.v3.ClusterLoadAssignment",
        "cluster_name": name,
        "endpoints": [{"lb_endpoints": endpoints}] if endpoints else [],
    }


def inbound(pod: Pod, services: Iterable[Service]) -> Iterator[tuple[Json, Json]]:
    """The listeners of a pod's sidecar, each with its cluster: one for each port that may be asked for."""
    if not pod.ip or pod.ended:
        return
    selecting = [service for service in services if service.selects(pod.namespace, pod.labels)]
    targets = {number for _, number in pod.ports}
    targets |= {
        number
        for service in selecting
        for port in service.http_ports
        if (number := pod.port(port.target)) is not None
    }
    service_name = selecting[0].name if selecting else "unknown"
    for target in sorted(targets):
        name = f"inbound|{pod.namespace}|{pod.name}|{target}"
        cluster = {
            **_cluster(name, service_name, idle=_APP_IDLE),
            "type": "STATIC",
            "load_assignment": {
                "cluster_name": name,
                "endpoints": [{"lb_endpoints": [_endpoint(pod.ip, target, pod)]}],
            },
        }
        tags = _tags(pod, service_name)
        port = pod.inbound_port(target)
        yield inbound_listener(name, pod.ip, port, cluster=name, tags=tags), cluster


def _tags(pod: Pod, service: str) -> Mapping[str, str]:
    return {
        "destination_workload": pod.workload,
        "destination_workload_namespace": pod.namespace,
        "destination_service_name": service,
        "pod": pod.name,
        "namespace": pod.namespace,
    }


def _cluster(name: str, service: str, *, idle: str) -> Json:
    options = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
    return {
        "@type": _TYPE + "envoy.config.cluster.v3.Cluster",
        "name": name,
        "connect_timeout": "10s",
        "circuit_breakers": {"thresholds": [_UNLIMITED]},
        "metadata": {"filter_metadata": {METADATA: {"service": service}}},
        "typed_extension_protocol_options": {
            options: {
                "@type": _TYPE + options,
                "common_http_protocol_options": {"idle_timeout": idle},
                # gRPC arrives at the pod as HTTP/2, the rest as it came.
                "use_downstream_protocol_config": {
                    "http_protocol_options": {},
                    "http2_protocol_options": {},
                },
            }
        },
    }


def _endpoint(address: str, port: int, pod: Pod) -> Json:
    return {
        "endpoint": {"address": {"socket_address": {"address": address, "port_value": port}}},
        "metadata": {"filter_metadata": {METADATA: {"workload": pod.workload, "namespace": pod.namespace}}},
    }
