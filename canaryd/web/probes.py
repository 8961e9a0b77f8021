"""Probes on a listener of their own: /healthz is red when the loop is stuck, and only then."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Probes:
    """Serves /healthz and /readyz; each check gives "" when well, else what is wrong."""

    def __init__(self, address: str, healthy: Callable[[], str], ready: Callable[[], str]) -> None:
        host, _, port = address.rpartition(":")
        checks = {"/healthz": healthy, "/readyz": ready}

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                check = checks.get(self.path.partition("?")[0])
                fault = check() if check else "not found"
                self.send_response(404 if check is None else 503 if fault else 200)
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.end_headers()
                self.wfile.write(f"{fault or 'ok'}\n".encode())

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, name="probes", daemon=True)

    @property
    def port(self) -> int:
        return int(self._server.server_address[1])

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()
