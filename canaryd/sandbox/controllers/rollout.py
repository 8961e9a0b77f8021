"""How many replicas each ReplicaSet of a Deployment gets next. Pure.

The rules are those of Kubernetes' deployment controller: at most `replicas + maxSurge` pods in all, at least
`replicas - maxUnavailable` of them available, unhealthy old pods first. A Deployment that is resized in the
middle of a rollout, or while it is paused, is scaled in proportion, so that the mix of versions stays.
"""

import math
from collections.abc import Callable, Iterable, Sequence

from canaryd.sandbox.controllers.model import Deployment, ReplicaSet

DESIRED = "deployment.kubernetes.io/desired-replicas"
MAXIMUM = "deployment.kubernetes.io/max-replicas"

Sizes = dict[str, int]
"""Replicas by the ReplicaSet's name, for those that are to change."""


def fenceposts(max_surge: int | str, max_unavailable: int | str, replicas: int) -> tuple[int, int]:
    """Pods that may exist beyond `replicas`, and that may lack. Percentages round up for the one and down for
    the other; when both come to nothing one pod may lack, since nothing could ever roll otherwise."""
    surge = _scaled(max_surge, replicas, math.ceil)
    unavailable = _scaled(max_unavailable, replicas, math.floor)
    return (surge, unavailable) if surge or unavailable else (0, 1)


def surge(deployment: Deployment) -> int:
    """Pods that may exist beyond spec.replicas."""
    if deployment.recreate:
        return 0
    return fenceposts(deployment.max_surge, deployment.max_unavailable, deployment.replicas)[0]


def may_lack(deployment: Deployment) -> int:
    """Pods that may be unavailable."""
    if deployment.recreate or deployment.replicas == 0:
        return 0
    lack = fenceposts(deployment.max_surge, deployment.max_unavailable, deployment.replicas)[1]
    return min(lack, deployment.replicas)


def grown(deployment: Deployment, size: int, all_sets: Iterable[ReplicaSet]) -> int:
    """The replicas that the new ReplicaSet may have, of which it now has `size`."""
    wanted = deployment.replicas
    if deployment.recreate or size >= wanted:
        return wanted
    room = wanted + surge(deployment) - total(all_sets)
    return size if room <= 0 else size + min(room, wanted - size)


def shrunk(deployment: Deployment, new: ReplicaSet, old_sets: Sequence[ReplicaSet]) -> Sizes:
    """How far the old ReplicaSets may shrink now."""
    old = sorted((rs for rs in old_sets if rs.replicas > 0), key=_age)
    if not old:
        return {}
    minimum = deployment.replicas - may_lack(deployment)
    # Pods of the new ReplicaSet that are not available yet do not make room for taking away old ones.
    budget = total([*old, new]) - minimum - (new.replicas - new.status.available)
    if budget <= 0:
        return {}
    sizes = _without_unhealthy(old, budget)
    spare = sum(rs.status.available for rs in [*old, new]) - minimum
    for rs in old:
        size = sizes.get(rs.meta.name, rs.replicas)
        taken = min(size, max(spare, 0))
        spare -= taken
        if taken:
            sizes[rs.meta.name] = size - taken
    return sizes


def rescaled(deployment: Deployment, new: ReplicaSet | None, old_sets: Sequence[ReplicaSet]) -> Sizes:
    """The sizes that follow spec.replicas without rolling anything out: for a resize, and while paused."""
    every = [*old_sets, *([new] if new else [])]
    active = [rs for rs in every if rs.replicas > 0]
    if len(active) <= 1:
        only = active[0] if active else new or max(old_sets, key=_age, default=None)
        settled = only is None or only.replicas == deployment.replicas
        return {} if settled or only is None else {only.meta.name: deployment.replicas}
    if _saturated(deployment, new):
        return {rs.meta.name: 0 for rs in old_sets if rs.replicas > 0}
    return {} if deployment.recreate else _in_proportion(deployment, active)


def is_resize(deployment: Deployment, all_sets: Iterable[ReplicaSet]) -> bool:
    """Whether spec.replicas differs from what the ReplicaSets were last scaled for."""
    marks = (number(rs, DESIRED) for rs in all_sets if rs.replicas > 0)
    return any(mark is not None and mark != deployment.replicas for mark in marks)


def marks(deployment: Deployment) -> dict[str, str]:
    """The annotations of a ReplicaSet that say what it was scaled for."""
    return {
        DESIRED: str(deployment.replicas),
        MAXIMUM: str(deployment.replicas + surge(deployment)),
    }


def number(rs: ReplicaSet, annotation: str) -> int | None:
    """A number kept in an annotation; None where there is none."""
    text = rs.meta.annotations.get(annotation, "")
    return int(text) if text.isdigit() else None


def total(sets: Iterable[ReplicaSet]) -> int:
    """Replicas that the sets are to have."""
    return sum(rs.replicas for rs in sets)


def _scaled(value: int | str, replicas: int, rounding: Callable[[float], int]) -> int:
    if isinstance(value, int):
        return value
    if not value.endswith("%"):
        return int(value)
    return rounding(int(value[:-1]) * replicas / 100)


def _without_unhealthy(old: Sequence[ReplicaSet], budget: int) -> Sizes:
    """Takes away up to `budget` old pods that are not available, oldest ReplicaSet first."""
    sizes: Sizes = {}
    for rs in old:
        taken = min(budget, rs.replicas - rs.status.available)
        if taken > 0:
            sizes[rs.meta.name] = rs.replicas - taken
            budget -= taken
    return sizes


def _saturated(deployment: Deployment, new: ReplicaSet | None) -> bool:
    """Whether the new ReplicaSet has every replica, so that the old ones are of no more use."""
    if new is None or number(new, DESIRED) is None:
        return False
    sizes = {new.replicas, number(new, DESIRED), new.status.available}
    return sizes == {deployment.replicas}


def _in_proportion(deployment: Deployment, active: Sequence[ReplicaSet]) -> Sizes:
    allowed = deployment.replicas + surge(deployment) if deployment.replicas else 0
    to_add = allowed - total(active)
    # The largest first; among equals a growth favours the newest and a reduction hits the oldest.
    ordered = sorted(active, key=_age, reverse=to_add > 0)
    ordered.sort(key=lambda rs: rs.replicas, reverse=True)
    added = 0
    sizes: Sizes = {}
    for rs in ordered:
        left = to_add - added
        part = _fraction(deployment, rs) if left else 0
        part = min(part, left) if to_add > 0 else max(part, left)
        sizes[rs.meta.name] = rs.replicas + part
        added += part
    largest = ordered[0].meta.name
    sizes[largest] = max(0, sizes[largest] + to_add - added)
    return sizes


def _fraction(deployment: Deployment, rs: ReplicaSet) -> int:
    """What the ReplicaSet would gain or lose if it kept its share of all pods."""
    if deployment.replicas == 0:
        return -rs.replicas
    before = number(rs, MAXIMUM) or deployment.status.replicas
    if before == 0:
        return 0
    size = rs.replicas * (deployment.replicas + surge(deployment)) / before
    return math.floor(size + 0.5) - rs.replicas


def _age(rs: ReplicaSet) -> tuple[float, str]:
    return rs.meta.created.timestamp(), rs.meta.name
