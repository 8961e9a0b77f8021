"""One watch: a streamed answer of the API server, as events."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from http.client import IncompleteRead
from typing import Literal, cast

import urllib3
from urllib3.exceptions import HTTPError, ProtocolError, ReadTimeoutError

from canaryd.cluster.errors import ApiError, Unreachable, bad_answer, from_status
from canaryd.cluster.resources import Json

EventType = Literal["ADDED", "MODIFIED", "DELETED", "BOOKMARK"]
_TYPES = ("ADDED", "MODIFIED", "DELETED", "BOOKMARK")
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 26
"""Bytes. The API server's own limit for an object is near 3 MiB; this only stops an endless line."""


@dataclass(frozen=True, slots=True)
class WatchEvent:
    """What happened to one object. Of a BOOKMARK only metadata.resourceVersion means something."""

    type: EventType
    object: Json


class Watch(Iterator[WatchEvent]):
    """The events of one streamed answer, in order, until the server ends it or `close` is called.

    The end is StopIteration, also when the connection broke between two events. Raises Gone when the
    resourceVersion is too old, another ApiError for what else the server reports, Unreachable when nothing
    came for the read timeout or the connection broke inside an event. One thread iterates; any may close.
    """

    def __init__(self, response: urllib3.BaseHTTPResponse, target: str) -> None:
        self._response = response
        self._target = target
        self._buffer = bytearray()
        self._closed = False
        self._ended = False

    def __enter__(self) -> Watch:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
        self._finish()

    def close(self) -> None:
        """End the watch from any thread; a read that waits in another thread returns."""
        self._closed = True
        # Closing the response would wait for the lock of the reading thread: shut the socket down instead.
        with contextlib.suppress(ValueError, RuntimeError, TypeError, OSError):
            self._response.shutdown()

    def __next__(self) -> WatchEvent:
        while not self._ended:
            line = self._line()
            if line is None or self._closed:
                break
            if line.strip():
                return self._event(line)
        self._finish()
        raise StopIteration

    def _line(self) -> bytes | None:
        """The next line without its end; the rest at the end of the stream; None after it."""
        searched = 0
        while (end := self._buffer.find(b"\n", searched)) < 0:
            searched = len(self._buffer)
            if searched > _LONGEST_LINE:
                raise self._broken(f"an event of more than {_LONGEST_LINE} bytes")
            chunk = self._read()
            if not chunk:
                rest, self._ended = bytes(self._buffer), True
                self._buffer.clear()
                return rest or None
            self._buffer += chunk
        line = bytes(self._buffer[:end])
        del self._buffer[: end + 1]
        return line

    def _read(self) -> bytes:
        """The next bytes; b"" at the end, in order or not: what is cut inside an event is found there."""
        try:
            return self._response.read1(_CHUNK) or b""
        except ReadTimeoutError as error:
            raise self._broken("silent for longer than the read timeout") from error
        except (HTTPError, OSError, ValueError, AttributeError) as error:
            # After close() a read fails in whatever way the torn-down socket makes it fail.
            cut = isinstance(error, ProtocolError) and isinstance(error.args[-1], IncompleteRead)
            if self._closed or cut:
                return b""
            raise self._broken(f"the connection broke: {error}") from error

    def _event(self, line: bytes) -> WatchEvent:
        try:
            event = json.loads(line)
            kind, obj = event["type"], event["object"]
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise self._garbled(line) from error
        if kind == "ERROR" and isinstance(obj, dict):
            self._finish()
            raise from_status(obj, "watch", self._target)
        if kind not in _TYPES or not isinstance(obj, dict):
            raise self._garbled(line)
        return WatchEvent(cast(EventType, kind), obj)

    def _garbled(self, line: bytes) -> ApiError:
        ended, headers = self._ended, self._response.headers
        self._finish()
        if ended:
            return self._broken("the connection broke inside an event")
        return bad_answer(200, headers, line, "watch", self._target)

    def _broken(self, what: str) -> Unreachable:
        self._finish()
        return Unreachable(0, "Unreachable", what, "watch", self._target)

    def _finish(self) -> None:
        """Let the connection go. Called by the iterating thread only."""
        self._ended = True
        with contextlib.suppress(HTTPError, OSError, ValueError):
            self._response.close()
