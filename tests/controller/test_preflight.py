"""Can this release be made here? Each answer names the object, the value, and the cure."""

from __future__ import annotations

from typing import Any

import pytest
from shop_objects import (
    LABELS,
    deployment,
    ground,
    pod,
    replicaset,
    said,
    service,
    snapshot,
    template,
    virtual_service,
)

from canaryd.cluster.resources import Json
from canaryd.controller.preflight import CHECKS, examine, selects
from config import SHIPPED

HOST = "checkout.shop.svc.cluster.local"


def the_one(**changed: Any) -> tuple[str, str]:
    (finding,) = said(**changed)
    return finding


class TestNothingInTheWay:
    def test_the_ground_names_where_the_release_takes_place(self) -> None:
        found = ground()
        assert found.findings == ()
        assert (found.service, found.host) == ("checkout", HOST)
        assert [str(ref) for ref in found.routes] == ["shop/canaryd-checkout route canaryd"]
        assert found.policy == SHIPPED["standard"]

    def test_what_is_there_already_is_used(self) -> None:
        found = ground(virtualservices=[virtual_service()])
        assert (found.findings, [str(ref) for ref in found.routes]) == ((), ["shop/checkout"])

    def test_the_policy_is_the_one_that_is_asked_for(self) -> None:
        asked = {"canaryd.io/policy": "fast", "canaryd.io/step-min": "30s"}
        policy = ground(deployment=deployment(annotations=asked)).policy
        assert policy is not None
        assert (policy.name, policy.step_min) == ("fast", 30.0)

    def test_a_few_pods_of_the_new_revision_are_no_obstacle(self) -> None:
        """The template was replaced and the gate opened in one write: it closed too late for these."""
        new = replicaset("checkout-new", template("checkout:2"), uid="rs-2")
        pods = [pod("checkout-old-1"), pod("checkout-new-1", "rs-2")]
        assert said(serving=[replicaset(), new], pods=pods) == []


class TestConfiguration:
    @pytest.mark.parametrize(
        ("annotations", "named"),
        [
            ({"canaryd.io/steps": "5,5"}, 'canaryd.io/steps: "5,5" is not allowed'),
            ({"canaryd.io/policy": "standrad"}, 'canaryd.io/policy: "standrad" is not allowed'),
            ({"canaryd.io/polcy": "fast"}, "canaryd.io/polcy: there is no such annotation"),
            ({"canaryd.io/accept": "entrance"}, 'did you mean "entrances"?'),
            ({"canaryd.io/accept": "service"}, 'there is no check "service"'),
        ],
    )
    def test_a_malformed_annotation(self, annotations: Json, named: str) -> None:
        check, message = the_one(deployment=deployment(annotations=annotations))
        assert check == "configuration"
        assert named in message

    def test_all_of_them_at_once(self) -> None:
        bad = {"canaryd.io/steps": "x", "canaryd.io/deadline": "soon"}
        assert [check for check, _ in said(deployment=deployment(annotations=bad))] == ["configuration"] * 2


class TestService:
    def test_none(self) -> None:
        check, message = the_one(services=[])
        assert check == "service"
        assert "no Service selects the Deployment's pods" in message

    @pytest.mark.parametrize(
        "other",
        [
            service("db", selector={"app": "db"}),
            service("manual", selector={}),
            service("partner", type="ExternalName", externalName="partner.example.com"),
            service("canaries", selector={"app": "checkout", "tier": "batch"}),
        ],
        ids=["other pods", "no selector", "ExternalName", "half a match"],
    )
    def test_those_that_select_other_pods_do_not_count(self, other: Json) -> None:
        assert ground(services=[other, service()]).service == "checkout"
        assert the_one(services=[other])[0] == "service"

    def test_two(self) -> None:
        check, message = the_one(services=[service(), service("checkout-metrics")])
        assert check == "service"
        assert "2 Services select the Deployment's pods (checkout, checkout-metrics)" in message
        assert "canaryd.io/service" in message

    def test_two_and_one_is_named(self) -> None:
        named = deployment(annotations={"canaryd.io/service": "checkout"})
        check, message = the_one(deployment=named, services=[service(), service("checkout-metrics")])
        assert check == "entrances"
        assert "Services checkout-metrics select the pods too" in message

    def test_two_one_is_named_and_the_other_accepted(self) -> None:
        named = deployment(annotations={"canaryd.io/service": "checkout", "canaryd.io/accept": "entrances"})
        found = ground(deployment=named, services=[service(), service("checkout-metrics")])
        assert (found.findings, found.service) == ((), "checkout")

    @pytest.mark.parametrize(
        ("services", "fault"),
        [
            (
                [service()],
                "Service cart (canaryd.io/service) does not exist; those that select the pods: checkout",
            ),
            (
                [service(), service("cart", selector={"app": "cart"})],
                "Service cart (canaryd.io/service) does not select the Deployment's pods; those that select the "
                "pods: checkout",
            ),
            ([], "Service cart (canaryd.io/service) does not exist; those that select the pods: none"),
            (
                [service("cart", type="ExternalName")],
                "Service cart (canaryd.io/service) does not select the Deployment's pods; those that select the "
                "pods: none",
            ),
        ],
    )
    def test_the_one_that_is_named_is_not_one(self, services: list[Json], fault: str) -> None:
        named = deployment(annotations={"canaryd.io/service": "cart"})
        assert the_one(deployment=named, services=services) == ("service", fault)

    @pytest.mark.parametrize(
        ("made", "said_of_it"),
        [
            (service(clusterIP="None"), "Service checkout is headless"),
            (service(type="LoadBalancer"), "is of type LoadBalancer"),
            (service(publishNotReadyAddresses=True), "publishes pods that are not ready"),
            (service(ports=[{"name": "http", "port": 80}, {"name": "tcp-feed", "port": 7}]), "port tcp-feed"),
        ],
    )
    def test_ways_past_the_routes(self, made: Json, said_of_it: str) -> None:
        check, message = the_one(services=[made])
        assert check == "entrances"
        assert said_of_it in message

    def test_an_ingress_past_the_mesh(self) -> None:
        ingress = {
            "kind": "Ingress",
            "metadata": {"namespace": "shop", "name": "public"},
            "spec": {"defaultBackend": {"service": {"name": "checkout"}}},
        }
        assert "Ingress shop/public" in the_one(ways=[ingress])[1]


class TestSelector:
    def test_the_new_template_leaves_the_service(self) -> None:
        picky = service(selector={"app": "checkout", "tier": "web"})
        check, message = the_one(
            services=[picky], deployment=deployment(template(labels={"app": "checkout", "tier": "edge"}))
        )
        assert check == "selector"
        assert "Service checkout selects tier=web, which the new template does not have" in message
        assert "put the labels back" in message

    def test_by_expressions_the_deployment_may_select_its_pods(self) -> None:
        by_expression = {"matchExpressions": [{"key": "app", "operator": "In", "values": ["checkout"]}]}
        assert said(deployment=deployment(selector=by_expression)) == []

    def test_selects(self) -> None:
        assert selects(service(), {"app": "checkout", "x": "y"})
        assert not selects(service(), {})
        assert not selects({"metadata": {"name": "x"}}, {"app": "checkout"})


class TestRunning:
    def test_nothing(self) -> None:
        check, message = the_one(serving=[], pods=[])
        assert check == "running"
        assert "not exactly one ReplicaSet runs (none)" in message

    def test_two(self) -> None:
        two = [replicaset(), replicaset("checkout-older", template("checkout:0"), uid="rs-0")]
        check, message = the_one(serving=two)
        assert check == "running"
        assert "(checkout-old, checkout-older); wait for the rollout to end" in message

    def test_no_pod_is_ready(self) -> None:
        check, message = the_one(pods=[pod("checkout-old-1", ready=False)])
        assert check == "running"
        assert "no pod of ReplicaSet checkout-old is ready" in message
        assert "canaryd.io/skip" in message, "how to get out of an outage"

    def test_it_cannot_be_accepted(self) -> None:
        accept = deployment(annotations={"canaryd.io/accept": ", ".join(CHECKS)})
        assert [check for check, _ in said(deployment=accept, pods=[])] == ["running"]


class TestEndpoints:
    FOREIGN = (pod("checkout-old-1"), *(pod(f"batch-{n}", "rs-9") for n in range(7)))

    def test_pods_of_others_would_be_cut_off(self) -> None:
        check, message = the_one(pods=self.FOREIGN)
        assert check == "endpoints"
        assert "Service checkout also sends to pods that are not of the running ReplicaSet" in message
        assert "(batch-0, batch-1, batch-2, batch-3, batch-4 and 2 more)" in message
        assert "narrow the Service's selector" in message

    def test_accepted(self) -> None:
        assert (
            said(pods=self.FOREIGN, deployment=deployment(annotations={"canaryd.io/accept": "endpoints"}))
            == []
        )

    @pytest.mark.parametrize(
        "other",
        [
            pod("batch-1", "rs-9", ready=False),
            pod("batch-1", "rs-9", deletionTimestamp="2026-01-01T00:00:00Z"),
            pod("cart-1", "rs-9", labels={"app": "cart"}),
        ],
        ids=["not ready", "on its way out", "not selected"],
    )
    def test_pods_that_are_no_endpoints(self, other: Json) -> None:
        assert said(pods=[pod("checkout-old-1"), other]) == []

    def test_a_service_that_publishes_pods_that_are_not_ready(self) -> None:
        pods = [pod("checkout-old-1"), pod("batch-1", "rs-9", ready=False)]
        checks = [c for c, _ in said(pods=pods, services=[service(publishNotReadyAddresses=True)])]
        assert checks == ["endpoints", "entrances"]

    def test_a_pod_without_an_owner(self) -> None:
        bare = pod("debug")
        del bare["metadata"]["ownerReferences"]
        assert the_one(pods=[pod("checkout-old-1"), bare])[0] == "endpoints"


SPLIT: Json = {
    "name": "web",
    "route": [
        {"destination": {"host": "checkout", "subset": "v1"}, "weight": 50},
        {"destination": {"host": "checkout", "subset": "v2"}, "weight": 50},
    ],
}


class TestRoutes:
    def test_that_cannot_be_managed(self) -> None:
        check, message = the_one(virtualservices=[virtual_service(SPLIT)])
        assert check == "routes"
        assert "VirtualService shop/checkout route web splits between several destinations" in message

    def test_accepting_the_only_one_leaves_nothing_to_step(self) -> None:
        accept = deployment(annotations={"canaryd.io/accept": "routes"})
        check, message = the_one(virtualservices=[virtual_service(SPLIT)], deployment=accept)
        assert check == "no-route"
        assert "Service checkout" in message

    def test_accepted_beside_one_that_can(self) -> None:
        accept = deployment(annotations={"canaryd.io/accept": "routes"})
        plain = {"name": "api", "route": [{"destination": {"host": "checkout"}}]}
        found = ground(virtualservices=[virtual_service(SPLIT, plain)], deployment=accept)
        assert (found.findings, [ref.route for ref in found.routes]) == ((), ["api"])

    def test_narrowed_by_annotations(self) -> None:
        wish = {"canaryd.io/virtual-service": "public", "canaryd.io/accept": "entrances"}
        public = virtual_service(name="public", hosts=["shop.example.com"], gateways=["edge/public"])
        found = ground(virtualservices=[public, virtual_service()], deployment=deployment(annotations=wish))
        assert (found.findings, [str(ref) for ref in found.routes]) == ((), ["shop/public"])

    def test_a_rule_that_would_hide_the_subsets(self) -> None:
        hiding = {"metadata": {"name": "mtls", "namespace": "billing"}, "spec": {"host": "*.local"}}
        assert the_one(destinationrules=[hiding])[0] == "destination-rule"


class TestTheRest:
    @pytest.mark.parametrize(("history", "enough"), [(0, False), (1, False), (2, True), (10, True)])
    def test_revision_history(self, history: int, enough: bool) -> None:
        found = said(deployment=deployment(revisionHistoryLimit=history))
        assert [check for check, _ in found] == ([] if enough else ["revision-history"])
        if found:
            assert f"spec.revisionHistoryLimit is {history}" in found[0][1]

    def test_other_controllers(self) -> None:
        check, message = the_one(others=["Canary checkout (flagger.app)"])
        assert check == "other-controller"
        assert "Canary checkout (flagger.app) manages this Deployment too" in message

    def test_everything_that_is_in_the_way_is_said_at_once(self) -> None:
        found = said(
            others=["Canary checkout (flagger.app)"],
            deployment=deployment(template(hostNetwork=True), revisionHistoryLimit=1),
            services=[service(clusterIP="None")],
        )
        assert {check for check, _ in found} == {
            "other-controller",
            "second-copy",
            "revision-history",
            "entrances",
        }

    @pytest.mark.parametrize("check", CHECKS)
    def test_each_check_can_be_accepted_by_its_name(self, check: str) -> None:
        accept = deployment(annotations={"canaryd.io/accept": check})
        assert ground(deployment=accept).findings == ()


class TestTakingOver:
    """An earlier run ended with its canary carrying the traffic: mixed ReplicaSets, our routes, the carrier's pods."""

    def carried(self, **changed: Any) -> list[tuple[str, str]]:
        mixed = [replicaset(), replicaset("checkout-new", template("checkout:2"), uid="rs-2")]
        carrier = pod("carrier-1", "rs-7", labels={**LABELS, "canaryd.io/role": "canary"})
        ours: Json = {
            "route": [
                {"destination": {"host": "checkout", "subset": "stable"}, "weight": 0},
                {"destination": {"host": "checkout", "subset": "canary"}, "weight": 100},
            ]
        }
        parts: dict[str, Any] = {
            "deployment": deployment(template("checkout:3")),
            "serving": mixed,
            "pods": [pod("checkout-old-1"), pod("checkout-new-1", "rs-2"), carrier],
            "virtualservices": [virtual_service(ours)],
            "carried": True,
        }
        return said(**{**parts, **changed})

    def test_stands_on_the_ground_of_the_run_before(self) -> None:
        assert self.carried() == []

    def test_without_a_pod_of_the_deployment(self) -> None:
        assert self.carried(serving=[], pods=[]) == []

    def test_what_may_have_changed_is_looked_at(self) -> None:
        new = deployment(
            template("checkout:3", labels={"app": "till"}, hostNetwork=True), revisionHistoryLimit=1
        )
        assert [check for check, _ in self.carried(deployment=new)] == [
            "selector",
            "revision-history",
            "second-copy",
        ]
        bad = deployment(annotations={"canaryd.io/steps": "x"})
        assert [check for check, _ in self.carried(deployment=bad)] == ["configuration"]

    def test_the_policy_is_there(self) -> None:
        made = snapshot(deployment=deployment(template("checkout:3")), carried=True)
        assert examine(made, SHIPPED, "fast", "istio-system").policy == SHIPPED["fast"]
