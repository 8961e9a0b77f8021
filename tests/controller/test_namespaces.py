"""With `namespaces` a Role in each of them suffices: nothing is asked of the whole cluster, or of another."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served_shop import App, Served, served

from canaryd.cluster.resources import DESTINATIONRULES
from canaryd.sandbox.apiserver import RequestInfo

ALLOWED = ("shop", "bakery")


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Served]:
    """What a ClusterRole would be needed for is refused."""
    with served(tmp_path) as running:
        running.refuse(_forbidden, status=403, reason="Forbidden")
        yield running


def _forbidden(request: RequestInfo) -> bool:
    path = request.path
    wide = path.plural == "destinationrules" and path.namespace == "istio-system"
    return path.namespace not in ALLOWED and not (wide and request.verb in ("list", "watch"))


@pytest.fixture
def apps(cluster: Served) -> list[App]:
    """An application in each namespace, and one where canaryd has no business."""
    apps = [cluster.app(namespace=namespace) for namespace in (*ALLOWED, "elsewhere")]
    for app in apps:
        app.install()
        cluster.route(app, manager="helm")
    cluster.app(namespace="istio-system")
    cluster.start(namespaces=ALLOWED)
    cluster.wait("rest", lambda: all(app.at_rest for app in apps[:-1]))
    return apps


def test_releases_are_made_there_and_nowhere_else(cluster: Served, apps: list[App]) -> None:
    shop, bakery, elsewhere = apps
    for app in apps:
        app.release("v2")
    for app in (shop, bakery):
        cluster.wait("the end", lambda app=app: app.stage == "done" and app.at_rest)  # type: ignore[misc]
        assert (app.status["outcome"], app.is_clean) == ("Succeeded", True)
    assert not elsewhere.raw["spec"].get("paused")
    assert elsewhere.runs == []


def test_what_the_root_namespace_says_of_every_host_goes_on(cluster: Served, apps: list[App]) -> None:
    """canaryd's rule hides it: its traffic policy must be carried along."""
    policy = {"tls": {"mode": "ISTIO_MUTUAL"}}
    wide = {"metadata": {"name": "default"}, "spec": {"host": "*.local", "trafficPolicy": policy}}
    cluster.api.create(DESTINATIONRULES, "istio-system", wide)
    cluster.to_half(apps[0])
    (rule,) = apps[0].rules
    assert rule["spec"]["trafficPolicy"] == policy
