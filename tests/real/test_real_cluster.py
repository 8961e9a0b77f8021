"""The real control plane starts, keeps its promises, and leaves nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from canaryd.cluster.errors import Invalid, Unreachable
from canaryd.cluster.resources import CONFIGMAPS, DESTINATIONRULES, NAMESPACES, VIRTUALSERVICES
from canaryd.cluster.transport import Api
from canaryd.sandbox.realcluster import SCRATCH_PREFIX, RealCluster

pytestmark = pytest.mark.real


def test_the_api_answers_its_own_client(real_api: Api) -> None:
    assert real_api.get(NAMESPACES, None, "default")["status"] == {"phase": "Active"}


def test_service_account_tokens_are_signed_and_accepted(real_cluster: RealCluster) -> None:
    namespace = real_cluster.create_namespace()
    accounts = f"/api/v1/namespaces/{namespace}/serviceaccounts"
    real_cluster.request("POST", accounts, {"metadata": {"name": "daemon"}})
    request = {"spec": {"audiences": ["https://kubernetes.default.svc"]}}
    token = real_cluster.request("POST", f"{accounts}/daemon/token", request)["status"]["token"]

    review = {"apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "spec": {"token": token}}
    seen = real_cluster.request("POST", "/apis/authentication.k8s.io/v1/tokenreviews", review)["status"]

    assert seen["authenticated"]
    assert seen["user"]["username"] == f"system:serviceaccount:{namespace}:daemon"


@pytest.mark.usefixtures("real_crds")
def test_official_crds_are_enforced(real_cluster: RealCluster, real_api: Api) -> None:
    namespace = real_cluster.create_namespace()

    with pytest.raises(Invalid, match="weight"):
        real_api.create(VIRTUALSERVICES, namespace, virtual_service(weight="half"))
    real_api.create(VIRTUALSERVICES, namespace, virtual_service(weight=100))


@pytest.mark.usefixtures("real_crds")
def test_an_empty_string_is_a_string(real_cluster: RealCluster, real_api: Api) -> None:
    """A server compiled with a newer Go than it was written for took "" for null."""
    namespace = real_cluster.create_namespace()
    body = {
        "apiVersion": "networking.istio.io/v1",
        "kind": "DestinationRule",
        "metadata": {"name": "checkout"},
        "spec": {"host": "checkout", "subsets": [{"name": "stable", "labels": {"version": ""}}]},
    }

    made = real_api.create(DESTINATIONRULES, namespace, body)

    assert made["spec"] == body["spec"]


@pytest.mark.usefixtures("real_binaries")
def test_a_crashed_apiserver_comes_back_with_what_it_stored() -> None:
    with RealCluster(controllers=()) as cluster:
        api = Api.connect(str(cluster.kubeconfig))
        api.create(CONFIGMAPS, "default", {"metadata": {"name": "kept"}, "data": {"k": "v"}})

        cluster.kill_apiserver()
        with pytest.raises(Unreachable):
            api.get(CONFIGMAPS, "default", "kept")
        cluster.start_apiserver()

        assert api.get(CONFIGMAPS, "default", "kept")["data"] == {"k": "v"}


@pytest.mark.usefixtures("real_binaries")
def test_nothing_is_left_after_the_with_block() -> None:
    with RealCluster(controllers=()) as cluster:
        folder = cluster.kubeconfig.parent
        assert processes_in(folder)

    assert not folder.exists()
    assert not processes_in(folder)


@pytest.mark.usefixtures("real_binaries")
def test_nothing_is_left_after_a_kill() -> None:
    script = (
        "import sys, time\n"
        "from canaryd.sandbox.realcluster import RealCluster\n"
        "with RealCluster(controllers=()) as cluster:\n"
        "    print(cluster.kubeconfig.parent, flush=True)\n"
        "    time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as owner:
        assert owner.stdout is not None
        folder = Path(owner.stdout.readline().strip())
        assert folder.name.startswith(SCRATCH_PREFIX)
        owner.send_signal(signal.SIGKILL)

    eventually(lambda: not processes_in(folder), "the servers die with their owner")
    with RealCluster(controllers=()):
        assert not folder.exists(), "the next owner removes what a killed one left"


def virtual_service(*, weight: Any) -> dict[str, Any]:
    route = {"destination": {"host": "checkout"}, "weight": weight}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "VirtualService",
        "metadata": {"name": "checkout"},
        "spec": {"hosts": ["checkout"], "http": [{"route": [route]}]},
    }


def processes_in(folder: Path) -> list[int]:
    """Processes whose command line names `folder`."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or entry.name == str(os.getpid()):
            continue
        try:
            command = (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if f"{folder}/".encode() in command:
            found.append(int(entry.name))
    return found


def eventually(holds: Callable[[], bool], what: str, *, timeout: float = 60.0) -> None:
    deadline = time.monotonic() + timeout
    while not holds():
        assert time.monotonic() < deadline, what
        time.sleep(0.05)
