"""The real control plane as fixtures.

They skip where the binaries are missing, unless CANARYD_REQUIRE_REAL=1 says that they must be
there: a check that may skip in silence is none.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from canaryd.cluster.transport import Api
from canaryd.sandbox.realcluster import RealCluster, available

_CHECKOUT = Path(__file__).parents[2]


@pytest.fixture(scope="session")
def real_binaries() -> None:
    """Skip the test where no real control plane can run; fail it where CANARYD_REQUIRE_REAL=1."""
    reason = available()
    if reason is None:
        return
    if os.environ.get("CANARYD_REQUIRE_REAL") == "1":
        pytest.fail(f"CANARYD_REQUIRE_REAL=1, but: {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(scope="session")
def real_cluster(real_binaries: None) -> Iterator[RealCluster]:
    """One control plane for all tests of a session: each test takes a namespace of its own."""
    with RealCluster() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def real_api(real_cluster: RealCluster) -> Api:
    """A connection to it as administrator."""
    return Api.connect(str(real_cluster.kubeconfig))


@pytest.fixture(scope="session")
def official_crds() -> list[dict[str, Any]]:
    """The CustomResourceDefinitions of Istio and of the Gateway API, as their projects publish them."""
    named = os.environ.get("CANARYD_TEST_CRDS")
    folder = Path(named) if named else _CHECKOUT.parent / "shared" / "crds"
    documents = [
        document
        for file in sorted(folder.glob("*.yaml"))
        for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)  # 40 s without C
        if document and document["kind"] == "CustomResourceDefinition"
    ]
    if not documents:
        pytest.skip(f"no CRDs in {folder}; CANARYD_TEST_CRDS names another folder")
    return documents


@pytest.fixture(scope="session")
def real_crds(real_cluster: RealCluster, official_crds: list[dict[str, Any]]) -> list[str]:
    """The names of the official CRDs, served by the real control plane."""
    real_cluster.install_crds(official_crds)
    return [str(document["metadata"]["name"]) for document in official_crds]
