from __future__ import annotations

import pytest

from canaryd.sandbox.mesh.hosts import covers, exported, full_name, most_specific


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        ("checkout", "checkout.shop.svc.cluster.local"),
        ("checkout.shop", "checkout.shop"),
        ("checkout.pay.svc.cluster.local", "checkout.pay.svc.cluster.local"),
        ("*", "*"),
        ("*.example.com", "*.example.com"),
    ],
)
def test_only_a_name_without_dots_is_short(host: str, meant: str) -> None:
    assert full_name(host, "shop") == meant


@pytest.mark.parametrize(
    ("pattern", "host", "yes"),
    [
        ("a.example.com", "a.example.com", True),
        ("a.example.com", "b.example.com", False),
        ("*.example.com", "a.example.com", True),
        ("*.example.com", "a.b.example.com", True),
        ("*.example.com", "example.com", False),
        ("*", "anything", True),
    ],
)
def test_wildcards(pattern: str, host: str, yes: bool) -> None:
    assert covers(pattern, host) is yes


def test_the_name_itself_beats_the_longest_wildcard() -> None:
    patterns = ["*", "*.local", "*.cluster.local", "a.cluster.local"]
    assert most_specific(patterns, "a.cluster.local") == "a.cluster.local"
    assert most_specific(patterns, "b.cluster.local") == "*.cluster.local"
    assert most_specific(patterns, "b.local") == "*.local"
    assert most_specific(["*.com"], "b.local") is None


@pytest.mark.parametrize(
    ("export_to", "client", "seen"),
    [
        ((), "other", True),
        (("*",), "other", True),
        ((".",), "shop", True),
        ((".",), "other", False),
        (("other",), "other", True),
        (("other",), "shop", False),
        (("~",), "shop", False),
        ((".", "other"), "other", True),
    ],
)
def test_export(export_to: tuple[str, ...], client: str, seen: bool) -> None:
    assert exported(export_to, "shop", client) is seen
