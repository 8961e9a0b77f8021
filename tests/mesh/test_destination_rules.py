"""canaryd's DestinationRule among the owners': joined, hidden, hiding, colliding."""

from __future__ import annotations

import pytest
from istio_objects import HOST, OWNER, rule

from canaryd.cluster.resources import Json
from canaryd.mesh import destinationrule

ROOT = "istio-system"
STABLE = {"pod-template-hash": "5d6f"}


def beside(*rules: Json) -> Json:
    return destinationrule.beside(rules, "checkout", "shop", HOST, ROOT)


def said(*rules: Json) -> list[str]:
    found = destinationrule.findings(rules, "checkout", "shop", HOST, ROOT)
    assert {f.check for f in found} <= {"destination-rule"}
    return [f.message for f in found]


def ours(**wanted: dict[str, str]) -> Json:
    body = destinationrule.body("checkout", "shop", HOST, wanted, {}, OWNER)
    return {**body, "metadata": {**body["metadata"], "uid": "ours", "resourceVersion": "3"}}


class TestBody:
    def test_subsets_only_for_the_full_host_owned_by_the_run(self) -> None:
        body = destinationrule.body("checkout", "shop", HOST, {"stable": STABLE}, {}, OWNER)
        assert body["spec"] == {"host": HOST, "subsets": [{"name": "stable", "labels": STABLE}]}
        assert body["metadata"]["ownerReferences"] == [OWNER]
        assert (body["metadata"]["namespace"], body["metadata"]["name"]) == ("shop", "canaryd-checkout")

    def test_what_was_written_is_read(self) -> None:
        canary = {"canaryd.io/role": "canary"}
        assert destinationrule.subsets(ours(stable=STABLE, canary=canary)) == {
            "stable": STABLE,
            "canary": canary,
        }

    def test_no_rule_has_no_subsets(self) -> None:
        assert destinationrule.subsets(None) == {}
        assert destinationrule.subsets({"metadata": {}}) == {}
        assert destinationrule.subsets(rule()) == {}


class TestBeside:
    def test_alone_it_carries_nothing(self) -> None:
        assert beside() == {}
        assert beside(ours(stable=STABLE)) == {}

    def test_a_rule_that_it_joins_lends_its_visibility_alone(self) -> None:
        mtls = {"tls": {"mode": "ISTIO_MUTUAL"}}
        assert beside(rule("v1", trafficPolicy=mtls, exportTo=["*"])) == {"exportTo": ["*"]}
        assert beside(rule("v1", host=HOST, trafficPolicy=mtls)) == {}

    @pytest.mark.parametrize(
        ("rules", "policy"),
        [
            ([rule(host="*.shop.svc.cluster.local", trafficPolicy="near")], "near"),
            ([rule(host="*.local", namespace=ROOT, trafficPolicy="root")], "root"),
            ([rule(host=HOST, namespace=ROOT, trafficPolicy="root")], "root"),
            (
                [
                    rule(host="*.local", name="far", trafficPolicy="far"),
                    rule(host="*.shop.svc.cluster.local", name="near", trafficPolicy="near"),
                ],
                "near",
            ),
            (
                [
                    rule(host=HOST, namespace=ROOT, trafficPolicy="root"),
                    rule(host="*.local", name="own", trafficPolicy="own namespace first"),
                ],
                "own namespace first",
            ),
        ],
        ids=["wildcard", "root wildcard", "root", "most specific", "own namespace first"],
    )
    def test_it_takes_over_the_policy_of_the_rule_that_it_hides(self, rules: list[Json], policy: str) -> None:
        assert beside(*rules) == {"trafficPolicy": policy}

    def test_rules_that_do_not_hold_here_are_not_carried(self) -> None:
        assert beside(rule(host="other", trafficPolicy="x")) == {}
        assert beside(rule(namespace="billing", trafficPolicy="x")) == {}, "checkout.billing is another host"
        assert beside(rule(host=HOST, namespace="billing", trafficPolicy="x")) == {}


class TestFindings:
    @pytest.mark.parametrize(
        "rules",
        [
            [],
            [rule("v1", "v2")],
            [rule("v1", exportTo=["*"], trafficPolicy={})],
            [rule(host="*.local", namespace=ROOT, trafficPolicy={})],
            [rule("stable", host="other")],
            [rule("stable", namespace="billing")],
            [rule(name="one"), rule("v2", name="two")],
            [rule("v1"), rule("v1", host="*.local", name="wide")],  # hidden by the first already
            [ours(stable=STABLE, canary=STABLE)],
        ],
        ids=["none", "joined", "exported", "root", "other host", "other namespace", "two", "hidden", "ours"],
    )
    def test_nothing_is_wrong_with(self, rules: list[Json]) -> None:
        assert said(*rules) == []

    def test_a_rule_in_a_clients_namespace_hides_ours(self) -> None:
        for host in (HOST, "*.local", "*"):
            (message,) = said(rule(host=host, namespace="billing"))
            assert "billing/checkout hides canaryd's subsets from clients in namespace billing" in message
            assert "move it to namespace shop" in message

    @pytest.mark.parametrize("name", ["stable", "canary"])
    def test_a_subset_with_our_name(self, name: str) -> None:
        (message,) = said(rule("v1", name))
        assert f"shop/checkout has subset {name}" in message
        assert "rename it" in message

    def test_subsets_that_ours_would_hide(self) -> None:
        (message,) = said(rule("v1", host="*.shop.svc.cluster.local"))
        assert "would hide" in message
        assert HOST in message

    @pytest.mark.parametrize("export", [["."], ["shop", "billing"]])
    def test_a_rule_that_only_some_clients_see(self, export: list[str]) -> None:
        (message,) = said(rule("v1", exportTo=export))
        assert f"exported to {', '.join(export)} alone" in message
        assert "canaryd.io/accept: destination-rule" in message

    def test_an_owners_rule_with_the_name_of_ours(self) -> None:
        (message,) = said(rule("v1", name="canaryd-checkout"))
        assert "has the name that canaryd's own rule needs" in message

    def test_every_rule_in_the_way_is_named(self) -> None:
        messages = said(
            rule("stable", name="one"), rule(host=HOST, namespace="a"), rule(host="*", namespace="b")
        )
        assert [m.split()[1] for m in messages] == ["a/checkout", "b/checkout", "shop/one"]
