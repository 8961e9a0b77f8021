"""What would keep a canary pod from running beside a stable one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from canaryd.cluster.resources import Json
from canaryd.domain.world import Finding

CHECK = "second-copy"
ACCEPT = f"or accept it with canaryd.io/accept: {CHECK}"


def findings(template: Json, claims: Iterable[Json]) -> list[Finding]:
    """By the pod template, and the PersistentVolumeClaims that it mounts."""
    return [
        Finding(CHECK, f"{said}, {ACCEPT}")
        for said in (*_ports(template), *_volumes(claims), *_places(template))
    ]


def _ports(template: Json) -> Iterator[str]:
    spec = template["spec"]
    if spec.get("hostNetwork"):
        yield "the pods use the host's network, so a second copy may find no node; take hostNetwork out"
        return
    for container in spec.get("containers") or []:
        for port in container.get("ports") or []:
            if port.get("hostPort"):
                yield (
                    f"container {container['name']} takes hostPort {port['hostPort']}, so a second copy may find no "
                    "node; take it out"
                )


def _volumes(claims: Iterable[Json]) -> Iterator[str]:
    for claim in claims:
        modes = (claim.get("spec") or {}).get("accessModes") or []
        if not {"ReadWriteMany", "ReadOnlyMany"} & set(modes):
            yield (
                f"PersistentVolumeClaim {claim['metadata']['name']} ({', '.join(modes) or 'no access mode'}) cannot be "
                "mounted on a second node; use ReadWriteMany"
            )


def _places(template: Json) -> Iterator[str]:
    """Required anti-affinity to pods like themselves; that to others is met by a second copy as by the first."""
    affinity = (template["spec"].get("affinity") or {}).get("podAntiAffinity") or {}
    labels = (template.get("metadata") or {}).get("labels") or {}
    for term in affinity.get("requiredDuringSchedulingIgnoredDuringExecution") or []:
        if selected(term.get("labelSelector"), labels):
            yield (
                "required pod anti-affinity keeps the pods apart from each other by "
                f"{term.get('topologyKey', 'node')}, so a second copy may find no node; prefer it instead of "
                "requiring it"
            )


def selected(selector: Json | None, labels: Mapping[str, str]) -> bool:
    """Whether a Kubernetes label selector picks these labels; none picks nothing, an empty one everything."""
    if selector is None:
        return False
    equal = all(labels.get(key) == value for key, value in (selector.get("matchLabels") or {}).items())
    return equal and all(_holds(each, labels) for each in selector.get("matchExpressions") or [])


def _holds(expression: Json, labels: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or []
    match expression["operator"]:
        case "In":
            return labels.get(key) in values
        case "NotIn":
            return labels.get(key) not in values
        case "Exists":
            return key in labels
        case _:
            return key not in labels
