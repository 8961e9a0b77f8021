"""A shop that is ready for a release: one Deployment, its running ReplicaSet, pods, and a Service."""

from __future__ import annotations

import copy
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.controller.preflight import Snapshot, examine
from canaryd.domain.world import Ground
from config import SHIPPED

LABELS = {"app": "checkout", "tier": "web"}


def template(image: str = "checkout:2", **spec: Any) -> Json:
    """A pod template; `labels` among the keywords replaces the labels."""
    labels = spec.pop("labels", LABELS)
    return {
        "metadata": {"labels": dict(labels)},
        "spec": {"containers": [{"name": "app", "image": image}], **spec},
    }


def deployment(made: Json | None = None, *, annotations: Json | None = None, **spec: Any) -> Json:
    """The user's Deployment, whose template is the new one."""
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {
            "name": "checkout",
            "namespace": "shop",
            "uid": "d-1",
            "resourceVersion": "7",
            "labels": {"team": "payments"},
            "annotations": {"canaryd.io/enabled": "true", **(annotations or {})},
        },
        "spec": {
            "replicas": 2,
            "paused": True,
            "selector": {"matchLabels": {"app": "checkout"}},
            "template": made or template(),
            **spec,
        },
    }


def replicaset(name: str = "checkout-old", made: Json | None = None, *, uid: str = "rs-1") -> Json:
    """A ReplicaSet with pods; its template is the running one."""
    made = copy.deepcopy(made or template("checkout:1"))
    made["metadata"]["labels"]["pod-template-hash"] = name
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": uid, "labels": made["metadata"]["labels"]},
        "spec": {"replicas": 2, "template": made},
        "status": {"replicas": 2, "readyReplicas": 2},
    }


def pod(
    name: str, owner: str = "rs-1", *, ready: bool = True, labels: Json | None = None, **meta: Any
) -> Json:
    """A pod of the ReplicaSet with that uid."""
    return {
        "metadata": {
            "name": name,
            "namespace": "shop",
            "labels": labels if labels is not None else dict(LABELS),
            "ownerReferences": [{"kind": "ReplicaSet", "uid": owner, "controller": True}],
            **meta,
        },
        "status": {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]},
    }


def service(name: str = "checkout", *, selector: Json | None = None, **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "shop"},
        "spec": {
            "selector": {"app": "checkout"} if selector is None else selector,
            "ports": [{"name": "http", "port": 80}],
            **spec,
        },
    }


def virtual_service(*http: Json, name: str = "checkout", **spec: Any) -> Json:
    return {
        "metadata": {"name": name, "namespace": "shop", "uid": f"vs-{name}", "resourceVersion": "1"},
        "spec": {
            "hosts": ["checkout"],
            "http": list(http) or [{"route": [{"destination": {"host": "checkout"}}]}],
            **spec,
        },
    }


def snapshot(**changed: Any) -> Snapshot:
    """What preflight looks at; as it is, nothing is in the way."""
    parts: dict[str, Any] = {
        "deployment": deployment(),
        "serving": [replicaset()],
        "pods": [pod("checkout-old-1"), pod("checkout-old-2")],
        "services": [service()],
        "virtualservices": [],
        "destinationrules": [],
    }
    return Snapshot(**{**parts, **changed})


def ground(**changed: Any) -> Ground:
    """What preflight makes of it."""
    return examine(snapshot(**changed), SHIPPED, "standard", "istio-system")


def said(**changed: Any) -> list[tuple[str, str]]:
    """(check, message) of every finding."""
    return [(finding.check, finding.message) for finding in ground(**changed).findings]
