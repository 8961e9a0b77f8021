"""The ReplicaSets of a Deployment as its history: which one is new, which are old, which may go. Pure."""

from collections.abc import Iterable, Mapping, Sequence

from canaryd.cluster.resources import Json
from canaryd.sandbox.controllers.model import Deployment, ReplicaSet
from canaryd.sandbox.controllers.rollout import DESIRED, MAXIMUM, marks, number
from canaryd.sandbox.controllers.template import HASH_LABEL, same_template, template_hash, with_label

REVISION = "deployment.kubernetes.io/revision"
HISTORY = "deployment.kubernetes.io/revision-history"
_NOT_COPIED = {"kubectl.kubernetes.io/last-applied-configuration", REVISION, HISTORY, DESIRED, MAXIMUM}


def split(deployment: Deployment, sets: Iterable[ReplicaSet]) -> tuple[ReplicaSet | None, list[ReplicaSet]]:
    """The ReplicaSet that has the Deployment's template (the oldest, should there be several), and the rest
    by age."""
    ordered = sorted(sets, key=lambda rs: (rs.meta.created, rs.meta.name))
    new = next((rs for rs in ordered if same_template(rs.template, deployment.template)), None)
    return new, [rs for rs in ordered if rs is not new]


def next_revision(old_sets: Iterable[ReplicaSet]) -> int:
    """The revision of the new ReplicaSet: one above all others, also when an old one is taken up again."""
    return 1 + max((number(rs, REVISION) or 0 for rs in old_sets), default=0)


def annotations(deployment: Deployment, existing: ReplicaSet | None, revision: int) -> dict[str, str]:
    """The annotations that the new ReplicaSet lacks; `existing` is None where it has yet to be made."""
    has: Mapping[str, str] = existing.meta.annotations if existing else {}
    copied = {name: text for name, text in deployment.meta.annotations.items() if name not in _NOT_COPIED}
    changed = {name: text for name, text in copied.items() if has.get(name) != text}
    before = number(existing, REVISION) if existing else None
    if (before or 0) < revision:
        changed[REVISION] = str(revision)
        if before is not None:
            earlier = has.get(HISTORY, "")
            changed[HISTORY] = f"{earlier},{before}" if earlier else str(before)
    return changed if existing else changed | marks(deployment)


def new_replica_set(deployment: Deployment, replicas: int, revision: int) -> Json:
    """The ReplicaSet to create for the Deployment's template."""
    meta = deployment.meta
    hashed = template_hash(deployment.template, deployment.status.collisions)
    template = with_label(deployment.template, HASH_LABEL, hashed)
    selector = deployment.selector_json
    owner = {"apiVersion": "apps/v1", "kind": "Deployment", "name": meta.name, "uid": meta.uid}
    return {
        "apiVersion": "apps/v1",
        "kind": "ReplicaSet",
        "metadata": {
            "namespace": meta.namespace,
            "name": f"{meta.name}-{hashed}",
            "labels": template["metadata"]["labels"],
            "annotations": annotations(deployment, None, revision),
            "ownerReferences": [owner | {"controller": True, "blockOwnerDeletion": True}],
        },
        "spec": {
            "replicas": replicas,
            "minReadySeconds": deployment.min_ready_seconds,
            "selector": {**selector, "matchLabels": {**selector.get("matchLabels", {}), HASH_LABEL: hashed}},
            "template": template,
        },
    }


def obsolete(deployment: Deployment, old_sets: Sequence[ReplicaSet]) -> list[ReplicaSet]:
    """Old ReplicaSets beyond revisionHistoryLimit, lowest revision first; none that has or awaits a pod."""
    if deployment.history_limit is None:
        return []
    kept = [rs for rs in old_sets if not rs.meta.deleting]
    excess = max(0, len(kept) - deployment.history_limit)
    kept.sort(key=lambda rs: (number(rs, REVISION) or 0, rs.meta.created))
    return [rs for rs in kept[:excess] if _settled_at_zero(rs)]


def _settled_at_zero(rs: ReplicaSet) -> bool:
    observed = rs.meta.generation <= rs.status.observed_generation
    return observed and rs.replicas == 0 and rs.status.replicas == 0
