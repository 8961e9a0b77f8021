"""Objects as a served version shows them: the same stored object under another apiVersion.

Versions of a custom resource differ in their apiVersion alone (conversion strategy None). The one view
with other field names is events.k8s.io/v1, of the core group's events.
"""

from __future__ import annotations

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.store import Snapshot, dump

_EVENT_FIELDS = {
    "involvedObject": "regarding",
    "message": "note",
    "source": "deprecatedSource",
    "firstTimestamp": "deprecatedFirstTimestamp",
    "lastTimestamp": "deprecatedLastTimestamp",
    "count": "deprecatedCount",
    "reportingComponent": "reportingController",
}
_EVENT_FIELDS_BACK = {new: old for old, new in _EVENT_FIELDS.items()}


def _renamed(body: Json, names: dict[str, str]) -> Json:
    return {names.get(key, key): value for key, value in body.items()}


def to_storage(resource: ResourceType, body: Json) -> Json:
    """The object as it is stored, from the form in which a client wrote it."""
    if resource.stored_as == "events":
        return {**_renamed(body, _EVENT_FIELDS_BACK), "apiVersion": "v1"}
    return {**body, "apiVersion": resource.api_version(), "kind": resource.kind}


def seen(resource: ResourceType, version: str, body: Json) -> Json:
    """The stored object as `version` shows it; shares the parts of `body`."""
    if resource.stored_as == "events":
        body = _renamed(body, _EVENT_FIELDS)
    return {**body, "apiVersion": resource.api_version(version), "kind": resource.kind}


def text_of(resource: ResourceType, version: str, snapshot: Snapshot, *, typed: bool = True) -> bytes:
    """The object's JSON; without apiVersion and kind if not `typed`, as in lists of built-in kinds."""
    if resource.stored_as:
        body = seen(resource, version, snapshot.body)
        return dump(body if typed else {k: v for k, v in body.items() if k not in ("apiVersion", "kind")})
    if not typed:
        return b"{" + snapshot.text
    head = f'{{"kind":"{resource.kind}","apiVersion":"{resource.api_version(version)}"'
    return head.encode() + (b"," if len(snapshot.text) > 1 else b"") + snapshot.text
