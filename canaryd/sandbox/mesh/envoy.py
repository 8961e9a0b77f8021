"""One Envoy process: its bootstrap, the files it reads its resources from, and what it says about them."""

from __future__ import annotations

import http.client
import json
import re
import time
from collections.abc import Iterable
from pathlib import Path
from urllib.parse import quote

from canaryd.cluster.resources import Json
from canaryd.sandbox import tools
from canaryd.sandbox.mesh.clusters import endpoints_file
from canaryd.sandbox.mesh.listeners import (
    BUCKETS_MS,
    GATEWAY_ROUTES,
    STATS_PREFIX,
    gateway_listener,
)
from canaryd.sandbox.processes import ChildProcess, ProcessError, free_port

_SUBSCRIPTIONS = {
    "clusters": "cluster_manager.cds",
    "listeners": "listener_manager.lds",
    "routes": f"http.gateway.rds.{GATEWAY_ROUTES}",
}
_WARMING = ("cluster_manager.warming_clusters", "listener_manager.total_listeners_warming")
_VERSION = ".version_text"
_POLL = 0.01
_CONNECTION_LIMIT = {
    "name": "envoy.resource_monitors.global_downstream_max_connections",
    "typed_config": {
        "@type": "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3"
        ".DownstreamConnectionsConfig",
        "max_active_downstream_connections": 100_000,
    },
}


class Envoy:
    """Reads clusters, listeners, routes and endpoints from files in `folder`, which exists and is ours.

    A file is written beside and renamed, which Envoy notices. It notices several files in any order, so what
    depends on another file is written after a `settle`.
    """

    def __init__(self, folder: Path, *, port: int = 0, stats_interval: float = 0.5) -> None:
        """port is the outer listener's, 0 for a free one; stats_interval (s): how old a histogram may be."""
        self.folder = folder
        self.endpoints_folder = folder / "endpoints"
        self.port = port or free_port()
        self.admin_port = free_port()
        self._stats_interval = stats_interval
        self._versions = dict.fromkeys(_SUBSCRIPTIONS, 0)
        self._rejections = dict.fromkeys(_SUBSCRIPTIONS, 0)
        self._endpoint_versions = 0
        self._written: dict[Path, str] = {}
        self._awaited: dict[str, int] = {}
        self._process = ChildProcess("envoy", self._command(), log=folder / "envoy.log")

    def _command(self) -> list[str | Path]:
        return [
            *(tools.envoy(), "-c", self.folder / "bootstrap.json"),
            *("--disable-hot-restart", "--concurrency", "1", "--log-level", "warning"),
            # How long a removed listener serves what it has begun; its counters go with it.
            *("--drain-time-s", "1", "--drain-strategy", "immediate"),
        ]

    def start(self, timeout: float = 20.0) -> None:
        """Start with what has been published so far. ProcessError, with Envoy's words, where it fails."""
        self.endpoints_folder.mkdir(exist_ok=True)
        self._replace(self.folder / "bootstrap.json", self._bootstrap())
        self._process.start()
        deadline = time.monotonic() + timeout
        while not self.ask("/ready").startswith("LIVE"):
            self._process.require_running()
            if time.monotonic() > deadline:
                raise ProcessError(f"envoy does not come up:\n{self._process.tail()}")
            time.sleep(_POLL)

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
        """Write the endpoints of one cluster; nothing is written where nothing has changed."""
        self.endpoints_folder.mkdir(exist_ok=True)
        path = self.endpoints_folder / endpoints_file(cluster)
        text = json.dumps(endpoints)
        if self._written.get(path) != text:
            self._endpoint_versions += 1
            self._awaited[cluster] = self._endpoint_versions
            self._replace(path, {"version_info": str(self._endpoint_versions), "resources": [endpoints]})
            self._written[path] = text

    def forget_endpoints(self, cluster: str) -> None:
        """Remove the file of a cluster that is no more."""
        path = self.endpoints_folder / endpoints_file(cluster)
        self._written.pop(path, None)
        self._awaited.pop(cluster, None)
        path.unlink(missing_ok=True)

    def settle(self, *kinds: str, timeout: float = 5.0) -> str | None:
        """Wait until Envoy uses what was published of these kinds, and all endpoints of its clusters.

        Gives back what Envoy says where it refuses to.
        """
        deadline = time.monotonic() + timeout
        while True:
            stats = self.stats()
            refused = [kind for kind in _SUBSCRIPTIONS if self._refused(kind, stats)]
            pending = [kind for kind in kinds if not self._current(kind, stats)] + self._stale(stats)
            if not pending and not any(stats.get(gauge, "0") != "0" for gauge in _WARMING):
                return None
            if refused or time.monotonic() > deadline:
                return f"{', '.join(pending) or 'warming'} not taken:\n{self._process.tail(5)}"
            self._process.require_running()
            time.sleep(_POLL)

    def _current(self, kind: str, stats: dict[str, str]) -> bool:
        return stats.get(f"{_SUBSCRIPTIONS[kind]}.version_text") == f'"{self._versions[kind]}"'

    def _stale(self, stats: dict[str, str]) -> list[str]:
        """The clusters that Envoy has, but not with the endpoints that were published last."""
        for cluster, version in list(self._awaited.items()):
            if stats.get(f"cluster.{cluster}.version_text") == f'"{version}"':
                del self._awaited[cluster]
        return [name for name in self._awaited if f"cluster.{name}.version_text" in stats]

    def _refused(self, kind: str, stats: dict[str, str]) -> bool:
        """Has it turned down a version since it was last asked?"""
        before = self._rejections[kind]
        self._rejections[kind] = int(stats.get(f"{_SUBSCRIPTIONS[kind]}.update_rejected", 0))
        return self._rejections[kind] > before

    def stats(self) -> dict[str, str]:
        """Envoy's statistics about its configuration, as it prints them."""
        names = "|".join(re.escape(name) for name in (*_SUBSCRIPTIONS.values(), *_WARMING))
        lines = self.ask("/stats?filter=" + quote(f"^({names})|{re.escape(_VERSION)}$")).splitlines()
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
        patterns = [*({"prefix": name} for name in kept), {"suffix": _VERSION}]
        buckets = {"match": {"prefix": f"{STATS_PREFIX}."}, "buckets": list(BUCKETS_MS)}
        return {
            "node": {"id": "sandbox", "cluster": "sandbox"},
            "admin": {"address": {"socket_address": {"address": "127.0.0.1", "port_value": self.admin_port}}},
            "static_resources": {"listeners": [gateway_listener(self.port, self._source("routes"))]},
            "dynamic_resources": {
                "cds_config": self._source("clusters"),
                "lds_config": self._source("listeners"),
            },
            # Without a limit Envoy warns of its absence at each start.
            "overload_manager": {"resource_monitors": [_CONNECTION_LIMIT]},
            "stats_flush_interval": f"{self._stats_interval:.3f}s",
            "stats_config": {
                "use_all_default_tags": False,
                "stats_matcher": {"inclusion_list": {"patterns": patterns}},
                "histogram_bucket_settings": [buckets],
            },
        }
