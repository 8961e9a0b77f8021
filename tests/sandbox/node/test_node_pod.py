"""A pod's life on the node, without an API server: real processes, and the status that is reported."""

import asyncio
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from pod_factory import pod_spec, python

from canaryd.cluster.resources import Json
from canaryd.sandbox.controllers.events import EventType
from canaryd.sandbox.node.container import Backoff
from canaryd.sandbox.node.pod import PodRunner
from canaryd.sandbox.node.spec import PodSpec
from canaryd.sandbox.processes import free_port

FOREVER = python("import time; time.sleep(60)")
FAILS = python("import sys; print('last words'); sys.exit(7)")


class Notes:
    """Keeps what a pod reports."""

    def __init__(self) -> None:
        self.statuses: list[Json] = []
        self.events: list[str] = []
        self.removed = False

    async def publish(self, pod: PodSpec, status: Json) -> None:
        self.statuses.append(status)

    async def remove(self, pod: PodSpec) -> None:
        self.removed = True

    def record(self, pod: PodSpec, kind: EventType, reason: str, message: str) -> None:
        self.events.append(reason)

    @property
    def last(self) -> Json:
        return self.statuses[-1] if self.statuses else {}

    def container(self, index: int = 0) -> Json:
        found: Json = self.last["containerStatuses"][index]
        return found

    def ready(self) -> bool:
        return any(c["type"] == "Ready" and c["status"] == "True" for c in self.last.get("conditions", ()))

    async def until(self, holds: Callable[["Notes"], Any], seconds: float = 20) -> None:
        async with asyncio.timeout(seconds):
            while not (self.statuses and holds(self)):
                await asyncio.sleep(0.01)


def play(pod: PodSpec, scene: Callable[[PodRunner, Notes], Awaitable[None]], ip: str = "127.0.0.1") -> Notes:
    async def run() -> Notes:
        notes = Notes()
        runner = PodRunner(pod, ip=ip, node="n1", reports=notes)
        runner.start()
        try:
            await scene(runner, notes)
        finally:
            await runner.kill()
        return notes

    return asyncio.run(run())


def test_a_container_without_a_readiness_probe_is_ready_when_it_runs() -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(Notes.ready)
        assert notes.last["phase"] == "Running"
        assert notes.last["podIP"] == "127.0.0.1"
        assert notes.container()["state"]["running"]["startedAt"]

    play(pod_spec({"command": FOREVER}), scene)


def test_a_crash_loop_backs_off_and_tells_the_last_words() -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(
            lambda n: "waiting" in n.container()["state"] and n.container()["restartCount"] == 2
        )
        status = notes.container()
        assert status["state"]["waiting"]["reason"] == "CrashLoopBackOff"
        assert status["lastState"]["terminated"]["exitCode"] == 7
        assert status["lastState"]["terminated"]["message"] == "last words\n"
        assert notes.last["phase"] == "Running"
        assert runner.log("", previous=True).tail() == "last words\n"
        assert "BackOff" in notes.events

    play(pod_spec({"command": FAILS, "terminationMessagePolicy": "FallbackToLogsOnError"}), scene)


def test_without_the_policy_the_message_is_left_to_the_log() -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.last["phase"] == "Failed")
        assert "message" not in notes.container()["state"]["terminated"]
        assert runner.log("c0", previous=False).tail() == "last words\n"

    play(pod_spec({"command": FAILS}, restartPolicy="Never"), scene)


@pytest.mark.parametrize(("code", "phase"), [(0, "Succeeded"), (1, "Failed")])
def test_a_pod_that_is_not_restarted_ends(code: int, phase: str) -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.last["phase"] == phase)
        assert runner.finished

    play(pod_spec({"command": python(f"import sys; sys.exit({code})")}, restartPolicy="Never"), scene)


def test_an_image_that_is_not_there() -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.container()["state"]["waiting"]["reason"] == "ErrImagePull")
        await notes.until(lambda n: n.container()["state"]["waiting"]["reason"] == "ImagePullBackOff")
        assert notes.last["phase"] == "Pending"
        assert "example/broken:v2" in notes.container()["state"]["waiting"]["message"]

    play(pod_spec({"image": "example/broken:v2", "command": FOREVER}), scene)


def test_env_that_cannot_be_had() -> None:
    env = [{"name": "X", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]

    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(
            lambda n: n.container()["state"]["waiting"]["reason"] == "CreateContainerConfigError"
        )
        assert "secretKeyRef" in notes.container()["state"]["waiting"]["message"]

    play(pod_spec({"command": FOREVER, "env": env}), scene)


def marked_by(path: Any, **more: Any) -> Json:
    """A probe that succeeds while the file is there."""
    code = f"import os, sys; sys.exit(not os.path.exists({str(path)!r}))"
    return {"exec": {"command": python(code)}, "periodSeconds": 0.05, "timeoutSeconds": 10, **more}


def test_readiness_follows_its_probe_and_its_thresholds(tmp_path: Any) -> None:
    mark = tmp_path / "ready"

    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.last["phase"] == "Running")
        assert not notes.ready()
        mark.touch()
        await notes.until(Notes.ready)
        mark.unlink()
        await notes.until(lambda n: not n.ready())
        assert notes.container()["restartCount"] == 0
        assert "Unhealthy" in notes.events

    play(pod_spec({"command": FOREVER, "readinessProbe": marked_by(mark, failureThreshold=2)}), scene)


def test_a_failed_liveness_probe_restarts_the_container(tmp_path: Any) -> None:
    mark = tmp_path / "alive"
    mark.touch()

    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(Notes.ready)
        mark.unlink()
        await notes.until(lambda n: n.container()["restartCount"] >= 1)
        assert notes.container()["lastState"]["terminated"]["exitCode"] == 143
        assert "Killing" in notes.events

    play(pod_spec({"command": FOREVER, "livenessProbe": marked_by(mark, failureThreshold=1)}), scene)


def test_other_probes_wait_for_the_startup_probe(tmp_path: Any) -> None:
    mark = tmp_path / "started"
    probes = {
        "startupProbe": marked_by(mark, failureThreshold=1000),
        "livenessProbe": marked_by(mark, failureThreshold=1),
    }

    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.last["phase"] == "Running")
        await asyncio.sleep(0.3)
        assert not notes.container()["started"]
        assert notes.container()["restartCount"] == 0
        mark.touch()
        await notes.until(lambda n: n.ready() and n.container()["started"])

    play(pod_spec({"command": FOREVER, **probes}), scene)


SERVER = """
import socket, sys
server = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    connection, _ = server.accept()
    if connection.recv(999):
        connection.sendall(b"HTTP/1.1 " + sys.argv[2].encode() + b"\\r\\n\\r\\n")
    connection.close()
"""


def server(answer: str, probe: Json) -> PodSpec:
    port = free_port()
    return pod_spec(
        {
            "command": [*python(SERVER), str(port), answer],
            "ports": [{"name": "web", "containerPort": port}],
            "readinessProbe": {**probe, "periodSeconds": 0.05, "timeoutSeconds": 10},
        }
    )


@pytest.mark.parametrize(
    ("probe", "answer"),
    [
        ({"tcpSocket": {"port": "web"}}, "503 No"),
        ({"httpGet": {"port": "web", "path": "/healthz"}}, "200 OK"),
        ({"httpGet": {"port": "web"}}, "302 Found"),
    ],
)
def test_network_probes(probe: Json, answer: str) -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(Notes.ready)

    play(server(answer, probe), scene)


def test_a_http_error_is_not_ready() -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.last["phase"] == "Running")
        await asyncio.sleep(0.5)
        assert not notes.ready()

    play(server("503 No", {"httpGet": {"port": "web"}}), scene)


def test_init_containers_run_one_after_the_other_before_the_rest(tmp_path: Any) -> None:
    trace = tmp_path / "trace"
    steps = [
        {"name": f"i{n}", "image": "example/app:v1", "command": _appends(trace, f"i{n}")} for n in range(2)
    ]
    main = {"command": [*_appends(trace, "main")[:-1], _appends(trace, "main")[-1] + "; time.sleep(60)"]}

    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.ready() and trace.read_text().count("main"))
        assert trace.read_text().split() == ["i0", "i1", "main"]

    notes = play(pod_spec(main, initContainers=steps), scene)
    initialized = next(c for c in notes.statuses[0]["conditions"] if c["type"] == "Initialized")
    assert initialized["status"] == "False"


def test_deletion_ends_the_pod_with_grace_and_then_the_object(tmp_path: Any) -> None:
    trace = tmp_path / "trace"
    polite = python(
        "import signal, sys, time\n"
        f"def end(*_): open({str(trace)!r}, 'a').write('term '); sys.exit(0)\n"
        "signal.signal(signal.SIGTERM, end); print('up', flush=True); time.sleep(60)"
    )
    hook = {"preStop": {"exec": {"command": _appends(trace, "hook")}}}

    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(lambda n: n.ready() and runner.log("", previous=False).tail())
        runner.delete(20, lead=0)
        await notes.until(lambda n: n.removed)
        assert trace.read_text().split() == ["hook", "term"]
        assert notes.container()["state"]["terminated"]["exitCode"] == 0
        assert notes.container()["restartCount"] == 0

    play(pod_spec({"command": polite, "lifecycle": hook}), scene)


def test_deletion_with_no_grace_kills_at_once() -> None:
    async def scene(runner: PodRunner, notes: Notes) -> None:
        await notes.until(Notes.ready)
        runner.delete(30, lead=60)
        runner.delete(0, lead=0)
        await notes.until(lambda n: n.container()["state"].get("terminated", {}).get("exitCode") == 137)

    play(pod_spec({"command": FOREVER}), scene)


def test_backoff_doubles_up_to_its_cap_and_is_forgiven() -> None:
    backoff = Backoff()
    assert [backoff.delay(0.1) for _ in range(8)] == [0, 1, 2, 4, 8, 16, 30, 30]
    assert backoff.delay(61) == 0
    assert backoff.delay(0.1) == 1


def _appends(path: Any, word: str) -> list[str]:
    return [sys.executable, "-I", "-c", f"import time; open({str(path)!r}, 'a').write({word + ' '!r})"]
