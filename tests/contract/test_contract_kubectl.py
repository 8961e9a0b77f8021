"""What people type: kubectl against the server, its output and the state that it leaves."""

from __future__ import annotations

import json
import subprocess
import threading
import time
from typing import Any

import pytest
import yaml

from canaryd.cluster.resources import CONFIGMAPS, DEPLOYMENTS, NAMESPACES, SERVICES, Json
from contract.conftest import Kubectl
from contract.servers import THINGS, Server, configmap, deployment, eventually, thing


class Shell:
    """kubectl in one namespace; a command that fails fails the test."""

    def __init__(self, kubectl: Kubectl, namespace: str) -> None:
        self._kubectl = kubectl
        self._namespace = namespace

    def try_(self, command: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
        return self._kubectl("-n", self._namespace, *command.split(), stdin=stdin)

    def __call__(self, command: str, stdin: str = "") -> str:
        done = self.try_(command, stdin)
        assert done.returncode == 0, f"kubectl {command}: {done.stdout}{done.stderr}"
        return done.stdout

    def apply(self, *bodies: Json) -> str:
        return self("apply -f -", yaml.safe_dump_all(bodies))


@pytest.fixture
def sh(kubectl: Kubectl, namespace: str) -> Shell:
    return Shell(kubectl, namespace)


def _service() -> Json:
    ports = [{"port": 80, "name": "http"}]
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": "web"},
        "spec": {"selector": {"app": "web"}, "ports": ports},
    }


def _rows(text: str) -> list[list[str]]:
    return [line.split() for line in text.splitlines() if line]


def test_apply_creates_then_leaves_then_changes(sh: Shell) -> None:
    body = deployment()
    assert sh.apply(body, _service()) == "deployment.apps/web created\nservice/web created\n"
    assert sh.apply(body, _service()) == "deployment.apps/web unchanged\nservice/web unchanged\n"
    body["spec"]["template"]["spec"]["containers"][0]["image"] = "web:2"
    assert sh.apply(body) == "deployment.apps/web configured\n"
    assert sh("get deploy web -o jsonpath={.spec.template.spec.containers[0].image}") == "web:2"


def test_apply_merges_with_what_others_wrote(server: Server, namespace: str, sh: Shell) -> None:
    """The size from an autoscaler, an annotation and a sidecar of somebody else stay."""
    sh.apply(deployment())
    sidecar = {"containers": [{"name": "sidecar", "image": "s:1"}]}
    change = {
        "metadata": {"annotations": {"other": "1"}},
        "spec": {"replicas": 5, "template": {"spec": sidecar}},
    }
    server.api.patch(DEPLOYMENTS, namespace, "web", change, kind="strategic")
    sh.apply(deployment(image="web:2"))
    found = server.api.get(DEPLOYMENTS, namespace, "web")
    images = {c["name"]: c["image"] for c in found["spec"]["template"]["spec"]["containers"]}
    assert images == {"a": "web:2", "sidecar": "s:1"}
    assert found["spec"]["replicas"] == 5 and found["metadata"]["annotations"]["other"] == "1"


def test_apply_removes_what_was_applied_before(server: Server, namespace: str, sh: Shell) -> None:
    body = configmap("c", {"a": "1", "b": "1"}) | {"apiVersion": "v1", "kind": "ConfigMap"}
    sh.apply(body)
    sh.apply({**body, "data": {"a": "1"}})
    assert server.api.get(CONFIGMAPS, namespace, "c")["data"] == {"a": "1"}


def test_apply_of_a_custom_object(server: Server, things: None, namespace: str, sh: Shell) -> None:
    assert sh.apply(thing(size=2)) == "thing.contract.canaryd.io/one created\n"
    server.api.patch(THINGS, namespace, "one", {"spec": {"replicas": 3}})
    assert sh.apply(thing(size=3)) == "thing.contract.canaryd.io/one configured\n"
    assert server.api.get(THINGS, namespace, "one")["spec"] == {"size": 3, "replicas": 3, "color": "red"}


def test_apply_of_an_invalid_object_says_why(things: None, sh: Shell) -> None:
    done = sh.try_("apply -f -", yaml.safe_dump(thing(size=99)))
    assert done.returncode == 1
    assert "spec.size in body should be less than or equal to 10" in done.stderr


def test_get_shows_a_table(sh: Shell) -> None:
    sh.apply(deployment(replicas=2), _service())
    heading, row = _rows(sh("get deployments"))
    assert heading == ["NAME", "READY", "UP-TO-DATE", "AVAILABLE", "AGE"]
    assert row[:4] == ["web", "0/2", "0", "0"]
    heading, row = _rows(sh("get svc -o wide"))
    assert heading == ["NAME", "TYPE", "CLUSTER-IP", "EXTERNAL-IP", "PORT(S)", "AGE", "SELECTOR"]
    assert row[1] == "ClusterIP" and row[3:5] == ["<none>", "80/TCP"] and row[6] == "app=web"


def test_get_shows_printer_columns(things: None, sh: Shell) -> None:
    sh.apply(thing(size=4))
    assert _rows(sh("get things")) == [["NAME", "SIZE", "READY", "HOSTS"], ["one", "4"]]
    assert _rows(sh("get thg -o wide"))[1] == ["one", "4", "red"]


@pytest.mark.parametrize(
    "short", ["deploy", "deployments", "deployment", "deployments.v1.apps", "deploy/web"]
)
def test_get_by_any_name(sh: Shell, short: str) -> None:
    sh.apply(deployment())
    assert sh(f"get {short} -o name") == "deployment.apps/web\n"


def test_get_all_by_category(sh: Shell) -> None:
    sh.apply(deployment(), _service())
    assert sh("get all -o name").split() == ["service/web", "deployment.apps/web"]


def test_get_as_json_and_yaml_and_columns(sh: Shell) -> None:
    sh.apply(deployment())
    assert json.loads(sh("get deploy web -o json"))["spec"]["replicas"] == 1
    assert yaml.safe_load(sh("get deploy web -o yaml"))["metadata"]["name"] == "web"
    columns = sh("get deploy -o custom-columns=N:.metadata.name,R:.spec.replicas")
    assert _rows(columns) == [["N", "R"], ["web", "1"]]


def test_get_selected_and_sorted(sh: Shell) -> None:
    for name in ("b", "a", "c"):
        sh(f"create configmap {name} --from-literal=k=v")
    sh("label configmap a c x=1")
    assert sh("get cm -l x=1 -o name").split() == ["configmap/a", "configmap/c"]
    assert sh("get cm --field-selector metadata.name=b -o name").split() == ["configmap/b"]
    in_order = sh("get cm -l x=1 --sort-by=.metadata.creationTimestamp --no-headers")
    assert sorted(row[0] for row in _rows(in_order)) == ["a", "c"]
    assert _rows(sh("get cm -l x --show-labels --no-headers"))[0][-1] == "x=1"


def test_get_of_nothing(sh: Shell) -> None:
    assert "No resources found" in sh.try_("get deployments").stderr
    missing = sh.try_("get deploy nope")
    assert (missing.returncode, missing.stderr.strip()) == (
        1,
        'Error from server (NotFound): deployments.apps "nope" not found',
    )


def test_get_watches(server: Server, namespace: str, sh: Shell) -> None:
    sh.apply(deployment())
    seen: list[str] = []
    reader = threading.Thread(
        target=lambda: seen.append(sh("get deploy web -w --request-timeout=6s --no-headers")), daemon=True
    )
    reader.start()
    time.sleep(2)
    for replicas in (2, 3):
        server.api.patch(DEPLOYMENTS, namespace, "web", {"spec": {"replicas": replicas}})
    reader.join(60)
    assert [row[1] for row in _rows(seen[0])] == ["0/1", "0/2", "0/3"]


def test_describe(sh: Shell, things: None) -> None:
    sh.apply(deployment(), _service(), thing(size=2))
    told = sh("describe deploy web")
    assert "Replicas:               1 desired" in told
    assert "RollingUpdateStrategy:  25% max unavailable, 25% max surge" in told
    assert "app=web" in sh("describe svc web")
    assert "Size:   2" in sh("describe thing one")


def test_describe_shows_events(server: Server, namespace: str, sh: Shell) -> None:
    sh.apply(deployment())
    uid = server.api.get(DEPLOYMENTS, namespace, "web")["metadata"]["uid"]
    event = {
        "apiVersion": "v1", "kind": "Event", "metadata": {"name": "e"}, "reason": "CanaryRose",
        "message": "weight 5 -> 10", "type": "Normal", "count": 1, "source": {"component": "canaryd"},
        "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:00:00Z",
        "involvedObject": {"kind": "Deployment", "apiVersion": "apps/v1", "name": "web", "uid": uid,
                           "namespace": namespace},
    }  # fmt: skip
    sh("create -f -", json.dumps(event))
    assert "CanaryRose" in sh("describe deploy web")
    assert _rows(sh("get events --no-headers"))[0][1:] == [
        "Normal", "CanaryRose", "deployment/web", "weight", "5", "->", "10",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("command", "path", "value"),
    [
        pytest.param("set image deploy/web a=web:2", "spec.template.spec.containers.0.image", "web:2", id="image"),
        pytest.param("set env deploy/web K=V", "spec.template.spec.containers.0.env.0.value", "V", id="env"),
        pytest.param("scale deploy/web --replicas=4", "spec.replicas", 4, id="scale"),
        pytest.param("scale deploy/web --current-replicas=1 --replicas=2", "spec.replicas", 2, id="scale if"),
        pytest.param("annotate deploy web k=v", "metadata.annotations.k", "v", id="annotate"),
        pytest.param("label deploy web k=v", "metadata.labels.k", "v", id="label"),
        pytest.param("rollout pause deploy/web", "spec.paused", True, id="pause"),
        pytest.param('patch deploy web -p {"spec":{"paused":true}}', "spec.paused", True, id="strategic patch"),
        pytest.param(
            'patch deploy web --type=merge -p {"spec":{"replicas":7}}', "spec.replicas", 7, id="merge patch"
        ),
        pytest.param(
            'patch deploy web --type=json -p [{"op":"replace","path":"/spec/replicas","value":8}]',
            "spec.replicas",
            8,
            id="JSON patch",
        ),
    ],
)  # fmt: skip
def test_commands_that_change(
    server: Server, namespace: str, sh: Shell, command: str, path: str, value: Any
) -> None:
    sh.apply(deployment())
    sh(command)
    found: Any = server.api.get(DEPLOYMENTS, namespace, "web")
    for key in path.split("."):
        found = found[int(key)] if isinstance(found, list) else found[key]
    assert found == value


def test_rollout_resume_and_restart(server: Server, namespace: str, sh: Shell) -> None:
    sh.apply(deployment(paused=True))
    assert "can't restart paused deployment" in sh.try_("rollout restart deploy/web").stderr
    sh("rollout resume deploy/web")
    sh("rollout restart deploy/web")
    found = server.api.get(DEPLOYMENTS, namespace, "web")
    assert "paused" not in found["spec"]
    assert "kubectl.kubernetes.io/restartedAt" in found["spec"]["template"]["metadata"]["annotations"]


def test_rollout_status_waits_for_the_status(server: Server, namespace: str, sh: Shell) -> None:
    sh.apply(deployment())
    told: list[str] = []
    waiter = threading.Thread(target=lambda: told.append(sh("rollout status deploy/web --timeout=60s")))
    waiter.start()
    time.sleep(1)
    counts = ("replicas", "updatedReplicas", "readyReplicas", "availableReplicas", "observedGeneration")
    status = dict.fromkeys(counts, 1)
    server.api.patch(DEPLOYMENTS, namespace, "web", {"status": status}, subresource="status")
    waiter.join(60)
    assert 'deployment "web" successfully rolled out' in told[0]


def test_wait_for_a_condition(server: Server, things: None, namespace: str, sh: Shell) -> None:
    sh.apply(thing())
    assert sh.try_("wait thing/one --for=condition=Ready --timeout=1s").returncode == 1
    status = {"status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    server.api.patch(THINGS, namespace, "one", status, subresource="status")
    assert "condition met" in sh("wait thing/one --for=condition=Ready --timeout=30s")


def test_delete_waits_until_it_is_gone(server: Server, namespace: str, sh: Shell) -> None:
    sh("create configmap a --from-literal=k=v")
    server.api.patch(CONFIGMAPS, namespace, "a", {"metadata": {"finalizers": ["x.io/hold"]}})
    done: list[str] = []
    deleter = threading.Thread(target=lambda: done.append(sh("delete configmap a")))
    deleter.start()
    eventually(
        lambda: server.api.get(CONFIGMAPS, namespace, "a")["metadata"].get("deletionTimestamp"), within=60
    )
    assert deleter.is_alive()
    server.api.patch(CONFIGMAPS, namespace, "a", {"metadata": {"finalizers": None}})
    deleter.join(60)
    assert done == ['configmap "a" deleted\n'] or f'configmap "a" deleted from {namespace}' in done[0]


def test_delete_by_label_and_file(server: Server, namespace: str, sh: Shell) -> None:
    body = deployment()
    body["metadata"]["labels"] = {"x": "1"}
    sh.apply(body, _service())
    sh("delete deploy -l x=1")
    sh("delete -f -", yaml.safe_dump(_service()))
    for kind in (DEPLOYMENTS, SERVICES):
        assert server.api.list(kind, namespace)[0] == []


def test_objects_that_kubectl_makes_itself(server: Server, namespace: str, sh: Shell) -> None:
    """From 1.33 on it sends these as protobuf."""
    sh("create namespace " + f"{namespace}-two")
    sh("create configmap c --from-literal=k=v")
    sh("create secret generic s --from-literal=k=v")
    sh("create serviceaccount sa")
    sh("create role r --verb=get --resource=pods")
    sh("create deployment web --image=web:1 --replicas=3 --port=80")
    sh("expose deployment web --port=80 --target-port=8080")
    assert server.api.get(CONFIGMAPS, namespace, "c")["data"] == {"k": "v"}
    assert sh("get secret s -o jsonpath={.data.k}") == "dg=="
    web = server.api.get(DEPLOYMENTS, namespace, "web")["spec"]
    [container] = web["template"]["spec"]["containers"]
    assert (web["replicas"], container["image"]) == (3, "web:1")
    assert container["ports"] == [{"containerPort": 80, "protocol": "TCP"}]
    [port] = server.api.get(SERVICES, namespace, "web")["spec"]["ports"]
    assert (port["port"], port["targetPort"]) == (80, 8080)
    server.api.delete(NAMESPACES, None, f"{namespace}-two")


def test_edit(server: Server, things: None, namespace: str, kubectl: Kubectl, sh: Shell) -> None:
    sh.apply(deployment(replicas=3), thing(size=3))
    for name in ("deploy/web", "thing/one"):
        editor = "sed -i -e 's/replicas: 3$/replicas: 5/' -e 's/size: 3$/size: 5/'"
        done = kubectl("-n", namespace, "edit", name, editor=editor)
        assert done.returncode == 0, done.stderr
    assert server.api.get(DEPLOYMENTS, namespace, "web")["spec"]["replicas"] == 5
    assert server.api.get(THINGS, namespace, "one")["spec"]["size"] == 5


def test_may_i(sh: Shell) -> None:
    assert sh("auth can-i create deployments") == "yes\n"


def test_version_and_resources(sh: Shell, things: None) -> None:
    assert json.loads(sh("version -o json"))["serverVersion"]["gitVersion"].startswith("v1.")
    listed = {row[0] for row in _rows(sh("api-resources --no-headers"))}
    assert {"pods", "deployments", "things", "customresourcedefinitions", "leases"} <= listed
    assert "contract.canaryd.io/v1" in sh("api-versions").split()


def test_server_side_dry_run_and_diff(server: Server, namespace: str, sh: Shell) -> None:
    sh.apply(deployment())
    changed = yaml.safe_dump(deployment(image="web:2"))
    assert "configured (server dry run)" in sh("apply --dry-run=server -f -", changed)
    difference = sh.try_("diff -f -", changed)
    assert difference.returncode == 1 and "- image: web:2" in difference.stdout
    found = server.api.get(DEPLOYMENTS, namespace, "web")
    assert found["spec"]["template"]["spec"]["containers"][0]["image"] == "web:1"
