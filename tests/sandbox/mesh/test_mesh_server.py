"""The mesh beside an API server: what is written there is what requests meet, as late as asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from mesh_fakes import App, destination_rule, eventually, get, pod, route, service, to, virtual_service

from canaryd.cluster.resources import (
    DESTINATIONRULES,
    NAMESPACES,
    PODS,
    SERVICES,
    VIRTUALSERVICES,
    Resource,
)
from canaryd.cluster.transport import Api
from canaryd.sandbox import crds
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.mesh.server import Mesh

Json = dict[str, Any]
SHOP = "shop"


@dataclass
class Cluster:
    """An API server with a Service `checkout`, and pods that are servers in this process."""

    api: Api
    apps: dict[str, App] = field(default_factory=dict)

    def create(self, resource: Resource, body: Json) -> None:
        whole = {"apiVersion": resource.api_version, "kind": resource.kind, **body}
        self.api.create(resource, body["metadata"].get("namespace"), whole)

    def run(self, name: str, role: str = "stable") -> None:
        app = self.apps[name] = App(name)
        body = pod(name, app.address, role=role)
        # The API server's garbage collector would take the pod away: its owner does not exist.
        del body["metadata"]["ownerReferences"]
        body["spec"]["containers"][0].update(name="app", image="app")
        status = body.pop("status")
        self.create(PODS, body)
        self.api.patch(PODS, SHOP, name, {"status": status}, subresource="status")

    def set_ready(self, name: str, ready: bool) -> None:
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        self.api.patch(PODS, SHOP, name, {"status": {"conditions": [condition]}}, subresource="status")

    def split(self, *destinations: Json) -> None:
        self.api.patch(VIRTUALSERVICES, SHOP, "checkout", {"spec": {"http": [route(*destinations)]}})


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    server = ApiServer()
    server.start()
    api = Api.connect(str(server.kubeconfig(tmp_path / "kubeconfig")))
    crds.install(api, crds.istio())
    made = Cluster(api)
    made.create(NAMESPACES, {"metadata": {"name": SHOP}})
    made.create(SERVICES, service())
    made.create(DESTINATIONRULES, destination_rule("stable", "canary"))
    made.create(VIRTUALSERVICES, virtual_service(route(to("stable"))))
    made.run("s-1")
    made.run("c-1", role="canary")
    yield made
    api.close()
    server.stop()
    for app in made.apps.values():
        app.close()


def answering(mesh: Mesh) -> str:
    got = get(mesh.port)
    return got.pod or f"{got.status} {got.flags}"


def test_it_starts_with_what_is_there_and_follows(cluster: Cluster) -> None:
    with Mesh(cluster.api) as mesh:
        assert {answering(mesh) for _ in range(10)} == {"s-1"}
        cluster.split(to("canary"))
        eventually(lambda: answering(mesh) == "c-1")
        cluster.api.delete(DESTINATIONRULES, SHOP, "checkout")
        eventually(lambda: answering(mesh) == "503 NC")
        cluster.api.delete(VIRTUALSERVICES, SHOP, "checkout")
        eventually(lambda: {answering(mesh) for _ in range(20)} == {"s-1", "c-1"})
        cluster.set_ready("s-1", False)
        eventually(lambda: {answering(mesh) for _ in range(20)} == {"c-1"})
        cluster.run("s-2")
        eventually(lambda: {answering(mesh) for _ in range(20)} == {"c-1", "s-2"})
        cluster.api.delete(SERVICES, SHOP, "checkout")
        eventually(lambda: answering(mesh) == "404 NR")


def test_what_istio_would_refuse_leaves_the_last_good(cluster: Cluster) -> None:
    with Mesh(cluster.api) as mesh:
        cluster.split(to("stable", 0), to("canary", 0))
        # A later change of something else shows that the mesh has seen this one.
        cluster.api.delete(DESTINATIONRULES, SHOP, "checkout")
        eventually(lambda: answering(mesh) == "503 NC")
        cluster.create(DESTINATIONRULES, destination_rule("stable", "canary"))
        eventually(lambda: answering(mesh) == "s-1")
        cluster.split(to("stable", 0), to("canary", 1))
        eventually(lambda: answering(mesh) == "c-1")


def test_routes_take_the_propagation_delay_and_endpoints_less(cluster: Cluster) -> None:
    cluster.run("s-2")
    with Mesh(cluster.api, propagation=1.5) as mesh:
        began = time.monotonic()
        cluster.split(to("canary"))
        cluster.set_ready("s-2", False)
        eventually(lambda: {answering(mesh) for _ in range(10)} == {"s-1"})
        endpoints_after = time.monotonic() - began
        eventually(lambda: answering(mesh) == "c-1")
        routes_after = time.monotonic() - began
    assert 0.2 <= endpoints_after < routes_after
    assert routes_after >= 1.5


def test_settle_waits_for_what_is_on_its_way(cluster: Cluster) -> None:
    with Mesh(cluster.api, propagation=1.0) as mesh:
        cluster.split(to("canary"))
        eventually(lambda: mesh.pending > 0)
        mesh.settle()
        assert answering(mesh) == "c-1"


def test_a_short_name_and_export_follow_the_clients_namespace(cluster: Cluster) -> None:
    cluster.api.patch(VIRTUALSERVICES, SHOP, "checkout", {"spec": {"exportTo": ["."]}})
    with Mesh(cluster.api, client_namespace=SHOP) as mesh:
        assert {answering(mesh) for _ in range(20)} == {"s-1"}
    with Mesh(cluster.api, client_namespace="elsewhere") as mesh:
        assert {answering(mesh) for _ in range(60)} == {"s-1", "c-1"}


def gone(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] == "Z"
    except FileNotFoundError:
        return True


def test_nothing_is_left_after_stop(cluster: Cluster) -> None:
    mesh = Mesh(cluster.api)
    mesh.start()
    folder = mesh.folder
    assert folder.exists()
    assert not gone(mesh.pid)
    mesh.stop()
    assert gone(mesh.pid)
    assert not folder.exists()


def test_a_failed_start_leaves_nothing(cluster: Cluster, monkeypatch: pytest.MonkeyPatch) -> None:
    with Mesh(cluster.api) as first:
        second = Mesh(cluster.api, port=first.port)
        with pytest.raises(Exception, match="Address already in use"):
            second.__enter__()
        assert not second.folder.exists()


PARENT = """
import sys, time
from pathlib import Path
from canaryd.cluster.transport import Api
from canaryd.sandbox.mesh.server import Mesh
with Mesh(Api.connect(sys.argv[1])) as mesh:
    print(mesh.pid, flush=True)
    time.sleep(60)
"""


def test_envoy_dies_with_its_parent(cluster: Cluster, tmp_path: Path) -> None:
    command = [sys.executable, "-c", PARENT, str(tmp_path / "kubeconfig")]
    env = {**os.environ, "TMPDIR": str(tmp_path)}
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=env) as parent:
        assert parent.stdout is not None
        envoy = int(parent.stdout.readline())
        assert not gone(envoy)
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        eventually(lambda: gone(envoy))
