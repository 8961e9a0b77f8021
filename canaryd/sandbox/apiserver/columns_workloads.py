"""What `kubectl get` shows of pods and of what makes and scales them."""

from __future__ import annotations

from collections.abc import Mapping

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.columns import (
    AGE,
    NAME,
    Column,
    Moment,
    at,
    containers,
    count,
    field,
    labels,
    selector,
    text,
    wide,
)

_TEMPLATE = ("spec", "template", "spec")

# ---- pods -------------------------------------------------------------------------------------------


def _pod_statuses(body: Json) -> list[Json]:
    statuses: list[Json] = at(body, "status", "containerStatuses", default=[])
    return statuses


def _pod_ready(body: Json, _now: Moment) -> str:
    ready = sum(1 for status in _pod_statuses(body) if status.get("ready"))
    return f"{ready}/{len(at(body, 'spec', 'containers', default=[]))}"


def _pod_reason(body: Json, _now: Moment) -> str:
    """The one word on a pod: why its last container is not running, else its phase."""
    word = at(body, "status", "reason") or at(body, "status", "phase", default="Unknown")
    for status in reversed(_pod_statuses(body)):
        state = status.get("state") or {}
        waiting, terminated = state.get("waiting") or {}, state.get("terminated")
        if waiting.get("reason"):
            word = waiting["reason"]
        elif terminated is not None:
            code = f"Signal:{terminated['signal']}" if terminated.get("signal") else None
            word = terminated.get("reason") or code or f"ExitCode:{terminated.get('exitCode', 0)}"
    if body["metadata"].get("deletionTimestamp"):
        return "Terminating"
    return str(word)


def _pod_restarts(body: Json, now: Moment) -> str:
    statuses = _pod_statuses(body)
    total = sum(status.get("restartCount", 0) for status in statuses)
    ends = [at(status, "lastState", "terminated", "finishedAt") for status in statuses]
    known = [end for end in ends if end]
    return f"{total} ({now.age(max(known))} ago)" if total and known else str(total)


def _pod_gates(body: Json, _now: Moment) -> str:
    gates = at(body, "spec", "readinessGates", default=[])
    true = {c["type"] for c in at(body, "status", "conditions", default=[]) if c.get("status") == "True"}
    passed = sum(1 for gate in gates if gate["conditionType"] in true)
    return f"{passed}/{len(gates)}" if gates else "<none>"


_POD = [
    NAME,
    text("Ready", _pod_ready),
    text("Status", _pod_reason),
    text("Restarts", _pod_restarts),
    AGE,
    wide("IP", field("status", "podIP")),
    wide("Node", field("spec", "nodeName")),
    wide("Nominated Node", field("status", "nominatedNodeName")),
    wide("Readiness Gates", _pod_gates),
]

# ---- workloads --------------------------------------------------------------------------------------


def _deployment_ready(body: Json, _now: Moment) -> str:
    ready = at(body, "status", "readyReplicas", default=0)
    return f"{ready}/{at(body, 'spec', 'replicas', default=0)}"


_WIDE_WORKLOAD = [
    wide("Containers", containers("name", *_TEMPLATE)),
    wide("Images", containers("image", *_TEMPLATE)),
    wide("Selector", selector),
]
_DEPLOYMENT = [
    NAME,
    text("Ready", _deployment_ready),
    text("Up-to-date", field("status", "updatedReplicas", default=0)),
    text("Available", field("status", "availableReplicas", default=0)),
    AGE,
    *_WIDE_WORKLOAD,
]
_REPLICA_SET = [
    NAME,
    count("Desired", field("spec", "replicas", default=0)),
    count("Current", field("status", "replicas", default=0)),
    count("Ready", field("status", "readyReplicas", default=0)),
    AGE,
    *_WIDE_WORKLOAD,
]
_STATEFUL_SET = [NAME, text("Ready", _deployment_ready), AGE, *_WIDE_WORKLOAD[:2]]
_DAEMON_SET = [
    NAME,
    count("Desired", field("status", "desiredNumberScheduled", default=0)),
    count("Current", field("status", "currentNumberScheduled", default=0)),
    count("Ready", field("status", "numberReady", default=0)),
    count("Up-to-date", field("status", "updatedNumberScheduled", default=0)),
    count("Available", field("status", "numberAvailable", default=0)),
    text("Node Selector", labels("spec", "template", "spec", "nodeSelector")),
    AGE,
    *_WIDE_WORKLOAD,
]
_POD__TEMPLATE = [
    NAME,
    text("Containers", containers("name", "template", "spec")),
    text("Images", containers("image", "template", "spec")),
    text("Pod Labels", labels("template", "metadata", "labels")),
]


def _revision_owner(body: Json, _now: Moment) -> str:
    owners = body["metadata"].get("ownerReferences") or ()
    held = next((owner for owner in owners if owner.get("controller")), None)
    if held is None:
        return "<none>"
    group = held["apiVersion"].rpartition("/")[0]
    return f"{held['kind'].lower()}{'.' + group if group else ''}/{held['name']}"


_REVISION = [
    NAME,
    text("Controller", _revision_owner),
    text("Revision", field("revision", default=0)),
    AGE,
]


def _metric_text(target: Json, current: Json) -> str:
    if target.get("averageUtilization") is not None:
        seen = current.get("averageUtilization")
        return f"{'<unknown>' if seen is None else f'{seen}%'}/{target['averageUtilization']}%"
    wanted = target.get("averageValue") or target.get("value")
    return f"{current.get('averageValue') or current.get('value') or '<unknown>'}/{wanted}"


def _autoscaler_targets(body: Json, _now: Moment) -> str:
    current = at(body, "status", "currentMetrics", default=[])
    texts = []
    for index, metric in enumerate(at(body, "spec", "metrics", default=[])):
        source: Json = next((value for key, value in metric.items() if key != "type"), {})
        measured = current[index] if index < len(current) else {}
        reading: Json = next((value for key, value in measured.items() if key != "type"), {})
        name = f"{source['name']}: " if metric.get("type") == "Resource" else ""
        texts.append(name + _metric_text(source.get("target") or {}, reading.get("current") or {}))
    return ", ".join(texts) or "<none>"


def _autoscaler_reference(body: Json, _now: Moment) -> str:
    target = at(body, "spec", "scaleTargetRef", default={})
    return f"{target.get('kind', '')}/{target.get('name', '')}"


_AUTOSCALER = [
    NAME,
    text("Reference", _autoscaler_reference),
    text("Targets", _autoscaler_targets),
    text("MinPods", lambda body, _now: str(at(body, "spec", "minReplicas", default="<unset>"))),
    count("MaxPods", field("spec", "maxReplicas", default=0)),
    count("Replicas", field("status", "currentReplicas", default=0)),
    AGE,
]
_BUDGET = [
    NAME,
    text("Min Available", lambda body, _now: str(at(body, "spec", "minAvailable", default="N/A"))),
    text("Max Unavailable", lambda body, _now: str(at(body, "spec", "maxUnavailable", default="N/A"))),
    count("Allowed Disruptions", field("status", "disruptionsAllowed", default=0)),
    AGE,
]

WORKLOADS: Mapping[str, list[Column]] = {
    "pods": _POD,
    "deployments.apps": _DEPLOYMENT,
    "replicasets.apps": _REPLICA_SET,
    "statefulsets.apps": _STATEFUL_SET,
    "daemonsets.apps": _DAEMON_SET,
    "controllerrevisions.apps": _REVISION,
    "podtemplates": _POD__TEMPLATE,
    "horizontalpodautoscalers.autoscaling": _AUTOSCALER,
    "poddisruptionbudgets.policy": _BUDGET,
}
