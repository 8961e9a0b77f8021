"""A pool of HTTP/1.1 connections, small enough to send hundreds of requests a second at little cost."""

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast
from urllib.parse import urlsplit

from canaryd.sandbox.load.report import NOBODY, Outcome

_IDLE = 64  # connections kept open while nothing is asked of them


@dataclass(frozen=True, slots=True)
class Target:
    """Where requests go, and what each one is."""

    host: str
    port: int
    request: bytes

    @classmethod
    def of(cls, url: str, host_header: str) -> "Target":
        """Raises ValueError for a URL that is not http://host[:port][/path]."""
        parts = urlsplit(url)
        if parts.scheme != "http" or not parts.hostname:
            raise ValueError(f"not an http URL: {url}")
        path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        lines = (f"GET {path} HTTP/1.1", f"host: {host_header or parts.netloc}", "user-agent: canaryd-load")
        return cls(parts.hostname, parts.port or 80, ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))


@dataclass(slots=True)
class Exchange:
    """A request under way. `due` is the event loop's time at which it was to be sent."""

    due: float
    retried: bool = False
    done: bool = False


class Pool:
    """Sends requests over kept connections, or new ones. `finish(exchange, outcome)` is called once for each.

    A request whose kept connection turns out to be closed before any answer is sent again once, over a new
    one, as every HTTP client does; `retry()` is called then.
    """

    def __init__(
        self, target: Target, finish: Callable[[Exchange, Outcome], None], retry: Callable[[], None]
    ) -> None:
        self.target = target
        self._loop = asyncio.get_running_loop()
        self._finish = finish
        self._retry = retry
        self._idle: list[_Connection] = []
        self._all: set[_Connection] = set()
        self._connecting: set[asyncio.Task[None]] = set()

    def send(self, exchange: Exchange) -> None:
        if self._idle:
            self._idle.pop().send(exchange)
        else:
            self._connect(exchange)

    def expire(self, due: float) -> None:
        """Gives up every request that was due before that time."""
        for connection in [*self._all]:
            exchange = connection.exchange
            if exchange is not None and exchange.due < due:
                self.fail(exchange, "timeout")
                connection.abort()

    def fail(self, exchange: Exchange, why: str) -> None:
        """The request ends without an answer."""
        self.end(exchange, 0, {}, flags=why)

    def end(self, exchange: Exchange, status: int, headers: dict[str, str], *, flags: str = "") -> None:
        """The request ends, with an answer or (status 0) without."""
        if exchange.done:
            return
        exchange.done = True
        pod, mark = headers.get("x-pod", ""), headers.get("x-envoy-response-flags", "")
        outcome = Outcome(
            seconds=self._loop.time() - exchange.due,
            status=status,
            pod=pod,
            role=headers.get("x-workload-role", NOBODY) if pod else NOBODY,
            flags=flags or ("" if mark == "-" else mark),
        )
        self._finish(exchange, outcome)

    def close(self) -> None:
        for task in self._connecting:
            task.cancel()
        for connection in [*self._all]:
            connection.abort()

    def opened(self, connection: "_Connection") -> None:
        self._all.add(connection)

    def free(self, connection: "_Connection") -> None:
        """The connection can take the next request."""
        if len(self._idle) < _IDLE:
            self._idle.append(connection)
        else:
            connection.abort()

    def closed(self, connection: "_Connection", exchange: Exchange | None, *, may_retry: bool) -> None:
        """The connection is gone; `exchange` is the request that it leaves without an answer."""
        self._all.discard(connection)
        if connection in self._idle:
            self._idle.remove(connection)
        if exchange is None or exchange.done:
            return
        if may_retry and not exchange.retried:
            exchange.retried = True
            self._retry()
            self._connect(exchange)
        else:
            self.fail(exchange, "reset")

    def _connect(self, exchange: Exchange) -> None:
        task = self._loop.create_task(self._open(exchange))
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _open(self, exchange: Exchange) -> None:
        try:
            _, connection = await self._loop.create_connection(
                lambda: _Connection(self), self.target.host, self.target.port
            )
        except OSError:
            self.fail(exchange, "connect")
            return
        if exchange.done:  # timed out meanwhile
            self.free(connection)
        else:
            connection.send(exchange)


class _Connection(asyncio.Protocol):
    """One connection: a request, its answer, the next request."""

    def __init__(self, pool: Pool) -> None:
        self._pool = pool
        self._transport: asyncio.Transport
        self._buffer = b""
        self._used = False
        self.exchange: Exchange | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.Transport", transport)
        self._pool.opened(self)

    def connection_lost(self, exc: Exception | None) -> None:
        del exc
        exchange, self.exchange = self.exchange, None
        if exchange is not None and self._buffer:
            answer = _parse(self._buffer, ended=True)
            if answer is not None:
                self._pool.end(exchange, answer.status, answer.headers)
        self._pool.closed(self, exchange, may_retry=self._used and not self._buffer)

    def send(self, exchange: Exchange) -> None:
        self.exchange = exchange
        self._transport.write(self._pool.target.request)

    def abort(self) -> None:
        self._transport.abort()

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        answer = _parse(self._buffer, ended=False)
        if answer is None:
            return
        self._buffer, self._used = b"", True
        exchange, self.exchange = self.exchange, None
        if exchange is None or not answer.keep:
            self._transport.abort()
        else:
            self._pool.free(self)
        if exchange is not None:
            self._pool.end(exchange, answer.status, answer.headers)


@dataclass(frozen=True, slots=True)
class _Answer:
    status: int
    headers: dict[str, str]
    keep: bool


def _parse(data: bytes, *, ended: bool) -> _Answer | None:
    """The answer, once it is complete; `ended`: nothing will follow. The body is not looked at."""
    head, end, body = data.partition(b"\r\n\r\n")
    if not end:
        return None
    first, *lines = head.decode("latin-1").split("\r\n")
    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
    if "content-length" in headers:
        complete = len(body) >= int(headers["content-length"])
    elif headers.get("transfer-encoding") == "chunked":
        complete = body.endswith(b"0\r\n\r\n")
    else:
        complete = ended
    if not complete:
        return None
    status = first.split(" ", 2)[1]
    return _Answer(int(status), headers, headers.get("connection", "").lower() != "close" and not ended)
