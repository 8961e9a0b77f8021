"""The sandbox: a cluster in a box, on loopback and free ports, gone without a trace when it stops."""

from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import yaml

from canaryd.cluster.transport import Api
from canaryd.sandbox import crds
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.controllers.controllers import Controllers
from canaryd.sandbox.mesh.server import Mesh
from canaryd.sandbox.node.node import Node
from canaryd.sandbox.oracle import Oracle
from canaryd.sandbox.processes import ChildProcess
from canaryd.sandbox.prometheus import Prometheus
from canaryd.sandbox.scratch import Scratch

Report = Callable[[str], None]


class Sandbox:
    """API server, controllers, node, mesh and Prometheus.

    propagation: seconds that the mesh takes to follow a change; scrape: seconds between two scrapes;
    max_pods: capacity of the node; client_namespace: where users inside the mesh are. `report` hears of each part as it is ready.
    """

    def __init__(
        self,
        *,
        propagation: float = 0.5,
        scrape: float = 1.0,
        max_pods: int = 64,
        client_namespace: str = "shop",
        report: Report = lambda _: None,
    ) -> None:
        self.propagation = propagation
        self.scrape = scrape
        self.oracle = Oracle(drain=propagation)
        self._report = report
        self._max_pods = max_pods
        self._client_namespace = client_namespace
        self._stack = contextlib.ExitStack()
        self.folder: Path
        self.kubeconfig: Path
        self.apiserver: ApiServer
        self.api: Api
        self.node: Node
        self.mesh: Mesh
        self.prometheus: Prometheus

    def start(self) -> Self:
        """All but Prometheus is ready when this returns; whatever had started is stopped when it raises.

        Prometheus scrapes some five seconds later: see its `wait_ready`.
        """
        try:
            self._start()
        except BaseException:
            self.stop()
            raise
        return self

    def _start(self) -> None:
        began = time.monotonic()
        scratch = Scratch("canaryd-sandbox-")
        self._stack.callback(scratch.close)
        self.folder = scratch.path
        self.apiserver = ApiServer()
        self.apiserver.on_write(self.oracle.see)
        self._stack.callback(self.apiserver.stop)
        self.apiserver.start()
        self.kubeconfig = self.apiserver.kubeconfig(self.folder / "kubeconfig")
        self.api = Api.connect(str(self.kubeconfig), user_agent="sandbox", pool=48)
        self._stack.callback(self.api.close)
        crds.install(self.api, [crds.canaryrun(), *crds.istio()])
        self._report("API server")
        controllers = Controllers(self.api)
        controllers.start()
        self._stack.callback(controllers.stop)
        self.node = Node(self.api, max_pods=self._max_pods)
        self.node.start()
        self._stack.callback(self.node.stop)
        self.apiserver.set_log_provider(
            lambda namespace, pod, container, previous, tail: self.node.logs(
                namespace, pod, container, previous=previous, tail=tail
            )
        )
        self._report("controllers and a node")
        self.mesh = Mesh(self.api, propagation=self.propagation, client_namespace=self._client_namespace)
        self._stack.callback(self.mesh.stop)
        # Before the mesh: it takes seconds until it scrapes, whatever there is to scrape.
        self.prometheus = Prometheus([self.mesh.admin], interval=self.scrape)
        self._stack.callback(self.prometheus.stop)
        self.prometheus.start()
        self.mesh.start()
        self._report(f"Envoy at {self.mesh.url}")
        self._report(f"Prometheus at {self.prometheus.url}")
        self._report(f"ready after {time.monotonic() - began:.1f} s")

    def stop(self) -> None:
        """End everything, in reverse order."""
        self._stack.close()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def daemon(
        self, policies: Mapping[str, Mapping[str, object]], default: str, *, prometheus: str = ""
    ) -> ChildProcess:
        """canaryd as a process of its own against this cluster; not started yet. Its log is daemon.log.

        prometheus: a URL instead of the sandbox's own.
        """
        settings = {
            "prometheus": {
                "url": prometheus or self.prometheus.url,
                "scrape-interval": self.scrape,
                "timeout": "2s",
            },
            "listen": {"probes": "off"},
            "tick": max(self.scrape, 0.5),
            "settle": self.propagation + 0.5,
            "default-policy": default,
            "policies": {name: dict(policy) for name, policy in policies.items()},
            "log": {"format": "json"},
        }
        file = self.folder / "canaryd.yaml"
        file.write_text(yaml.safe_dump(settings, sort_keys=False))
        command = [
            sys.executable,
            "-m",
            "canaryd",
            "run",
            "--config",
            str(file),
            "--kubeconfig",
            str(self.kubeconfig),
        ]
        return ChildProcess("canaryd", command, log=self.folder / "daemon.log")
