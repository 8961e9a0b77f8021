"""Writes to the user's Deployment hold for what was decided on, and for nothing that came after it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from shop_objects import deployment, template

from canaryd.cluster.errors import Conflict, Invalid
from canaryd.cluster.resources import DEPLOYMENTS, NAMESPACES, Json
from canaryd.cluster.transport import Api
from canaryd.cluster.workloads import revision
from canaryd.controller.caches import Caches
from canaryd.controller.effects import Effects
from canaryd.sandbox.apiserver import ApiServer

NEXT = template("checkout:3")


@dataclass
class Shop:
    api: Api
    effects: Effects
    decided_on: str  # the resourceVersion

    @property
    def raw(self) -> Json:
        return self.api.get(DEPLOYMENTS, "shop", "checkout")

    def open_gate(self) -> None:
        self.effects.set_paused("shop", "checkout", False, self.decided_on)


@pytest.fixture
def shop(tmp_path: Path) -> Iterator[Shop]:
    """A Deployment whose template was changed after something was decided; canaryd has read the change."""
    with ApiServer() as server:
        api = Api.connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
        caches = Caches(api, lambda *_: None)
        api.create(NAMESPACES, "", {"metadata": {"name": "shop"}})
        body: dict[str, Any] = deployment()
        body["metadata"] = {k: body["metadata"][k] for k in ("name", "labels", "annotations")}
        decided_on = api.create(DEPLOYMENTS, "shop", body)["metadata"]["resourceVersion"]
        change = {"spec": {"template": NEXT}}
        caches.deployments.saw(api.patch(DEPLOYMENTS, "shop", "checkout", change))
        yield Shop(api, Effects(api, caches, "istio-system"), decided_on)
        api.close()


def test_the_gate_does_not_open_for_a_template_that_came_after_the_decision(shop: Shop) -> None:
    with pytest.raises(Conflict):
        shop.open_gate()
    assert shop.raw["spec"]["paused"] is True


def test_the_gate_opens_for_the_version_that_was_decided_on(shop: Shop) -> None:
    shop.decided_on = shop.raw["metadata"]["resourceVersion"]
    shop.open_gate()
    assert shop.raw["spec"]["paused"] is False


def test_the_gate_closes_on_whatever_version_was_read_last(shop: Shop) -> None:
    shop.decided_on = shop.raw["metadata"]["resourceVersion"]
    shop.open_gate()
    shop.effects.set_paused("shop", "checkout", True, "1")
    assert shop.raw["spec"]["paused"] is True


def test_a_template_that_came_after_the_decision_is_not_overwritten(shop: Shop) -> None:
    wanted = revision(shop.raw["spec"]["template"])
    with pytest.raises((Conflict, Invalid)):
        shop.effects.put_template("shop", "checkout", wanted, shop.decided_on, paused=False)
    assert shop.raw["spec"]["paused"] is True
