"""Lists: selection, and paging over a consistent snapshot."""

from __future__ import annotations

import base64
import json
from collections import OrderedDict
from dataclasses import dataclass

from canaryd.sandbox.apiserver.errors import StatusError, bad_request, expired, internal
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.selectors import Selection, parse_fields, parse_labels
from canaryd.sandbox.apiserver.store import Snapshot, Store

_MOST_PAGED = 64


@dataclass(frozen=True, slots=True)
class Page:
    """One page of a list, at `revision`; `token` continues it, `remaining` counts what follows."""

    items: list[Snapshot]
    revision: int
    token: str = ""
    remaining: int = 0


def selection_of(resource: ResourceType, info: RequestInfo) -> Selection:
    """What the request selects; a malformed selector is a 400."""
    fields = parse_fields(info.query.get("fieldSelector", ""), resource.unknown_field)
    where = tuple((_stored_path(resource, label), equal, value) for label, equal, value in fields)
    return Selection(info.path.namespace, parse_labels(info.query.get("labelSelector", "")), where)


def _stored_path(resource: ResourceType, label: str) -> str:
    path = resource.fields.get(label, label)
    if resource.stored_as == "events":
        head, dot, tail = path.partition(".")
        renamed = {"regarding": "involvedObject", "reportingController": "reportingComponent"}.get(head, head)
        return renamed + dot + tail
    return path


def revision_of(text: str) -> int:
    """A resourceVersion as a number; the empty one is 0."""
    try:
        return int(text or "0")
    except ValueError:
        why = f'strconv.ParseUint: parsing "{text}": invalid syntax'
        raise internal(f'resourceVersion: Invalid value: "{text}": {why}') from None


class Reader:
    """Lists of the store. Keeps the last paged lists, so that their pages fit together."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._paged: OrderedDict[tuple[int, str], list[Snapshot]] = OrderedDict()

    def page(self, resource: ResourceType, info: RequestInfo) -> Page:
        """The page that is asked for. Raises 400, 410 for a token too old, 504 for a version to come."""
        selection = selection_of(resource, info)
        limit = info.number("limit") or 0
        token = info.query.get("continue", "")
        if token:
            return self._next_page(token, limit, info)
        asked = revision_of(info.query.get("resourceVersion", ""))
        if asked > self._store.revision:
            message = f"Timeout: Too large resource version: {asked}, current: {self._store.revision}"
            cause = {"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}
            details = {"causes": [cause], "retryAfterSeconds": 1}
            raise StatusError(504, "Timeout", message, details, retry_after=1)
        items = [s for _, s in self._store.all(resource.store_key) if selection.matches(s.body)]
        if not limit or len(items) <= limit:
            return Page(items, self._store.revision)
        scope = self._scope(info)
        self._paged[self._store.revision, scope] = items
        while len(self._paged) > _MOST_PAGED:
            self._paged.popitem(last=False)
        return self._cut(items, self._store.revision, 0, limit)

    @staticmethod
    def _scope(info: RequestInfo) -> str:
        selectors = [info.query.get(name, "") for name in ("labelSelector", "fieldSelector")]
        return json.dumps([info.path.group, info.path.plural, info.path.namespace, *selectors])

    def _next_page(self, token: str, limit: int, info: RequestInfo) -> Page:
        try:
            revision, start = json.loads(base64.urlsafe_b64decode(token))
        except ValueError:
            raise bad_request("invalid continue token: continue key is not valid") from None
        known = revision >= self._store.compacted
        items = self._paged.get((revision, self._scope(info))) if known else None
        if items is None:
            raise expired(
                "The provided continue parameter is too old to display a consistent list result. "
                "You can start a new list without the continue parameter."
            )
        return self._cut(items, revision, start, limit)

    @staticmethod
    def _cut(items: list[Snapshot], revision: int, start: int, limit: int) -> Page:
        end = start + limit if limit else len(items)
        rest = len(items) - end
        token = base64.urlsafe_b64encode(json.dumps([revision, end]).encode()).decode() if rest > 0 else ""
        return Page(items[start:end], revision, token, max(rest, 0))
