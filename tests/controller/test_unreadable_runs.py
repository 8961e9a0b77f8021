"""A CanaryRun that cannot be read: its Deployment is left alone, and told why, until somebody sees to the run."""

from __future__ import annotations

import pytest
from served_shop import App, Served

from canaryd.cluster.resources import CANARYRUNS, Json


def set_stage(app: App, run: Json, stage: str) -> None:
    name = run["metadata"]["name"]
    app.api.patch(CANARYRUNS, app.namespace, name, {"status": {"stage": stage}}, subresource="status")


def told(app: App) -> list[str]:
    return [message for reason, message in app.events if reason == "UnreadableRun"]


@pytest.fixture
def blocked(cluster: Served, app: App) -> tuple[App, Json]:
    """v2 was rolled back, its run was spoilt since, and v3 has come."""
    cluster.to_half(app)
    cluster.abort(app)
    run = app.runs[-1]
    set_stage(app, run, "warp")
    app.annotate(abort=None)
    app.release("v3")
    cluster.wait("a message", lambda: told(app))
    cluster.stays(lambda: len(app.runs) == 1)
    return app, run


def test_the_message_names_run_fault_and_cure(blocked: tuple[App, Json]) -> None:
    app, run = blocked
    (message,) = told(app)
    for words in (f"CanaryRun {run['metadata']['name']}", "'warp' is not a valid Stage", "deleted"):
        assert words in message


def test_the_release_begins_once_the_run_is_mended(cluster: Served, blocked: tuple[App, Json]) -> None:
    app, run = blocked
    set_stage(app, run, "done")
    cluster.wait("v3 at 50 %", lambda: len(app.runs) == 2 and app.status.get("hold") == "Paused")


def test_the_release_begins_once_the_run_is_deleted(cluster: Served, blocked: tuple[App, Json]) -> None:
    app, run = blocked
    app.api.delete(CANARYRUNS, app.namespace, run["metadata"]["name"])
    cluster.wait("v3 at 50 %", lambda: app.status.get("hold") == "Paused")
    assert len(app.runs) == 1


def test_a_run_under_way_stands_until_it_is_mended(cluster: Served) -> None:
    app, other = cluster.installed("checkout", "cart")
    cluster.to_half(app)
    set_stage(app, app.runs[-1], "warp")
    cluster.wait("a message", lambda: told(app))
    written = app.virtual_service["spec"]
    cluster.stays(lambda: app.virtual_service["spec"] == written)
    cluster.to_half(other)
    set_stage(app, app.runs[-1], "judge")
    app.annotate(pause=None)
    cluster.wait("v2 promoted", lambda: app.stage == "done" and app.at_rest)
    assert app.status["outcome"] == "Succeeded"


def test_forced_away_while_under_way_its_routes_are_put_back(cluster: Served, app: App) -> None:
    cluster.to_half(app)
    run = app.runs[-1]["metadata"]["name"]
    set_stage(app, app.runs[-1], "warp")
    cluster.wait("a message", lambda: told(app))
    app.release("v1")
    app.api.delete(CANARYRUNS, app.namespace, run)
    app.api.patch(CANARYRUNS, app.namespace, run, {"metadata": {"finalizers": None}})
    cluster.wait("the routes put back", lambda: app.is_clean and app.stage == "done")
    assert app.status["reason"] == "Swept"
