"""Traffic that a vanished run left is put back when canaryd starts, or as soon as it hears of it."""

from __future__ import annotations

import pytest
from served_shop import App, Served

from canaryd.cluster.resources import CANARYRUNS, VIRTUALSERVICES, Json


def force_away(app: App) -> None:
    """The newest run, by hand: what it owns goes with it."""
    name = app.runs[-1]["metadata"]["name"]
    app.api.delete(CANARYRUNS, app.namespace, name)
    app.api.patch(CANARYRUNS, app.namespace, name, {"metadata": {"finalizers": None}})


def managers(app: App) -> set[str]:
    return {entry["manager"] for entry in app.virtual_service["metadata"]["managedFields"]}


@pytest.mark.parametrize("down", [True, False], ids=["at the start", "while canaryd runs"])
def test_half_the_traffic(cluster: Served, app: App, down: bool) -> None:
    cluster.to_half(app)
    if down:
        cluster.stop()
    app.release("v1")  # so that no release follows
    force_away(app)
    if down:
        cluster.wait("the canary's end", lambda: app.nothing_made)
        assert not app.is_clean, "the routes still name the subsets"
        cluster.start()
    cluster.wait("the routes put back", lambda: app.is_clean and app.stage == "done")
    assert (app.status["reason"], len(app.runs)) == ("Swept", 1)
    assert any(reason == "Swept" for reason, _ in app.events)
    assert managers(app) == {"helm"}
    cluster.wait("rest", lambda: app.at_rest)


def test_of_one_application_beside_another_whose_run_goes_on(cluster: Served) -> None:
    first, second = cluster.installed("checkout", "cart")
    for app in (first, second):
        cluster.to_half(app)
    cluster.stop()
    first.release("v1")
    force_away(first)
    cluster.start()
    cluster.wait("the routes put back", lambda: first.route in first.virtual_service["spec"]["http"])
    assert second.status["hold"] == "Paused"
    assert [_weights(route) for route in first.virtual_service["spec"]["http"]] == [[None], [50, 50]]


def test_the_users_own_subsets_are_not_taken_for_it(cluster: Served, app: App) -> None:
    """Who splits between subsets of these names without canaryd goes on doing so."""
    route = [
        {"destination": {"host": app.name, "subset": subset}, "weight": weight}
        for subset, weight in (("stable", 90), ("canary", 10))
    ]
    body = [{"op": "replace", "path": "/spec/http/0/route", "value": route}]
    app.api.patch(VIRTUALSERVICES, app.namespace, app.name, body, kind="json", field_manager="helm")
    cluster.stop()
    cluster.start()
    cluster.stays(lambda: _weights(app.virtual_service["spec"]["http"][0]) == [90, 10] and not app.runs)


def _weights(route: Json) -> list[int | None]:
    return [entry.get("weight") for entry in route["route"]]
