"""The two servers that the contract is held against.

`sandbox` always runs. `real` needs the binaries of a control plane: without them its tests are skipped
with the reason, unless CANARYD_REQUIRE_REAL is set.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import yaml

from canaryd.cluster.errors import ApiError
from canaryd.cluster.resources import CRDS, NAMESPACES, Json
from canaryd.sandbox.apiserver import ApiServer
from contract.servers import Server, eventually

_CHECKOUT = Path(__file__).parents[2]
# The controllers of the real control plane that do what the sandbox's API server does by itself.
_CONTROLLERS = ("garbagecollector", "namespace")

Kubectl = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="session", params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server, for the whole session: each test takes a namespace of its own."""
    if request.param == "sandbox":
        with ApiServer() as running:
            yield Server("sandbox", running.kubeconfig(tmp_path_factory.mktemp("sandbox") / "kubeconfig"))
        return
    from canaryd.sandbox.realcluster import RealCluster, available

    reason = available()
    if reason is not None and os.environ.get("CANARYD_REQUIRE_REAL"):
        pytest.fail(f"CANARYD_REQUIRE_REAL is set, but: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
    with RealCluster(controllers=_CONTROLLERS) as cluster:
        yield Server("real", cluster.kubeconfig)


@pytest.fixture
def namespace(server: Server) -> Iterator[str]:
    """A namespace for one test."""
    name = f"contract-{uuid.uuid4().hex[:8]}"
    server.api.create(NAMESPACES, None, {"metadata": {"name": name}})
    yield name
    server.api.delete(NAMESPACES, None, name)


_SPEC: Json = {
    "type": "object",
    "required": ["size"],
    "properties": {
        "size": {"type": "integer", "minimum": 1, "maximum": 10},
        "color": {"type": "string", "enum": ["red", "green"], "default": "red"},
        "code": {"type": "string", "pattern": "^x+$", "minLength": 2, "maxLength": 5},
        "port": {"x-kubernetes-int-or-string": True},
        "note": {"type": "string", "nullable": True},
        "plain": {"type": "string"},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": True},
        "counts": {"type": "object", "additionalProperties": {"type": "integer"}},
        "hosts": {"type": "array", "maxItems": 2, "items": {"type": "string"}},
        "parts": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "properties": {"name": {"type": "string"}, "share": {"type": "integer", "default": 7}},
            },
        },
        "replicas": {"type": "integer"},
    },
}
_STATUS: Json = {
    "type": "object",
    "properties": {
        "replicas": {"type": "integer"},
        "selector": {"type": "string"},
        "phase": {"type": "string"},
        "conditions": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"type": {"type": "string"}, "status": {"type": "string"}},
            },
        },
    },
}
_COLUMNS: list[Json] = [
    {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
    {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type=='Ready')].status"},
    {"name": "Hosts", "type": "string", "jsonPath": ".spec.hosts"},
    {"name": "Color", "type": "string", "jsonPath": ".spec.color", "priority": 1},
]
_SUBRESOURCES: Json = {
    "status": {},
    "scale": {
        "specReplicasPath": ".spec.replicas",
        "statusReplicasPath": ".status.replicas",
        "labelSelectorPath": ".status.selector",
    },
}


def definition(group: str = "contract.canaryd.io") -> Json:
    """The definition of Thing: two served versions and one that is not."""
    schema = {"openAPIV3Schema": {"type": "object", "properties": {"spec": _SPEC, "status": _STATUS}}}
    shown = {"schema": schema, "subresources": _SUBRESOURCES, "additionalPrinterColumns": _COLUMNS}
    return {
        "metadata": {"name": f"things.{group}"},
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"plural": "things", "singular": "thing", "kind": "Thing", "shortNames": ["thg"],
                      "categories": ["contract"]},
            "versions": [
                {"name": "v1", "served": True, "storage": True, **shown},
                {"name": "v1beta1", "served": True, "storage": False, **shown},
                {"name": "v1alpha1", "served": False, "storage": False, **shown},
            ],
        },
    }  # fmt: skip


@pytest.fixture(scope="session")
def things(server: Server) -> None:
    """The custom kind Thing, served."""
    install(server, definition())


def install(server: Server, crd: Json) -> None:
    """Create a definition and wait until its objects are served."""
    name = crd["metadata"]["name"]
    try:
        server.api.create(CRDS, None, crd)
    except ApiError as error:
        assert error.reason == "AlreadyExists", error
    group, plural = crd["spec"]["group"], crd["spec"]["names"]["plural"]
    version = next(v["name"] for v in crd["spec"]["versions"] if v["served"])

    def served() -> bool:
        conditions = server.api.get(CRDS, None, name).get("status", {}).get("conditions") or []
        established = any(c["type"] == "Established" and c["status"] == "True" for c in conditions)
        return established and server.ask("GET", f"/apis/{group}/{version}/{plural}").status == 200

    eventually(served)


@pytest.fixture(scope="session")
def official_crds() -> list[Json]:
    """The definitions of Istio and of the Gateway API, as their projects publish them."""
    named = os.environ.get("CANARYD_TEST_CRDS")
    folder = Path(named) if named else _CHECKOUT.parent / "shared" / "crds"
    found = [
        document
        for file in sorted(folder.glob("*.yaml"))
        for document in yaml.load_all(file.read_text(), Loader=yaml.CSafeLoader)
        if document and document["kind"] == "CustomResourceDefinition"
    ]
    if not found:
        pytest.skip(f"no CRDs in {folder}; CANARYD_TEST_CRDS names another folder")
    return found


@pytest.fixture(scope="session")
def kubectl(server: Server, tmp_path_factory: pytest.TempPathFactory) -> Kubectl:
    """Run kubectl against the server; the answer is the finished process, whatever its exit code.

    $CANARYD_TEST_KUBECTL names another binary than the one on PATH, to try another version.
    """
    binary = os.environ.get("CANARYD_TEST_KUBECTL") or shutil.which("kubectl")
    if binary is None:
        pytest.skip("kubectl is not on this machine")
    home = tmp_path_factory.mktemp("kubectl")

    def run(*arguments: str, stdin: str = "", editor: str = "") -> subprocess.CompletedProcess[str]:
        paths = {"HOME": str(home), "PATH": os.environ["PATH"], "KUBECACHEDIR": str(home / "cache")}
        return subprocess.run(
            [binary, "--kubeconfig", str(server.kubeconfig), *arguments],
            input=stdin, capture_output=True, text=True, timeout=90, check=False,
            env={**paths, "KUBE_EDITOR": editor or "false"},
        )  # fmt: skip

    return run
