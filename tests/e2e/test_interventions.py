"""What people do in the middle of a release, and what happens where nothing is there to step.

Most of it needs no users: the applications here have one pod each and wait at 1 %.
"""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from canaryd.cluster.resources import DESTINATIONRULES, VIRTUALSERVICES
from canaryd.sandbox.rehearsal import Rehearsal
from canaryd.sandbox.scenarios import SCENARIOS
from canaryd.sandbox.shop import Shop
from e2e.conftest import rehearsed
from e2e.neighbour import Neighbour

pytestmark = [pytest.mark.e2e, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def shop() -> Iterator[Rehearsal]:
    """An application without a VirtualService, asked from inside the mesh by its Service's name."""
    yield from rehearsed(routed=False, host="checkout")


def _installed(shop: Rehearsal, namespace: str) -> Neighbour:
    neighbour = Neighbour(shop.box, Shop(namespace, "cart"))
    neighbour.install()
    shop.wait(f"{namespace} at rest", lambda: neighbour.at_rest, 45)
    return neighbour


def _at_one_percent(shop: Rehearsal, namespace: str) -> Neighbour:
    neighbour = _installed(shop, namespace)
    neighbour.release("v2")
    shop.wait(f"{namespace} at 1 %", lambda: neighbour.weight == 1, 45)
    return neighbour


def _nothing_is_left(neighbour: Neighbour) -> None:
    api, namespace = neighbour.box.api, neighbour.shop.namespace
    vs = api.get(VIRTUALSERVICES, namespace, "cart")
    assert vs["spec"] == neighbour.shop.virtual_service()["spec"]
    assert api.list(DESTINATIONRULES, namespace)[0] == []


def test_where_no_route_is_one_is_made_for_the_run(shop: Rehearsal) -> None:
    report = shop.play(SCENARIOS["healthy"])
    assert (report.outcome, report.reason) == ("Succeeded", "Promoted"), report.because
    assert report.highest_weight == 100
    assert report.misrouted == report.violations == []
    assert report.unanswered == {}
    assert report.restored, report.left
    assert shop.box.api.list(VIRTUALSERVICES, "shop")[0] == []


def test_a_first_install_is_let_through(shop: Rehearsal) -> None:
    neighbour = _installed(shop, "first")
    assert neighbour.serving == {"v1"}
    assert neighbour.runs == []


def test_taking_the_annotation_off_hands_the_deployment_back(shop: Rehearsal) -> None:
    neighbour = _at_one_percent(shop, "handed-back")
    neighbour.annotate(enabled=None)
    shop.wait("the run's end", lambda: neighbour.phase == "RolledBack", 45)
    shop.wait("the gate open", lambda: not neighbour.paused, 15)
    assert neighbour.status["reason"] == "Released"
    assert neighbour.wanted == "v1", "the running template goes back with the gate"
    assert neighbour.serving == {"v1"}
    _nothing_is_left(neighbour)


def test_unpausing_overrides_the_release(shop: Rehearsal) -> None:
    neighbour = _at_one_percent(shop, "overridden")
    neighbour.unpause()
    shop.wait("the run's end", lambda: neighbour.phase == "RolledBack", 45)
    assert neighbour.status["reason"] == "Overridden"
    shop.wait("the owner's rollout", lambda: neighbour.serving == {"v2"}, 45)
    shop.wait("rest", lambda: neighbour.at_rest, 45)
    assert len(neighbour.runs) == 1
    _nothing_is_left(neighbour)


def test_skip_lets_one_revision_through(shop: Rehearsal) -> None:
    neighbour = _at_one_percent(shop, "skipped")
    neighbour.annotate(abort="true")
    shop.wait("the run's end", lambda: neighbour.phase == "RolledBack", 45)
    assert neighbour.status["reason"] == "Aborted"
    assert neighbour.serving == {"v1"}
    neighbour.annotate(abort=None, skip=neighbour.runs[-1]["spec"]["revision"])
    shop.wait("the rollout", lambda: neighbour.serving == {"v2"}, 45)
    shop.wait("rest", lambda: neighbour.at_rest, 45)
    assert any("canaryd.io/skip" in event for event in neighbour.events), neighbour.events
    neighbour.release("v3")
    shop.wait("the next release at 1 %", lambda: neighbour.weight == 1, 45)
    neighbour.annotate(abort="true")
    shop.wait("its end", lambda: neighbour.phase == "RolledBack", 45)
    _nothing_is_left(neighbour)
