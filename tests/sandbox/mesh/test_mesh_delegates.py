"""What a root VirtualService and its delegates say together."""

from __future__ import annotations

from typing import Any

import pytest
from mesh_fakes import route, to, virtual_service

from canaryd.sandbox.mesh.delegates import resolved
from canaryd.sandbox.mesh.reading import parse_virtual_service
from canaryd.sandbox.mesh.virtualservices import HttpRoute

Json = dict[str, Any]


def routes(root: list[Json], leaves: list[Json], **leaf_spec: Any) -> list[HttpRoute]:
    leaf = virtual_service(*leaves, hosts=(), name="leaf", **leaf_spec)
    services = [parse_virtual_service(virtual_service(*root)), parse_virtual_service(leaf)]
    [service] = resolved(services)
    return list(service.http)


def handing_over(*match: Json, **more: Any) -> Json:
    return {"delegate": {"name": "leaf"}, **({"match": list(match)} if match else {}), **more}


def test_the_delegates_routes_take_the_place_of_the_entry() -> None:
    got = routes([handing_over(), route(to("rest"))], [route(to("a")), route(to("b"))])
    assert [entry.destinations[0].destination.subset for entry in got] == ["a", "b", "rest"]


def test_a_missing_delegate_takes_its_entry_with_it() -> None:
    [service] = resolved([parse_virtual_service(virtual_service(handing_over(), route(to("rest"))))])
    assert [entry.destinations[0].destination.subset for entry in service.http] == ["rest"]


def test_a_delegate_that_is_not_exported_counts_as_missing() -> None:
    root = {"delegate": {"name": "leaf", "namespace": "pay"}}
    assert routes([root], [route(to("a"))], namespace="pay", exportTo=["."]) == []
    assert len(routes([root], [route(to("a"))], namespace="pay", exportTo=["shop"])) == 1


def test_short_names_are_the_delegates_own_namespaces() -> None:
    root = {"delegate": {"name": "leaf", "namespace": "pay"}}
    [got] = routes([root], [route(to("a"))], namespace="pay")
    assert got.destinations[0].destination.host == "checkout.pay.svc.cluster.local"


def prefix(path: str) -> Json:
    return {"uri": {"prefix": path}}


def exact(path: str) -> Json:
    return {"uri": {"exact": path}}


MATCHES: dict[str, tuple[list[Json], list[Json], list[str] | None]] = {
    "the root's where the delegate has none": ([prefix("/a")], [], ["/a"]),
    "the delegate's where the root has none": ([], [prefix("/a")], ["/a"]),
    "narrower": ([prefix("/a")], [prefix("/a/b")], ["/a/b"]),
    "narrower, exact": ([prefix("/a")], [exact("/a/b")], ["/a/b"]),
    "equal": ([exact("/a")], [exact("/a")], ["/a"]),
    "wider": ([prefix("/a/b")], [prefix("/a")], None),
    "elsewhere": ([prefix("/a")], [prefix("/b")], None),
    "a prefix in an exact one": ([exact("/a")], [prefix("/a")], None),
    "expressions are never compared": ([prefix("/a")], [{"uri": {"regex": "/a/.*"}}], None),
    "each with each that fits": (
        [prefix("/a"), prefix("/b")],
        [prefix("/a/1"), prefix("/b/1")],
        ["/a/1", "/b/1"],
    ),
    "one that fits nowhere drops the route": ([prefix("/a")], [prefix("/a/1"), prefix("/b")], None),
    "another port": ([{"port": 80, **prefix("/a")}], [{"port": 81}], None),
    "another header value": (
        [{"headers": {"x": {"exact": "1"}}}],
        [{"headers": {"x": {"exact": "2"}}}],
        None,
    ),
}


@pytest.mark.parametrize("name", MATCHES)
def test_matches(name: str) -> None:
    root, leaf, expected = MATCHES[name]
    got = routes([handing_over(*root)], [route(to("a"), match=leaf)])
    if expected is None:
        assert got == []
    else:
        assert [match.uri.value for match in got[0].matches if match.uri] == expected


def test_conditions_add_up() -> None:
    root = {"headers": {"x": {"exact": "1"}}, "gateways": ["mesh"]}
    leaf = {"headers": {"y": {"exact": "2"}}, "method": {"exact": "GET"}}
    [got] = routes([handing_over(root)], [route(to("a"), match=[leaf])])
    [match] = got.matches
    assert (set(match.headers), match.gateways, match.method is not None) == ({"x", "y"}, ("mesh",), True)


def test_settings_of_the_root_hold_where_the_delegate_has_none() -> None:
    root = handing_over(timeout="5s", retries={"attempts": 1}, name="root")
    inherited, own = routes(
        [root], [route(to("a")), route(to("b"), timeout="1s", retries={"attempts": 0}, name="leaf")]
    )
    assert (inherited.timeout, inherited.retries and inherited.retries.attempts) == (5, 1)
    assert (own.timeout, own.retries and own.retries.attempts) == (1, 0)
    assert (inherited.name, own.name) == ("root", "root-leaf")
