"""The demo's application: a small HTTP server whose errors, latency and crashes are set by the environment.

A sandbox runs a dozen of these, so it is the standard library alone, starts in a few hundredths of a second
and stays below 20 MB. Faults can also be changed while it runs, through a control file: that is how a
scenario lets a fault begin late, or lets both arms of a release fail alike.

| variable | meaning | default |
| --- | --- | --- |
| POD_IP, PORT, POD_NAME, CANARYD_ROLE | where it listens, who it says it is | 127.0.0.1, 8080, app, stable |
| VERSION | named in each answer; the control file's key | v1 |
| ERROR_RATE | share of requests answered 500, 0..1 | 0 |
| REJECT_RATE | share of requests answered 409, which is no error to a mesh | 0 |
| LATENCY_MEDIAN_MS, LATENCY_SIGMA | lognormal time to answer | 5, 0.3 |
| SLOW_SHARE, SLOW_MS | share of requests that take SLOW_MS longer: a tail that only high quantiles see | 0, 0 |
| CRASH_AFTER_REQUESTS | exit 1 at that request; 0 is never | 0 |
| CRASH_AT_START | exit 1 at once | false |
| START_DELAY | seconds before it listens | 0 |
| DRAIN_SECONDS | seconds it goes on serving after SIGTERM, before it exits 0 | 1 |
| SEED | with POD_NAME, makes the draws repeatable | random |
| CONTROL_FILE | JSON: {"*", "<version>" or "<pod>": {"error_rate": 0.1, ...}}, names as above in lower case | none |
"""

import sys

if __name__ == "__main__":  # ssl would cost every pod 5 MB and 15 ms, for a server that speaks plain HTTP
    sys.modules["ssl"] = None  # type: ignore[assignment]

import asyncio
import contextlib
import json
import math
import os
import random
import signal
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path

CONTROL_PERIOD = 0.2  # seconds; the control file's mtime is looked at no more often
LAST_ANSWERS = 5.0  # seconds that requests under way get after the drain
MAX_HEAD = 64 * 1024  # bytes of request line and headers


@dataclass(frozen=True, slots=True)
class Faults:
    """How the application misbehaves. Shares are within 0..1, times in milliseconds."""

    error_rate: float = 0.0
    reject_rate: float = 0.0
    latency_median_ms: float = 5.0
    latency_sigma: float = 0.3
    slow_share: float = 0.0
    slow_ms: float = 0.0
    crash_after_requests: int = 0

    def overridden(self, values: Mapping[str, object]) -> "Faults":
        """A copy with `values` in place of its own. Raises ValueError at an unknown name or a non-number."""
        parsed: dict[str, float | int] = {}
        for field in fields(self):
            if field.name in values:
                kind = int if field.name == "crash_after_requests" else float
                parsed[field.name] = kind(str(values[field.name]))
        if unknown := sorted(set(values) - set(parsed)):
            raise ValueError(f"unknown fault {', '.join(unknown)}")
        return replace(self, **parsed)  # type: ignore[arg-type]


@dataclass(frozen=True, slots=True)
class Settings:
    """What the environment says; `drain` and `start_delay` in seconds."""

    host: str
    port: int
    pod: str
    role: str
    version: str
    seed: str
    drain: float
    start_delay: float
    crash_at_start: bool
    control_file: Path | None
    faults: Faults

    @classmethod
    def from_env(cls, env: Mapping[str, str]) -> "Settings":
        """Reads the variables of the module's table. Raises ValueError at a non-number."""
        names = {field.name: field.name.upper() for field in fields(Faults)}
        given = {name: env[variable] for name, variable in names.items() if env.get(variable)}
        control = env.get("CONTROL_FILE", "")
        return cls(
            host=env.get("POD_IP", "127.0.0.1"),
            port=int(env.get("PORT", "8080")),
            pod=env.get("POD_NAME", "app"),
            role="canary" if env.get("CANARYD_ROLE") == "canary" else "stable",
            version=env.get("VERSION", "v1"),
            seed=env.get("SEED", ""),
            drain=float(env.get("DRAIN_SECONDS", "1")),
            start_delay=float(env.get("START_DELAY", "0")),
            crash_at_start=env.get("CRASH_AT_START", "").lower() in ("1", "true", "yes"),
            control_file=Path(control) if control else None,
            faults=Faults().overridden(given),
        )


class Control:
    """The faults in force: the environment's, overridden by the control file's `*`, its version, its pod."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._faults = settings.faults
        self._looked = -math.inf
        self._mtime_ns = 0

    def faults(self, now: float) -> Faults:
        """`now` is any monotonic time in seconds. A file that is missing means no override; one that cannot
        be read is said on stderr once and leaves the last good faults in force."""
        path = self._settings.control_file
        if path is not None and now - self._looked >= CONTROL_PERIOD:
            self._looked = now
            self._refresh(path)
        return self._faults

    def _refresh(self, path: Path) -> None:
        try:
            mtime_ns = path.stat().st_mtime_ns
        except OSError:
            mtime_ns = 0
        if mtime_ns == self._mtime_ns:
            return
        self._mtime_ns = mtime_ns
        try:
            overrides = json.loads(path.read_text()) if mtime_ns else {}
            faults = self._settings.faults.overridden(overrides.get("*", {}))
            for key in (self._settings.version, self._settings.pod):
                faults = faults.overridden(overrides.get(key, {}))
            self._faults = faults
        except (OSError, ValueError, AttributeError, TypeError) as error:
            say(f"control file {path}: {error}")


class App:
    """Decides each answer. Draws the same number of random values per request whatever the faults are, so
    that a changed fault does not change the rest of a seeded run."""

    def __init__(self, settings: Settings, clock: Callable[[], float]) -> None:
        self.settings = settings
        self.served = 0
        self.draining = False
        self._clock = clock
        self._control = Control(settings)
        # Pods share the seed of their template: with the name in it, they do not fail in step.
        self._random = random.Random(f"{settings.seed}/{settings.pod}" if settings.seed else None)
        self._said = -math.inf

    def answer(self, path: str) -> tuple[int, float]:
        """Status and delay in seconds for one request. Ends the process when a crash is due."""
        if path.partition("?")[0] == "/healthz":
            return 200, 0.0
        now = self._clock()
        faults = self._control.faults(now)
        self.served += 1
        if 0 < faults.crash_after_requests <= self.served:
            crash(f"out of luck after {self.served} requests")
        unlucky, slow, bell = self._random.random(), self._random.random(), self._random.gauss(0.0, 1.0)
        delay = faults.latency_median_ms * math.exp(faults.latency_sigma * bell)
        if slow < faults.slow_share:
            delay += faults.slow_ms
        if unlucky >= faults.error_rate:
            return 409 if unlucky >= 1 - faults.reject_rate else 200, delay / 1000
        if now - self._said >= 1.0:
            self._said = now
            say(f"error: {path} failed (request {self.served})")
        return 500, delay / 1000


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: requests are answered one after the other, in order."""

    def __init__(self, app: App, open_connections: "set[Connection]") -> None:
        settings = app.settings
        self._app = app
        self._open = open_connections
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._skip = 0  # bytes of a request's body that have yet to come
        self.busy = False
        self._identity = (
            f"content-type: application/json\r\nx-pod: {settings.pod}\r\n"
            f"x-workload-role: {settings.role}\r\nx-version: {settings.version}\r\n"
        )

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._open.add(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        self._transport = None
        self._open.discard(self)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self.busy:
            self._next_request()

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    def _next_request(self) -> None:
        skipped = min(self._skip, len(self._buffer))
        self._buffer, self._skip = self._buffer[skipped:], self._skip - skipped
        head, end, rest = self._buffer.partition(b"\r\n\r\n")
        if self._skip or not end:
            if len(self._buffer) > MAX_HEAD:
                self._send(431, head_only=False, keep=False)
            return
        self._buffer = rest
        request, *lines = head.decode("latin-1").split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        method, _, target = request.partition(" ")
        path, _, protocol = target.rpartition(" ")
        length = headers.get("content-length", "0")
        if not path or not length.isdigit() or "transfer-encoding" in headers:
            self._send(400 if "transfer-encoding" not in headers else 411, head_only=False, keep=False)
            return
        self._skip = int(length)
        keep = protocol == "HTTP/1.1" and headers.get("connection", "").lower() != "close"
        self._respond(path, head_only=method == "HEAD", keep=keep)

    def _respond(self, path: str, *, head_only: bool, keep: bool) -> None:
        status, delay = self._app.answer(path)
        self.busy = True
        if delay <= 0:
            self._send(status, head_only=head_only, keep=keep)
            return
        loop = asyncio.get_running_loop()
        loop.call_later(delay, lambda: self._send(status, head_only=head_only, keep=keep))

    def _send(self, status: int, *, head_only: bool, keep: bool) -> None:
        self.busy = False
        if self._transport is None:
            return
        # While draining, each answer asks the client to go, so that no pooled connection is cut at the end.
        keep = keep and not self._app.draining
        body = json.dumps({"version": self._app.settings.version, "status": status}) + "\n"
        connection = "" if keep else "connection: close\r\n"
        phrase = {200: "OK", 409: "Conflict", 500: "Internal Server Error"}.get(status, "Bad Request")
        head = (
            f"HTTP/1.1 {status} {phrase}\r\n{self._identity}{connection}content-length: {len(body)}\r\n\r\n"
        )
        self._transport.write((head if head_only else head + body).encode("latin-1"))
        if not keep:
            self._transport.close()
        elif self._buffer or self._skip:
            self._next_request()


def say(line: str) -> None:
    """Writes one line to stderr, where the node keeps it as the container's log."""
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def crash(why: str) -> None:
    """Ends the process at once, with exit code 1 and last words worth reading."""
    say(f"fatal: {why}")
    os._exit(1)


async def serve(settings: Settings) -> None:
    """Serves until SIGTERM, goes on for `settings.drain` seconds, lets requests under way end, returns."""
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    if settings.crash_at_start:
        crash(f"version {settings.version} cannot start: missing configuration")
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(settings.start_delay):
            await stop.wait()
    if stop.is_set():
        return
    app = App(settings, loop.time)
    connections: set[Connection] = set()
    server = await loop.create_server(lambda: Connection(app, connections), settings.host, settings.port)
    say(f"serving {settings.version} as {settings.role} on {settings.host}:{settings.port}")
    await stop.wait()
    app.draining = True
    await asyncio.sleep(settings.drain)
    server.close()
    deadline = loop.time() + LAST_ANSWERS
    while any(connection.busy for connection in connections) and loop.time() < deadline:
        await asyncio.sleep(0.01)
    for connection in tuple(connections):
        connection.close()
    say(f"drained after {app.served} requests")


def main() -> int:
    """Entry point of `python -m canaryd.sandbox.app`."""
    try:
        settings = Settings.from_env(os.environ)
    except ValueError as error:
        say(f"fatal: environment: {error}")
        return 2
    asyncio.run(serve(settings))
    return 0


if __name__ == "__main__":
    sys.exit(main())
