"""Giving Envoy a new configuration so that no request falls between the old and the new.

Make before break: what is new exists before a route leads to it; what is old goes when no route leads to it
any more, and not at once, since requests may be on their way.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import structlog

from canaryd.cluster.resources import Json
from canaryd.sandbox.mesh.envoy import Envoy
from canaryd.sandbox.mesh.translate import Resources

_DRAIN = 2.0
"""Seconds that a cluster without routes is kept for requests that have already chosen it."""

log = structlog.get_logger(__name__)


class Delivery:
    """Brings one Envoy from configuration to configuration."""

    def __init__(self, envoy: Envoy, clock: Callable[[], float] = time.monotonic) -> None:
        self._envoy = envoy
        self._clock = clock
        self._now = Resources()
        self._leaving: dict[str, tuple[float, Json]] = {}

    def first(self, resources: Resources) -> None:
        """Write what Envoy starts with."""
        for cluster, endpoints in resources.endpoints.items():
            self._envoy.publish_endpoints(cluster, endpoints)
        self._envoy.publish("clusters", resources.clusters.values())
        self._envoy.publish("listeners", resources.listeners.values())
        self._envoy.publish("routes", [resources.routes])
        self._now = resources

    def apply(self, new: Resources) -> None:
        """Go over to `new`; returns when Envoy uses it."""
        old = self._now
        self._make(old, new)
        self._envoy.publish("routes", [new.routes])
        self._settle("routes")
        self._now = new
        self._break(old, new)

    def tidy(self) -> float | None:
        """Remove what has drained. Seconds until there will be more to remove, None when there is nothing."""
        if any(until <= self._clock() for until, _ in self._leaving.values()):
            self._remove_drained()
        waits = [until - self._clock() for until, _ in self._leaving.values()]
        return max(0.0, min(waits)) if waits else None

    def _make(self, old: Resources, new: Resources) -> None:
        for cluster in new.endpoints.keys() - old.endpoints.keys():
            self._envoy.publish_endpoints(cluster, new.endpoints[cluster])
        self._leaving = {
            name: entry
            for name, entry in self._leaving.items()
            if name not in new.clusters.keys() | new.routed
        }
        self._publish_clusters({**old.clusters, **new.clusters})
        addresses = [listener["address"] for listener in new.listeners.values()]
        staying = {
            name: listener
            for name, listener in old.listeners.items()
            if name not in new.listeners and listener["address"] not in addresses
        }
        self._envoy.publish("listeners", [*staying.values(), *new.listeners.values()])
        self._settle("clusters", "listeners")
        for cluster, endpoints in new.endpoints.items():
            self._envoy.publish_endpoints(cluster, endpoints)
        self._settle()

    def _break(self, old: Resources, new: Resources) -> None:
        until = self._clock() + _DRAIN
        for name in old.endpoints.keys() - new.endpoints.keys() - new.routed:
            self._leaving[name] = (until, old.clusters[name])
        for name in old.endpoints.keys() - new.endpoints.keys():
            if name not in self._leaving:
                # A route still names it: Istio answers 503 with flag NC from here on.
                self._envoy.forget_endpoints(name)
        self._envoy.publish("listeners", new.listeners.values())
        self._settle("listeners")
        self._publish_clusters(new.clusters)
        self._settle("clusters")

    def _remove_drained(self) -> None:
        drained = [name for name, (until, _) in self._leaving.items() if until <= self._clock()]
        for name in drained:
            del self._leaving[name]
        self._publish_clusters(self._now.clusters)
        self._settle("clusters")
        for name in drained:
            self._envoy.forget_endpoints(name)

    def _publish_clusters(self, clusters: dict[str, Json]) -> None:
        leaving = {name: cluster for name, (_, cluster) in self._leaving.items()}
        self._envoy.publish("clusters", {**leaving, **clusters}.values())

    def _settle(self, *kinds: str) -> None:
        complaint = self._envoy.settle(*kinds)
        if complaint is not None:
            log.error("mesh.refused_by_envoy", complaint=complaint)
