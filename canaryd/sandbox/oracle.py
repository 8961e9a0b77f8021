"""An oracle for the invariants I1-I8: it sees every committed write, and says which one broke what.

It knows the objects and requests alone, nothing of the daemon's code, so that it cannot share its mistakes.
Which pod answered a request (the rest of I8) is in the users' log; see `canaryd.sandbox.shares`.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from canaryd.cluster.resources import Json
from canaryd.sandbox import oracle_view as view
from canaryd.sandbox.apiserver import WriteRecord

Key = tuple[str, str]

VIRTUAL_SERVICES = "virtualservices.networking.istio.io"
DESTINATION_RULES = "destinationrules.networking.istio.io"
DEPLOYMENTS = "deployments.apps"
RUNS = "canaryruns.canaryd.io"
MANAGER = "canaryd"
_WORKLOADS = (DEPLOYMENTS, "replicasets.apps", "pods")
# What the system may go on writing when it has come to rest: signs of life.
_LIFE = ("leases.coordination.k8s.io",)


@dataclass(frozen=True, slots=True)
class Violation:
    """A write that broke an invariant; `at` is Unix time."""

    invariant: str
    what: str
    at: float

    def __str__(self) -> str:
        return f"{self.invariant}: {self.what}"


@dataclass
class Oracle:
    """Attach `see` to the API server's `on_write`. Thread-safe.

    drain: seconds that must lie between the last write that gave the canary traffic and its pods' removal:
    the mesh's propagation delay. reaction: seconds after a rollback's status within which stable must have
    all traffic (one tick and one API deadline). writes: those of canaryd so far, of all but signs of life.
    """

    drain: float = 0.0
    reaction: float = 12.0
    violations: list[Violation] = field(default_factory=list)
    writes: int = 0
    _objects: dict[str, dict[Key, Json]] = field(default_factory=dict)
    _writers: dict[Key, str] = field(default_factory=dict)  # of VirtualServices
    _carried: dict[Key, float] = field(default_factory=dict)
    _promotions: dict[str, int] = field(default_factory=dict)
    _failed: dict[Key, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, write: WriteRecord) -> None:
        """One committed write, in the server's order."""
        with self._lock:
            self._follow_falls(write.at)
            try:
                if write.field_manager == MANAGER:
                    self.writes += write.resource not in _LIFE
                    self._check(write)
                elif write.resource == "pods":
                    self._ready_behind_fence(write)
            except Exception as error:  # noqa: BLE001 - what cannot be checked must not look like what holds
                self._broken("oracle", f"cannot read {write.resource} {write.name}: {error!r}", write.at)
            self._remember(write)

    def finish(self, now: float) -> list[Violation]:
        """All violations, with what is overdue at `now`."""
        with self._lock:
            self._follow_falls(now)
            return list(self.violations)

    def _all(self, resource: str) -> dict[Key, Json]:
        return self._objects.setdefault(resource, {})

    def _remember(self, write: WriteRecord) -> None:
        key = (write.namespace, write.name)
        if write.resource == VIRTUAL_SERVICES:
            self._writers[key] = write.field_manager
            if view.canary_weight(write.old) > 0:
                self._carried[key] = write.at
        if write.new is None:
            self._all(write.resource).pop(key, None)
        else:
            self._all(write.resource)[key] = write.new

    def _check(self, write: WriteRecord) -> None:
        self._on_what_was_read(write)
        match write.resource:
            case "virtualservices.networking.istio.io":
                self._routes_only(write)
                self._rise(write)
                self._subsets_exist(write)
                self._no_plain_route_to_canaries(write)
            case "destinationrules.networking.istio.io":
                self._subset_in_use(write)
            case "deployments.apps":
                self._canary_pods(write)
                self._promotion(write)
            case "canaryruns.canaryd.io":
                self._rolled_back(write)

    def _broken(self, invariant: str, what: str, at: float) -> None:
        self.violations.append(Violation(invariant, what, at))

    def _routes_only(self, write: WriteRecord) -> None:
        """I1: managed weights are integers that sum to 100; no other byte of the object changes."""
        for entries in view.splits(write.new):
            weights = [entry.get("weight") for entry in entries]
            if not all(type(w) is int for w in weights) or sum(w for w in weights if w) != 100:
                self._broken("I1", f"{write.name}: weights {weights}", write.at)
            if view.twin_differs(entries):
                self._broken("I1", f"{write.name}: destinations differ in more than their subset", write.at)
        if write.old is None or write.new is None:
            return
        before, after = view.without_managed(write.old, write.new)
        if before != after:
            where = view.difference(before, after)
            self._broken("I1", f"{write.name}: more than managed routes changed: {where}", write.at)

    def _on_what_was_read(self, write: WriteRecord) -> None:
        """I4: a rise, or a change of a workload, meets what was decided on, or is refused with a conflict.

        A creation does so by itself: the name is taken or it is not.
        """
        rises = write.resource == VIRTUAL_SERVICES and view.rises(write.old, write.new)
        if write.old is None or not (rises or write.resource in _WORKLOADS):
            return
        if not view.names_version(write.body):
            what = f"{write.verb} of {write.resource} {write.name} without a resourceVersion"
            self._broken("I4", what, write.at)

    def _rise(self, write: WriteRecord) -> None:
        """I2: the weight rises only with a pass bound to the run, and to the weight that its status wants."""
        old, new = view.canary_weight(write.old), view.canary_weight(write.new)
        if new <= old:
            return
        bound = [
            run
            for run in self._active()
            if view.status(run).get("wanted", {}).get("weight") == new
            and (write.namespace, write.name) in view.run_routes(run)
        ]
        if not bound:
            self._broken("I2", f"{write.name}: {old} -> {new} % and no run's status wants it", write.at)
            return
        status = view.status(bound[0])
        steps = (status.get("policy") or {}).get("steps") or []
        below = [step for step in steps if step < new]
        passed = {p["weight"] for p in status.get("passes") or []}
        promoting = (
            status.get("phase") in ("Promoting", "RollingBack") or status.get("hold") == "StableRegression"
        )
        if not promoting and not set(below) <= passed:
            self._broken("I2", f"{write.name}: {old} -> {new} % with passes {sorted(passed)} only", write.at)

    def _subsets_exist(self, write: WriteRecord) -> None:
        """I7: no traffic to a subset without ready endpoints, nor a route to one that no rule has."""
        for share in view.shares(write.new):
            labels = self._subset(share)
            if labels is None:
                what = f"{write.name} names subset {share.subset}, which no DestinationRule has"
                self._broken("I7", what, write.at)
            elif share.weight > 0 and not self._ready(write.namespace, labels):
                what = f"{write.name}: {share.weight} % to subset {share.subset}, no ready pod"
                self._broken("I7", what, write.at)

    def _no_plain_route_to_canaries(self, write: WriteRecord) -> None:
        """I8: a plain route while canary pods are endpoints would send them their pod share."""
        for host in {share.host for share in view.shares(write.old)}:
            if write.new is None or view.plain_to(write.new, host):
                pods = [pod for pod in self._ready_canaries(host) if pod]
                if pods:
                    self._broken("I8", f"{write.name} is plain again beside canary pods {pods[:3]}", write.at)

    def _subset_in_use(self, write: WriteRecord) -> None:
        """I7: no subset is removed, or changed to pods that are not ready, under a route that uses it."""
        rule = write.new or write.old
        assert rule is not None
        host = view.host_of(rule["spec"]["host"], write.namespace)
        kept = view.subsets(write.new)
        for vs in self._all(VIRTUAL_SERVICES).values():
            for share in view.shares(vs):
                if share.host != host:
                    continue
                if share.subset not in kept:
                    what = f"subset {share.subset} removed under {vs['metadata']['name']}"
                    self._broken("I7", what, write.at)
                elif share.weight > 0 and not self._ready(write.namespace, kept[share.subset]):
                    self._broken("I7", f"subset {share.subset} ({share.weight} %) has no ready pod", write.at)

    def _canary_pods(self, write: WriteRecord) -> None:
        """I7, I8: canary pods come behind a fence, and go only when drained."""
        if view.role(write.new or write.old) != "canary":
            return
        old, new = view.replicas(write.old), view.replicas(write.new)
        labels = (write.new or write.old or {})["spec"]["template"]["metadata"].get("labels") or {}
        if old == 0 and new > 0:
            self._behind_fence(write, labels, f"{write.name} created")
        if new == 0 and old > 0:
            self._drained(write, labels)

    def _drained(self, write: WriteRecord, labels: Mapping[str, str]) -> None:
        for run in self._runs_in(write.namespace):
            for key in view.run_routes(run):
                vs = self._all(VIRTUAL_SERVICES).get(key)
                for share in view.shares(vs):
                    selected = self._subset(share)
                    if share.weight > 0 and selected and selected.items() <= labels.items():
                        what = f"{write.name} scaled away under {share.weight} % of traffic"
                        self._broken("I7", what, write.at)
                since = write.at - self._carried.get(key, 0.0)
                if vs is not None and since < self.drain and self._selects(run, labels):
                    what = f"{write.name} scaled away {since:.2f} s after its last traffic"
                    self._broken("I7", what, write.at)

    def _ready_behind_fence(self, write: WriteRecord) -> None:
        """I8: a canary pod that becomes an endpoint behind a plain route gets its pod share at once."""
        if view.role(write.new) == "canary" and view.is_ready(write.new) and not view.is_ready(write.old):
            labels = (write.new or {})["metadata"]["labels"]
            self._behind_fence(write, labels, f"pod {write.name} became ready")

    def _behind_fence(self, write: WriteRecord, labels: Mapping[str, str], what: str) -> None:
        for run in self._runs_in(write.namespace):
            if not self._selects(run, labels):
                continue
            for key in view.run_routes(run):
                vs = self._all(VIRTUAL_SERVICES).get(key)
                # What somebody else has just rewritten is drift, which canaryd has yet to see.
                drifted = self._writers.get(key, MANAGER) != MANAGER and write.resource == "pods"
                if not drifted and (vs is None or view.plain_to(vs, view.run_host(run))):
                    self._broken("I8", f"{what} behind a plain route", write.at)

    def _promotion(self, write: WriteRecord) -> None:
        """I5: at most one promotion per run."""
        if write.old is None or write.new is None:
            return
        if not write.old["spec"].get("paused") or write.new["spec"].get("paused"):
            return
        for run in self._runs_in(write.namespace):
            if run["spec"]["target"]["name"] != write.name or view.status(run).get("stage") != "roll":
                continue
            name = run["metadata"]["name"]
            self._promotions[name] = self._promotions.get(name, 0) + 1
            if self._promotions[name] > 1:
                self._broken("I5", f"{name} promoted {self._promotions[name]} times", write.at)

    def _rolled_back(self, write: WriteRecord) -> None:
        """I3: on failure stable has 100 % within one tick and one API deadline."""
        now, was = view.status(write.new).get("outcome"), view.status(write.old).get("outcome")
        if write.new is None or now != "RolledBack" or was == "RolledBack":
            return
        for key in view.run_routes(write.new):
            if view.canary_weight(self._all(VIRTUAL_SERVICES).get(key)) > 0:
                self._failed[key] = write.at

    def _follow_falls(self, now: float) -> None:
        for key, since in list(self._failed.items()):
            if view.canary_weight(self._all(VIRTUAL_SERVICES).get(key)) == 0:
                del self._failed[key]
            elif now - since > self.reaction:
                del self._failed[key]
                what = f"{key[1]} still sends to the canary {now - since:.1f} s after the failure"
                self._broken("I3", what, now)

    def _active(self) -> Iterator[Json]:
        for run in self._all(RUNS).values():
            if view.status(run).get("phase") not in view.ENDED:
                yield run

    def _runs_in(self, namespace: str) -> list[Json]:
        return [run for run in self._active() if run["metadata"]["namespace"] == namespace]

    def _selects(self, run: Json, labels: Mapping[str, str]) -> bool:
        """Whether pods with these labels are the canary of the run."""
        return bool(run["spec"]["revision"] == labels.get("canaryd.io/revision"))

    def _subset(self, share: view.Share) -> Mapping[str, str] | None:
        for (namespace, _), rule in self._all(DESTINATION_RULES).items():
            if view.host_of(rule["spec"]["host"], namespace) == share.host:
                found = view.subsets(rule).get(share.subset)
                if found is not None:
                    return found
        return None

    def _ready(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        return [
            name
            for (where, name), pod in self._all("pods").items()
            if where == namespace
            and labels.items() <= (pod["metadata"].get("labels") or {}).items()
            and view.is_ready(pod)
        ]

    def _ready_canaries(self, host: str) -> list[str]:
        """Ready canary pods of the runs that step `host`."""
        found = []
        for run in self._active():
            if view.run_host(run) == host:
                labels = {"canaryd.io/role": "canary", "canaryd.io/revision": run["spec"]["revision"]}
                found += self._ready(run["metadata"]["namespace"], labels)
        return found
