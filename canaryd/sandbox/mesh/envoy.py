"""One Envoy process: its bootstrap, the files it reads its resources from, and what it says about them."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from urllib.parse import quote

from canaryd.cluster.resources import Json
from canaryd.sandbox import tools
from canaryd.sandbox.mesh.clusters import endpoints_file
from canaryd.sandbox.mesh.listeners import (
    BUCKETS_MS,
    GATEWAY_LISTENER,
    GATEWAY_ROUTES,
    STATS_PREFIX,
    gateway_listener,
)
from canaryd.sandbox.processes import ChildProcess, ProcessError

_SUBSCRIPTIONS = {
    "clusters": "cluster_manager.cds",
    "listeners": "listener_manager.lds",
    "routes": f"http.gateway.rds.{GATEWAY_ROUTES}",
}
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")
_POLL = 0.02


class Envoy:
    """Reads clusters, listeners, routes and endpoints from files in `folder`, which exists and is ours.

    A file is written beside and renamed, which Envoy notices; `publish` returns once Envoy has taken the new
    version, or has refused it.
    """

    def __init__(self, folder: Path, *, port: int = 0, stats_interval: float = 0.5) -> None:
        """port is the outer listener's, 0 for a free one; stats_interval (s): how old a histogram may be."""
        self.folder = folder
        self.endpoints_folder = folder / "endpoints"
        self.port = port
        self.admin_port = 0
        self._stats_interval = stats_interval
        self._versions = dict.fromkeys(_SUBSCRIPTIONS, 0)
        self._rejections = dict.fromkeys(_SUBSCRIPTIONS, 0)
        self._written: dict[Path, str] = {}
        self._admin_file = folder / "admin"
        self._process = ChildProcess("envoy", self._command(), log=folder / "envoy.log")

    def _command(self) -> list[str | Path]:
        return [
            *(tools.envoy(), "-c", self.folder / "bootstrap.json"),
            *("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
            *("--admin-address-path", self._admin_file),
            # How long a removed listener serves what it has begun; its counters go with it.
            *("--drain-time-s", "1", "--drain-strategy", "immediate"),
        ]

    def start(self, timeout: float = 20.0) -> None:
        """Start with what has been published so far. ProcessError, with Envoy's words, where it fails."""
        self.endpoints_folder.mkdir(exist_ok=True)
        self._replace(self.folder / "bootstrap.json", self._bootstrap())
        self._process.start()
        deadline = time.monotonic() + timeout
        self._until(lambda: self._admin_file.exists() and ":" in self._admin_file.read_text(), deadline)
        self.admin_port = int(self._admin_file.read_text().rsplit(":", 1)[1])
        self._until(lambda: self.ask("/ready").startswith("LIVE"), deadline)
        self.port = self._listening_port()

    def stop(self) -> None:
        self._process.stop()

    @property
    def pid(self) -> int:
        return self._process.pid

    def publish(self, kind: str, resources: Iterable[Json]) -> int:
        """Write the whole of "clusters", "listeners" or "routes"; the version to `settle` on.

        Nothing is written where nothing has changed.
        """
        listed = sorted(resources, key=lambda resource: str(resource["name"]))
        path = self.folder / f"{kind}.json"
        text = json.dumps(listed)
        if self._written.get(path) != text:
            self._versions[kind] += 1
            self._replace(path, {"version_info": str(self._versions[kind]), "resources": listed})
            self._written[path] = text
        return self._versions[kind]

    def publish_endpoints(self, cluster: str, endpoints: Json) -> None:
        """Write the endpoints of one cluster. Envoy reads files in the order in which they were written."""
        self.endpoints_folder.mkdir(exist_ok=True)
        path = self.endpoints_folder / endpoints_file(cluster)
        text = json.dumps(endpoints)
        if self._written.get(path) != text:
            self._replace(path, {"resources": [endpoints]})
            self._written[path] = text

    def forget_endpoints(self, cluster: str) -> None:
        """Remove the file of a cluster that is no more."""
        path = self.endpoints_folder / endpoints_file(cluster)
        self._written.pop(path, None)
        path.unlink(missing_ok=True)

    def settle(self, *kinds: str, timeout: float = 5.0) -> str | None:
        """Wait until Envoy uses what was published of these kinds. What it says where it refuses to."""
        deadline = time.monotonic() + timeout
        while True:
            stats = self.stats()
            refused = [kind for kind in _SUBSCRIPTIONS if self._refused(kind, stats)]
            pending = [kind for kind in kinds if not self._current(kind, stats)]
            if not pending and not any(stats.get(gauge, "0") != "0" for gauge in _WARMING):
                return None
            if refused or time.monotonic() > deadline:
                return f"{', '.join(pending) or 'warming'} not taken:\n{self._process.tail(5)}"
            self._process.require_running()
            time.sleep(_POLL)

    def _current(self, kind: str, stats: dict[str, str]) -> bool:
        return stats.get(f"{_SUBSCRIPTIONS[kind]}.version_text") == f'"{self._versions[kind]}"'

    def _refused(self, kind: str, stats: dict[str, str]) -> bool:
        """Has it turned down a version since it was last asked?"""
        before = self._rejections[kind]
        self._rejections[kind] = int(stats.get(f"{_SUBSCRIPTIONS[kind]}.update_rejected", 0))
        return self._rejections[kind] > before

    def stats(self) -> dict[str, str]:
        """Envoy's statistics about its configuration, as it prints them."""
        names = "|".join(re.escape(name) for name in (*_SUBSCRIPTIONS.values(), *_WARMING))
        lines = self.ask("/stats?filter=" + quote(f"^({names})")).splitlines()
        return {name: value for name, _, value in (line.partition(": ") for line in lines)}

    def ask(self, path: str) -> str:
        """The answer of Envoy's admin interface, "" while it does not listen."""
        connection = http.client.HTTPConnection("127.0.0.1", self.admin_port, timeout=5)
        try:
            connection.request("GET", path)
            return connection.getresponse().read().decode()
        except OSError:
            return ""
        finally:
            connection.close()

    def _until(self, true: Callable[[], bool], deadline: float) -> None:
        while not true():
            self._process.require_running()
            if time.monotonic() > deadline:
                raise ProcessError(f"envoy does not come up:\n{self._process.tail()}")
            time.sleep(_POLL)

    def _listening_port(self) -> int:
        for listener in json.loads(self.ask("/listeners?format=json"))["listener_statuses"]:
            if listener["name"] == GATEWAY_LISTENER:
                return int(listener["local_address"]["socket_address"]["port_value"])
        raise ProcessError(f"envoy does not listen:\n{self._process.tail()}")

    def _replace(self, path: Path, content: Json) -> None:
        beside = path.with_name(f".{path.name}.new")
        beside.write_text(json.dumps(content))
        beside.replace(path)

    def _source(self, kind: str) -> Json:
        return {
            "resource_api_version": "V3",
            "path_config_source": {"path": str(self.folder / f"{kind}.json")},
        }

    def _bootstrap(self) -> Json:
        kept = [f"{STATS_PREFIX}.", *(f"{name}." for name in _SUBSCRIPTIONS.values()), *_WARMING]
        buckets = {"match": {"prefix": f"{STATS_PREFIX}."}, "buckets": list(BUCKETS_MS)}
        return {
            "node": {"id": "sandbox", "cluster": "sandbox"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": 0}}},
            "static_resources": {"listeners": [gateway_listener(self.port, self._source("routes"))]},
            "dynamic_resources": {
                "cds_config": self._source("clusters"),
                "lds_config": self._source("listeners"),
            },
            "stats_flush_interval": f"{self._stats_interval:.3f}s",
            "stats_config": {
                "use_all_default_tags": False,
                "stats_matcher": {"inclusion_list": {"patterns": [{"prefix": name} for name in kept]}},
                "histogram_bucket_settings": [buckets],
            },
        }
