"""metadata.managedFields: who last changed which field.

Approximate in one way, on purpose: every list is one field (the real server looks into keyed lists of
the built-in kinds). What is recorded is true: a field belongs to the manager that last changed it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from canaryd.cluster.resources import Json

Fields = dict[str, Any]
"""The tree of fieldsV1: `f:NAME` -> subtree; an empty subtree is an owned leaf."""

_UNTRACKED = frozenset({"name", "namespace", "uid", "creationTimestamp", "generation", "resourceVersion",
                        "managedFields", "selfLink", "deletionTimestamp",
                        "deletionGracePeriodSeconds"})  # fmt: skip


@dataclass(frozen=True, slots=True)
class Author:
    """Who writes: the identity of an entry in managedFields."""

    manager: str
    api_version: str
    subresource: str
    time: str

    def wrote(self, entry: Json) -> bool:
        return (
            entry.get("manager") == self.manager
            and entry.get("operation") == "Update"
            and entry.get("subresource", "") == self.subresource
            and entry.get("apiVersion") == self.api_version
        )

    def entry(self, fields: Fields) -> Json:
        made: Json = {
            "manager": self.manager,
            "operation": "Update",
            "apiVersion": self.api_version,
            "time": self.time,
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
        }
        if self.subresource:
            made["subresource"] = self.subresource
        return made


def record(old: Json | None, new: Json, author: Author) -> None:
    """Set `new`'s managedFields for the write that turned `old` (None: created) into `new`.

    An object whose managedFields were cleared (`[{}]`) stays untracked, as on the real server.
    """
    meta = new["metadata"]
    live = (old["metadata"].get("managedFields") or []) if old else []
    entries = meta.pop("managedFields", None)
    if entries == [{}]:
        return
    if old is not None and not live and not entries:
        return
    entries = entries or live
    set_, gone = compare(_tracked(old), _tracked(new))
    updated = _transfer(entries, set_, gone, author)
    if updated:
        meta["managedFields"] = updated


def _tracked(body: Json | None) -> Json:
    if body is None:
        return {}
    meta = {key: value for key, value in body["metadata"].items() if key not in _UNTRACKED}
    rest = {key: value for key, value in body.items() if key not in ("apiVersion", "kind", "metadata")}
    return {"metadata": meta, **rest} if meta else rest


def compare(old: Json, new: Json) -> tuple[Fields, Fields]:
    """(fields set or changed, fields removed) between two objects."""
    set_: Fields = {}
    gone: Fields = {f"f:{key}": {} for key in old.keys() - new.keys()}
    for key, value in new.items():
        before = old.get(key)
        if before == value and key in old:
            continue
        name = f"f:{key}"
        if not (isinstance(value, dict) and value):
            set_[name] = {}
        elif isinstance(before, dict) and before:
            inner_set, inner_gone = compare(before, value)
            set_ |= {name: inner_set} if inner_set else {}
            gone |= {name: inner_gone} if inner_gone else {}
        else:  # what was one field is now several
            set_[name] = compare({}, value)[0]
            gone |= {name: {}} if key in old else {}
    return set_, gone


def subtract(fields: Fields, other: Fields) -> Fields:
    """`fields` without those of `other`; a leaf of `other` takes everything below it."""
    left: Fields = {}
    for name, inner in fields.items():
        if name not in other:
            left[name] = inner
        elif inner and other[name]:
            rest = subtract(inner, other[name])
            if rest.keys() - {"."}:
                left[name] = rest
        elif not inner and other[name]:
            left[name] = inner
    return left


def union(one: Fields, other: Fields) -> Fields:
    both = dict(one)
    for name, inner in other.items():
        both[name] = union(both[name], inner) if name in both else inner
    return both


def _transfer(entries: list[Json], set_: Fields, gone: Fields, author: Author) -> list[Json]:
    kept: list[Json] = []
    mine: Fields = {}
    mine_before: Json | None = None
    for entry in entries:
        fields = entry.get("fieldsV1") or {}
        left = subtract(subtract(fields, set_), gone)
        if author.wrote(entry):
            mine, mine_before = left, entry
        elif left:
            kept.append(entry if left == fields else {**entry, "fieldsV1": left})
    mine = union(mine, set_)
    if mine:
        same = mine_before is not None and mine == mine_before.get("fieldsV1")
        kept.append(mine_before if same and mine_before else author.entry(mine))
    return kept
