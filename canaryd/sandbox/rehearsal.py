"""A release played for real: application, load, daemon, deeds, and what came of it."""

from __future__ import annotations

import signal
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import Any

from canaryd.cluster.resources import (
    CANARYRUNS,
    DEPLOYMENTS,
    DESTINATIONRULES,
    REPLICASETS,
    VIRTUALSERVICES,
    Json,
)
from canaryd.sandbox.apiserver import WriteRecord
from canaryd.sandbox.cluster import Sandbox
from canaryd.sandbox.deeds import Deeds, Faults
from canaryd.sandbox.load import Load, LogRow
from canaryd.sandbox.load import Report as LoadReport
from canaryd.sandbox.oracle import VIRTUAL_SERVICES
from canaryd.sandbox.outcome import NOBODY, Moment, Report, Users, ending, excess, weight_of
from canaryd.sandbox.processes import ChildProcess
from canaryd.sandbox.scenarios import BASE, POLICIES, POLICY, Scenario
from canaryd.sandbox.shares import Weights, beyond_share, unproven
from canaryd.sandbox.shop import MANAGED, Shop

REPLICAS = 4
ANSWER_LAG = 1.5  # seconds: an answer is counted when it has come, and the mesh writes its files first
Watch = Callable[[Moment], None]
Env = Mapping[str, str]


class Rehearsal:
    """Plays scenarios one after the other in one sandbox: application and daemon stay, versions follow.

    rps: requests per second. seed: of the requests' moments and of the pods' faults. shop: what is released.
    host: what the users ask for, by default from outside the mesh.
    """

    def __init__(
        self, box: Sandbox, *, rps: float = 300.0, seed: int = 1, shop: Shop | None = None, host: str = ""
    ) -> None:
        self.box = box
        self.rps = rps
        self.seed = seed
        self.shop = shop or Shop()
        self.host = host or self.shop.host
        self.faults = Faults(box.folder / "control.json")
        self.load: Load | None = None
        self.daemon: ChildProcess = box.daemon(POLICIES, POLICY)
        self._versions = 1
        self._writes: list[tuple[float, int]] = []  # by the server's thread; appending is atomic
        box.apiserver.on_write(self._see)

    def begin(
        self,
        policy: Mapping[str, str] = MappingProxyType({}),
        *,
        traffic: bool = True,
        routed: bool = True,
    ) -> None:
        """Install version 1, start canaryd and the load; returns when all of it runs.

        policy: annotations without their prefix. Without `routed` there is no VirtualService.
        """
        annotations = {**MANAGED, **{f"canaryd.io/{name}": value for name, value in policy.items()}}
        self.shop.install(self.box.api, REPLICAS, self._env(BASE), annotations, routed=routed)
        self.daemon.start()
        self.wait("version 1 at rest", self._at_rest, 60)
        self.box.mesh.settle()
        if traffic:
            self.load = Load(self.box.mesh.url, self.host, rps=self.rps, seed=self.seed)
            self.load.start()
        self.box.prometheus.wait_ready()
        if traffic:
            self.wait("traffic in Prometheus", self._seen, 30)

    def end(self) -> None:
        """Stop load and daemon."""
        if self.load is not None:
            self.load.stop()
        self.daemon.stop()

    def kill(self) -> None:
        """kill -9 of the daemon, and start it again at once."""
        self.daemon.signal(signal.SIGKILL)
        self.daemon.wait(10)
        self.daemon.start()

    def play(self, scenario: Scenario, watch: Watch = lambda _: None) -> Report:
        """Release the scenario's version and follow it to its end; `watch` sees it a few times per second."""
        before, running = self._objects(), self._running()
        base = self.load.report() if self.load else None
        self._annotate(scenario.policy)
        began = time.time()
        self.release(scenario.release())
        deeds = Deeds(
            scenario.deeds,
            api=self.box.api,
            shop=self.shop,
            prometheus=self.box.prometheus,
            faults=self.faults,
            version=f"v{self._versions}",
            newer=lambda: self.release(BASE),
        )
        runs: list[Json] = []
        try:
            while time.time() - began < scenario.timeout:
                time.sleep(0.2)
                runs = self.runs(began)
                newest = runs[-1] if runs else {}
                deeds.follow(_wanted(newest))
                watch(Moment(time.time() - began, newest, self._users(base)))
                if _ended(newest, scenario, deeds):
                    break
        finally:
            deeds.undo()
            self._annotate(dict.fromkeys(scenario.policy))  # a run keeps the policy that it started with
        seconds = time.time() - began
        time.sleep(ANSWER_LAG + self.box.propagation)  # the last answers, and the load's report of them
        report = _report(scenario, runs, seconds, began, self._users(base))
        return self._judged(report, scenario, began, running, before)

    def release(self, env: Env) -> None:
        """A new version, with `env`."""
        self._versions += 1
        self.shop.release(self.box.api, self._env(env))

    def runs(self, since: float = 0.0) -> list[Json]:
        """The application's CanaryRuns that were created after `since` (Unix time), the earliest first."""

        def created(run: Json) -> float:
            return float((run.get("status") or {}).get("times", {}).get("created", 0.0))

        runs = self.box.api.list(CANARYRUNS, self.shop.namespace)[0]
        own = [run for run in runs if run["spec"]["target"]["name"] == self.shop.name]
        return sorted((run for run in own if created(run) >= since - 1), key=created)

    def wait(self, what: str, done: Callable[[], bool], timeout: float) -> None:
        """Until `done`. TimeoutError with the daemon's last lines."""
        deadline = time.monotonic() + timeout
        while not done():
            if time.monotonic() > deadline:
                raise TimeoutError(f"{what}: not within {timeout:g} s; canaryd says:\n{self.daemon.tail(5)}")
            time.sleep(0.1)

    def rows(self, since: float) -> list[LogRow]:
        """What users saw from the second `since` (Unix time) on."""
        return [row for row in self.load.log() if row.second >= since] if self.load else []

    def weights(self) -> Weights:
        """Every weight of the canary that was written to a route of this application."""
        return Weights(list(self._writes), self.box.propagation + ANSWER_LAG)

    def misrouted(self, since: float, pods: str) -> list[str]:
        """Answers since then that canary or unproven pods should not have given; `pods` are the stable ones."""
        rows, weights = self.rows(since), self.weights()
        return beyond_share(rows, weights) + unproven(rows, pods, since, weights)

    def _annotate(self, policy: Mapping[str, str | None]) -> None:
        if policy:
            self.shop.annotate(self.box.api, **{k.replace("-", "_"): v for k, v in policy.items()})

    def _users(self, base: LoadReport | None) -> Users:
        return Users.between(base, self.load.report()) if self.load and base else NOBODY

    def _judged(
        self, report: Report, scenario: Scenario, began: float, running: str, before: Mapping[str, Any]
    ) -> Report:
        """The report with what the cluster and the users' log say of it."""
        now = self._objects()
        left = [f"{what}: {now[what]}" for what in before if now[what] != before[what]]
        wanted = report.outcome == scenario.outcome and report.reason in scenario.reasons
        earlier = tuple(run.reason for run in report.runs[:-1])
        return replace(
            report,
            weights=[(round(at - began, 2), weight) for at, weight in self._writes if at >= began],
            restored=not left,
            left=left,
            expected=wanted and earlier == scenario.earlier and (not left or scenario.outcome == "Holding"),
            misrouted=self.misrouted(began, running),
            violations=[str(v) for v in self.box.oracle.finish(time.time()) if v.at >= began],
        )

    def _env(self, env: Env) -> dict[str, str]:
        own = {"VERSION": f"v{self._versions}", "SEED": str(self.seed), "CONTROL_FILE": str(self.faults.file)}
        return {**env, **own}

    def _objects(self) -> dict[str, Any]:
        """Routes and rules of the namespace as people see them, and Deployments by name."""
        api, namespace = self.box.api, self.shop.namespace
        routes, rules = (api.list(kind, namespace)[0] for kind in (VIRTUALSERVICES, DESTINATIONRULES))
        return {
            "routes": {vs["metadata"]["name"]: _plainly(vs) for vs in routes},
            "rules": {dr["metadata"]["name"]: _plainly(dr) for dr in rules},
            "deployments": sorted(d["metadata"]["name"] for d in api.list(DEPLOYMENTS, namespace)[0]),
        }

    def _running(self) -> str:
        """What the names of the pods begin with that serve now: their ReplicaSet's."""
        sets = [
            rs["metadata"]["name"]
            for rs in self.box.api.list(REPLICASETS, self.shop.namespace, labels=f"app={self.shop.name}")[0]
            if rs["spec"].get("replicas", 1) > 0 and "canaryd.io/role" not in rs["metadata"].get("labels", {})
        ]
        return f"{sets[0]}-" if sets else ""

    def _see(self, write: WriteRecord) -> None:
        if write.resource != VIRTUAL_SERVICES or write.namespace != self.shop.namespace:
            return
        weight = weight_of(write.new) if write.new is not None else 0
        if not self._writes or self._writes[-1][1] != weight:
            self._writes.append((write.at, weight))

    def _at_rest(self) -> bool:
        deployment = self.shop.get(self.box.api)
        ready = (deployment.get("status") or {}).get("readyReplicas", 0)
        self.daemon.require_running()
        return bool(ready == REPLICAS and deployment["spec"].get("paused") is True)

    def _seen(self) -> bool:
        counts = self.box.prometheus.query(
            f'sum(istio_requests_total{{reporter="destination",destination_workload="{self.shop.name}"}})'
        )
        return bool(counts) and counts[0][1] > 2 * self.rps


def _report(scenario: Scenario, runs: list[Json], seconds: float, began: float, users: Users) -> Report:
    """What the runs and the users' totals say."""
    endings = [ending(run) for run in runs]
    last = endings[-1] if endings else None
    judged_to = (runs[-1].get("status") or {}).get("times", {}).get("judgedTo") if runs else None
    return Report(
        scenario=scenario.name,
        outcome=last.outcome if last else "",
        reason=last.reason if last else "",
        because=last.because if last else "no run began",
        seconds=round(seconds, 1),
        weights=[],
        requests=dict(users.requests),
        failed=dict(users.failed),
        excess_failed=excess(users),
        restored=False,
        expected=False,
        unanswered=dict(users.unanswered),
        runs=endings,
        judged_to=round(judged_to - began, 3) if judged_to is not None else None,
    )


def _wanted(run: Json) -> int:
    """The weight that the run's status asks for."""
    return int(((run.get("status") or {}).get("weight") or {}).get("wanted", 0))


def _plainly(obj: Json) -> Json:
    """What its owner wrote, without the server's book-keeping."""
    meta = {k: obj["metadata"].get(k) for k in ("name", "labels", "annotations")}
    return {"metadata": meta, "spec": obj["spec"]}


def _ended(run: Json, scenario: Scenario, deeds: Deeds) -> bool:
    status = run.get("status") or {}
    phase, reason = status.get("phase", ""), status.get("reason", "")
    if not deeds.all_done and phase != "RolledBack":
        return False
    if scenario.outcome == "Holding" and phase == "Holding":
        return reason in scenario.reasons
    return phase in ("Succeeded", "RolledBack") and reason != "Superseded"
