"""A Deployment that is deleted and made anew under the old name: what was under way ends, the new one is left alone."""

from __future__ import annotations

import pytest
from served_shop import App, Served


def make_anew(app: App, image: str) -> None:
    """`kubectl replace --force`, to the daemon's eyes sometimes one change."""
    app.delete()
    app.create(image)


@pytest.mark.parametrize("down", [False, True], ids=["canaryd sees it", "canaryd is down"])
def test_while_its_canary_has_half_the_traffic(cluster: Served, app: App, down: bool) -> None:
    cluster.to_half(app)
    if down:
        cluster.stop()
    make_anew(app, "v9")
    if down:
        cluster.start()
    cluster.wait("the end", lambda: app.stage == "done" and app.is_clean and app.at_rest)
    assert (app.status["reason"], app.image, len(app.runs)) == ("DeploymentDeleted", "v9", 1)


def test_while_it_rolls_behind_its_canary(cluster: Served, app: App) -> None:
    cluster.unready = {"v2"}
    app.release("v2")
    cluster.wait("the promotion", lambda: app.stage == "roll")
    make_anew(app, "v9")
    cluster.wait("the end", lambda: app.stage == "done" and app.is_clean and app.at_rest)
    assert (app.status["reason"], app.image, len(app.runs)) == ("DeploymentDeleted", "v9", 1)


def test_the_next_version_is_released_as_ever(cluster: Served, app: App) -> None:
    cluster.to_half(app)
    make_anew(app, "v9")
    cluster.wait("the end", lambda: app.stage == "done" and app.is_clean and app.at_rest)
    app.release("v2")
    cluster.wait("v2 promoted", lambda: app.image == "v2" and app.stage == "done" and app.at_rest)
    assert (app.status["outcome"], app.is_clean) == ("Succeeded", True)
