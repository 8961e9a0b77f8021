"""From each form of a route to each other, by JSON Patch: exactly the wanted form, and no other byte."""

from __future__ import annotations

import copy
import itertools
import json
from typing import Any

import jsonpatch
import pytest
from hypothesis import given
from hypothesis import strategies as st
from istio_objects import HOST, OWNER, destination, path, reference, route, virtual_service

from canaryd.cluster.resources import Json
from canaryd.domain.model import Form, RouteRef, Traffic
from canaryd.mesh import virtualservice as vs_

PLAIN, FENCED = Traffic(), Traffic(Form.FENCED)
FORMS = [PLAIN, FENCED, *(Traffic(Form.SPLIT, weight) for weight in (0, 1, 50, 100))]
RICH = route(
    destination(port=8080, weight=100, headers={"request": {"add": {"x-from": "gateway"}}}),
    name="api",
    match=[{"uri": {"prefix": "/api"}}, {"headers": {"x-beta": {"exact": "1"}}}],
    timeout="3s",
    retries={"attempts": 2, "perTryTimeout": "1s"},
    rewrite={"uri": "/v1"},
    corsPolicy={"allowOrigins": [{"exact": "https://shop.example.com"}]},
    headers={"response": {"remove": ["server"]}},
)


def rich_service() -> Json:
    """A VirtualService of which a gateway's user would be proud; the managed route is the second."""
    return virtual_service(
        route(destination("assets"), name="assets", match=path("/assets"), mirror={"host": "shadow"}),
        RICH,
        route(destination("old-shop", weight=1), destination("other-shop", weight=2)),
        hosts=["shop.example.com", "checkout"],
        gateways=["istio-system/public", "mesh"],
        exportTo=["*"],
        tls=[{"match": [{"sniHosts": ["pay.example.com"]}], "route": [{"destination": {"host": "pay"}}]}],
        meta_labels={"team": "payments"},
        meta_annotations={"argocd.argoproj.io/sync-wave": "2"},
    )


def to(vs: Json, ref: RouteRef, wanted: Traffic) -> Json:
    """`vs` after the patch to `wanted`."""
    change = vs_.patch(vs, ref, HOST, wanted)
    assert change is not None
    return apply(vs, change.operations)


def apply(vs: Json, operations: list[Json]) -> Json:
    """What an API server makes of a JSON Patch, its check of the resourceVersion included."""
    patched: Json = jsonpatch.apply_patch(vs, operations)
    assert patched["metadata"]["resourceVersion"] == vs["metadata"]["resourceVersion"], "409"
    return patched


def at(vs: Json, ref: RouteRef, traffic: Traffic) -> Json:
    """`vs` with its managed route in that form."""
    return to(vs, ref, traffic)


def elsewhere(vs: Json, ref: RouteRef) -> str:
    """All of the object but the managed destinations, as text."""
    index = vs_.find(vs, ref, HOST)
    assert index is not None
    rest = copy.deepcopy(vs)
    rest["spec"]["http"][index]["route"] = []
    return json.dumps(rest)


@pytest.mark.parametrize(("before", "after"), list(itertools.product(FORMS, FORMS)), ids=str)
class TestEachToEach:
    def test_the_wanted_form_and_no_other_byte(self, before: Traffic, after: Traffic) -> None:
        first = rich_service()
        ref = reference(first, 1)
        vs = at(first, ref, before)
        patched = to(vs, ref, after)
        assert vs_.view(patched, ref, HOST).seen == after
        assert elsewhere(patched, ref) == elsewhere(first, ref)

    def test_the_destination_keeps_its_port_and_headers(self, before: Traffic, after: Traffic) -> None:
        first = rich_service()
        ref = reference(first, 1)
        patched = to(at(first, ref, before), ref, after)
        for entry in patched["spec"]["http"][1]["route"]:
            assert entry["destination"]["host"] == "checkout"
            assert entry["destination"]["port"] == {"number": 8080}
            assert entry["headers"] == {"request": {"add": {"x-from": "gateway"}}}

    def test_back_to_the_first_form_byte_for_byte(self, before: Traffic, after: Traffic) -> None:
        first = rich_service()
        ref = reference(first, 1)
        vs = to(to(at(first, ref, before), ref, after), ref, PLAIN)
        assert json.dumps(vs) == json.dumps(first)

    def test_only_a_fall_goes_without_a_version(self, before: Traffic, after: Traffic) -> None:
        first = rich_service()
        ref = reference(first, 1)
        change = vs_.patch(at(first, ref, before), ref, HOST, after)
        assert change is not None
        split = before.form is Form.SPLIT and after.form is Form.SPLIT
        assert change.falls == (split and after.weight < before.weight)
        versioned = {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"} in change.operations
        assert versioned == (before != after and not change.falls)

    def test_nothing_is_written_where_nothing_is_to_do(self, before: Traffic, after: Traffic) -> None:
        first = rich_service()
        ref = reference(first, 1)
        change = vs_.patch(at(first, ref, before), ref, HOST, after)
        assert change is not None
        assert (change.operations == []) == (before == after)


class TestForeignEdits:
    """The patch was made from `cached`; the server has what somebody made of it meanwhile."""

    def setup_method(self) -> None:
        self.first = rich_service()
        self.ref = reference(self.first, 1)
        self.cached = at(self.first, self.ref, Traffic(Form.SPLIT, 50))

    def operations(self, wanted: Traffic) -> list[Json]:
        change = vs_.patch(self.cached, self.ref, HOST, wanted)
        assert change is not None
        return change.operations

    @pytest.mark.parametrize(
        "edit",
        [
            lambda http: http.insert(0, route(name="new")),
            lambda http: http.append(http.pop(0)),
            lambda http: http.pop(0),
            lambda http: http[1].update(name="renamed"),
            lambda http: http[1].update(route=[destination(port=8080)]),
            lambda http: http[1]["route"][0]["destination"].update(host="other"),
            lambda http: http[1]["route"][1]["destination"].update(subset="v2"),
            lambda http: http[1]["route"].reverse(),
        ],
        ids=["inserted", "reordered", "removed", "renamed", "plain", "host", "subset", "swapped"],
    )
    @pytest.mark.parametrize("wanted", FORMS[2:3], ids=str)
    def test_a_fall_is_refused_where_the_route_is_not_the_one(self, edit: Any, wanted: Traffic) -> None:
        server = copy.deepcopy(self.cached)
        edit(server["spec"]["http"])
        with pytest.raises(jsonpatch.JsonPatchException):
            jsonpatch.apply_patch(server, self.operations(wanted))

    @pytest.mark.parametrize(
        "edit",
        [
            lambda vs: vs["metadata"].update(resourceVersion="8"),
            lambda vs: vs["spec"]["http"].append(route(name="new")),
            lambda vs: vs["spec"]["http"][1].update(timeout="9s", match=path("/v2")),
            lambda vs: vs["spec"]["http"][1]["route"][1].update(weight=80),
            lambda vs: vs["spec"]["http"][1]["route"][0].pop("weight"),
        ],
        ids=["version", "appended", "timeout and match", "weight", "weight gone"],
    )
    def test_a_fall_is_written_whatever_else_has_changed(self, edit: Any) -> None:
        server = copy.deepcopy(self.cached)
        edit(server)
        patched = jsonpatch.apply_patch(server, self.operations(Traffic(Form.SPLIT, 0)))
        assert vs_.view(patched, self.ref, HOST).seen == Traffic(Form.SPLIT, 0)
        assert elsewhere(patched, self.ref) == elsewhere(server, self.ref)

    @pytest.mark.parametrize("wanted", [Traffic(Form.SPLIT, 100), FENCED, PLAIN], ids=str)
    def test_whatever_else_goes_with_the_version_it_was_decided_on(self, wanted: Traffic) -> None:
        assert {"op": "replace", "path": "/metadata/resourceVersion", "value": "7"} in self.operations(wanted)

    @pytest.mark.parametrize("wanted", [FENCED, PLAIN], ids=str)
    def test_destinations_are_replaced_only_if_they_are_those_that_were_seen(self, wanted: Traffic) -> None:
        server = copy.deepcopy(self.cached)
        server["spec"]["http"][1]["route"].append(destination("other"))
        with pytest.raises(jsonpatch.JsonPatchTestFailed):
            jsonpatch.apply_patch(server, self.operations(wanted))

    def test_an_unnamed_route_is_told_by_its_conditions(self) -> None:
        vs = virtual_service(route(match=path("/a")), route(match=path("/b")))
        refs = [reference(vs, 0), reference(vs, 1)]
        for ref in refs:
            vs = at(vs, ref, Traffic(Form.SPLIT, 50))
        fall = vs_.patch(vs, refs[0], HOST, Traffic(Form.SPLIT, 0))
        assert fall is not None
        vs["spec"]["http"].reverse()
        with pytest.raises(jsonpatch.JsonPatchTestFailed):
            jsonpatch.apply_patch(vs, fall.operations)

    def test_a_route_that_is_gone_has_no_patch(self) -> None:
        del self.cached["spec"]["http"][1]
        assert vs_.patch(self.cached, self.ref, HOST, Traffic(Form.SPLIT, 0)) is None

    def test_a_split_made_of_something_else_is_replaced_whole(self) -> None:
        self.cached["spec"]["http"][1]["route"].append(destination("other", weight=7))
        patched = to(self.cached, self.ref, Traffic(Form.SPLIT, 50))
        assert vs_.view(patched, self.ref, HOST).seen == Traffic(Form.SPLIT, 50)


class TestMadeForARun:
    def ref(self) -> RouteRef:
        return RouteRef(
            "shop", "canaryd-checkout", "", "canaryd", None, [{"destination": {"host": HOST}}], made=True
        )

    def made(self, traffic: Traffic) -> Json:
        body = vs_.made(self.ref(), HOST, traffic, OWNER)
        return {**body, "metadata": {**body["metadata"], "resourceVersion": "7", "uid": "u"}}

    def test_plain_is_what_there_is_without_it(self) -> None:
        assert vs_.view(None, self.ref(), HOST).seen == PLAIN

    def test_while_it_is_there_even_plain_is_not_put_back(self) -> None:
        view = vs_.view(self.made(PLAIN), self.ref(), HOST)
        assert (view.seen, view.gone) == (None, False)

    @pytest.mark.parametrize(("before", "after"), list(itertools.permutations(FORMS[1:], 2)), ids=str)
    def test_each_to_each(self, before: Traffic, after: Traffic) -> None:
        vs = self.made(before)
        change = vs_.made_patch(vs, self.ref(), HOST, after, OWNER)
        patched = apply(vs, change.operations)
        assert vs_.view(patched, self.ref(), HOST).seen == after
        assert {**patched, "spec": None} == {**vs, "spec": None}
        split = before.form is after.form is Form.SPLIT
        assert change.falls == (split and after.weight < before.weight)
        assert change.falls == (change.operations[0]["path"] != "/metadata/resourceVersion")

    def test_all_of_it_is_put_right(self) -> None:
        vs = self.made(Traffic(Form.SPLIT, 10))
        vs["spec"] = {"hosts": ["elsewhere"], "http": [route(destination("other"))]}
        view = vs_.view(vs, self.ref(), HOST)
        assert (view.seen, view.gone) == (None, False)
        change = vs_.made_patch(vs, self.ref(), HOST, Traffic(Form.SPLIT, 10), OWNER)
        assert apply(vs, change.operations)["spec"] == self.made(Traffic(Form.SPLIT, 10))["spec"]

    def test_it_goes_over_to_the_run_that_takes_over(self) -> None:
        vs, heir = self.made(Traffic(Form.SPLIT, 100)), {**OWNER, "name": "checkout-2", "uid": "run-2"}
        change = vs_.made_patch(vs, self.ref(), HOST, Traffic(Form.SPLIT, 0), heir)
        assert apply(vs, change.operations)["metadata"]["ownerReferences"] == [heir]
        assert vs_.made_patch(vs, self.ref(), HOST, Traffic(Form.SPLIT, 100), OWNER).operations == []


NAMES = st.text(alphabet="abc", max_size=2)
EXTRAS = st.fixed_dictionaries(
    {},
    optional={
        "timeout": st.just("3s"),
        "retries": st.just({"attempts": 1}),
        "mirror": st.just({"host": "shadow"}),
        "headers": st.just({"request": {"remove": ["cookie"]}}),
    },
)
ENTRIES = st.builds(
    lambda host, port, more: destination(host, port=port, **more),
    st.sampled_from(["checkout", HOST, "other", "third"]),
    st.sampled_from([0, 80, 9090]),
    st.dictionaries(st.sampled_from(["weight"]), st.integers(0, 300)),
)
ROUTES = st.builds(
    lambda entries, name, match, extras: route(*entries, name=name, match=match, **extras),
    st.lists(ENTRIES, min_size=1, max_size=3),
    NAMES,
    st.none() | st.sampled_from([path("/a"), path("/b"), path("/a") + path("/b")]),
    EXTRAS,
)


@given(
    st.lists(ROUTES, min_size=1, max_size=5),
    st.lists(st.sampled_from(FORMS), max_size=6),
    st.lists(st.sampled_from(FORMS), max_size=6),
)
def test_any_walk_of_any_two_routes_ends_byte_for_byte_where_it_began(
    http: list[Json], one: list[Traffic], other: list[Traffic]
) -> None:
    first = virtual_service(*http)
    before = json.dumps(first)
    managed = [c for c in vs_.candidates(first, HOST) if not c.objection]
    refs = [vs_.reference(first, c) for c in managed][:2]
    vs = first
    for ref, walk in zip(refs, (one, other), strict=False):
        for wanted in walk:
            vs = to(vs, ref, wanted)
            assert vs_.view(vs, ref, HOST).seen == wanted
            assert json.dumps(first) == before, "what was read stays as it was"
    for ref in refs:
        vs = to(vs, ref, PLAIN)
    assert json.dumps(vs) == before
