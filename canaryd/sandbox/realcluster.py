"""A real control plane on loopback: etcd, kube-apiserver, kube-controller-manager.

What the sandbox's own API server promises is only worth something if the real one promises the same. The
contract tests run against both; this module starts the real one. There is no kubelet: whoever plays the node
patches the status of pods.

The binaries come from `KUBEBUILDER_ASSETS` (envtest's layout), else from the cache that
`python -m canaryd.sandbox.realcluster_build` fills.
"""

from __future__ import annotations

import http.client
import json
import os
import platform
import secrets
import ssl
import time
import uuid
from collections.abc import Callable, Collection
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from canaryd.sandbox import realcluster_commands as commands
from canaryd.sandbox.processes import ChildProcess, ProcessError, free_port
from canaryd.sandbox.realcluster_binaries import Binaries, available, locate
from canaryd.sandbox.scratch import Scratch

__all__ = ["CONTROLLERS", "RealCluster", "RealClusterError", "available", "without_cel"]

CONTROLLERS = ("deployment", "replicaset", "garbagecollector", "namespace", "endpoint")
SCRATCH_PREFIX = "canaryd-real-"

_START_ATTEMPTS = 3  # another process may take a port between our looking and the server's binding
_CEL_SINCE_MINOR = 25


class RealClusterError(RuntimeError):
    """The control plane could not be started or does not answer; the message has a server's last lines."""


def without_cel(schema: Any) -> Any:
    """The same JSON without any `x-kubernetes-validations`, which servers before 1.25 refuse."""
    if isinstance(schema, dict):
        return {key: without_cel(value) for key, value in schema.items() if key != "x-kubernetes-validations"}
    if isinstance(schema, list):
        return [without_cel(item) for item in schema]
    return schema


class RealCluster:
    """A control plane that lives as long as the `with` block, and leaves nothing behind.

    The servers are killed with the process that started them, however it ends. `start` raises
    RealClusterError, with the reason, where the servers cannot be had or do not come up.
    """

    def __init__(self, *, controllers: Collection[str] = CONTROLLERS, start_timeout: float = 90.0) -> None:
        self._controllers = controllers
        self._start_timeout = start_timeout
        self._scratch: Scratch | None = None
        self._servers: list[ChildProcess] = []
        self._port = 0
        self._etcd_port = 0
        self.token = ""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def url(self) -> str:
        """The API server's address."""
        return f"https://127.0.0.1:{self._port}"

    @property
    def kubeconfig(self) -> Path:
        """A kubeconfig of a cluster administrator."""
        return self._folder / "kubeconfig"

    @property
    def ca_file(self) -> Path:
        """What the server's certificate is checked against."""
        return self._folder / "certs" / "apiserver.crt"

    @cached_property
    def binaries(self) -> Binaries:
        """The servers' files. RealClusterError where they are missing."""
        reason = available(controllers=bool(self._controllers))
        found = locate()
        if reason is not None or isinstance(found, str):
            raise RealClusterError(reason or str(found))
        return found

    @cached_property
    def minor(self) -> int:
        """The server's minor version: 20 for v1.20.2."""
        return self.binaries.minor()

    def start(self) -> None:
        """Start all servers and return when the API answers and the `default` namespace is there."""
        for attempt in range(1, _START_ATTEMPTS + 1):
            try:
                self._start_once()
                return
            except RealClusterError as error:
                self.stop()
                if attempt == _START_ATTEMPTS or "address already in use" not in str(error):
                    raise
            except BaseException:
                self.stop()
                raise

    def stop(self) -> None:
        """Kill the servers and remove their files. Repeats do nothing."""
        while self._servers:
            self._servers.pop().stop(grace=0)
        if self._scratch is not None:
            self._scratch.close()
            self._scratch = None

    def kill_apiserver(self) -> None:
        """Take the API server away, as a crash would. What it stored stays."""
        for server in [each for each in self._servers if each.name == "kube-apiserver"]:
            server.stop(grace=0)
            self._servers.remove(server)

    def start_apiserver(self) -> None:
        """Bring it back at the same address, and wait until it answers."""
        self._start_apiserver()
        self._await_ready(time.monotonic() + self._start_timeout)

    def create_namespace(self, prefix: str = "test") -> str:
        """Create a namespace whose name starts with `prefix` and is new; returns its name."""
        name = f"{prefix}-{uuid.uuid4().hex[:8]}"
        self.request("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
        return name

    def install_crds(self, documents: Collection[dict[str, Any]], *, timeout: float = 60.0) -> None:
        """Create CustomResourceDefinitions and wait until the server serves them.

        CEL rules are dropped where the server does not know them. RealClusterError if one is refused or not
        established in `timeout` seconds.
        """
        collection = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions"
        for document in documents:
            self.request(
                "POST", collection, document if self.minor >= _CEL_SINCE_MINOR else without_cel(document)
            )
        deadline = time.monotonic() + timeout
        for name in (document["metadata"]["name"] for document in documents):
            while not _is_established(self.request("GET", f"{collection}/{name}")):
                if time.monotonic() > deadline:
                    raise RealClusterError(
                        f"CustomResourceDefinition {name} was not established in {timeout} s"
                    )
                time.sleep(0.05)

    def request(self, method: str, path: str, body: dict[str, Any] | None = None) -> dict[str, Any]:
        """One API call as administrator, for setting tests up. RealClusterError for any but a 2xx answer."""
        connection = http.client.HTTPSConnection(
            "127.0.0.1",
            self._port,
            timeout=30,
            context=ssl.create_default_context(cafile=str(self.ca_file)),
        )
        try:
            headers = {"Authorization": f"Bearer {self.token}", "Content-Type": "application/json"}
            connection.request(method, path, json.dumps(body) if body is not None else None, headers)
            answer = connection.getresponse()
            text = answer.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            raise RealClusterError(f"{method} {path}: {error}") from error
        finally:
            connection.close()
        if not 200 <= answer.status < 300:
            raise RealClusterError(f"{method} {path}: {answer.status} {text[:500]}")
        parsed = json.loads(text) if text.startswith("{") else {}
        return parsed if isinstance(parsed, dict) else {}

    @property
    def _credentials(self) -> Path:
        return self._folder / "credentials"

    @property
    def _folder(self) -> Path:
        if self._scratch is None:
            raise RealClusterError("the cluster is not running")
        return self._scratch.path

    def _start_once(self) -> None:
        binaries = self.binaries
        deadline = time.monotonic() + self._start_timeout
        self._scratch = Scratch(SCRATCH_PREFIX)
        self.token = secrets.token_hex(16)
        commands.write_credentials(self._credentials, self.token)
        self._port, self._etcd_port, peer_port = _free_ports(3)
        arguments = commands.etcd_arguments(
            self._folder / "etcd", client_port=self._etcd_port, peer_port=peer_port
        )
        self._launch("etcd", binaries.etcd, arguments)
        self._await("etcd", self._etcd_healthy, deadline)
        self._start_apiserver()
        self._await_ready(deadline)
        self.kubeconfig.write_text(commands.kubeconfig(self.url, self.ca_file.read_bytes(), self.token))
        if self._controllers and binaries.controller_manager is not None:
            manager = commands.manager_arguments(self.kubeconfig, self._controllers, minor=self.minor)
            self._launch("kube-controller-manager", binaries.controller_manager, manager)

    def _start_apiserver(self) -> None:
        arguments = commands.apiserver_arguments(
            self._credentials, self.ca_file.parent, port=self._port, etcd_port=self._etcd_port
        )
        self._launch("kube-apiserver", self.binaries.apiserver, arguments)

    def _launch(self, name: str, binary: Path, arguments: list[str]) -> None:
        environment = {"PATH": os.defpath, "HOME": str(self._folder)}
        if platform.machine() == "aarch64":
            environment["ETCD_UNSUPPORTED_ARCH"] = "arm64"  # etcd 3.4 refuses to start there otherwise
        log = self._folder / f"{name}.log"
        server = ChildProcess(name, [binary, *arguments], log=log, env=environment)
        try:
            server.start()
        except ProcessError as error:
            raise RealClusterError(str(error)) from error
        self._servers.append(server)

    def _await_ready(self, deadline: float) -> None:
        self._await("kube-apiserver", self._serves, deadline)

    def _await(self, name: str, is_up: Callable[[], bool], deadline: float) -> None:
        while not is_up():
            for server in self._servers:
                try:
                    server.require_running()
                except ProcessError as error:
                    raise RealClusterError(str(error)) from error
            if time.monotonic() > deadline:
                tail = next(server.tail() for server in self._servers if server.name == name)
                raise RealClusterError(f"{name} was not ready in {self._start_timeout} s:\n{tail}")
            time.sleep(0.05)

    def _etcd_healthy(self) -> bool:
        connection = http.client.HTTPConnection("127.0.0.1", self._etcd_port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def _serves(self) -> bool:
        if not self.ca_file.exists():
            return False
        try:
            self.request("GET", "/readyz")
            self.request("GET", "/api/v1/namespaces/default")
        except RealClusterError:
            return False
        return True


def _free_ports(count: int) -> list[int]:
    ports: set[int] = set()
    while len(ports) < count:
        ports.add(free_port())
    return list(ports)


def _is_established(definition: dict[str, Any]) -> bool:
    conditions = definition.get("status", {}).get("conditions", [])
    return any(each["type"] == "Established" and each["status"] == "True" for each in conditions)
