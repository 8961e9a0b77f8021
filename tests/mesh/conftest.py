"""API servers to write traffic objects to: the sandbox's always, a real one where its binaries are."""

from __future__ import annotations

import os
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml
from written_mesh import Mesh

from canaryd.cluster.errors import ApiError
from canaryd.cluster.resources import DESTINATIONRULES, NAMESPACES, VIRTUALSERVICES, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.crds import install, istio
from canaryd.sandbox.realcluster import RealCluster, available, without_cel

_CHECKOUT = Path(__file__).parents[2]


def _published() -> list[Json]:
    """Istio's own definitions of its traffic kinds."""
    named = os.environ.get("CANARYD_TEST_CRDS")
    folder = Path(named) if named else _CHECKOUT.parent / "shared" / "crds"
    kinds = ("VirtualService", "DestinationRule")
    return [
        document
        for file in sorted(folder.glob("istio*.yaml"))
        for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)
        if document and document.get("spec", {}).get("names", {}).get("kind") in kinds
    ]


@contextmanager
def _sandbox(folder: Path) -> Iterator[Api]:
    with ApiServer() as server:
        api = Api.connect(str(server.kubeconfig(folder / "kubeconfig")))
        install(api, istio())
        yield api


@contextmanager
def _real() -> Iterator[Api]:
    reason = available(controllers=False)
    if reason is not None and os.environ.get("CANARYD_REQUIRE_REAL") == "1":
        pytest.fail(f"CANARYD_REQUIRE_REAL=1, but: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
    with RealCluster(controllers=()) as cluster:
        api = Api.connect(str(cluster.kubeconfig))
        published = _published() or istio()
        install(api, [without_cel(body) for body in published] if cluster.minor < 25 else published)
        _await_served(api)
        yield api


def _await_served(api: Api) -> None:
    deadline = time.monotonic() + 60
    for resource in (VIRTUALSERVICES, DESTINATIONRULES):
        while True:
            try:
                api.list(resource)
                break
            except ApiError:
                assert time.monotonic() < deadline, f"{resource} is not served"
                time.sleep(0.1)


@pytest.fixture(scope="session", params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    """A connection to an API server with Istio's kinds."""
    with _sandbox(tmp_path_factory.mktemp("sandbox")) if request.param == "sandbox" else _real() as connected:
        yield connected


@pytest.fixture
def mesh(api: Api) -> Mesh:
    """A namespace of its own, and the writer."""
    name = f"mesh-{uuid.uuid4().hex[:8]}"
    api.create(NAMESPACES, None, {"metadata": {"name": name}})
    return Mesh(api, name)
