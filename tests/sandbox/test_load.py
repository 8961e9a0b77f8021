"""The load generator, against a small server that plays Envoy and the application."""

import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from canaryd.sandbox.load import Load, LoadError, LogRow
from canaryd.sandbox.load.client import Target
from canaryd.sandbox.load.generator import Plan
from canaryd.sandbox.load.report import Outcome, Recorder, decode, encode

STABLE = "x-pod: a\r\nx-workload-role: stable\r\nx-envoy-response-flags: -\r\n"
CANARY = "x-pod: b\r\nx-workload-role: canary\r\nx-envoy-response-flags: -\r\n"


def answer(status: int = 200, headers: str = STABLE, body: str = "ok") -> bytes:
    return f"HTTP/1.1 {status} X\r\n{headers}content-length: {len(body)}\r\n\r\n{body}".encode()


Script = Callable[[int], bytes | None]
"""The answer to the n-th request; None closes the connection without one."""


@contextmanager
def server(script: Script) -> Iterator[str]:
    """Answers by script. Each connection has a thread."""
    listener = socket.create_server(("127.0.0.1", 0))
    count = iter(range(10**9))
    connections: list[socket.socket] = []
    threads: list[threading.Thread] = []

    def serve(connection: socket.socket) -> None:
        with connection:
            try:
                while connection.recv(4096):
                    said = script(next(count))
                    if said is None:
                        return
                    connection.sendall(said)
            except OSError:
                return

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            connections.append(connection)
            threads.append(threading.Thread(target=serve, args=(connection,), daemon=True))
            threads[-1].start()

    accepting = threading.Thread(target=accept, daemon=True)
    accepting.start()
    try:
        yield f"http://127.0.0.1:{listener.getsockname()[1]}/"
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        accepting.join(10)
        for connection in connections:
            with_shutdown(connection)
        for thread in threads:
            thread.join(10)


def with_shutdown(connection: socket.socket) -> None:
    try:
        connection.shutdown(socket.SHUT_RDWR)
    except OSError:
        return


def run(url: str, **options: float) -> Load:
    load = Load(url, **{"rps": 200.0, "seconds": 1.0, **options})  # type: ignore[arg-type]
    load.start()
    load._thread.join(30)
    return load


def test_requests_are_counted_by_role_and_pod() -> None:
    with server(lambda n: answer(500, CANARY) if n % 4 == 0 else answer()) as url:
        report = run(url).report()
    assert report.sent == report.answered == 200
    assert report.roles["stable"].requests == report.pods["a"].requests == 150
    assert report.roles["stable"].failed == 0
    assert report.roles["canary"].failed == report.pods["b"].failed == 50
    assert report.failures == {"500": 50}
    assert report.failed == 50
    assert 0 < report.roles["stable"].p50_ms <= report.roles["stable"].p99_ms


@pytest.mark.parametrize(("status", "flags"), [(503, "NC"), (503, "UH"), (404, "NR"), (503, "UF,URX")])
def test_what_envoy_answers_itself_is_told_apart_by_its_flags(status: int, flags: str) -> None:
    with server(lambda _: answer(status, f"x-envoy-response-flags: {flags}\r\n")) as url:
        load = run(url, rps=40.0, seconds=0.5)
    assert load.report().failures == {f"{status} {flags}": 20}
    assert load.report().roles["none"].failed == 20
    assert {(row.role, row.status, row.flags, row.pod) for row in load.log()} == {("none", status, flags, "")}


def test_the_log_tells_what_happened_in_each_second() -> None:
    with server(lambda n: answer(500 if n >= 100 else 200)) as url:
        load = run(url, rps=100.0, seconds=2.0)
    by_status: Counter[int] = Counter()
    for row in load.log():
        by_status[row.status] += row.requests
        assert abs(row.second - time.time()) < 60
    assert by_status == {200: 100, 500: 100}
    assert len({row.second for row in load.log()}) >= 2


def test_arrivals_do_not_wait_for_answers() -> None:
    def slow(_: int) -> bytes:
        time.sleep(1.0)
        return answer()

    with server(slow) as url:
        report = run(url, rps=50.0, seconds=1.5).report()
    assert report.sent == 75
    assert report.roles["stable"].p50_ms >= 900


def test_no_server_at_all() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        load = run(f"http://127.0.0.1:{closed.getsockname()[1]}/", rps=20.0, seconds=0.5)
    assert load.report().failures == {"connect": 10}
    assert load.report().answered == 0


def test_a_connection_closed_without_an_answer() -> None:
    with server(lambda _: None) as url:
        assert run(url, rps=20.0, seconds=0.5).report().failures == {"reset": 10}


def test_a_kept_connection_that_was_closed_is_replaced_without_a_failure() -> None:
    closing: set[int] = set()

    def script(n: int) -> bytes | None:
        if n % 10 == 5 and n not in closing:
            closing.add(n)
            return None
        return answer()

    with server(script) as url:
        report = run(url, rps=20.0, seconds=2.0).report()
    assert report.failures == {}
    assert report.retried >= 1
    assert report.roles["stable"].requests == 40


@pytest.mark.parametrize(
    "said",
    [
        pytest.param(
            b"HTTP/1.1 200 OK\r\n"
            + STABLE.encode()
            + b"transfer-encoding: chunked\r\n\r\n2\r\nok\r\n0\r\n\r\n"
        ),
        pytest.param(
            b"HTTP/1.1 200 OK\r\n" + STABLE.encode() + b"connection: close\r\ncontent-length: 2\r\n\r\nok"
        ),
        pytest.param(b"HTTP/1.1 204 No\r\n" + STABLE.encode() + b"content-length: 0\r\n\r\n"),
    ],
    ids=["chunked", "close", "empty"],
)
def test_shapes_of_answers(said: bytes) -> None:
    with server(lambda _: said) as url:
        report = run(url, rps=40.0, seconds=0.5).report()
    assert report.failures == {}
    assert report.roles["stable"].requests == 20


def test_an_answer_that_never_comes_is_given_up() -> None:
    def script(n: int) -> bytes:
        if n == 0:
            time.sleep(8)
        return answer()

    with server(script) as url:
        report = run(url, rps=10.0, seconds=0.5).report()
    assert report.failures == {"timeout": 1}
    assert report.seconds < 7.5


def test_stop_waits_for_the_last_answers_and_leaves_no_process() -> None:
    with server(lambda _: answer()) as url:
        load = Load(url, rps=100.0)
        load.start()
        time.sleep(0.7)
        report = load.stop()
    assert report.sent == report.answered > 50
    assert load._process is not None
    assert load._process.returncode == 0


def test_a_seed_fixes_the_moments_of_sending() -> None:
    with server(lambda _: answer()) as url:
        counts = {run(url, rps=30.0, seconds=0.5, seed=3).report().sent for _ in range(2)}
    assert counts == {15}


def test_wrong_arguments_are_said_at_start() -> None:
    for url, rps, message in (("ftp://x", 1.0, "not an http URL"), ("http://x", 0.0, "rps must be")):
        with pytest.raises(LoadError, match=message):
            Load(url, rps=rps).start()
    with pytest.raises(ValueError, match="seconds"):
        Plan(10, 0)


def test_the_host_header_is_the_one_that_is_wanted() -> None:
    assert b"\r\nhost: checkout.shop\r\n" in Target.of("http://127.0.0.1:1/a?b=c", "checkout.shop").request
    target = Target.of("http://127.0.0.1:81/a?b=c", "")
    assert target.request.startswith(b"GET /a?b=c HTTP/1.1\r\nhost: 127.0.0.1:81\r\n")


def test_the_command_prints_progress_and_a_summary() -> None:
    with server(lambda n: answer() if n % 2 else answer(503, "x-envoy-response-flags: NC\r\n")) as url:
        command = [
            sys.executable,
            "-m",
            "canaryd.sandbox.load",
            "--url",
            url,
            "--rps",
            "50",
            "--seconds",
            "1.2",
        ]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    assert "60 sent in" in done.stdout
    assert "30 x 503 NC" in done.stdout


def test_the_generator_ends_with_its_parent() -> None:
    parent_code = (
        "import sys, time; from canaryd.sandbox.load import Load; load = Load(sys.argv[1]); load.start(); "
        "print(load._process.pid, flush=True); time.sleep(60)"
    )
    with (
        server(lambda _: answer()) as url,
        subprocess.Popen([sys.executable, "-c", parent_code, url], stdout=subprocess.PIPE) as parent,
    ):
        assert parent.stdout is not None
        child = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        deadline = time.monotonic() + 20
        while _runs(child):
            assert time.monotonic() < deadline
            time.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


@given(st.lists(st.floats(0.0002, 4.0), min_size=1, max_size=200))
def test_quantiles_are_right_within_their_buckets(seconds: list[float]) -> None:
    recorder = Recorder()
    for value in seconds:
        recorder.add(Outcome(value, 200, "a", "stable"), 0.0)
    ordered = sorted(seconds)
    tally = recorder.report(1.0).roles["stable"]
    for q, found in ((0.5, tally.p50_ms), (0.9, tally.p90_ms), (0.99, tally.p99_ms)):
        exact = 1000 * ordered[max(0, -(-int(q * 100) * len(ordered) // 100) - 1)]
        assert found == pytest.approx(exact, rel=0.06, abs=0.02)


def test_a_report_survives_its_journey() -> None:
    recorder = Recorder()
    recorder.add(Outcome(0.01, 200, "a", "stable"), 5.5)
    recorder.add(Outcome(0.02, 503, flags="NC"), 6.5)
    report = recorder.report(2.0)
    rows = recorder.new_rows()
    assert decode(encode(report, rows)) == (report, rows)
    assert rows == [LogRow(5, "stable", 200, "", "a", 1), LogRow(6, "none", 503, "NC", "", 1)]
    assert recorder.new_rows() == []
