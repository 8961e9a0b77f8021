"""Whose the routes are (managedFields) at rest: their owners', whatever happened to canaryd on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from served_shop import App, Served, served

from canaryd.cluster.resources import CANARYRUNS, Json
from canaryd.sandbox.apiserver import RequestInfo, WriteRecord


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


def installed(cluster: Served, *names: str) -> list[App]:
    """Applications at rest that share a VirtualService of helm's, called as the first of them."""
    apps = [cluster.app(name) for name in names]
    for app in apps:
        app.install()
    cluster.route(*apps, manager="helm")
    cluster.start()
    for app in apps:
        cluster.wait("rest", lambda app=app: app.at_rest)  # type: ignore[misc]
    return apps


def to_half(cluster: Served, app: App) -> None:
    """A release that waits at 50 %."""
    app.annotate(pause="true")
    app.release("v2")
    cluster.wait(f"{app.name} at 50 %", lambda: app.status.get("hold") == "Paused")


def end(cluster: Served, app: App) -> None:
    app.annotate(abort="true")
    cluster.wait(f"the end of {app.name}'s run", lambda: app.stage == "done")


def owners(app: App) -> dict[str, Json]:
    """The fields of each manager; times and the order of entries may differ."""
    found = app.virtual_service["metadata"].get("managedFields") or []
    return {entry["manager"]: entry["fieldsV1"] for entry in found}


def puts_back(write: WriteRecord) -> bool:
    """The write after which no route names a subset any more."""
    return (
        write.resource == "virtualservices.networking.istio.io"
        and '"subset"' in json.dumps(write.old)
        and '"subset"' not in json.dumps(write.new)
    )


def gives_back(request: RequestInfo) -> bool:
    return request.path.plural == "virtualservices" and b"/metadata/managedFields" in request.body


def test_killed_between_putting_the_routes_back_and_giving_them_back(cluster: Served) -> None:
    (app,) = installed(cluster, "checkout")
    before = owners(app)
    to_half(cluster, app)
    with cluster.killed_after(puts_back, "the routes are put back"):
        app.annotate(abort="true")
    assert "canaryd" in owners(app)
    cluster.start()
    cluster.wait("the end", lambda: app.stage == "done")
    assert owners(app) == before


def test_refused_until_the_run_has_ended(cluster: Served) -> None:
    (app,) = installed(cluster, "checkout")
    before = owners(app)
    to_half(cluster, app)
    cluster.refuse(gives_back)
    end(cluster, app)
    assert "canaryd" in owners(app)
    cluster.stop()
    cluster.allow()
    cluster.start()
    cluster.wait("given back", lambda: owners(app) == before)


class TestTwoRunsInOneVirtualService:
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first to begin", "last to begin"])
    def test_whichever_ends_first(self, cluster: Served, order: tuple[int, int]) -> None:
        apps = installed(cluster, "checkout", "cart")
        before = owners(apps[0])
        for app in apps:
            to_half(cluster, app)
        end(cluster, apps[order[0]])
        assert "canaryd" in owners(apps[0]), "the other one's routes are still canaryd's"
        end(cluster, apps[order[1]])
        assert owners(apps[0]) == before
        assert [route["route"] for route in apps[0].virtual_service["spec"]["http"]] == [
            app.route["route"] for app in apps
        ]

    def test_without_a_record_of_the_owners_the_routes_are_nobodys(self, cluster: Served) -> None:
        first, second = apps = installed(cluster, "checkout", "cart")
        before = owners(first)
        for app in apps:
            to_half(cluster, app)
        end(cluster, first)
        first.api.delete(CANARYRUNS, first.namespace, first.runs[-1]["metadata"]["name"])
        end(cluster, second)
        left = owners(first)
        assert left.keys() == before.keys() == {"helm"}
        assert "f:http" not in left["helm"]["f:spec"]
