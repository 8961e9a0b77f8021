"""Whatever changes, no request is answered by an Envoy instead of a pod."""

from __future__ import annotations

import http.client
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from mesh_fakes import App, Proxy, destination_rule, pod, route, service, to, virtual_service, world

Json = dict[str, Any]
RULES = (destination_rule("stable", "canary"),)


def split(stable: int, canary: int) -> tuple[Json, ...]:
    return (virtual_service(route(to("stable", stable), to("canary", canary))),)


class Load:
    """Requests without a break, on connections that are kept, some of them slow."""

    def __init__(self, port: int, workers: int = 6) -> None:
        self.answers: Counter[str] = Counter()
        self._port = port
        self._stop = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(workers)]

    def _run(self, number: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
        delay = {0: "0.3", 1: "0.03"}.get(number, "0.001")
        while not self._stop.is_set():
            connection.request("GET", "/", headers={"Host": "checkout", "x-delay": delay})
            answer = connection.getresponse()
            answer.read()
            self.answers[f"{answer.status} {answer.headers['x-envoy-response-flags']}"] += 1
        connection.close()

    @contextmanager
    def running(self) -> Iterator[None]:
        for thread in self._threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in self._threads:
                thread.join()


class Release:
    """A whole release, each step told to Envoy as one moment."""

    def __init__(self, folder: Path) -> None:
        self.apps = {name: App(name) for name in ("s-1", "s-2")}
        self.proxy = Proxy(folder, world(pods=self.stable(), services=(service(),)))

    def stable(self, **more: Any) -> tuple[Json, ...]:
        return tuple(pod(name, app.address) for name, app in self.apps.items() if name.startswith("s"))

    def tell(self, *pods: Json, **more: Any) -> None:
        self.proxy.apply(world(pods=(*self.stable(), *pods), services=(service(),), **more))

    def round(self, number: int) -> None:
        name = f"c-{number}"
        app = self.apps[name] = App(name)
        canary = pod(name, app.address, role="canary")
        # Pod, subsets and weights all at once; then back to the plain route, all at once.
        self.tell(canary, rules=RULES, virtual_services=split(60, 40))
        time.sleep(0.1)
        self.tell(canary, rules=RULES, virtual_services=split(0, 100))
        time.sleep(0.1)
        self.tell(pod(name, app.address, role="canary", terminating=True))
        time.sleep(0.35)
        self.tell()
        app.close()
        del self.apps[name]

    def stop(self) -> None:
        self.proxy.envoy.stop()
        for app in self.apps.values():
            app.close()


@pytest.fixture
def release(tmp_path: Path) -> Iterator[Release]:
    made = Release(tmp_path)
    yield made
    made.stop()


def test_no_request_is_lost_while_everything_changes(release: Release) -> None:
    load = Load(release.proxy.envoy.port)
    with load.running():
        for number in range(5):
            release.round(number)
            release.proxy.delivery.tidy()
    assert set(load.answers) == {"200 -"}
    assert load.answers.total() > 200


def test_a_request_on_its_way_outlives_its_route_and_cluster(release: Release) -> None:
    app = release.apps["c"] = App("c")
    canary = pod("c", app.address, role="canary")
    release.tell(canary, rules=RULES, virtual_services=split(0, 1))
    got: list[Any] = []
    slow = threading.Thread(target=lambda: got.append(release.proxy.get(x_delay="3")))
    slow.start()
    while not app.seen:
        time.sleep(0.01)
    release.tell(pod("c", app.address, role="canary", terminating=True))
    until = time.monotonic() + 15
    while release.proxy.delivery.tidy() is not None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert not got, "the cluster was to be gone before the answer came"
    slow.join()
    assert (got[0].status, got[0].pod) == (200, "c")


def test_what_is_gone_leaves_no_cluster_listener_or_file(release: Release) -> None:
    app = release.apps["c"] = App("c")
    release.tell(pod("c", app.address, role="canary"), rules=RULES, virtual_services=split(0, 1))
    envoy = release.proxy.envoy
    assert "|canary|" in envoy.ask("/clusters")
    release.tell()
    until = time.monotonic() + 15
    while release.proxy.delivery.tidy() is not None:
        assert time.monotonic() < until
        time.sleep(0.05)
    assert "|canary|" not in envoy.ask("/clusters")
    assert "|c|" not in envoy.ask("/listeners")
    assert [file.name for file in envoy.endpoints_folder.iterdir()] == [
        "outbound%7C80%7C%7Ccheckout.shop.svc.cluster.local.json"
    ]


def test_an_unchanged_world_writes_nothing(release: Release) -> None:
    files = {file: file.stat().st_mtime_ns for file in release.proxy.envoy.folder.rglob("*.json")}
    release.tell()
    assert {file: file.stat().st_mtime_ns for file in release.proxy.envoy.folder.rglob("*.json")} == files


def test_envoys_complaint_is_heard_and_the_former_routes_stay(release: Release) -> None:
    release.tell(rules=RULES, virtual_services=split(1, 0))
    # Python takes a look-ahead for a fine expression, Envoy does not.
    bad = virtual_service(route(to("canary"), match=[{"uri": {"regex": "/(?=a)"}}]))
    release.tell(rules=RULES, virtual_services=(bad,))
    envoy = release.proxy.envoy
    assert envoy.stats()["http.gateway.rds.mesh.update_rejected"] == "1"
    assert release.proxy.get().status == 200
    release.tell(rules=RULES, virtual_services=split(1, 0))
    assert envoy.settle("routes") is None
