"""A real Prometheus that scrapes the sandbox's Envoy and shows it as Istio's metrics.

Stored are exactly istio_requests_total and istio_request_duration_milliseconds_{bucket,sum,count}, with
the labels reporter, destination_workload, destination_workload_namespace, destination_service_name,
request_protocol, response_code, response_flags, and pod and namespace where the reporter is the destination.
Series of a pod that is gone go stale with the next scrape.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType

import requests

from canaryd.cluster.resources import Json
from canaryd.sandbox import tools
from canaryd.sandbox.processes import ChildProcess, ProcessError, free_port
from canaryd.sandbox.scratch import Scratch

_ASK_TIMEOUT = 5.0
_POLL = 0.05
# One label at a time: an empty value means that no pod was reached, which Istio calls unknown.
_UNKNOWN_IF_EMPTY = (
    "destination_workload",
    "destination_workload_namespace",
    "destination_service_name",
)


class Prometheus:
    """One Prometheus on loopback. `with Prometheus([mesh.admin]) as prometheus:` and ask prometheus.url.

    targets are host:port of Envoys' admin interfaces; interval (seconds) is how often they are scraped.
    """

    def __init__(self, targets: Sequence[str], *, interval: float = 1.0, port: int = 0) -> None:
        self.targets = tuple(targets)
        self.interval = interval
        self.port = port or free_port()
        self._folder = Scratch("canaryd-prometheus-")
        self._process: ChildProcess | None = None
        self._session = requests.Session()
        # A proxy of the environment does not know our loopback.
        self._session.trust_env = False

    @property
    def folder(self) -> Path:
        """Where its data and its log are; gone after `stop`."""
        return self._folder.path

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def pid(self) -> int:
        """RuntimeError while it does not run."""
        if self._process is None:
            raise RuntimeError("prometheus has not been started")
        return self._process.pid

    def start(self) -> None:
        """Start it, or start it again after `halt`, with what it had stored. ToolError, ProcessError.

        It is not ready yet: see `wait_ready`.
        """
        # JSON is YAML.
        self._config_file.write_text(json.dumps(self.config(), indent=1))
        self._process = ChildProcess(
            "prometheus",
            [
                tools.obtain("prometheus"),
                f"--config.file={self._config_file}",
                f"--storage.tsdb.path={self.folder / 'data'}",
                f"--web.listen-address=127.0.0.1:{self.port}",
                "--storage.tsdb.retention.time=1d",
                "--log.level=warn",
            ],
            log=self.folder / "prometheus.log",
        )
        self._process.start()

    def halt(self) -> None:
        """End it for a while: an outage. What it has stored stays, and so does its port."""
        if self._process is not None:
            self._process.stop()

    def stop(self) -> None:
        """End it and remove every file."""
        self.halt()
        self._session.close()
        self._folder.close()

    def wait_ready(self, timeout: float = 30.0) -> None:
        """Returns when it answers queries and has scraped every target. ProcessError, TimeoutError.

        That takes 6 s from the start: Prometheus looks for targets every 5 s, and not at once. So start it
        before the Envoys.
        """
        deadline = time.monotonic() + timeout
        while not self._has_scraped():
            if self._process is None:
                raise ProcessError("prometheus has not been started")
            self._process.require_running()
            if time.monotonic() > deadline:
                raise TimeoutError(f"prometheus is not ready after {timeout:g} s:\n{self._process.tail()}")
            time.sleep(_POLL)

    def query(self, promql: str) -> list[tuple[dict[str, str], float]]:
        """The series of an instant query with their values. requests.RequestException, ValueError."""
        answer = self._session.get(f"{self.url}/api/v1/query", params={"query": promql}, timeout=_ASK_TIMEOUT)
        answer.raise_for_status()
        return [(series["metric"], float(series["value"][1])) for series in answer.json()["data"]["result"]]

    def config(self) -> Json:
        """What it is told to do."""
        scrape = {
            "job_name": "mesh",
            "metrics_path": "/stats/prometheus",
            "params": {"filter": ["^istio\\."]},
            "static_configs": [{"targets": list(self.targets)}],
            "metric_relabel_configs": _relabelling(),
        }
        return {
            "global": {
                "scrape_interval": _duration(self.interval),
                "scrape_timeout": _duration(self.interval),
            },
            "scrape_configs": [scrape],
        }

    @property
    def _config_file(self) -> Path:
        return self.folder / "prometheus.yml"

    def _has_scraped(self) -> bool:
        try:
            return self._is_ours() and sum(value for _, value in self.query("up")) == len(self.targets)
        except (requests.RequestException, ValueError):
            return False

    def _is_ours(self) -> bool:
        """Another Prometheus may answer on a port that ours could not get."""
        flags = self._session.get(f"{self.url}/api/v1/status/flags", timeout=_ASK_TIMEOUT).json()
        return bool(flags["data"]["config.file"] == str(self._config_file))

    def __enter__(self) -> Prometheus:
        try:
            self.start()
            self.wait_ready()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()


def _relabelling() -> list[Json]:
    wanted = "envoy_(istio_requests_total|istio_request_duration_milliseconds_(?:bucket|sum|count))"
    return [
        {"action": "keep", "source_labels": ["__name__"], "regex": wanted},
        {"source_labels": ["__name__"], "regex": wanted, "target_label": "__name__", "replacement": "$1"},
        *(
            {"source_labels": [label], "regex": "^$", "target_label": label, "replacement": "unknown"}
            for label in _UNKNOWN_IF_EMPTY
        ),
        # They would name our Envoy, which stands for many sidecars.
        {"action": "labeldrop", "regex": "instance|job"},
    ]


def _duration(seconds: float) -> str:
    return f"{round(seconds * 1000)}ms"
