"""The reader against a real Prometheus: every request is counted once, whatever the scrapes do."""

from __future__ import annotations

import http.server
import json
import os
import platform
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from analysis import Interval
from analysis.custom import CustomCounts, due
from analysis.custom_queries import CounterQuery, texts
from analysis.errors import PrometheusAnswer, PrometheusDown
from analysis.intervals import Blind, IntervalBuilder, Outcome, Pending, RunQuery
from analysis.prometheus import PrometheusClient, Reader
from analysis.telemetry import WorkloadRef

CANARY, BASELINE = WorkloadRef("shop", "checkout-canary"), WorkloadRef("shop", "checkout")
SCRAPE = 0.5
EDGES = ("25", "100", "+Inf")


def _program() -> str | None:
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "canaryd" / "tools"
    cached = cache / f"prometheus-{platform.machine()}" / "usr" / "bin" / "prometheus"
    return shutil.which("prometheus") or (str(cached) if cached.exists() else None)


pytestmark = pytest.mark.skipif(_program() is None, reason="no prometheus on PATH or in ~/.cache/canaryd")


class Pod:
    """A sidecar's metrics page; counters only grow, until it restarts."""

    def __init__(self, name: str, workload: WorkloadRef) -> None:
        self.name, self.workload = name, workload
        self._lock = threading.Lock()
        self._served: dict[str, int] = {}
        pod = self

        class Page(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                body = pod.page().encode()
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4")
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
        self.target = f"127.0.0.1:{self._server.server_address[1]}"
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def serve(self, code: str, requests: int) -> None:
        with self._lock:
            self._served[code] = self._served.get(code, 0) + requests

    def restart(self) -> None:
        with self._lock:
            self._served.clear()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def page(self) -> str:
        labels = (
            'reporter="destination",request_protocol="http",response_flags="-",'
            f'destination_workload="{self.workload.name}",'
            f'destination_workload_namespace="{self.workload.namespace}"'
        )
        lines = ["# TYPE istio_requests_total counter"]
        with self._lock:
            for code, n in self._served.items():
                lines.append(f'istio_requests_total{{{labels},response_code="{code}"}} {n}')
                for share, le in zip((2, 1, 1), EDGES, strict=True):
                    name = "istio_request_duration_milliseconds_bucket"
                    lines.append(f'{name}{{{labels},response_code="{code}",le="{le}"}} {n // share}')
        return "\n".join(lines) + "\n"


@pytest.fixture(scope="module")
def pods() -> Iterator[dict[str, Pod]]:
    made = [Pod("checkout-canary-0", CANARY), Pod("checkout-0", BASELINE), Pod("checkout-1", BASELINE)]
    yield {pod.name: pod for pod in made}
    for pod in made:
        pod.stop()


@pytest.fixture(scope="module")
def url(pods: dict[str, Pod], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("prometheus")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    targets = [{"targets": [pod.target], "labels": {"pod": pod.name}} for pod in pods.values()]
    job = {"job_name": "pods", "scrape_interval": f"{round(SCRAPE * 1000)}ms", "static_configs": targets}
    job["scrape_timeout"] = job["scrape_interval"]
    (folder / "prometheus.yml").write_text(json.dumps({"scrape_configs": [job]}))
    program = _program()
    assert program is not None
    with subprocess.Popen(
        [
            program,
            f"--config.file={folder / 'prometheus.yml'}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--log.level=warn",
        ]
    ) as process:
        yield f"http://127.0.0.1:{port}"
        process.terminate()


@pytest.fixture(scope="module")
def client(url: str, pods: dict[str, Pod]) -> Iterator[PrometheusClient]:
    """Asks a Prometheus that has scraped every pod."""
    for pod in pods.values():
        pod.serve("200", 0)
    client = PrometheusClient(url)
    _until(lambda: _scraped(client) == len(pods))
    yield client
    client.close()


def _scraped(client: PrometheusClient) -> int:
    try:
        return len(client.matrix('istio_requests_total{reporter="destination"}[10s]', time.time()))
    except PrometheusDown:
        return 0


def _until(done: Callable[[], bool], patience: float = 60.0) -> None:
    deadline = time.monotonic() + patience
    while not done():
        assert time.monotonic() < deadline, "gave up waiting"
        time.sleep(0.1)


class Run:
    """Ticks until the counts have come, and adds them up."""

    def __init__(self, client: PrometheusClient) -> None:
        self.builder = IntervalBuilder(Reader(client))
        self.seen: dict[str, tuple[int, int, int]] = {}  # pod -> requests, errors, in the histogram

    def tick(self) -> Outcome:
        query = RunQuery("run", CANARY, BASELINE, 0.1, settled_since=0.0)
        outcome = self.builder.tick([query], time.time())["run"]
        if isinstance(outcome, Interval):
            for pod, counts in [*outcome.canary.items(), *outcome.baseline.items()]:
                before = self.seen.get(pod, (0, 0, 0))
                added = (counts.requests, counts.errors, sum(counts.latency))
                self.seen[pod] = tuple(a + b for a, b in zip(before, added, strict=True))  # type: ignore[assignment]
        return outcome

    def base_line(self) -> None:
        outcome = self.tick()
        assert isinstance(outcome, Pending), outcome
        assert outcome.reason == "BaseLine"

    def until(self, wanted: dict[str, tuple[int, int, int]]) -> None:
        def done() -> bool:
            self.tick()
            return {pod: seen for pod, seen in self.seen.items() if any(seen)} == wanted

        _until(done, patience=20.0)


def test_every_request_is_counted_once(client: PrometheusClient, pods: dict[str, Pod]) -> None:
    run = Run(client)
    run.base_line()
    for _ in range(15):
        pods["checkout-canary-0"].serve("200", 7)
        pods["checkout-canary-0"].serve("503", 1)  # a series that appears while the pod is known
        pods["checkout-0"].serve("200", 40)
        pods["checkout-1"].serve("404", 2)
        run.tick()
        time.sleep(0.13)
    run.until(
        {
            "checkout-canary-0": (120, 15, 105),
            "checkout-0": (600, 0, 600),
            "checkout-1": (30, 0, 30),
        }
    )


def test_a_restart_costs_a_pod_one_span_and_the_others_nothing(
    client: PrometheusClient, pods: dict[str, Pod]
) -> None:
    pods["checkout-0"].serve("200", 50)
    time.sleep(3 * SCRAPE)
    run = Run(client)
    run.base_line()
    pods["checkout-0"].restart()
    pods["checkout-0"].serve("200", 11)
    pods["checkout-1"].serve("404", 2)
    run.until({"checkout-1": (2, 0, 2)})
    time.sleep(3 * SCRAPE)
    run.tick()
    pods["checkout-0"].serve("200", 3)
    run.until({"checkout-0": (3, 0, 3), "checkout-1": (2, 0, 2)})


def test_a_custom_metric_counts_what_requests_do(client: PrometheusClient, pods: dict[str, Pod]) -> None:
    """Not found, of all requests: the same counters, asked for as an instant vector per arm."""

    def counter(arm: WorkloadRef, code: str) -> str:
        return f'sum by (pod) (istio_requests_total{{destination_workload="{arm.name}",response_code=~"{code}"}})'

    arms = (CANARY, BASELINE)
    query = CounterQuery(
        "missing",
        bad=(counter(CANARY, "404"), counter(BASELINE, "404")),
        total=(counter(CANARY, ".*"), counter(BASELINE, ".*")),
    )
    run = RunQuery("run", *arms, 0.1, settled_since=0.0, custom=(query,))
    builder, counts = IntervalBuilder(Reader(client)), CustomCounts()
    seen: dict[str, list[int]] = {}

    def tick() -> None:
        at = time.time()
        outcome = builder.tick([run], at)["run"]
        if not due(outcome):
            return
        taken = counts.take(run, outcome, client.vectors(texts(run.custom), at), at).outcome
        if isinstance(taken, Interval) and "missing" in taken.custom:
            missing = taken.custom["missing"]
            for pod, one in [*missing.canary.items(), *missing.baseline.items()]:
                total = seen.setdefault(pod, [0, 0])
                seen[pod] = [total[0] + one.requests, total[1] + one.errors]

    time.sleep(3 * SCRAPE)
    tick()
    for _ in range(8):
        pods["checkout-canary-0"].serve("200", 7)
        pods["checkout-canary-0"].serve("404", 2)
        pods["checkout-0"].serve("200", 40)
        pods["checkout-1"].serve("404", 1)
        tick()
        time.sleep(0.17)

    def done() -> bool:
        pods["checkout-canary-0"].serve("200", 1)  # an arm that has nothing new is waited for
        pods["checkout-0"].serve("200", 1)
        tick()
        return {pod: bad for pod, (_, bad) in seen.items()} == {
            "checkout-canary-0": 16,
            "checkout-0": 0,
            "checkout-1": 8,
        }

    _until(done, patience=20.0)
    assert seen["checkout-1"] == [8, 8]


def test_a_page_that_is_no_api_is_named(url: str, client: PrometheusClient) -> None:
    with pytest.raises((PrometheusAnswer, PrometheusDown), match=r"(HTML|not JSON)") as caught:
        PrometheusClient(f"{url}/graph").matrix("up[10s]", time.time())
    assert "up[10s]" in str(caught.value)
    with pytest.raises(PrometheusAnswer, match="parse error"):
        client.matrix("up{", time.time())
    with pytest.raises(PrometheusAnswer, match="vector"):
        client.matrix("up", time.time())


def test_nobody_there_is_blindness() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        dead = f"http://127.0.0.1:{probe.getsockname()[1]}"
    outcome = Run(PrometheusClient(dead)).tick()
    assert isinstance(outcome, Blind)
    assert outcome.reason == "PrometheusDown"
    assert dead in outcome.because
