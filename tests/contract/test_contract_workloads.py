"""Deployments, ReplicaSets, pods, Services: their defaults, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import (
    DEPLOYMENTS,
    ENDPOINTS,
    EVENTS,
    POD_TEMPLATES,
    PODS,
    REPLICASETS,
    SERVICES,
    Json,
)
from contract.servers import MERGE_PATCH, Server, deployment, pod_spec

APPS = "/apis/apps/v1/namespaces/{ns}/deployments"
CORE = "/api/v1/namespaces/{ns}/{kind}"


def test_defaults_of_a_deployment(server: Server, namespace: str) -> None:
    spec = server.api.create(DEPLOYMENTS, namespace, deployment())["spec"]
    assert spec["replicas"] == 1
    assert spec["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": "25%"},
    }
    assert (spec["revisionHistoryLimit"], spec["progressDeadlineSeconds"]) == (10, 600)
    assert "paused" not in spec and "minReadySeconds" not in spec


def test_defaults_of_a_pod_template_are_the_same_everywhere(server: Server, namespace: str) -> None:
    """canaryd compares the template of a Deployment with that of a ReplicaSet and of a kept PodTemplate."""
    body = deployment()
    template = body["spec"]["template"]
    container = template["spec"]["containers"][0]
    container |= {
        "ports": [{"containerPort": 80}],
        "readinessProbe": {"httpGet": {"port": 80}},
        "env": [{"name": "IP", "valueFrom": {"fieldRef": {"fieldPath": "status.podIP"}}}],
    }
    template["spec"]["volumes"] = [{"name": "v", "configMap": {"name": "c"}}]
    made = server.api.create(DEPLOYMENTS, namespace, body)["spec"]["template"]
    replicas = {"metadata": {"name": "web"}, "spec": body["spec"]}
    assert server.api.create(REPLICASETS, namespace, replicas)["spec"]["template"] == made
    kept = {"metadata": {"name": "web"}, "template": template}
    assert server.api.create(POD_TEMPLATES, namespace, kept)["template"] == made
    [container] = made["spec"]["containers"]
    assert container["imagePullPolicy"] == "IfNotPresent"
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    assert container["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] == "v1"
    assert container["readinessProbe"] == {
        "httpGet": {"path": "/", "port": 80, "scheme": "HTTP"},
        "timeoutSeconds": 1, "periodSeconds": 10, "successThreshold": 1, "failureThreshold": 3,
    }  # fmt: skip
    assert made["spec"]["volumes"] == [{"name": "v", "configMap": {"name": "c", "defaultMode": 420}}]
    assert made["spec"]["restartPolicy"] == "Always" and made["spec"]["terminationGracePeriodSeconds"] == 30


@pytest.mark.parametrize(
    ("image", "policy"),
    [("web", "Always"), ("web:latest", "Always"), ("web:1", "IfNotPresent"), ("host:5000/web", "Always"),
     ("web@sha256:" + "a" * 64, "IfNotPresent")],
)  # fmt: skip
def test_pull_policy_follows_the_tag(server: Server, namespace: str, image: str, policy: str) -> None:
    made = server.api.create(DEPLOYMENTS, namespace, deployment(image=image))
    assert made["spec"]["template"]["spec"]["containers"][0]["imagePullPolicy"] == policy


def test_a_pod_starts_pending(server: Server, namespace: str) -> None:
    made = server.api.create(PODS, namespace, {"metadata": {"name": "p"}, "spec": pod_spec("x:1")})
    assert (made["status"]["phase"], made["status"]["qosClass"]) == ("Pending", "BestEffort")
    assert "generation" not in made["metadata"] or made["metadata"]["generation"] == 1


_STRATEGY = "spec.strategy.rollingUpdate"
_TEMPLATE = "spec.template.spec"


def _template(**spec: Any) -> Json:
    return {"metadata": {"labels": {"app": "web"}}, "spec": {**pod_spec("x:1"), **spec}}


def _container(**more: Any) -> Json:
    return _template(containers=[{"name": "a", "image": "x:1", **more}])


@pytest.mark.parametrize(
    ("spec", "causes"),
    [
        pytest.param({"replicas": -1}, ["spec.replicas"], id="replicas"),
        pytest.param({"selector": None}, ["spec.selector", "spec.template.metadata.labels"], id="no selector"),
        pytest.param({"selector": {}}, ["spec.selector"], id="empty selector"),
        pytest.param(
            {"selector": {"matchLabels": {"app": "other"}}}, ["spec.template.metadata.labels"], id="mismatch"
        ),
        pytest.param({"template": _template(containers=[])}, [f"{_TEMPLATE}.containers"], id="no containers"),
        pytest.param({"template": _container(image="")}, [f"{_TEMPLATE}.containers[0].image"], id="no image"),
        pytest.param({"template": _container(name="A")}, [f"{_TEMPLATE}.containers[0].name"], id="bad name"),
        pytest.param(
            {"template": _template(containers=[{"name": "a", "image": "x"}] * 2)},
            [f"{_TEMPLATE}.containers[1].name"],
            id="two of a name",
        ),
        pytest.param(
            {"template": _container(ports=[{"containerPort": 70000}])},
            [f"{_TEMPLATE}.containers[0].ports[0].containerPort"],
            id="port",
        ),
        pytest.param(
            {"template": _container(env=[{"name": "1 a"}])}, [f"{_TEMPLATE}.containers[0].env[0].name"], id="env"
        ),
        pytest.param(
            {"template": _container(volumeMounts=[{"name": "no", "mountPath": "/x"}])},
            [f"{_TEMPLATE}.containers[0].volumeMounts[0].name"],
            id="mount",
        ),
        pytest.param(
            {"template": _template(restartPolicy="Never")}, [f"{_TEMPLATE}.restartPolicy"], id="restart policy"
        ),
        pytest.param(
            {"strategy": {"rollingUpdate": {"maxSurge": 0, "maxUnavailable": 0}}},
            [f"{_STRATEGY}.maxUnavailable"],
            id="nothing may move",
        ),
        pytest.param({"strategy": {"rollingUpdate": {"maxSurge": "x"}}}, [f"{_STRATEGY}.maxSurge"], id="share"),
        pytest.param(
            {"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}}, [_STRATEGY], id="recreate"
        ),
        pytest.param({"strategy": {"type": "Magic"}}, ["spec.strategy"], id="strategy"),
        pytest.param(
            {"progressDeadlineSeconds": 5, "minReadySeconds": 10}, ["spec.progressDeadlineSeconds"], id="deadline"
        ),
    ],
)  # fmt: skip
def test_deployment_is_checked(server: Server, namespace: str, spec: Json, causes: list[str]) -> None:
    reply = server.ask("POST", APPS.format(ns=namespace), deployment(**spec))
    assert (reply.status, [field for field, _ in reply.causes]) == (422, causes), reply.body


@pytest.mark.parametrize("spec", [{"replicas": "2"}, {"paused": "true"}, {"selector": []}, {"template": "x"}])
def test_wrong_types_are_refused(server: Server, namespace: str, spec: Json) -> None:
    reply = server.ask("POST", APPS.format(ns=namespace), deployment(**spec))
    assert reply.status == 400
    assert 'Deployment in version "v1" cannot be handled as a Deployment' in reply.body["message"]


@pytest.mark.parametrize(
    ("status", "fields"),
    [
        ({"replicas": 1, "readyReplicas": 1, "availableReplicas": 1, "updatedReplicas": 1}, []),
        ({"replicas": 1, "readyReplicas": 2}, ["status.readyReplicas"]),
        ({"replicas": 1, "availableReplicas": 1}, ["status.availableReplicas"]),
        ({"replicas": 1, "updatedReplicas": 2}, ["status.updatedReplicas"]),
        ({"replicas": 1, "readyReplicas": -1}, ["status.availableReplicas", "status.readyReplicas"]),
    ],
)
def test_counts_of_a_deployment_fit_together(
    server: Server, namespace: str, status: Json, fields: list[str]
) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    path = APPS.format(ns=namespace) + "/web/status"
    reply = server.ask("PATCH", path, {"status": status}, content_type=MERGE_PATCH)
    assert sorted(field for field, _ in reply.causes) == fields, reply.body


def test_selector_of_a_deployment_never_changes(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    labels = {"app": "web", "more": "1"}
    change = {
        "spec": {"selector": {"matchLabels": labels}, "template": {"metadata": {"labels": labels}}},
    }
    with pytest.raises(errors.Invalid, match="field is immutable"):
        server.api.patch(DEPLOYMENTS, namespace, "web", change)


def test_pod_can_change_its_image_and_little_else(server: Server, namespace: str) -> None:
    server.api.create(PODS, namespace, {"metadata": {"name": "p"}, "spec": pod_spec("x:1")})
    image = {"spec": {"containers": [{"name": "a", "image": "x:2"}]}}
    changed = server.api.patch(PODS, namespace, "p", image, kind="strategic")
    assert changed["spec"]["containers"][0]["image"] == "x:2"
    for spec in (
        {"hostname": "h"},
        {"nodeName": "n1"},
        {"containers": [{"name": "a", "env": [{"name": "A"}]}]},
    ):
        with pytest.raises(errors.Invalid, match="pod updates may not change fields"):
            server.api.patch(PODS, namespace, "p", {"spec": spec}, kind="strategic")


def test_service_gets_an_address_that_stays(server: Server, namespace: str) -> None:
    body: Json = {"metadata": {"name": "web"}, "spec": {"ports": [{"port": 80}], "selector": {"app": "web"}}}
    made = server.api.create(SERVICES, namespace, body)
    address = made["spec"]["clusterIP"]
    assert made["spec"]["type"] == "ClusterIP" and address.count(".") == 3
    assert made["spec"]["ports"] == [{"port": 80, "protocol": "TCP", "targetPort": 80}]
    changed = server.api.patch(SERVICES, namespace, "web", {"spec": {"selector": {"app": "other"}}})
    assert changed["spec"]["clusterIP"] == address
    with pytest.raises(errors.Invalid, match="may not change once set"):
        server.api.patch(SERVICES, namespace, "web", {"spec": {"clusterIP": "10.0.0.99"}})


def test_headless_and_external_services_have_no_address(server: Server, namespace: str) -> None:
    headless = {"metadata": {"name": "h"}, "spec": {"clusterIP": "None", "ports": [{"port": 80}]}}
    external = {"metadata": {"name": "e"}, "spec": {"type": "ExternalName", "externalName": "example.com"}}
    assert server.api.create(SERVICES, namespace, headless)["spec"]["clusterIP"] == "None"
    assert "clusterIP" not in server.api.create(SERVICES, namespace, external)["spec"]


@pytest.mark.parametrize(
    ("name", "ports", "field"),
    [
        pytest.param("web", [], "spec.ports", id="no ports"),
        pytest.param("web", [{"port": 80}, {"port": 81}], "spec.ports[0].name", id="nameless ports"),
        pytest.param("web", [{"port": 0}], "spec.ports[0].port", id="port"),
        pytest.param("1web", [{"port": 80}], "metadata.name", id="name starts with a digit"),
        pytest.param("a.b", [{"port": 80}], "metadata.name", id="name with a dot"),
    ],
)
def test_service_is_checked(server: Server, namespace: str, name: str, ports: list[Json], field: str) -> None:
    body = {"metadata": {"name": name}, "spec": {"ports": ports}}
    reply = server.ask("POST", CORE.format(ns=namespace, kind="services"), body)
    assert reply.status == 422 and field in [cause for cause, _ in reply.causes]


def test_endpoints_are_kept(server: Server, namespace: str) -> None:
    subsets = [{"addresses": [{"ip": "192.0.2.1"}], "ports": [{"name": "http", "port": 80}]}]
    body = {"metadata": {"name": "web"}, "subsets": subsets}
    made = server.api.create(ENDPOINTS, namespace, body)
    assert made["subsets"][0]["ports"] == [{"name": "http", "port": 80, "protocol": "TCP"}]


def test_event_belongs_to_the_namespace_of_its_object(server: Server, namespace: str) -> None:
    event = {"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod", "namespace": "other", "name": "p"}}
    with pytest.raises(errors.Invalid, match=r"does not match event\.namespace"):
        server.api.create(EVENTS, namespace, event)


def test_event_is_one_object_in_both_groups(server: Server, namespace: str) -> None:
    involved = {"kind": "Pod", "namespace": namespace, "name": "p"}
    event = {"metadata": {"name": "e"}, "involvedObject": involved, "message": "hello", "reason": "R"}
    server.api.create(EVENTS, namespace, event)
    seen = server.ask("GET", f"/apis/events.k8s.io/v1/namespaces/{namespace}/events/e").body
    assert (seen["apiVersion"], seen["note"], seen["regarding"]) == ("events.k8s.io/v1", "hello", involved)
    assert "message" not in seen and "involvedObject" not in seen
