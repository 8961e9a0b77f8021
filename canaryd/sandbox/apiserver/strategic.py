"""Strategic merge patch: merge-patch that knows which lists of the built-in kinds are keyed.

The rules are those of the API conventions: a keyed list merges item by item, `$patch: delete` removes
an item, `$patch: replace` replaces a map or a list, `$setElementOrder/...` orders, `$retainKeys` drops
all other keys of a union, `$deleteFromPrimitiveList/...` removes from a list of scalars.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import bad_request, internal

_ORDER = "$setElementOrder/"
_DELETE = "$deleteFromPrimitiveList/"


@dataclass(frozen=True, slots=True)
class Shape:
    """How one field merges: `key` names the field that identifies items of a list of objects."""

    key: str = ""
    scalars: bool = False
    fields: Mapping[str, Shape] = field(default_factory=dict)


_NOTHING = Shape()
_META = Shape(fields={"ownerReferences": Shape(key="uid"), "finalizers": Shape(scalars=True)})
_CONTAINER = {
    "ports": Shape(key="containerPort"),
    "env": Shape(key="name"),
    "volumeMounts": Shape(key="mountPath"),
    "volumeDevices": Shape(key="devicePath"),
}
_POD_SPEC = Shape(
    fields={
        "containers": Shape(key="name", fields=_CONTAINER),
        "initContainers": Shape(key="name", fields=_CONTAINER),
        "ephemeralContainers": Shape(key="name", fields=_CONTAINER),
        "volumes": Shape(key="name"),
        "imagePullSecrets": Shape(key="name"),
        "hostAliases": Shape(key="ip"),
        "topologySpreadConstraints": Shape(key="topologyKey"),
        "resourceClaims": Shape(key="name"),
    }
)
_TEMPLATE = Shape(fields={"metadata": _META, "spec": _POD_SPEC})
_CONDITIONS = Shape(fields={"conditions": Shape(key="type")})
_WORKLOAD = {"spec": Shape(fields={"template": _TEMPLATE}), "status": _CONDITIONS}
_KEYED_SECRETS = {"secrets": Shape(key="name"), "imagePullSecrets": Shape(key="name")}

_KINDS: Mapping[str, Mapping[str, Shape]] = {
    "Deployment": _WORKLOAD,
    "ReplicaSet": _WORKLOAD,
    "StatefulSet": _WORKLOAD,
    "DaemonSet": _WORKLOAD,
    "PodTemplate": {"template": _TEMPLATE},
    "Pod": {
        "spec": _POD_SPEC,
        "status": Shape(fields={"conditions": Shape(key="type"), "podIPs": Shape(key="ip"),
                                "hostIPs": Shape(key="ip")}),
    },
    "Service": {"spec": Shape(fields={"ports": Shape(key="port")}), "status": _CONDITIONS},
    "ServiceAccount": _KEYED_SECRETS,
    "Node": {"spec": Shape(fields={"taints": Shape(key="key")}),
             "status": Shape(fields={"conditions": Shape(key="type"), "addresses": Shape(key="type")})},
    "Namespace": {"status": _CONDITIONS},
    "PersistentVolumeClaim": {"status": _CONDITIONS},
    "HorizontalPodAutoscaler": {"status": _CONDITIONS},
    "PodDisruptionBudget": {"status": _CONDITIONS},
}  # fmt: skip


def strategic_merge(kind: str, document: Json, patch: Json) -> Json:
    """Merge `patch` into `document` (which may be changed); a malformed directive is a 400."""
    shape = Shape(fields={"metadata": _META, **_KINDS.get(kind, {})})
    return _merge_map(document, patch, shape)


def _merge_map(target: Json, patch: Json, shape: Shape) -> Json:
    directive = patch.get("$patch")
    if directive == "replace":
        return {key: value for key, value in patch.items() if key != "$patch"}
    if directive == "delete":
        return {}
    if directive not in (None, "merge"):
        raise bad_request(f'Invalid value: "{directive}": unrecognized $patch directive')
    if "$retainKeys" in patch:
        _retain(target, patch)
    before = {
        key.removeprefix(_ORDER): target.get(key.removeprefix(_ORDER))
        for key in patch
        if key.startswith(_ORDER)
    }
    for key, value in patch.items():
        if key.startswith(_DELETE):
            _remove_scalars(target, key.removeprefix(_DELETE), value)
        elif not key.startswith("$"):
            _set(target, key, value, shape.fields.get(key, _NOTHING))
    for key, old in before.items():
        if isinstance(target.get(key), list) and isinstance(patch[_ORDER + key], list):
            merge_key = shape.fields.get(key, _NOTHING).key
            target[key] = _ordered(target[key], patch[_ORDER + key], old or [], merge_key)
    return target


def _retain(target: Json, patch: Json) -> None:
    kept = patch["$retainKeys"]
    given = {key for key in patch if not key.startswith("$")}
    if not isinstance(kept, list) or not given <= set(kept):
        raise bad_request("$retainKeys doesn't contain all keys of the patch")
    for key in [key for key in target if key not in kept]:
        del target[key]


def _set(target: Json, key: str, value: Any, shape: Shape) -> None:
    current = target.get(key)
    if value is None:
        target.pop(key, None)
    elif isinstance(value, dict):
        if value.get("$patch") == "delete":
            target.pop(key, None)
        else:
            target[key] = _merge_map(current if isinstance(current, dict) else {}, value, shape)
    elif isinstance(value, list) and shape.key:
        target[key] = _merge_list(current if isinstance(current, list) else [], value, shape)
    elif isinstance(value, list) and shape.scalars:
        known = current if isinstance(current, list) else []
        target[key] = _ordered(list(dict.fromkeys(known + value)), value, known, "")
    else:
        target[key] = value


def _identity(item: Any, shape: Shape) -> Any:
    if not isinstance(item, dict) or shape.key not in item:
        raise internal(f"map: {item} does not contain declared merge key: {shape.key}")
    return item[shape.key]


def _merge_list(current: list[Any], patch: list[Any], shape: Shape) -> list[Any]:
    replacing = any(isinstance(item, dict) and item.get("$patch") == "replace" for item in patch)
    if replacing:
        return [item for item in patch if item.get("$patch") != "replace"]
    result = list(current)
    for item in patch:
        identity = _identity(item, shape)
        found = [index for index, known in enumerate(result) if known.get(shape.key) == identity]
        if item.get("$patch") == "delete":
            result = [known for known in result if known.get(shape.key) != identity]
        elif found:
            result[found[0]] = _merge_map(result[found[0]], item, shape)
        else:
            result.append(_merge_map({}, item, shape))
    return _ordered(result, patch, current, shape.key)


def _remove_scalars(target: Json, key: str, values: Any) -> None:
    if isinstance(target.get(key), list) and isinstance(values, list):
        target[key] = [item for item in target[key] if item not in values]


def _ordered(merged: list[Any], wanted: list[Any], before: list[Any], merge_key: str) -> list[Any]:
    """Put the items of `wanted` in its order; the others keep their place among the items of `before`."""

    def identity(item: Any) -> Any:
        return item.get(merge_key) if merge_key and isinstance(item, dict) else item

    rank = {identity(item): position for position, item in reversed(list(enumerate(wanted)))}
    place = {identity(item): position for position, item in enumerate(before)}
    others = sorted(
        (item for item in merged if identity(item) not in rank), key=lambda item: place.get(identity(item), 0)
    )
    listed = sorted(
        (item for item in merged if identity(item) in rank), key=lambda item: rank[identity(item)]
    )
    result: list[Any] = []
    while others and listed:
        left, right = place.get(identity(others[0])), place.get(identity(listed[0]))
        comes_first = left is not None and right is not None and left < right
        result.append(others.pop(0) if comes_first else listed.pop(0))
    return result + others + listed
