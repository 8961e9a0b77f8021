"""Own writes are seen at once, and believed only until the watch has something newer."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from canaryd.cluster.resources import CONFIGMAPS, Json, Key, Resource
from canaryd.cluster.transport import Api
from canaryd.cluster.watch import WatchEvent
from canaryd.controller import caches
from canaryd.controller.caches import Cache

KEY = ("shop", "one")


def obj(version: int | str, *, name: str = "one", said: str = "") -> Json:
    return {"metadata": {"namespace": "shop", "name": name, "resourceVersion": str(version)}, "said": said}


class Watched:
    """A cache whose watch tells what the test says; nothing is sent."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, keep: Any = lambda o: o) -> None:
        self.now = 0.0
        self.told: list[tuple[Key, Json | None, Json | None]] = []
        monkeypatch.setattr("canaryd.controller.caches.time", SimpleNamespace(monotonic=lambda: self.now))
        client: Any = None
        self.cache = Cache(Api(client), CONFIGMAPS, self._tell, keep=keep)

    def _tell(self, resource: Resource, key: Key, old: Json | None, new: Json | None) -> None:
        assert resource == CONFIGMAPS
        self.told.append((key, old, new))

    def watch(self, kind: Any, event: Json) -> None:
        self.cache.reflectors[caches.EVERYWHERE]._digest(WatchEvent(kind, event))

    def all(self) -> list[Json]:
        return list(self.cache.items())


@pytest.fixture
def watched(monkeypatch: pytest.MonkeyPatch) -> Watched:
    return Watched(monkeypatch)


def test_what_the_watch_tells(watched: Watched) -> None:
    watched.watch("ADDED", obj(1))
    assert watched.cache.get(KEY) == obj(1)
    assert watched.told == [(KEY, None, obj(1))]


def test_an_own_write_is_seen_at_once(watched: Watched) -> None:
    watched.watch("ADDED", obj(1))
    watched.cache.saw(obj(2, said="ours"))
    assert watched.cache.get(KEY) == obj(2, said="ours")
    assert watched.all() == [obj(2, said="ours")]


def test_an_own_creation_is_among_the_items(watched: Watched) -> None:
    watched.cache.saw(obj(2))
    assert watched.all() == [obj(2)]
    watched.watch("ADDED", obj(1, name="two"))
    assert [o["metadata"]["name"] for o in watched.all()] == ["two", "one"]


@pytest.mark.parametrize("version", [2, 3, 10])
def test_until_the_watch_is_as_far(watched: Watched, version: int) -> None:
    watched.watch("ADDED", obj(1))
    watched.cache.saw(obj(2, said="ours"))
    watched.watch("MODIFIED", obj(version, said="theirs"))
    assert watched.cache.get(KEY) == obj(version, said="theirs")


def test_an_older_event_does_not_hide_it(watched: Watched) -> None:
    watched.watch("ADDED", obj(1))
    watched.cache.saw(obj(10, said="ours"))
    watched.watch("MODIFIED", obj(9, said="before ours"))
    assert watched.cache.get(KEY) == obj(10, said="ours")


def test_versions_are_numbers_not_text(watched: Watched) -> None:
    watched.watch("ADDED", obj(9))
    watched.cache.saw(obj(10, said="ours"))
    assert watched.cache.get(KEY) == obj(10, said="ours")


def test_a_stalled_watch_does_not_bring_an_older_state_back(watched: Watched) -> None:
    """It would look like somebody's edit: weights that canaryd itself had raised would seem to have fallen."""
    watched.watch("ADDED", obj(1))
    watched.cache.saw(obj(2, said="ours"))
    watched.now = 3600.0
    assert watched.cache.get(KEY) == obj(2, said="ours")


def test_an_own_creation_that_no_watch_shows_is_not_believed_for_ever(watched: Watched) -> None:
    watched.cache.saw(obj(2, said="ours"))
    watched.now = 31.0
    assert watched.cache.get(KEY) is None


def test_what_was_deleted_is_gone(watched: Watched) -> None:
    watched.watch("ADDED", obj(1))
    watched.cache.saw(obj(2))
    watched.watch("DELETED", obj(3))
    assert watched.cache.get(KEY) is None
    assert watched.all() == []


def test_what_is_not_kept_is_none_of_ours(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch, keep=lambda o: o if o["said"] else None)
    watched.watch("ADDED", obj(1))
    assert watched.cache.get(KEY) is None
    watched.watch("MODIFIED", obj(2, said="managed"))
    assert watched.cache.get(KEY) == obj(2, said="managed")


class TestWhatIsKept:
    @pytest.mark.parametrize(
        ("meta", "kept"),
        [
            ({"annotations": {"canaryd.io/enabled": "true"}}, True),
            ({"annotations": {"canaryd.io/polcy": "x"}}, True),  # so that a misspelling can be told
            ({"labels": {"canaryd.io/role": "canary"}}, True),
            ({"managedFields": [{"manager": "canaryd", "fieldsV1": {"f:spec": {"f:paused": {}}}}]}, True),
            ({"annotations": {"team": "x"}}, False),
            ({}, False),
        ],
    )
    def test_of_deployments(self, meta: Json, kept: bool) -> None:
        made: Json = {"metadata": {"name": "x", **meta}}
        assert (caches._managed(made) is not None) is kept

    def test_field_ownership_takes_room(self) -> None:
        slim = caches._slim({"metadata": {"name": "x", "managedFields": [{}]}, "spec": {}})
        assert slim == {"metadata": {"name": "x"}, "spec": {}}
