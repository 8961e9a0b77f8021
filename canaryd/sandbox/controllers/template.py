"""Pod templates: when two are the same, and the hash that names one."""

import hashlib
import json
from typing import Any

from canaryd.cluster.resources import Json

HASH_LABEL = "pod-template-hash"
# The ten letters that a real controller's hashes are made of: without vowels, so that no words come about.
_DIGITS = "456789bcdf"


def same_template(one: Json, other: Json) -> bool:
    """Whether two templates make the same pods; the hash label, which is derived from them, is left out."""
    return _normal(one) == _normal(other)


def template_hash(template: Json, collisions: int | None) -> str:
    """A short name for the template, the same for the same template on every machine. `collisions` is the
    Deployment's collisionCount, which leads to another name where one was taken by a different template."""
    text = json.dumps(_normal(template), sort_keys=True, separators=(",", ":"))
    salt = "" if collisions is None else str(collisions)
    number = int.from_bytes(hashlib.sha256(f"{text}{salt}".encode()).digest()[:4])
    return "".join(_DIGITS[int(digit)] for digit in str(number))


def with_label(template: Json, name: str, value: str) -> Json:
    """A copy of the template with one more label."""
    meta = template.get("metadata") or {}
    return {**template, "metadata": {**meta, "labels": {**(meta.get("labels") or {}), name: value}}}


def _normal(template: Json) -> Json:
    pruned = _pruned(template)
    meta = dict(pruned.get("metadata") or {})
    labels = {name: value for name, value in (meta.get("labels") or {}).items() if name != HASH_LABEL}
    meta = {name: value for name, value in (meta | {"labels": labels}).items() if value}
    return {**pruned, "metadata": meta}


def _pruned(value: Any) -> Any:
    """Without nulls and empty lists, which the API server takes for absent."""
    if isinstance(value, dict):
        return {key: _pruned(item) for key, item in value.items() if item is not None and item != []}
    return [_pruned(item) for item in value] if isinstance(value, list) else value
