"""Which addresses a Service gets."""

from typing import Any

import pytest

from canaryd.cluster.resources import Json
from canaryd.sandbox.controllers.endpoints import subsets
from canaryd.sandbox.controllers.network import Pod, Service, parse_pod, parse_service


def pod(number: int = 1, **values: Any) -> Pod:
    given = {"ready": True, "deleting": False, "labels": {"app": "checkout"}, "phase": "Running"}
    given |= {"port": 8080, "ip": f"127.16.0.{number}", "restart": "Always"} | values
    metadata: Json = {"namespace": "shop", "name": f"p{number}", "uid": f"u{number}"}
    metadata["labels"] = given["labels"]
    if given["deleting"]:
        metadata["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    container = {"name": "app", "ports": [{"name": "http", "containerPort": given["port"]}]}
    spec = {"containers": [container], "nodeName": "n", "restartPolicy": given["restart"]}
    ready = {"type": "Ready", "status": str(given["ready"])}
    status = {"podIP": given["ip"], "phase": given["phase"], "conditions": [ready]}
    return parse_pod({"metadata": metadata, "spec": spec, "status": status})


def service(**values: Any) -> Service:
    spec = {"selector": {"app": "checkout"}, "ports": [{"name": "web", "port": 80, "targetPort": "http"}]}
    return parse_service({"metadata": {"namespace": "shop", "name": "checkout"}, "spec": {**spec, **values}})


def ips(found: list[Json], kind: str = "addresses") -> list[str]:
    return [address["ip"] for subset in found for address in subset.get(kind, ())]


@pytest.mark.parametrize(
    ("values", "ready", "unready"),
    [
        pytest.param({}, True, False, id="ready"),
        pytest.param({"ready": False}, False, True, id="not ready"),
        pytest.param({"deleting": True}, False, False, id="on its way out, though ready"),
        pytest.param({"labels": {"app": "other"}}, False, False, id="of other labels"),
        pytest.param({"ip": ""}, False, False, id="without an address yet"),
        pytest.param({"phase": "Failed", "restart": "Never"}, False, False, id="finished"),
    ],
)
def test_who_belongs(values: dict[str, Any], ready: bool, unready: bool) -> None:
    found = subsets(service(), [pod(**values)])
    assert bool(ips(found)) == ready
    assert bool(ips(found, "notReadyAddresses")) == unready


def test_addresses_are_in_order_and_say_whose_they_are() -> None:
    found = subsets(service(), [pod(10), pod(2)])
    assert ips(found) == ["127.16.0.2", "127.16.0.10"]
    assert found[0]["addresses"][0]["targetRef"]["name"] == "p2"
    assert found[0]["ports"] == [{"name": "web", "port": 8080, "protocol": "TCP"}]


def test_a_named_port_is_looked_up_in_each_pod() -> None:
    found = subsets(service(), [pod(1, port=8080), pod(2, port=9090)])
    assert [(subset["ports"][0]["port"], len(subset["addresses"])) for subset in found] == [
        (8080, 1),
        (9090, 1),
    ]


def test_a_named_port_that_a_pod_lacks_leaves_it_out() -> None:
    assert subsets(service(ports=[{"port": 80, "targetPort": "grpc"}]), [pod()]) == []


def test_a_port_without_target_is_the_services_own() -> None:
    assert subsets(service(ports=[{"port": 80}]), [pod()])[0]["ports"] == [{"port": 80, "protocol": "TCP"}]


def test_a_service_may_publish_what_is_not_ready() -> None:
    pods = [pod(1, ready=False), pod(2, deleting=True)]
    assert len(ips(subsets(service(publishNotReadyAddresses=True), pods))) == 2


def test_a_service_without_selector_is_left_to_others() -> None:
    assert service(selector=None).selector is None
    assert service(type="ExternalName").selector is None
