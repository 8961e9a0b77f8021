"""The API server as a thing to start and stop."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Self

import yaml
from aiohttp import web

from canaryd.sandbox.apiserver.core import Core, WriteHook
from canaryd.sandbox.apiserver.garbage import GarbageCollector
from canaryd.sandbox.apiserver.kinds import BUILTINS
from canaryd.sandbox.apiserver.paths import ApiPath, RequestInfo
from canaryd.sandbox.apiserver.serving import Frontend, Reject
from canaryd.sandbox.apiserver.streams import LogProvider
from canaryd.sandbox.apiserver.writes import Writes

_FIRST_NAMESPACES = ("default", "kube-system", "kube-public", "kube-node-lease")
_START_SECONDS = 30.0


class ApiServer:
    """A Kubernetes API server in memory, on 127.0.0.1, in a thread and an event loop of its own.

    `port` 0 takes a free one. `history` is how many changes a watch can go back. Use it as a context
    manager, or call `start` and `stop`. Started again after a stop it serves the same objects at the same
    address, as a real one does after a crash.
    """

    def __init__(self, port: int = 0, *, history: int = 10_000) -> None:
        self._port = port
        self._core = Core(history)
        self._frontend = Frontend(self._core)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._ended: asyncio.Event | None = None

    @property
    def port(self) -> int:
        return self._port

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def kubeconfig(self, path: Path) -> Path:
        """Write a kubeconfig for this server to `path`."""
        name = "canaryd-sandbox"
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "clusters": [{"name": name, "cluster": {"server": self.url}}],
            "users": [{"name": name, "user": {}}],
            "contexts": [{"name": name, "context": {"cluster": name, "user": name, "namespace": "default"}}],
            "current-context": name,
        }
        path.write_text(yaml.safe_dump(config, sort_keys=False))
        return path

    def on_write(self, hook: WriteHook) -> None:
        """Call `hook` with every committed write, in order, before its client has the answer."""
        self._core.hooks.append(hook)

    @property
    def reject(self) -> Reject | None:
        """Asked before every resource request: None lets it pass, (status, body) is answered instead."""
        return self._frontend.reject

    @reject.setter
    def reject(self, reject: Reject | None) -> None:
        self._frontend.reject = reject

    def set_log_provider(self, provider: LogProvider) -> None:
        """Where `kubectl logs` reads: (namespace, pod, container, previous, tail) -> text."""
        self._frontend.log_provider = provider

    def compact(self) -> None:
        """Forget the history: every watch from an older version is answered with 410."""
        self._call(self._core.store.compact)

    def start(self) -> Self:
        """Serve; returns once requests are answered."""
        started: threading.Event = threading.Event()
        failure: list[BaseException] = []

        def run() -> None:
            asyncio.set_event_loop(self._loop)
            try:
                asyncio.run(self.serve(started.set))
            except BaseException as error:  # noqa: BLE001 - handed to the thread that started us
                failure.append(error)
                started.set()

        self._thread = threading.Thread(target=run, name="apiserver", daemon=True)
        self._thread.start()
        if not started.wait(_START_SECONDS):
            raise TimeoutError("the API server did not start")
        if failure:
            raise failure[0]
        return self

    def stop(self) -> None:
        """Stop serving and end all watches; does nothing if it does not run."""
        if self._thread is None or self._loop is None or self._ended is None or not self._thread.is_alive():
            return
        self._loop.call_soon_threadsafe(self._ended.set)
        self._thread.join()

    def __enter__(self) -> Self:
        return self.start()

    def __exit__(self, *_: object) -> None:
        self.stop()

    async def serve(self, ready: Callable[[], None]) -> None:
        """Serve on the running loop until `stop`; calls `ready` once the port is open."""
        self._loop, self._ended = asyncio.get_running_loop(), asyncio.Event()
        # Cancelling a handler whose client has left ends watches that nothing happens on.
        runner = web.AppRunner(
            self._frontend.application(), access_log=None, shutdown_timeout=0.1, handler_cancellation=True
        )
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", self._port)
        collector = GarbageCollector(self._core)
        task = asyncio.create_task(collector.run())
        try:
            await site.start()
            self._port = runner.addresses[0][1]
            self._found_namespaces()
            ready()
            await self._ended.wait()
        finally:
            collector.close()
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
            await runner.cleanup()

    def _found_namespaces(self) -> None:
        writes = Writes(self._core)
        resource = next(kind for kind in BUILTINS if kind.kind == "Namespace")
        for name in _FIRST_NAMESPACES:
            if self._core.store.get("namespaces", ("", name)) is None:
                info = RequestInfo("create", ApiPath("", "v1", "namespaces"), {}, user_agent="apiserver")
                writes.create(resource, {"metadata": {"name": name}}, info)

    def _call(self, function: Callable[[], None]) -> None:
        """Run a function on the server's loop and wait for it."""
        done = threading.Event()

        def call() -> None:
            function()
            done.set()

        if self._loop is None:
            raise RuntimeError("the API server does not run")
        self._loop.call_soon_threadsafe(call)
        done.wait(_START_SECONDS)
