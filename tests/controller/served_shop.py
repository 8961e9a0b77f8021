"""Applications on the sandbox's API server with canaryd in this process: no node, no mesh, no Prometheus.

The controllers are the sandbox's; `Served` itself turns pods ready, and canaryd reads as many requests per tick
as the judge needs, of two versions that fail alike.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, cast

from analysis import Counts, Interval
from analysis.intervals import Outcome, Pending, RunQuery
from canaryd.cluster.errors import AlreadyExists, Conflict, NotFound
from canaryd.cluster.resources import (
    CANARYRUNS,
    DEPLOYMENTS,
    DESTINATIONRULES,
    EVENTS,
    NAMESPACES,
    PODS,
    SERVICES,
    VIRTUALSERVICES,
    Json,
)
from canaryd.cluster.transport import Api
from canaryd.controller.daemon import Daemon
from canaryd.sandbox.apiserver import ApiServer, RequestInfo, WriteRecord
from canaryd.sandbox.controllers.controllers import Controllers
from canaryd.sandbox.crds import canaryrun, install, istio
from canaryd.sandbox.oracle import Oracle
from config import Policy
from config.settings import PrometheusSettings, Settings

REQUESTS = 20_000  # that every reading finds, of both versions together
QUICK = Policy(
    name="quick", steps=(50, 100), step_min=1.0, deadline=600.0, ready_timeout=30.0, warm_up=0.0, min_judged=0.0,
    harm_budget=1e6, drain_limit=0.0, latency_weight=0.0,
)  # fmt: skip
SETTINGS = Settings(
    prometheus=PrometheusSettings(scrape_interval=0.05), tick=0.1, settle=0.05, workers=4,
    default_policy="quick", policies={"quick": QUICK},
)  # fmt: skip
WriteHook = Callable[[WriteRecord], bool]


class Readings:
    """Stands where the IntervalBuilder does: one interval per tick, one request in a hundred fails."""

    def __init__(self) -> None:
        self._ends: dict[str, float] = {}

    def tick(self, runs: Sequence[RunQuery], at: float) -> Mapping[str, Outcome]:
        return {run.run_id: self._outcome(run, at) for run in runs}

    def _outcome(self, run: RunQuery, at: float) -> Outcome:
        if run.settled_since is None or run.settled_since >= at:
            return Pending("BaseLine", "the weight has not settled")
        start = max(run.settled_since, self._ends.get(run.run_id, 0.0))
        self._ends[run.run_id] = at
        canary = round(REQUESTS * run.weight)
        return Interval(start, at, run.weight, {"c": _served(canary)}, {"b": _served(REQUESTS - canary)})


def _served(requests: int) -> Counts:
    return Counts(requests, requests // 100)


@dataclass(frozen=True)
class App:
    """One application: a Deployment with its Service, both called `name`, in a namespace."""

    api: Api
    namespace: str = "shop"
    name: str = "checkout"

    def deployment(self, image: str, **annotations: str) -> Json:
        labels = {"app": self.name}
        named = {f"canaryd.io/{key}": value for key, value in annotations.items()}
        return {
            "metadata": {"name": self.name, "annotations": named or {"canaryd.io/enabled": "true"}},
            "spec": {
                "replicas": 2,
                "selector": {"matchLabels": labels},
                "template": {
                    "metadata": {"labels": labels},
                    "spec": {"containers": [{"name": "app", "image": image}]},
                },
            },
        }

    @property
    def route(self) -> Json:
        """Its route as its owner writes it."""
        match = [{"uri": {"prefix": f"/{self.name}"}}]
        route = [{"destination": {"host": self.name}}]
        return {"name": self.name, "timeout": "5s", "match": match, "route": route}

    def create(self, image: str = "v1", **annotations: str) -> None:
        """The Deployment alone."""
        self.api.create(DEPLOYMENTS, self.namespace, self.deployment(image, **annotations))

    def install(self, **annotations: str) -> None:
        """Deployment and Service."""
        spec = {"selector": {"app": self.name}, "ports": [{"name": "http", "port": 80}]}
        self.api.create(SERVICES, self.namespace, {"metadata": {"name": self.name}, "spec": spec})
        self.create(**annotations)

    def release(self, image: str) -> None:
        body = {"spec": {"template": {"spec": {"containers": [{"name": "app", "image": image}]}}}}
        self.patch(body, kind="strategic", field_manager="kubectl-set")

    def annotate(self, **annotations: str | None) -> None:
        named = {f"canaryd.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
        self.patch({"metadata": {"annotations": named}}, field_manager="kubectl-annotate")

    def patch(self, body: Json, **how: Any) -> None:
        self.api.patch(DEPLOYMENTS, self.namespace, self.name, body, **how)

    def delete(self) -> None:
        self.api.delete(DEPLOYMENTS, self.namespace, self.name)

    @property
    def raw(self) -> Json:
        return self.api.get(DEPLOYMENTS, self.namespace, self.name)

    @property
    def image(self) -> str:
        return str(self.raw["spec"]["template"]["spec"]["containers"][0]["image"])

    @property
    def at_rest(self) -> bool:
        """All pods are of the template, and the gate is closed."""
        raw = self.raw
        status = raw.get("status") or {}
        counts = [status.get(key) for key in ("replicas", "updatedReplicas", "readyReplicas")]
        return raw["spec"].get("paused", False) and counts == [raw["spec"]["replicas"]] * 3

    @property
    def runs(self) -> list[Json]:
        """The earliest first; those whose first status is written."""
        runs = self.api.list(CANARYRUNS, self.namespace)[0]
        mine = [run for run in runs if run["spec"]["target"]["name"] == self.name and run.get("status")]
        return sorted(mine, key=lambda run: run["status"]["times"]["created"])

    @property
    def status(self) -> Json:
        """Of the newest run; empty without one."""
        runs = self.runs
        return cast(Json, runs[-1]["status"]) if runs else {}

    @property
    def stage(self) -> str:
        return str(self.status.get("stage", ""))

    @property
    def canaries(self) -> list[str]:
        """Deployments that canaryd made."""
        found = self.api.list(DEPLOYMENTS, self.namespace, labels="canaryd.io/role=canary")[0]
        return sorted(each["metadata"]["name"] for each in found)

    @property
    def rules(self) -> list[Json]:
        return self.api.list(DESTINATIONRULES, self.namespace)[0]

    @property
    def virtual_service(self) -> Json:
        """The one of the namespace."""
        (found,) = self.api.list(VIRTUALSERVICES, self.namespace)[0]
        return found

    @property
    def nothing_made(self) -> bool:
        """Nothing of canaryd's is left in the namespace."""
        return not self.canaries and not self.rules

    @property
    def is_clean(self) -> bool:
        """And its routes are as their owner wrote them."""
        return self.nothing_made and self.route in self.virtual_service["spec"]["http"]

    @property
    def events(self) -> list[tuple[str, str]]:
        """(reason, message) of what was said about the Deployment."""
        return [
            (event["reason"], event["message"])
            for event in self.api.list(EVENTS, self.namespace)[0]
            if event["involvedObject"]["kind"] == "Deployment"
            and event["involvedObject"]["name"] == self.name
        ]


class Served:
    """The cluster, its pods' readiness, and canaryd that can be started, stopped and killed in it."""

    def __init__(self, server: ApiServer, folder: Path) -> None:
        self.server = server
        self.oracle = Oracle()
        server.on_write(self.oracle.see)
        self.unready: set[str] = set()  # images whose pods do not turn ready unless they are a canary's
        self._config = str(server.kubeconfig(folder / "kubeconfig"))
        self.api = Api.connect(self._config, user_agent="tester")
        self._daemon: Daemon | None = None
        self._own: Api | None = None

    def app(self, name: str = "checkout", *, namespace: str = "shop") -> App:
        with suppress(AlreadyExists):
            self.api.create(NAMESPACES, None, {"metadata": {"name": namespace}})
        return App(self.api, namespace, name)

    def route(self, *apps: App, manager: str) -> Json:
        """One VirtualService, called as the first of `apps`, with a route for each."""
        first = apps[0]
        spec = {"hosts": [app.name for app in apps], "http": [app.route for app in apps]}
        body = {"metadata": {"name": first.name}, "spec": spec}
        with closing(Api.connect(self._config, user_agent=manager)) as api:
            return api.create(VIRTUALSERVICES, first.namespace, body)

    def installed(self, *names: str, **settings: Any) -> list[App]:
        """Applications at rest at v1 that share a VirtualService of helm's, called as the first of them."""
        apps = [self.app(name) for name in names]
        for app in apps:
            app.install()
        self.route(*apps, manager="helm")
        self.start(**settings)
        for app in apps:
            self.wait(f"{app.name} at rest", lambda app=app: app.at_rest)  # type: ignore[misc]
        return apps

    def to_half(self, app: App) -> None:
        """A release of v2 that waits at 50 %."""
        app.annotate(pause="true")
        app.release("v2")
        self.wait(f"{app.name} at 50 %", lambda: app.status.get("hold") == "Paused")

    def abort(self, app: App) -> None:
        app.annotate(abort="true")
        self.wait(f"the end of {app.name}'s run", lambda: app.stage == "done")

    # canaryd ----------------------------------------------------------------------------------------

    def start(self, **settings: Any) -> None:
        self._own = Api.connect(self._config, user_agent="canaryd", pool=24)
        self._daemon = Daemon(
            self._own, replace(SETTINGS, **settings), cast(Any, Readings()), lambda queries, at: {}
        )
        self._daemon.start()

    def stop(self) -> None:
        if self._daemon is not None and self._own is not None:
            self._daemon.stop()
            self._own.close()
        self._daemon = None

    def refuse(
        self, refused: Callable[[RequestInfo], bool], *, status: int = 500, reason: str = "InternalError"
    ) -> None:
        """The API server fails these requests of canaryd's from now on; `allow` ends that."""
        failure: Json = {"kind": "Status", "apiVersion": "v1", "code": status, "reason": reason}
        self.server.reject = lambda info: (
            (status, failure) if info.user_agent.startswith("canaryd") and refused(info) else None
        )

    def allow(self) -> None:
        self.server.reject = None

    @contextmanager
    def killed_after(self, write: WriteHook, what: str) -> Iterator[None]:
        """canaryd dies when a write of its own is done for which `write` is true; `with` holds what leads there."""
        dead = threading.Event()

        def see(record: WriteRecord) -> None:
            if not dead.is_set() and record.user_agent.startswith("canaryd") and write(record):
                dead.set()

        self.server.on_write(see)
        self.refuse(lambda info: dead.is_set() and info.verb not in ("get", "list", "watch"))
        yield
        self.wait(f"canaryd dies: {what}", dead.is_set)
        self.stop()
        self.allow()

    @property
    def violations(self) -> list[str]:
        """Invariants that canaryd's writes broke."""
        return [str(violation) for violation in self.oracle.finish(time.time())]

    # the world goes on ------------------------------------------------------------------------------

    def wait(self, what: str, holds: Callable[[], object], within: float = 30.0) -> None:
        """Plays the node until it holds."""
        deadline = time.monotonic() + within
        while not holds():
            assert time.monotonic() < deadline, f"not within {within:.0f} s: {what}"
            self.play_node()
            time.sleep(0.02)

    def stays(self, holds: Callable[[], object], seconds: float = 1.0) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            assert holds()
            self.play_node()
            time.sleep(0.02)

    def play_node(self) -> None:
        """What a kubelet does, once: new pods turn ready, deleted ones go."""
        for pod in self.api.list(PODS)[0]:
            meta = pod["metadata"]
            try:
                if "deletionTimestamp" in meta:
                    self.api.delete(PODS, meta["namespace"], meta["name"], uid=meta["uid"], grace=0)
                elif not pod.get("status", {}).get("conditions") and self._turns_ready(pod):
                    self._ready(pod)
            except (NotFound, Conflict):
                continue

    def _turns_ready(self, pod: Json) -> bool:
        image = pod["spec"]["containers"][0]["image"]
        return image not in self.unready or "canaryd.io/role" in pod["metadata"]["labels"]

    def _ready(self, pod: Json) -> None:
        meta = pod["metadata"]
        now = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        condition = {"type": "Ready", "status": "True", "lastTransitionTime": now}
        status = {"phase": "Running", "podIP": "127.0.0.9", "conditions": [condition]}
        self.api.patch(
            PODS,
            meta["namespace"],
            meta["name"],
            {"status": status},
            subresource="status",
            field_manager="kubelet",
        )


@contextmanager
def served(folder: Path) -> Iterator[Served]:
    """A cluster, canaryd not started in it yet."""
    with ApiServer() as server:
        cluster = Served(server, folder)
        install(cluster.api, [canaryrun(), *istio()])
        controllers = Controllers(cluster.api)
        controllers.start()
        try:
            yield cluster
        finally:
            cluster.allow()
            cluster.stop()
            controllers.stop()
            cluster.api.close()
