"""Deployments, ReplicaSets and pods as the API has them, read into what decisions are made of."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.domain.model import CanaryView, DeploymentView, PodProblem, ReplicaSetView

HASH_LABEL = "pod-template-hash"
SEQUENCE = "deployment.kubernetes.io/revision"
RESTARTED = "kubectl.kubernetes.io/restartedAt"
ENABLED, RETRY, SKIP = "canaryd.io/enabled", "canaryd.io/retry", "canaryd.io/skip"
# Waiting does not cure these; other reasons (ContainerCreating, PodInitializing) are steps on the way.
FATAL = frozenset(
    {
        "CrashLoopBackOff",
        "ErrImagePull",
        "ImagePullBackOff",
        "InvalidImageName",
        "ErrImageNeverPull",
        "CreateContainerConfigError",
        "CreateContainerError",
        "RunContainerError",
    }
)


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
        enabled=annotations.get(ENABLED) == "true",
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
    )


def images(pods: Iterable[Json]) -> frozenset[str]:
    """Image ids of ready pods, with the container that runs each."""
    return frozenset(
        f"{status['name']}={status['imageID']}"
        for pod in pods
        if ready(pod)
        for status in (pod.get("status") or {}).get("containerStatuses") or []
        if status.get("imageID")
    )


def pod_problems(pod: Json) -> list[PodProblem]:
    """Why a pod does not serve, from its conditions and containers."""
    name, status = pod["metadata"]["name"], pod.get("status") or {}
    if "deletionTimestamp" in pod["metadata"]:
        return []
    problems = [
        PodProblem(name, "Unschedulable", c.get("message", ""), fatal=False)
        for c in status.get("conditions") or []
        if c.get("type") == "PodScheduled"
        and c.get("status") == "False"
        and c.get("reason") == "Unschedulable"
    ]
    containers = [*(status.get("initContainerStatuses") or []), *(status.get("containerStatuses") or [])]
    return problems + [p for p in (_container_problem(name, c) for c in containers) if p is not None]


def _container_problem(pod: str, container: Mapping[str, Any]) -> PodProblem | None:
    waiting = (container.get("state") or {}).get("waiting") or {}
    reason = waiting.get("reason", "")
    ended = (
        (container.get("lastState") or {}).get("terminated")
        or (container.get("state") or {}).get("terminated")
        or {}
    )
    crashed = ended.get("exitCode", 0) != 0
    label = f"{pod}, container {container.get('name', '?')}"
    if crashed:
        last = (ended.get("message") or "").strip().splitlines()
        detail = f"exit code {ended.get('exitCode')}, {container.get('restartCount', 0)} restarts"
        tail = f"; last lines: {' | '.join(last[-3:])}" if last else ""
        return PodProblem(label, ended.get("reason") or "Error", detail + tail, fatal=True)
    if reason in FATAL:
        return PodProblem(label, reason, waiting.get("message", ""), fatal=True)
    return None
