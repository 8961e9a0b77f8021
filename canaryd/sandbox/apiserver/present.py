"""Objects, lists and watch events in the form that the client asked for, as bytes."""

from __future__ import annotations

from collections.abc import Callable

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.negotiate import Form
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.reading import Page
from canaryd.sandbox.apiserver.registry import Registry
from canaryd.sandbox.apiserver.store import Snapshot, dump
from canaryd.sandbox.apiserver.tables import TableMaker
from canaryd.sandbox.apiserver.views import text_of
from canaryd.sandbox.apiserver.watching import WatchEvent


class Presenter:
    """Renders one resource in one version and one form."""

    def __init__(
        self,
        registry: Registry,
        resource: ResourceType,
        info: RequestInfo,
        form: Form,
        clock: Callable[[], float],
    ) -> None:
        self._resource = resource
        self._version = info.path.version
        self._form = form
        self._clock = clock
        self._table = (
            TableMaker.of(
                registry, resource, self._version, form.api_version, info.query.get("includeObject", "")
            )
            if form.shape == "table"
            else None
        )
        self._headed = True

    def one(self, snapshot: Snapshot) -> bytes:
        """A single object."""
        if self._table is not None:
            meta = {"resourceVersion": str(snapshot.revision)}
            return dump(self._table.table([snapshot], meta, self._clock()))
        if self._form.shape == "metadata":
            return dump(self._metadata(snapshot))
        return text_of(self._resource, self._version, snapshot)

    def _metadata(self, snapshot: Snapshot) -> Json:
        return {
            "kind": "PartialObjectMetadata",
            "apiVersion": self._form.api_version,
            "metadata": snapshot.body["metadata"],
        }

    def page(self, page: Page) -> bytes:
        """A list. Items of built-in kinds carry no apiVersion and kind, as on the real server."""
        meta: Json = {"resourceVersion": str(page.revision)}
        if page.token:
            meta |= {"continue": page.token, "remainingItemCount": page.remaining}
        if self._table is not None:
            return dump(self._table.table(page.items, meta, self._clock()))
        if self._form.shape == "metadata":
            kind, api_version = "PartialObjectMetadataList", self._form.api_version
            items = [dump(self._metadata(snapshot)) for snapshot in page.items]
        else:
            kind = self._resource.collection_kind
            api_version = self._resource.api_version(self._version)
            typed = self._resource.custom
            items = [text_of(self._resource, self._version, s, typed=typed) for s in page.items]
        head = dump({"kind": kind, "apiVersion": api_version, "metadata": meta})
        return head[:-1] + b',"items":[' + b",".join(items) + b"]}"

    def event(self, event: WatchEvent) -> bytes:
        """One line of a watch."""
        if self._table is not None:
            meta = {"resourceVersion": str(event.revision)}
            shown = dump(self._table.table([event.snapshot], meta, self._clock(), headed=self._headed))
            self._headed = False
        else:
            shown = self.one(event.snapshot)
        return b'{"type":"' + event.type.encode() + b'","object":' + shown + b"}\n"

    def bookmark(self, revision: int) -> bytes:
        """A line that says up to where the watch has seen everything."""
        meta: Json = {"resourceVersion": str(revision), "creationTimestamp": None}
        if self._form.shape == "object":
            api_version = self._resource.api_version(self._version)
            body: Json = {"kind": self._resource.kind, "apiVersion": api_version, "metadata": meta}
        elif self._form.shape == "table":
            body = {"kind": "Table", "apiVersion": self._form.api_version, "metadata": meta,
                    "columnDefinitions": None, "rows": []}  # fmt: skip
        else:
            body = {"kind": "PartialObjectMetadata", "apiVersion": self._form.api_version, "metadata": meta}
        return dump({"type": "BOOKMARK", "object": body}) + b"\n"
