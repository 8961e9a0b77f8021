"""DestinationRules: the one that canaryd adds beside the user's, and those that would hide it.

A proxy looks in its own namespace, then in the Service's, then in the root namespace; the first of these
with a rule for the host, wildcards included, is taken whole. Rules of one host and namespace are merged.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from canaryd.cluster.resources import Json
from canaryd.domain.model import Labels
from canaryd.domain.world import Finding
from canaryd.mesh.hosts import full_host, matches
from canaryd.mesh.ownership import OURS, is_ours

NAMES = frozenset({"stable", "canary"})
CHECK = "destination-rule"


def rule_name(service: str) -> str:
    """The name of canaryd's rule for a Service."""
    return f"canaryd-{service}"


def subsets(rule: Json | None) -> Mapping[str, Labels]:
    """canaryd's subsets of a rule, by name."""
    return {name: labels for name, labels in _all_subsets(rule).items() if name in NAMES}


def _all_subsets(rule: Json | None) -> dict[str, Labels]:
    found = _spec(rule).get("subsets") if rule else None
    return {subset["name"]: subset.get("labels") or {} for subset in found or []}


def body(
    service: str, namespace: str, host: str, wanted: Mapping[str, Labels], beside: Json, owner: Json
) -> Json:
    """canaryd's rule: subsets only, and what a rule that it would hide or join says of the whole host."""
    return {
        "metadata": {
            "name": rule_name(service),
            "namespace": namespace,
            "labels": OURS,
            "ownerReferences": [owner],
        },
        "spec": {"host": host, **beside, "subsets": subset_list(wanted)},
    }


def subset_list(wanted: Mapping[str, Labels]) -> list[Json]:
    """Subsets as the rule spells them."""
    return [{"name": name, "labels": dict(labels)} for name, labels in wanted.items()]


def beside(rules: Iterable[Json], service: str, namespace: str, host: str, root: str) -> Json:
    """What canaryd's rule must carry: exportTo of the rule that it joins; of one that it hides, its
    trafficPolicy, too.

    root: the mesh's root namespace, whose rules hold where no nearer one does.
    """
    present = _present(_others(rules, service, namespace), namespace, host, root)
    if not present:
        return {}
    kept = ("exportTo",) if _joins(present[0], namespace, host) else ("exportTo", "trafficPolicy")
    return {key: value for key, value in _spec(present[0]).items() if key in kept}


def findings(rules: Iterable[Json], service: str, namespace: str, host: str, root: str) -> list[Finding]:
    """Rules that would hide canaryd's subsets, or be hidden with theirs, or that use its names."""
    rules = list(rules)
    others = _others(rules, service, namespace)
    said = [
        f"{_label(rule)} has the name that canaryd's own rule needs; rename it"
        for rule in others
        if _is_named_ours(rule, service, namespace)
    ]
    said += [
        f"{_label(rule)} hides canaryd's subsets from clients in namespace {rule['metadata']['namespace']}, "
        f"which would get 503; move it to namespace {namespace}"
        for rule in others
        if rule["metadata"]["namespace"] not in (namespace, root) and matches(_host(rule), host)
    ]
    for rule in _present(others, namespace, host, root):
        said += _joined(rule, namespace) if _joins(rule, namespace, host) else _hidden(rule, namespace, host)
    return [Finding(CHECK, message) for message in said]


def _joined(rule: Json, namespace: str) -> Iterator[str]:
    for name in sorted(NAMES & _all_subsets(rule).keys()):
        yield f"{_label(rule)} has subset {name}, a name that canaryd needs; rename it"
    yield from _unexported(rule, namespace)


def _hidden(rule: Json, namespace: str, host: str) -> Iterator[str]:
    if _all_subsets(rule):
        yield (
            f"{_label(rule)} has subsets, which canaryd's rule for {host} would hide; give this host a rule of its "
            f"own in namespace {namespace}, with these subsets"
        )
    yield from _unexported(rule, namespace)


def _unexported(rule: Json, namespace: str) -> Iterator[str]:
    exported = _spec(rule).get("exportTo") or ["*"]
    if rule["metadata"]["namespace"] == namespace and "*" not in exported:
        yield (
            f"{_label(rule)} is exported to {', '.join(exported)} alone: clients elsewhere, such as a gateway, would "
            'not see canaryd\'s subsets either and get 503; export it to "*", or accept it with '
            f"canaryd.io/accept: {CHECK} where there are none"
        )


def _present(rules: Iterable[Json], namespace: str, host: str, root: str) -> list[Json]:
    """The rules that hold for the host in the Service's namespace today: several only where Istio merges them.

    Istio looks in the Service's namespace before the root namespace, and takes the most specific host.
    """

    def rank(rule: Json) -> tuple[bool, bool, int]:
        pattern = _host(rule)
        return rule["metadata"]["namespace"] != namespace, pattern.startswith("*"), -len(pattern)

    applying = [
        rule
        for rule in rules
        if rule["metadata"]["namespace"] in (namespace, root) and matches(_host(rule), host)
    ]
    best = min(map(rank, applying), default=None)
    return [rule for rule in applying if rank(rule) == best]


def _joins(rule: Json, namespace: str, host: str) -> bool:
    """Whether Istio merges the rule with canaryd's."""
    return rule["metadata"]["namespace"] == namespace and _host(rule) == host


def _others(rules: Iterable[Json], service: str, namespace: str) -> list[Json]:
    return [rule for rule in rules if not (_is_named_ours(rule, service, namespace) and is_ours(rule))]


def _is_named_ours(rule: Json, service: str, namespace: str) -> bool:
    meta = rule["metadata"]
    return (meta["namespace"], meta["name"]) == (namespace, rule_name(service))


def _spec(rule: Json) -> Json:
    found: Json = rule.get("spec") or {}
    return found


def _host(rule: Json) -> str:
    return full_host(_spec(rule).get("host", ""), rule["metadata"]["namespace"])


def _label(rule: Json) -> str:
    return f"DestinationRule {rule['metadata']['namespace']}/{rule['metadata']['name']}"
