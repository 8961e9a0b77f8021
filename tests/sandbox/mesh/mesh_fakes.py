"""Hand-made objects, and pods that are small HTTP servers in this process."""

from __future__ import annotations

import http.client
import itertools
import os
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from canaryd.sandbox.mesh.delivery import Delivery
from canaryd.sandbox.mesh.destinationrules import parse_destination_rule
from canaryd.sandbox.mesh.envoy import Envoy
from canaryd.sandbox.mesh.pods import parse_pod
from canaryd.sandbox.mesh.reading import parse_virtual_service
from canaryd.sandbox.mesh.services import parse_service
from canaryd.sandbox.mesh.translate import Place, World, translate

Json = dict[str, Any]
NAMESPACE = "shop"
APP_PORT = 8080

_addresses = itertools.count(1)


def fresh_address() -> str:
    """A loopback address that no other test process uses at this time: pods need one each.

    Below 127.16, where a sandbox's node takes its own.
    """
    number, pid = next(_addresses), os.getpid()
    return f"127.{2 + (pid >> 8) % 14}.{pid % 256}.{number % 254 + 1}"


def metadata(name: str, namespace: str = NAMESPACE, **more: Any) -> Json:
    return {"name": name, "namespace": namespace, **more}


def pod(
    name: str,
    ip: str = "127.1.1.1",
    *,
    role: str = "stable",
    app: str = "checkout",
    ready: bool = True,
    terminating: bool = False,
    namespace: str = NAMESPACE,
    phase: str = "Running",
    ports: tuple[int, ...] = (APP_PORT,),
) -> Json:
    """A pod of Deployment `app` (role stable) or `app`-canary, with pod-template-hash = role."""
    workload = app if role == "stable" else f"{app}-{role}"
    labels = {"app": app, "role": role, "pod-template-hash": role}
    owner = {"kind": "ReplicaSet", "name": f"{workload}-{role}", "controller": True}
    more: Json = {"labels": labels, "ownerReferences": [owner]}
    if terminating:
        more["deletionTimestamp"] = "2026-01-01T00:00:00Z"
    return {
        "metadata": metadata(name, namespace, **more),
        "spec": {"containers": [{"ports": [{"containerPort": port} for port in ports]}]},
        "status": {
            "podIP": ip,
            "phase": phase,
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def service(name: str = "checkout", *, app: str = "", namespace: str = NAMESPACE, **spec: Any) -> Json:
    return {
        "metadata": metadata(name, namespace),
        "spec": {
            "selector": {"app": app or name},
            "ports": [{"name": "http", "port": 80, "targetPort": APP_PORT}],
            **spec,
        },
    }


def destination_rule(
    *subsets: str, host: str = "checkout", name: str = "checkout", namespace: str = NAMESPACE, **spec: Any
) -> Json:
    """Subsets are named by the value of the label `role` that they select."""
    listed = [{"name": subset, "labels": {"role": subset}} for subset in subsets]
    return {"metadata": metadata(name, namespace), "spec": {"host": host, "subsets": listed, **spec}}


def virtual_service(
    *http: Json, hosts: tuple[str, ...] = ("checkout",), name: str = "checkout", **spec: Any
) -> Json:
    namespace = spec.pop("namespace", NAMESPACE)
    created = spec.pop("created", "2026-01-01T00:00:00Z")
    return {
        "metadata": metadata(name, namespace, creationTimestamp=created),
        "spec": {"hosts": list(hosts), "http": list(http), **spec},
    }


def to(subset: str = "", weight: int | None = None, host: str = "checkout", **more: Any) -> Json:
    """One destination of a route."""
    destination: Json = {"host": host}
    if subset:
        destination["subset"] = subset
    return {"destination": destination, **({} if weight is None else {"weight": weight}), **more}


def route(*destinations: Json, **more: Any) -> Json:
    return {"route": list(destinations), **more}


def world(
    *,
    pods: tuple[Json, ...] = (),
    services: tuple[Json, ...] = (),
    virtual_services: tuple[Json, ...] = (),
    rules: tuple[Json, ...] = (),
) -> World:
    return World(
        pods=tuple(map(parse_pod, pods)),
        services=tuple(map(parse_service, services)),
        virtual_services=tuple(map(parse_virtual_service, virtual_services)),
        destination_rules=tuple(map(parse_destination_rule, rules)),
    )


class App:
    """A pod's container. Answers with the pod's name; `x-code`, `x-delay` of a request say what else."""

    def __init__(self, name: str, address: str = "", port: int = APP_PORT) -> None:
        self.address = address or fresh_address()
        self.seen: list[Mapping[str, str]] = []
        seen = self.seen

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            # Head and body in one packet: with two, the peer's delayed acknowledgement costs 40 ms.
            wbufsize = 65_536

            def do_GET(self) -> None:
                seen.append({**dict(self.headers.items()), ":path": self.path})
                time.sleep(float(self.headers.get("x-delay", "0")))
                self.send_response(int(self.headers.get("x-code", "200")))
                self.send_header("x-pod", name)
                self.send_header("x-envoy-response-flags", "made-up-by-the-app")
                self.send_header("content-length", "2")
                self.end_headers()
                self.wfile.write(b"ok")

            def do_POST(self) -> None:
                self.do_GET()

            def log_message(self, *args: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            request_queue_size = 128

        self._server = Server((self.address, port), Handler)
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()


@dataclass(frozen=True, slots=True)
class Answer:
    status: int
    headers: Mapping[str, str]

    @property
    def pod(self) -> str:
        return self.headers.get("x-pod", "")

    @property
    def flags(self) -> str:
        return self.headers.get("x-envoy-response-flags", "")


def get(port: int, host: str = "checkout", path: str = "/", method: str = "GET", **headers: str) -> Answer:
    """One request to the outer listener; header names with "_" for "-"."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    try:
        given = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, headers={"Host": host, **given})
        answer = connection.getresponse()
        answer.read()
        return Answer(answer.status, {name.lower(): value for name, value in answer.getheaders()})
    finally:
        connection.close()


class Proxy:
    """A real Envoy that is told of worlds, without an API server."""

    def __init__(self, folder: Path, first: World) -> None:
        self.envoy = Envoy(folder, stats_interval=0.1)
        self.delivery = Delivery(self.envoy)
        self.delivery.first(self._translated(first))
        self.envoy.start()
        self.apply(first)

    def apply(self, new: World) -> None:
        self.delivery.apply(self._translated(new))

    def _translated(self, new: World) -> Any:
        return translate(new, Place(self.envoy.endpoints_folder, listen_port=self.envoy.port))

    def get(self, host: str = "checkout", path: str = "/", method: str = "GET", **headers: str) -> Answer:
        return get(self.envoy.port, host, path, method, **headers)

    def tally(self, count: int, host: str = "checkout") -> dict[str, int]:
        """How many of `count` requests each pod answered; answers by Envoy count under "<status> <flags>"."""
        connection = http.client.HTTPConnection("127.0.0.1", self.envoy.port, timeout=10)
        out: dict[str, int] = {}
        for _ in range(count):
            connection.request("GET", "/", headers={"Host": host})
            answer = connection.getresponse()
            answer.read()
            flags = answer.headers["x-envoy-response-flags"]
            key = answer.headers.get("x-pod") or f"{answer.status} {flags}"
            out[key] = out.get(key, 0) + 1
        connection.close()
        return out


def eventually(true: Callable[[], Any], timeout: float = 20.0) -> Any:
    """The first true value; AssertionError when there is none within `timeout` seconds."""
    deadline = time.monotonic() + timeout
    while True:
        value = true()
        if value:
            return value
        assert time.monotonic() < deadline, "it did not become true"
        time.sleep(0.05)
