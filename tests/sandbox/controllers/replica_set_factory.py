"""Deployments and ReplicaSets for the tests of what decides about them."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from canaryd.sandbox.controllers.model import Deployment, Meta, ReplicaSet, ReplicaSetStatus, Selector

START = datetime(2026, 1, 1, tzinfo=UTC)


def deployment(replicas: int = 10, **values: Any) -> Deployment:
    meta = Meta("shop", "checkout", "d-uid", 1, generation=1, created=START)
    template = values.pop("template", {"spec": {"containers": [{"name": "app", "image": "app:v1"}]}})
    return replace(Deployment(meta, Selector(()), {}, template, replicas=replicas), **values)


def replica_set(
    name: str,
    replicas: int,
    available: int | None = None,
    *,
    age: int = 0,
    annotations: dict[str, str] | None = None,
    **values: Any,
) -> ReplicaSet:
    """`age` in minutes: a higher one is older. Available as a whole unless said otherwise."""
    created = START - timedelta(minutes=age)
    meta = Meta("shop", name, f"{name}-uid", 1, created=created, annotations=annotations or {})
    ready = replicas if available is None else available
    status = ReplicaSetStatus(replicas=replicas, ready=ready, available=ready)
    rs = ReplicaSet(meta, Selector(()), {"spec": {"containers": [{"image": name}]}}, replicas, status=status)
    return replace(rs, **values)
