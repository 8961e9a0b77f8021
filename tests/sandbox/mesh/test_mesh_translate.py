"""The translation by itself: what only the text of the configuration shows."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from mesh_fakes import Proxy, destination_rule, fresh_address, pod, route, service, to, virtual_service, world

from canaryd.sandbox.mesh.pods import parse_pod
from canaryd.sandbox.mesh.translate import Place, Resources, World, translate

Json = dict[str, Any]
_ADDRESSES = (fresh_address(), fresh_address())
PLACE = Place(Path("/nowhere"), listen_port=9999)


def told(**objects: Any) -> Resources:
    return translate(world(**objects), PLACE)


def addresses(resources: Resources, cluster: str) -> list[str]:
    localities = resources.endpoints[cluster]["endpoints"]
    return [
        entry["endpoint"]["address"]["socket_address"]["address"]
        for locality in localities
        for entry in locality["lb_endpoints"]
    ]


ALL = "outbound|80||checkout.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("given", "takes"),
    [
        ({}, True),
        ({"ready": False}, False),
        ({"terminating": True}, False),
        ({"phase": "Failed"}, False),
        ({"app": "pay"}, False),
        ({"namespace": "pay"}, False),
        ({"ip": ""}, False),
    ],
)
def test_endpoints_are_ready_staying_pods_that_the_service_selects(given: Json, takes: bool) -> None:
    pods = (pod("s-1", **{"ip": "127.1.1.1", **given}),)
    assert addresses(told(pods=pods, services=(service(),)), ALL) == (["127.1.1.1"] if takes else [])


def test_an_unready_pod_takes_traffic_where_the_service_publishes_it() -> None:
    pods = (pod("s-1", ready=False),)
    publishing = service(publishNotReadyAddresses=True)
    assert addresses(told(pods=pods, services=(publishing,)), ALL) == ["127.1.1.1"]


def test_subsets_select_among_the_services_pods() -> None:
    got = told(
        pods=(pod("s-1", "127.1.1.1"), pod("c-1", "127.1.1.2", role="canary")),
        services=(service(),),
        rules=(destination_rule("stable", "canary", "ghost"),),
    )
    name = "outbound|80|{}|checkout.shop.svc.cluster.local"
    assert addresses(got, name.format("stable")) == ["127.1.1.1"]
    assert addresses(got, name.format("canary")) == ["127.1.1.2"]
    assert addresses(got, name.format("ghost")) == []
    assert addresses(got, ALL) == ["127.1.1.2", "127.1.1.1"]


def test_a_terminating_pod_keeps_its_inbound_listener() -> None:
    got = told(pods=(pod("s-1", terminating=True, ready=False),), services=(service(),))
    assert list(got.listeners) == ["inbound|shop|s-1|8080"]


def test_each_port_of_a_pod_has_an_inbound_listener() -> None:
    two = service(ports=[{"name": "http", "port": 80, "targetPort": 8080}, {"port": 81, "targetPort": 9000}])
    got = told(pods=(pod("s-1"),), services=(two,))
    ports = [listener["address"]["socket_address"]["port_value"] for listener in got.listeners.values()]
    assert ports == [15006, 29000]
    [endpoint] = got.endpoints["outbound|81||checkout.shop.svc.cluster.local"]["endpoints"][0]["lb_endpoints"]
    assert endpoint["endpoint"]["address"]["socket_address"]["port_value"] == 29000


def test_named_target_ports_are_looked_up_in_the_pod() -> None:
    raw = pod("s-1")
    raw["spec"]["containers"][0]["ports"] = [{"name": "web", "containerPort": 7000}]
    named = service(ports=[{"port": 80, "targetPort": "web"}])
    assert list(told(pods=(raw,), services=(named,)).listeners) == ["inbound|shop|s-1|7000"]
    unnamed = service(ports=[{"port": 80, "targetPort": "nothing"}])
    assert addresses(told(pods=(raw,), services=(unnamed,)), ALL) == []


@pytest.mark.parametrize(
    ("owner", "workload"),
    [
        ({"kind": "ReplicaSet", "name": "checkout-5d4f", "controller": True}, "checkout"),
        ({"kind": "ReplicaSet", "name": "bare", "controller": True}, "bare"),
        ({"kind": "StatefulSet", "name": "db", "controller": True}, "db"),
        ({"kind": "ReplicaSet", "name": "not-in-charge"}, "s-1"),
        (None, "s-1"),
    ],
)
def test_workloads_are_named_as_istio_does(owner: Json | None, workload: str) -> None:
    raw = pod("s-1")
    raw["metadata"]["labels"]["pod-template-hash"] = "5d4f"
    raw["metadata"]["ownerReferences"] = [owner] if owner else []
    assert parse_pod(raw).workload == workload


def test_ports_that_are_not_http_have_no_routes() -> None:
    ports = [
        {"name": "tcp-db", "port": 1},
        {"name": "x", "port": 2, "protocol": "UDP"},
        {"port": 3, "appProtocol": "redis"},
        {"name": "grpc-api", "port": 4},
    ]
    assert list(told(services=(service(ports=ports),)).clusters) == [
        "outbound|4||checkout.shop.svc.cluster.local"
    ]


def test_no_domain_is_claimed_twice() -> None:
    got = told(
        services=(service(), service(namespace="pay", app="checkout")),
        virtual_services=(
            virtual_service(route(to()), hosts=("checkout", "x.example.com"), gateways=["g", "mesh"]),
            virtual_service(route(to()), hosts=("x.example.com", "*"), gateways=["g"], name="other"),
        ),
    )
    domains = [name for host in got.routes["virtual_hosts"] for name in host["domains"]]
    assert len(domains) == len(set(domains))


def test_the_gateway_sees_subsets_of_its_own() -> None:
    """A rule in the mesh client's namespace hides the Service's from that client alone."""
    rules = (
        destination_rule("v1"),
        destination_rule("mine", host="checkout.shop.svc.cluster.local", namespace="default"),
    )
    bound = virtual_service(route(to("v1")), hosts=("x.example.com",), gateways=["g"])
    got = told(services=(service(),), rules=rules, virtual_services=(bound,))
    named = {name.split("|")[0] + " " + name.split("|")[2] for name in got.clusters}
    assert named == {"outbound ", "outbound mine", "gateway ", "gateway v1"}


def test_the_order_of_objects_does_not_matter() -> None:
    whole = everything()
    shuffled = World(
        pods=tuple(reversed(whole.pods)),
        services=tuple(reversed(whole.services)),
        virtual_services=tuple(reversed(whole.virtual_services)),
        destination_rules=tuple(reversed(whole.destination_rules)),
    )
    one, other = translate(whole, PLACE), translate(shuffled, PLACE)
    assert json.dumps(one.routes) == json.dumps(other.routes)
    assert (one.clusters, one.endpoints, one.listeners) == (other.clusters, other.endpoints, other.listeners)


def everything() -> World:
    """Every field that the translation knows, at least once."""
    match = {
        "name": "narrow",
        "uri": {"regex": "/v[0-9]+/.*"},
        "ignoreUriCase": True,
        "scheme": {"exact": "http"},
        "method": {"regex": "GET|POST"},
        "authority": {"prefix": "check"},
        "headers": {"x-a": {"exact": "1"}, "x-b": {"regex": "*"}},
        "withoutHeaders": {"x-c": {"prefix": "2"}, "x-d": {}},
        "queryParams": {"q": {"exact": "1"}, "r": {"regex": "a+"}, "s": {}},
        "port": 80,
        "gateways": ["mesh"],
    }
    changes = {"set": {"x-set": "1", "Host": "other"}, "add": {"x-add": "100%%"}, "remove": ["x-gone"]}
    headers = {"request": changes, "response": {**changes, "set": {"x-set": "2"}}}
    http = [
        route(
            to("stable", 40, headers=headers),
            to("canary", 2, headers=headers),
            to("ghost", 0),
            name="split",
            match=[match, {"uri": {"prefix": "/a"}}],
            timeout="1.5s",
            retries={"attempts": 3, "perTryTimeout": "300ms", "retryOn": "503,5xx", "backoff": "50ms"},
            fault={
                "abort": {"httpStatus": 418, "percentage": {"value": 0.1}},
                "delay": {"fixedDelay": "7ms", "percentage": {"value": 100}},
            },
            mirrors=[{"destination": {"host": "checkout", "subset": "canary"}, "percentage": {"value": 1.5}}],
            headers=headers,
            rewrite={"uriRegexRewrite": {"match": "^/v(.)", "rewrite": "/\\1"}, "authority": "me"},
        ),
        route(to(headers=headers), match=[{"uri": {"exact": "/one"}}], rewrite={"uri": "/two"}),
        {"match": [{"uri": {"exact": "/r"}}], "redirect": {"uri": "/x", "port": 81, "redirectCode": 308}},
        {"match": [{"uri": {"exact": "/d"}}], "directResponse": {"status": 204, "body": {"string": "no"}}},
        {"delegate": {"name": "leaf"}},
    ]
    return world(
        pods=(pod("s-1", _ADDRESSES[0]), pod("c-1", _ADDRESSES[1], role="canary", ports=(8080, 9090))),
        services=(
            service(ports=[{"port": 80, "targetPort": 8080}, {"port": 90, "targetPort": 9090}]),
            service("pay", namespace="other"),
        ),
        virtual_services=(
            virtual_service(*http, hosts=("checkout", "shop.example.com", "*.x.org"), gateways=["g", "mesh"]),
            virtual_service(route(to()), hosts=(), name="leaf"),
            virtual_service(route(to(host="nowhere")), hosts=("*",), gateways=["g"], name="rest"),
        ),
        rules=(destination_rule("stable", "canary"),),
    )


def test_envoy_takes_everything(tmp_path: Path) -> None:
    proxy = Proxy(tmp_path, everything())
    try:
        assert proxy.envoy.settle("clusters", "listeners", "routes") is None
    finally:
        proxy.envoy.stop()
