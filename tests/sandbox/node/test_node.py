"""The node with the sandbox's API server and controllers: Deployments whose pods are processes."""

import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

import pytest
from pod_factory import python, raw_pod

from canaryd.cluster.errors import ApiError, NotFound
from canaryd.cluster.resources import DEPLOYMENTS, ENDPOINTS, EVENTS, PODS, SERVICES, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.controllers.controllers import Controllers
from canaryd.sandbox.node import Node

FOREVER = python("import time; time.sleep(60)")
APP = {
    "image": "example/checkout:v1",
    "command": ["python", "-m", "canaryd.sandbox.app"],
    "ports": [{"name": "http", "containerPort": 8080}],
    "readinessProbe": {"httpGet": {"path": "/healthz", "port": "http"}, "periodSeconds": 1},
    "env": [{"name": "DRAIN_SECONDS", "value": "0.2"}],
}


class Cluster:
    """An API server, the controllers and a node."""

    def __init__(self, folder: Path, **node: Any) -> None:
        self.server = ApiServer().start()
        kubeconfig = str(self.server.kubeconfig(folder / "kubeconfig"))
        self.api = Api.connect(kubeconfig)
        self.own_api = Api.connect(kubeconfig, user_agent="sandbox")
        self.controllers = Controllers(self.own_api)
        self.node = Node(self.own_api, **node)
        self.server.set_log_provider(
            lambda namespace, pod, container, previous, tail: self.node.logs(
                namespace, pod, container, previous=previous, tail=tail
            )
        )
        self.controllers.start()
        self.node.start()

    def stop(self) -> None:
        self.node.stop()
        self.controllers.stop()
        self.own_api.close()
        self.api.close()
        self.server.stop()

    def pods(self) -> list[Json]:
        return self.api.list(PODS)[0]

    def pod(self, name: str = "p") -> Json:
        return self.api.get(PODS, "default", name)

    def run(self, container: Json, name: str = "p", **spec: Any) -> None:
        self.api.create(PODS, "default", raw_pod(container, name=name, **spec))

    def deploy(self, replicas: int, **container: Any) -> None:
        labels = {"app": "checkout"}
        spec = {"containers": [{"name": "app", **APP, **container}]}
        template = {"metadata": {"labels": labels}, "spec": spec}
        self.api.create(
            DEPLOYMENTS,
            "default",
            {
                "metadata": {"name": "checkout"},
                "spec": {"replicas": replicas, "selector": {"matchLabels": labels}, "template": template},
            },
        )

    def available(self) -> int:
        status = self.api.get(DEPLOYMENTS, "default", "checkout").get("status") or {}
        return int(status.get("availableReplicas") or 0)

    def reasons(self, name: str = "p") -> set[str]:
        events = self.api.list(EVENTS, "default", fields=f"involvedObject.name={name}")[0]
        return {event["reason"] for event in events}

    def until(self, holds: Callable[[], object], what: str) -> None:
        deadline = time.monotonic() + 30
        while not self._holds(holds):
            assert time.monotonic() < deadline, what
            time.sleep(0.02)

    @staticmethod
    def _holds(holds: Callable[[], object]) -> object:
        try:
            return holds()
        except (NotFound, LookupError):
            return False


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    cluster = Cluster(tmp_path, termination_lead=0.1)
    yield cluster
    cluster.stop()


def processes_of(*addresses: str) -> list[int]:
    """Processes, zombies too, that have one of the addresses as POD_IP."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                env = (entry / "environ").read_bytes()
            except OSError:
                continue
            if any(f"POD_IP={address}".encode() in env.split(b"\0") for address in addresses):
                found.append(int(entry.name))
    return found


def get(address: str, path: str = "/") -> tuple[int, dict[str, str]]:
    connection = HTTPConnection(address, 8080, timeout=20)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status, dict(response.getheaders())
    finally:
        connection.close()


def test_a_deployments_pods_serve_on_addresses_of_their_own(cluster: Cluster) -> None:
    cluster.deploy(3)
    cluster.until(lambda: cluster.available() == 3, "three pods are available")
    addresses = {pod["status"]["podIP"] for pod in cluster.pods()}
    assert len(addresses) == 3
    served = {get(address)[1]["x-pod"] for address in addresses}
    assert served == {pod["metadata"]["name"] for pod in cluster.pods()}
    assert {pod["spec"]["nodeName"] for pod in cluster.pods()} == {"sandbox"}


def test_a_rollout_loses_no_request_that_follows_the_endpoints(cluster: Cluster) -> None:
    ports = [{"name": "http", "port": 80, "targetPort": "http"}]
    service = {"metadata": {"name": "web"}, "spec": {"selector": {"app": "checkout"}, "ports": ports}}
    cluster.api.create(SERVICES, "default", service)
    cluster.deploy(2)
    cluster.until(lambda: cluster.available() == 2, "the first version is available")
    over, seen, errors = threading.Event(), set(), []

    def ask() -> None:
        while not over.is_set():
            subsets = cluster.api.get(ENDPOINTS, "default", "web")["subsets"]
            address = subsets[0]["addresses"][0]["ip"]
            try:
                status, headers = get(address)
                seen.add(headers["x-version"])
                assert status == 200
            except (OSError, AssertionError) as error:
                errors.append(error)

    asking = threading.Thread(target=ask)
    asking.start()
    image = {"name": "app", "image": "example/checkout:v2"}
    patch = {"spec": {"template": {"spec": {"containers": [image]}}}}
    cluster.api.patch(DEPLOYMENTS, "default", "checkout", patch, kind="strategic")

    def rolled() -> bool:
        images = [pod["spec"]["containers"][0]["image"] for pod in cluster.pods()]
        return images == ["example/checkout:v2"] * 2 and cluster.available() == 2

    cluster.until(rolled, "the second version has replaced the first")
    cluster.until(lambda: "v2" in seen, "the second version answers")
    over.set()
    asking.join()
    assert not errors
    assert seen == {"v1", "v2"}


def test_the_log_of_a_crashed_life_is_kept(cluster: Cluster) -> None:
    cluster.run({"command": python("import sys; print('last words'); sys.exit(1)")})
    cluster.until(
        lambda: cluster.pod()["status"]["containerStatuses"][0]["restartCount"] >= 1, "it was restarted"
    )
    assert cluster.api.logs("default", "p", previous=True) == "last words\n"
    assert cluster.node.logs("default", "p", "c0", previous=True, tail=1) == "last words\n"


@pytest.mark.parametrize(
    ("pod", "container", "previous", "message"),
    [
        ("nobody", "", False, "pod default/nobody does not run"),
        ("p", "other", False, "no container other"),
        ("p", "", True, "has no previous"),
    ],
)
def test_logs_that_are_not_there(
    cluster: Cluster, pod: str, container: str, previous: bool, message: str
) -> None:
    cluster.run({"command": FOREVER})
    cluster.until(lambda: cluster.pod()["status"]["phase"] == "Running", "it runs")
    with pytest.raises(LookupError, match=message):
        cluster.node.logs("default", pod, container, previous=previous)


def test_a_deleted_pod_drains_and_is_gone_without_a_zombie(cluster: Cluster) -> None:
    cluster.run({**APP, "name": "c0", "env": []})
    cluster.until(lambda: cluster.pod()["status"]["containerStatuses"][0]["ready"], "it is ready")
    address = cluster.pod()["status"]["podIP"]
    assert processes_of(address)
    cluster.api.delete(PODS, "default", "p")
    assert get(address)[0] == 200
    cluster.until(lambda: not cluster.pods(), "the object is gone")
    assert not processes_of(address)


def test_a_pod_that_ignores_sigterm_is_killed_after_its_grace(cluster: Cluster) -> None:
    deaf = "import signal, time; signal.signal(15, signal.SIG_IGN); print('up', flush=True); time.sleep(60)"
    cluster.run({"command": python(deaf)}, terminationGracePeriodSeconds=1)
    cluster.until(lambda: cluster.node.logs("default", "p") == "up\n", "it runs")
    cluster.api.delete(PODS, "default", "p")
    cluster.until(lambda: not cluster.pods(), "the object is gone")


def test_a_pod_deleted_without_grace_is_killed(cluster: Cluster) -> None:
    cluster.run({"command": FOREVER})
    cluster.until(lambda: cluster.pod()["status"]["phase"] == "Running", "it runs")
    address = cluster.pod()["status"]["podIP"]
    cluster.api.delete(PODS, "default", "p", grace=0)
    cluster.until(lambda: not processes_of(address), "its process is gone")


def test_a_pod_of_the_same_name_starts_afresh(cluster: Cluster) -> None:
    cluster.run({"command": FOREVER})
    cluster.until(lambda: cluster.pod()["status"]["phase"] == "Running", "it runs")
    first = cluster.pod()
    cluster.api.delete(PODS, "default", "p", grace=0)
    body = raw_pod({"command": FOREVER})
    del body["metadata"]["uid"]
    cluster.api.create(PODS, "default", body)
    cluster.until(lambda: cluster.pod()["status"]["phase"] == "Running", "the second runs")
    assert cluster.pod()["status"]["podIP"] != first["status"]["podIP"]
    cluster.until(lambda: not processes_of(first["status"]["podIP"]), "the first is gone")


def test_pods_beyond_the_capacity_wait_for_room(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, max_pods=1, termination_lead=0)
    try:
        cluster.run({"command": FOREVER}, "first")
        cluster.until(lambda: cluster.pod("first")["status"]["phase"] == "Running", "the first runs")
        cluster.run({"command": FOREVER}, "second")

        def refused() -> bool:
            conditions = cluster.pod("second")["status"]["conditions"]
            return any(c["type"] == "PodScheduled" and c.get("reason") == "Unschedulable" for c in conditions)

        cluster.until(refused, "the second does not fit")
        assert cluster.pod("second")["status"]["phase"] == "Pending"
        cluster.until(lambda: "FailedScheduling" in cluster.reasons("second"), "an event says so")
        cluster.api.delete(PODS, "default", "first")
        cluster.until(lambda: cluster.pod("second")["status"]["phase"] == "Running", "the second runs")
    finally:
        cluster.stop()


def test_finished_pods_make_room(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, max_pods=1)
    try:
        cluster.run({"command": python("pass")}, "job", restartPolicy="Never")
        cluster.until(lambda: cluster.pod("job")["status"]["phase"] == "Succeeded", "the job is done")
        cluster.run({"command": FOREVER}, "next")
        cluster.until(lambda: cluster.pod("next")["status"]["phase"] == "Running", "the next runs")
        cluster.api.delete(PODS, "default", "job")
        cluster.until(lambda: len(cluster.pods()) == 1, "the finished one can be deleted")
    finally:
        cluster.stop()


def test_a_waiting_pod_can_be_deleted(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path, max_pods=0)
    try:
        cluster.run({"command": FOREVER})
        cluster.until(lambda: cluster.pod()["status"]["conditions"], "it waits")
        cluster.api.delete(PODS, "default", "p")
        cluster.until(lambda: not cluster.pods(), "it is gone")
    finally:
        cluster.stop()


def test_the_api_server_may_fail_for_a_while(cluster: Cluster) -> None:
    failing, refused = True, 0

    def reject(info: Any) -> tuple[int, Json] | None:
        nonlocal refused
        if not failing or info.verb not in ("create", "patch") or info.user_agent != "sandbox":
            return None
        refused += 1
        return 500, {"kind": "Status", "code": 500, "reason": "InternalError", "message": "injected"}

    cluster.server.reject = reject
    cluster.deploy(1)
    time.sleep(1.0)
    assert refused > 1
    assert not cluster.pods()
    failing = False
    cluster.until(lambda: cluster.available() == 1, "it recovers")


def test_stopping_leaves_no_process(tmp_path: Path) -> None:
    cluster = Cluster(tmp_path)
    cluster.deploy(2)
    cluster.until(lambda: cluster.available() == 2, "both run")
    addresses = [pod["status"]["podIP"] for pod in cluster.pods()]
    assert len(processes_of(*addresses)) == 2
    cluster.node.stop()
    assert not processes_of(*addresses)
    cluster.stop()


SANDBOX = """
import sys, time
from pathlib import Path
sys.path.insert(0, sys.argv[2])
from test_node import Cluster
cluster = Cluster(Path(sys.argv[1]))
cluster.deploy(2)
cluster.until(lambda: cluster.available() == 2, "both run")
print(*(pod["status"]["podIP"] for pod in cluster.pods()), flush=True)
time.sleep(60)
"""


def test_killing_the_sandbox_leaves_no_process(tmp_path: Path) -> None:
    here = str(Path(__file__).parent)
    with subprocess.Popen(
        [sys.executable, "-c", SANDBOX, str(tmp_path), here], stdout=subprocess.PIPE, text=True
    ) as sandbox:
        assert sandbox.stdout is not None
        addresses = sandbox.stdout.readline().split()
        assert len(processes_of(*addresses)) == 2
        sandbox.kill()
    deadline = time.monotonic() + 20
    while processes_of(*addresses):
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_errors_of_the_api_do_not_escape(cluster: Cluster) -> None:
    with pytest.raises(ApiError):
        cluster.api.logs("default", "nobody")
