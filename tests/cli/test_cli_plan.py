"""`canaryd plan`: what it prints at which width, how it ends, and a Deployment's traffic from Prometheus."""

from __future__ import annotations

import http.server
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
import yaml
from click.testing import CliRunner, Result

from canaryd.cli.plan import plan

NAMED = ("--rps", "100", "--error-rate", "1%")


def run(*arguments: str, columns: int = 80, env: dict[str, str] | None = None) -> Result:
    runner = CliRunner(env={"COLUMNS": str(columns), "CANARYD_CONFIG": "", **(env or {})})
    return runner.invoke(plan, list(arguments))


@pytest.mark.parametrize("columns", [80, 120])
@pytest.mark.parametrize("rps", ["0.5", "100", "20000"])
def test_every_line_fits_the_terminal_and_nothing_is_cut(columns: int, rps: str) -> None:
    result = run("--rps", rps, "--error-rate", "0.05%", columns=columns)
    assert result.exit_code in (0, 1), result.output
    assert max(map(len, result.stdout.splitlines())) <= columns
    assert "…" not in result.stdout
    for weight in ("1 %", "2 %", "5 %", "10 %", "25 %", "50 %", "100 %"):
        assert any(line.strip().startswith(weight) for line in result.stdout.splitlines()), weight


def test_a_policy_that_decides_ends_with_0_and_says_when() -> None:
    result = run(*NAMED)
    assert result.exit_code == 0, result.output
    assert "100 requests/s, 1 % errors, latency p50 60 ms, p99 400 ms" in result.stdout
    assert "A harmless release rolls out after " in result.stdout
    assert "here an error rate above 1.2 %" in result.stdout
    for heading in ("1.5 x (1.5 %)", "2 x (2 %)", "5 x (5 %)", "10 x (10 %)"):
        assert heading in result.stdout


def test_a_policy_that_cannot_decide_ends_with_1_and_says_what_to_change() -> None:
    result = run("--rps", "1", "--error-rate", "0.001")
    assert result.exit_code == 1
    text = " ".join(result.stdout.split())
    assert "The policy does not decide at this traffic" in text
    assert "missing is safety of errors" in text
    changes = text.partition("What to change, each alone:")[2]
    for change in (
        "--set safe-error-ratio=2 safe-error-delta=0.005",
        "--set deadline=",
        "requests/s: rolls out",
    ):
        assert change.replace("2 safe", "2 --set safe") in changes


def test_the_change_that_is_named_makes_it_decide() -> None:
    document = json.loads(run("--rps", "1", "--error-rate", "0.001", "-o", "json").stdout)
    (sets,) = (change["set"] for change in document["changes"] if "deadline" in change["set"])
    assert not document["decides"]
    flags = [flag for key, value in sets.items() for flag in ("--set", f"{key}={value}")]
    assert run("--rps", "1", "--error-rate", "0.001", *flags).exit_code == 0


def test_json_has_the_plan_in_seconds_and_shares() -> None:
    document = json.loads(run(*NAMED, "--policy", "fast", "-o", "json").stdout)
    assert (document["policy"], document["decides"], document["source"]) == ("fast", True, None)
    assert document["traffic"]["rps"] == 100
    assert [step["weight"] for step in document["plan"]["steps"]] == [0.05, 0.25, 0.5, 1.0]
    assert document["plan"]["promotion"]["seconds"] < 1200
    assert [fault["lift"] for fault in document["plan"]["faults"]] == [1.5, 2, 5, 10]
    assert document["changes"] == []


def test_a_policy_of_the_file_and_keys_of_the_command_line_are_used(tmp_path: Path) -> None:
    file = tmp_path / "canaryd.yaml"
    file.write_text("policies: {payments: {extends: cautious, steps: [1, 10, 50, 100]}}\n")
    arguments = (*NAMED, "--policy", "payments", "--config", str(file), "--set", "step-min=2m", "-o", "json")
    document = json.loads(run(*arguments).stdout)
    assert [step["weight"] for step in document["plan"]["steps"]] == [0.01, 0.1, 0.5, 1.0]
    assert document["plan"]["steps"][0]["seconds"] >= 120


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "name the traffic by --rps and --error-rate, or a Deployment as deployment/NAME"),
        (["--rps", "10"], "name the traffic by --rps and --error-rate"),
        (["--rps", "0", "--error-rate", "0.1"], '--rps: "0" is not allowed; allowed is a number from 0.001'),
        (["--rps", "many", "--error-rate", "0"], '--rps: "many" is not allowed'),
        (["--rps", "1", "--error-rate", "60%"], '"60%" is not allowed; allowed is a share from 0 to 0.5'),
        (["--rps", "1", "--error-rate", "-1"], "allowed is a share from 0 to 0.5, such as 0.002 or 0.2%"),
        ([*NAMED, "--p50", "soon"], '--p50: "soon" is not allowed; allowed is a duration'),
        ([*NAMED, "--p50", "1s"], "--p99: it must be above --p50, the median, which is 1s"),
        ([*NAMED, "--policy", "fsat"], 'there is no policy "fsat"; there are cautious, fast, standard'),
        ([*NAMED, "--set", "steps=5,1"], '--set: steps: "5,1" is not allowed'),
        ([*NAMED, "--set", "deadline=5m"], "--set: deadline must be above min-judged"),
        (["checkout"], '"checkout" is not allowed; allowed is deployment/NAME'),
        (["service/checkout"], '"service/checkout" is not allowed; allowed is deployment/NAME'),
        (["deployment/checkout", "--rps", "5"], "--rps: not together with a Deployment"),
        (["deployment/checkout", "--window", "1s"], '--window: "1s" is not allowed'),
        (["deployment/checkout", "--prometheus", "nowhere"], "prometheus.url"),
    ],
)
def test_wrong_usage_ends_with_2_and_names_value_and_what_is_allowed(
    arguments: list[str], message: str
) -> None:
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.stderr


@dataclass
class Place:
    """A cluster and its Prometheus, on one port: counters that grow at a constant rate, scraped every 15 s."""

    annotations: dict[str, str] = field(default_factory=dict)
    pods: dict[str, float] = field(
        default_factory=lambda: {"checkout-1": 20.0, "checkout-2": 10.0}
    )  # requests/s
    age: float = 86400.0
    prometheus: int = 200  # the status of its answers
    kubeconfig: Path = Path()
    url: str = ""

    def answer(self, path: str, form: dict[str, str]) -> tuple[int, dict[str, Any]]:
        if path == "/api/v1/query":
            return self.prometheus, self._matrix(form["query"], float(form["time"]))
        if path == "/apis/apps/v1/namespaces/shop/deployments/checkout":
            return 200, self._deployment()
        if path == "/api/v1/namespaces/shop/pods":
            return 200, self._pods()
        return 404, {
            "kind": "Status",
            "status": "Failure",
            "reason": "NotFound",
            "message": "not found",
            "code": 404,
        }

    def _deployment(self) -> dict[str, Any]:
        meta = {"name": "checkout", "namespace": "shop", "uid": "u", "annotations": self.annotations}
        return {
            "kind": "Deployment",
            "metadata": meta,
            "spec": {"selector": {"matchLabels": {"app": "checkout"}}},
        }

    def _pods(self) -> dict[str, Any]:
        born = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() - self.age))
        pods = [{"metadata": {"name": name, "creationTimestamp": born}} for name in self.pods]
        return {"kind": "List", "metadata": {"resourceVersion": "1"}, "items": pods}

    def _matrix(self, query: str, at: float) -> dict[str, Any]:
        begin = time.time() - self.age
        scrapes = [
            t for t in (15.0 * k for k in range(int((at - 120) // 15) + 1, int(at // 15) + 1)) if t > begin
        ]
        series: list[dict[str, Any]] = []
        for pod, rps in self.pods.items():
            labels: dict[str, str] = {
                "pod": pod,
                "instance": pod,
                "destination_workload": "checkout",
                "destination_workload_namespace": "shop",
                "response_flags": "-",
            }
            shares: list[tuple[dict[str, str], float]]
            if query.startswith("istio_requests_total"):
                shares = [({"response_code": "200"}, 0.98), ({"response_code": "503"}, 0.02)]
            else:
                shares = [
                    ({"response_code": "200", "le": le}, share * 0.98)
                    for le, share in (("100", 0.5), ("500", 0.96), ("+Inf", 1.0))
                ]
            for extra, share in shares:
                values = [[t, str(round(rps * share * (t - begin)))] for t in scrapes]
                if values:
                    series.append({"metric": {**labels, **extra}, "values": values})
        return {"status": "success", "data": {"resultType": "matrix", "result": series}}


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    there = Place()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0))).decode()
            status, answer = there.answer(
                urlsplit(self.path).path, {name: values[0] for name, values in parse_qs(body).items()}
            )
            text = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        do_POST = do_GET  # noqa: N815  the base class names it so

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        there.url = f"http://127.0.0.1:{server.server_address[1]}"
        there.kubeconfig = tmp_path / "kubeconfig"
        there.kubeconfig.write_text(
            yaml.safe_dump(
                {
                    "current-context": "here",
                    "contexts": [{"name": "here", "context": {"cluster": "here", "user": "me"}}],
                    "clusters": [{"name": "here", "cluster": {"server": there.url}}],
                    "users": [{"name": "me", "user": {"token": "t"}}],
                }
            )
        )
        yield there
        server.shutdown()


def look(place: Place, *arguments: str, name: str = "checkout") -> Result:
    flags = ("--kubeconfig", str(place.kubeconfig), "--prometheus", place.url)
    return run(f"deployment/{name}", "-n", "shop", *flags, *arguments)


def test_a_deployments_traffic_comes_from_prometheus(place: Place) -> None:
    document = json.loads(look(place, "-o", "json").stdout)
    assert document["traffic"]["rps"] == pytest.approx(30, rel=0.01)
    assert document["traffic"]["error_rate"] == pytest.approx(0.02, rel=0.02)
    assert document["traffic"]["edges"] == [0.1, 0.5]
    assert document["traffic"]["slower"] == pytest.approx([0.5, 0.04], abs=0.01)
    assert (document["source"], document["policy"]) == ("shop/checkout, the last 1h, 2 pods", "standard")
    text = look(place).stdout
    assert "shop/checkout, the last 1h, 2 pods" in text
    assert "30 requests/s, 2 % errors, latency p50 100 ms" in text


def test_pods_younger_than_the_window_count_from_their_birth(place: Place) -> None:
    place.age = 600.0
    document = json.loads(look(place, "-o", "json").stdout)
    assert document["traffic"]["rps"] == pytest.approx(30, rel=0.05)


def test_the_deployments_policy_is_planned_also_before_it_is_enabled(place: Place) -> None:
    place.annotations = {"canaryd.io/policy": "fast", "canaryd.io/steps": "10,50,100"}
    document = json.loads(look(place, "-o", "json").stdout)
    assert document["policy"] == "fast"
    assert [step["weight"] for step in document["plan"]["steps"]] == [0.1, 0.5, 1.0]
    document = json.loads(look(place, "--policy", "standard", "-o", "json").stdout)
    assert document["policy"] == "standard"


def test_annotations_that_cannot_be_used_end_with_2(place: Place) -> None:
    place.annotations = {"canaryd.io/step-min": "soon"}
    result = look(place)
    assert result.exit_code == 2
    assert 'canaryd.io/step-min: "soon" is not allowed; allowed is a duration' in result.stderr


def test_what_cannot_be_looked_up_ends_with_1_and_says_why(place: Place) -> None:
    missing = look(place, name="chekcout")
    assert (missing.exit_code, "deployments.apps shop/chekcout" in missing.stderr) == (1, True)
    place.prometheus = 503
    down = look(place)
    assert (down.exit_code, "HTTP 503" in down.stderr) == (1, True)
    place.prometheus, place.pods = 200, {"checkout-1": 0.0}
    idle = look(place)
    assert (idle.exit_code, "served no requests in the last" in idle.stderr) == (1, True)
