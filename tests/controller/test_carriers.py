"""Canaries that carry all traffic from one run to the next: they find their next owner, or are put away."""

from __future__ import annotations

from served_shop import App, Served

from canaryd.cluster.resources import CANARYRUNS, DEPLOYMENTS, SERVICES, VIRTUALSERVICES, Json


def hand_on(cluster: Served, app: App) -> Json:
    """v3 comes while v2 is promoted, and the run of v3 cannot begin: the last run, which handed on."""
    cluster.unready = {"v2"}
    app.release("v2")
    cluster.wait("the promotion of v2", lambda: app.stage == "roll")
    cluster.refuse(lambda info: info.verb == "create" and info.path.plural == "canaryruns")
    app.release("v3")
    cluster.wait("the end of v2's run", lambda: app.status.get("handsOn"))
    assert weights(app) == [0, 100]
    assert len(app.canaries) == 1
    assert "canaryd" in [entry["manager"] for entry in app.virtual_service["metadata"]["managedFields"]]
    cluster.unready = set()
    return app.runs[-1]


def weights(app: App) -> list[int | None]:
    return [entry.get("weight") for entry in app.virtual_service["spec"]["http"][0]["route"]]


class TestTheDeploymentIsDeletedBeforeTheNextRunBegins:
    def test_the_carrier_is_put_away(self, cluster: Served, app: App) -> None:
        hand_on(cluster, app)
        app.delete()
        cluster.allow()
        cluster.wait("everything put away", lambda: app.is_clean and app.stage == "done")
        assert (app.status["reason"], app.status.get("handsOn")) == ("DeploymentDeleted", False)
        count = len(app.runs)
        cluster.stays(lambda: len(app.runs) == count)

    def test_while_canaryd_is_down(self, cluster: Served, app: App) -> None:
        hand_on(cluster, app)
        cluster.stop()
        app.delete()
        cluster.allow()
        cluster.start()
        cluster.wait("everything put away", lambda: app.is_clean and app.stage == "done")

    def test_with_its_routes_and_its_service(self, cluster: Served, app: App) -> None:
        """As `helm uninstall` does."""
        hand_on(cluster, app)
        cluster.api.delete(VIRTUALSERVICES, app.namespace, app.name)
        cluster.api.delete(SERVICES, app.namespace, app.name)
        app.delete()
        cluster.allow()
        cluster.wait("everything put away", lambda: app.nothing_made and app.stage == "done")

    def test_killed_when_the_run_that_puts_it_away_has_no_status_yet(self, cluster: Served, app: App) -> None:
        hand_on(cluster, app)
        with cluster.killed_after(
            lambda w: w.resource == "canaryruns.canaryd.io" and w.verb == "create", "created"
        ):
            app.delete()
        cluster.start()
        cluster.wait("everything put away", lambda: app.is_clean and app.stage == "done")

    def test_and_made_anew_for_others_to_manage(self, cluster: Served, app: App) -> None:
        """The new one's template is its owner's: it does not take that of the carrier."""
        hand_on(cluster, app)
        app.delete()
        app.create("v9", enabled="false")
        cluster.allow()
        cluster.wait("everything put away", lambda: app.is_clean and app.stage == "done")
        assert app.image == "v9"
        assert not app.raw["spec"].get("paused")

    def test_and_made_anew_for_canaryd(self, cluster: Served, app: App) -> None:
        """The proven version keeps the traffic until the new one has shown itself."""
        hand_on(cluster, app)
        cluster.stop()
        app.delete()
        app.create("v9")
        cluster.allow()
        cluster.start()
        cluster.wait("rest", lambda: app.is_clean and app.stage == "done" and app.at_rest)
        assert (app.status["outcome"], app.image) == ("Succeeded", "v9")
        assert cluster.violations == []


class TestTheNextRun:
    def test_owns_the_carrier(self, cluster: Served, app: App) -> None:
        """Else the carrier would go when the run that made it is deleted, and all traffic with it."""
        first = hand_on(cluster, app)
        carrier = app.canaries[0]
        app.annotate(pause="true")
        cluster.allow()
        cluster.wait("v3 at 50 %", lambda: app.status.get("hold") == "Paused")
        owners = app.api.get(DEPLOYMENTS, app.namespace, carrier)["metadata"]["ownerReferences"]
        assert [owner["name"] for owner in owners] == [app.runs[-1]["metadata"]["name"]]
        app.api.delete(CANARYRUNS, app.namespace, first["metadata"]["name"])
        cluster.wait("the first run's end", lambda: len(app.runs) == 1)
        cluster.stays(lambda: carrier in app.canaries)
        app.annotate(pause=None)
        cluster.wait("rest", lambda: app.is_clean and app.stage == "done" and app.at_rest)
        assert (app.status["outcome"], app.image) == ("Succeeded", "v3")
        assert cluster.violations == []

    def test_finds_the_template_set_back_to_that_of_the_carrier(self, cluster: Served, app: App) -> None:
        """There is nothing to compare: the Deployment takes the traffic back, the carrier serves until then."""
        hand_on(cluster, app)
        app.release("v2")
        cluster.allow()
        cluster.wait("rest", lambda: app.is_clean and app.stage == "done" and app.at_rest)
        assert (app.status["reason"], app.image) == ("Reverted", "v2")
        assert cluster.violations == []
