"""Which subsets a client sees."""

from __future__ import annotations

from typing import Any

import pytest
from mesh_fakes import destination_rule as rule
from mesh_fakes import service

from canaryd.sandbox.mesh.destinationrules import parse_destination_rule, subsets_for
from canaryd.sandbox.mesh.services import parse_service

Json = dict[str, Any]
FULL = "checkout.shop.svc.cluster.local"


def seen(*rules: Json, client: str = "default") -> list[str]:
    parsed = [parse_destination_rule(raw) for raw in rules]
    return [subset.name for subset in subsets_for(parse_service(service()), parsed, client)]


def created(raw: Json, at: str) -> Json:
    return {**raw, "metadata": {**raw["metadata"], "creationTimestamp": at}}


CASES: dict[str, tuple[list[Json], list[str]]] = {
    "none": ([], []),
    "the Service's namespace": ([rule("v1", "v2")], ["v1", "v2"]),
    "another host": ([rule("v1", host="pay")], []),
    "by its full name from elsewhere is not seen": ([rule("v1", host=FULL, namespace="pay")], []),
    "the client's namespace hides the Service's": (
        [rule("v1"), rule("mine", host=FULL, namespace="default")],
        ["mine"],
    ),
    "even by a wildcard": (
        [rule("v1"), rule("mine", host="*.local", namespace="default")],
        ["mine"],
    ),
    "the root namespace comes last": (
        [rule("root", host=FULL, namespace="istio-system"), rule("v1")],
        ["v1"],
    ),
    "the root namespace where nothing else is": (
        [rule("root", host="*.local", namespace="istio-system")],
        ["root"],
    ),
    "the most specific host wins whole": (
        [rule("wide", host="*.shop.svc.cluster.local", name="wide"), rule("v1")],
        ["v1"],
    ),
    "rules of one host and namespace merge": (
        [rule("v1", name="a"), rule("v2", name="b")],
        ["v1", "v2"],
    ),
    "of two subsets of one name the older rule's stays, once": (
        [
            created(rule("v1", "v2", name="a"), "2026-01-02T00:00:00Z"),
            created(rule("v3", "v1", name="b"), "2026-01-01T00:00:00Z"),
        ],
        ["v3", "v1", "v2"],
    ),
    "not exported": ([rule("v1", exportTo=["."])], []),
    "exported to the client": ([rule("v1", exportTo=["default"])], ["v1"]),
    "for workloads with labels only": (
        [rule("v1", workloadSelector={"matchLabels": {"a": "b"}})],
        [],
    ),
    "a rule that fewer see does not merge into one that all see": (
        [rule("v1", name="a"), rule("v2", name="b", exportTo=["default"])],
        ["v2"],
    ),
    "a rule that more namespaces see merges into one that fewer see": (
        [rule("v1", name="a", exportTo=["default"]), rule("v2", name="b", exportTo=["default", "pay"])],
        ["v1", "v2"],
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_lookup(name: str) -> None:
    rules, expected = CASES[name]
    assert seen(*rules) == expected


def test_a_gateway_in_the_root_namespace_asks_the_services_namespace_first() -> None:
    rules = [rule("root", host=FULL, namespace="istio-system"), rule("v1")]
    assert seen(*rules, client="istio-system") == ["v1"]
