"""The official Python client, typed and dynamic, works with the server."""

from __future__ import annotations

import threading
from typing import Any

import kubernetes
import pytest
from kubernetes.client.exceptions import ApiException

from contract.servers import Server, configmap, deployment, thing

_k8s: Any = kubernetes  # what the tests write here is what people write, without regard to Optional


@pytest.fixture(scope="module")
def official(server: Server) -> Any:
    return _k8s.config.new_client_from_config(str(server.kubeconfig))


def test_typed_objects(official: Any, namespace: str) -> None:
    apps = _k8s.client.AppsV1Api(official)
    apps.create_namespaced_deployment(namespace, deployment(replicas=2))
    found = apps.read_namespaced_deployment("web", namespace)
    assert found.spec.replicas == 2 and found.spec.template.spec.containers[0].image == "web:1"
    found.spec.replicas = 3
    assert apps.replace_namespaced_deployment("web", namespace, found).spec.replicas == 3
    apps.patch_namespaced_deployment_scale("web", namespace, {"spec": {"replicas": 4}})
    listed = apps.list_namespaced_deployment(namespace)
    assert [(d.metadata.name, d.spec.replicas) for d in listed.items] == [("web", 4)]
    apps.delete_namespaced_deployment("web", namespace)
    with pytest.raises(ApiException) as caught:
        apps.read_namespaced_deployment("web", namespace)
    assert caught.value.status == 404


def test_typed_models_are_accepted(official: Any, namespace: str) -> None:
    core = _k8s.client.CoreV1Api(official)
    body = _k8s.client.V1ConfigMap(
        metadata=_k8s.client.V1ObjectMeta(name="a", labels={"x": "1"}), data={"k": "v"}
    )
    assert core.create_namespaced_config_map(namespace, body).data == {"k": "v"}
    found = core.list_namespaced_config_map(namespace, label_selector="x=1")
    assert found.items[0].metadata.name == "a"


def test_custom_objects(official: Any, things: None, namespace: str) -> None:
    custom = _k8s.client.CustomObjectsApi(official)
    where = ("contract.canaryd.io", "v1", namespace, "things")
    custom.create_namespaced_custom_object(*where, thing())
    custom.patch_namespaced_custom_object(*where, "one", {"spec": {"size": 3}})
    status = {"status": {"phase": "Up"}}
    custom.patch_namespaced_custom_object_status(*where, "one", status)
    found = custom.get_namespaced_custom_object(*where, "one")
    assert (found["spec"]["size"], found["status"]) == (3, {"phase": "Up"})
    assert len(custom.list_namespaced_custom_object(*where)["items"]) == 1


def test_watch_streams_typed_objects(official: Any, server: Server, namespace: str) -> None:
    core = _k8s.client.CoreV1Api(official)
    since = core.list_namespaced_config_map(namespace).metadata.resource_version
    writer = threading.Thread(
        target=lambda: [core.create_namespaced_config_map(namespace, configmap(name)) for name in "ab"]
    )
    writer.start()
    seen = []
    stream = _k8s.watch.Watch()
    for event in stream.stream(
        core.list_namespaced_config_map, namespace, resource_version=since, timeout_seconds=30
    ):
        seen.append((event["type"], event["object"].metadata.name))
        if len(seen) == 2:
            stream.stop()
    writer.join()
    assert seen == [("ADDED", "a"), ("ADDED", "b")]


def test_version_and_groups(official: Any) -> None:
    assert _k8s.client.VersionApi(official).get_code().major == "1"
    groups = {group.name for group in _k8s.client.ApisApi(official).get_api_versions().groups}
    assert {"apps", "coordination.k8s.io", "apiextensions.k8s.io", "events.k8s.io"} <= groups


def test_reviews_allow(official: Any) -> None:
    attributes = _k8s.client.V1ResourceAttributes(verb="create", resource="pods", namespace="default")
    review = _k8s.client.V1SelfSubjectAccessReview(
        spec=_k8s.client.V1SelfSubjectAccessReviewSpec(resource_attributes=attributes)
    )
    answer = _k8s.client.AuthorizationV1Api(official).create_self_subject_access_review(review)
    assert answer.status.allowed is True
