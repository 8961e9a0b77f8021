"""A release played for real: application, load, daemon, deeds, and what came of it."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from types import MappingProxyType
from typing import Any

from canaryd.cluster.resources import CANARYRUNS, DEPLOYMENTS, DESTINATIONRULES, VIRTUALSERVICES, Json
from canaryd.sandbox import shop
from canaryd.sandbox.apiserver import WriteRecord
from canaryd.sandbox.cluster import Sandbox
from canaryd.sandbox.load import Load
from canaryd.sandbox.load import Report as LoadReport
from canaryd.sandbox.oracle import VIRTUAL_SERVICES
from canaryd.sandbox.processes import ChildProcess
from canaryd.sandbox.scenarios import BASE, POLICIES, POLICY, Deed, Scenario

REPLICAS = 4


@dataclass(frozen=True, slots=True)
class Users:
    """What users saw since a moment: requests and failures by the role of the pod that answered, and failures
    that no pod answered, by kind ("503 NC": Envoy's own; "timeout": none at all)."""

    requests: Mapping[str, int]
    failed: Mapping[str, int]
    unanswered: Mapping[str, int]

    @classmethod
    def between(cls, before: LoadReport, after: LoadReport) -> Users:
        """What happened after `before`."""

        def since(field_: str, role: str) -> int:
            return int(
                sum(
                    getattr(report.roles[role], field_) * sign
                    for report, sign in ((after, 1), (before, -1))
                    if role in report.roles
                )
            )

        roles = ("stable", "canary")
        kinds = {kind: count - before.failures.get(kind, 0) for kind, count in after.failures.items()}
        return cls(
            {role: since("requests", role) for role in roles},
            {role: since("failed", role) for role in roles},
            {kind: count for kind, count in kinds.items() if count and not kind.isdigit()},
        )


NOBODY = Users({"stable": 0, "canary": 0}, {"stable": 0, "canary": 0}, {})


@dataclass(frozen=True, slots=True)
class Moment:
    """What a watcher sees: the run, and what users saw since the release began."""

    seconds: float
    run: Json
    users: Users


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a rehearsal; the fields of `canaryd demo --json`, and what tests look at besides."""

    scenario: str
    outcome: str
    reason: str
    because: str
    seconds: float
    weights: list[tuple[float, int]]
    requests: dict[str, int]
    failed: dict[str, int]
    excess_failed: float
    restored: bool
    expected: bool
    unanswered: dict[str, int] = field(default_factory=dict)
    violations: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


class Rehearsal:
    """Plays scenarios one after the other in one sandbox: application and daemon stay, versions follow."""

    def __init__(self, box: Sandbox, *, rps: float = 300.0, seed: int = 1) -> None:
        self.box = box
        self.rps = rps
        self.seed = seed
        self.control = box.folder / "control.json"
        self._versions = 1
        self._load: Load | None = None
        self._weights: list[tuple[float, int]] = []
        self._weights_lock = threading.Lock()
        self.daemon: ChildProcess
        box.apiserver.on_write(self._see)

    def begin(self, policy: Mapping[str, str] = MappingProxyType({}), *, traffic: bool = True) -> None:
        """Install version 1, start canaryd and the load; returns when all of it runs."""
        shop.install(self.box.api, REPLICAS, self._env(BASE, "v1"), _annotations(policy))
        self.daemon = self.box.daemon(POLICIES, POLICY)
        self.daemon.start()
        self._await("version 1 at rest", self._at_rest, 60)
        self.box.mesh.settle()
        if traffic:
            self._load = Load(self.box.mesh.url, shop.HOST, rps=self.rps, seed=self.seed)
            self._load.start()
            self._await("traffic in Prometheus", self._seen, 30)

    def end(self) -> None:
        """Stop load and daemon."""
        if self._load is not None:
            self._load.stop()
        self.daemon.stop()

    def play(self, scenario: Scenario, watch: Callable[[Moment], None] = lambda _: None) -> Report:
        """Release the scenario's version and follow it to its end; `watch` sees it a few times per second."""
        before = self._objects()
        base = self._load.report() if self._load else None
        with self._weights_lock:
            self._weights = []
        self._versions += 1
        began = time.time()
        shop.release(self.box.api, self._env(scenario.release(), f"v{self._versions}"))
        deeds = [_Pending(deed) for deed in scenario.deeds]
        run: Json = {}
        while time.time() - began < scenario.timeout:
            time.sleep(0.2)
            run = self._newest_run(began) or run
            self._do(deeds, run)
            watch(Moment(time.time() - began, run, self._users(base)))
            if _ended(run, scenario, deeds):
                break
        self._undo(deeds)
        seconds = time.time() - began
        time.sleep(1.0)
        return self._report(scenario, run, seconds, began, self._users(base), before)

    def _users(self, base: LoadReport | None) -> Users:
        return Users.between(base, self._load.report()) if self._load and base else NOBODY

    def restored(self, before: Mapping[str, Any]) -> tuple[bool, list[str]]:
        """Whether routes and rules are as `before` and no canary is left; what is there instead."""
        now = self._objects()
        left = [f"{what}: {now[what]}" for what in before if now[what] != before[what]]
        return not left, left

    def _report(
        self, scenario: Scenario, run: Json, seconds: float, began: float, users: Users, before: Json
    ) -> Report:
        status = run.get("status") or {}
        outcome, reason = status.get("phase", ""), status.get("reason", "")
        restored, left = self.restored(before)
        with self._weights_lock:
            weights = [(round(at - began, 2), weight) for at, weight in self._weights]
        wanted = outcome == scenario.outcome and reason in scenario.reasons
        return Report(
            scenario=scenario.name,
            outcome=outcome,
            reason=reason,
            because=status.get("because", ""),
            seconds=round(seconds, 1),
            weights=weights,
            requests=dict(users.requests),
            failed=dict(users.failed),
            excess_failed=excess(users),
            restored=restored,
            expected=wanted and (restored or scenario.outcome == "Holding"),
            unanswered=dict(users.unanswered),
            violations=[str(violation) for violation in self.box.oracle.finish(time.time())],
            left=left,
        )

    def _env(self, env: Mapping[str, str], version: str) -> dict[str, str]:
        return {**env, "VERSION": version, "SEED": str(self.seed), "CONTROL_FILE": str(self.control)}

    def _objects(self) -> dict[str, Any]:
        """Routes and rules of the namespace as people see them, and Deployments by name."""
        api = self.box.api
        return {
            "routes": {
                vs["metadata"]["name"]: _plainly(vs) for vs in api.list(VIRTUALSERVICES, shop.NAMESPACE)[0]
            },
            "rules": {
                dr["metadata"]["name"]: _plainly(dr) for dr in api.list(DESTINATIONRULES, shop.NAMESPACE)[0]
            },
            "deployments": sorted(d["metadata"]["name"] for d in api.list(DEPLOYMENTS, shop.NAMESPACE)[0]),
        }

    def _newest_run(self, since: float) -> Json | None:
        runs = [
            run
            for run in self.box.api.list(CANARYRUNS, shop.NAMESPACE)[0]
            if (run.get("status") or {}).get("times", {}).get("created", 0) >= since - 1
        ]
        return max(runs, key=lambda run: run["status"]["times"]["created"], default=None)

    def _see(self, write: WriteRecord) -> None:
        if write.resource != VIRTUAL_SERVICES or write.namespace != shop.NAMESPACE or write.new is None:
            return
        weight = weight_of(write.new)
        with self._weights_lock:
            if not self._weights or self._weights[-1][1] != weight:
                self._weights.append((write.at, weight))

    def _at_rest(self) -> bool:
        deployment = self.box.api.get(DEPLOYMENTS, shop.NAMESPACE, shop.NAME)
        ready = (deployment.get("status") or {}).get("readyReplicas", 0)
        self.daemon.require_running()
        return ready == REPLICAS and deployment["spec"].get("paused") is True

    def _seen(self) -> bool:
        counts = self.box.prometheus.query('sum(istio_requests_total{reporter="destination"})')
        return bool(counts) and counts[0][1] > 2 * self.rps

    def _await(self, what: str, done: Callable[[], bool], timeout: float) -> None:
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout:g} s; canaryd says:\n{self.daemon.tail(5)}")
            time.sleep(0.1)

    def _do(self, deeds: list[_Pending], run: Json) -> None:
        weight = ((run.get("status") or {}).get("weight") or {}).get("wanted", 0)
        now = time.monotonic()
        for pending in deeds:
            if pending.done_at is None and weight >= pending.deed.weight:
                pending.done_at = now
                self._deed(pending.deed.name, undo=False)
            elif pending.open and now - (pending.done_at or now) >= pending.deed.lasts:
                pending.open = False
                self._deed(pending.deed.name, undo=True)

    def _undo(self, deeds: list[_Pending]) -> None:
        for pending in deeds:
            if pending.open and pending.done_at is not None:
                self._deed(pending.deed.name, undo=True)
        self.control.unlink(missing_ok=True)

    def _deed(self, name: str, *, undo: bool) -> None:
        match name, undo:
            case "fault", False:
                self._faults({f"v{self._versions}": {"error_rate": 0.1}})
            case "shock", False:
                self._faults({"*": {"error_rate": 0.3}})
            case "shock", True:
                self._faults({})
            case "outage", False:
                self.box.prometheus.halt()
            case "outage", True:
                self.box.prometheus.start()
            case "newer", False:
                self._versions += 1
                shop.release(self.box.api, self._env(BASE, f"v{self._versions}"))
            case "edit", False:
                self._edit_weights()

    def _faults(self, faults: Mapping[str, Mapping[str, float]]) -> None:
        beside = self.control.with_suffix(".new")
        beside.write_text(json.dumps(faults))
        beside.replace(self.control)

    def _edit_weights(self) -> None:
        """What a person does at the wrong moment."""
        vs = self.box.api.get(VIRTUALSERVICES, shop.NAMESPACE, shop.NAME)
        index = next(i for i, route in enumerate(vs["spec"]["http"]) if len(route.get("route") or []) == 2)
        path = f"/spec/http/{index}/route"
        body = [
            {"op": "add", "path": f"{path}/{i}/weight", "value": weight} for i, weight in ((0, 60), (1, 40))
        ]
        self.box.api.patch(
            VIRTUALSERVICES, shop.NAMESPACE, shop.NAME, body, kind="json", field_manager="kubectl-edit"
        )


@dataclass(slots=True)
class _Pending:
    deed: Deed
    done_at: float | None = None
    open: bool = True


def _annotations(policy: Mapping[str, str]) -> dict[str, str]:
    return {f"canaryd.io/{name}": value for name, value in policy.items()}


def _plainly(obj: Json) -> Json:
    """What its owner wrote, without the server's book-keeping."""
    meta = {k: obj["metadata"].get(k) for k in ("name", "labels", "annotations")}
    return {"metadata": meta, "spec": obj["spec"]}


def _ended(run: Json, scenario: Scenario, deeds: list[_Pending]) -> bool:
    status = run.get("status") or {}
    phase = status.get("phase", "")
    if any(pending.done_at is None for pending in deeds) and phase != "RolledBack":
        return False
    if scenario.outcome == "Holding":
        return phase in ("Succeeded", "RolledBack") or (
            phase == "Holding" and status.get("reason") in scenario.reasons
        )
    return phase in ("Succeeded", "RolledBack") and status.get("reason") != "Superseded"


def weight_of(vs: Json) -> int:
    """The canary's weight in a VirtualService; 0 where no route has one."""
    return max(
        (
            entry.get("weight") or 0
            for route in vs["spec"].get("http") or []
            for entry in route.get("route") or []
            if entry["destination"].get("subset") == "canary"
        ),
        default=0,
    )


def excess(users: Users) -> float:
    """Failed requests beyond the baseline's rate: the canary's, and those that no pod answered."""
    stable = users.requests["stable"]
    rate = users.failed["stable"] / stable if stable else 0.0
    canary = users.failed["canary"] - rate * users.requests["canary"]
    return round(canary + sum(users.unanswered.values()), 1)
