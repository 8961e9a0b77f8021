"""Carrying out what `converge` says is due. Every write is idempotent, or carries a resourceVersion."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from canaryd.cluster.errors import AlreadyExists, NotFound
from canaryd.cluster.resources import CANARYRUNS, DEPLOYMENTS, POD_TEMPLATES, Json, key_of
from canaryd.cluster.runs import TARGET_LABEL, target_label
from canaryd.cluster.transport import Api
from canaryd.cluster.workloads import revision, template_without_hash
from canaryd.controller.caches import Caches
from canaryd.domain.converge import (
    DeleteCanary,
    Effect,
    OwnCarrier,
    PutCanary,
    PutSubsets,
    PutTemplate,
    PutTraffic,
    SetPaused,
)
from canaryd.domain.model import Form, Run
from canaryd.mesh import destinationrule, ownership
from canaryd.mesh.writer import MeshWriter

REVISION_LABEL = "canaryd.io/revision"
MANAGED_BY = {"app.kubernetes.io/managed-by": "canaryd"}


class TemplateLostError(Exception):
    """The template of a revision is nowhere to be found: its ReplicaSet and its record are gone."""


class Effects:
    """Performs effects for runs."""

    def __init__(self, api: Api, caches: Caches, root_namespace: str) -> None:
        self._api = api
        self._caches = caches
        self._mesh = MeshWriter(api, root_namespace, caches.virtualservices.saw, caches.destinationrules.saw)

    def perform(self, run: Run, effect: Effect, version: str) -> None:
        """One write. Raises ApiError; what was raced by another writer is decided anew at the next tick.

        version: the resourceVersion of the user's Deployment that the effect was decided on.
        """
        match effect:
            case PutTraffic(ref, traffic):
                cached = self._caches.virtualservices.get((ref.namespace, ref.name))
                self._mesh.put_traffic(ref, run.host, traffic, cached, owner(run), siblings=run.routes)
            case PutSubsets(subsets):
                self._put_subsets(run, dict(subsets))
            case SetPaused(paused):
                self.set_paused(run.namespace, run.target.name, paused, version)
            case PutTemplate(wanted, paused):
                self.put_template(run.namespace, run.target.name, wanted, version, paused=paused)
            case PutCanary(replicas, create):
                self._put_canary(run, replicas, create=create)
            case OwnCarrier(name):
                self._own(run, name)
            case DeleteCanary(name):
                self._delete_deployment(run.namespace, name)

    def give_back(self, vs: Json, runs: Iterable[Run]) -> None:
        """Field ownership of the routes of `vs` as it was before all `runs`, unless one of them needs them still."""
        runs = sorted(runs, key=lambda run: run.created, reverse=True)
        if not ownership.is_held(vs) or ownership.is_ours(vs) or _moves(vs, runs):
            return
        self._mesh.give_back(vs, ownership.before(vs, (ref for run in runs for ref in run.routes)))

    def _put_subsets(self, run: Run, subsets: dict[str, Any]) -> None:
        key = (run.namespace, destinationrule.rule_name(run.service))
        self._mesh.put_subsets(
            run.service,
            run.namespace,
            run.host,
            subsets,
            self._caches.destinationrules.items(),
            self._caches.destinationrules.get(key),
            owner(run),
        )

    def set_paused(self, namespace: str, name: str, paused: bool, version: str) -> None:
        """Open the gate for `version` and no other; close it on the newest that was read: any may be held."""
        if paused:
            version = self._deployment(namespace, name)["metadata"]["resourceVersion"]
        change = {"metadata": {"resourceVersion": version}, "spec": {"paused": paused}}
        self._caches.deployments.saw(self._api.patch(DEPLOYMENTS, namespace, name, change))

    def put_template(self, namespace: str, name: str, wanted: str, version: str, *, paused: bool) -> None:
        """The template of revision `wanted` and `paused`, in one patch of `version`: nothing rolls in between."""
        deployment = self._deployment(namespace, name)
        operations: list[Json] = [
            {"op": "test", "path": "/metadata/resourceVersion", "value": version},
            {"op": "add", "path": "/spec/paused", "value": paused},
        ]
        if revision(deployment["spec"]["template"]) != wanted:
            template = self._template(deployment, wanted)
            operations.insert(1, {"op": "replace", "path": "/spec/template", "value": template})
        self._caches.deployments.saw(self._api.patch(DEPLOYMENTS, namespace, name, operations, kind="json"))

    def _template(self, deployment: Json, wanted: str) -> Json:
        for rs in self._caches.replicasets_of(deployment):
            if revision(rs["spec"]["template"]) == wanted:
                return template_without_hash(rs["spec"]["template"])
        namespace = deployment["metadata"]["namespace"]
        kept, _ = self._api.list(POD_TEMPLATES, namespace, labels=f"{REVISION_LABEL}={wanted}")
        for record in kept:
            if revision(record["template"]) == wanted:
                return template_without_hash(record["template"])
        raise TemplateLostError(
            f"the template of revision {wanted} of {namespace}/{deployment['metadata']['name']} is gone"
        )

    def _deployment(self, namespace: str, name: str) -> Json:
        cached = self._caches.deployments.get((namespace, name))
        return cached if cached is not None else self._api.get(DEPLOYMENTS, namespace, name)

    def _put_canary(self, run: Run, replicas: int, *, create: bool) -> None:
        if create:
            deployment = self._deployment(run.namespace, run.target.name)
            if revision(deployment["spec"]["template"]) != run.revision:
                return  # superseded meanwhile: the next look says so
            body = canary_deployment(run, deployment, replicas)
            try:
                self._caches.deployments.saw(self._api.create(DEPLOYMENTS, run.namespace, body))
            except AlreadyExists:
                self._caches.deployments.saw(self._api.get(DEPLOYMENTS, run.namespace, run.canary_name))
            return
        canary = self._deployment(run.namespace, run.canary_name)
        change = {
            "metadata": {"resourceVersion": canary["metadata"]["resourceVersion"]},
            "spec": {"replicas": replicas},
        }
        self._caches.deployments.saw(self._api.patch(DEPLOYMENTS, run.namespace, run.canary_name, change))

    def _own(self, run: Run, name: str) -> None:
        carrier = self._deployment(run.namespace, name)
        change = {
            "metadata": {
                "resourceVersion": carrier["metadata"]["resourceVersion"],
                "ownerReferences": [owner(run)],
            }
        }
        self._caches.deployments.saw(self._api.patch(DEPLOYMENTS, run.namespace, name, change))

    def _delete_deployment(self, namespace: str, name: str) -> None:
        cached = self._caches.deployments.get((namespace, name))
        if cached is None:
            return
        try:
            # Background, said aloud: an orphaned ReplicaSet would be adopted by the user's Deployment.
            self._api.delete(
                DEPLOYMENTS, namespace, name, uid=cached["metadata"]["uid"], propagation="Background"
            )
        except NotFound:
            return

    def keep_template(self, run: Run) -> None:
        """Keep the revision's template with the run, as a PodTemplate that goes when the run goes."""
        deployment = self._deployment(run.namespace, run.target.name)
        if revision(deployment["spec"]["template"]) != run.revision:
            return
        body = {
            "metadata": {
                "name": run.name,
                "namespace": run.namespace,
                "labels": {
                    **MANAGED_BY,
                    TARGET_LABEL: target_label(run.target.name),
                    REVISION_LABEL: run.revision,
                },
                "ownerReferences": [owner(run)],
            },
            "template": template_without_hash(deployment["spec"]["template"]),
        }
        try:
            self._api.create(POD_TEMPLATES, run.namespace, body)
        except AlreadyExists:
            return


def _moves(vs: Json, runs: Iterable[Run]) -> bool:
    """Whether a run has traffic of the VirtualService under way."""
    return any(
        run.active
        and run.wanted.traffic.form is not Form.PLAIN
        and key_of(vs) in [(ref.namespace, ref.name) for ref in run.routes]
        for run in runs
    )


def owner(run: Run) -> Json:
    """The run as the owner of what is made for it: gone with it, whatever happens to canaryd."""
    return {
        "apiVersion": CANARYRUNS.api_version,
        "kind": CANARYRUNS.kind,
        "name": run.name,
        "uid": run.uid,
        "controller": True,
        "blockOwnerDeletion": True,
    }


def canary_deployment(run: Run, deployment: Json, replicas: int) -> Json:
    """The canary: the new template under a name and labels of its own, so that nothing adopts its pods."""
    spec = deployment["spec"]
    template = template_without_hash(spec["template"])
    marks = {**run.canary_labels, "canaryd.io/run": run.name}
    pod_labels = {**(template["metadata"].get("labels") or {}), **marks}
    selector = {
        **spec["selector"],
        "matchLabels": {**(spec["selector"].get("matchLabels") or {}), **run.canary_labels},
    }
    kept = ("minReadySeconds", "progressDeadlineSeconds")
    return {
        "metadata": {
            "name": run.canary_name,
            "namespace": run.namespace,
            "labels": {
                **(deployment["metadata"].get("labels") or {}),
                **MANAGED_BY,
                **marks,
                TARGET_LABEL: target_label(run.target.name),
            },
            "ownerReferences": [owner(run)],
        },
        "spec": {
            **{key: spec[key] for key in kept if key in spec},
            "replicas": replicas,
            "selector": selector,
            "template": {
                **template,
                "metadata": {**template["metadata"], "labels": pod_labels},
                "spec": _with_role(template["spec"]),
            },
        },
    }


def _with_role(spec: Json) -> Json:
    """Workers and leaders act at once whatever the weight: they are told that they are a canary."""
    role = {"name": "CANARYD_ROLE", "value": "canary"}
    containers = [
        c
        if any(e.get("name") == "CANARYD_ROLE" for e in c.get("env") or [])
        else {**c, "env": [*(c.get("env") or []), role]}
        for c in spec["containers"]
    ]
    return {**spec, "containers": containers}
