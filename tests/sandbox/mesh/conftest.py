"""A shop with one stable and one canary pod behind a real Envoy."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mesh_fakes import App, Proxy, destination_rule, eventually, pod, service, world

Json = dict[str, Any]


@dataclass
class Shop:
    """Pods s-1 (stable) and c-1 (canary) of the Service `checkout`; what a test tells Envoy goes on top."""

    proxy: Proxy
    apps: dict[str, App]
    pods: tuple[Json, ...] = field(init=False)

    def __post_init__(self) -> None:
        self.pods = (
            pod("s-1", self.apps["s-1"].address),
            pod("c-1", self.apps["c-1"].address, role="canary"),
        )

    def tell(
        self,
        *virtual_services: Json,
        rules: tuple[Json, ...] = (destination_rule("stable", "canary"),),
        services: tuple[Json, ...] = (service(),),
        pods: tuple[Json, ...] | None = None,
    ) -> Proxy:
        self.proxy.apply(
            world(
                pods=self.pods if pods is None else pods,
                services=services,
                virtual_services=virtual_services,
                rules=rules,
            )
        )
        return self.proxy

    def eventually_seen(self, who: str, count: int) -> bool:
        """Has the pod had so many requests? Mirrored ones arrive when they arrive."""
        return bool(eventually(lambda: len(self.apps[who].seen) >= count))


@pytest.fixture(scope="module")
def _shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    apps = {"s-1": App("s-1"), "c-1": App("c-1")}
    folder: Path = tmp_path_factory.mktemp("envoy")
    proxy = Proxy(folder, world())
    yield Shop(proxy, apps)
    proxy.envoy.stop()
    for app in apps.values():
        app.close()


@pytest.fixture
def shop(_shop: Shop) -> Shop:
    """Envoy is started once for a module, and told of the plain shop before each test."""
    _shop.tell(rules=())
    for app in _shop.apps.values():
        app.seen.clear()
    return _shop
