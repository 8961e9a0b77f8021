"""Reads that see one's own writes, however late the watch is."""

import random
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster.reflector import Reflector
from canaryd.cluster.resources import CONFIGMAPS, DEPLOYMENTS, PODS, REPLICASETS, Json
from canaryd.cluster.transport import Api
from canaryd.cluster.watch import WatchEvent
from canaryd.sandbox.apiserver import ApiServer, WriteRecord
from canaryd.sandbox.controllers.controllers import Controllers
from canaryd.sandbox.controllers.network import Endpoints, parse_endpoints
from canaryd.sandbox.controllers.view import View

KEY = ("default", "a")


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Iterator[Api]:
    api = Api.connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
    yield api
    api.close()


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def view_of(api: Api, clock: Callable[[], float] = time.monotonic) -> View[Endpoints]:
    """A view of ConfigMaps; any parser that keeps the metadata will do."""
    return View(api, CONFIGMAPS, parse=parse_endpoints, on_change=lambda *_: None, clock=clock)


def until(holds: Callable[[], object], what: str) -> None:
    deadline = time.monotonic() + 30
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.02)


def test_a_write_is_seen_before_the_watch_has_it(api: Api) -> None:
    view = view_of(api)
    view.wrote(api.create(CONFIGMAPS, "default", {"metadata": {"name": "a"}}))
    assert view.get(KEY) is not None
    assert [value.meta.name for value in view.within("default")] == ["a"]
    assert view.within("other") == []


def test_the_later_version_counts_whoever_brings_it(api: Api) -> None:
    view = view_of(api)
    first = api.create(CONFIGMAPS, "default", {"metadata": {"name": "a"}})
    view.wrote(first)
    api.patch(CONFIGMAPS, "default", "a", {"metadata": {"labels": {"by": "another"}}})
    view.start()
    assert view.wait(30)
    until(lambda: (found := view.get(KEY)) and found.meta.labels == {"by": "another"}, "the watch is ahead")

    written = view.wrote(api.patch(CONFIGMAPS, "default", "a", {"metadata": {"labels": {"by": "me"}}}))
    found = view.get(KEY)
    assert found is not None
    assert found.meta.version >= written.meta.version
    view.wrote(first)  # an old answer that is taken late
    found = view.get(KEY)
    assert found is not None
    assert found.meta.labels == {"by": "me"}
    view.stop()


def test_what_was_deleted_does_not_come_back(api: Api) -> None:
    view = view_of(api)
    view.start()
    assert view.wait(30)
    answer = api.create(CONFIGMAPS, "default", {"metadata": {"name": "a"}})
    until(lambda: view.get(KEY), "the watch has it")
    api.delete(CONFIGMAPS, "default", "a")
    until(lambda: view.get(KEY) is None, "the watch has its end")
    view.wrote(answer)
    assert view.get(KEY) is None
    view.stop()


def test_a_deletion_that_was_asked_for_shows_at_once(api: Api) -> None:
    view = view_of(api)
    value = view.wrote(api.create(CONFIGMAPS, "default", {"metadata": {"name": "a"}}))
    view.removed(value)
    found = view.get(KEY)
    assert found is not None
    assert found.meta.deleting


def test_a_write_that_the_watch_never_shows_is_let_go(api: Api) -> None:
    clock = Clock()
    view = view_of(api, clock)
    view.wrote(api.create(CONFIGMAPS, "default", {"metadata": {"name": "a"}}))
    clock.now += 31
    assert view.get(KEY) is None


class Ready:
    """Plays the node: turns pods ready, ends those that are deleted."""

    def __init__(self, api: Api) -> None:
        self._api = api
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> None:
        self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()

    def _run(self) -> None:
        condition = {"type": "Ready", "status": "True"}
        status = {"status": {"phase": "Running", "podIP": "127.0.0.9", "conditions": [condition]}}
        while not self._over.wait(0.05):
            for pod in self._api.list(PODS)[0]:
                if not pod["status"].get("podIP"):
                    self._api.patch(PODS, "default", pod["metadata"]["name"], status, subresource="status")


def deploy(api: Api, replicas: int) -> None:
    labels = {"app": "web"}
    template: Json = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "a", "image": "web:1"}]},
    }
    spec = {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template}
    api.create(DEPLOYMENTS, "default", {"metadata": {"name": "web"}, "spec": spec})


def complete(api: Api, image: str, replicas: int) -> bool:
    pods = api.list(PODS)[0]
    status = api.get(DEPLOYMENTS, "default", "web").get("status") or {}
    return [pod["spec"]["containers"][0]["image"] for pod in pods] == [image] * replicas and status.get(
        "availableReplicas"
    ) == replicas == status.get("updatedReplicas")


def test_a_late_watch_makes_no_pod_twice(
    server: ApiServer, api: Api, monkeypatch: pytest.MonkeyPatch
) -> None:
    created: list[str] = []

    def count(record: WriteRecord) -> None:
        if record.verb == "create" and record.resource in ("pods", "replicasets.apps"):
            created.append(record.resource.partition(".")[0])

    server.on_write(count)
    digest = Reflector._digest

    def late(self: Reflector[Any], event: WatchEvent) -> None:
        time.sleep(random.Random(len(created)).uniform(0.0, 0.3))
        digest(self, event)

    monkeypatch.setattr(Reflector, "_digest", late)
    controllers = Controllers(api)
    controllers.start()
    with Ready(api):
        deploy(api, 3)
        until(lambda: complete(api, "web:1", 3), "the first rollout")
        assert (created.count("replicasets"), created.count("pods")) == (1, 3)
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "web:2"}]}}}}
        api.patch(DEPLOYMENTS, "default", "web", patch, kind="strategic")
        until(lambda: complete(api, "web:2", 3), "the second rollout")
    controllers.stop()
    assert (created.count("replicasets"), created.count("pods")) == (2, 6)


def test_writes_that_fail_now_and_then_are_made_up_for(server: ApiServer, api: Api, tmp_path: Path) -> None:
    """Half of all writes fail, some of them with a conflict."""
    draw, failing = random.Random(1), True
    own = Api.connect(str(server.kubeconfig(tmp_path / "own")), user_agent="controllers")

    def reject(info: Any) -> tuple[int, Json] | None:
        if not failing or info.user_agent != "controllers" or info.verb in ("list", "watch", "get"):
            return None
        code, reason = draw.choice(((500, "InternalError"), (409, "Conflict"), (429, "TooManyRequests")))
        status = {"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": reason}
        return (code, {**status, "message": "injected"}) if draw.random() < 0.5 else None

    server.reject = reject
    controllers = Controllers(own)
    controllers.start()
    with Ready(api):
        deploy(api, 3)
        until(lambda: complete(api, "web:1", 3), "the first rollout")
        patch = {"spec": {"template": {"spec": {"containers": [{"name": "a", "image": "web:2"}]}}}}
        api.patch(DEPLOYMENTS, "default", "web", patch, kind="strategic")
        until(lambda: complete(api, "web:2", 3), "the second rollout")
        failing = False
        sizes = [rs["spec"]["replicas"] for rs in api.list(REPLICASETS)[0]]
    controllers.stop()
    own.close()
    assert sorted(sizes) == [0, 3]
