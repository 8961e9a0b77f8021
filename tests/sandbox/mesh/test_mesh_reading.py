"""What a VirtualService means, and which ones Istio would not have let in."""

from __future__ import annotations

from typing import Any

import pytest
from mesh_fakes import route, to, virtual_service

from canaryd.sandbox.mesh.reading import parse_virtual_service
from canaryd.sandbox.mesh.virtualservices import RefusedError, StringMatch

Json = dict[str, Any]


def first_route(**raw: Any) -> Any:
    return parse_virtual_service(virtual_service(route(to(), **raw))).http[0]


def test_names_are_resolved_in_the_services_own_namespace() -> None:
    parsed = parse_virtual_service(virtual_service(route(to(host="pay"), mirror={"host": "shadow"})))
    assert parsed.hosts == ("checkout.shop.svc.cluster.local",)
    assert parsed.http[0].destinations[0].destination.host == "pay.shop.svc.cluster.local"
    assert parsed.http[0].mirrors[0].destination.host == "shadow.shop.svc.cluster.local"


def test_no_gateways_means_the_mesh() -> None:
    assert parse_virtual_service(virtual_service(route(to()))).gateways == ("mesh",)
    bound = parse_virtual_service(virtual_service(route(to()), gateways=["web"]))
    assert (bound.for_mesh, bound.for_gateways) == (False, True)


@pytest.mark.parametrize(
    ("raw", "meant"),
    [
        ({"exact": "a"}, StringMatch("exact", "a")),
        ({"prefix": "a"}, StringMatch("prefix", "a")),
        ({"regex": "a+"}, StringMatch("regex", "a+")),
        ({"regex": "*"}, StringMatch("present")),
        ({}, StringMatch("present")),
        (None, StringMatch("present")),
    ],
)
def test_header_conditions(raw: Json | None, meant: StringMatch) -> None:
    assert first_route(match=[{"headers": {"x": raw}}]).matches[0].headers["x"] == meant


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("5s", 5), ("1.5s", 1.5), ("100ms", 0.1), ("2m", 120), ("1h1m1s", 3661), ("0s", 0)],
)
def test_durations(text: str, seconds: float) -> None:
    assert first_route(timeout=text).timeout == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("raw", "percents"),
    [
        ({"mirror": {"host": "x"}}, [100]),
        ({"mirror": {"host": "x"}, "mirrorPercentage": {"value": 12.5}}, [12.5]),
        ({"mirror": {"host": "x"}, "mirrorPercentage": {}}, []),
        ({"mirror": {"host": "x"}, "mirrorPercent": 7}, [7]),
        ({"mirrors": [{"destination": {"host": "x"}}]}, [100]),
        (
            {
                "mirrors": [
                    {"destination": {"host": "x"}, "percentage": {"value": 1}},
                    {"destination": {"host": "y"}, "percentage": {"value": 0}},
                ]
            },
            [1],
        ),
    ],
)
def test_mirror_percentages(raw: Json, percents: list[float]) -> None:
    assert [mirror.percent for mirror in first_route(**raw).mirrors] == percents


def test_faults_without_a_percentage_hit_nothing() -> None:
    fault = first_route(fault={"abort": {"httpStatus": 500}, "delay": {"fixedDelay": "1s"}}).fault
    assert (fault.abort_percent, fault.delay_percent) == (0, 0)


@pytest.mark.parametrize(
    ("http", "reason"),
    [
        ([route(to("a", 0), to("b", 0))], "total destination weight = 0"),
        ([route(to("a"), to("b"))], "total destination weight = 0"),
        ([route(to("a", -1), to("b", 5))], "greater than or equal to 0"),
        ([{"match": []}], "must have a route"),
        ([route(to(), redirect={"uri": "/"})], "only one of"),
        ([route(to(), mirror={"host": "a"}, mirrors=[{"destination": {"host": "b"}}])], "both mirror"),
        ([route(to(), match=[{"uri": {"regex": "("}}])], "does not compile"),
        ([route(to(), timeout="soon")], "not a duration"),
        ([{"route": [{"weight": 1}]}], "shape"),
        ([{"route": ["checkout"]}], "shape"),
        ([], "http, tcp or tls"),
    ],
)
def test_refusals(http: list[Json], reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        parse_virtual_service(virtual_service(*http))


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ({"gateways": ["mesh"]}, "must not have gateways"),
        ({"http": [{"delegate": {"name": "x"}}]}, "must not delegate again"),
        ({"http": [route(to(), match=[{"gateways": ["g"]}])]}, "gateways or sources"),
    ],
)
def test_refusals_of_delegates(spec: Json, reason: str) -> None:
    with pytest.raises(RefusedError, match=reason):
        parse_virtual_service(virtual_service(*spec.pop("http", [route(to())]), hosts=(), **spec))


def test_a_lone_destination_may_weigh_nothing() -> None:
    assert parse_virtual_service(virtual_service(route(to("a", 0)))).http
