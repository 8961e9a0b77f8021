"""Tables, the form in which `kubectl get` asks for objects."""

from __future__ import annotations

import datetime as dt
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.columns import AGE, NAME, Column, Moment, plain_text
from canaryd.sandbox.apiserver.columns_core import CORE
from canaryd.sandbox.apiserver.columns_workloads import WORKLOADS
from canaryd.sandbox.apiserver.definitions import PrinterColumn
from canaryd.sandbox.apiserver.jsonpath import find
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.registry import Registry
from canaryd.sandbox.apiserver.store import Snapshot
from canaryd.sandbox.apiserver.views import seen

_BUILTIN = {**CORE, **WORKLOADS}


def _cell(column: PrinterColumn) -> Callable[[Json, Moment], Any]:
    """How an additionalPrinterColumn reads its value, in its declared type."""

    def read(body: Json, now: Moment) -> Any:
        found = find(column.json_path, body)
        if not found:
            return None
        if column.type == "date":
            return now.age(found[0]) if isinstance(found[0], str) else "<invalid>"
        if column.type == "integer":
            return found[0] if isinstance(found[0], int) else None
        if len(found) == 1 and column.type in ("boolean", "number"):
            return found[0]
        return plain_text(found[0] if len(found) == 1 else found)

    return read


def _custom_columns(printed: Sequence[PrinterColumn]) -> list[Column]:
    made = [Column(c.name, c.type, _cell(c), format=c.format, description=c.description, priority=c.priority)
            for c in printed]  # fmt: skip
    return [NAME, *(made or [AGE])]


@dataclass(frozen=True, slots=True)
class TableMaker:
    """Makes tables of one resource, in one version, under one apiVersion of the table."""

    resource: ResourceType
    version: str
    api_version: str
    columns: list[Column]
    include: str
    """What each row carries: Metadata (default), Object or None."""

    @classmethod
    def of(
        cls, registry: Registry, resource: ResourceType, version: str, api_version: str, include: str
    ) -> TableMaker:
        custom = registry.custom(resource)
        if custom is not None and version in custom.versions:
            chosen = _custom_columns(custom.versions[version].columns)
        else:
            chosen = _BUILTIN.get(resource.store_key) or [NAME, AGE]
        return cls(resource, version, api_version, chosen, include or "Metadata")

    def table(self, snapshots: Sequence[Snapshot], meta: Json, now: float, *, headed: bool = True) -> Json:
        """A table with one row for each object; later tables of a watch need no heading."""
        moment = Moment(dt.datetime.fromtimestamp(now, dt.UTC))
        return {
            "kind": "Table",
            "apiVersion": self.api_version,
            "metadata": meta,
            "columnDefinitions": [self._definition(column) for column in self.columns] if headed else None,
            "rows": [self._row(snapshot, moment) for snapshot in snapshots],
        }

    @staticmethod
    def _definition(column: Column) -> Json:
        return {
            "name": column.name,
            "type": column.type,
            "format": column.format,
            "description": column.description,
            "priority": column.priority,
        }

    def _row(self, snapshot: Snapshot, now: Moment) -> Json:
        row: Json = {"cells": [column.cell(snapshot.body, now) for column in self.columns]}
        if self.include == "Object":
            row["object"] = seen(self.resource, self.version, snapshot.body)
        elif self.include != "None":
            row["object"] = {
                "kind": "PartialObjectMetadata",
                "apiVersion": self.api_version,
                "metadata": snapshot.body["metadata"],
            }
        return row
