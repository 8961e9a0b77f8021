"""A run survives being written and read back, whatever was there before, and is never misread."""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from dataclasses import fields, replace
from typing import Any

import pytest
from any_run import EVIDENCE, FIELDS, RUNS, evidence, watched
from hypothesis import given, settings
from hypothesis import strategies as st

from analysis import Judge, JudgeConfig
from canaryd.cluster.resources import Json
from canaryd.cluster.runs import FINALIZER, manifest, parse, seconds, stamp, status, target_label
from canaryd.domain.model import Arm, Pass, RouteRef, Run, Stage, Target, Wanted
from config import SHIPPED


def merged(target: Any, patch: Any) -> Any:
    """A merge patch as a real API server does it: RFC 7386, and every null is dropped, in lists as well."""
    if isinstance(patch, list):
        return [merged(None, each) for each in patch if each is not None]
    if not isinstance(patch, dict):
        return patch
    result = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            result.pop(key, None)
        else:
            result[key] = merged(result.get(key), value)
    return result


def stored(run: Run, before: Json | None = None) -> Json:
    """The object that the API server has of `run`, after one write of its status over `before`'s."""
    body = json.loads(json.dumps(manifest(run)))
    meta = {
        "uid": run.uid,
        "resourceVersion": run.resource_version,
        "creationTimestamp": "2026-01-01T00:00:00Z",
    }
    body["metadata"] |= meta | ({"deletionTimestamp": "2026-01-02T00:00:00Z"} if run.deleting else {})
    body["spec"] |= {"paused": run.wish_pause, "abort": run.wish_abort}
    return {**body, "status": merged((before or {}).get("status"), json.loads(json.dumps(status(run))))}


def a_run(**changes: Any) -> Run:
    made = Run(
        "shop", "checkout-ab12", Target("shop", "checkout", "uid-1"), "ab12", created=1.7e9, uid="run-1"
    )
    return replace(made, **changes)


@settings(max_examples=80, deadline=None)
@given(RUNS)
def test_what_was_written_is_read(run: Run) -> None:
    assert parse(stored(run)) == run


@settings(max_examples=80, deadline=None)
@given(RUNS, RUNS)
def test_whatever_was_written_before(run: Run, before: Run) -> None:
    assert parse(stored(run, stored(before))) == run


@settings(max_examples=50, deadline=None)
@given(RUNS)
def test_what_a_newer_version_wrote_beside_stays(run: Run) -> None:
    newer = stored(run)
    newer["status"] |= {"forecast": {"minutes": 3}}
    newer["status"]["times"] |= {"forecastAt": 17.5}
    newer["status"]["weight"] |= {"forecast": 50}
    newer["spec"] |= {"window": "nights"}
    assert parse(newer) == run
    after = stored(replace(run, because="again"), newer)
    assert after["status"]["forecast"] == {"minutes": 3}
    assert after["status"]["times"]["forecastAt"] == 17.5
    assert after["status"]["weight"]["forecast"] == 50


def test_every_field_is_drawn_and_so_kept() -> None:
    """A field that `status` or `parse` forgets would be lost at the next restart."""
    assert FIELDS.keys() == {f.name for f in fields(Run)} - {"verdict", "watch"}


def test_the_judges_state_keeps_its_nulls() -> None:
    """Some edges of a histogram decide nothing: their part is null, which a merge patch drops."""
    state = EVIDENCE[-1]
    assert any(not edge.decides for edge in state.latency.judged)
    assert parse(stored(a_run(evidence=state))).evidence == state


def test_a_subset_that_selects_by_other_labels_selects_by_no_old_ones() -> None:
    by_hash = {"pod-template-hash": "5d6f"}
    by_revision = {"canaryd.io/role": "canary", "canaryd.io/revision": "ab12"}
    before = a_run(stable=Arm("checkout", "a", by_hash), wanted=Wanted(stable_subset=by_hash))
    after = a_run(stable=Arm("checkout-canary", "a", by_revision), wanted=Wanted(stable_subset=by_revision))
    for one, other in ((before, after), (after, before)):
        back = parse(stored(other, stored(one)))
        assert back.stable == other.stable
        assert back.wanted.stable_subset == other.wanted.stable_subset


def test_a_verdict_stays_for_people_to_read() -> None:
    judge = Judge(JudgeConfig())
    before = stored(a_run(verdict=judge.verdict(EVIDENCE[-1])))
    after = stored(a_run(), before)
    assert after["status"]["verdictDecision"] == before["status"]["verdictDecision"]
    assert after["status"]["verdict"] == before["status"]["verdict"]


def test_a_new_object_is_what_people_and_the_sweep_look_for() -> None:
    body = manifest(a_run(retry="2", trigger="the Deployment's template changed", policy_name="fast"))
    assert body["metadata"]["finalizers"] == [FINALIZER]
    assert body["metadata"]["labels"]["canaryd.io/target"] == "checkout"
    assert body["spec"]["target"] == {"kind": "Deployment", "name": "checkout", "uid": "uid-1"}
    assert "status" not in body


@pytest.mark.parametrize(
    ("name", "label"),
    [("checkout", "checkout"), ("a" * 63, "a" * 63), ("a" * 64, "a" * 63), ("a" * 62 + "-b", "a" * 62)],
)
def test_the_targets_label_is_one_that_the_api_takes(name: str, label: str) -> None:
    assert target_label(name) == label


def test_what_people_see_in_a_list() -> None:
    body = status(a_run(stage=Stage.JUDGE, policy=SHIPPED["standard"], step=2, because="judging at 5 %"))
    assert body["phase"] == "Progressing"
    assert body["step"] == {"index": 2, "of": 7, "text": "3/7"}
    assert body["because"] == "judging at 5 %"


def test_a_run_with_ten_routes_and_all_its_evidence_is_far_from_what_etcd_takes() -> None:
    bounds = (0.5, 1, 5, 10, 25, 50, 100, 250, 500, 1000, 2500, 5000, 10000, 30000, 60000)
    state = evidence(300, edges=tuple(ms / 1000 for ms in bounds), pods=20)
    owners = [
        {
            "manager": f"tool-{n}",
            "operation": "Update",
            "fieldsV1": {"f:metadata": {"f:annotations": {"f:x": {}}}},
        }
        for n in range(6)
    ]
    match = [{"uri": {"prefix": f"/{n}"}, "headers": {"x-tenant": {"exact": "a" * 60}}} for n in range(5)]
    first = [{"destination": {"host": "checkout", "port": {"number": 80}}, "headers": {"request": {}}}]
    routes = tuple(RouteRef("shop", f"vs-{n}", "u" * 36, f"r-{n}", match, first, owners) for n in range(10))
    run = a_run(
        policy=SHIPPED["cautious"],
        routes=routes,
        evidence=state,
        verdict=Judge(JudgeConfig()).verdict(state),
        watched=watched(2),
        passes=tuple(Pass(n, 10 * n, 1.7e9, "said promote, " * 20) for n in range(9)),
        reasserted=tuple(1.7e9 + n for n in range(20)),
    )
    assert len(json.dumps(stored(run))) < 64 * 1024


class TestMalformed:
    """ValueError and nothing else: one object that cannot be read must not stop the others."""

    @pytest.mark.parametrize(
        "obj", [{}, {"metadata": {}}, {"metadata": {"namespace": "a", "name": "b"}, "spec": {}}]
    )
    def test_no_run_at_all(self, obj: Json) -> None:
        with pytest.raises(ValueError, match="not a run that can be read"):
            parse(obj)

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("stage",), "telepathy"),
            (("outcome",), "Undecided"),
            (("hold",), "Bored"),
            (("wanted", "form"), "round"),
            (("wanted", "weight"), "ten"),
            (("wanted", "canaryReplicas"), 1.5),
            (("wanted", "stableSubset"), {"a": 1}),
            (("wanted",), []),
            (("times",), [1]),
            (("times", "settledFrom"), "noon"),
            (("times", "created"), True),
            (("step",), "3/7"),
            (("routes",), [{"route": "web"}]),
            (("routes",), {"0": {}}),
            (("policy", "steps"), [0, -1]),
            (("policy", "alpha"), "small"),
            (("policy",), "standard"),
            (("judge",), {"version": 1}),
            (("judge",), {"state": "{"}),
            (("judge",), {"state": "[]"}),
            (("judge",), {"state": '{"version": 99}'}),
            (("watched",), {"state": "{}"}),
            (("passes",), [{"step": 1}]),
            (("conditions",), [{"type": "Preflight"}]),
            (("reasserted",), ["noon"]),
            (("startReplicas",), "4"),
            (("handsOn",), "no"),
        ],
    )
    def test_in_one_place(self, path: tuple[str, ...], value: object) -> None:
        obj = stored(a_run(evidence=EVIDENCE[1], policy=SHIPPED["standard"], stable=Arm("a", "b", {})))
        place = obj["status"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        with pytest.raises(ValueError, match="not a run that can be read"):
            parse(obj)

    @settings(max_examples=120, deadline=None)
    @given(RUNS, st.data())
    def test_anywhere(self, run: Run, data: st.DataObject) -> None:
        obj = copy.deepcopy(stored(run))
        container, key = data.draw(st.sampled_from(list(places(obj))))
        container[key] = data.draw(
            st.sampled_from([None, True, -1, 1.5, "", "x", [], {}, [None], {"x": None}, "9" * 400, 1e300])
        )
        try:
            parse(obj)
        except ValueError:
            return

    def test_times(self) -> None:
        for text in ("", "yesterday", "2026-13-01T00:00:00Z"):
            with pytest.raises(ValueError):
                seconds(text)


def places(value: Any) -> Iterator[tuple[Any, Any]]:
    """Every place inside of a JSON value: (container, key)."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in items:
        yield value, key
        yield from places(inner)


@pytest.mark.parametrize("at", [0.0, 1.7e9, 1767225600.123456])
def test_time_stamps_go_there_and_back(at: float) -> None:
    assert seconds(stamp(at)) == at
    assert stamp(at).endswith("Z")
    assert len(stamp(at)) == len("2026-01-01T00:00:00.000000Z")


def test_whole_seconds_are_read_too() -> None:
    assert seconds("2026-01-01T00:00:00Z") == 1767225600.0
