"""Apply the patch formats of the Kubernetes API to a document."""

from __future__ import annotations

from typing import Any

import jsonpatch
import jsonpointer

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import StatusError, bad_request, unsupported_media
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.strategic import strategic_merge

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
APPLY_PATCH = "application/apply-patch+yaml"

_MAX_OPERATIONS = 10_000


def merge(target: Any, patch: Any) -> Any:
    """RFC 7386. Changes `target` in place where it is an object; the answer is the result."""
    if not isinstance(patch, dict):
        return patch
    result = target if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merge(result.get(key), value)
    return result


def _json_patch(document: Json, operations: Any) -> Json:
    """RFC 6902. A failed `test`, or a path that does not exist, is a bare 422 as on the real server."""
    if not isinstance(operations, list):
        raise bad_request("json: cannot unmarshal object into Go value of type jsonpatch.Patch")
    if len(operations) > _MAX_OPERATIONS:
        message = (
            f"The allowed maximum operations in a JSON patch is {_MAX_OPERATIONS}, got {len(operations)}"
        )
        raise StatusError(413, "RequestEntityTooLarge", message)
    try:
        patched: Json = jsonpatch.JsonPatch(operations).apply(document, in_place=True)
    except (jsonpatch.JsonPatchException, jsonpointer.JsonPointerException, TypeError, KeyError) as error:
        message = "the server rejected our request due to an error in our request"
        raise StatusError(422, "Invalid", message, {}) from error
    return patched


def apply_patch(content_type: str, resource: ResourceType, document: Json, patch: Any) -> Json:
    """The patched document. `document` is the caller's own copy and may be changed.

    Raises 415 for a format that the resource does not take, 422 or 400 for a patch that does not apply.
    """
    if content_type == JSON_PATCH:
        return _json_patch(document, patch)
    if not isinstance(patch, dict):
        raise bad_request("the patch is not an object")
    if content_type == MERGE_PATCH:
        patched: Json = merge(document, patch)
        return patched
    if content_type == STRATEGIC_PATCH and not resource.custom:
        return strategic_merge(resource.kind, document, patch)
    if content_type == APPLY_PATCH:
        why = "server-side apply is not served here; apply from the client"
        raise StatusError(415, "UnsupportedMediaType", why)
    accepted = [JSON_PATCH, MERGE_PATCH] + ([] if resource.custom else [STRATEGIC_PATCH])
    raise unsupported_media(accepted)
