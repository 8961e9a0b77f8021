"""Whose a traffic object is, and whose its routes are.

Field ownership (managedFields) of VirtualServices: a list without keys is one field, so with one weight
canaryd owns all of spec.http, taken from whoever had it, until it gives it back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.domain.model import RouteRef

OURS = {"app.kubernetes.io/managed-by": "canaryd"}


def is_ours(obj: Json) -> bool:
    """Whether canaryd made the object: then all of it may be written, and it may be removed."""
    labels = obj["metadata"].get("labels") or {}
    return all(labels.get(key) == value for key, value in OURS.items())


def last_writer(vs: Json) -> str:
    """Who wrote the routes last, by managedFields: a field manager and the time; "" if nobody is named."""
    owners = [entry for entry in vs["metadata"].get("managedFields") or [] if "f:http" in _spec_fields(entry)]
    if not owners:
        return ""
    newest = max(owners, key=lambda entry: entry.get("time") or "")
    return f"{newest.get('manager', 'somebody')} at {newest.get('time', 'an unknown time')}"


def is_held(vs: Json) -> bool:
    """Whether fields of the VirtualService are canaryd's."""
    return _has_canaryd(vs["metadata"].get("managedFields"))


def _has_canaryd(owners: Any) -> bool:
    return any(entry.get("manager") == "canaryd" for entry in owners or [])


def before(vs: Json, known: Iterable[RouteRef]) -> Any:
    """managedFields before canaryd's first write, by the first of the `known` references that tells; None where
    none does.

    One that was made while canaryd had the routes for another run already does not.
    """
    uid = vs["metadata"].get("uid", "")
    return next((ref.owners for ref in known if ref.uid == uid and not _has_canaryd(ref.owners)), None)


def owners_given_back(vs: Json, saved: Any) -> list[Json] | None:
    """managedFields with the routes owned as in `saved` (managedFields before canaryd's first write).

    None if canaryd owns nothing. Without this, a server-side apply by the owner that changes the routes would
    end in a conflict with canaryd. Only the routes change hands: what others own by now stays theirs. Where
    nothing was saved the routes are nobody's, and the next who applies them has them. Nobody left at all means
    an object that is not tracked, which is written [{}].
    """
    if not is_held(vs):
        return None
    current = vs["metadata"]["managedFields"]
    back = {
        _owner(entry): entry
        for entry in saved or []
        if entry.get("manager") != "canaryd" and "f:http" in _spec_fields(entry)
    }
    kept = [
        _owning_routes(entry, back[_owner(entry)]) if _owner(entry) in back else entry
        for entry in current
        if entry.get("manager") != "canaryd"
    ]
    there = {_owner(entry) for entry in kept}
    lost = [
        {**entry, "fieldsV1": {"f:spec": {"f:http": _spec_fields(entry)["f:http"]}}}
        for owner, entry in back.items()
        if owner not in there
    ]
    return kept + lost or [{}]


def _owning_routes(entry: Json, before: Json) -> Json:
    fields = entry.get("fieldsV1") or {}
    spec = {**_spec_fields(entry), "f:http": _spec_fields(before)["f:http"]}
    return {**entry, "fieldsV1": {**fields, "f:spec": spec}}


def _spec_fields(entry: Json) -> Json:
    found: Json = (entry.get("fieldsV1") or {}).get("f:spec") or {}
    return found


def _owner(entry: Json) -> tuple[Any, ...]:
    """What makes an entry of managedFields the same as another, its time apart."""
    return tuple(entry.get(key, "") for key in ("manager", "operation", "apiVersion", "subresource"))


def patch(vs: Json, saved: Any) -> list[Json] | None:
    """The JSON Patch that gives the routes back; None if canaryd owns nothing."""
    owners = owners_given_back(vs, saved)
    if owners is None:
        return None
    version = vs["metadata"]["resourceVersion"]
    return [
        {"op": "replace", "path": "/metadata/resourceVersion", "value": version},
        {"op": "replace", "path": "/metadata/managedFields", "value": owners},
    ]
