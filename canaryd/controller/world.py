"""Reading the world for one decision: mostly from the caches, from the API where a stage asks for more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from canaryd.cluster.errors import ApiError, NotFound, NotServed
from canaryd.cluster.resources import PODS, Json, Resource
from canaryd.cluster.transport import Api
from canaryd.cluster.workloads import (
    canary_view,
    deployment_view,
    images,
    owned_by,
    ready,
    replicaset_view,
)
from canaryd.controller.caches import Caches
from canaryd.controller.preflight import Snapshot, examine
from canaryd.domain.model import Run, Stage
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
from canaryd.mesh import destinationrule
from canaryd.mesh import virtualservice as vs_
from config.settings import Settings

CLAIMS = Resource("", "v1", "persistentvolumeclaims", "PersistentVolumeClaim")
FLAGGER = Resource("flagger.app", "v1beta1", "canaries", "Canary")
WAYS = (
    Resource("gateway.networking.k8s.io", "v1", "httproutes", "HTTPRoute"),
    Resource("gateway.networking.k8s.io", "v1", "grpcroutes", "GRPCRoute"),
    Resource("networking.k8s.io", "v1", "ingresses", "Ingress"),
)
ROLLOUTS = Resource("argoproj.io", "v1alpha1", "rollouts", "Rollout")


class WorldReader:
    """Builds the `World` of a run."""

    def __init__(self, api: Api, caches: Caches, settings: Settings) -> None:
        self._api = api
        self._caches = caches
        self._settings = settings
        self.terms = Terms(
            settle=settings.settle,
            scrape=settings.prometheus.scrape_interval,
            tick=settings.tick,
            rest_paused=settings.gate == "standing-pause",
        )

    def deployment(
        self, namespace: str, name: str
    ) -> tuple[Json | None, DeploymentView | None, list[ReplicaSetView]]:
        """The Deployment, raw and read, with its ReplicaSets."""
        raw = self._caches.deployments.get((namespace, name))
        if raw is None:
            return None, None, []
        sets = self._caches.replicasets_of(raw)
        views = [replicaset_view(rs) for rs in sets]
        serving = [rs for rs, view in zip(sets, views, strict=True) if view.replicas > 0]
        return raw, deployment_view(raw, serving[0] if len(serving) == 1 else None), views

    def world(self, run: Run, measured: Measured) -> World:
        """Everything that the next decision of `run` depends on."""
        raw, deployment, sets = self.deployment(run.namespace, run.target.name)
        if deployment is not None and run.target.uid and deployment.uid != run.target.uid:
            raw, deployment, sets = None, None, []
        rule = self._caches.destinationrules.get((run.namespace, destinationrule.rule_name(run.service)))
        return World(
            terms=self.terms,
            deployment=deployment,
            replicasets=tuple(sets),
            images=self._images(raw) if raw is not None and run.stage is Stage.ROLL else frozenset(),
            # A run of the carrier's own revision has no canary besides it.
            canary=self._canary(run.namespace, run.canary_name, run.revision)
            if run.canary_name != run.carrier
            else None,
            carrier=self._canary(run.namespace, run.carrier, run.stable.revision)
            if run.carrier and run.stable
            else None,
            routes=self._routes(run),
            subsets=destinationrule.subsets(rule),
            ground=self.ground(raw, carried=bool(run.carrier))
            if run.stage is Stage.PREFLIGHT and raw is not None
            else None,
            measured=measured,
        )

    def _canary(self, namespace: str, name: str, revision: str) -> CanaryView | None:
        raw = self._caches.deployments.get((namespace, name))
        pods = self._caches.pods_of_canary(namespace, revision)
        if raw is not None:
            return canary_view(raw, pods)
        left = tuple(p["metadata"]["name"] for p in pods if "deletionTimestamp" not in p["metadata"])
        # Its Deployment is gone, its pods are still endpoints until the garbage collector reaches them.
        return CanaryView(0, sum(map(ready, pods)), left, deleting=True) if left else None

    def _routes(self, run: Run) -> tuple[RouteView, ...]:
        return tuple(
            vs_.view(self._caches.virtualservices.get((ref.namespace, ref.name)), ref, run.host, run.routes)
            for ref in run.routes
        )

    def _images(self, deployment: Json) -> frozenset[str]:
        """Image ids of the Deployment's own pods."""
        uids = {rs["metadata"]["uid"] for rs in self._caches.replicasets_of(deployment)}
        pods, _ = self._api.list(PODS, deployment["metadata"]["namespace"], labels=_selector(deployment))
        return images(pod for pod in pods if any(owned_by(pod, uid) for uid in uids))

    def ground(self, deployment: Json, *, carried: bool = False) -> Ground:
        """Preflight: a few calls to the API, made once per run and again while a check fails."""
        namespace = deployment["metadata"]["namespace"]
        sets = self._caches.replicasets_of(deployment)
        pods, _ = self._api.list(PODS, namespace)
        snapshot = Snapshot(
            deployment=deployment,
            serving=[rs for rs in sets if replicaset_view(rs).replicas > 0],
            pods=pods,
            services=[s for s in self._caches.services.items() if s["metadata"]["namespace"] == namespace],
            virtualservices=list(self._caches.virtualservices.items()),
            destinationrules=list(self._caches.destinationrules.items()),
            claims=self._claims(deployment),
            others=self._other_controllers(deployment),
            ways=[way for kind in WAYS for way in self._listed(kind, namespace)],
            carried=carried,
        )
        settings = self._settings
        return examine(snapshot, settings.policies, settings.default_policy, settings.root_namespace)

    def _claims(self, deployment: Json) -> list[Json]:
        volumes = deployment["spec"]["template"]["spec"].get("volumes") or []
        names = [v["persistentVolumeClaim"]["claimName"] for v in volumes if v.get("persistentVolumeClaim")]
        found = []
        for name in names:
            try:
                found.append(self._api.get(CLAIMS, deployment["metadata"]["namespace"], name))
            except NotFound:
                continue
        return found

    def _other_controllers(self, deployment: Json) -> Sequence[str]:
        """Flagger's Canaries and Argo's Rollouts that refer to this Deployment."""
        meta = deployment["metadata"]
        found = []
        for resource, field in ((FLAGGER, "targetRef"), (ROLLOUTS, "workloadRef")):
            for obj in self._listed(resource, meta["namespace"]):
                ref: Mapping[str, str] = obj.get("spec", {}).get(field) or {}
                if ref.get("kind") == "Deployment" and ref.get("name") == meta["name"]:
                    found.append(f"{resource.kind} {obj['metadata']['name']} ({resource.group})")
        return found

    def _listed(self, resource: Resource, namespace: str) -> list[Json]:
        try:
            return self._api.list(resource, namespace)[0]
        except (NotServed, NotFound):
            return []
        except ApiError as error:
            if error.status == 403:
                return []
            raise


def _selector(deployment: Json) -> str:
    labels = deployment["spec"]["selector"].get("matchLabels") or {}
    return ",".join(f"{key}={value}" for key, value in labels.items())
