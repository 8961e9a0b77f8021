"""Which routes a release manages, found from the Service alone or narrowed by annotations."""

from __future__ import annotations

import pytest
from istio_objects import HOST, destination, path, route, service, virtual_service

from canaryd.cluster.resources import Json
from canaryd.domain.model import Form, RouteRef, Traffic
from canaryd.mesh import virtualservice as vs_
from canaryd.mesh.discover import Narrowing, find_routes

GATEWAY = virtual_service(
    route(name="web"),
    name="public",
    hosts=["shop.example.com"],
    gateways=["istio-system/public"],
)


def found(
    *services: Json, narrowing: Narrowing | None = None, of: Json | None = None
) -> tuple[list[str], list[tuple[str, str]]]:
    """Routes as "namespace/name route", and findings as (check, message)."""
    refs, findings = find_routes(services, of or service(), narrowing or Narrowing())
    return [str(ref) for ref in refs], [(f.check, f.message) for f in findings]


def test_none_at_all_one_is_made() -> None:
    (ref,), findings = find_routes([], service(), Narrowing())
    assert findings == []
    assert ref == RouteRef(
        "shop", "canaryd-checkout", "", "canaryd", None, [{"destination": {"host": HOST}}], made=True
    )


@pytest.mark.parametrize("ports", [[], [{"name": "http", "port": 80}, {"name": "http-admin", "port": 9090}]])
def test_the_one_made_names_no_port_so_that_each_port_leads_to_itself(ports: list[Json]) -> None:
    (ref,), _ = find_routes([], service(*ports), Narrowing())
    for wanted in (Traffic(), Traffic(Form.FENCED), Traffic(Form.SPLIT, 5)):
        assert all("port" not in entry["destination"] for entry in vs_.entries_for(ref, wanted))
    assert "match" not in vs_.made(ref, HOST, Traffic(), {})["spec"]["http"][0]


def test_a_gateways_alone_the_mesh_gets_its_own() -> None:
    assert found(GATEWAY) == (["shop/public route web", "shop/canaryd-checkout route canaryd"], [])


def test_the_gateways_and_the_meshs_move_together() -> None:
    mesh = virtual_service(route(name="a"), route(name="b", match=path("/b")), route(destination("other")))
    assert found(GATEWAY, mesh) == (
        ["shop/public route web", "shop/checkout route a", "shop/checkout route b"],
        [],
    )


def test_a_delegates_routes() -> None:
    root = virtual_service({"delegate": {"name": "routes"}})
    delegate = virtual_service(route(name="all"), name="routes", hosts=[])
    assert found(root, delegate) == (["shop/routes route all"], [])


def test_the_hosts_of_a_service_are_not_its_routes() -> None:
    """Requests to the host go to another Service: nothing of ours is there to step."""
    assert found(virtual_service(route(destination("maintenance")))) == ([], [])


def test_one_for_another_namespace_alone_is_managed_and_the_rest_of_the_mesh_gets_its_own() -> None:
    private = virtual_service(route(name="own"), exportTo=["."])
    assert found(private) == (["shop/checkout route own", "shop/canaryd-checkout route canaryd"], [])


class TestOtherNamespaces:
    vs = virtual_service(route(destination(HOST), name="web"), namespace="edge", hosts=[HOST])

    def test_are_left_alone_unless_they_allow_it(self) -> None:
        refs, ((check, message),) = found(self.vs)
        assert (refs, check) == ([], "routes")
        assert (
            "edge/checkout route web is in another namespace; annotate it with canaryd.io/allow-from: shop"
            in message
        )

    @pytest.mark.parametrize("allowed", ["shop", "billing, shop", "*"])
    def test_that_allow_it(self, allowed: str) -> None:
        vs = {
            **self.vs,
            "metadata": {**self.vs["metadata"], "annotations": {"canaryd.io/allow-from": allowed}},
        }
        assert found(vs) == (["edge/checkout route web"], [])

    @pytest.mark.parametrize("allowed", ["", "billing", "shopping"])
    def test_that_allow_it_to_others(self, allowed: str) -> None:
        vs = {
            **self.vs,
            "metadata": {**self.vs["metadata"], "annotations": {"canaryd.io/allow-from": allowed}},
        }
        assert found(vs)[0] == []


class TestInTheWay:
    def test_a_route_that_splits_already(self) -> None:
        split = route(destination(subset="v1", weight=50), destination(subset="v2", weight=50), name="web")
        refs, ((check, message),) = found(virtual_service(split))
        assert (refs, check) == ([], "routes")
        assert "VirtualService shop/checkout route web splits between several destinations" in message

    def test_an_unnamed_route_is_named_by_its_number(self) -> None:
        _, ((_, message),) = found(
            virtual_service(route(destination("other")), route(destination(subset="v1")))
        )
        assert "route number 2 names subset v1 already" in message

    @pytest.mark.parametrize("protocol", ["tcp", "tls"])
    def test_other_protocols(self, protocol: str) -> None:
        vs = virtual_service(route(name="web"))
        vs["spec"][protocol] = [{"route": [destination()]}]
        refs, ((check, message),) = found(vs)
        assert (refs, check) == (["shop/checkout route web"], "entrances")
        assert f"has a {protocol} route to the Service" in message

    def test_what_is_left_of_an_earlier_run(self) -> None:
        made = vs_.made(find_routes([], service(), Narrowing())[0][0], HOST, Traffic(Form.FENCED), {})
        refs, findings = found(made)
        assert refs == []
        assert "left from an earlier run" in findings[0][1]

    def test_an_owners_object_with_the_name_of_the_one_to_make(self) -> None:
        vs = virtual_service(route(destination("other")), name="canaryd-checkout", hosts=["other"])
        _, ((check, message),) = found(vs)
        assert check == "routes"
        assert "shop/canaryd-checkout has the name" in message

    def test_the_mesh_is_covered_whatever_else_is_in_the_way(self) -> None:
        """The finding may be accepted: the routes must be complete all the same."""
        tcp = virtual_service(name="tcp", hosts=["x.example.com"], tcp=[{"route": [destination()]}])
        refs, findings = found(tcp)
        assert refs == ["shop/canaryd-checkout route canaryd"]
        assert len(findings) == 1


class TestNarrowing:
    mesh = virtual_service(route(name="api", match=path("/api")), route(name="web"))

    def test_by_virtual_service(self) -> None:
        refs, findings = found(self.mesh, GATEWAY, narrowing=Narrowing(("shop", "checkout")))
        assert refs == ["shop/checkout route api", "shop/checkout route web"]
        ((check, message),) = findings
        assert check == "entrances"
        assert "VirtualService shop/public route web sends to the Service too" in message

    def test_by_routes(self) -> None:
        refs, ((check, message),) = found(self.mesh, narrowing=Narrowing(routes=("web",)))
        assert (refs, check) == (["shop/checkout route web"], "entrances")
        assert "route api sends to the Service too, but the annotations leave it out" in message

    def test_all_of_them_by_name(self) -> None:
        assert found(self.mesh, narrowing=Narrowing(("shop", "checkout"), ("api", "web")))[1] == []

    def test_a_name_that_nothing_goes_by_stands_beside_those_that_there_are(self) -> None:
        _, findings = found(self.mesh, narrowing=Narrowing(routes=("ap1", "web")))
        assert (
            "routes",
            "no route named ap1 (canaryd.io/routes) sends to the Service; there are: api, web",
        ) in findings
        _, findings = found(self.mesh, GATEWAY, narrowing=Narrowing(("shop", "chekout")))
        assert findings[-1] == (
            "routes",
            "VirtualService shop/chekout (canaryd.io/virtual-service) has no route to the Service; there are: "
            "shop/checkout, shop/public",
        )

    def test_no_route_has_a_name(self) -> None:
        _, findings = found(virtual_service(route()), narrowing=Narrowing(routes=("web",)))
        assert findings[-1][1].endswith("there are: none")

    def test_a_route_of_another_object_is_not_of_the_one_named(self) -> None:
        _, findings = found(self.mesh, GATEWAY, narrowing=Narrowing(("shop", "public"), ("api",)))
        assert findings[-1][1].endswith("there are: web")
