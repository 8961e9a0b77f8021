"""A cluster that is served, for tests of the controller as a whole."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served_shop import App, Served, served


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Served]:
    """canaryd is not started in it yet."""
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def app(cluster: Served) -> App:
    """One application, at rest at v1, and canaryd."""
    return cluster.installed("checkout")[0]
