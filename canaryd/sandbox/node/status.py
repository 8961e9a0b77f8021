"""A pod's status from the states of its containers, as a kubelet reports it. Pure."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Literal

from canaryd.cluster.resources import Json
from canaryd.sandbox.controllers.model import format_time
from canaryd.sandbox.node.spec import RestartPolicy

Phase = Literal["Pending", "Running", "Succeeded", "Failed"]


@dataclass(frozen=True, slots=True)
class Waiting:
    reason: str
    message: str = ""


@dataclass(frozen=True, slots=True)
class Running:
    started: datetime


@dataclass(frozen=True, slots=True)
class Terminated:
    exit_code: int
    message: str
    started: datetime
    finished: datetime


@dataclass(frozen=True, slots=True)
class ContainerState:
    """`started`: past its startup probe. `ready`: started, and its readiness probe agrees."""

    name: str
    image: str
    image_id: str = ""
    state: Waiting | Running | Terminated = Waiting("ContainerCreating")
    last: Terminated | None = None
    restarts: int = 0
    started: bool = False
    ready: bool = False


@dataclass(frozen=True, slots=True)
class Condition:
    status: bool
    since: datetime
    reason: str = ""
    message: str = ""


Conditions = Mapping[str, Condition]


def phase(
    containers: Iterable[ContainerState], policy: RestartPolicy, *, initialized: bool, stopping: bool
) -> Phase:
    """`stopping`: nothing is restarted any more, whatever the policy, since the pod is being deleted."""
    states = [container.state for container in containers]
    begun = [isinstance(c, Running | Terminated) for c in states]
    crashed = [isinstance(c, Waiting) and c.reason == "CrashLoopBackOff" for c in states]
    if not initialized or not all(a or b for a, b in zip(begun, crashed, strict=True)):
        return "Failed" if stopping else "Pending"
    codes = [state.exit_code for state in states if isinstance(state, Terminated)]
    if len(codes) < len(states) or (policy == "Always" and not stopping):
        return "Running"
    if not any(codes):
        return "Succeeded"
    return "Running" if policy == "OnFailure" and not stopping else "Failed"


def conditions(
    containers: Sequence[ContainerState], before: Conditions, *, initialized: bool, now: datetime
) -> dict[str, Condition]:
    """PodScheduled, Initialized, ContainersReady, Ready; `since` moves only when a status changes."""
    unready = [container.name for container in containers if not container.ready]
    ready = initialized and not unready
    message = f"containers with unready status: [{' '.join(unready)}]"
    said = ("", "") if ready else ("ContainersNotReady", message)
    wanted = {
        "Initialized": (initialized, *(("", "") if initialized else ("ContainersNotInitialized", ""))),
        "Ready": (ready, *said),
        "ContainersReady": (ready, *said),
        "PodScheduled": (True, "", ""),
    }
    result: dict[str, Condition] = {}
    for kind, (status, reason, text) in wanted.items():
        old = before.get(kind)
        since = old.since if old is not None and old.status == status else now
        result[kind] = Condition(status, since, reason, text)
    return result


def status_json(
    containers: Sequence[ContainerState],
    init_containers: Sequence[ContainerState],
    known: Conditions,
    *,
    phase: Phase,
    ip: str,
    start_time: datetime,
) -> Json:
    """The `status` of a v1 Pod."""
    status: Json = {
        "phase": phase,
        "hostIP": "127.0.0.1",
        "podIP": ip,
        "podIPs": [{"ip": ip}],
        "startTime": format_time(start_time),
        "qosClass": "BestEffort",
        "conditions": [condition_json(kind, condition) for kind, condition in known.items()],
        "containerStatuses": [_container_json(container) for container in containers],
    }
    if init_containers:
        status["initContainerStatuses"] = [_container_json(container) for container in init_containers]
    return status


def condition_json(kind: str, condition: Condition) -> Json:
    """One entry of a pod's `status.conditions`."""
    result = {
        "type": kind,
        "status": str(condition.status),
        "lastTransitionTime": format_time(condition.since),
    }
    texts = {"reason": condition.reason, "message": condition.message}
    return result | {name: text for name, text in texts.items() if text}


def _container_json(container: ContainerState) -> Json:
    return {
        "name": container.name,
        "image": container.image,
        "imageID": container.image_id,
        "restartCount": container.restarts,
        "started": container.started,
        "ready": container.ready,
        "state": _state_json(container.state),
        "lastState": _state_json(container.last) if container.last else {},
    }


def _state_json(state: Waiting | Running | Terminated) -> Json:
    match state:
        case Waiting(reason, message):
            return {"waiting": {"reason": reason} | ({"message": message} if message else {})}
        case Running(started):
            return {"running": {"startedAt": format_time(started)}}
        case Terminated(code, message, started, finished):
            times = {"startedAt": format_time(started), "finishedAt": format_time(finished)}
            reason = "Completed" if code == 0 else "Error"
            text = {"message": message} if message else {}
            return {"terminated": {"exitCode": code, "reason": reason} | times | text}
