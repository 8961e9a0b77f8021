"""An oracle for the invariants I1-I8: it sees every committed write, and says which one broke what.

It knows the objects alone, nothing of the daemon's code, so that it cannot share its mistakes. I4 (each
write that raises the canary's share or changes a workload carries a resourceVersion) and the part of I8
that only requests can show (no request beyond the canary's share) are checked where they can be seen: by
the transport's tests and by the load generator.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver import WriteRecord

Key = tuple[str, str]

VIRTUAL_SERVICES = "virtualservices.networking.istio.io"
DESTINATION_RULES = "destinationrules.networking.istio.io"
DEPLOYMENTS = "deployments.apps"
RUNS = "canaryruns.canaryd.io"
MANAGER = "canaryd"
OURS = {"stable", "canary"}


@dataclass(frozen=True, slots=True)
class Violation:
    """A write that broke an invariant."""

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
    all traffic (one tick and one API deadline).
    """

    drain: float = 0.0
    reaction: float = 12.0
    violations: list[Violation] = field(default_factory=list)
    writes: int = 0
    _objects: dict[str, dict[Key, Json]] = field(default_factory=dict)
    _carried: dict[Key, float] = field(default_factory=dict)
    _promotions: dict[str, int] = field(default_factory=dict)
    _failed: dict[Key, float] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def see(self, write: WriteRecord) -> None:
        """One committed write, in the server's order."""
        with self._lock:
            self._follow_falls(write.at)
            if write.field_manager == MANAGER:
                self.writes += 1
                self._check(write)
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
        if write.resource == VIRTUAL_SERVICES and write.old is not None and _canary_weight(write.old) > 0:
            self._carried[key] = write.at
        if write.new is None:
            self._all(write.resource).pop(key, None)
        else:
            self._all(write.resource)[key] = write.new

    def _check(self, write: WriteRecord) -> None:
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
        for entries in _splits(write.new):
            weights = [entry.get("weight") for entry in entries]
            if not all(type(w) is int for w in weights) or sum(w for w in weights if w) != 100:
                self._broken("I1", f"{write.name}: weights {weights}", write.at)
        if write.old is None or write.new is None:
            return
        before, after = _without_routes(write.old), _without_routes(write.new)
        if before != after:
            self._broken(
                "I1", f"{write.name}: more than routes changed: {_difference(before, after)}", write.at
            )

    def _rise(self, write: WriteRecord) -> None:
        """I2: the weight rises only with a pass bound to the run, and to the weight that its status wants."""
        old = _canary_weight(write.old) if write.old else 0
        new = _canary_weight(write.new) if write.new else 0
        if new <= old:
            return
        bound = [
            run
            for run in self._all(RUNS).values()
            if _status(run).get("wanted", {}).get("weight") == new
            and _routed(run, write.namespace, write.name)
        ]
        if not bound:
            self._broken("I2", f"{write.name}: {old} -> {new} % and no run's status wants it", write.at)
            return
        status = _status(bound[0])
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
        if write.new is None:
            return
        for subset, weight in _subset_weights(write.new):
            labels = self._subset(write.namespace, subset)
            if labels is None:
                self._broken(
                    "I7", f"{write.name} names subset {subset}, which no DestinationRule has", write.at
                )
            elif weight > 0 and not self._ready(write.namespace, labels):
                self._broken("I7", f"{write.name}: {weight} % to subset {subset}, no ready pod", write.at)

    def _no_plain_route_to_canaries(self, write: WriteRecord) -> None:
        """I8: a plain route while canary pods are endpoints would send them their pod share."""
        if write.new is not None and _plain(write.new) and write.old is not None and not _plain(write.old):
            pods = self._ready(write.namespace, {"canaryd.io/role": "canary"})
            if pods:
                self._broken("I8", f"{write.name} is plain again beside canary pods {pods[:3]}", write.at)

    def _subset_in_use(self, write: WriteRecord) -> None:
        """I7: no subset is removed, or changed to pods that are not ready, under a route that uses it."""
        kept = _subsets(write.new) if write.new else {}
        for vs in self._all(VIRTUAL_SERVICES).values():
            if vs["metadata"]["namespace"] != write.namespace:
                continue
            for subset, weight in _subset_weights(vs):
                if subset not in kept and subset in OURS:
                    self._broken("I7", f"subset {subset} removed under {vs['metadata']['name']}", write.at)
                elif weight > 0 and not self._ready(write.namespace, kept[subset]):
                    self._broken("I7", f"subset {subset} ({weight} %) has no ready pod", write.at)

    def _canary_pods(self, write: WriteRecord) -> None:
        """I7, I8: canary pods come behind a fence, and go only when drained."""
        role = ((write.new or write.old or {}).get("metadata", {}).get("labels") or {}).get("canaryd.io/role")
        if role != "canary":
            return
        old = _replicas(write.old) if write.old else 0
        new = _replicas(write.new) if write.new and "deletionTimestamp" not in write.new["metadata"] else 0
        routes = [vs for vs in self._all(VIRTUAL_SERVICES).values() if self._concerns(vs, write)]
        if old == 0 and new > 0 and any(_plain(vs) for vs in routes):
            self._broken("I8", f"{write.name} created behind a plain route", write.at)
        if new > 0 or old == 0:
            return
        labels = (write.old or {})["spec"]["template"]["metadata"].get("labels") or {}
        for vs in routes:
            for subset, weight in _subset_weights(vs):
                selected = self._subset(write.namespace, subset)
                if weight > 0 and selected and selected.items() <= labels.items():
                    self._broken("I7", f"{write.name} scaled away under {weight} % of traffic", write.at)
            since = write.at - self._carried.get((vs["metadata"]["namespace"], vs["metadata"]["name"]), 0.0)
            if since < self.drain:
                self._broken("I7", f"{write.name} scaled away {since:.2f} s after its last traffic", write.at)

    def _concerns(self, vs: Json, write: WriteRecord) -> bool:
        """Whether a run of this namespace manages a route of the VirtualService."""
        meta = vs["metadata"]
        return any(
            run["metadata"]["namespace"] == write.namespace and _routed(run, meta["namespace"], meta["name"])
            for run in self._all(RUNS).values()
            if _status(run).get("phase") not in ("Succeeded", "RolledBack")
        )

    def _promotion(self, write: WriteRecord) -> None:
        """I5: at most one promotion per run."""
        if write.old is None or write.new is None:
            return
        unpaused = write.old["spec"].get("paused") and not write.new["spec"].get("paused")
        if not unpaused:
            return
        for run in self._all(RUNS).values():
            status, spec = _status(run), run["spec"]
            if spec["target"]["name"] != write.name or status.get("stage") != "roll":
                continue
            name = run["metadata"]["name"]
            self._promotions[name] = self._promotions.get(name, 0) + 1
            if self._promotions[name] > 1:
                self._broken("I5", f"{name} promoted {self._promotions[name]} times", write.at)

    def _rolled_back(self, write: WriteRecord) -> None:
        """I3: on failure stable has 100 % within one tick and one API deadline."""
        if write.new is None:
            return
        was = _status(write.old).get("outcome") if write.old else None
        if _status(write.new).get("outcome") == "RolledBack" and was != "RolledBack":
            for vs in self._all(VIRTUAL_SERVICES).values():
                meta = vs["metadata"]
                if _routed(write.new, meta["namespace"], meta["name"]) and _canary_weight(vs) > 0:
                    self._failed[(meta["namespace"], meta["name"])] = write.at

    def _follow_falls(self, now: float) -> None:
        for key, since in list(self._failed.items()):
            vs = self._all(VIRTUAL_SERVICES).get(key)
            if vs is None or _canary_weight(vs) == 0:
                del self._failed[key]
            elif now - since > self.reaction:
                del self._failed[key]
                self._broken(
                    "I3", f"{key[1]} still sends to the canary {now - since:.1f} s after the failure", now
                )

    def _subset(self, namespace: str, name: str) -> Mapping[str, str] | None:
        for rule in self._all(DESTINATION_RULES).values():
            if rule["metadata"]["namespace"] == namespace and name in _subsets(rule):
                return _subsets(rule)[name]
        return None

    def _ready(self, namespace: str, labels: Mapping[str, str]) -> list[str]:
        return [
            name
            for (where, name), pod in self._all("pods").items()
            if where == namespace
            and labels.items() <= (pod["metadata"].get("labels") or {}).items()
            and "deletionTimestamp" not in pod["metadata"]
            and any(
                c.get("type") == "Ready" and c.get("status") == "True"
                for c in (pod.get("status") or {}).get("conditions") or []
            )
        ]


def _status(run: Json | None) -> Json:
    return (run or {}).get("status") or {}


def _routed(run: Json, namespace: str, name: str) -> bool:
    return any(
        (route["virtualService"]["namespace"], route["virtualService"]["name"]) == (namespace, name)
        for route in _status(run).get("routes") or []
    )


def _replicas(deployment: Json) -> int:
    return int(deployment["spec"].get("replicas", 1))


def _subsets(rule: Json) -> dict[str, Mapping[str, str]]:
    return {s["name"]: s.get("labels") or {} for s in rule["spec"].get("subsets") or []}


def _entries(vs: Json) -> Iterator[list[Json]]:
    for route in vs["spec"].get("http") or []:
        yield route.get("route") or []


def _splits(vs: Json | None) -> Iterator[list[Json]]:
    for entries in _entries(vs) if vs else ():
        if {entry["destination"].get("subset") for entry in entries} == OURS:
            yield entries


def _subset_weights(vs: Json) -> Iterator[tuple[str, int]]:
    """(subset, weight) of every destination that names one; a lone destination has all traffic."""
    for entries in _entries(vs):
        for entry in entries:
            subset = entry["destination"].get("subset")
            if subset in OURS:
                yield subset, 100 if len(entries) == 1 else entry.get("weight") or 0


def _canary_weight(vs: Json) -> int:
    return max((weight for subset, weight in _subset_weights(vs) if subset == "canary"), default=0)


def _plain(vs: Json) -> bool:
    return any(len(entries) == 1 and not entries[0]["destination"].get("subset") for entries in _entries(vs))


def _without_routes(vs: Json) -> Any:
    copy = json.loads(json.dumps({k: v for k, v in vs.items() if k != "status"}))
    for field_ in ("resourceVersion", "generation", "managedFields"):
        copy["metadata"].pop(field_, None)
    for route in copy["spec"].get("http") or []:
        route.pop("route", None)
    return copy


def _difference(before: Json, after: Json) -> str:
    changed = [k for k in {*before, *after} if before.get(k) != after.get(k)]
    return ", ".join(sorted(changed))
