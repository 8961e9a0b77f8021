"""Deployments, ReplicaSets and pods as the API has them, read into what decisions are made of."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Collection, Iterable

from canaryd.cluster.resources import Json
from canaryd.domain.world import CanaryView, DeploymentView, PodProblem, ReplicaSetView

HASH_LABEL = "pod-template-hash"
SEQUENCE = "deployment.kubernetes.io/revision"
RESTARTED = "kubectl.kubernetes.io/restartedAt"
ENABLED, RETRY, SKIP = "canaryd.io/enabled", "canaryd.io/retry", "canaryd.io/skip"
NOT_READY = "NotReady"
INJECTED = "sidecar.istio.io/status"
# Waiting does not cure these. What else a container waits for may come: a Secret, a registry, a node's disk.
FATAL = frozenset({"CrashLoopBackOff", "InvalidImageName", "ErrImageNeverPull", "RunContainerError"})
PULL = frozenset({"ErrImagePull", "ImagePullBackOff"})
ON_THE_WAY = frozenset({"", "ContainerCreating", "PodInitializing"})
_NO_SUCH_IMAGE = re.compile(
    "not found|manifest unknown|does not exist|denied|unauthorized|forbidden", re.IGNORECASE
)
# The node lost the container, by a reboot as a rule: that does not speak against what ran in it.
_LOST = frozenset({"ContainerStatusUnknown", "Unknown"})


def template_without_hash(template: Json) -> Json:
    """A ReplicaSet's template as the Deployment has it."""
    meta = dict(template.get("metadata") or {})
    labels = {k: v for k, v in (meta.get("labels") or {}).items() if k != HASH_LABEL}
    meta["labels"] = labels
    meta.pop("creationTimestamp", None)
    return {**template, "metadata": meta}


def revision(template: Json) -> str:
    """A template's name: ten hexadecimal digits of its canonical JSON."""
    text = json.dumps(template_without_hash(template), sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(text.encode()).hexdigest()[:10]


def without_restart_marks(template: Json) -> Json:
    """The template without what only restarts its pods."""
    clean = template_without_hash(template)
    meta = clean["metadata"]
    marks = {k: v for k, v in (meta.get("annotations") or {}).items() if k != RESTARTED}
    return {**clean, "metadata": {k: v for k, v in {**meta, "annotations": marks}.items() if v}}


def owned_by(obj: Json, uid: str) -> bool:
    """Whether `uid` is the object's controller."""
    owners = obj["metadata"].get("ownerReferences") or []
    return any(owner.get("uid") == uid and owner.get("controller") for owner in owners)


def deployment_view(obj: Json, running: Json | None) -> DeploymentView:
    """The user's Deployment; `running` is the ReplicaSet whose pods serve, if there is one."""
    meta, spec = obj["metadata"], obj["spec"]
    annotations = meta.get("annotations") or {}
    template = spec["template"]
    restart_only = (
        running is not None
        and revision(template) != revision(running["spec"]["template"])
        and without_restart_marks(template) == without_restart_marks(running["spec"]["template"])
    )
    return DeploymentView(
        uid=meta["uid"],
        resource_version=meta["resourceVersion"],
        revision=revision(template),
        paused=bool(spec.get("paused")),
        replicas=spec.get("replicas", 1),
        deleting="deletionTimestamp" in meta,
        # A value that is neither is said to be wrong, and changes nothing: a typo must not hand anything back.
        enabled=annotations.get(ENABLED, "false") != "false",
        retry=annotations.get(RETRY, ""),
        skip=annotations.get(SKIP, ""),
        accept=frozenset(part.strip() for part in annotations.get("canaryd.io/accept", "").split(",")),
        pause=annotations.get("canaryd.io/pause") == "true",
        abort=annotations.get("canaryd.io/abort", ""),
        restart_only=restart_only,
        owns_pause=owns_pause(obj),
    )


def owns_pause(obj: Json) -> bool:
    """Whether spec.paused was last written by canaryd: then it is ours to lift."""
    entries = obj["metadata"].get("managedFields") or []
    return any(
        entry.get("manager") == "canaryd" and "f:paused" in (entry.get("fieldsV1") or {}).get("f:spec", {})
        for entry in entries
    )


def replicaset_view(obj: Json) -> ReplicaSetView:
    """One ReplicaSet; replicas are those wanted or still there, whichever is more."""
    meta, spec, status = obj["metadata"], obj["spec"], obj.get("status") or {}
    sequence = (meta.get("annotations") or {}).get(SEQUENCE, "0")
    return ReplicaSetView(
        name=meta["name"],
        revision=revision(spec["template"]),
        hash=(meta.get("labels") or {}).get(HASH_LABEL, ""),
        replicas=max(spec.get("replicas", 1), status.get("replicas", 0)),
        ready=status.get("readyReplicas", 0),
        created=_order(meta.get("creationTimestamp", "")),
        sequence=int(sequence) if sequence.isdigit() else 0,
    )


def _order(timestamp: str) -> float:
    from canaryd.cluster.runs import seconds  # noqa: PLC0415 - runs knows time stamps, and is heavier

    return seconds(timestamp) if timestamp else 0.0


def ready(pod: Json) -> bool:
    """Whether the pod gets traffic: Ready and not on its way out."""
    conditions = (pod.get("status") or {}).get("conditions") or []
    return "deletionTimestamp" not in pod["metadata"] and any(
        c.get("type") == "Ready" and c.get("status") == "True" for c in conditions
    )


def canary_view(obj: Json, pods: Iterable[Json]) -> CanaryView:
    """The canary Deployment with its pods."""
    pods = list(pods)
    conditions = (obj.get("status") or {}).get("conditions") or []
    failed = next(
        (c for c in conditions if c.get("type") == "ReplicaFailure" and c.get("status") == "True"), None
    )
    problems = [problem for pod in pods for problem in pod_problems(pod)]
    if failed is not None:
        quota = "quota" in failed.get("message", "")
        reason = "QuotaExceeded" if quota else failed.get("reason", "ReplicaFailure")
        problems.append(PodProblem(obj["metadata"]["name"], reason, failed.get("message", ""), fatal=False))
    return CanaryView(
        replicas=obj["spec"].get("replicas", 1),
        ready=sum(ready(pod) for pod in pods),
        pods=tuple(pod["metadata"]["name"] for pod in pods),
        problems=tuple(problems),
        deleting="deletionTimestamp" in obj["metadata"],
        images=images(pods),
        owner=next(
            (o["uid"] for o in obj["metadata"].get("ownerReferences") or [] if o.get("controller")), ""
        ),
    )


def images(pods: Iterable[Json]) -> frozenset[str]:
    """Digests of the images of ready pods, with the container that runs each; a mesh's sidecars left out.

    Those follow the mesh's version, not the template. The same image has other prefixes on other runtimes.
    """
    return frozenset(
        f"{status['name']}={status['imageID'].rpartition('@')[2]}"
        for pod in pods
        if ready(pod)
        for injected in [_injected(pod)]
        for status in (pod.get("status") or {}).get("containerStatuses") or []
        if status.get("imageID") and status["name"] not in injected
    )


def _injected(pod: Json) -> Collection[str]:
    """The containers that Istio's injector says it added."""
    text = (pod["metadata"].get("annotations") or {}).get(INJECTED, "")
    try:
        found = json.loads(text).get("containers") if text else None
    except (ValueError, AttributeError):
        return ()
    return found if isinstance(found, list) else ()


def pod_problems(pod: Json) -> list[PodProblem]:
    """Why a pod does not serve, from its conditions and containers."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"]:
        return []
    if status.get("phase") == "Failed":
        # Evicted, or shut down with its node: its ReplicaSet makes another.
        return [PodProblem(name, status.get("reason") or "Failed", status.get("message", ""), fatal=False)]
    problems = [
        PodProblem(name, c.get("reason") or "NotScheduled", c.get("message", ""), fatal=False)
        for c in status.get("conditions") or []
        if c.get("type") == "PodScheduled" and c.get("status") == "False"
    ]
    found = [_init_problem(name, each) for each in status.get("initContainerStatuses") or []]
    found += [_container_problem(name, each) for each in status.get("containerStatuses") or []]
    return problems + [problem for problem in found if problem is not None]


def _init_problem(pod: str, container: Json) -> PodProblem | None:
    """That it failed before it succeeded is no problem, nor is that it takes its time."""
    ended = (container.get("state") or {}).get("terminated")
    if ended is not None and ended.get("exitCode") == 0:
        return None
    problem = _container_problem(pod, container)
    return None if problem is not None and problem.reason == NOT_READY else problem


def _container_problem(pod: str, container: Json) -> PodProblem | None:
    state = container.get("state") or {}
    label = f"{pod}, container {container.get('name', '?')}"
    for ended in (state.get("terminated"), (container.get("lastState") or {}).get("terminated")):
        if ended and ended.get("exitCode", 0) != 0:
            return _crash(label, container, ended)
    waiting = state.get("waiting") or {}
    reason, message = waiting.get("reason", ""), waiting.get("message", "")
    if reason not in ON_THE_WAY:
        fatal = reason in FATAL or (reason in PULL and _NO_SUCH_IMAGE.search(message) is not None)
        return PodProblem(label, reason, message, fatal=fatal)
    if state.get("running") is not None and not container.get("ready"):
        probe = "startup" if container.get("started") is False else "readiness"
        return PodProblem(label, NOT_READY, f"it runs, but its {probe} probe does not pass", fatal=False)
    return None


def _crash(label: str, container: Json, ended: Json) -> PodProblem:
    last = (ended.get("message") or "").strip().splitlines()
    restarts = container.get("restartCount", 0)
    detail = f"exit code {ended.get('exitCode')}, {restarts} restart{'' if restarts == 1 else 's'}"
    tail = f"; last lines: {' | '.join(last[-3:])}" if last else ""
    reason = ended.get("reason") or "Error"
    return PodProblem(label, reason, detail + tail, fatal=reason not in _LOST)
