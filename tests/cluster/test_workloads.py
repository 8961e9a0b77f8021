"""Deployments, ReplicaSets and pods as the API has them, read into what decisions are made of."""

from __future__ import annotations

import copy
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.cluster.resources import Json
from canaryd.cluster.workloads import (
    deployment_view,
    owned_by,
    owns_pause,
    replicaset_view,
    revision,
    template_without_hash,
)

TEMPLATE: Json = {
    "metadata": {"labels": {"app": "checkout"}, "annotations": {"team": "payments"}},
    "spec": {"containers": [{"name": "app", "image": "checkout:2", "env": [{"name": "A", "value": "1"}]}]},
}


def template(**annotations: str) -> Json:
    """TEMPLATE with these annotations on top; an underscore stands for a slash."""
    made = copy.deepcopy(TEMPLATE)
    made["metadata"]["annotations"] |= {key.replace("_", "/"): value for key, value in annotations.items()}
    return made


def with_hash(made: Json) -> Json:
    """As the ReplicaSet of a Deployment has it."""
    meta = made["metadata"]
    labels = {**meta["labels"], "pod-template-hash": "5d6f7c"}
    return {**made, "metadata": {**meta, "creationTimestamp": None, "labels": labels}}


def shuffled(value: Any) -> Any:
    """The same JSON, the keys of every object in the opposite order."""
    if isinstance(value, dict):
        return {key: shuffled(value[key]) for key in reversed(value)}
    return [shuffled(each) for each in value] if isinstance(value, list) else value


class TestRevision:
    def test_is_a_name_for_labels_and_objects(self) -> None:
        assert len(revision(TEMPLATE)) == 10
        assert int(revision(TEMPLATE), 16) >= 0

    @pytest.mark.parametrize("same", [with_hash(TEMPLATE), shuffled(TEMPLATE), shuffled(with_hash(TEMPLATE))])
    def test_is_the_same_for_the_same_template(self, same: Json) -> None:
        assert revision(same) == revision(TEMPLATE)

    @pytest.mark.parametrize(
        "change",
        [
            lambda t: t["spec"]["containers"][0].update(image="checkout:3"),
            lambda t: t["spec"]["containers"][0]["env"].append({"name": "B", "value": ""}),
            lambda t: t["spec"]["containers"].append({"name": "log", "image": "log"}),
            lambda t: t["metadata"]["labels"].update(version="2"),
            lambda t: t["metadata"]["annotations"].update(team="x"),
            lambda t: t["spec"].update(terminationGracePeriodSeconds=5),
        ],
        ids=["image", "env", "container", "label", "annotation", "field"],
    )
    def test_is_another_for_any_change(self, change: Any) -> None:
        other = copy.deepcopy(TEMPLATE)
        change(other)
        assert revision(other) != revision(TEMPLATE)

    def test_of_a_template_without_metadata(self) -> None:
        assert revision({"spec": {}}) == revision({"metadata": {}, "spec": {}})
        assert revision({"spec": {}}) == revision(
            {"metadata": {"labels": {"pod-template-hash": "x"}}, "spec": {}}
        )

    @given(
        st.recursive(
            st.none() | st.booleans() | st.integers() | st.text(),
            lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
        )
    )
    def test_the_order_of_keys_never_matters(self, spec: Any) -> None:
        assert revision({"spec": spec}) == revision({"spec": shuffled(spec)})

    def test_the_hash_goes_and_nothing_else(self) -> None:
        made = with_hash(TEMPLATE)
        before = json.dumps(made)
        assert template_without_hash(made) == TEMPLATE
        assert json.dumps(made) == before, "what was read stays as it was"


def deployment(made: Json, **more: Any) -> Json:
    meta = {"name": "checkout", "namespace": "shop", "uid": "d-1", "resourceVersion": "7"}
    return {
        "metadata": {**meta, **more.pop("metadata", {})},
        "spec": {"replicas": 3, "template": made, "selector": {}, **more},
    }


def replicaset(made: Json, *, status: Json | None = None, **meta: Any) -> Json:
    return {
        "metadata": {"name": "checkout-5d6f7c", "labels": {"pod-template-hash": "5d6f7c"}, **meta},
        "spec": {"replicas": 3, "template": with_hash(made)},
        "status": status or {},
    }


class TestDeployments:
    def test_as_they_are(self) -> None:
        annotations = {"canaryd.io/enabled": "true", "canaryd.io/retry": "2", "canaryd.io/skip": "ab12"}
        view = deployment_view(deployment(TEMPLATE, paused=True, metadata={"annotations": annotations}), None)
        assert (view.uid, view.resource_version, view.revision) == ("d-1", "7", revision(TEMPLATE))
        assert (view.paused, view.replicas, view.enabled, view.retry, view.skip) == (
            True,
            3,
            True,
            "2",
            "ab12",
        )
        assert not view.deleting

    @pytest.mark.parametrize(
        ("value", "enabled"), [("true", True), ("false", False), ("True", True), ("yes", True), ("", True)]
    )
    def test_only_false_takes_the_annotation_off(self, value: str, enabled: bool) -> None:
        """A value that is neither is reported; it must not hand a Deployment back."""
        made = deployment(TEMPLATE, metadata={"annotations": {"canaryd.io/enabled": value}})
        assert deployment_view(made, None).enabled is enabled

    def test_on_its_way_out(self) -> None:
        assert deployment_view(deployment(TEMPLATE, metadata={"deletionTimestamp": "now"}), None).deleting

    @pytest.mark.parametrize(
        ("pending", "only"),
        [
            (template(), False),  # no change at all
            (template(kubectl_x="1"), False),
            (template(**{"kubectl.kubernetes.io_restartedAt": "2026-01-01T00:00:00Z"}), True),
        ],
        ids=["the same", "another annotation", "restart"],
    )
    def test_restarts(self, pending: Json, only: bool) -> None:
        assert deployment_view(deployment(pending), replicaset(TEMPLATE)).restart_only is only

    def test_a_restart_with_another_change_is_a_change(self) -> None:
        pending = template(**{"kubectl.kubernetes.io_restartedAt": "2026-01-01T00:00:00Z"})
        pending["spec"]["containers"][0]["image"] = "checkout:3"
        assert not deployment_view(deployment(pending), replicaset(TEMPLATE)).restart_only

    def test_a_second_restart_and_the_first_annotation_of_all(self) -> None:
        bare: Json = {"metadata": {"labels": {"app": "x"}}, "spec": {}}
        marked = {
            **bare,
            "metadata": {**bare["metadata"], "annotations": {"kubectl.kubernetes.io/restartedAt": "1"}},
        }
        again = {
            **bare,
            "metadata": {**bare["metadata"], "annotations": {"kubectl.kubernetes.io/restartedAt": "2"}},
        }
        for pending, running in ((marked, bare), (again, marked), (bare, marked)):
            assert deployment_view(deployment(pending), replicaset(running)).restart_only

    @pytest.mark.parametrize(
        ("entries", "ours"),
        [
            (None, False),
            ([{"manager": "canaryd", "fieldsV1": {"f:spec": {"f:paused": {}}}}], True),
            ([{"manager": "helm", "fieldsV1": {"f:spec": {"f:paused": {}}}}], False),
            ([{"manager": "canaryd", "fieldsV1": {"f:spec": {"f:template": {}}}}], False),
            ([{"manager": "canaryd"}], False),
        ],
    )
    def test_whose_pause_it_is(self, entries: Any, ours: bool) -> None:
        assert owns_pause({"metadata": {"managedFields": entries}}) is ours


class TestReplicaSets:
    def test_as_they_are(self) -> None:
        view = replicaset_view(
            replicaset(
                TEMPLATE,
                status={"replicas": 3, "readyReplicas": 2},
                creationTimestamp="2026-01-01T00:00:00Z",
                annotations={"deployment.kubernetes.io/revision": "12"},
            )
        )
        assert (view.name, view.hash, view.revision) == ("checkout-5d6f7c", "5d6f7c", revision(TEMPLATE))
        assert (view.replicas, view.ready, view.sequence, view.created) == (3, 2, 12, 1767225600.0)

    @pytest.mark.parametrize(("wanted", "there", "counted"), [(0, 2, 2), (3, 0, 3), (0, 0, 0)])
    def test_pods_that_are_still_there_count(self, wanted: int, there: int, counted: int) -> None:
        made = replicaset(TEMPLATE, status={"replicas": there})
        made["spec"]["replicas"] = wanted
        assert replicaset_view(made).replicas == counted

    def test_without_a_status_or_a_sequence(self) -> None:
        view = replicaset_view(replicaset(TEMPLATE, annotations={"deployment.kubernetes.io/revision": "x"}))
        assert (view.ready, view.sequence, view.created) == (0, 0, 0.0)

    def test_whose_they_are(self) -> None:
        owner = {"uid": "d-1", "controller": True}
        assert owned_by({"metadata": {"ownerReferences": [owner]}}, "d-1")
        assert not owned_by({"metadata": {"ownerReferences": [{"uid": "d-1"}]}}, "d-1")
        assert not owned_by({"metadata": {}}, "d-1")
