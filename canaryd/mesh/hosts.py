"""Names of hosts as Istio resolves them."""

from __future__ import annotations

from collections.abc import Iterable

CLUSTER_DOMAIN = "cluster.local"


def full_host(host: str, namespace: str) -> str:
    """`host` as written in an object of `namespace`, as a full name; a name with a dot is one already.

    >>> full_host("checkout", "shop")
    'checkout.shop.svc.cluster.local'
    >>> full_host("shop.example.com", "shop")
    'shop.example.com'
    """
    return host if "." in host or host == "*" else f"{host}.{namespace}.svc.{CLUSTER_DOMAIN}"


def service_host(service: str, namespace: str) -> str:
    """The full name of a Service."""
    return f"{service}.{namespace}.svc.{CLUSTER_DOMAIN}"


def matches(pattern: str, host: str) -> bool:
    """Whether a host pattern ("*", "*.suffix" or a full name) covers `host`."""
    if pattern == "*":
        return True
    return host.endswith(pattern[1:]) if pattern.startswith("*") else pattern == host


def covers(patterns: Iterable[str], namespace: str, host: str) -> bool:
    """Whether any of the `patterns`, written in `namespace`, covers `host`."""
    return any(matches(full_host(pattern, namespace), host) for pattern in patterns)
