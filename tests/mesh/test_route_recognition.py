"""Which routes of a VirtualService can be managed, and finding them again whatever happens around them."""

from __future__ import annotations

from dataclasses import replace

import pytest
from istio_objects import HOST, destination, path, reference, route, virtual_service

from canaryd.cluster.resources import Json
from canaryd.domain.model import Form, Traffic
from canaryd.mesh import virtualservice as vs_

SPLIT = [destination(subset="stable", weight=90), destination(subset="canary", weight=10)]


class TestCandidates:
    @pytest.mark.parametrize(
        "entry",
        [
            destination("checkout"),
            destination(HOST),
            destination(weight=100),
            destination(weight=0),  # the lone destination has everything all the same
            destination(port=8080),
            destination(headers={"response": {"set": {"x-served-by": "shop"}}}),
        ],
        ids=["short", "full", "weight", "weight 0", "port", "headers"],
    )
    def test_a_lone_destination_is_managed(self, entry: Json) -> None:
        (candidate,) = vs_.candidates(virtual_service(route(entry)), HOST)
        assert candidate.objection == ""

    @pytest.mark.parametrize(
        ("made", "said"),
        [
            (route(destination(subset="v1")), "names subset v1 already"),
            (
                route(destination(subset="v1", weight=90), destination(subset="v2", weight=10)),
                f"splits between several destinations: {HOST} subset v1, {HOST} subset v2",
            ),
            (
                route(destination(weight=70), destination("other", weight=70)),
                f"splits between several destinations: {HOST}, other.shop.svc.cluster.local",
            ),
            (
                route(*SPLIT),
                f"splits between several destinations: {HOST} subset stable, {HOST} subset canary",
            ),
            (route(mirror={"host": "checkout"}), "mirrors to the Service"),
            (route(destination("other"), mirror={"host": HOST}), "mirrors to the Service"),
            (
                route(
                    destination("other"),
                    mirrors=[{"destination": {"host": "checkout"}, "percentage": {"value": 1}}],
                ),
                "mirrors to the Service",
            ),
        ],
    )
    def test_what_cannot_be_managed_says_why(self, made: Json, said: str) -> None:
        (candidate,) = vs_.candidates(virtual_service(made), HOST)
        assert said in candidate.objection

    @pytest.mark.parametrize(
        "made",
        [
            route(destination("other")),
            route(destination("checkout.billing.svc.cluster.local")),
            route(destination("other"), mirror={"host": "other"}),
            {"redirect": {"uri": "/new"}},
            {"delegate": {"name": "checkout-routes"}},
            {"directResponse": {"status": 503}},
        ],
        ids=["other", "other namespace", "mirror elsewhere", "redirect", "delegate", "direct response"],
    )
    def test_routes_that_send_elsewhere_are_left_alone(self, made: Json) -> None:
        assert list(vs_.candidates(virtual_service(made), HOST)) == []

    def test_mirroring_elsewhere_is_no_objection(self) -> None:
        (candidate,) = vs_.candidates(virtual_service(route(mirror={"host": "shadow"})), HOST)
        assert candidate.objection == ""

    def test_a_delegate_has_no_hosts(self) -> None:
        delegate = virtual_service(route(name="api"))
        del delegate["spec"]["hosts"]
        assert [c.name for c in vs_.candidates(delegate, HOST)] == ["api"]

    def test_one_that_no_request_gets_to_is_left_out(self) -> None:
        split = route(destination(weight=1), destination("other", weight=1), match=path("/a"))
        vs = virtual_service(split, route(match=path("/a")), route(match=path("/b")))
        assert [c.index for c in vs_.candidates(vs, HOST)] == [0, 2]

    def test_short_hosts_resolve_where_the_object_is(self) -> None:
        assert list(vs_.candidates(virtual_service(route(), namespace="billing"), HOST)) == []

    @pytest.mark.parametrize("vs", [{"metadata": {"name": "empty", "namespace": "shop"}}, virtual_service()])
    def test_objects_without_routes(self, vs: Json) -> None:
        assert list(vs_.candidates(vs, HOST)) == []
        assert vs_.other_protocols(vs, HOST) == []

    def test_other_protocols_are_named_once(self) -> None:
        tls = {"match": [{"sniHosts": ["a"]}], "route": [destination()]}
        vs = virtual_service(tcp=[{"route": [destination("other")]}], tls=[tls, tls])
        assert vs_.other_protocols(vs, HOST) == ["tls"]


class TestTraffic:
    @pytest.mark.parametrize(
        ("entries", "seen"),
        [
            ([destination()], Traffic(Form.PLAIN)),
            ([destination(HOST, weight=3)], Traffic(Form.PLAIN)),
            ([destination(subset="stable")], Traffic(Form.FENCED)),
            ([destination(subset="stable", weight=0)], Traffic(Form.FENCED)),
            (SPLIT, Traffic(Form.SPLIT, 10)),
            (
                [destination(subset="stable"), destination(subset="canary", weight=100)],
                Traffic(Form.SPLIT, 100),
            ),
            (
                [destination(subset="stable", weight=100), destination(subset="canary")],
                Traffic(Form.SPLIT, 0),
            ),
            # not what canaryd writes:
            ([destination(subset="stable", weight=9), destination(subset="canary", weight=1)], None),
            ([destination(subset="canary", weight=10), destination(subset="stable", weight=90)], None),
            ([destination(subset="canary")], None),
            ([destination(subset="v1")], None),
            ([*SPLIT, destination("other", weight=0)], None),
            (
                [destination(subset="stable", weight=90), destination("other", subset="canary", weight=10)],
                None,
            ),
            ([destination(subset="stable", weight=-10), destination(subset="canary", weight=110)], None),
            ([destination("other")], None),
        ],
    )
    def test_forms(self, entries: list[Json], seen: Traffic | None) -> None:
        assert vs_.traffic(entries, "shop", HOST) == seen


class TestFindingAgain:
    """A managed route among others: three of them, the middle one is managed."""

    def vs(self, *, name: str = "", match: list[Json] | None = None) -> Json:
        before, after = route(name="before", match=path("/before")), route(name="after", match=path("/after"))
        return virtual_service(before, route(name=name, match=match), after)

    @pytest.mark.parametrize(
        ("name", "match"), [("api", None), ("api", path("/api")), ("", path("/api")), ("", None)]
    )
    def test_after_others_are_inserted_and_reordered(self, name: str, match: list[Json] | None) -> None:
        vs = self.vs(name=name, match=match)
        ref = reference(vs, 1)
        first, managed, last = vs["spec"]["http"]
        vs["spec"]["http"] = [last, route(name="new", match=path("/new")), first, managed]
        assert vs_.find(vs, ref, HOST) == 3

    def test_by_name_though_its_conditions_changed(self) -> None:
        vs = self.vs(name="api", match=path("/api"))
        ref = reference(vs, 1)
        vs["spec"]["http"][1]["match"] = path("/api/v2")
        assert vs_.find(vs, ref, HOST) == 1

    def test_of_two_with_one_name_by_its_conditions(self) -> None:
        vs = virtual_service(route(name="api", match=path("/a")), route(name="api", match=path("/b")))
        refs = [reference(vs, 0), reference(vs, 1)]
        assert [vs_.find(vs, ref, HOST) for ref in refs] == [0, 1]
        vs["spec"]["http"].reverse()
        assert [vs_.find(vs, ref, HOST) for ref in refs] == [1, 0]

    def test_an_unnamed_one_is_not_another_unnamed_one(self) -> None:
        vs = virtual_service(route(match=path("/a")), route(match=path("/b")))
        ref = reference(vs, 0)
        del vs["spec"]["http"][0]
        assert vs_.find(vs, ref, HOST) is None

    def test_one_that_sends_elsewhere_now_is_not_it(self) -> None:
        vs = self.vs(name="api")
        ref = reference(vs, 1)
        vs["spec"]["http"][1]["route"] = [destination("maintenance")]
        assert vs_.find(vs, ref, HOST) is None
        assert vs_.view(vs, ref, HOST).gone

    @pytest.mark.parametrize("change", [{"match": path("/v2")}, {"name": "renamed"}])
    def test_split_and_changed_so_that_nothing_tells_it_but_the_subsets(self, change: Json) -> None:
        """Taken for deleted, it would answer 503 as soon as the subsets are removed."""
        vs = self.vs(match=path("/api"))
        ref = reference(vs, 1)
        vs["spec"]["http"][1].update(change, route=SPLIT)
        view = vs_.view(vs, ref, HOST)
        assert (view.gone, view.seen) == (False, Traffic(Form.SPLIT, 10))
        assert (view.ref.route, view.ref.match) == (change.get("name", ""), change.get("match", path("/api")))
        assert view.ref.first == ref.first

    def test_changed_beside_other_managed_routes(self) -> None:
        vs = virtual_service(route(match=path("/a")), route(match=path("/b")))
        refs = [reference(vs, 0), reference(vs, 1)]
        for each in vs["spec"]["http"]:
            each["route"] = SPLIT
        vs["spec"]["http"][1]["match"] = path("/c")
        assert vs_.find(vs, refs[1], HOST, siblings=refs) == 1
        assert vs_.find(vs, refs[1], HOST) is None, "without its siblings it cannot be told from them"

    def test_siblings_of_other_objects_do_not_count(self) -> None:
        vs = virtual_service(route(match=path("/a")))
        ref = reference(vs)
        vs["spec"]["http"][0].update(match=path("/b"), route=SPLIT)
        elsewhere = replace(ref, name="gateway", match=path("/b"))
        assert vs_.find(vs, ref, HOST, siblings=[ref, elsewhere]) == 0


class TestView:
    def test_a_new_plain_form_of_its_owner_is_the_first_form_from_now_on(self) -> None:
        vs = virtual_service(route(name="api"))
        ref = reference(vs)
        vs["spec"]["http"][0]["route"] = [destination(HOST, port=9090)]
        view = vs_.view(vs, ref, HOST)
        assert (view.seen, view.ref.first) == (Traffic(), [destination(HOST, port=9090)])

    def test_weights_that_somebody_changed_are_seen(self) -> None:
        vs = virtual_service(route(name="api"))
        ref = reference(vs)
        vs["spec"]["http"][0]["route"] = SPLIT
        assert vs_.view(vs, ref, HOST).seen == Traffic(Form.SPLIT, 10)
        vs["spec"]["http"][0]["route"] = [*SPLIT, destination("other", weight=5)]
        view = vs_.view(vs, ref, HOST)
        assert (view.seen, view.gone) == (None, False), "it names our subsets: it has to be put right"

    def test_what_its_owner_took_back_wholly_is_gone(self) -> None:
        vs = virtual_service(route(name="api"))
        ref = reference(vs)
        vs["spec"]["http"][0]["route"] = [destination(weight=50), destination("other", weight=50)]
        assert vs_.view(vs, ref, HOST).gone

    def test_deleted(self) -> None:
        ref = reference(virtual_service(route()))
        assert vs_.view(None, ref, HOST).gone

    def test_another_object_of_the_same_name_is_the_owners(self) -> None:
        vs = virtual_service(route())
        ref = reference(vs)
        assert vs_.view(virtual_service(route(), meta_uid="vs-2"), ref, HOST).gone

    def test_another_object_of_the_same_name_with_our_subsets_is_ours_to_put_back(self) -> None:
        """`kubectl get -o yaml` during a run, `kubectl replace --force` of that: it names our subsets."""
        ref = reference(virtual_service(route()))
        view = vs_.view(virtual_service(route(*SPLIT), meta_uid="vs-2"), ref, HOST)
        assert (view.gone, view.seen, view.ref.uid) == (False, Traffic(Form.SPLIT, 10), "vs-2")

    def test_who_wrote_last_is_told(self) -> None:
        vs = virtual_service(route())
        ref = reference(vs)
        fields: Json = {"f:spec": {"f:http": {}}}
        vs["metadata"]["managedFields"] = [
            {"manager": "gitops", "operation": "Apply", "time": "2026-01-01T00:00:00Z", "fieldsV1": fields},
            {
                "manager": "kubectl-edit",
                "operation": "Update",
                "time": "2026-01-02T00:00:00Z",
                "fieldsV1": fields,
            },
            {
                "manager": "pilot",
                "operation": "Update",
                "time": "2026-01-03T00:00:00Z",
                "fieldsV1": {"f:status": {}},
            },
        ]
        assert vs_.view(vs, ref, HOST).by == "kubectl-edit at 2026-01-02T00:00:00Z"
