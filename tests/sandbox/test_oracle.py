"""The oracle finds each kind of violation when it is fed one, so that "no violations" means something."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster.resources import DEPLOYMENTS as DEPLOYMENT_RESOURCE
from canaryd.cluster.resources import Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.apiserver import ApiServer, WriteRecord
from canaryd.sandbox.oracle import DEPLOYMENTS, DESTINATION_RULES, RUNS, VIRTUAL_SERVICES, Oracle

NS = "shop"
CANARY = {"app": "checkout", "canaryd.io/role": "canary", "canaryd.io/revision": "r2"}
STABLE = {"app": "checkout", "pod-template-hash": "h1"}
VERSIONED: Json = {"metadata": {"resourceVersion": "7"}}
SUBSETS = {"stable": {"pod-template-hash": "h1"}, "canary": {k: CANARY[k] for k in list(CANARY)[1:]}}


def entry(subset: str = "", weight: int | None = None, host: str = "checkout") -> Json:
    destination: Json = {"host": host, "port": {"number": 80}}
    if subset:
        destination["subset"] = subset
    return {"destination": destination} | ({} if weight is None else {"weight": weight})


def split(canary: Any, stable: Any = None) -> list[Json]:
    return [entry("stable", 100 - canary if stable is None else stable), entry("canary", canary)]


PLAIN, FENCED = [entry()], [entry("stable")]


def virtual_service(route: list[Json], **spec: Any) -> Json:
    other = {"name": "other", "route": [entry(host="elsewhere")]}
    return {
        "metadata": {"namespace": NS, "name": "checkout", "labels": {"team": "payments"}},
        "spec": {"hosts": ["checkout"], "http": [{"name": "all", "route": route}, other], **spec},
    }


def rule(**subsets: dict[str, str]) -> Json:
    listed = [{"name": name, "labels": labels} for name, labels in subsets.items()]
    meta = {"namespace": NS, "name": "checkout-canaryd"}
    return {"metadata": meta, "spec": {"host": "checkout.shop.svc.cluster.local", "subsets": listed}}


def pod(name: str, labels: dict[str, str], *, ready: bool = True) -> Json:
    conditions = [{"type": "Ready", "status": "True" if ready else "False"}]
    meta = {"namespace": NS, "name": name, "labels": labels}
    return {"metadata": meta, "status": {"conditions": conditions}}


def workload(replicas: int) -> Json:
    meta = {"namespace": NS, "name": "checkout-canary-r2", "labels": CANARY}
    return {"metadata": meta, "spec": {"replicas": replicas, "template": {"metadata": {"labels": CANARY}}}}


def checkout(*, paused: bool) -> Json:
    return {"metadata": {"namespace": NS, "name": "checkout"}, "spec": {"paused": paused, "replicas": 2}}


def run(weight: int = 0, passed: tuple[int, ...] = (), **status: Any) -> Json:
    ref = {"virtualService": {"namespace": NS, "name": "checkout"}}
    return {
        "metadata": {"namespace": NS, "name": "checkout-r2"},
        "spec": {"target": {"name": "checkout"}, "revision": "r2"},
        "status": {
            "phase": "Progressing",
            "service": "checkout",
            "routes": [ref],
            "policy": {"steps": [1, 5, 50, 100]},
            "passes": [{"weight": w} for w in passed],
            "wanted": {"weight": weight},
            **status,
        },
    }


class Story:
    """Writes one after the other, a second apart unless told; each on the version that was read.

    `request` is the body of one that is not.
    """

    def __init__(self, *, drain: float = 0.5) -> None:
        self.oracle = Oracle(drain=drain, reaction=10.0)
        self.now = 1000.0
        self._held: dict[tuple[str, str], Json] = {}

    def put(
        self,
        resource: str,
        new: Json,
        *,
        by: str = "canaryd",
        after: float = 1.0,
        request: Json | list[Json] = VERSIONED,
    ) -> Story:
        return self._write(resource, new["metadata"]["name"], copy.deepcopy(new), by, after, request)

    def drop(
        self,
        resource: str,
        name: str,
        *,
        by: str = "canaryd",
        after: float = 1.0,
        request: Json = VERSIONED,
    ) -> Story:
        return self._write(resource, name, None, by, after, request)

    def _write(
        self,
        resource: str,
        name: str,
        new: Json | None,
        by: str,
        after: float,
        request: Json | list[Json],
    ) -> Story:
        self.now += after
        old = self._held.get((resource, name))
        verb = "delete" if new is None else "patch" if old else "create"
        body = json.dumps(request).encode()
        self.oracle.see(WriteRecord(verb, resource, "", NS, name, old, new, by, f"{by}/1", self.now, body))
        if new is None:
            self._held.pop((resource, name), None)
        else:
            self._held[resource, name] = new
        return self

    def found(self, *, later: float = 0.0) -> list[str]:
        """The invariants that were broken."""
        return [violation.invariant for violation in self.oracle.finish(self.now + later)]

    def installed(self) -> Story:
        self.put("pods", pod("stable-1", STABLE), by="node")
        self.put(DEPLOYMENTS, checkout(paused=True), by="user")
        return self.put(VIRTUAL_SERVICES, virtual_service(PLAIN), by="user")

    def fenced(self) -> Story:
        self.installed().put(RUNS, run()).put(DESTINATION_RULES, rule(stable=SUBSETS["stable"]))
        return self.put(VIRTUAL_SERVICES, virtual_service(FENCED))

    def prepared(self) -> Story:
        self.fenced().put(DEPLOYMENTS, workload(1)).put("pods", pod("canary-1", CANARY), by="node")
        return self.put(DESTINATION_RULES, rule(**SUBSETS)).route(split(0))

    def route(self, route: list[Json], *, by: str = "canaryd", after: float = 1.0) -> Story:
        return self.put(VIRTUAL_SERVICES, virtual_service(route), by=by, after=after)

    def rise(self, weight: int, passed: tuple[int, ...] = ()) -> Story:
        return self.put(RUNS, run(weight, passed)).route(split(weight))

    def failed(self) -> Story:
        return self.put(RUNS, run(0, phase="RollingBack", outcome="RolledBack"))


def test_a_release_by_the_book_breaks_nothing() -> None:
    story = Story().prepared().rise(1).rise(5, (1,)).route(split(0)).failed()
    story.drop(DEPLOYMENTS, "checkout-canary-r2").drop("pods", "canary-1", by="node")
    story.route(PLAIN).drop(DESTINATION_RULES, "checkout-canaryd")
    assert story.found(later=60) == []
    assert story.oracle.writes == 15


@pytest.mark.parametrize(
    "route",
    [
        pytest.param(split(1, stable=98), id="sum is 99"),
        pytest.param(split(1.0, stable=99), id="no integer"),
        pytest.param([entry("stable"), entry("canary", 1)], id="no weight"),
        pytest.param([entry("stable", 99), entry("canary", 1, host="checkout.other")], id="another host"),
    ],
)
def test_i1_weights_are_integers_that_sum_to_100(route: list[Json]) -> None:
    assert "I1" in Story().prepared().put(RUNS, run(1)).route(route).found()


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda vs: vs["metadata"]["labels"].update(team="us"), id="a label"),
        pytest.param(lambda vs: vs["spec"].update(hosts=["*"]), id="the hosts"),
        pytest.param(lambda vs: vs["spec"]["http"][0].update(timeout="1s"), id="the route's time-out"),
        pytest.param(
            lambda vs: vs["spec"]["http"][1].update(route=[entry(host="third")]),
            id="a route that is not ours",
        ),
        pytest.param(lambda vs: vs["spec"]["http"].pop(), id="a route is gone"),
    ],
)
def test_i1_no_other_byte_changes(change: Any) -> None:
    vs = virtual_service(split(0))
    change(vs)
    assert Story().fenced().prepared().put(VIRTUAL_SERVICES, vs).found() == ["I1"]


def test_i2_no_rise_that_no_status_wants() -> None:
    assert Story().prepared().route(split(5)).found() == ["I2"]


def test_i2_no_rise_without_the_passes_below() -> None:
    assert Story().prepared().rise(1).rise(5).found() == ["I2"]


def test_i2_no_rise_for_a_run_that_has_ended() -> None:
    story = Story().prepared().put(RUNS, run(1, phase="RolledBack"))
    assert "I2" in story.route(split(1)).found()


def test_i3_a_failure_takes_the_traffic_away() -> None:
    story = Story().prepared().rise(1).failed()
    assert story.found(later=5) == []
    assert story.found(later=11) == ["I3"]
    assert Story().prepared().rise(1).failed().route(split(0), after=5).found(later=60) == []


UNVERSIONED = [
    pytest.param({"spec": {}}, id="merge patch"),
    pytest.param({"metadata": {"resourceVersion": ""}}, id="an empty version"),
    pytest.param([{"op": "replace", "path": "/spec/paused", "value": False}], id="JSON Patch"),
    pytest.param([{"op": "test", "path": "/metadata/uid", "value": "u"}], id="a test of something else"),
]


@pytest.mark.parametrize("sent", UNVERSIONED)
def test_i4_no_rise_without_a_version(sent: Any) -> None:
    story = Story().prepared().put(RUNS, run(1))
    assert story.put(VIRTUAL_SERVICES, virtual_service(split(1)), request=sent).found() == ["I4"]


@pytest.mark.parametrize("sent", UNVERSIONED)
def test_i4_no_change_of_a_workload_without_a_version(sent: Any) -> None:
    story = Story().prepared()
    assert story.put(DEPLOYMENTS, checkout(paused=False), request=sent).found() == ["I4"]
    assert story.put(DEPLOYMENTS, workload(2), request=sent).found() == ["I4", "I4"]


@pytest.mark.parametrize("op", ["test", "replace"])
def test_i4_a_json_patch_may_test_the_version_or_set_it(op: str) -> None:
    request = [{"op": op, "path": "/metadata/resourceVersion", "value": "7"}]
    story = Story().prepared().put(RUNS, run(1))
    story.put(VIRTUAL_SERVICES, virtual_service(split(1)), request=request)
    assert story.put(DEPLOYMENTS, checkout(paused=False), request=request).found() == []


def test_i4_a_rise_of_one_route_counts_beside_another_that_is_higher() -> None:
    story = Story().prepared().rise(5, (1,))
    both = virtual_service(split(5))
    both["spec"]["http"][1]["route"] = split(0)
    story.put(VIRTUAL_SERVICES, both, by="user")
    both["spec"]["http"][1]["route"] = split(5)
    assert story.put(VIRTUAL_SERVICES, both, request=[]).found() == ["I4"]


def test_i4_a_fall_may_race() -> None:
    story = Story().prepared().rise(1).rise(5, (1,))
    story.put(VIRTUAL_SERVICES, virtual_service(split(1)), request=[])
    assert story.put(VIRTUAL_SERVICES, virtual_service(split(0)), request=[]).found() == []


def test_i4_a_deletion_names_whom_it_means() -> None:
    meant: Json = {"preconditions": {"uid": "u"}}
    assert Story().prepared().drop(DEPLOYMENTS, "checkout-canary-r2", request=meant).found() == []
    assert Story().prepared().drop(DEPLOYMENTS, "checkout-canary-r2", request={}).found() == ["I4"]


def test_i4_what_others_write_is_theirs() -> None:
    story = Story().prepared()
    story.put(DEPLOYMENTS, checkout(paused=False), by="kubectl-edit", request={})
    story.put(DEPLOYMENTS, workload(3), by="sandbox-controllers", request={})
    assert story.route(split(7), by="user", after=0).found() == []


@pytest.fixture
def watched(tmp_path: Path) -> Iterator[tuple[Oracle, Api]]:
    """A Deployment in an API server that an oracle watches; the writes are canaryd's."""
    oracle = Oracle()
    with ApiServer() as server:
        server.on_write(oracle.see)
        api = Api.connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
        template = {
            "metadata": {"labels": {"a": "b"}},
            "spec": {"containers": [{"name": "c", "image": "x"}]},
        }
        spec = {"selector": {"matchLabels": {"a": "b"}}, "template": template}
        api.create(DEPLOYMENT_RESOURCE, "default", {"metadata": {"name": "web"}, "spec": spec})
        yield oracle, api
        api.close()


Patch = Callable[[Api, str], object]


def _patched(body: Any, **how: Any) -> Patch:
    """A patch of the Deployment; "VERSION" in its body stands for the one that was read."""

    def patch(api: Api, version: str) -> object:
        filled = json.loads(json.dumps(body).replace("VERSION", version))
        return api.patch(DEPLOYMENT_RESOURCE, "default", "web", filled, **how)

    return patch


PAUSE = {"op": "add", "path": "/spec/paused", "value": True}
OF = "/metadata/resourceVersion"


@pytest.mark.parametrize(
    ("patch", "broken"),
    [
        pytest.param(_patched({"spec": {"paused": True}}), ["I4"], id="merge"),
        pytest.param(
            _patched({"metadata": {"resourceVersion": "VERSION"}, "spec": {"paused": True}}),
            [],
            id="merge, versioned",
        ),
        pytest.param(_patched([PAUSE], kind="json"), ["I4"], id="JSON Patch"),
        pytest.param(
            _patched([{"op": "test", "path": OF, "value": "VERSION"}, PAUSE], kind="json"),
            [],
            id="JSON Patch, tested",
        ),
        pytest.param(
            _patched([{"op": "replace", "path": OF, "value": "VERSION"}, PAUSE], kind="json"),
            [],
            id="JSON Patch, replaced",
        ),
        pytest.param(_patched({"spec": {"replicas": 3}}, subresource="scale"), ["I4"], id="scale"),
        pytest.param(_patched({"spec": {"paused": True}}, field_manager="kubectl"), [], id="somebody else's"),
        pytest.param(_patched({"spec": {"replicas": 1}}), [], id="changes nothing"),
    ],
)
def test_i4_is_read_from_the_requests(watched: tuple[Oracle, Api], patch: Patch, broken: list[str]) -> None:
    oracle, api = watched
    patch(api, api.get(DEPLOYMENT_RESOURCE, "default", "web")["metadata"]["resourceVersion"])
    assert [violation.invariant for violation in oracle.finish(0.0)] == broken


def test_i5_one_promotion_per_run() -> None:
    story = Story().prepared().put(RUNS, run(stage="roll", phase="Promoting"))
    story.put(DEPLOYMENTS, checkout(paused=False))
    assert story.found() == []
    story.put(DEPLOYMENTS, checkout(paused=True)).put(DEPLOYMENTS, checkout(paused=False))
    assert story.found() == ["I5"]


def test_i7_no_route_to_a_subset_that_no_rule_has() -> None:
    assert "I7" in Story().installed().put(RUNS, run()).route(FENCED).found()


def test_i7_no_rule_of_another_service_counts() -> None:
    other = rule(**SUBSETS)
    other["spec"]["host"] = "cart"
    story = Story().installed().put(RUNS, run()).put(DESTINATION_RULES, other, by="user")
    assert "I7" in story.route(FENCED).found()


def test_i7_no_traffic_without_a_ready_pod() -> None:
    story = Story().prepared().put("pods", pod("canary-1", CANARY, ready=False), by="node")
    assert story.rise(1).found() == ["I7"]


def test_i7_no_subset_removed_under_a_route() -> None:
    story = Story().prepared()
    assert story.put(DESTINATION_RULES, rule(stable=SUBSETS["stable"])).found() == ["I7"]
    assert Story().prepared().drop(DESTINATION_RULES, "checkout-canaryd").found() == ["I7", "I7"]


def test_i7_no_subset_pointed_at_nothing_under_traffic() -> None:
    moved = rule(stable={"pod-template-hash": "h9"}, canary=SUBSETS["canary"])
    assert Story().prepared().put(DESTINATION_RULES, moved).found() == ["I7"]


@pytest.mark.parametrize("how", ["deleted", "scaled"])
def test_i7_no_canary_scaled_away_under_traffic(how: str) -> None:
    story = Story().prepared().rise(1)
    if how == "deleted":
        story.drop(DEPLOYMENTS, "checkout-canary-r2")
    else:
        story.put(DEPLOYMENTS, workload(0))
    assert "I7" in story.found()


def test_i7_no_canary_scaled_away_before_it_drained() -> None:
    story = Story(drain=3.0).prepared().rise(1).route(split(0))
    assert story.put(DEPLOYMENTS, workload(0), after=2.0).found() == ["I7"]
    story = Story(drain=3.0).prepared().rise(1).route(split(0))
    assert story.put(DEPLOYMENTS, workload(0), after=4.0).found() == []


def test_i8_no_canary_created_behind_a_plain_route() -> None:
    assert Story().installed().put(RUNS, run()).put(DEPLOYMENTS, workload(1)).found() == ["I8"]


def test_i8_no_canary_created_before_the_route_that_a_run_makes() -> None:
    story = Story().put(RUNS, run())
    assert story.put(DEPLOYMENTS, workload(1)).found() == ["I8"]


def test_i8_no_canary_pod_ready_behind_a_plain_route() -> None:
    story = Story().fenced().put(DEPLOYMENTS, workload(1))
    story.put("pods", pod("canary-1", CANARY, ready=False), by="node")
    story.put(VIRTUAL_SERVICES, virtual_service(PLAIN))
    story.put("pods", pod("canary-1", CANARY), by="node")
    assert story.found() == ["I8"]


@pytest.mark.parametrize("how", ["plain", "deleted"])
def test_i8_no_plain_route_beside_canary_pods(how: str) -> None:
    story = Story().prepared()
    if how == "plain":
        story.route(PLAIN)
    else:
        story.drop(VIRTUAL_SERVICES, "checkout")
    assert story.found() == ["I8"]


def test_what_others_write_is_theirs() -> None:
    story = Story().prepared().route(split(40), by="kubectl-edit")
    assert story.found() == []


def test_what_cannot_be_read_is_reported() -> None:
    broken = {"metadata": {"namespace": NS, "name": "checkout"}, "spec": {"http": 7}}
    assert "oracle" in Story().installed().put(VIRTUAL_SERVICES, broken).found()
