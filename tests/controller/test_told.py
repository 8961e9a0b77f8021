"""What people are told of their mistakes, and of ways past the mesh, in a cluster that runs."""

from __future__ import annotations

import pytest
from served_shop import App, Served

from canaryd.cluster.resources import Json, Resource
from canaryd.controller.world import WAYS
from canaryd.sandbox.crds import install


class TestAMisspeltEnabled:
    @pytest.fixture
    def misspelt(self, cluster: Served, app: App) -> App:
        app.annotate(enabled="ture")
        cluster.wait("an event", lambda: self.told(app))
        return app

    def told(self, app: App) -> list[str]:
        return [message for reason, message in app.events if reason == "InvalidAnnotation"]

    def test_at_rest_the_event_names_value_and_cure(self, misspelt: App) -> None:
        assert self.told(misspelt) == [
            'canaryd.io/enabled: "ture" is not allowed; allowed is "true" or "false"'
        ]

    def test_nothing_is_handed_back_and_nothing_begun(self, cluster: Served, misspelt: App) -> None:
        misspelt.release("v2")
        cluster.stays(lambda: misspelt.raw["spec"]["paused"] and not misspelt.runs)
        assert misspelt.image == "v2"
        assert len(self.told(misspelt)) == 1, "said once"

    def test_once_mended_the_release_begins(self, cluster: Served, misspelt: App) -> None:
        misspelt.release("v2")
        misspelt.annotate(enabled="true", pause="true")
        cluster.wait("v2 at 50 %", lambda: misspelt.status.get("hold") == "Paused")


def http_route(backend: str) -> Json:
    return {
        "spec": {
            "parentRefs": [{"name": "gateway"}],
            "rules": [{"backendRefs": [{"name": backend, "port": 80}]}],
        }
    }


def ingress(backend: str) -> Json:
    service = {"service": {"name": backend, "port": {"number": 80}}}
    return {
        "spec": {"rules": [{"http": {"paths": [{"path": "/", "pathType": "Prefix", "backend": service}]}}]}
    }


HTTPROUTES, GRPCROUTES, INGRESSES = WAYS
ENTRANCES = {
    "HTTPRoute": (HTTPROUTES, http_route),
    "GRPCRoute": (GRPCROUTES, http_route),
    "Ingress": (INGRESSES, ingress),
}


@pytest.mark.parametrize("kind", ENTRANCES)
class TestWaysPastTheMesh:
    @pytest.fixture
    def entered(self, cluster: Served, app: App, kind: str) -> App:
        """The Service has such an entrance, another Service has one too, and v2 has come."""
        install(cluster.api, [_definition(way) for way in WAYS])
        resource, body = ENTRANCES[kind]
        for name, backend in (("public", app.name), ("other", "cart")):
            cluster.api.create(resource, app.namespace, {"metadata": {"name": name}, **body(backend)})
        app.annotate(pause="true")
        app.release("v2")
        cluster.wait("preflight", lambda: app.status.get("reason") == "Preflight")
        return app

    def test_are_named_with_their_cure(self, cluster: Served, entered: App, kind: str) -> None:
        message = (
            f"entrances: {kind} shop/public sends to Service checkout past every VirtualService; move its traffic to one, "
            "or accept it with canaryd.io/accept: entrances"
        )
        assert entered.status["because"] == message
        cluster.wait("an event", lambda: ("PreflightFailed", message) in entered.events)
        cluster.stays(lambda: entered.status["phase"] == "Pending" and entered.nothing_made)

    def test_once_closed_the_release_goes_on(self, cluster: Served, entered: App, kind: str) -> None:
        entered.api.delete(ENTRANCES[kind][0], entered.namespace, "public")
        cluster.wait("v2 at 50 %", lambda: entered.status.get("hold") == "Paused")

    def test_once_accepted_the_release_goes_on(self, cluster: Served, entered: App, kind: str) -> None:
        entered.annotate(accept="entrances")
        cluster.wait("v2 at 50 %", lambda: entered.status.get("hold") == "Paused")


def _definition(way: Resource) -> Json:
    """The kind with an open schema: what is looked at here is what canaryd makes of it."""
    schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
    shown = {"name": way.version, "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}}
    names = {
        "kind": way.kind,
        "listKind": f"{way.kind}List",
        "plural": way.plural,
        "singular": way.kind.lower(),
    }
    return {
        "metadata": {"name": str(way)},
        "spec": {"group": way.group, "scope": "Namespaced", "names": names, "versions": [shown]},
    }
