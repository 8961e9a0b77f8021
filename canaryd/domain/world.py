"""The world as it was read for one decision: the Deployment, its pods, the routes, what was measured."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from analysis import JudgeState, Verdict
from analysis.watch import WatchState, WatchVerdict
from canaryd.domain.model import Labels, RouteRef, Traffic
from config import Policy


@dataclass(frozen=True, slots=True)
class DeploymentView:
    """The user's Deployment."""

    uid: str
    resource_version: str
    revision: str  # of the template in its spec
    paused: bool
    replicas: int
    deleting: bool = False
    enabled: bool = True
    retry: str = ""
    skip: str = ""
    accept: frozenset[str] = frozenset()
    pause: bool = False
    abort: str = ""  # a revision, or "true" for whichever is being released
    restart_only: bool = False  # the template differs from the running one in restart marks alone
    owns_pause: bool = False  # spec.paused was last written by canaryd


@dataclass(frozen=True, slots=True)
class ReplicaSetView:
    """A ReplicaSet of the user's Deployment."""

    name: str
    revision: str
    hash: str
    replicas: int
    ready: int
    created: float = 0.0
    sequence: int = 0  # deployment.kubernetes.io/revision


@dataclass(frozen=True, slots=True)
class PodProblem:
    """Why a pod does not serve."""

    pod: str
    reason: str  # CrashLoopBackOff, ErrImagePull, Unschedulable, Error, ...
    message: str
    fatal: bool  # waiting will not cure it

    def __str__(self) -> str:
        return f"pod {self.pod}: {self.reason}" + (f": {self.message}" if self.message else "")


@dataclass(frozen=True, slots=True)
class CanaryView:
    """The canary Deployment and its pods."""

    replicas: int
    ready: int
    pods: tuple[str, ...]
    problems: tuple[PodProblem, ...] = ()
    deleting: bool = False
    images: frozenset[str] = frozenset()
    owner: str = ""  # uid of the run that it goes with


@dataclass(frozen=True, slots=True)
class RouteView:
    """One managed route as it is."""

    ref: RouteRef
    seen: Traffic | None  # None: destinations that canaryd did not write
    gone: bool = False
    by: str = ""  # who wrote the route last


@dataclass(frozen=True, slots=True)
class Finding:
    """A preflight check that failed: what was found, and the cure."""

    check: str
    message: str


@dataclass(frozen=True, slots=True)
class Ground:
    """What preflight learned: where the release will take place."""

    findings: tuple[Finding, ...]
    policy: Policy | None = None
    service: str = ""
    host: str = ""
    routes: tuple[RouteRef, ...] = ()


@dataclass(frozen=True, slots=True)
class Measured:
    """What the judge says after this tick's interval; all None while nothing is being measured."""

    evidence: JudgeState | None = None
    verdict: Verdict | None = None
    watched: WatchState | None = None  # above the last judged rung, and after promotion
    watch: WatchVerdict | None = None
    fresh: bool = False  # an interval of this tick that saw pods of the new version is in the above
    judged_to: float | None = None  # its end
    seen_share: float | None = None
    request_rate: float = 0.0  # requests per second, both arms
    blind: str = ""  # why nothing can be measured
    silent: str = ""  # Prometheus answers, and has never seen a request to either arm
    unseen: str = ""  # which of the policy's metrics nothing is known of, and why
    lines: tuple[str, ...] = ()  # of the recording: one for each interval that was taken in, judged or not
    recorded_to: float | None = None  # the end of the last of them
    allocation: tuple[float, ...] | None = None
    misallocated: str = ""


@dataclass(frozen=True, slots=True)
class Terms:
    """Properties of the place that decisions depend on."""

    settle: float  # seconds that a change of routes or subsets takes to reach every proxy
    scrape: float  # seconds between two scrapes
    tick: float
    rest_paused: bool = True  # the gate's state of rest


@dataclass(frozen=True, slots=True)
class World:
    """The cluster as it was read for one decision."""

    terms: Terms
    deployment: DeploymentView | None
    replicasets: tuple[ReplicaSetView, ...] = ()
    images: frozenset[str] = frozenset()  # image ids of the Deployment's ready pods
    canary: CanaryView | None = None
    carrier: CanaryView | None = None
    routes: tuple[RouteView, ...] = ()
    subsets: Mapping[str, Labels] = field(default_factory=dict)
    ground: Ground | None = None
    measured: Measured = field(default_factory=Measured)

    @property
    def serving(self) -> tuple[ReplicaSetView, ...]:
        """ReplicaSets with pods; more than one means that a rollout is under way."""
        return tuple(rs for rs in self.replicasets if rs.replicas > 0)
