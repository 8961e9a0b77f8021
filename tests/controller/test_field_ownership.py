"""Whose the routes are (managedFields) at rest: their owners', whatever happened to canaryd on the way."""

from __future__ import annotations

import json

import pytest
from served_shop import App, Served

from canaryd.cluster.resources import CANARYRUNS, Json
from canaryd.sandbox.apiserver import RequestInfo, WriteRecord


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


def test_killed_between_putting_the_routes_back_and_giving_them_back(cluster: Served, app: App) -> None:
    before = owners(app)
    cluster.to_half(app)
    with cluster.killed_after(puts_back, "the routes are put back"):
        app.annotate(abort="true")
    assert "canaryd" in owners(app)
    cluster.start()
    cluster.wait("the end", lambda: app.stage == "done")
    assert owners(app) == before


def test_refused_until_the_run_has_ended(cluster: Served, app: App) -> None:
    before = owners(app)
    cluster.to_half(app)
    cluster.refuse(gives_back)
    cluster.abort(app)
    assert "canaryd" in owners(app)
    cluster.stop()
    cluster.allow()
    cluster.start()
    cluster.wait("given back", lambda: owners(app) == before)


class TestTwoRunsInOneVirtualService:
    @pytest.mark.parametrize("order", [(0, 1), (1, 0)], ids=["first to begin", "last to begin"])
    def test_whichever_ends_first(self, cluster: Served, order: tuple[int, int]) -> None:
        apps = cluster.installed("checkout", "cart")
        before = owners(apps[0])
        for app in apps:
            cluster.to_half(app)
        cluster.abort(apps[order[0]])
        assert "canaryd" in owners(apps[0]), "the other one's routes are still canaryd's"
        cluster.abort(apps[order[1]])
        assert owners(apps[0]) == before
        assert [route["route"] for route in apps[0].virtual_service["spec"]["http"]] == [
            app.route["route"] for app in apps
        ]

    def test_without_a_record_of_the_owners_the_routes_are_nobodys(self, cluster: Served) -> None:
        first, second = apps = cluster.installed("checkout", "cart")
        before = owners(first)
        for app in apps:
            cluster.to_half(app)
        cluster.abort(first)
        first.api.delete(CANARYRUNS, first.namespace, first.runs[-1]["metadata"]["name"])
        cluster.abort(second)
        left = owners(first)
        assert left.keys() == before.keys() == {"helm"}
        assert "f:http" not in left["helm"]["f:spec"]
