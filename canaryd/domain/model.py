"""The values that decisions are made of: runs, and the traffic they want. What was read is in `world`."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from analysis import JudgeState, Verdict
from analysis.watch import WatchState, WatchVerdict
from config import Policy

Labels = Mapping[str, str]


class Phase(StrEnum):
    """What people see in `kubectl get crun`."""

    PENDING = "Pending"
    PREPARING = "Preparing"
    PROGRESSING = "Progressing"
    HOLDING = "Holding"
    PROMOTING = "Promoting"
    ROLLING_BACK = "RollingBack"
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"


class Stage(StrEnum):
    """Where a run stands, in the order of a release that goes well. Each waits for one thing."""

    PREFLIGHT = "preflight"
    TAKE_OVER = "take-over"  # stable := the canary that an interrupted promotion left carrying the traffic
    TAKE_OVER_SHIFT = "take-over-shift"
    FENCE_SUBSET = "fence-subset"
    FENCE_ROUTES = "fence-routes"
    CANARY_PODS = "canary-pods"
    CANARY_SUBSET = "canary-subset"
    CANARY_DESTINATION = "canary-destination"
    SIZE = "size"
    SHIFT = "shift"
    JUDGE = "judge"
    ROLL = "roll"
    REPOINT = "repoint"
    SHIFT_BACK = "shift-back"
    CONFIRM = "confirm"
    RETURN_ROLL = "return-roll"  # rejected beside a carrier: the Deployment takes the carrier's template
    RETURN_REPOINT = "return-repoint"
    RETURN_SHIFT = "return-shift"
    DRAIN = "drain"
    SCALE_DOWN = "scale-down"
    RESTORE = "restore"
    REMOVE = "remove"
    REST = "rest"
    DONE = "done"


PREPARING = frozenset(
    {
        Stage.TAKE_OVER,
        Stage.TAKE_OVER_SHIFT,
        Stage.FENCE_SUBSET,
        Stage.FENCE_ROUTES,
        Stage.CANARY_PODS,
        Stage.CANARY_SUBSET,
        Stage.CANARY_DESTINATION,
    }
)
LADDER = frozenset({Stage.SIZE, Stage.SHIFT, Stage.JUDGE})
PROMOTING = frozenset({Stage.ROLL, Stage.REPOINT, Stage.SHIFT_BACK, Stage.CONFIRM})
RETURNING = frozenset({Stage.RETURN_ROLL, Stage.RETURN_REPOINT, Stage.RETURN_SHIFT})
TAIL = frozenset({Stage.DRAIN, Stage.SCALE_DOWN, Stage.RESTORE, Stage.REMOVE, Stage.REST})


class Outcome(StrEnum):
    SUCCEEDED = "Succeeded"
    ROLLED_BACK = "RolledBack"


class Hold(StrEnum):
    """Waiting at a weight on purpose."""

    PAUSED = "Paused"
    INCONCLUSIVE = "Inconclusive"
    BLIND = "Blind"
    DRIFTED = "Drifted"
    NO_CAPACITY = "NoCapacity"
    MISALLOCATED = "Misallocated"
    ROLLOUT_STUCK = "RolloutStuck"
    STABLE_REGRESSION = "StableRegression"
    RETREATED = "Retreated"


class Form(StrEnum):
    """The shape of a managed route."""

    PLAIN = "plain"  # as its owner wrote it
    FENCED = "fenced"  # one destination: subset stable
    SPLIT = "split"  # two destinations: stable and canary


@dataclass(frozen=True, slots=True)
class Traffic:
    """A shape and, for a split, the canary's weight in percent."""

    form: Form = Form.PLAIN
    weight: int = 0

    def canary_share_below(self, other: Traffic) -> bool:
        """Whether going from `other` to this takes traffic from the canary."""
        return other.form is Form.SPLIT and self.weight < other.weight

    def __str__(self) -> str:
        return f"{100 - self.weight}/{self.weight}" if self.form is Form.SPLIT else self.form.value


@dataclass(frozen=True, slots=True)
class Target:
    """The user's Deployment."""

    namespace: str
    name: str
    uid: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True)
class Arm:
    """Pods that serve one revision: the workload that telemetry names, and the labels that select them."""

    workload: str
    revision: str
    labels: Labels
    replicaset: str = ""  # its pods are called so; "" where the workload alone tells them apart


@dataclass(frozen=True, slots=True)
class RouteRef:
    """One managed route of one VirtualService, and its first form, to be put back byte for byte."""

    namespace: str
    name: str
    uid: str
    route: str  # the route's name, "" where it has none
    match: Any  # the route's match conditions: they find an unnamed route again
    first: Any  # the list under `route` as its owner wrote it
    owners: Any = None  # managedFields as they were
    made: bool = False  # the VirtualService was made for the run

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}" + (f" route {self.route}" if self.route else "")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the cluster should look like. The writes follow from it, again and again until it does."""

    paused: bool = True
    canary: int | None = None  # replicas of the canary Deployment; None: there is none
    traffic: Traffic = field(default_factory=Traffic)
    stable_subset: Labels | None = None
    canary_subset: Labels | None = None
    carrier: bool = False  # whether the carrier of an earlier run stays
    template: str = ""  # "" leaves the Deployment's template; otherwise the revision it is put back to


@dataclass(frozen=True, slots=True)
class Pass:
    """A rung that was passed: what the weight may rise on."""

    step: int
    weight: int
    at: float
    because: str


@dataclass(frozen=True, slots=True)
class Condition:
    type: str
    status: bool
    reason: str
    message: str
    at: float


@dataclass(frozen=True, slots=True)
class Recorded:
    """Where the lines of a run's recording are: first in its status, later in ConfigMaps.

    lines: those that the status alone has; stored: how many are in ConfigMaps, in `size` characters; end: of the last
    interval that was taken in; ended: why no more lines are kept, "" while they are.
    """

    lines: tuple[str, ...] = ()
    stored: int = 0
    size: int = 0
    end: float | None = None
    ended: str = ""

    @property
    def begun(self) -> bool:
        return bool(self.lines or self.stored or self.ended)


@dataclass(frozen=True, slots=True)
class Run:
    """One attempt to release one revision of one Deployment. Everything a restart needs is in here."""

    namespace: str
    name: str
    target: Target
    revision: str
    created: float
    uid: str = ""
    resource_version: str = ""
    policy_name: str = ""
    trigger: str = ""
    retry: str = ""  # the value of canaryd.io/retry when the run began
    deleting: bool = False
    wish_pause: bool = False
    wish_abort: str = ""
    # status
    stage: Stage = Stage.PREFLIGHT
    outcome: Outcome | None = None
    hold: Hold | None = None
    reason: str = ""
    because: str = ""
    policy: Policy | None = None
    service: str = ""
    host: str = ""
    routes: tuple[RouteRef, ...] = ()
    stable: Arm | None = None
    carrier: str = ""  # the canary Deployment of an earlier run that carries stable's traffic
    hands_on: bool = False  # ended with its canary, or carrier, still carrying the traffic
    start_replicas: int = 0
    step: int = -1
    wanted: Wanted = field(default_factory=Wanted)
    settled_from: float | None = None
    stage_since: float = 0.0
    judged_since: float | None = None  # the present weight is judged since; None while it is on its way
    judged_to: float | None = None  # the scrape up to which evidence was taken in
    rung_requests: int = 0  # the canary's judged requests when this rung began
    hold_since: float | None = None
    blind_since: float | None = None
    retreated_since: float | None = None  # an alarm brought the canary to the lowest rung, and still stands
    gate_closed: bool = False
    highest_weight: int = 0
    seen_share: float | None = None
    evidence: JudgeState | None = None
    verdict: Verdict | None = None
    watched: WatchState | None = None
    watch: WatchVerdict | None = None
    recorded: Recorded = field(default_factory=Recorded)
    allocation: tuple[float, ...] = ()  # of this rung; () before its first interval
    passes: tuple[Pass, ...] = ()
    reasserted: tuple[float, ...] = ()
    conditions: tuple[Condition, ...] = ()
    finished: float | None = None

    @property
    def phase(self) -> Phase:
        """What people call the place where the run stands."""
        if self.stage is Stage.DONE:
            return Phase.SUCCEEDED if self.outcome is Outcome.SUCCEEDED else Phase.ROLLED_BACK
        if self.stage in TAIL or self.stage in RETURNING or self.outcome is not None:
            return Phase.PROMOTING if self.outcome is Outcome.SUCCEEDED else Phase.ROLLING_BACK
        if self.hold is not None:
            return Phase.HOLDING
        if self.stage is Stage.PREFLIGHT:
            return Phase.PENDING
        if self.stage in PREPARING:
            return Phase.PREPARING
        return Phase.PROMOTING if self.stage in PROMOTING else Phase.PROGRESSING

    @property
    def active(self) -> bool:
        return self.stage is not Stage.DONE

    @property
    def canary_name(self) -> str:
        """The canary Deployment's name: by revision, so that a carrier and the next canary can coexist."""
        return f"{self.target.name[:40].rstrip('.-')}-canary-{self.revision}"

    @property
    def canary_labels(self) -> Labels:
        return {"canaryd.io/role": "canary", "canaryd.io/revision": self.revision}

    def with_condition(self, condition: Condition) -> Run:
        """The run with that condition in the place of the one of its type, whose time it keeps if it says the same."""
        old = next((c for c in self.conditions if c.type == condition.type), None)
        if old is not None and (old.status, old.message) == (condition.status, condition.message):
            condition = replace(condition, at=old.at)
        others = (c for c in self.conditions if c.type != condition.type)
        return replace(self, conditions=(*others, condition))

    def to(self, stage: Stage, now: float, because: str, **changes: Any) -> Run:
        """The run at the beginning of `stage`; what it wants may change with it."""
        wanted = changes.get("wanted", self.wanted)
        if wanted.traffic != self.wanted.traffic:
            changes.setdefault("judged_since", None)
        changes.setdefault("settled_from", None if wanted != self.wanted else self.settled_from)
        return replace(self, stage=stage, stage_since=now, because=because, **changes)
