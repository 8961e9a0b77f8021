"""Pods that do not serve: why, and whether waiting will cure it; canaries with their pods."""

from __future__ import annotations

from typing import Any

import pytest

from canaryd.cluster.resources import Json
from canaryd.cluster.workloads import canary_view, images, pod_problems, ready


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
        made = {"metadata": {"name": "canary"}, "spec": {"replicas": 3}}
        return canary_view({**made, "status": {"conditions": conditions or []}}, pods)

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
