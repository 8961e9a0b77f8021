"""A bad and a good release on a real kube-apiserver and controller manager, with Istio's own CRDs enforced.

Node, mesh, Envoy and Prometheus are the sandbox's; objects, their patches and the rollout are the real ones'.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.cluster.resources import VIRTUALSERVICES
from canaryd.cluster.transport import Api
from canaryd.sandbox import crds
from canaryd.sandbox.apiserver import WriteHook
from canaryd.sandbox.cluster import Sandbox
from canaryd.sandbox.mesh.server import Mesh
from canaryd.sandbox.node.node import Node
from canaryd.sandbox.prometheus import Prometheus
from canaryd.sandbox.realcluster import RealCluster, available
from canaryd.sandbox.rehearsal import Rehearsal
from canaryd.sandbox.scenarios import SCENARIOS
from e2e.conftest import repeated

pytestmark = [pytest.mark.real, pytest.mark.slow]

CHECKOUT = Path(__file__).parents[2]


class Unwatched:
    """Stands where the sandbox's API server lets others watch its writes; a real one does not."""

    def on_write(self, hook: WriteHook) -> None:
        """Nothing calls it."""


class RealSandbox(Sandbox):
    """The sandbox with a real control plane in the middle."""

    def _start(self) -> None:
        self.folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="canaryd-sandbox-")))
        real = self._stack.enter_context(RealCluster())
        self.apiserver = Unwatched()  # type: ignore[assignment]
        self.kubeconfig = real.kubeconfig
        self.api = Api.connect(str(self.kubeconfig), user_agent="sandbox", pool=48)
        self._stack.callback(self.api.close)
        real.install_crds([*_istio(), crds.canaryrun()])
        self.node = Node(self.api)
        self.node.start()
        self._stack.callback(self.node.stop)
        self.mesh = Mesh(self.api, propagation=self.propagation, client_namespace="shop")
        self._stack.callback(self.mesh.stop)
        self.mesh.start()
        self.prometheus = Prometheus([self.mesh.admin], interval=self.scrape)
        self._stack.callback(self.prometheus.stop)
        self.prometheus.start()
        self.prometheus.wait_ready()


def _istio() -> list[dict[str, Any]]:
    """Istio's CRDs as published; open ones where they are not at hand."""
    named = os.environ.get("CANARYD_TEST_CRDS")
    folder = Path(named) if named else CHECKOUT.parent / "shared" / "crds"
    published = [
        document
        for file in sorted(folder.glob("istio*.yaml"))
        for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)
        if document
    ]
    return published or crds.istio()


@pytest.fixture(scope="module")
def rehearsal() -> Iterator[Rehearsal]:
    reason = available()
    if reason and not os.environ.get("CANARYD_REQUIRE_REAL"):
        pytest.skip(reason)
    with RealSandbox() as box:
        rehearsal = Rehearsal(box)
        try:
            rehearsal.begin()
            yield rehearsal
        finally:
            rehearsal.end()


@pytest.mark.parametrize("name", ["errors", "healthy"])
def test_a_release_ends_as_it_should_and_leaves_nothing(rehearsal: Rehearsal, name: str) -> None:
    scenario = SCENARIOS[name]
    report = rehearsal.play(scenario)
    assert (report.outcome, report.reason) == (scenario.outcome, scenario.reasons[0])
    assert report.restored, report.left
    assert report.unanswered == {}
    assert _managers(rehearsal) == {"sandbox"}
    assert repeated(rehearsal) > 0


def _managers(rehearsal: Rehearsal) -> set[str]:
    """Who owns fields of the VirtualService: canaryd gave back what it had taken."""
    vs = rehearsal.box.api.get(VIRTUALSERVICES, "shop", "checkout")
    return {entry["manager"] for entry in vs["metadata"]["managedFields"]}
