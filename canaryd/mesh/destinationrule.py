"""DestinationRules: the one that canaryd adds beside the user's, and those that would hide it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from canaryd.cluster.resources import Json
from canaryd.domain.model import Finding, Labels
from canaryd.mesh.hosts import full_host, matches


def rule_name(service: str) -> str:
    """The name of canaryd's rule for a Service."""
    return f"canaryd-{service}"


def subsets(rule: Json | None) -> Mapping[str, Labels]:
    """The subsets of a rule by name."""
    spec = rule.get("spec", {}) if rule else {}
    return {subset["name"]: subset.get("labels") or {} for subset in spec.get("subsets") or []}


def body(
    service: str, namespace: str, host: str, wanted: Mapping[str, Labels], beside: Json, owner: Json
) -> Json:
    """canaryd's rule: subsets only, and what a rule that it would hide or join says of the whole host."""
    return {
        "metadata": {
            "name": rule_name(service),
            "namespace": namespace,
            "labels": {"app.kubernetes.io/managed-by": "canaryd"},
            "ownerReferences": [owner],
        },
        "spec": {"host": host, **beside, "subsets": subset_list(wanted)},
    }


def subset_list(wanted: Mapping[str, Labels]) -> list[Json]:
    """Subsets as the rule spells them."""
    return [{"name": name, "labels": dict(labels)} for name, labels in wanted.items()]


def _others(rules: Iterable[Json], service: str, namespace: str) -> list[Json]:
    ours = (namespace, rule_name(service))
    return [rule for rule in rules if (rule["metadata"]["namespace"], rule["metadata"]["name"]) != ours]


def _host(rule: Json) -> str:
    return full_host(rule.get("spec", {}).get("host", ""), rule["metadata"]["namespace"])


def beside(rules: Iterable[Json], service: str, namespace: str, host: str, root: str) -> Json:
    """What canaryd's rule must carry: exportTo of the rule that it joins, trafficPolicy of a wildcard that it hides.

    root: the mesh's root namespace, whose rules hold everywhere.
    """
    applying = [
        rule
        for rule in _others(rules, service, namespace)
        if rule["metadata"]["namespace"] in (namespace, root) and matches(_host(rule), host)
    ]
    exact = [r for r in applying if _host(r) == host and r["metadata"]["namespace"] == namespace]
    if exact:
        return {k: v for k, v in exact[0]["spec"].items() if k == "exportTo"}
    # Istio looks in the Service's namespace before the root namespace, and takes the most specific host.
    applying.sort(key=lambda r: (r["metadata"]["namespace"] != namespace, -len(_host(r))))
    return {
        k: v
        for k, v in (applying[0]["spec"] if applying else {}).items()
        if k in ("exportTo", "trafficPolicy")
    }


def findings(rules: Iterable[Json], service: str, namespace: str, host: str, root: str) -> list[Finding]:
    """Rules that would hide canaryd's subsets from some clients, or that use its subsets' names."""
    found = []
    for rule in _others(rules, service, namespace):
        where, label = (
            rule["metadata"]["namespace"],
            f"{rule['metadata']['namespace']}/{rule['metadata']['name']}",
        )
        if not matches(_host(rule), host):
            continue
        if where not in (namespace, root):
            found.append(
                Finding(
                    "destination-rule",
                    f"DestinationRule {label} hides canaryd's subsets from clients in namespace {where} "
                    f"(they would get 503); move it to namespace {namespace}",
                )
            )
        elif where == namespace and _host(rule) == host and {"stable", "canary"} & set(subsets(rule)):
            found.append(
                Finding(
                    "destination-rule",
                    f"DestinationRule {label} has a subset named stable or canary, which canaryd needs; rename it",
                )
            )
    return found
