"""A cluster of values for the pure core: effects happen at once, what people and pods do is scripted."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from analysis import MetricEvidence, Verdict
from analysis.watch import WatchVerdict
from canaryd.cluster.runs import manifest, parse, status
from canaryd.domain.converge import (
    DeleteCanary,
    Effect,
    PutCanary,
    PutSubsets,
    PutTemplate,
    PutTraffic,
    SetPaused,
    converge,
    urgent,
)
from canaryd.domain.decide import decide
from canaryd.domain.model import LADDER, Form, Labels, RouteRef, Run, Stage, Target, Traffic
from canaryd.domain.world import (
    CanaryView,
    DeploymentView,
    Ground,
    Measured,
    ReplicaSetView,
    RouteView,
    Terms,
    World,
)
from config import Policy

POLICY = Policy(step_min=10, min_judged=0, drain_limit=0, ready_timeout=60, blind_limit=30, deadline=1000)
REF = RouteRef("shop", "checkout", "vs-1", "", None, [{"destination": {"host": "checkout"}}])
GROUND = Ground((), POLICY, "checkout", "checkout.shop.svc.cluster.local", (REF,))
TERMS = Terms(settle=2.0, scrape=1.0, tick=1.0)
OLD, NEW = "old0000000", "new0000000"


def verdict(decision: str, canary_requests: int = 100, reason: str = "", upper: float = 0.001) -> Verdict:
    errors = MetricEvidence(
        "errors",
        canary_requests,
        1,
        0.01,
        900,
        9,
        0.01,
        1.0,
        0.5,
        2.0,
        0.95,
        1.0,
        100.0,
        1.0,
        20.0,
        False,
        False,
        0,
    )
    because, metrics = f"said {decision}", {"errors": errors}
    return Verdict(decision, reason, because, metrics, 1.0, 100.0, upper, 0.0, 0, 60.0, 9)  # type: ignore[arg-type]


def fresh_run(**changes: object) -> Run:
    run = Run("shop", f"checkout-{NEW}", Target("shop", "checkout", "uid-1"), NEW, created=0.0, uid="run-1")
    return replace(run, **changes)  # type: ignore[arg-type]


def read_back(run: Run) -> Run:
    """What a canaryd that has just started knows of the run."""
    body = manifest(run)
    body["metadata"] |= {"uid": run.uid, "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z"}
    body["spec"] |= {"paused": run.wish_pause, "abort": run.wish_abort}
    return parse({**body, "status": status(run)})


@dataclass
class Play:
    """State of the cluster, and a clock."""

    now: float = 0.0
    revision: str = NEW
    paused: bool = True
    replicas: int = 4
    pods: dict[str, int] = field(default_factory=lambda: {OLD: 4})  # revision -> pods of the Deployment
    canary: int | None = None
    canary_view: Callable[[int], CanaryView] = lambda n: CanaryView(n, n, tuple(f"c{i}" for i in range(n)))
    carrier: int | None = None
    traffic: Traffic = field(default_factory=Traffic)
    route_gone: bool = False
    by: str = ""
    subsets: dict[str, Labels] = field(default_factory=dict)
    measured: Callable[[Run], Measured] | None = None
    ground: Ground = GROUND
    deleted: bool = False
    enabled: bool = True
    retry: str = ""
    skip: str = ""
    writes: list[Effect] = field(default_factory=list)
    weights: list[int] = field(default_factory=list)
    terms: Terms = TERMS
    alarmed: float = -1.0  # when the judge last said "retreat"

    def _measured(self, run: Run) -> Measured:
        """As the controller reads it: fresh intervals only of a weight that stands, the verdict so far elsewhere."""
        if run.stage not in LADDER | {Stage.CONFIRM}:
            return Measured()
        measured = (self.measured or self._all_well)(run)
        if not run.highest_weight:  # nothing was judged yet
            return Measured(blind=measured.blind, silent=measured.silent)
        judged = run.stage is not Stage.SHIFT and run.judged_since is not None
        return measured if judged else replace(measured, fresh=False)

    def _all_well(self, run: Run) -> Measured:
        watched = run.wanted.traffic.weight > 50 or run.stage is Stage.CONFIRM
        return Measured(
            verdict=verdict("promote", int(100 * self.now)),
            watch=WatchVerdict("continue", "", "", 0.0, 100.0) if watched else None,
            fresh=True,
            request_rate=100.0,
        )

    def world(self, run: Run) -> World:
        return World(
            terms=self.terms,
            deployment=None
            if self.deleted
            else DeploymentView(
                "uid-1",
                "1",
                self.revision,
                self.paused,
                self.replicas,
                enabled=self.enabled,
                retry=self.retry,
                skip=self.skip,
            ),
            replicasets=tuple(
                ReplicaSetView(f"rs-{revision}", revision, f"hash-{revision}", n, n)
                for revision, n in self.pods.items()
            ),
            canary=None if self.canary is None else self.canary_view(self.canary),
            carrier=None if self.carrier is None else CanaryView(self.carrier, self.carrier, ("k",)),
            routes=tuple(
                RouteView(ref, None if self.route_gone else self.traffic, gone=self.route_gone, by=self.by)
                for ref in run.routes
            ),
            subsets=self.subsets,
            ground=self.ground if run.stage is Stage.PREFLIGHT else None,
            measured=self._measured(run),
        )

    def perform(self, run: Run, effect: Effect) -> None:
        self.writes.append(effect)
        match effect:
            case SetPaused(paused):
                self.paused = paused
            case PutTemplate(revision, paused):
                self.revision, self.paused = revision, paused
            case PutSubsets(subsets):
                self._check_subsets(dict(subsets))
                self.subsets = dict(subsets)
            case PutCanary(replicas, _):
                self._check_canary(replicas)
                self.canary = replicas
            case DeleteCanary(name):
                self._check_canary(0)
                if name == run.carrier:
                    self.carrier = None
                else:
                    self.canary = None
            case PutTraffic(_, traffic):
                self._check_traffic(traffic)
                self._check_rise(run, traffic)
                self.traffic, self.by = traffic, "canaryd at noon"
                if traffic.form is Form.SPLIT:
                    self.weights.append(traffic.weight)

    def _named(self, traffic: Traffic) -> set[str]:
        return {Form.PLAIN: set(), Form.FENCED: {"stable"}, Form.SPLIT: {"stable", "canary"}}[traffic.form]

    def _check_subsets(self, subsets: Mapping[str, Labels]) -> None:
        assert self._named(self.traffic) <= set(subsets), "a route names a subset that is removed (503 NC)"
        weight = self.traffic.weight if self.traffic.form is Form.SPLIT else 0
        for name, share in (("canary", weight), ("stable", 100 - weight)):
            if share and name in self._named(self.traffic):
                assert self.subsets.get(name) == subsets[name], (
                    f"subset {name} changed under {share} % of traffic"
                )

    def _check_canary(self, replicas: int) -> None:
        if replicas == 0:
            serves = "canaryd.io/role" in self.subsets.get("canary", {})
            assert not serves or self.traffic.weight == 0, "pods scaled away under traffic"
        else:
            assert self.traffic.form is not Form.PLAIN, "canary pods behind a plain route (their pod share)"

    def _check_traffic(self, traffic: Traffic) -> None:
        assert self._named(traffic) <= set(self.subsets), "a route names a subset that is not there (503 NC)"
        if traffic.form is Form.PLAIN:
            assert not self.canary and not self.carrier, "plain route with canary pods"

    def _check_rise(self, run: Run, traffic: Traffic) -> None:
        if run.stage not in LADDER or traffic.weight <= self.traffic.weight or run.policy is None:
            return
        passed = {each.weight for each in run.passes if each.at >= self.alarmed}
        below = {step for step in run.policy.steps if step < traffic.weight}
        assert below <= passed, f"{traffic.weight} % on passes {passed} since the last alarm"

    def _check_heeded(self, run: Run, measured: Measured, after: Run) -> None:
        """What the judge says against the canary is obeyed in the same pass, in every stage of the ladder."""
        verdict = measured.verdict
        if verdict is None or run.stage not in LADDER or run.policy is None:
            return
        if verdict.decision == "rollback":
            assert after.wanted.traffic.weight == 0, "harm is proved and the canary has traffic"
        if verdict.decision == "retreat":
            self.alarmed = self.now
            assert after.wanted.traffic.weight <= run.policy.steps[0], "an alarm, and no retreat"

    def roll(self) -> None:
        """The Deployment controller: one pod at a time, unless paused."""
        if self.paused or not self.pods or set(self.pods) == {self.revision}:
            return
        old = next(revision for revision in self.pods if revision != self.revision)
        self.pods[self.revision] = self.pods.get(self.revision, 0) + 1
        self.pods[old] -= 1
        if self.pods[old] == 0:
            del self.pods[old]

    def step(self, run: Run, dt: float = 0.5, *, killed_after: int | None = None) -> Run:
        """One pass of the loop, as the reconciler does it; then time goes by.

        killed_after: so many writes, the status among them; what is returned is the run as it was saved.
        """
        world = self.world(run)
        after = decide(run, world, self.now).run
        self._check_heeded(run, world.measured, after)
        effects = converge(after, world)
        falls = urgent(after, effects)
        saved = run
        for write in [*falls, after, *(e for e in effects if e not in falls)][:killed_after]:
            if isinstance(write, Run):
                saved = write
            else:
                self.perform(after, write)
        self.roll()
        self.now += dt
        return saved

    def play(self, run: Run, until: Callable[[Run], bool] | None = None, limit: int = 2000) -> Run:
        """Pass after pass until the run is over, or `until` says so."""
        for _ in range(limit):
            run = self.step(run)
            if not run.active or (until is not None and until(run)):
                return run
        raise AssertionError(f"stuck at {run.stage}: {run.because}")


def at(stage: Stage, weight: int | None = None) -> Callable[[Run], bool]:
    """Whether a run stands at `stage`, and at that weight where one is given."""
    return lambda run: run.stage is stage and weight in (None, run.wanted.traffic.weight)
