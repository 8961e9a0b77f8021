"""What a container's process is started with."""

import sys
from typing import Any

import pytest
from pod_factory import pod_spec

from canaryd.sandbox.node.addresses import LoopbackNetwork
from canaryd.sandbox.node.environment import (
    ContainerConfigError,
    command_line,
    environment,
    image_id,
    pullable,
)
from canaryd.sandbox.node.spec import Container, Exec, HttpGet, Probe, Unsupported


def env_of(**container: Any) -> dict[str, str]:
    pod = pod_spec(container)
    return environment(pod, pod.containers[0], ip="127.16.0.9", node="n1")


def test_what_every_container_gets() -> None:
    env = env_of(image="example/app:v7", ports=[{"containerPort": 8080}, {"containerPort": 9}])
    assert env["POD_NAME"] == "p"
    assert env["POD_NAMESPACE"] == "default"
    assert env["POD_IP"] == "127.16.0.9"
    assert env["PORT"] == "8080"
    assert env["VERSION"] == "v7"


def test_the_containers_own_env_comes_last() -> None:
    env = env_of(ports=[{"containerPort": 8080}], env=[{"name": "PORT", "value": "9"}])
    assert env["PORT"] == "9"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("metadata.name", "p"),
        ("metadata.namespace", "default"),
        ("metadata.labels['app']", "checkout"),
        ("metadata.labels['none']", ""),
        ("metadata.annotations['team']", "pay"),
        ("status.podIP", "127.16.0.9"),
        ("spec.nodeName", "n1"),
    ],
)
def test_field_references(path: str, expected: str) -> None:
    assert env_of(env=[{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": path}}}])["X"] == expected


@pytest.mark.parametrize(
    "container",
    [
        {"env": [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]},
        {"env": [{"name": "X", "valueFrom": {"fieldRef": {"fieldPath": "status.nothing"}}}]},
        {"envFrom": [{"configMapRef": {"name": "c"}}]},
    ],
)
def test_what_is_not_offered_is_named(container: dict[str, Any]) -> None:
    with pytest.raises(ContainerConfigError, match=r"does not offer .*(secretKeyRef|nothing|configMapRef)"):
        env_of(**container)


def test_references_to_variables_are_expanded() -> None:
    pod = pod_spec(
        {
            "command": ["serve", "$(NAME)", "$$(NAME)", "$(NOT_THERE)"],
            "args": ["--at=$(WHERE)"],
            "env": [{"name": "NAME", "value": "app"}, {"name": "WHERE", "value": "$(POD_IP):$(NAME)"}],
        }
    )
    env = environment(pod, pod.containers[0], ip="1.2.3.4", node="n")
    assert command_line(pod.containers[0], env) == (
        "serve",
        "app",
        "$(NAME)",
        "$(NOT_THERE)",
        "--at=1.2.3.4:app",
    )


def test_python_is_this_interpreter_and_no_command_the_demo_app() -> None:
    assert command_line(Container("c", "i", ("python", "-V")), {}) == (sys.executable, "-V")
    assert command_line(Container("c", "i"), {}) == (sys.executable, "-m", "canaryd.sandbox.app")


def test_the_image_id_follows_image_and_command_but_not_the_env() -> None:
    env_differs = [pod_spec({"env": [{"name": "A", "value": value}]}).containers[0] for value in "12"]
    assert image_id(env_differs[0]) == image_id(env_differs[1])
    ids = {
        image_id(Container("c", *rest)) for rest in (("a:1",), ("a:2",), ("a:1", ("x",)), ("a:1", (), ("x",)))
    }
    assert len(ids) >= 3
    assert image_id(Container("c", "a:1")).startswith("sandbox://a:1@sha256:")


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ("example/app:v1", True),
        ("localhost:5000/app", True),
        ("example/broken:v2", False),
        ("example/broken", False),
        ("example/app:does-not-exist", False),
        ("example/broken-promises:v1", True),
        ("", False),
    ],
)
def test_which_images_exist(image: str, expected: bool) -> None:
    assert pullable(image) == expected


def test_probes_are_read_with_the_apis_defaults() -> None:
    pod = pod_spec(
        {
            "readinessProbe": {"httpGet": {"port": "http"}, "periodSeconds": 0.25},
            "livenessProbe": {"exec": {"command": ["true"]}, "failureThreshold": 1},
            "startupProbe": {"grpc": {"port": 9}},
        }
    )
    container = pod.containers[0]
    assert container.readiness == Probe(HttpGet("http"), period=0.25)
    assert container.liveness == Probe(Exec(("true",)), failure_threshold=1)
    assert container.startup is not None
    assert isinstance(container.startup.action, Unsupported)


def test_two_networks_never_share_an_address() -> None:
    one, other = LoopbackNetwork(), LoopbackNetwork()
    try:
        first = [one.allocate() for _ in range(600)]
        assert len(set(first)) == 600
        assert not set(first) & {other.allocate() for _ in range(600)}
        assert all(address.startswith("127.") for address in first)
    finally:
        one.close()
        other.close()


def test_a_network_given_back_can_be_claimed_again() -> None:
    first = LoopbackNetwork()
    first.close()
    second = LoopbackNetwork()
    second.close()
    assert second.octet == first.octet
