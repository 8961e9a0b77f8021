"""Istio's semantics, as requests through a real Envoy meet them."""

from __future__ import annotations

from typing import Any

import pytest
from conftest import Shop
from mesh_fakes import Answer, App, destination_rule, fresh_address, pod, route, service, to, virtual_service

Json = dict[str, Any]

STABLE, CANARY = "s-1", "c-1"


def share(tally: dict[str, int], who: str = CANARY) -> float:
    return tally.get(who, 0) / sum(tally.values())


class TestWeights:
    """Relative shares; the bounds are 6 standard deviations of 1000 draws and more."""

    @pytest.mark.parametrize(
        ("stable", "canary", "expected"),
        [(90, 10, 0.1), (1, 1, 0.5), (3, 1, 0.25), (250, 750, 0.75), (99, 1, 0.01)],
    )
    def test_shares_are_relative(self, shop: Shop, stable: int, canary: int, expected: float) -> None:
        shop.tell(virtual_service(route(to("stable", stable), to("canary", canary))))
        assert share(shop.proxy.tally(1000)) == pytest.approx(expected, abs=0.1 if expected > 0.02 else 0.03)

    @pytest.mark.parametrize("nothing", [0, None])
    def test_zero_or_absent_among_several_gets_nothing(self, shop: Shop, nothing: int | None) -> None:
        shop.tell(virtual_service(route(to("stable", 7), to("canary", nothing))))
        assert shop.proxy.tally(200) == {STABLE: 200}

    @pytest.mark.parametrize("weight", [None, 0, 1, 100])
    def test_a_lone_destination_gets_all_whatever_its_weight(self, shop: Shop, weight: int | None) -> None:
        shop.tell(virtual_service(route(to("canary", weight))))
        assert shop.proxy.tally(50) == {CANARY: 50}


class TestSubsets:
    def test_a_missing_subset_answers_503_no_cluster(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary"))), rules=(destination_rule("stable"),))
        assert shop.proxy.tally(5) == {"503 NC": 5}

    def test_a_removed_subset_is_missing_at_once(self, shop: Shop) -> None:
        split = virtual_service(route(to("canary")))
        shop.tell(split)
        assert shop.proxy.tally(5) == {CANARY: 5}
        shop.tell(split, rules=(destination_rule("stable"),))
        assert shop.proxy.tally(5) == {"503 NC": 5}
        shop.tell(split)
        assert shop.proxy.tally(5) == {CANARY: 5}

    def test_an_empty_subset_answers_503_no_healthy_upstream(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary"))), pods=shop.pods[:1])
        assert shop.proxy.tally(5) == {"503 UH": 5}

    def test_a_rule_in_the_clients_namespace_hides_the_services(self, shop: Shop) -> None:
        hiding = destination_rule("other", host="checkout.shop.svc.cluster.local", namespace="default")
        shop.tell(virtual_service(route(to("canary"))), rules=(destination_rule("canary"), hiding))
        assert shop.proxy.tally(5) == {"503 NC": 5}

    def test_a_host_that_is_no_service_answers_503_no_cluster(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to(host="checkout.shop"))))
        assert shop.proxy.tally(5) == {"503 NC": 5}


class TestWithoutVirtualService:
    @pytest.mark.parametrize(
        "host",
        [
            "checkout",
            "checkout:80",
            "checkout.shop",
            "checkout.shop.svc",
            "checkout.shop.svc.cluster.local",
            "checkout.shop.svc.cluster.local:80",
        ],
    )
    def test_every_form_of_the_name_reaches_all_ready_pods(self, shop: Shop, host: str) -> None:
        got = shop.proxy.tally(60, host)
        assert set(got) == {STABLE, CANARY}

    @pytest.mark.parametrize("host", ["checkout.pay", "checkout:81", "nothing", "checkout.shop.svc:8080"])
    def test_other_names_find_no_route(self, shop: Shop, host: str) -> None:
        got = shop.proxy.get(host)
        assert (got.status, got.flags) == (404, "NR")

    def test_a_short_name_means_the_clients_own_namespace(self, shop: Shop) -> None:
        own = service(namespace="default")
        assert shop.tell(services=(own, service())).get("checkout").flags == "UH"
        assert shop.proxy.get("checkout.shop").status == 200

    def test_no_ready_pod_is_503_no_healthy_upstream(self, shop: Shop) -> None:
        unready = (pod("s-1", fresh_address(), ready=False),)
        assert shop.tell(pods=unready).get().flags == "UH"

    def test_a_second_port_is_reached_by_its_number(self, shop: Shop) -> None:
        address = shop.apps[STABLE].address
        admin = App("admin-port", address, port=9090)
        try:
            ports = [{"port": 80, "targetPort": 8080}, {"port": 81, "targetPort": 9090}]
            shop.tell(services=(service(ports=ports),), pods=(pod("s-1", address, ports=(8080, 9090)),))
            assert shop.proxy.get("checkout").pod == STABLE
            assert shop.proxy.get("checkout:81").pod == "admin-port"
        finally:
            admin.close()


def when(*match: Json) -> Json:
    """The canary where a match holds, stable otherwise."""
    return virtual_service(route(to("canary"), match=list(match)), route(to("stable")))


MATCHES: dict[str, tuple[list[Json], list[Json], list[Json]]] = {
    # name: (match, requests that it takes, requests that it leaves)
    "uri exact": ([{"uri": {"exact": "/a"}}], [{"path": "/a"}, {"path": "/a?x=1"}], [{"path": "/a/"}, {}]),
    "uri prefix": ([{"uri": {"prefix": "/a"}}], [{"path": "/a"}, {"path": "/ab/c"}], [{"path": "/b/a"}]),
    "uri regex": (
        [{"uri": {"regex": "/v[0-9]+/.*"}}],
        [{"path": "/v12/x"}],
        [{"path": "/v/x"}, {"path": "/x/v12/x"}],
    ),
    "uri in any case": (
        [{"uri": {"prefix": "/a"}, "ignoreUriCase": True}],
        [{"path": "/Ab"}],
        [{"path": "/b"}],
    ),
    "method": ([{"method": {"exact": "POST"}}], [{"method": "POST"}], [{"method": "GET"}]),
    "authority": (
        [{"authority": {"prefix": "checkout.shop"}}],
        [{"host": "checkout.shop"}],
        [{"host": "checkout"}],
    ),
    "header exact": (
        [{"headers": {"x-user": {"exact": "bob"}}}],
        [{"x_user": "bob"}],
        [{}, {"x_user": "bobby"}],
    ),
    "header prefix": (
        [{"headers": {"x-user": {"prefix": "bo"}}}],
        [{"x_user": "bob"}],
        [{}, {"x_user": "alice"}],
    ),
    "header regex": (
        [{"headers": {"x-user": {"regex": "b.b"}}}],
        [{"x_user": "bob"}],
        [{}, {"x_user": "bobby"}],
    ),
    "header present": ([{"headers": {"x-user": {}}}], [{"x_user": "anybody"}], [{}]),
    "header present, as an asterisk": ([{"headers": {"x-user": {"regex": "*"}}}], [{"x_user": "a"}], [{}]),
    "without header": ([{"withoutHeaders": {"x-user": {}}}], [{}], [{"x_user": "a"}]),
    "without a value": (
        [{"withoutHeaders": {"x-user": {"exact": "bob"}}}],
        [{}, {"x_user": "alice"}],
        [{"x_user": "bob"}],
    ),
    "query": (
        [{"queryParams": {"beta": {"exact": "1"}}}],
        [{"path": "/?beta=1"}],
        [{"path": "/?beta=2"}, {}],
    ),
    "port": ([{"port": 80}], [{}], []),
    "another port": ([{"port": 81}], [], [{}]),
    "all conditions of one match": (
        [{"uri": {"prefix": "/a"}, "headers": {"x-user": {"exact": "bob"}}}],
        [{"path": "/a", "x_user": "bob"}],
        [{"path": "/a"}, {"x_user": "bob"}],
    ),
    "any of several": (
        [{"uri": {"prefix": "/a"}}, {"headers": {"x-user": {"exact": "bob"}}}],
        [{"path": "/a"}, {"x_user": "bob"}],
        [{}],
    ),
    "for the mesh": ([{"gateways": ["mesh"]}], [{}], []),
    "for a gateway": ([{"gateways": ["web"]}], [], [{}]),
    "for pods with labels": ([{"sourceLabels": {"app": "front"}}], [], [{}]),
    "for a namespace": ([{"sourceNamespace": "default"}], [{}], []),
    "for another namespace": ([{"sourceNamespace": "pay"}], [], [{}]),
}


class TestMatching:
    @pytest.mark.parametrize("name", MATCHES)
    def test_conditions(self, shop: Shop, name: str) -> None:
        match, taken, left = MATCHES[name]
        shop.tell(when(*match))
        assert [shop.proxy.get(**request).pod for request in taken] == [CANARY] * len(taken)
        assert [shop.proxy.get(**request).pod for request in left] == [STABLE] * len(left)

    def test_the_first_match_wins(self, shop: Shop) -> None:
        first, second = {"uri": {"prefix": "/a"}}, {"uri": {"prefix": "/a/b"}}
        shop.tell(
            virtual_service(
                route(to("canary"), match=[first]), route(to("stable"), match=[second]), route(to("stable"))
            )
        )
        assert shop.proxy.get(path="/a/b").pod == CANARY

    def test_what_nothing_matches_is_404(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary"), match=[{"uri": {"prefix": "/a"}}])))
        assert shop.proxy.get(path="/b").flags == "NR"

    def test_routes_that_are_all_for_others_leave_the_plain_route(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary"), match=[{"gateways": ["web"]}])))
        assert set(shop.proxy.tally(60)) == {STABLE, CANARY}


class TestWhoIsMeant:
    def test_a_gateway_alone_misses_the_mesh(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary")), hosts=("checkout", "x.example.com"), gateways=["web"]))
        assert set(shop.proxy.tally(60, "checkout")) == {STABLE, CANARY}
        assert shop.proxy.tally(10, "x.example.com") == {CANARY: 10}

    def test_both(self, shop: Shop) -> None:
        hosts = ("checkout", "x.example.com")
        shop.tell(virtual_service(route(to("canary")), hosts=hosts, gateways=["mesh", "shop/web"]))
        assert shop.proxy.tally(10, "checkout") == shop.proxy.tally(10, "x.example.com") == {CANARY: 10}

    @pytest.mark.parametrize("host", ["a.example.com", "a.example.com:80", "a.b.example.com"])
    def test_wildcards_at_the_gateway(self, shop: Shop, host: str) -> None:
        shop.tell(virtual_service(route(to("canary")), hosts=("*.example.com",), gateways=["web"]))
        assert shop.proxy.get(host).pod == CANARY

    def test_the_listeners_own_port_may_stand_in_the_host(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary")), hosts=("x.example.com",), gateways=["web"]))
        assert shop.proxy.get(f"x.example.com:{shop.proxy.envoy.port}").pod == CANARY

    def test_any_host_at_the_gateway(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary")), hosts=("*",), gateways=["web"]))
        assert shop.proxy.get("anything.at.all:123").pod == CANARY

    def test_the_gateway_joins_the_services_of_a_host(self, shop: Shop) -> None:
        everything = virtual_service(
            route(to("stable")), hosts=("x.org",), gateways=["web"], name="old", created="2025-01-01"
        )
        narrow = virtual_service(
            route(to("canary"), match=[{"uri": {"prefix": "/a"}}]), hosts=("x.org",), gateways=["web"]
        )
        shop.tell(everything, narrow)
        assert (shop.proxy.get("x.org", "/a").pod, shop.proxy.get("x.org", "/b").pod) == (CANARY, STABLE)

    def test_in_the_mesh_the_oldest_of_a_host_counts(self, shop: Shop) -> None:
        old = virtual_service(route(to("canary")), name="z", created="2025-01-01T00:00:00Z")
        shop.tell(virtual_service(route(to("stable")), name="a"), old)
        assert shop.proxy.tally(10) == {CANARY: 10}

    def test_a_wildcard_governs_services_that_have_nothing_closer(self, shop: Shop) -> None:
        wide = virtual_service(route(to("canary")), hosts=("*.shop.svc.cluster.local",), name="wide")
        shop.tell(wide)
        assert shop.proxy.tally(10) == {CANARY: 10}
        shop.tell(wide, virtual_service(route(to("stable"))))
        assert shop.proxy.tally(10) == {STABLE: 10}

    def test_a_host_without_service_is_served_in_the_mesh_on_port_80(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary")), hosts=("api.example.com",)))
        assert shop.proxy.get("api.example.com").pod == CANARY

    @pytest.mark.parametrize(
        ("export_to", "governs"), [(["."], False), (["*"], True), (["default"], True), (["pay"], False)]
    )
    def test_export(self, shop: Shop, export_to: list[str], governs: bool) -> None:
        shop.tell(virtual_service(route(to("canary")), exportTo=export_to))
        assert set(shop.proxy.tally(60)) == ({CANARY} if governs else {STABLE, CANARY})

    def test_weights_of_a_delegate(self, shop: Shop) -> None:
        leaf = virtual_service(route(to("stable", 1), to("canary", 1)), hosts=(), name="leaf")
        shop.tell(virtual_service({"delegate": {"name": "leaf"}}), leaf)
        assert share(shop.proxy.tally(400)) == pytest.approx(0.5, abs=0.2)


class TestActions:
    def seen(self, shop: Shop, who: str = CANARY) -> dict[str, str]:
        return {name.lower(): value for name, value in shop.apps[who].seen[-1].items()}

    def test_rewrite_of_a_prefix(self, shop: Shop) -> None:
        match = [{"uri": {"prefix": "/old/"}}]
        rewrite = {"uri": "/new/", "authority": "inner"}
        shop.tell(virtual_service(route(to("canary"), match=match, rewrite=rewrite)))
        shop.proxy.get(path="/old/x?y=1")
        assert (self.seen(shop)[":path"], self.seen(shop)["host"]) == ("/new/x?y=1", "inner")

    def test_rewrite_by_expression(self, shop: Shop) -> None:
        regex = {"match": "^/v([0-9]+)/(.*)$", "rewrite": "/\\2/\\1"}
        shop.tell(virtual_service(route(to("canary"), rewrite={"uriRegexRewrite": regex})))
        shop.proxy.get(path="/v7/x")
        assert self.seen(shop)[":path"] == "/x/7"

    @pytest.mark.parametrize("lone", [True, False])
    def test_header_changes(self, shop: Shop, lone: bool) -> None:
        changes = {"set": {"x-set": "new", "host": "inner"}, "add": {"x-add": "2"}, "remove": ["x-gone"]}
        headers = {"request": changes, "response": {"set": {"x-pod": "hidden"}, "remove": ["server"]}}
        destinations = [to("canary", 1, headers=headers)] + ([] if lone else [to("stable", 0)])
        shop.tell(virtual_service(route(*destinations)))
        got = shop.proxy.get(x_set="old", x_add="1", x_gone="1")
        seen = self.seen(shop)
        assert (seen["x-set"], seen["host"], "x-gone" in seen) == ("new", "inner", False)
        assert (got.pod, "server" in got.headers) == ("hidden", False)

    def test_redirect(self, shop: Shop) -> None:
        redirect = {"uri": "/new", "authority": "x.org", "scheme": "https", "redirectCode": 308}
        got = shop.tell(virtual_service({"redirect": redirect})).get()
        assert (got.status, got.headers["location"]) == (308, "https://x.org/new")

    def test_direct_response(self, shop: Shop) -> None:
        got = shop.tell(virtual_service({"directResponse": {"status": 418}})).get()
        assert got.status == 418

    def test_timeout(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary"), timeout="50ms", retries={"attempts": 0})))
        got = shop.proxy.get(x_delay="0.5")
        assert (got.status, got.flags) == (504, "UT")

    def test_no_timeout_by_default(self, shop: Shop) -> None:
        assert shop.tell(virtual_service(route(to("canary")))).get(x_delay="0.5").status == 200

    def test_faults(self, shop: Shop) -> None:
        abort = {"abort": {"httpStatus": 418, "percentage": {"value": 100}}}
        got = shop.tell(virtual_service(route(to("canary"), fault=abort))).get()
        assert (got.status, got.flags) == (418, "FI")
        delay = {"delay": {"fixedDelay": "10ms", "percentage": {"value": 100}}}
        got = shop.tell(virtual_service(route(to("canary"), fault=delay))).get()
        assert (got.status, got.flags) == (200, "DI")
        none = {"abort": {"httpStatus": 418, "percentage": {"value": 0}}}
        assert shop.tell(virtual_service(route(to("canary"), fault=none))).get().status == 200

    def test_mirrors_see_the_request_and_answer_nobody(self, shop: Shop) -> None:
        mirrors = [{"destination": {"host": "checkout", "subset": "canary"}}]
        shop.tell(virtual_service(route(to("stable"), mirrors=mirrors)))
        assert shop.proxy.get().pod == STABLE
        shop.proxy.tally(5)
        assert shop.eventually_seen(CANARY, 6)
        assert "-shadow" in self.seen(shop)["host"]

    def test_a_503_of_the_app_is_not_retried_by_default(self, shop: Shop) -> None:
        shop.tell(virtual_service(route(to("canary"))))
        got: Answer = shop.proxy.get(x_code="503")
        assert (got.status, got.flags, len(shop.apps[CANARY].seen)) == (503, "-", 1)

    def test_retries_as_asked(self, shop: Shop) -> None:
        retries = {"attempts": 2, "retryOn": "503", "retryIgnorePreviousHosts": False}
        shop.tell(virtual_service(route(to("canary"), retries=retries)))
        shop.proxy.get(x_code="503")
        assert len(shop.apps[CANARY].seen) == 3


class TestFlags:
    def test_the_app_cannot_make_up_the_header(self, shop: Shop) -> None:
        assert shop.proxy.get().flags == "-"

    def test_what_the_pods_own_envoy_says_comes_through(self, shop: Shop) -> None:
        nobody = pod("s-2", fresh_address())
        got = shop.tell(pods=(nobody,)).get()
        # "URX,UF": it also tried again.
        assert (got.status, "UF" in got.flags.split(",")) == (503, True)
