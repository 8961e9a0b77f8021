"""Deleting: preconditions, grace, finalizers, and what becomes of dependents."""

from __future__ import annotations

from dataclasses import dataclass

from canaryd.cluster.resources import Json, Key
from canaryd.sandbox.apiserver import errors
from canaryd.sandbox.apiserver.core import Core
from canaryd.sandbox.apiserver.definitions import CLEANUP
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.store import Snapshot

ORPHAN = "orphan"
FOREGROUND = "foregroundDeletion"
_POLICIES = {"Foreground": FOREGROUND, "Background": "", "Orphan": ORPHAN}


@dataclass(frozen=True, slots=True)
class DeleteOptions:
    """How to delete. `grace` is in seconds, None for the object's own."""

    propagation: str = ""
    grace: int | None = None
    uid: str = ""
    resource_version: str = ""

    @classmethod
    def parse(cls, body: Json, info: RequestInfo) -> DeleteOptions:
        """Read DeleteOptions from the body, else from the query."""
        preconditions = body.get("preconditions") or {}
        propagation = body.get("propagationPolicy") or info.query.get("propagationPolicy", "")
        orphan = body.get("orphanDependents", info.query.get("orphanDependents"))
        if orphan is not None and not propagation:
            propagation = "Orphan" if orphan in (True, "true") else "Background"
        if propagation and propagation not in _POLICIES:
            cause = errors.unsupported("propagationPolicy", propagation, [*_POLICIES, "nil"])
            raise errors.invalid(errors.Target("meta.k8s.io", "", "DeleteOptions"), [cause])
        grace = body.get("gracePeriodSeconds", info.number("gracePeriodSeconds"))
        return cls(propagation, grace, preconditions.get("uid", ""), preconditions.get("resourceVersion", ""))


@dataclass(frozen=True, slots=True)
class Deleted:
    """The object after the request: gone, or marked and waiting."""

    snapshot: Snapshot
    removed: bool


def delete(
    core: Core, resource: ResourceType, key: Key, options: DeleteOptions, info: RequestInfo
) -> Deleted:
    """Delete one object, or mark it if something must happen first. Raises 404, 403 and 409."""
    old = core.store.get(resource.store_key, key)
    target = resource.target(key[1])
    if old is None:
        raise errors.not_found(target)
    _precondition(target, old, options)
    if resource.kind == "Namespace" and key[1] in ("default", "kube-system", "kube-public"):
        raise errors.forbidden(target, "this namespace may not be deleted")
    finalizers = _finalizers(resource, old.body, options)
    grace = _grace(resource, old.body, options)
    if not finalizers and not grace and not _holds_content(resource, old.body):
        if info.dry_run:
            return Deleted(old, removed=True)
        return Deleted(_final(core.remove(resource, key, info)), removed=True)
    marked = _marked(core, resource, old.body, finalizers, grace)
    if marked == old.body or info.dry_run:
        return Deleted(old, removed=False)
    return Deleted(core.commit(resource, key, marked, info), removed=False)


def _final(last: Snapshot) -> Snapshot:
    """A pod that had time to end is shown without any left."""
    meta = last.body["metadata"]
    if not meta.get("deletionGracePeriodSeconds"):
        return last
    return Snapshot({**last.body, "metadata": {**meta, "deletionGracePeriodSeconds": 0}}, last.revision)


def _precondition(target: errors.Target, old: Snapshot, options: DeleteOptions) -> None:
    meta = old.body["metadata"]
    pairs = (
        ("UID", options.uid, meta["uid"], "have been deleted and then recreated"),
        ("ResourceVersion", options.resource_version, meta["resourceVersion"], "have been modified"),
    )
    for what, wanted, found, guess in pairs:
        if wanted and wanted != found:
            why = f"the {what} in the precondition ({wanted}) does not match the {what} in record ({found})"
            raise errors.conflict(target, f"{why}. The object might {guess}")


def _finalizers(resource: ResourceType, body: Json, options: DeleteOptions) -> list[str]:
    """The finalizers once the propagation policy has had its say."""
    kept = list(body["metadata"].get("finalizers") or ())
    if options.propagation:
        kept = [name for name in kept if name not in (ORPHAN, FOREGROUND)]
        wanted = _POLICIES[options.propagation]
        kept += [wanted] if wanted else []
    if resource.kind == "CustomResourceDefinition" and not resource.custom and CLEANUP not in kept:
        kept.append(CLEANUP)
    return kept


def _grace(resource: ResourceType, body: Json, options: DeleteOptions) -> int:
    """Seconds that a pod is left to end; only a pod on a node that still runs has any."""
    if resource.kind != "Pod" or resource.custom:
        return 0
    spec, status, meta = body["spec"], body.get("status") or {}, body["metadata"]
    if not spec.get("nodeName") or status.get("phase") in ("Failed", "Succeeded"):
        return 0
    asked = options.grace if options.grace is not None else spec.get("terminationGracePeriodSeconds", 30)
    if meta.get("deletionTimestamp"):
        asked = (
            min(asked, meta.get("deletionGracePeriodSeconds", 0))
            if options.grace is not None
            else meta.get("deletionGracePeriodSeconds", 0)
        )
    return max(int(asked), 0)


def _holds_content(resource: ResourceType, body: Json) -> bool:
    return resource.kind == "Namespace" and bool((body.get("spec") or {}).get("finalizers"))


def _marked(core: Core, resource: ResourceType, body: Json, finalizers: list[str], grace: int) -> Json:
    meta = {key: value for key, value in body["metadata"].items() if key != "finalizers"}
    if finalizers:
        meta["finalizers"] = finalizers
    if not meta.get("deletionTimestamp") or meta.get("deletionGracePeriodSeconds") != grace:
        if resource.generation and not meta.get("deletionTimestamp"):
            meta["generation"] = meta.get("generation", 0) + 1
        meta["deletionTimestamp"] = core.now(ahead=grace)
        meta["deletionGracePeriodSeconds"] = grace
    marked = {**body, "metadata": meta}
    if resource.kind == "Namespace":
        marked["status"] = {**(body.get("status") or {}), "phase": "Terminating"}
        meta.pop("deletionGracePeriodSeconds", None)
        if body["metadata"].get("deletionTimestamp"):
            meta["deletionTimestamp"] = body["metadata"]["deletionTimestamp"]
    return marked
