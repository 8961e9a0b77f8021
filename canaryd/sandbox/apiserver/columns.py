"""What `kubectl get` shows of the built-in kinds."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from canaryd.cluster.resources import Json


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of the request, against which ages are told."""

    now: dt.datetime

    def age(self, stamp: str | None) -> str:
        """How long ago, in the two largest units that matter: 45s, 3m12s, 5h, 2d3h."""
        if not stamp:
            return "<unknown>"
        try:
            then = dt.datetime.fromisoformat(stamp)
        except ValueError:
            return "<invalid>"
        return human_duration(int((self.now - then).total_seconds()))


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
# Below the first bound only one unit is shown, below the second the next smaller one is shown too.
_LADDER = (
    (120, "s", ""),
    (600, "m", "s"),
    (10800, "m", ""),
    (28800, "h", "m"),
    (172800, "h", ""),
    (691200, "d", "h"),
)


def human_duration(seconds: int) -> str:
    """A duration as kubectl prints ages."""
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    sizes = dict(_UNITS)
    for bound, unit, lesser in _LADDER:
        if seconds < bound:
            whole, rest = divmod(seconds, sizes[unit])
            more = rest // sizes[lesser] if lesser else 0
            return f"{whole}{unit}{more}{lesser}" if more else f"{whole}{unit}"
    days = seconds // 86400
    years, left = divmod(days, 365)
    if not years:
        return f"{days}d"
    return f"{years}y{left}d" if years < 8 and left else f"{years}y"


Cell = Callable[[Json, Moment], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `priority` above 0 shows in wide output only."""

    name: str
    type: str
    cell: Cell
    format: str = ""
    description: str = ""
    priority: int = 0


def plain_text(value: Any) -> str:
    """A value in a cell: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _at(body: Json, *path: str, default: Any = None) -> Any:
    value: Any = body
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return default if value is None else value


def _field(*path: str, default: Any = "<none>") -> Cell:
    return lambda body, _now: _at(body, *path, default=default)


def _age(body: Json, now: Moment) -> str:
    return now.age(body["metadata"].get("creationTimestamp"))


def _joined(values: Iterable[Any]) -> str:
    return ",".join(str(value) for value in values) or "<none>"


def _labels(*path: str) -> Cell:
    return lambda body, _now: _joined(f"{k}={v}" for k, v in sorted(_at(body, *path, default={}).items()))


def selector_text(selector: Json) -> str:
    """A LabelSelector object in the grammar of label selectors."""
    words = {"In": "in", "NotIn": "notin"}
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        if term["operator"] in words:
            terms.append(f"{term['key']} {words[term['operator']]} ({','.join(sorted(term['values']))})")
        else:
            terms.append(("!" if term["operator"] == "DoesNotExist" else "") + term["key"])
    return ",".join(terms)


def _selector(body: Json, _now: Moment) -> str:
    return selector_text(_at(body, "spec", "selector", default={})) or "<none>"


def _containers(key: str, *path: str) -> Cell:
    return lambda body, _now: _joined(
        container.get(key, "") for container in _at(body, *path, "containers", default=[])
    )


_NAME = Column("Name", "string", _field("metadata", "name"), format="name")
_AGE = Column("Age", "string", _age)
_TEMPLATE = ("spec", "template", "spec")


def _wide(name: str, cell: Cell) -> Column:
    return Column(name, "string", cell, priority=1)


def _text(name: str, cell: Cell) -> Column:
    return Column(name, "string", cell)


def _count(name: str, cell: Cell) -> Column:
    return Column(name, "integer", cell)


# ---- pods -------------------------------------------------------------------------------------------


def _pod_statuses(body: Json) -> list[Json]:
    statuses: list[Json] = _at(body, "status", "containerStatuses", default=[])
    return statuses


def _pod_ready(body: Json, _now: Moment) -> str:
    ready = sum(1 for status in _pod_statuses(body) if status.get("ready"))
    return f"{ready}/{len(_at(body, 'spec', 'containers', default=[]))}"


def _pod_reason(body: Json, _now: Moment) -> str:
    """The one word on a pod: why its last container is not running, else its phase."""
    word = _at(body, "status", "reason") or _at(body, "status", "phase", default="Unknown")
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
    ends = [_at(status, "lastState", "terminated", "finishedAt") for status in statuses]
    known = [end for end in ends if end]
    return f"{total} ({now.age(max(known))} ago)" if total and known else str(total)


def _pod_gates(body: Json, _now: Moment) -> str:
    gates = _at(body, "spec", "readinessGates", default=[])
    true = {c["type"] for c in _at(body, "status", "conditions", default=[]) if c.get("status") == "True"}
    passed = sum(1 for gate in gates if gate["conditionType"] in true)
    return f"{passed}/{len(gates)}" if gates else "<none>"


_POD = [
    _NAME,
    _text("Ready", _pod_ready),
    _text("Status", _pod_reason),
    _text("Restarts", _pod_restarts),
    _AGE,
    _wide("IP", _field("status", "podIP")),
    _wide("Node", _field("spec", "nodeName")),
    _wide("Nominated Node", _field("status", "nominatedNodeName")),
    _wide("Readiness Gates", _pod_gates),
]

# ---- workloads --------------------------------------------------------------------------------------


def _deployment_ready(body: Json, _now: Moment) -> str:
    ready = _at(body, "status", "readyReplicas", default=0)
    return f"{ready}/{_at(body, 'spec', 'replicas', default=0)}"


_WIDE_WORKLOAD = [
    _wide("Containers", _containers("name", *_TEMPLATE)),
    _wide("Images", _containers("image", *_TEMPLATE)),
    _wide("Selector", _selector),
]
_DEPLOYMENT = [
    _NAME,
    _text("Ready", _deployment_ready),
    _text("Up-to-date", _field("status", "updatedReplicas", default=0)),
    _text("Available", _field("status", "availableReplicas", default=0)),
    _AGE,
    *_WIDE_WORKLOAD,
]
_REPLICA_SET = [
    _NAME,
    _count("Desired", _field("spec", "replicas", default=0)),
    _count("Current", _field("status", "replicas", default=0)),
    _count("Ready", _field("status", "readyReplicas", default=0)),
    _AGE,
    *_WIDE_WORKLOAD,
]
_STATEFUL_SET = [_NAME, _text("Ready", _deployment_ready), _AGE, *_WIDE_WORKLOAD[:2]]
_DAEMON_SET = [
    _NAME,
    _count("Desired", _field("status", "desiredNumberScheduled", default=0)),
    _count("Current", _field("status", "currentNumberScheduled", default=0)),
    _count("Ready", _field("status", "numberReady", default=0)),
    _count("Up-to-date", _field("status", "updatedNumberScheduled", default=0)),
    _count("Available", _field("status", "numberAvailable", default=0)),
    _text("Node Selector", _labels("spec", "template", "spec", "nodeSelector")),
    _AGE,
    *_WIDE_WORKLOAD,
]
_POD_TEMPLATE = [
    _NAME,
    _text("Containers", _containers("name", "template", "spec")),
    _text("Images", _containers("image", "template", "spec")),
    _text("Pod Labels", _labels("template", "metadata", "labels")),
]


def _revision_owner(body: Json, _now: Moment) -> str:
    owners = body["metadata"].get("ownerReferences") or ()
    held = next((owner for owner in owners if owner.get("controller")), None)
    if held is None:
        return "<none>"
    group = held["apiVersion"].rpartition("/")[0]
    return f"{held['kind'].lower()}{'.' + group if group else ''}/{held['name']}"


_REVISION = [
    _NAME,
    _text("Controller", _revision_owner),
    _text("Revision", _field("revision", default=0)),
    _AGE,
]


def _metric_text(target: Json, current: Json) -> str:
    if target.get("averageUtilization") is not None:
        seen = current.get("averageUtilization")
        return f"{'<unknown>' if seen is None else f'{seen}%'}/{target['averageUtilization']}%"
    wanted = target.get("averageValue") or target.get("value")
    return f"{current.get('averageValue') or current.get('value') or '<unknown>'}/{wanted}"


def _autoscaler_targets(body: Json, _now: Moment) -> str:
    current = _at(body, "status", "currentMetrics", default=[])
    texts = []
    for index, metric in enumerate(_at(body, "spec", "metrics", default=[])):
        source: Json = next((value for key, value in metric.items() if key != "type"), {})
        measured = current[index] if index < len(current) else {}
        reading: Json = next((value for key, value in measured.items() if key != "type"), {})
        name = f"{source['name']}: " if metric.get("type") == "Resource" else ""
        texts.append(name + _metric_text(source.get("target") or {}, reading.get("current") or {}))
    return ", ".join(texts) or "<none>"


def _autoscaler_reference(body: Json, _now: Moment) -> str:
    target = _at(body, "spec", "scaleTargetRef", default={})
    return f"{target.get('kind', '')}/{target.get('name', '')}"


_AUTOSCALER = [
    _NAME,
    _text("Reference", _autoscaler_reference),
    _text("Targets", _autoscaler_targets),
    _text("MinPods", lambda body, _now: str(_at(body, "spec", "minReplicas", default="<unset>"))),
    _count("MaxPods", _field("spec", "maxReplicas", default=0)),
    _count("Replicas", _field("status", "currentReplicas", default=0)),
    _AGE,
]
_BUDGET = [
    _NAME,
    _text("Min Available", lambda body, _now: str(_at(body, "spec", "minAvailable", default="N/A"))),
    _text("Max Unavailable", lambda body, _now: str(_at(body, "spec", "maxUnavailable", default="N/A"))),
    _count("Allowed Disruptions", _field("status", "disruptionsAllowed", default=0)),
    _AGE,
]

WORKLOADS: Mapping[str, list[Column]] = {
    "pods": _POD,
    "deployments.apps": _DEPLOYMENT,
    "replicasets.apps": _REPLICA_SET,
    "statefulsets.apps": _STATEFUL_SET,
    "daemonsets.apps": _DAEMON_SET,
    "controllerrevisions.apps": _REVISION,
    "podtemplates": _POD_TEMPLATE,
    "horizontalpodautoscalers.autoscaling": _AUTOSCALER,
    "poddisruptionbudgets.policy": _BUDGET,
}
BUILTIN: Mapping[str, list[Column]] = WORKLOADS
