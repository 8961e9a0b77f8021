"""The demo's application, as a process of its own on a loopback address."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

import pytest

from canaryd.sandbox.app import App, Faults, Settings
from canaryd.sandbox.processes import free_port

HOST = "127.77.0.1"


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes


class Client:
    """One kept connection to the application."""

    def __init__(self, process: "subprocess.Popen[str]", port: int) -> None:
        self.process = process
        self.connection = HTTPConnection(HOST, port, timeout=20)

    def get(self, path: str = "/", method: str = "GET", body: bytes | None = None) -> Answer:
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        headers = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, headers, response.read())

    def statuses(self, count: int) -> list[int]:
        return [self.get().status for _ in range(count)]


@contextmanager
def app(**env: object) -> Iterator[Client]:
    port = free_port(HOST)
    given = {"POD_IP": HOST, "PORT": str(port), "POD_NAME": "pod-1", "LATENCY_MEDIAN_MS": "0.1"}
    given |= {name: str(value) for name, value in env.items()}
    with subprocess.Popen(
        [sys.executable, "-m", "canaryd.sandbox.app"],
        env={"PATH": os.environ["PATH"], **given},
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            _until_open(process, port)
            client = Client(process, port)
            yield client
            client.connection.close()
        finally:
            process.kill()


def _until_open(process: "subprocess.Popen[str]", port: int) -> None:
    deadline = time.monotonic() + 20
    while process.poll() is None:
        assert time.monotonic() < deadline, "the application does not listen"
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) == 0:
                return
        time.sleep(0.01)


def test_each_answer_says_who_gave_it() -> None:
    with app(VERSION="v7", CANARYD_ROLE="canary") as client:
        answer = client.get("/anything?x=1")
    assert answer.status == 200
    assert answer.headers["x-pod"] == "pod-1"
    assert answer.headers["x-workload-role"] == "canary"
    assert answer.headers["x-version"] == "v7"
    assert json.loads(answer.body) == {"version": "v7", "status": 200}


def test_errors_come_at_their_rate_and_spare_the_probes() -> None:
    with app(ERROR_RATE="1") as client:
        assert client.statuses(5) == [500] * 5
        assert client.get("/healthz").status == 200
    with app(ERROR_RATE="0.3", SEED="1") as client:
        failed = client.statuses(300).count(500)
    assert 50 < failed < 130


def test_what_is_rejected_is_no_error() -> None:
    with app(ERROR_RATE="0.3", REJECT_RATE="0.2", SEED="1") as client:
        statuses = client.statuses(300)
    assert 50 < statuses.count(500) < 130
    assert 30 < statuses.count(409) < 95
    assert set(statuses) == {200, 409, 500}


def test_the_same_seed_and_name_fail_alike() -> None:
    def run(pod: str) -> list[int]:
        settings = Settings.from_env({"SEED": "7", "POD_NAME": pod, "ERROR_RATE": "0.5"})
        application = App(settings, time.monotonic)
        return [application.answer("/")[0] for _ in range(64)]

    assert run("a") == run("a")
    assert run("a") != run("b")


def test_the_tail_is_slow_and_the_rest_is_not() -> None:
    settings = Settings.from_env({"SEED": "1", "SLOW_SHARE": "0.02", "SLOW_MS": "400"})
    application = App(settings, time.monotonic)
    delays = sorted(application.answer("/")[1] for _ in range(5000))
    assert delays[int(0.95 * len(delays))] < 0.05
    assert delays[int(0.99 * len(delays))] > 0.4


def test_bodies_and_methods_keep_the_connection_in_step() -> None:
    with app() as client:
        assert client.get("/", "POST", b"x" * 70_000).status == 200
        assert client.get("/", "HEAD").body == b""
        assert client.get("/").status == 200
        sock = client.connection.sock
        assert client.get("/").headers.get("connection") is None
        assert client.connection.sock is sock


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"nonsense\r\n\r\n",
        b"GET / HTTP/1.1\r\ncontent-length: many\r\n\r\n",
        b"GET / HTTP/1.1\r\nx: " + b"y" * 70_000,
        b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n",
    ],
)
def test_what_it_does_not_understand_is_refused_and_closed(request_bytes: bytes) -> None:
    with app() as client, socket.create_connection((HOST, client.connection.port), timeout=20) as raw:
        raw.sendall(request_bytes)
        received = b""
        try:
            while data := raw.recv(4096):
                received += data
        except ConnectionResetError:
            pass
        assert received.startswith(b"HTTP/1.1 4")
        assert client.get().status == 200


def test_pipelined_requests_are_answered_in_order() -> None:
    with app(LATENCY_MEDIAN_MS="20") as client:
        port = client.connection.port
        with socket.create_connection((HOST, port), timeout=20) as raw:
            raw.sendall(b"GET /a HTTP/1.1\r\n\r\nGET /healthz HTTP/1.1\r\nconnection: close\r\n\r\n")
            received = b""
            while data := raw.recv(4096):
                received += data
    assert received.count(b"HTTP/1.1 200") == 2
    assert received.count(b"connection: close") == 1


def test_a_crash_after_some_requests_leaves_its_last_words() -> None:
    with app(CRASH_AFTER_REQUESTS="3") as client:
        assert client.statuses(2) == [200, 200]
        with pytest.raises(ConnectionError):
            client.get()
        assert client.process.wait(20) == 1
        assert client.process.stderr is not None
        assert client.process.stderr.read().splitlines()[-1] == "fatal: out of luck after 3 requests"


def test_a_crash_at_start() -> None:
    with app(CRASH_AT_START="1") as client:
        assert client.process.wait(20) == 1


def test_it_listens_after_its_start_delay_and_may_be_stopped_before() -> None:
    began = time.monotonic()
    with app(START_DELAY="0.5") as client:
        assert time.monotonic() - began >= 0.5
        assert client.get().status == 200
    settings = {"PATH": os.environ["PATH"], "START_DELAY": "60"}
    command = [sys.executable, "-m", "canaryd.sandbox.app"]
    with subprocess.Popen(command, env=settings, stderr=subprocess.PIPE) as process:
        time.sleep(0.5)
        process.terminate()
        assert process.wait(20) in (0, -signal.SIGTERM)  # the latter where it had not begun to listen for it


def test_wrong_settings_end_it_with_a_word() -> None:
    with app(ERROR_RATE="often") as client:
        assert client.process.wait(20) == 2
        assert client.process.stderr is not None
        assert "environment" in client.process.stderr.read()


def test_sigterm_drains_before_the_end() -> None:
    with app(DRAIN_SECONDS="0.5") as client:
        client.get()
        client.process.send_signal(signal.SIGTERM)
        time.sleep(0.1)
        draining = client.get()
        assert draining.status == 200
        assert draining.headers["connection"] == "close"
        assert client.process.wait(20) == 0


def test_a_request_under_way_is_answered_after_the_drain() -> None:
    with app(DRAIN_SECONDS="0.1", LATENCY_MEDIAN_MS="700", LATENCY_SIGMA="0") as client:
        client.connection.request("GET", "/")
        time.sleep(0.1)
        client.process.send_signal(signal.SIGTERM)
        assert client.connection.getresponse().status == 200
        assert client.process.wait(20) == 0


def _control(path: Path, values: object) -> None:
    beside = path.with_suffix(".new")
    beside.write_text(json.dumps(values))
    beside.rename(path)


def _until_status(client: Client, status: int) -> None:
    deadline = time.monotonic() + 20
    while client.get().status != status:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_faults_change_while_it_runs(tmp_path: Path) -> None:
    control = tmp_path / "faults.json"
    with app(CONTROL_FILE=control, VERSION="v2") as client:
        assert client.get().status == 200
        _control(control, {"v1": {"error_rate": 1}})
        time.sleep(0.3)
        assert client.get().status == 200
        _control(control, {"v2": {"error_rate": 1}})
        _until_status(client, 500)
        _control(control, {"*": {"error_rate": 1}, "v2": {"error_rate": 0}})
        _until_status(client, 200)
        _control(control, {"*": {"error_rate": 1}})
        _until_status(client, 500)
        control.unlink()
        _until_status(client, 200)


def test_one_pod_of_a_version_fails_alone(tmp_path: Path) -> None:
    control = tmp_path / "faults.json"
    _control(control, {"v2": {"error_rate": 0}, "pod-1": {"error_rate": 1}})

    def answers(pod: str) -> int:
        given = {"VERSION": "v2", "POD_NAME": pod, "CONTROL_FILE": str(control)}
        return App(Settings.from_env(given), time.monotonic).answer("/")[0]

    assert [answers("pod-1"), answers("pod-2")] == [500, 200]


def test_a_control_file_that_cannot_be_read_changes_nothing(tmp_path: Path) -> None:
    control = tmp_path / "faults.json"
    _control(control, {"*": {"error_rate": 1}})
    with app(CONTROL_FILE=control) as client:
        _until_status(client, 500)
        for broken in ({"*": {"eror_rate": 0}}, [1, 2], {"*": {"error_rate": "no"}}):
            _control(control, broken)
            time.sleep(0.25)
            assert client.get().status == 500


def test_overrides_keep_what_they_do_not_name() -> None:
    faults = Faults(error_rate=0.5, slow_ms=3).overridden({"slow_ms": 9, "crash_after_requests": 4})
    assert (faults.error_rate, faults.slow_ms, faults.crash_after_requests) == (0.5, 9.0, 4)


def test_it_is_small() -> None:
    """A sandbox runs a dozen: what it imports is what each of them costs."""
    code = "import runpy, sys; sys.argv = ['app']; import canaryd.sandbox.app; print(len(sys.modules)); "
    code += "print(sorted(m for m in sys.modules if m.split('.')[0] in {'canaryd', 'kubernetes', 'aiohttp'}))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[1] == "['canaryd', 'canaryd.sandbox', 'canaryd.sandbox.app']"
    with app() as client:
        client.statuses(20)
        status = Path(f"/proc/{client.process.pid}/status").read_text()
    rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
    assert rss < 20_000
