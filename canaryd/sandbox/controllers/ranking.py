"""Which pods go first when a ReplicaSet shrinks. Pure."""

import functools
import math
from collections import Counter
from collections.abc import Callable, Iterable
from datetime import datetime

from canaryd.sandbox.controllers.model import NEVER
from canaryd.sandbox.controllers.network import Pod

_PHASES = {"Pending": 0, "Unknown": 1, "Running": 2}


def to_delete(pods: Iterable[Pod], count: int, *, related: Iterable[Pod], now: datetime) -> list[Pod]:
    """The `count` pods that are missed least, in Kubernetes' order: not assigned to a node, not running, not
    ready, of the lowest pod-deletion-cost, on the node with the most `related` pods (those of all ReplicaSets
    of the same owner), ready for the shortest time, restarted most often, youngest. Times count in powers of
    two, so that old pods are not kept for ever, and equals fall by uid, which is as good as by chance.
    """
    crowd = Counter(pod.node for pod in related if pod.active)
    compare = functools.partial(_compare, crowd=crowd, now=now)
    return sorted(pods, key=functools.cmp_to_key(compare))[:count]


def _compare(one: Pod, other: Pod, *, crowd: Counter[str], now: datetime) -> int:
    """Below zero where `one` goes first."""
    simple: tuple[Callable[[Pod], float], ...] = (
        lambda pod: bool(pod.node),
        lambda pod: _PHASES.get(pod.phase, 2),
        lambda pod: pod.ready,
        lambda pod: pod.deletion_cost,
        lambda pod: -crowd[pod.node],
    )
    for key in simple:
        if key(one) != key(other):
            return -1 if key(one) < key(other) else 1
    if one.ready and one.ready_since != other.ready_since:
        return _shorter(one.ready_since, other.ready_since, now) or _by_uid(one, other)
    if one.restarts != other.restarts:
        return other.restarts - one.restarts
    if one.meta.created != other.meta.created:
        return _shorter(one.meta.created, other.meta.created, now) or _by_uid(one, other)
    return _by_uid(one, other)


def _shorter(one: datetime, other: datetime, now: datetime) -> int:
    """Compares the times since then by their powers of two; a time that is not set goes first."""
    if NEVER in (one, other):
        return -1 if one == NEVER else 1
    return _magnitude(one, now) - _magnitude(other, now)


def _magnitude(moment: datetime, now: datetime) -> int:
    elapsed = (now - moment).total_seconds()
    return int(math.log2(elapsed * 1e9)) if elapsed > 0 else -1


def _by_uid(one: Pod, other: Pod) -> int:
    return (one.meta.uid > other.meta.uid) - (one.meta.uid < other.meta.uid)
