"""One HTTP exchange with the API server: credentials, deadlines, and whose fault a failure is."""

from __future__ import annotations

import builtins
import json
import ssl
import threading
import time
from typing import TYPE_CHECKING

import urllib3
from urllib3 import exceptions as failures

from canaryd.cluster import errors
from canaryd.cluster.errors import ApiError, Misconfigured, Unreachable
from canaryd.cluster.kubeconfig import without_secrets
from canaryd.cluster.resources import Json

if TYPE_CHECKING:
    from kubernetes.client import ApiClient

_LARGEST_ANSWER = 1 << 27
_NEVER_SENT = (
    failures.NewConnectionError,
    failures.ConnectTimeoutError,
    failures.ProxyError,
    failures.LocationValueError,
)

Body = Json | builtins.list[Json]


class Wire:
    """Sends requests over the pool of one `kubernetes` client and maps what comes back. Thread-safe.

    timeout: seconds to connect, and seconds of silence allowed then; see transport.Api.
    """

    def __init__(self, client: ApiClient, timeout: tuple[float, float]) -> None:
        self._client = client
        self._timeout = timeout
        self._credentials = threading.Lock()

    @property
    def server(self) -> str:
        """The API server's address, such as "https://127.0.0.1:6443"."""
        return str(self._client.configuration.host)

    def close(self) -> None:
        """Close the idle connections."""
        self._client.close()  # type: ignore[no-untyped-call]

    def call(
        self,
        verb: str,
        method: str,
        path: str,
        target: str,
        *,
        body: Body | None = None,
        content_type: str = "application/json",
    ) -> Json:
        """The JSON object that answers a request; anything else raises an ApiError."""
        response, answer = self.answer(verb, method, path, target, body=body, content_type=content_type)
        try:
            parsed = json.loads(answer)
        except (ValueError, RecursionError) as error:
            raise errors.bad_answer(response.status, response.headers, answer, verb, target) from error
        if not isinstance(parsed, dict):
            raise errors.bad_answer(response.status, response.headers, answer, verb, target)
        return parsed

    def answer(
        self,
        verb: str,
        method: str,
        path: str,
        target: str,
        *,
        body: Body | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
    ) -> tuple[urllib3.BaseHTTPResponse, bytes]:
        """The answer's head and body; a status other than 2xx raises an ApiError.

        A read is sent once more when its connection was reset: an idle connection that the server closed
        looks like that.
        """
        for last in (method != "GET", True):
            deadline = time.monotonic() + sum(self._timeout)
            try:
                response = self._open(
                    verb, method, path, target, body=body, content_type=content_type, accept=accept
                )
                answer = self._read(response, verb, target, deadline=deadline)
                break
            except Unreachable as error:
                if last or not _was_reset(error):
                    raise
        if not 200 <= response.status < 300:
            raise errors.from_answer(response.status, response.headers, answer, verb, target)
        return response, answer

    def stream(
        self, verb: str, path: str, target: str, *, timeout: tuple[float, float]
    ) -> urllib3.BaseHTTPResponse:
        """An answer to be read as it comes; a status other than 2xx raises an ApiError."""
        response = self._open(verb, "GET", path, target, timeout=timeout)
        if 200 <= response.status < 300:
            return response
        body = self._read(response, verb, target, deadline=time.monotonic() + sum(self._timeout))
        raise errors.from_answer(response.status, response.headers, body, verb, target)

    def _open(
        self,
        verb: str,
        method: str,
        path: str,
        target: str,
        *,
        body: Body | None = None,
        content_type: str = "application/json",
        accept: str = "application/json",
        timeout: tuple[float, float] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """The head of the answer, of whatever status; its body is still to be read."""
        from kubernetes.client.exceptions import ApiException  # noqa: PLC0415 - slow to import

        headers = {"Accept": accept, "User-Agent": str(self._client.user_agent)}
        headers |= self._authorization(verb, target)
        if body is not None:
            headers["Content-Type"] = content_type
        try:
            answer = self._client.call_api(
                method, self.server + path, headers, body, _request_timeout=timeout or self._timeout
            )
        except ApiException as error:  # how the package passes on a TLS failure
            raise _unreachable(error.__context__ or error, verb, target) from error
        except (failures.HTTPError, OSError) as error:
            raise _unreachable(error, verb, target) from error
        response: urllib3.BaseHTTPResponse = answer.response
        return response

    def _read(self, response: urllib3.BaseHTTPResponse, verb: str, target: str, *, deadline: float) -> bytes:
        """The body, until a monotonic time. Its connection goes back to the pool; a failed one is closed."""
        body = bytearray()
        try:
            while chunk := response.read1(1 << 16):
                body += chunk
                if time.monotonic() > deadline or len(body) > _LARGEST_ANSWER:
                    raise self._unfinished(len(body), verb, target)
        except (failures.HTTPError, OSError) as error:
            raise _unreachable(error, verb, target) from error
        finally:
            if not response.closed:
                response.close()
        return bytes(body)

    def _unfinished(self, size: int, verb: str, target: str) -> Unreachable:
        message = f"the answer was not complete after {sum(self._timeout):g} s and {size} bytes"
        return Unreachable(0, "Unreachable", message, verb, target, ambiguous=errors.writes(verb))

    def _authorization(self, verb: str, target: str) -> dict[str, str]:
        """The credentials, refreshed where the package finds them expired: one thread at a time."""
        headers: dict[str, str] = {}
        try:
            with self._credentials:
                self._client.update_params_for_auth(headers, None, ["BearerToken"], "", "", None)
        except Exception as error:  # noqa: BLE001 - exec plugins and token files fail in any way
            message = f"cannot refresh the credentials: {without_secrets(error)}"
            raise Misconfigured(0, "Misconfigured", message, verb, target) from None
        # A newline at the end of a token file would make http.client quote the token in a ValueError.
        return {name: value.strip() for name, value in headers.items()}


def _was_reset(error: ApiError) -> bool:
    cause = error.__cause__
    return isinstance(cause, failures.ProtocolError) and isinstance(cause.args[-1], ConnectionError)


def _unreachable(error: BaseException, verb: str, target: str) -> Unreachable:
    """No answer; a write that may have left is ambiguous."""
    sent = not isinstance(error, _NEVER_SENT) and not _certificate_rejected(error)
    return Unreachable(0, "Unreachable", str(error), verb, target, ambiguous=sent and errors.writes(verb))


def _certificate_rejected(error: BaseException) -> bool:
    return isinstance(error, failures.SSLError) and isinstance(error.args[0], ssl.SSLCertVerificationError)
