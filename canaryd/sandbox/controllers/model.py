"""The objects that the controllers act on, parsed once from the API's JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Literal

from canaryd.cluster.resources import Json, Key

NEVER = datetime.fromtimestamp(0, UTC)  # stands for a time that is not set, and sorts before all others


@dataclass(frozen=True, slots=True)
class OwnerRef:
    api_version: str
    kind: str
    name: str
    uid: str
    controller: bool = False
    block_deletion: bool = False

    def json(self) -> Json:
        """As an entry of metadata.ownerReferences."""
        reference: Json = {"apiVersion": self.api_version, "kind": self.kind, "name": self.name}
        reference |= {"uid": self.uid}
        flags = {"controller": self.controller, "blockOwnerDeletion": self.block_deletion}
        return reference | {name: True for name, flag in flags.items() if flag}


@dataclass(frozen=True, slots=True)
class Meta:
    namespace: str
    name: str
    uid: str
    version: int  # resourceVersion: both servers that this runs against count
    generation: int = 0
    created: datetime = NEVER
    deleting: bool = False
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    owners: tuple[OwnerRef, ...] = ()

    @property
    def key(self) -> Key:
        return self.namespace, self.name

    @property
    def controller(self) -> OwnerRef | None:
        """The owner that controls the object, of which there is at most one."""
        return next((owner for owner in self.owners if owner.controller), None)


@dataclass(frozen=True, slots=True)
class Requirement:
    key: str
    operator: Literal["In", "NotIn", "Exists", "DoesNotExist"]
    values: tuple[str, ...] = ()

    def holds(self, labels: Mapping[str, str]) -> bool:
        match self.operator:
            case "In":
                return labels.get(self.key) in self.values
            case "NotIn":
                return labels.get(self.key) not in self.values
            case "Exists":
                return self.key in labels
            case "DoesNotExist":
                return self.key not in labels


@dataclass(frozen=True, slots=True)
class Selector:
    """A label selector. One without requirements selects nothing: the API refuses it in workloads."""

    requirements: tuple[Requirement, ...]

    def matches(self, labels: Mapping[str, str]) -> bool:
        return bool(self.requirements) and all(wanted.holds(labels) for wanted in self.requirements)


@dataclass(frozen=True, slots=True)
class Condition:
    """A condition of a Deployment or ReplicaSet. Times in whole seconds, as the API keeps them."""

    kind: str
    status: str
    reason: str
    message: str
    updated: datetime
    since: datetime


@dataclass(frozen=True, slots=True)
class DeploymentStatus:
    observed_generation: int = 0
    replicas: int = 0
    updated: int = 0
    ready: int = 0
    available: int = 0
    unavailable: int = 0
    collisions: int | None = None
    conditions: tuple[Condition, ...] = ()

    def condition(self, kind: str) -> Condition | None:
        return next((condition for condition in self.conditions if condition.kind == kind), None)


@dataclass(frozen=True, slots=True)
class Deployment:
    """`progress_deadline` in seconds; None where progress is not watched."""

    meta: Meta
    selector: Selector
    selector_json: Json
    template: Json
    replicas: int = 1
    recreate: bool = False
    max_surge: int | str = "25%"
    max_unavailable: int | str = "25%"
    min_ready_seconds: int = 0
    paused: bool = False
    history_limit: int | None = 10
    progress_deadline: int | None = 600
    status: DeploymentStatus = DeploymentStatus()


@dataclass(frozen=True, slots=True)
class ReplicaSetStatus:
    observed_generation: int = 0
    replicas: int = 0
    fully_labeled: int = 0
    ready: int = 0
    available: int = 0
    failure: Condition | None = None


@dataclass(frozen=True, slots=True)
class ReplicaSet:
    meta: Meta
    selector: Selector
    template: Json
    replicas: int = 1
    min_ready_seconds: int = 0
    status: ReplicaSetStatus = ReplicaSetStatus()


def parse_deployment(raw: Json) -> Deployment:
    """Reads an apps/v1 Deployment, with the API's defaults where a field is absent."""
    spec, status = raw["spec"], raw.get("status") or {}
    strategy = spec.get("strategy") or {}
    rolling = strategy.get("rollingUpdate") or {}
    deadline = spec.get("progressDeadlineSeconds", 600)
    return Deployment(
        meta=parse_meta(raw),
        selector=parse_selector(spec.get("selector")),
        selector_json=spec.get("selector") or {},
        template=spec["template"],
        replicas=_int(spec.get("replicas"), 1),
        recreate=strategy.get("type") == "Recreate",
        max_surge=rolling.get("maxSurge", "25%"),
        max_unavailable=rolling.get("maxUnavailable", "25%"),
        min_ready_seconds=_int(spec.get("minReadySeconds")),
        paused=bool(spec.get("paused")),
        history_limit=spec.get("revisionHistoryLimit", 10),
        progress_deadline=None if deadline is None or deadline >= 2**31 - 1 else deadline,
        status=DeploymentStatus(
            observed_generation=_int(status.get("observedGeneration")),
            replicas=_int(status.get("replicas")),
            updated=_int(status.get("updatedReplicas")),
            ready=_int(status.get("readyReplicas")),
            available=_int(status.get("availableReplicas")),
            unavailable=_int(status.get("unavailableReplicas")),
            collisions=status.get("collisionCount"),
            conditions=tuple(map(_condition, status.get("conditions") or ())),
        ),
    )


def parse_replica_set(raw: Json) -> ReplicaSet:
    """Reads an apps/v1 ReplicaSet, with the API's defaults where a field is absent."""
    spec, status = raw["spec"], raw.get("status") or {}
    conditions = map(_condition, status.get("conditions") or ())
    return ReplicaSet(
        meta=parse_meta(raw),
        selector=parse_selector(spec.get("selector")),
        template=spec.get("template") or {},
        replicas=_int(spec.get("replicas"), 1),
        min_ready_seconds=_int(spec.get("minReadySeconds")),
        status=ReplicaSetStatus(
            observed_generation=_int(status.get("observedGeneration")),
            replicas=_int(status.get("replicas")),
            fully_labeled=_int(status.get("fullyLabeledReplicas")),
            ready=_int(status.get("readyReplicas")),
            available=_int(status.get("availableReplicas")),
            failure=next((c for c in conditions if c.kind == "ReplicaFailure"), None),
        ),
    )


def parse_meta(raw: Json) -> Meta:
    """Reads metadata."""
    meta = raw["metadata"]
    version = str(meta.get("resourceVersion") or "")
    return Meta(
        namespace=meta.get("namespace") or "",
        name=meta["name"],
        uid=meta.get("uid") or "",
        version=int(version) if version.isdigit() else 0,
        generation=_int(meta.get("generation")),
        created=parse_time(meta.get("creationTimestamp")),
        deleting=bool(meta.get("deletionTimestamp")),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        owners=tuple(map(_owner, meta.get("ownerReferences") or ())),
    )


def parse_selector(raw: Json | None) -> Selector:
    """Reads a LabelSelector: matchLabels and matchExpressions."""
    labels = (raw or {}).get("matchLabels") or {}
    expressions: Iterable[Json] = (raw or {}).get("matchExpressions") or ()
    equal = (Requirement(key, "In", (str(value),)) for key, value in labels.items())
    return Selector((*equal, *(_requirement(expression) for expression in expressions)))


def parse_time(text: str | None) -> datetime:
    """Reads a time as the API writes it; NEVER where there is none."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else NEVER


def format_time(moment: datetime) -> str:
    """As the API writes times: UTC, whole seconds."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _requirement(raw: Json) -> Requirement:
    operator = raw["operator"]
    if operator not in ("In", "NotIn", "Exists", "DoesNotExist"):
        raise ValueError(f"unknown operator {operator!r} in a label selector")
    return Requirement(raw["key"], operator, tuple(raw.get("values") or ()))


def _condition(raw: Json) -> Condition:
    since = parse_time(raw.get("lastTransitionTime"))
    return Condition(
        kind=raw["type"],
        status=raw["status"],
        reason=raw.get("reason") or "",
        message=raw.get("message") or "",
        updated=parse_time(raw["lastUpdateTime"]) if raw.get("lastUpdateTime") else since,
        since=since,
    )


def _owner(raw: Json) -> OwnerRef:
    return OwnerRef(
        api_version=raw.get("apiVersion") or "",
        kind=raw.get("kind") or "",
        name=raw.get("name") or "",
        uid=raw.get("uid") or "",
        controller=bool(raw.get("controller")),
        block_deletion=bool(raw.get("blockOwnerDeletion")),
    )


def _int(value: int | None, default: int = 0) -> int:
    return default if value is None else int(value)
