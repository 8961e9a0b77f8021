"""The scale subresource: one number of an object, in a shape that all scalable kinds share."""

from __future__ import annotations

from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.columns import selector_text
from canaryd.sandbox.apiserver.errors import StatusError, bad_value, invalid, no_such_path
from canaryd.sandbox.apiserver.kinds import ResourceType, ScalePaths
from canaryd.sandbox.apiserver.patches import apply_patch
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.store import Snapshot
from canaryd.sandbox.apiserver.views import seen

_SCALE = ResourceType("autoscaling", "scales", "Scale", ("v1",), "v1")
_SHOWN = ("name", "namespace", "uid", "resourceVersion", "creationTimestamp")


def _read(body: Json, path: tuple[str, ...]) -> Any:
    value: Any = body
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return value


def _paths(resource: ResourceType) -> ScalePaths:
    if resource.scale is None:
        raise no_such_path()
    return resource.scale


def scale_of(resource: ResourceType, snapshot: Snapshot, *, writing: bool = False) -> Json:
    """The Scale of an object; 404 for a kind that has none, 500 (if not for `writing`) without a size."""
    paths = _paths(resource)
    selector = _read(snapshot.body, paths.selector) if paths.selector else None
    text = selector_text(selector) if isinstance(selector, dict) else selector
    status: Json = {"replicas": _read(snapshot.body, paths.status_replicas) or 0}
    if text:
        status["selector"] = text
    meta = snapshot.body["metadata"]
    replicas = _read(snapshot.body, paths.replicas)
    if replicas is None and not writing:
        path = "." + ".".join(paths.replicas)
        why = f'Internal error occurred: the spec replicas field "{path}" does not exist'
        raise StatusError(500, "InternalError", why)
    return {
        "kind": "Scale",
        "apiVersion": "autoscaling/v1",
        "metadata": {key: meta[key] for key in _SHOWN if key in meta},
        "spec": {"replicas": replicas} if replicas else {},
        "status": status,
    }


def scaled(resource: ResourceType, snapshot: Snapshot, change: Any, info: RequestInfo) -> Json:
    """The object, as its client would write it, with the size that a PUT or PATCH of its Scale asks for."""
    scale = scale_of(resource, snapshot, writing=True)
    if info.verb == "patch":
        scale["metadata"].pop("resourceVersion")
        scale = apply_patch(info.content_type, _SCALE, scale, change)
    else:
        scale = change
    replicas = (scale.get("spec") or {}).get("replicas", 0)
    if not isinstance(replicas, int) or replicas < 0:
        cause = bad_value("spec.replicas", replicas, "must be greater than or equal to 0")
        raise invalid(_SCALE.target(snapshot.body["metadata"]["name"]), [cause])
    body = seen(resource, info.path.version, snapshot.copy())
    holder = body
    *parents, last = _paths(resource).replicas
    for key in parents:
        holder = holder.setdefault(key, {})
    holder[last] = replicas
    wanted = (scale.get("metadata") or {}).get("resourceVersion")
    if wanted:
        body["metadata"]["resourceVersion"] = wanted
    elif resource.unconditional_update:
        del body["metadata"]["resourceVersion"]
    return body
