"""Host names as Istio understands them: short names, wildcards, who may see what."""

from __future__ import annotations

from collections.abc import Iterable

CLUSTER_DOMAIN = "cluster.local"


def service_host(namespace: str, name: str) -> str:
    """The full name of a Service."""
    return f"{name}.{namespace}.svc.{CLUSTER_DOMAIN}"


def full_name(host: str, namespace: str) -> str:
    """A host as an object in `namespace` means it.

    Only a name without dots is short; "checkout.shop" is taken as it is, as Istio does, and is not the
    Service `checkout` in `shop`.
    """
    if "." in host or host.startswith("*"):
        return host
    return service_host(namespace, host)


def covers(pattern: str, host: str) -> bool:
    """Does a host of a rule, perhaps a wildcard ("*", "*.example.com"), mean this host?"""
    if pattern.startswith("*"):
        return host.endswith(pattern[1:])
    return pattern == host


def most_specific(patterns: Iterable[str], host: str) -> str | None:
    """The pattern that wins for `host`: the name itself, else the longest wildcard, else None."""
    fitting = [pattern for pattern in patterns if covers(pattern, host)]
    return max(fitting, key=lambda pattern: (not pattern.startswith("*"), len(pattern)), default=None)


def exported(export_to: tuple[str, ...], owner: str, client: str) -> bool:
    """May proxies in namespace `client` see an object of namespace `owner`? No entry means everybody."""
    if not export_to:
        return True
    return any(entry == "*" or client == (owner if entry == "." else entry) for entry in export_to)
