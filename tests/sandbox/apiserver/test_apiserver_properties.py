"""Laws that hold for any history: nothing is lost between list and watch, one owner for each field."""

from __future__ import annotations

import asyncio
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from canaryd.cluster.resources import Json, Key
from canaryd.sandbox.apiserver.ownership import Author, record
from canaryd.sandbox.apiserver.patches import merge
from canaryd.sandbox.apiserver.selectors import Selection, parse_labels
from canaryd.sandbox.apiserver.store import Store
from canaryd.sandbox.apiserver.strategic import strategic_merge
from canaryd.sandbox.apiserver.watching import Watch

_unhurried = settings(deadline=None)  # the machine may be busy

_NAMES = st.sampled_from(["a", "b", "c"])
_COLORS = st.sampled_from(["red", "green", ""])
_STEPS = st.lists(st.tuples(_NAMES, _COLORS, st.booleans()), max_size=30)


def _apply(store: Store, step: tuple[str, str, bool]) -> None:
    name, color, delete = step
    key: Key = ("ns", name)
    if not delete:
        body = {"apiVersion": "v1", "kind": "T", "metadata": {"name": name, "namespace": "ns", "uid": name,
                                                              "labels": {"color": color}}}  # fmt: skip
        store.commit("ts", key, body)
    elif store.get("ts", key) is not None:
        store.remove("ts", key)


def _state(store: Store, selection: Selection) -> dict[str, Json]:
    return {key[1]: s.body for key, s in store.all("ts") if selection.matches(s.body)}


@_unhurried
@given(before=_STEPS, after=_STEPS, selector=st.sampled_from(["", "color=red", "color!=red", "color"]))
def test_a_list_and_the_watch_after_it_make_the_present(
    before: list[tuple[str, str, bool]], after: list[tuple[str, str, bool]], selector: str
) -> None:
    async def run() -> None:
        store = Store()
        selection = Selection("ns", parse_labels(selector))
        for step in before:
            _apply(store, step)
        known, since = _state(store, selection), store.revision
        for step in after:
            _apply(store, step)
        late = Watch(store, "ts", selection, since)
        for event in await late.next(0):
            name = event.snapshot.body["metadata"]["name"]
            assert (name in known) == (event.type != "ADDED")
            if event.type == "DELETED":
                del known[name]
            else:
                known[name] = event.snapshot.body
        assert known == _state(store, selection)

    asyncio.run(run())


@_unhurried
@given(steps=_STEPS, selector=st.sampled_from(["", "color=red", "!color"]))
def test_watching_live_and_afterwards_show_the_same(
    steps: list[tuple[str, str, bool]], selector: str
) -> None:
    async def run() -> None:
        store = Store()
        selection = Selection("ns", parse_labels(selector))
        live = Watch(store, "ts", selection, store.revision)
        start = store.revision
        for step in steps:
            _apply(store, step)
        after = Watch(store, "ts", selection, start)
        seen = [[(e.type, e.revision, e.snapshot.body) for e in await w.next(0)] for w in (live, after)]
        assert seen[0] == seen[1]

    asyncio.run(run())


# ---- field ownership --------------------------------------------------------------------------------

_LEAVES: st.SearchStrategy[Any] = st.one_of(
    st.integers(0, 2), st.lists(st.integers(0, 2), max_size=2), st.builds(dict)
)
_TREES = st.recursive(_LEAVES, lambda inner: st.dictionaries(_NAMES, inner, max_size=3), max_leaves=6)
_SPECS = st.dictionaries(_NAMES, _TREES, max_size=3)


def _leaves(value: Any, path: tuple[str, ...] = ()) -> dict[tuple[str, ...], Any]:
    if isinstance(value, dict) and value:
        return {k: v for name, inner in value.items() for k, v in _leaves(inner, (*path, name)).items()}
    return {path: value}


def _owned(fields: Json, path: tuple[str, ...] = ()) -> set[tuple[str, ...]]:
    leaves: set[tuple[str, ...]] = set()
    for name, inner in fields.items():
        here = (*path, name[2:])
        leaves |= _owned(inner, here) if inner else {here}
    return leaves


@settings(deadline=None, max_examples=300)
@given(writes=st.lists(st.tuples(st.sampled_from(["x", "y", "z"]), _SPECS), min_size=1, max_size=6))
def test_each_field_belongs_to_the_one_that_last_changed_it(writes: list[tuple[str, Json]]) -> None:
    body: Json | None = None
    expected: dict[tuple[str, ...], str] = {}
    values: dict[tuple[str, ...], Any] = {}
    for manager, spec in writes:
        meta = {"managedFields": body["metadata"].get("managedFields", [])} if body else {}
        new = {"metadata": {key: value for key, value in meta.items() if value}, "spec": spec}
        untracked = body is not None and not body["metadata"].get("managedFields")
        record(body, new, Author(manager, "v1", "", "now"))
        leaves = _leaves(spec, ("spec",))
        if untracked:
            expected = {}
            assert "managedFields" not in new["metadata"]
        else:
            expected = {
                path: expected[path] if values.get(path, "absent") == value and path in expected else manager
                for path, value in leaves.items()
            }
        values, body = leaves, new
        entries = new["metadata"].get("managedFields", [])
        assert len({entry["manager"] for entry in entries}) == len(entries)
        owners = [(path, e["manager"]) for e in entries for path in _owned(e["fieldsV1"])]
        assert sorted(owners) == sorted(expected.items())


# ---- patches ----------------------------------------------------------------------------------------

_DOCUMENTS = st.dictionaries(_NAMES, _TREES, max_size=3)


def _difference(old: Json, new: Json) -> Json:
    """The merge patch from one document to another, by its definition."""
    patch: Json = dict.fromkeys(old.keys() - new.keys())
    for key, value in new.items():
        before = old.get(key)
        if isinstance(value, dict) and isinstance(before, dict):
            patch[key] = _difference(before, value)
        elif before != value or key not in old:
            patch[key] = value
    return patch


@_unhurried
@given(old=_DOCUMENTS, new=_DOCUMENTS)
def test_merging_the_difference_makes_the_new_document(old: Json, new: Json) -> None:
    patch = _difference(old, new)
    assert merge(old, patch) == new


_CONTAINERS = st.lists(
    st.tuples(st.sampled_from("abcdef"), st.integers(0, 3)), max_size=5, unique_by=lambda item: item[0]
)


@_unhurried
@given(old=_CONTAINERS, patch=_CONTAINERS, order=st.permutations("abcdef"))
def test_strategic_merge_of_containers(
    old: list[tuple[str, int]], patch: list[tuple[str, int]], order: list[str]
) -> None:
    """All old ones are there, the patched ones changed, and the stated order holds."""

    def containers(items: list[tuple[str, int]]) -> list[Json]:
        return [{"name": name, "image": str(image)} for name, image in items]

    wanted = [name for name in order if name in dict(old) or name in dict(patch)]
    spec = {
        "containers": containers(patch),
        "$setElementOrder/containers": [{"name": name} for name in wanted],
    }
    merged = strategic_merge("Pod", {"spec": {"containers": containers(old)}}, {"spec": spec})
    found = [(c["name"], int(c["image"])) for c in merged["spec"]["containers"]]
    assert dict(found) == dict(old) | dict(patch)
    assert [name for name, _ in found] == wanted
