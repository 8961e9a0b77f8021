"""Routes and subsets written to API servers: races, ownership, and what is not canaryd's."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from istio_objects import destination, path, route, rule
from written_mesh import Mesh

from canaryd.cluster.errors import Conflict, Invalid, Unreachable
from canaryd.cluster.resources import DESTINATIONRULES, VIRTUALSERVICES, Json
from canaryd.domain.model import Form, RouteRef, Traffic
from canaryd.mesh import ownership

FENCED = Traffic(Form.FENCED)
STABLE, CANARY = {"pod-template-hash": "5d6f"}, {"canaryd.io/role": "canary", "canaryd.io/revision": "ab12"}


def split(weight: int) -> Traffic:
    return Traffic(Form.SPLIT, weight)


def raises(error: Exception) -> Callable[..., Any]:
    def call(*_: object) -> Any:
        raise error

    return call


def untimed(owners: Any) -> list[Json]:
    """managedFields without what may differ: the times, and the order of the entries."""
    entries = [{k: v for k, v in entry.items() if k != "time"} for entry in owners or []]
    return sorted(entries, key=json.dumps)


class TestFalls:
    def test_through_any_edit_that_happened_meanwhile(self, mesh: Mesh) -> None:
        stale = mesh.create(route(name="web"), route(name="other", match=path("/o")))
        ref = mesh.reference(stale)
        mesh.put(ref, split(50), stale)
        stale = mesh.seen[-1]
        new = {"op": "add", "path": "/spec/http/0", "value": route(name="new", match=path("/new"))}
        mesh.edit([new, {"op": "add", "path": "/spec/http/1/timeout", "value": "3s"}])
        mesh.put(ref, split(0), stale)
        assert mesh.traffic(ref) == split(0)
        assert [r.get("timeout") for r in mesh.get()["spec"]["http"]] == [None, "3s", None]

    def test_onto_the_plain_route_that_somebody_wrote_meanwhile(self, mesh: Mesh) -> None:
        stale = mesh.create(route(name="web"))
        ref = mesh.reference(stale)
        mesh.put(ref, split(50), stale)
        stale = mesh.seen[-1]
        mesh.edit([{"op": "replace", "path": "/spec/http/0/route", "value": [destination()]}])
        mesh.put(ref, split(0), stale)
        assert mesh.traffic(ref) == split(0)

    def test_of_a_route_that_is_gone_is_nothing(self, mesh: Mesh) -> None:
        stale = mesh.create(route(name="web"), route(destination("other")))
        ref = mesh.reference(stale)
        mesh.put(ref, split(50), stale)
        stale = mesh.seen[-1]
        mesh.edit([{"op": "remove", "path": "/spec/http/0"}])
        mesh.put(ref, split(0), stale)
        assert len(mesh.get()["spec"]["http"]) == 1

    def test_each_route_on_its_own_from_one_old_copy(self, mesh: Mesh) -> None:
        vs = mesh.create(route(match=path("/a")), route(match=path("/b")))
        refs = [mesh.reference(vs, 0), mesh.reference(vs, 1)]
        for ref in refs:
            mesh.put(ref, split(50), mesh.get())
        old = mesh.get()
        for ref in refs:
            mesh.put(ref, split(0), old)
        assert [mesh.traffic(ref) for ref in refs] == [split(0), split(0)]


class TestRises:
    @pytest.mark.parametrize("wanted", [split(60), FENCED, Traffic()], ids=str)
    def test_never_on_what_has_changed(self, mesh: Mesh, wanted: Traffic) -> None:
        vs = mesh.create(route(name="web"))
        ref = mesh.reference(vs)
        mesh.put(ref, split(50), vs)
        stale = mesh.seen[-1]
        mesh.edit([{"op": "add", "path": "/metadata/labels", "value": {"touched": "yes"}}])
        with pytest.raises(Conflict):
            mesh.put(ref, wanted, stale)
        assert mesh.traffic(ref) == split(50)

    def test_not_where_the_destinations_are_others(self, mesh: Mesh) -> None:
        vs = mesh.create(route(name="web"))
        ref = mesh.reference(vs)
        vs["spec"]["http"][0]["route"][0]["destination"]["host"] = mesh.host
        with pytest.raises(Invalid):
            mesh.put(ref, split(1), vs)

    def test_the_answer_is_told(self, mesh: Mesh) -> None:
        vs = mesh.create(route(name="web"))
        mesh.put(mesh.reference(vs), FENCED, vs)
        assert mesh.seen == [mesh.get()]


class TestOwnership:
    """The owner applies from Git, canaryd releases, the owner applies again: nothing happened."""

    BODY = route(name="web", timeout="3s")

    def release(self, mesh: Mesh, ref: RouteRef) -> None:
        for traffic in (FENCED, split(0), split(10), split(50), split(0), Traffic()):
            mesh.put(ref, traffic, mesh.get())
        mesh.give_back(ref)

    @pytest.mark.parametrize("manager", ["helm", "kubectl-client-side-apply"])
    def test_of_an_owner_who_updates(self, mesh: Mesh, manager: str) -> None:
        first = mesh.create(self.BODY, route(match=path("/b")), manager=manager)
        refs = [mesh.reference(first, 0), mesh.reference(first, 1)]
        for ref in refs:
            self.release(mesh, ref)
        last = mesh.get()
        assert json.dumps(last["spec"]) == json.dumps(first["spec"])
        assert untimed(last["metadata"]["managedFields"]) == untimed(first["metadata"]["managedFields"])

    def test_while_it_lasts_canaryd_is_named(self, mesh: Mesh) -> None:
        vs = mesh.create(self.BODY)
        mesh.put(mesh.reference(vs), FENCED, vs)
        assert "canaryd" in [entry["manager"] for entry in mesh.get()["metadata"]["managedFields"]]

    def test_what_others_changed_meanwhile_stays_theirs(self, mesh: Mesh) -> None:
        vs = mesh.create(self.BODY, manager="helm")
        ref = mesh.reference(vs)
        mesh.put(ref, FENCED, vs)
        mesh.edit([{"op": "add", "path": "/spec/exportTo", "value": ["*"]}])
        mesh.put(ref, Traffic(), mesh.get())
        mesh.give_back(ref)
        owned = {e["manager"]: e["fieldsV1"] for e in mesh.get()["metadata"]["managedFields"]}
        assert owned.keys() == {"helm", "kubectl-edit"}
        assert "f:exportTo" in owned["kubectl-edit"]["f:spec"]
        assert {"f:http", "f:hosts"} <= owned["helm"]["f:spec"].keys()
        assert "f:exportTo" not in owned["helm"]["f:spec"]

    def test_of_an_object_that_nobody_tracks(self, mesh: Mesh) -> None:
        mesh.create(self.BODY)
        untracked = mesh.edit([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}])
        assert "managedFields" not in untracked["metadata"]
        self.release(mesh, mesh.reference(untracked))
        assert untimed(mesh.get()["metadata"].get("managedFields")) == []

    def test_given_back_although_the_object_changes_under_it(self, mesh: Mesh) -> None:
        """Somebody writes meanwhile."""
        vs = mesh.create(self.BODY, manager="helm")
        ref = mesh.reference(vs)
        mesh.put(ref, FENCED, vs)
        mesh.put(ref, Traffic(), mesh.get())
        stale = mesh.get()
        mesh.edit([{"op": "add", "path": "/metadata/labels", "value": {"touched": "yes"}}])
        mesh.writer.give_back(stale, ref.owners)
        assert {e["manager"] for e in mesh.get()["metadata"]["managedFields"]} == {"helm", "kubectl-edit"}

    def test_is_not_worth_failing_for(self, mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
        """The API server goes away meanwhile: it is given back another time."""
        vs = mesh.create(self.BODY, manager="helm")
        ref = mesh.reference(vs)
        mesh.put(ref, FENCED, vs)
        stale = mesh.get()
        mesh.put(ref, Traffic(), stale)
        with monkeypatch.context() as gone:
            gone.setattr(mesh.api, "get", raises(Unreachable(0, "Unreachable", "gone", "get", "checkout")))
            mesh.writer.give_back(stale, ref.owners)
        mesh.give_back(ref)
        assert untimed(mesh.get()["metadata"]["managedFields"]) == untimed(vs["metadata"]["managedFields"])

    def test_repeats_write_nothing(self, mesh: Mesh) -> None:
        vs = mesh.create(self.BODY)
        ref = mesh.reference(vs)
        self.release(mesh, ref)
        version = mesh.get()["metadata"]["resourceVersion"]
        mesh.put(ref, Traffic(), mesh.get())
        mesh.give_back(ref)
        assert mesh.get()["metadata"]["resourceVersion"] == version

    def test_by_the_first_record_that_tells(self, mesh: Mesh) -> None:
        """A run that began while another had the routes knows nothing of their owners."""
        first = mesh.create(self.BODY, manager="helm")
        early = mesh.reference(first)
        mesh.put(early, FENCED, first)
        late = mesh.reference(mesh.get())
        for known in ([late, early], [early, late]):
            assert ownership.before(mesh.get(), known) == first["metadata"]["managedFields"]
        assert ownership.before(mesh.get(), [late]) is None
        assert ownership.before(mesh.get(), [replace(early, uid="one that was deleted")]) is None


class TestServerSideApply:
    """The sandbox has no server-side apply: on the real server alone."""

    @pytest.fixture(autouse=True)
    def _real(self, request: pytest.FixtureRequest) -> None:
        if request.node.callspec.params["api"] != "real":
            pytest.skip("the sandbox's API server has no server-side apply")

    def test_a_release_leaves_no_conflict_and_no_change(self, mesh: Mesh) -> None:
        vs = mesh.create(route(name="web"), route(match=path("/b")))
        mesh.api.delete(VIRTUALSERVICES, mesh.namespace, "checkout")
        applied = mesh.apply(vs)
        for index in (0, 1):
            ref = mesh.reference(applied, index)
            for traffic in (FENCED, split(0), split(10), split(0), Traffic()):
                mesh.put(ref, traffic, mesh.get())
            mesh.give_back(ref)
        before = mesh.get()
        assert untimed(before["metadata"]["managedFields"]) == untimed(applied["metadata"]["managedFields"])
        assert mesh.apply(vs)["metadata"]["resourceVersion"] == before["metadata"]["resourceVersion"]
        changed = {**vs, "spec": {**vs["spec"], "http": [route(name="web", timeout="9s")]}}
        assert mesh.apply(changed)["spec"]["http"] == changed["spec"]["http"]

    def test_a_delegate_of_which_only_the_routes_are_applied(self, mesh: Mesh) -> None:
        """canaryd takes the owner's only field: the owner's entry vanishes, and has to come back."""
        vs = mesh.create(route(name="web"), hosts=[])
        mesh.api.delete(VIRTUALSERVICES, mesh.namespace, "checkout")
        applied = mesh.apply({**vs, "spec": {"http": vs["spec"]["http"]}})
        ref = mesh.reference(applied)
        for traffic in (FENCED, Traffic()):
            mesh.put(ref, traffic, mesh.get())
        mesh.give_back(ref)
        after = mesh.get()
        owners = {e["manager"]: e["fieldsV1"]["f:spec"] for e in after["metadata"]["managedFields"]}
        assert owners.keys() == {"gitops"}
        assert "f:http" in owners["gitops"]
        assert mesh.apply({**vs, "spec": {"http": [route(name="web", timeout="9s")]}})

    def test_during_a_release_an_apply_meets_a_conflict_that_names_canaryd(self, mesh: Mesh) -> None:
        vs = mesh.create(route(name="web"))
        mesh.api.delete(VIRTUALSERVICES, mesh.namespace, "checkout")
        applied = mesh.apply(vs)
        mesh.put(mesh.reference(applied), FENCED, applied)
        with pytest.raises(Conflict, match="canaryd"):
            mesh.apply(vs)


class TestMadeForARun:
    def ref(self, mesh: Mesh) -> RouteRef:
        first = [{"destination": {"host": mesh.host}}]
        return RouteRef(mesh.namespace, "canaryd-checkout", "", "canaryd", None, first, made=True)

    def test_made_moved_and_removed(self, mesh: Mesh) -> None:
        ref = self.ref(mesh)
        mesh.put(ref, FENCED, None)
        for weight in (0, 10, 50, 0):
            mesh.put(ref, split(weight), mesh.get(ref.name))
            assert mesh.traffic(ref) == split(weight)
        made = mesh.get(ref.name)
        assert made["spec"]["hosts"] == [mesh.host]
        mesh.put(ref, Traffic(), made)
        assert mesh.traffic(ref) == Traffic()

    def test_by_somebody_else_at_the_same_time(self, mesh: Mesh) -> None:
        ref = self.ref(mesh)
        mesh.put(ref, FENCED, None)
        mesh.put(ref, split(0), None)  # the cache has not heard of it
        assert mesh.traffic(ref) == split(0)

    def test_edited_it_falls_all_the_same(self, mesh: Mesh) -> None:
        ref = self.ref(mesh)
        mesh.put(ref, split(50), None)
        stale = mesh.get(ref.name)
        mesh.edit([{"op": "add", "path": "/spec/http/0", "value": route(destination("x"))}], name=ref.name)
        mesh.put(ref, split(0), stale)
        assert len(mesh.get(ref.name)["spec"]["http"]) == 1
        assert mesh.traffic(ref) == split(0)

    def test_over_to_the_next_run(self, mesh: Mesh) -> None:
        ref = self.ref(mesh)
        mesh.put(ref, split(100), None)
        mesh.owner = {**mesh.owner, "name": "checkout-2", "uid": "run-2"}
        mesh.put(ref, split(0), mesh.get(ref.name))
        assert mesh.get(ref.name)["metadata"]["ownerReferences"] == [mesh.owner]

    def test_an_owners_object_of_that_name_is_not_touched(self, mesh: Mesh) -> None:
        theirs = mesh.create(route(), name="canaryd-checkout")
        ref = self.ref(mesh)
        with pytest.raises(Conflict, match="rename it"):
            mesh.put(ref, FENCED, None)
        mesh.put(ref, Traffic(), theirs)
        assert mesh.get(ref.name) == theirs

    def test_removed_already(self, mesh: Mesh) -> None:
        ref = self.ref(mesh)
        mesh.put(ref, FENCED, None)
        made = mesh.get(ref.name)
        for _ in range(2):
            mesh.put(ref, Traffic(), made)


class TestSubsets:
    def test_added_changed_and_removed(self, mesh: Mesh) -> None:
        mesh.put_subsets(None, stable=STABLE)
        mesh.put_subsets(mesh.rule(), stable=STABLE, canary=CANARY)
        mesh.put_subsets(mesh.rule(), stable=CANARY, canary=CANARY)
        made = mesh.rule()
        assert made is not None
        assert made["spec"] == {
            "host": mesh.host,
            "subsets": [{"name": "stable", "labels": CANARY}, {"name": "canary", "labels": CANARY}],
        }
        assert mesh.rules_seen[-1] == made
        mesh.put_subsets(made)
        assert mesh.rule() is None
        mesh.put_subsets(made)

    def test_a_rule_that_is_there_already_is_continued(self, mesh: Mesh) -> None:
        mesh.put_subsets(None, stable=STABLE)
        mesh.owner = {**mesh.owner, "name": "checkout-2", "uid": "run-2"}
        mesh.put_subsets(None, stable=STABLE, canary=CANARY)
        made = mesh.rule()
        assert made is not None
        assert len(made["spec"]["subsets"]) == 2
        assert made["metadata"]["ownerReferences"] == [mesh.owner]

    def test_never_on_what_has_changed(self, mesh: Mesh) -> None:
        mesh.put_subsets(None, stable=STABLE)
        stale = mesh.rule()
        mesh.put_subsets(stale, stable=STABLE, canary=CANARY)
        with pytest.raises(Conflict):
            mesh.put_subsets(stale, stable=CANARY)

    def test_an_owners_rule_of_that_name_is_not_touched(self, mesh: Mesh) -> None:
        body = rule("v1", name="canaryd-checkout", namespace=mesh.namespace)
        meta = {k: v for k, v in body["metadata"].items() if k not in ("uid", "resourceVersion")}
        theirs = mesh.api.create(DESTINATIONRULES, mesh.namespace, {**body, "metadata": meta})
        with pytest.raises(Conflict, match="rename it"):
            mesh.put_subsets(None, stable=STABLE)
        mesh.put_subsets(theirs)
        assert mesh.rule() == theirs

    def test_the_policy_of_a_rule_that_it_hides_goes_with_it(self, mesh: Mesh) -> None:
        policy = {"tls": {"mode": "ISTIO_MUTUAL"}}
        wide = rule(host="*.local", namespace="istio-system", trafficPolicy=policy)
        mesh.put_subsets(None, wide, stable=STABLE)
        made = mesh.rule()
        assert made is not None
        assert made["spec"]["trafficPolicy"] == policy
