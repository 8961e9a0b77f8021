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
    canary_view,
    deployment_view,
    images,
    owned_by,
    owns_pause,
    pod_problems,
    ready,
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


def pod(*containers: Json, init: list[Json] | None = None, name: str = "c-1", **status: Any) -> Json:
    """A pod with these container statuses; ready unless `conditions` say otherwise."""
    conditions = status.pop("conditions", [{"type": "Ready", "status": "True"}])
    return {
        "metadata": {"name": name},
        "status": {
            "phase": "Running",
            "conditions": conditions,
            "containerStatuses": list(containers),
            **({"initContainerStatuses": init} if init else {}),
            **status,
        },
    }


def container(
    state: Json, last: Json | None = None, *, name: str = "app", restarts: int = 0, **more: Any
) -> Json:
    return {
        "name": name,
        "state": state,
        "lastState": last or {},
        "restartCount": restarts,
        "ready": "running" in state,
        "image": "checkout:2",
        "imageID": "",
        **more,
    }


RUNNING: Json = {"running": {"startedAt": "2026-01-01T00:00:00Z"}}
DONE: Json = {"terminated": {"exitCode": 0, "reason": "Completed"}}


def waiting(reason: str, message: str = "") -> Json:
    return {"waiting": {"reason": reason, "message": message}}


def terminated(code: int, reason: str = "Error", message: str = "") -> Json:
    return {"terminated": {"exitCode": code, "reason": reason, "message": message}}


class TestPodProblems:
    @pytest.mark.parametrize(
        "made",
        [
            pod(container(RUNNING)),
            pod(container(waiting("ContainerCreating")), phase="Pending"),
            pod(
                container(waiting("PodInitializing")), init=[container(RUNNING, name="migrate", ready=False)]
            ),
            pod(container(RUNNING), init=[container(DONE, name="migrate")]),
            pod(container(RUNNING), init=[container(DONE, terminated(1), name="await-db", restarts=3)]),
            pod(container(RUNNING), init=[container(RUNNING, name="istio-proxy")]),
            pod(container(RUNNING, DONE, restarts=1)),
            pod(conditions=[{"type": "PodScheduled", "status": "True"}], phase="Pending"),
            {"metadata": {"name": "new"}},
        ],
        ids=[
            "running",
            "creating",
            "initializing",
            "initialized",
            "init succeeded in the end",
            "native sidecar",
            "ended well once",
            "scheduled",
            "without a status",
        ],
    )
    def test_none(self, made: Json) -> None:
        assert pod_problems(made) == []

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (
                pod(
                    container(
                        waiting("CrashLoopBackOff", "back-off 40s restarting failed container=app"),
                        terminated(1, message="starting\nconnecting\nno database\ngoodbye\n"),
                        restarts=3,
                    )
                ),
                "pod c-1, container app: Error: exit code 1, 3 restarts; last lines: connecting | no database | goodbye",
            ),
            (
                pod(container(RUNNING, terminated(137, "OOMKilled"), restarts=1)),
                "pod c-1, container app: OOMKilled: exit code 137, 1 restart",
            ),
            (pod(container(terminated(2))), "pod c-1, container app: Error: exit code 2, 0 restarts"),
            (
                pod(container(terminated(2, message="now"), terminated(1, message="then"), restarts=1)),
                "pod c-1, container app: Error: exit code 2, 1 restart; last lines: now",
            ),
            (
                pod(container(waiting("CrashLoopBackOff", "back-off 10s"), DONE, restarts=2)),
                "pod c-1, container app: CrashLoopBackOff: back-off 10s",
            ),
            (
                pod(container(waiting("RunContainerError", 'exec: "/app": no such file'))),
                'pod c-1, container app: RunContainerError: exec: "/app": no such file',
            ),
            (
                pod(container(waiting("InvalidImageName", "couldn't parse image reference"))),
                "pod c-1, container app: InvalidImageName: couldn't parse image reference",
            ),
            (
                pod(container(waiting("ErrImagePull", "docker.io/library/checkout:9: not found"))),
                "pod c-1, container app: ErrImagePull: docker.io/library/checkout:9: not found",
            ),
            (
                pod(container(waiting("ErrImagePull", "pull access denied, repository does not exist"))),
                "pod c-1, container app: ErrImagePull: pull access denied, repository does not exist",
            ),
            (
                pod(
                    container(waiting("PodInitializing")),
                    init=[container(waiting("CrashLoopBackOff"), terminated(1))],
                ),
                "pod c-1, container app: Error: exit code 1, 0 restarts",
            ),
            (
                pod(container(RUNNING), container(RUNNING, terminated(1), name="istio-proxy", restarts=1)),
                "pod c-1, container istio-proxy: Error: exit code 1, 1 restart",
            ),
        ],
        ids=[
            "crash loop",
            "out of memory",
            "just crashed",
            "crashed again",
            "ends by itself",
            "cannot be run",
            "image name",
            "no such image",
            "no access",
            "init container",
            "sidecar",
        ],
    )
    def test_that_waiting_does_not_cure(self, made: Json, said: str) -> None:
        (problem,) = pod_problems(made)
        assert str(problem) == said
        assert problem.fatal

    @pytest.mark.parametrize(
        ("made", "reason"),
        [
            (pod(container(waiting("ErrImagePull", "429 Too Many Requests"))), "ErrImagePull"),
            (
                pod(container(waiting("ImagePullBackOff", 'Back-off pulling image "checkout:2"'))),
                "ImagePullBackOff",
            ),
            (
                pod(container(waiting("CreateContainerConfigError", 'secret "db" not found'))),
                "CreateContainerConfigError",
            ),
            (
                pod(container(waiting("CreateContainerError", "context deadline exceeded"))),
                "CreateContainerError",
            ),
            (pod(container(RUNNING, ready=False, started=True)), "NotReady"),
            (pod(container(RUNNING, ready=False, started=False)), "NotReady"),
            (pod(container(RUNNING, terminated(255, "Unknown"), restarts=1)), "Unknown"),
            (pod(container(terminated(137, "ContainerStatusUnknown"))), "ContainerStatusUnknown"),
            (
                pod(
                    container(terminated(137)),
                    phase="Failed",
                    reason="Evicted",
                    message="The node was low on resource: memory.",
                ),
                "Evicted",
            ),
            (
                pod(
                    phase="Pending",
                    conditions=[
                        {
                            "type": "PodScheduled",
                            "status": "False",
                            "reason": "Unschedulable",
                            "message": "0/3 nodes are available: 3 Insufficient cpu.",
                        }
                    ],
                ),
                "Unschedulable",
            ),
            (
                pod(
                    phase="Pending",
                    conditions=[{"type": "PodScheduled", "status": "False", "reason": "SchedulingGated"}],
                ),
                "SchedulingGated",
            ),
        ],
        ids=[
            "registry busy",
            "back-off",
            "secret to come",
            "runtime slow",
            "not ready",
            "not started",
            "node rebooted",
            "container lost",
            "evicted",
            "no room",
            "gated",
        ],
    )
    def test_that_time_may_cure(self, made: Json, reason: str) -> None:
        (problem,) = pod_problems(made)
        assert (problem.reason, problem.fatal) == (reason, False)

    def test_a_probe_is_named(self) -> None:
        (problem,) = pod_problems(pod(container(RUNNING, ready=False, started=True)))
        assert (
            str(problem) == "pod c-1, container app: NotReady: it runs, but its readiness probe does not pass"
        )
        (problem,) = pod_problems(pod(container(RUNNING, ready=False, started=False)))
        assert "startup probe" in str(problem)

    def test_each_container_speaks_for_itself(self) -> None:
        made = pod(container(terminated(1)), container(waiting("ErrImagePull"), name="log"))
        assert [p.reason for p in pod_problems(made)] == ["Error", "ErrImagePull"]

    def test_a_pod_on_its_way_out_has_none(self) -> None:
        made = pod(container(terminated(143)))
        made["metadata"]["deletionTimestamp"] = "2026-01-01T00:00:00Z"
        assert pod_problems(made) == []
        assert not ready(made)


class TestCanaries:
    def view(self, *pods: Json, conditions: list[Json] | None = None) -> Any:
        return canary_view({**deployment(TEMPLATE), "status": {"conditions": conditions or []}}, pods)

    def test_ready_pods_count(self) -> None:
        unready = pod(
            container(RUNNING, ready=False), conditions=[{"type": "Ready", "status": "False"}], name="c-2"
        )
        view = self.view(pod(container(RUNNING)), unready)
        assert (view.replicas, view.ready, view.pods) == (3, 1, ("c-1", "c-2"))
        assert [p.reason for p in view.problems] == ["NotReady"]

    @pytest.mark.parametrize(
        ("message", "reason"),
        [
            ('pods "x" is forbidden: exceeded quota: compute', "QuotaExceeded"),
            ('pods "x" is forbidden: violates PodSecurity "restricted:latest"', "FailedCreate"),
        ],
    )
    def test_pods_that_cannot_be_made(self, message: str, reason: str) -> None:
        failed = {"type": "ReplicaFailure", "status": "True", "reason": "FailedCreate", "message": message}
        (problem,) = self.view(conditions=[failed]).problems
        assert (problem.reason, problem.message, problem.fatal) == (reason, message, False)

    def test_a_failure_that_is_over(self) -> None:
        assert (
            self.view(conditions=[{"type": "ReplicaFailure", "status": "False", "message": "quota"}]).problems
            == ()
        )


class TestImages:
    DIGEST = "sha256:" + "ab" * 32

    def of(self, image_id: str, name: str = "app") -> Json:
        return container(RUNNING, name=name, imageID=image_id)

    @pytest.mark.parametrize(
        "prefix", ["ghcr.io/acme/checkout@", "docker-pullable://ghcr.io/acme/checkout@", ""]
    )
    def test_by_digest_on_every_runtime(self, prefix: str) -> None:
        assert images([pod(self.of(prefix + self.DIGEST))]) == {f"app={self.DIGEST}"}

    def test_of_ready_pods_alone(self) -> None:
        unready = pod(self.of("a@b"), conditions=[{"type": "Ready", "status": "False"}])
        assert images([unready, pod(self.of(""))]) == frozenset()

    def test_two_digests_of_one_tag_are_two(self) -> None:
        assert len(images([pod(self.of("a@one")), pod(self.of("a@two"))])) == 2

    def test_a_sidecar_of_the_mesh_is_not_of_the_revision(self) -> None:
        made = pod(self.of("a@one"), self.of("istio/proxyv2@x", "istio-proxy"))
        made["metadata"]["annotations"] = {
            "sidecar.istio.io/status": '{"containers": ["istio-proxy"], "volumes": []}'
        }
        assert images([made]) == {"app=one"}

    @pytest.mark.parametrize("text", ["", "{", "[]", '{"containers": null}', '"x"', "3"])
    def test_an_injectors_word_that_cannot_be_read(self, text: str) -> None:
        made = pod(self.of("a@one"))
        made["metadata"]["annotations"] = {"sidecar.istio.io/status": text}
        assert images([made]) == {"app=one"}
