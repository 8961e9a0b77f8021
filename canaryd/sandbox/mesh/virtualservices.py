"""VirtualServices as they are meant: parsed once, names in full, and refused where Istio refuses them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

MESH = "mesh"
"""The gateway name that means the sidecars."""


class RefusedError(ValueError):
    """Istio's admission webhook would not let this VirtualService in. The message says why."""


@dataclass(frozen=True, slots=True)
class StringMatch:
    kind: Literal["exact", "prefix", "regex", "present"]
    value: str = ""


@dataclass(frozen=True, slots=True)
class Match:
    """Conditions that must all hold. gateways and source narrow down who asks, the rest what is asked."""

    name: str = ""
    uri: StringMatch | None = None
    ignore_uri_case: bool = False
    scheme: StringMatch | None = None
    method: StringMatch | None = None
    authority: StringMatch | None = None
    headers: Mapping[str, StringMatch] = field(default_factory=dict)
    without_headers: Mapping[str, StringMatch] = field(default_factory=dict)
    query: Mapping[str, StringMatch] = field(default_factory=dict)
    port: int | None = None
    gateways: tuple[str, ...] = ()
    source_labels: Mapping[str, str] = field(default_factory=dict)
    source_namespace: str = ""


@dataclass(frozen=True, slots=True)
class Destination:
    """host is a full name. subset "" means all of the Service; port None means the one that was asked."""

    host: str
    subset: str = ""
    port: int | None = None


@dataclass(frozen=True, slots=True)
class HeaderChanges:
    """What to do to the headers of one direction."""

    put: Mapping[str, str] = field(default_factory=dict)
    add: Mapping[str, str] = field(default_factory=dict)
    remove: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Headers:
    request: HeaderChanges = HeaderChanges()
    response: HeaderChanges = HeaderChanges()


@dataclass(frozen=True, slots=True)
class WeightedDestination:
    destination: Destination
    weight: int = 0
    headers: Headers = Headers()


@dataclass(frozen=True, slots=True)
class Rewrite:
    uri: str = ""
    authority: str = ""
    pattern: str = ""
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class Redirect:
    """port None leaves it to the scheme; code is an HTTP status."""

    uri: str = ""
    authority: str = ""
    scheme: str = ""
    port: int | None = None
    same_port: bool = False
    code: int = 301


@dataclass(frozen=True, slots=True)
class DirectResponse:
    status: int
    body: str = ""


@dataclass(frozen=True, slots=True)
class Retries:
    """Times in seconds. retry_on "" means Istio's default conditions; attempts 0 means no retry."""

    attempts: int = 2
    per_try_timeout: float | None = None
    retry_on: str = ""
    backoff: float | None = None
    avoid_previous_pods: bool = True


@dataclass(frozen=True, slots=True)
class Fault:
    """Times in seconds, shares in percent. abort_status None: nothing is aborted."""

    abort_status: int | None = None
    abort_percent: float = 0.0
    delay: float | None = None
    delay_percent: float = 0.0


@dataclass(frozen=True, slots=True)
class Mirror:
    destination: Destination
    percent: float = 100.0


@dataclass(frozen=True, slots=True)
class HttpRoute:
    """One entry of `http`: no matches means everything; delegate names another VirtualService."""

    name: str = ""
    matches: tuple[Match, ...] = ()
    destinations: tuple[WeightedDestination, ...] = ()
    delegate: tuple[str, str] | None = None
    redirect: Redirect | None = None
    direct_response: DirectResponse | None = None
    rewrite: Rewrite | None = None
    timeout: float | None = None
    retries: Retries | None = None
    fault: Fault | None = None
    mirrors: tuple[Mirror, ...] = ()
    headers: Headers | None = None


@dataclass(frozen=True, slots=True)
class VirtualService:
    """hosts are full names or wildcards; none makes it a delegate. gateways "mesh" stands for sidecars."""

    namespace: str
    name: str
    hosts: tuple[str, ...]
    gateways: tuple[str, ...] = (MESH,)
    http: tuple[HttpRoute, ...] = ()
    export_to: tuple[str, ...] = ()
    created: str = ""

    @property
    def key(self) -> tuple[str, str]:
        return (self.namespace, self.name)

    @property
    def age(self) -> tuple[str, str, str]:
        """Sorts the oldest first, as Istio does where two claim the same host."""
        return (self.created, self.name, self.namespace)

    @property
    def for_mesh(self) -> bool:
        return MESH in self.gateways

    @property
    def for_gateways(self) -> bool:
        return any(gateway != MESH for gateway in self.gateways)
