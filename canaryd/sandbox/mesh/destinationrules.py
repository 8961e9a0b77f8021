"""DestinationRules: which subsets a client sees for a Service.

Only subsets are read; traffic policies (pools, outlier detection, TLS) have no effect in the sandbox.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.hosts import exported, full_name, most_specific
from canaryd.sandbox.mesh.services import Service

ROOT_NAMESPACE = "istio-system"


@dataclass(frozen=True, slots=True)
class Subset:
    name: str
    labels: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class DestinationRule:
    """host is a full name or a wildcard. for_workloads: it has a workloadSelector."""

    namespace: str
    name: str
    host: str
    subsets: tuple[Subset, ...] = ()
    export_to: tuple[str, ...] = ()
    created: str = ""
    for_workloads: bool = False

    @property
    def _scope(self) -> frozenset[str]:
        entries = self.export_to or ("*",)
        return frozenset(self.namespace if entry == "." else entry for entry in entries)

    def merges(self, later: DestinationRule) -> bool:
        """Istio merges a later rule of the same host and namespace where it is seen by at least as many."""
        return later._scope >= self._scope

    def merged(self, later: DestinationRule) -> DestinationRule:
        """Subsets are appended; of two with one name the first stays."""
        known = {subset.name for subset in self.subsets}
        return replace(
            self, subsets=self.subsets + tuple(subset for subset in later.subsets if subset.name not in known)
        )


def parse_destination_rule(obj: Json) -> DestinationRule:
    """A DestinationRule of the API. KeyError, TypeError or ValueError where it has another shape."""
    metadata, spec = obj["metadata"], obj.get("spec") or {}
    namespace = metadata["namespace"]
    return DestinationRule(
        namespace=namespace,
        name=metadata["name"],
        host=full_name(spec["host"], namespace),
        subsets=tuple(
            Subset(name=raw["name"], labels=dict(raw.get("labels") or {}))
            for raw in spec.get("subsets") or ()
        ),
        export_to=tuple(spec.get("exportTo") or ()),
        created=metadata.get("creationTimestamp") or "",
        for_workloads=bool(spec.get("workloadSelector")),
    )


def subsets_for(service: Service, rules: Iterable[DestinationRule], client: str) -> tuple[Subset, ...]:
    """What a client in namespace `client` may name as subsets of a Service.

    Istio asks the client's namespace, then the Service's, then the root namespace; the first that has a rule
    for the host wins whole, and in it the most specific host. A rule for workloads with certain labels does
    not apply: the sandbox's clients have none.
    """
    ordered = sorted(
        (rule for rule in rules if not rule.for_workloads),
        key=lambda rule: (rule.created, rule.name, rule.namespace),
    )
    places = [service.namespace, ROOT_NAMESPACE]
    if client != ROOT_NAMESPACE:
        places.insert(0, client)
    for place in places:
        seen = [
            rule for rule in ordered if rule.namespace == place and exported(rule.export_to, place, client)
        ]
        host = most_specific((rule.host for rule in seen), service.host)
        if host is not None:
            return _consolidated([rule for rule in seen if rule.host == host])
    return ()


def _consolidated(rules: list[DestinationRule]) -> tuple[Subset, ...]:
    """Rules of one host and namespace as one; of those that cannot be merged the last applies."""
    merged: list[DestinationRule] = []
    for rule in rules:
        joined = [known.merges(rule) for known in merged]
        merged = [known.merged(rule) if join else known for known, join in zip(merged, joined, strict=True)]
        if not any(joined):
            merged.append(rule)
    return merged[-1].subsets if merged else ()
