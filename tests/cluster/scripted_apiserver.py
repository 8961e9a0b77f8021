"""A real HTTP server on loopback that answers as each test tells it to, well or badly."""

from __future__ import annotations

import contextlib
import http.server
import json
import shutil
import socket
import ssl
import struct
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest

from canaryd.cluster.resources import Json
from canaryd.cluster.transport import Api

TOKEN = "s3cr3t-t0k3n"
PATIENCE = 20.0
"""Seconds after which a test gives up on something that should have happened long before."""


class Exchange:
    """One request, and the ways to answer it."""

    def __init__(self, handler: _Handler, over: threading.Event) -> None:
        self._handler = handler
        self._over = over
        url = urlsplit(handler.path)
        self.method = handler.command
        self.client_port: int = handler.client_address[1]
        self.path = url.path
        self.query = dict(parse_qsl(url.query, keep_blank_values=True))
        self.headers = {name.lower(): value for name, value in handler.headers.items()}
        self.body = handler.rfile.read(int(self.headers.get("content-length", "0")))

    @property
    def watches(self) -> bool:
        return self.query.get("watch") == "true"

    @property
    def over(self) -> bool:
        """Whether the test is over."""
        return self._over.is_set()

    def sent(self) -> Any:
        return json.loads(self.body)

    def raw(
        self, body: bytes, status: int = 200, content_type: str = "application/json", **more: str
    ) -> None:
        self._head(status, {"Content-Type": content_type, "Content-Length": str(len(body)), **more})
        self._handler.wfile.write(body)

    def json(self, obj: object, status: int = 200, **more: str) -> None:
        self.raw(json.dumps(obj).encode(), status, **more)

    def fail(self, code: int, reason: str, message: str = "", **details: object) -> None:
        self.json(status_object(code, reason, message, **details), code)

    def list(self, items: list[Json], version: str, token: str = "") -> None:
        self.json(
            {"kind": "List", "metadata": {"resourceVersion": version, "continue": token}, "items": items}
        )

    def stream(self) -> None:
        """Begin a watch's answer."""
        self._head(200, {"Content-Type": "application/json", "Transfer-Encoding": "chunked"})

    def until_close(self) -> None:
        """Begin a body that ends with the connection, as HTTP/1.0 knows it."""
        self._head(200, {"Content-Type": "application/json", "Connection": "close"})

    def write(self, data: bytes) -> None:
        self._handler.wfile.write(data)

    def chunk(self, data: bytes) -> None:
        self._handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, kind: str, obj: Json) -> None:
        self.chunk(json.dumps({"type": kind, "object": obj}).encode() + b"\n")

    def end(self) -> None:
        """End the stream in order."""
        self._handler.wfile.write(b"0\r\n\r\n")

    def cut(self) -> None:
        """Close the connection in the middle of things."""
        self._handler.close_connection = True

    def reset(self) -> None:
        """Close the connection with a TCP reset."""
        linger = struct.pack("ii", 1, 0)
        self._handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
        self._handler.connection.close()
        self._handler.close_connection = True

    def hang(self) -> None:
        """Say nothing until the test is over."""
        self._over.wait(2 * PATIENCE)
        self._handler.close_connection = True

    def wait(self, seconds: float) -> None:
        self._over.wait(seconds)

    def _head(self, status: int, headers: dict[str, str]) -> None:
        self._handler.send_response(status)
        for name, value in headers.items():
            self._handler.send_header(name.replace("_", "-"), value)
        self._handler.end_headers()


Play = Callable[[Exchange], None]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    server: _Server

    def _answer(self) -> None:
        exchange = Exchange(self, self.server.over)
        with self.server.lock:
            self.server.seen.append(exchange)
        try:
            self.server.play(exchange)
            self.wfile.flush()
        except OSError:  # the client went away, as tests make it do
            self.close_connection = True

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = _answer  # noqa: N815 - the base class names them so

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the base class names it so
        pass


class _Server(http.server.ThreadingHTTPServer):
    daemon_threads = False

    def __init__(self, play: Play, tls: ssl.SSLContext | None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.play = play
        self.tls = tls
        self.over = threading.Event()
        self.lock = threading.Lock()
        self.seen: list[Exchange] = []
        self.connections: set[socket.socket] = set()

    def finish_request(self, request: Any, client_address: Any) -> None:
        connection = request
        if self.tls:
            try:
                connection = self.tls.wrap_socket(request, server_side=True)
            except OSError:
                return
        with self.lock:
            self.connections.add(connection)
        try:
            super().finish_request(connection, client_address)
        finally:
            with self.lock:
                self.connections.discard(connection)
            connection.close()

    def handle_error(self, request: Any, client_address: Any) -> None:
        pass  # connections that tests break

    def finish(self) -> None:
        self.over.set()
        self.shutdown()
        with self.lock:
            for connection in self.connections:
                with contextlib.suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class Scripted:
    """The running server as tests see it."""

    def __init__(self, server: _Server, folder: Path) -> None:
        self._server = server
        self._folder = folder
        self._apis: list[Api] = []
        scheme = "https" if server.tls else "http"
        self.url = f"{scheme}://127.0.0.1:{server.server_port}"

    def seen(self, *, watches: bool | None = None) -> list[Exchange]:
        """The requests so far."""
        with self._server.lock:
            return [one for one in self._server.seen if watches is None or one.watches is watches]

    def api(self, *, timeout: tuple[float, float] = (3.0, PATIENCE), cluster: Json | None = None) -> Api:
        """A client from a kubeconfig file, closed at the end."""
        path = kubeconfig(self._folder / "kubeconfig", {"server": self.url} | (cluster or {}))
        api = Api.connect(str(path), timeout=timeout)
        self._apis.append(api)
        return api

    def close(self) -> None:
        for api in self._apis:
            api.close()
        self._server.finish()


@contextlib.contextmanager
def scripted(folder: Path, play: Play, *, tls: ssl.SSLContext | None = None) -> Iterator[Scripted]:
    """A server that answers every request by `play`."""
    server = _Server(play, tls)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    running = Scripted(server, folder)
    try:
        yield running
    finally:
        running.close()
        thread.join(PATIENCE)


def certificate(folder: Path) -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1, and its key. Skips the test where there is no openssl."""
    openssl = shutil.which("openssl") or pytest.skip("needs openssl")
    cert, key = folder / "tls.crt", folder / "tls.key"
    command = [openssl, "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-days", "1", "-subj", "/CN=test", "-addext", "subjectAltName=IP:127.0.0.1"]
    subprocess.run([*command, "-keyout", key, "-out", cert], check=True, capture_output=True)
    return cert, key


def kubeconfig(path: Path, cluster: Json, *, user: Json | None = None) -> Path:
    """A kubeconfig with the contexts `test` (current) and `other`."""
    config = {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "test",
        "clusters": [
            {"name": "test", "cluster": cluster},
            {"name": "other", "cluster": {"server": "http://127.0.0.1:9/other"}},
        ],
        "users": [{"name": "test", "user": {"token": TOKEN} if user is None else user}],
        "contexts": [
            {"name": "test", "context": {"cluster": "test", "user": "test"}},
            {"name": "other", "context": {"cluster": "other", "user": "test"}},
        ],
    }
    path.write_text(json.dumps(config))
    return path


def status_object(code: int, reason: str, message: str = "", **details: object) -> Json:
    """A Kubernetes Status that tells of a failure."""
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": message,
        "details": details,
    }


def thing(name: str, version: str, **spec: object) -> Json:
    """An object."""
    return {"metadata": {"name": name, "namespace": "shop", "resourceVersion": version}, "spec": spec}


def eventually(true: Callable[[], object], what: str) -> None:
    """Wait for it, generously."""
    deadline = time.monotonic() + PATIENCE
    while not true():
        assert time.monotonic() < deadline, f"in vain waited for: {what}"
        time.sleep(0.005)
