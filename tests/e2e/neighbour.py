"""Another application in the same cluster, with one pod and no users: what people do to it, what it shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from canaryd.cluster.resources import CANARYRUNS, DEPLOYMENTS, EVENTS, PODS, Json
from canaryd.sandbox.cluster import Sandbox
from canaryd.sandbox.scenarios import BASE
from canaryd.sandbox.shop import MANAGED, Shop


@dataclass(frozen=True, slots=True)
class Neighbour:
    """An application of its own namespace."""

    box: Sandbox
    shop: Shop

    def install(self, annotations: Mapping[str, str] = MANAGED) -> None:
        self.shop.install(self.box.api, 1, {**BASE, "VERSION": "v1"}, annotations)

    def release(self, version: str, env: Mapping[str, str] = BASE) -> None:
        self.shop.release(self.box.api, {**env, "VERSION": version})

    def annotate(self, **annotations: str | None) -> None:
        self.shop.annotate(self.box.api, **annotations)

    def unpause(self) -> None:
        """`kubectl rollout resume`."""
        body = {"spec": {"paused": False}}
        api = self.box.api
        api.patch(DEPLOYMENTS, self.shop.namespace, self.shop.name, body, field_manager="kubectl-rollout")

    @property
    def runs(self) -> list[Json]:
        """The earliest first."""
        runs = self.box.api.list(CANARYRUNS, self.shop.namespace)[0]
        return sorted(
            (run for run in runs if run.get("status")), key=lambda run: run["status"]["times"]["created"]
        )

    @property
    def status(self) -> Json:
        """Of the newest run; empty without one."""
        runs = self.runs
        status: Json = runs[-1]["status"] if runs else {}
        return status

    @property
    def weight(self) -> int:
        """The weight that the newest run wants, in percent."""
        return int(self.status.get("weight", {}).get("wanted", 0))

    @property
    def phase(self) -> str:
        return str(self.status.get("phase", ""))

    @property
    def condition(self) -> str:
        """The message of the newest run's Preflight condition."""
        conditions = self.status.get("conditions") or []
        return next((str(c["message"]) for c in conditions if c["type"] == "Preflight"), "")

    @property
    def events(self) -> list[str]:
        """What was said about the Deployment."""
        return [
            str(event["message"])
            for event in self.box.api.list(EVENTS, self.shop.namespace)[0]
            if event["involvedObject"]["kind"] == "Deployment"
        ]

    @property
    def paused(self) -> bool:
        return bool(self.shop.get(self.box.api)["spec"].get("paused"))

    @property
    def wanted(self) -> str:
        """The version in the Deployment's template."""
        return _version(self.shop.get(self.box.api)["spec"]["template"])

    @property
    def serving(self) -> set[str]:
        """The versions of the ready pods that are no canaries."""
        return {
            _version(pod)
            for pod in self.box.api.list(PODS, self.shop.namespace, labels="!canaryd.io/role")[0]
            if any(
                c["type"] == "Ready" and c["status"] == "True" for c in pod["status"].get("conditions") or []
            )
            and "deletionTimestamp" not in pod["metadata"]
        }

    @property
    def at_rest(self) -> bool:
        """Installed, served by all its pods, its gate closed."""
        ready = (self.shop.get(self.box.api).get("status") or {}).get("readyReplicas", 0)
        return ready == 1 and self.paused


def _version(template: Json) -> str:
    return str(template["spec"]["containers"][0]["image"]).rpartition(":")[2]
