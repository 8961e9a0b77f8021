"""Names of hosts as Istio resolves them."""

from __future__ import annotations

import pytest

from canaryd.mesh.hosts import covers, full_host, matches, service_host

CHECKOUT = "checkout.shop.svc.cluster.local"


@pytest.mark.parametrize(
    ("host", "full"),
    [
        ("checkout", CHECKOUT),
        (CHECKOUT, CHECKOUT),
        ("shop.example.com", "shop.example.com"),
        (
            "checkout.shop",
            "checkout.shop",
        ),  # Istio: a name with a dot is complete, even if nothing goes by it
        ("*", "*"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_short_names_are_of_the_objects_own_namespace(host: str, full: str) -> None:
    assert full_host(host, "shop") == full


def test_the_same_short_name_elsewhere_is_another_host() -> None:
    assert full_host("checkout", "billing") != service_host("checkout", "shop")


@pytest.mark.parametrize(
    ("pattern", "covered"),
    [
        ("*", True),
        ("*.cluster.local", True),
        ("*.shop.svc.cluster.local", True),
        (CHECKOUT, True),
        ("*.billing.svc.cluster.local", False),
        ("checkout", False),
        (f"*.{CHECKOUT}", False),
    ],
)
def test_patterns(pattern: str, covered: bool) -> None:
    assert matches(pattern, CHECKOUT) is covered


def test_any_of_the_hosts_covers() -> None:
    assert covers(["shop.example.com", "checkout"], "shop", CHECKOUT)
    assert not covers(["shop.example.com", "checkout"], "billing", CHECKOUT)
    assert not covers([], "shop", CHECKOUT)
