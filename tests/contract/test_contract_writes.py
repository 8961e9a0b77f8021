"""Creating and replacing objects: versions, conflicts, names, and what the server fills in."""

from __future__ import annotations

import pytest

from canaryd.cluster import errors
from canaryd.cluster.resources import CONFIGMAPS, DEPLOYMENTS, LEASES, Json
from contract.servers import Server, configmap, deployment

MAPS = "/api/v1/namespaces/{ns}/configmaps"


def test_create_fills_in_metadata(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", {"k": "v"}))
    meta = made["metadata"]
    assert (meta["name"], meta["namespace"]) == ("a", namespace)
    assert meta["uid"] and meta["creationTimestamp"].endswith("Z") and int(meta["resourceVersion"]) > 0
    assert "selfLink" not in meta


def test_what_was_created_can_be_read(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", {"k": "v"}))
    assert server.api.get(CONFIGMAPS, namespace, "a") == made


def test_second_create_is_already_exists(server: Server, namespace: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    with pytest.raises(errors.AlreadyExists):
        server.api.create(CONFIGMAPS, namespace, configmap("a"))


def test_generate_name_makes_distinct_names(server: Server, namespace: str) -> None:
    body: Json = {"metadata": {"generateName": "run-"}}
    names = {server.api.create(CONFIGMAPS, namespace, body)["metadata"]["name"] for _ in range(5)}
    assert len(names) == 5
    assert all(name.startswith("run-") and len(name) == len("run-") + 5 for name in names)


@pytest.mark.parametrize(
    ("body", "status", "says"),
    [
        pytest.param({"metadata": {}}, 422, "name or generateName is required", id="no name"),
        pytest.param(configmap("Bad_Name"), 422, "lowercase RFC 1123 subdomain", id="bad name"),
        pytest.param(configmap("a", namespace="other"), 400, "does not match the namespace", id="other namespace"),
        pytest.param({**configmap("a"), "kind": "Secret"}, 400, "cannot be handled as a ConfigMap", id="other kind"),
        pytest.param({**configmap("a"), "apiVersion": "v2"}, 400, "", id="other version"),
        pytest.param(configmap("a", resourceVersion="5"), 500, "resourceVersion should not be set", id="version"),
        pytest.param(configmap("a", labels={"a b": "c"}), 422, "metadata.labels", id="label key"),
        pytest.param(configmap("a", labels={"a": "b c"}), 422, "a valid label", id="label value"),
        pytest.param(configmap("a", labels={"a": 1}), 400, "cannot be handled as a ConfigMap", id="label type"),
        pytest.param(configmap("a", annotations={"a": True}), 400, "", id="annotation type"),
        pytest.param(configmap("a", annotations={"a b": "c"}), 422, "metadata.annotations", id="annotation key"),
        pytest.param(configmap("a", finalizers=["x"]), 422, "standard finalizer name", id="finalizer"),
        pytest.param(configmap("a", creationTimestamp="now"), 400, "parsing time", id="time"),
        pytest.param(configmap("a", {"a b": "c"}), 422, "a valid config key", id="config key"),
        pytest.param(b"{x", 400, "", id="not JSON"),
    ],
)  # fmt: skip
def test_create_refuses(server: Server, namespace: str, body: Json | bytes, status: int, says: str) -> None:
    reply = server.ask("POST", MAPS.format(ns=namespace), body)
    assert reply.status == status, reply.body
    assert reply.body["kind"] == "Status" and reply.body["code"] == status
    assert says in reply.body["message"]


def test_create_in_missing_namespace_is_not_found(server: Server) -> None:
    reply = server.ask("POST", MAPS.format(ns="nowhere"), configmap("a"))
    assert (reply.status, reply.body["message"]) == (404, 'namespaces "nowhere" not found')


def test_missing_object_is_not_found_by_name(server: Server, namespace: str) -> None:
    with pytest.raises(errors.NotFound) as caught:
        server.api.get(DEPLOYMENTS, namespace, "web")
    assert caught.value.message == 'deployments.apps "web" not found'


def test_kind_that_is_not_served_is_told_from_a_missing_object(server: Server) -> None:
    reply = server.ask("GET", "/apis/nothing.example.com/v1/namespaces/default/things/one")
    assert (reply.status, reply.body) == (404, "404 page not found\n")


@pytest.mark.parametrize("method", ["PUT", "PATCH", "DELETE"])
def test_missing_object_cannot_be_changed(server: Server, namespace: str, method: str) -> None:
    media = "application/merge-patch+json" if method == "PATCH" else "application/json"
    body = {} if method == "DELETE" else {"metadata": {"name": "a"}}
    path = MAPS.format(ns=namespace) + "/a"
    assert server.ask(method, path, body, content_type=media).status == 404


def test_kind_and_version_are_implied_by_the_url(server: Server, namespace: str) -> None:
    made = server.ask("POST", MAPS.format(ns=namespace), {"metadata": {"name": "a"}}).body
    assert (made["apiVersion"], made["kind"]) == ("v1", "ConfigMap")


def test_every_write_has_a_higher_version(server: Server, namespace: str) -> None:
    versions = []
    for name in ("a", "b"):
        made = server.api.create(CONFIGMAPS, namespace, configmap(name))
        changed = server.api.patch(CONFIGMAPS, namespace, name, {"data": {"k": "v"}})
        versions += [int(made["metadata"]["resourceVersion"]), int(changed["metadata"]["resourceVersion"])]
    assert versions == sorted(set(versions))


def test_replace_with_the_current_version(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", {"k": "v"}))
    changed = server.api.replace(CONFIGMAPS, namespace, "a", {**made, "data": {"k": "w"}})
    assert changed["data"] == {"k": "w"}
    assert changed["metadata"]["uid"] == made["metadata"]["uid"]
    assert int(changed["metadata"]["resourceVersion"]) > int(made["metadata"]["resourceVersion"])


def test_replace_with_a_stale_version_is_a_conflict(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a", {"k": "v"}))
    server.api.replace(CONFIGMAPS, namespace, "a", {**made, "data": {"k": "w"}})
    with pytest.raises(errors.Conflict, match="object has been modified"):
        server.api.replace(CONFIGMAPS, namespace, "a", {**made, "data": {"k": "x"}})
    assert server.api.get(CONFIGMAPS, namespace, "a")["data"] == {"k": "w"}


def test_replace_without_a_version_is_unconditional(server: Server, namespace: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a", {"k": "v"}))
    assert server.api.replace(CONFIGMAPS, namespace, "a", configmap("a", {"k": "w"}))["data"] == {"k": "w"}


def test_replace_of_a_lease_wants_its_version(server: Server, namespace: str) -> None:
    made = server.api.create(LEASES, namespace, {"metadata": {"name": "l"}, "spec": {"holderIdentity": "a"}})
    with pytest.raises(errors.Invalid, match="must be specified for an update"):
        server.api.replace(
            LEASES, namespace, "l", {"metadata": {"name": "l"}, "spec": {"holderIdentity": "b"}}
        )
    made["spec"]["holderIdentity"] = "b"
    assert server.api.replace(LEASES, namespace, "l", made)["spec"]["holderIdentity"] == "b"


def test_lease_times_have_six_digits(server: Server, namespace: str) -> None:
    def lease(time: str) -> Json:
        return {"metadata": {"generateName": "l"}, "spec": {"renewTime": time}}

    path = f"/apis/coordination.k8s.io/v1/namespaces/{namespace}/leases"
    assert server.ask("POST", path, lease("2026-01-01T00:00:00.123456Z")).status == 201
    for time in ("2026-01-01T00:00:00Z", "2026-01-01T00:00:00.123Z"):
        assert server.ask("POST", path, lease(time)).status == 400


def test_replace_of_another_incarnation_is_a_conflict(server: Server, namespace: str) -> None:
    old = server.api.create(CONFIGMAPS, namespace, configmap("a"))
    server.api.delete(CONFIGMAPS, namespace, "a")
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    del old["metadata"]["resourceVersion"]
    with pytest.raises(errors.Conflict, match="UID in precondition"):
        server.api.replace(CONFIGMAPS, namespace, "a", old)


@pytest.mark.parametrize("given", ["b", ""])
def test_replace_wants_the_name_of_the_url(server: Server, namespace: str, given: str) -> None:
    server.api.create(CONFIGMAPS, namespace, configmap("a"))
    body = configmap(given) if given else {"metadata": {}}
    assert server.ask("PUT", MAPS.format(ns=namespace) + "/a", body).status == 400


def test_write_that_changes_nothing_is_no_write(server: Server, namespace: str) -> None:
    made = server.api.create(DEPLOYMENTS, namespace, deployment())
    again = server.api.patch(DEPLOYMENTS, namespace, "web", {"spec": {"replicas": 1}})
    assert again["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]
    replaced = server.api.replace(DEPLOYMENTS, namespace, "web", deployment())
    assert replaced["metadata"]["resourceVersion"] == made["metadata"]["resourceVersion"]


def test_system_metadata_cannot_be_set(server: Server, namespace: str) -> None:
    made = server.api.create(CONFIGMAPS, namespace, configmap("a"))
    changed = server.api.patch(
        CONFIGMAPS, namespace, "a",
        {"metadata": {"creationTimestamp": "2001-01-01T00:00:00Z", "generation": 99}},
    )  # fmt: skip
    assert changed["metadata"]["creationTimestamp"] == made["metadata"]["creationTimestamp"]
    assert "generation" not in changed["metadata"]


def test_dry_run_changes_nothing(server: Server, namespace: str) -> None:
    path = MAPS.format(ns=namespace)
    assert server.ask("POST", f"{path}?dryRun=All", configmap("a")).status == 201
    assert server.ask("GET", f"{path}/a").status == 404


@pytest.mark.parametrize("paused", [True, False])
def test_generation_counts_changes_of_the_spec(server: Server, namespace: str, paused: bool) -> None:
    made = server.api.create(DEPLOYMENTS, namespace, deployment(paused=not paused))
    assert made["metadata"]["generation"] == 1
    labelled = server.api.patch(DEPLOYMENTS, namespace, "web", {"metadata": {"labels": {"a": "b"}}})
    assert labelled["metadata"]["generation"] == 1
    changed = server.api.patch(DEPLOYMENTS, namespace, "web", {"spec": {"paused": paused}})
    assert changed["metadata"]["generation"] == 2


def test_annotations_of_a_deployment_count_too(server: Server, namespace: str) -> None:
    server.api.create(DEPLOYMENTS, namespace, deployment())
    changed = server.api.patch(DEPLOYMENTS, namespace, "web", {"metadata": {"annotations": {"a": "b"}}})
    assert changed["metadata"]["generation"] == 2
