"""What lets requests into a Service past the routes that canaryd manages."""

from __future__ import annotations

from typing import Any

import pytest
from istio_objects import HOST, destination, path, route, service, virtual_service

from canaryd.cluster.resources import Json
from canaryd.mesh.entrances import bypass_findings, http_ports, mesh_uncovered, service_findings


def said(made: Json) -> list[str]:
    found = service_findings(made)
    assert {f.check for f in found} <= {"entrances"}
    return [f.message for f in found]


def uncovered(*services: Json, ports: tuple[int, ...] = (80,)) -> tuple[bool, list[str]]:
    made, findings = mesh_uncovered(services, HOST, ports)
    return made, [f.message for f in findings]


class TestPorts:
    @pytest.mark.parametrize(
        "port",
        [
            {"name": "http", "port": 80},
            {"name": "http-metrics", "port": 9090},
            {"name": "grpc", "port": 50051},
            {"name": "grpc-web-api", "port": 8080},
            {"name": "http2", "port": 80},
            {"port": 80},  # Istio finds out by itself
            {"name": "web", "port": 80},
            {"name": "tcp", "appProtocol": "http", "port": 80},  # appProtocol counts, the name does not
            {"name": "x", "appProtocol": "kubernetes.io/h2c", "port": 80},
            {"name": "x", "appProtocol": "kubernetes.io/ws", "port": 80},
            {"name": "http-odd", "port": 3306},
        ],
        ids=str,
    )
    def test_http(self, port: Json) -> None:
        assert said(service(port)) == []
        assert http_ports(service(port)) == [port["port"]]

    @pytest.mark.parametrize(
        ("port", "kind"),
        [
            ({"name": "tcp-feed", "port": 7000}, "tcp"),
            ({"name": "https", "port": 443}, "https"),
            ({"name": "TLS-in", "port": 443}, "tls"),
            ({"name": "mysql", "port": 3306}, "mysql"),
            ({"name": "mongo", "port": 1}, "mongo"),
            ({"name": "redis-cache", "port": 1}, "redis"),
            ({"name": "db", "port": 3306}, "tcp"),
            ({"port": 53}, "tcp"),
            ({"name": "http", "appProtocol": "tcp", "port": 80}, "tcp"),
            ({"name": "x", "appProtocol": "kubernetes.io/wss", "port": 80}, "https"),
            ({"name": "http3", "port": 443, "protocol": "UDP"}, "UDP"),
            ({"name": "sig", "port": 38412, "protocol": "SCTP"}, "SCTP"),
        ],
        ids=str,
    )
    def test_not_http(self, port: Json, kind: str) -> None:
        (message,) = said(service({"name": "http", "port": 8080}, port))
        assert f"port {port.get('name') or port['port']} of Service checkout speaks {kind}," in message
        assert "canaryd.io/accept: entrances" in message
        assert http_ports(service(port)) == []


class TestKindsOfServices:
    @pytest.mark.parametrize(
        ("spec", "what"),
        [
            ({"clusterIP": "None"}, "is headless"),
            ({"type": "NodePort"}, "is of type NodePort"),
            ({"type": "LoadBalancer"}, "is of type LoadBalancer"),
            ({"publishNotReadyAddresses": True}, "publishes pods that are not ready"),
        ],
    )
    def test_that_let_requests_past_the_mesh(self, spec: Json, what: str) -> None:
        (message,) = said(service(**spec))
        assert f"Service checkout {what}" in message

    @pytest.mark.parametrize(
        "spec", [{}, {"type": "ClusterIP"}, {"publishNotReadyAddresses": False}, {"clusterIP": ""}]
    )
    def test_that_do_not(self, spec: Json) -> None:
        assert said(service(**spec)) == []


class TestTheMesh:
    def test_without_a_virtual_service_nothing_governs_it(self) -> None:
        assert uncovered() == (True, [])

    @pytest.mark.parametrize(
        "vs",
        [
            virtual_service(route()),
            virtual_service(route(), hosts=[HOST]),
            virtual_service(route(), hosts=["*.shop.svc.cluster.local"]),
            virtual_service(route(), hosts=["*"]),
            virtual_service(route(), hosts=[HOST], namespace="billing"),
            virtual_service(
                route(), gateways=["istio-system/public", "mesh"], hosts=["shop.example.com", "checkout"]
            ),
            virtual_service(route(), exportTo=["*"]),
            virtual_service(route(destination("maintenance"))),
            virtual_service(route(match=path("/only"))),  # the rest is answered 404, by nobody's pods
            virtual_service(route(match=[{"port": 80}, {"port": 81}])),
            virtual_service(route(match=[{"gateways": ["mesh"]}])),
            virtual_service(route(match=[{"sourceLabels": {"app": "x"}}]), route(destination("other"))),
        ],
        ids=str,
    )
    def test_governed(self, vs: Json) -> None:
        assert uncovered(vs) == (False, [])

    @pytest.mark.parametrize(
        "vs",
        [
            virtual_service(route(), gateways=["istio-system/public"]),
            virtual_service(route(), hosts=["shop.example.com"]),
            virtual_service(route(), namespace="billing"),
            virtual_service(route(), exportTo=["."]),  # other namespaces go to the Service itself
            virtual_service(route(), hosts=[]),
            {"metadata": {"name": "empty", "namespace": "shop"}},
        ],
        ids=str,
    )
    def test_not_governed(self, vs: Json) -> None:
        assert uncovered(vs) == (True, [])

    @pytest.mark.parametrize(
        "match",
        [
            [{"gateways": ["istio-system/public"]}],
            [{"sourceLabels": {"app": "frontend"}}],
            [{"sourceNamespace": "billing"}],
            [{"port": 81}],
        ],
    )
    def test_half_governed(self, match: list[Json]) -> None:
        made, (message,) = uncovered(virtual_service(route(match=match)))
        assert not made, "a second one for the host would be of no effect"
        assert "VirtualService shop/checkout has no route for some requests to port 80" in message
        assert "add a last route without conditions" in message

    def test_each_port_is_an_entrance(self) -> None:
        vs = virtual_service(route(match=[{"port": 80}]))
        assert "to port 9090, 9091" in uncovered(vs, ports=(80, 9090, 9091))[1][0]

    def test_a_delegate_that_is_missing_governs_nothing(self) -> None:
        root = virtual_service({"delegate": {"name": "routes", "namespace": "teams"}})
        delegate = virtual_service(route(), name="routes", namespace="teams", hosts=[])
        assert uncovered(root, delegate) == (False, [])
        assert len(uncovered(root)[1]) == 1

    def test_the_most_specific_then_the_oldest_counts(self) -> None:
        half: Any = {"match": [{"port": 81}]}
        wide = virtual_service(
            route(**half), hosts=["*"], name="wide", meta_creationTimestamp="2020-01-01T00:00:00Z"
        )
        old = virtual_service(route(), name="old", meta_creationTimestamp="2021-01-01T00:00:00Z")
        new = virtual_service(route(**half), name="new", meta_creationTimestamp="2022-01-01T00:00:00Z")
        assert uncovered(new, wide, old) == (False, [])
        assert "shop/new" in uncovered(new, wide)[1][0]

    def test_one_for_the_rest_of_the_mesh_would_hide_a_private_wildcard(self) -> None:
        made, (message,) = uncovered(virtual_service(route(), hosts=["*.local"], exportTo=["."]))
        assert made
        assert "by a wildcard for some namespaces alone" in message


class TestOtherWays:
    @pytest.mark.parametrize(
        "spec",
        [
            {"rules": [{"backendRefs": [{"name": "other"}, {"name": "checkout", "port": 80}]}]},
            {"rules": [{"backendRefs": [{"name": "checkout", "kind": "Service", "namespace": "shop"}]}]},
            {"defaultBackend": {"service": {"name": "checkout"}}},
            {"rules": [{"http": {"paths": [{"path": "/", "backend": {"service": {"name": "checkout"}}}]}}]},
        ],
    )
    def test_that_send_to_the_service(self, spec: Json) -> None:
        way = {"kind": "Ingress", "metadata": {"namespace": "shop", "name": "public"}, "spec": spec}
        (finding,) = bypass_findings([way], service())
        assert finding.check == "entrances"
        assert "Ingress shop/public sends to Service checkout past every VirtualService" in finding.message

    @pytest.mark.parametrize(
        "spec",
        [
            {},
            {"rules": [{"host": "a.example.com"}]},
            {"rules": [{"backendRefs": [{"name": "checkout", "kind": "Hostname"}]}]},
            {"rules": [{"backendRefs": [{"name": "checkout", "namespace": "billing"}]}]},
            {"defaultBackend": {"resource": {"kind": "Bucket", "name": "checkout"}}},
        ],
    )
    def test_that_do_not(self, spec: Json) -> None:
        way = {"kind": "HTTPRoute", "metadata": {"namespace": "shop", "name": "public"}, "spec": spec}
        assert bypass_findings([way], service()) == []
