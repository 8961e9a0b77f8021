"""What can go wrong between canaryd and the Kubernetes API, as one tree.

    ApiError                status, reason, message, verb, target, ambiguous, retry_after
    ├── Misconfigured       no usable kubeconfig, or credentials that cannot be had: nothing was sent
    ├── Unreachable         no answer; `ambiguous` says whether a write may have been done all the same
    ├── Unauthorized        401
    ├── Forbidden           403
    ├── NotFound            404, said by the API server of this object
    ├── NotServed           404 of the whole kind: its CRD or API version is not there
    ├── Conflict            409: another writer was first, or a precondition failed
    ├── AlreadyExists       409 on create
    ├── Gone                410: that resourceVersion or continue token is too old
    ├── Invalid             422: validation, or the `test` of a JSON Patch
    ├── TooManyRequests     429; `retry_after` in seconds
    └── ServerError         5xx, or an answer that no API server gives (HTML of a proxy, garbage)

NotFound ends releases, so it is believed only when the body is a Kubernetes Status: a 404 page of a proxy is
a ServerError. No message ever holds a request's headers.
"""

from __future__ import annotations

# ruff: noqa: N818 - the words of the API (NotFound, Conflict) say more than NotFoundError would
import json
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

_LONGEST_MESSAGE = 300
_LONGEST_WAIT = 300.0
_UNSERVED = "the server could not find the requested resource"
"""What aggregated API servers say of a kind they do not serve; of an object they say its name."""
_WRITES = frozenset({"create", "replace", "patch", "delete"})


class ApiError(Exception):
    """A call to the Kubernetes API failed.

    status is the HTTP status, 0 where there was none; reason Kubernetes' CamelCase word; message what the
    server said, at most 300 characters; verb and target what was asked of which object. ambiguous: a write
    may have been done in spite of the error, so read the object back before deciding. retry_after: seconds
    the server asks to wait, at most 300, None where it does not.
    """

    def __init__(
        self,
        status: int,
        reason: str,
        message: str,
        verb: str = "",
        target: str = "",
        *,
        ambiguous: bool = False,
        retry_after: float | None = None,
    ) -> None:
        self.status = status
        self.reason = reason
        self.message = shorten(message)
        self.verb = verb
        self.target = target
        self.ambiguous = ambiguous
        self.retry_after = retry_after
        asked = f"{verb} {target}: ".lstrip() if verb or target else ""
        what = f"{status} {reason}" if status else reason
        super().__init__(f"{asked}{what}: {self.message}" if self.message else f"{asked}{what}")


class Misconfigured(ApiError):
    """There is no usable configuration, or no credentials can be had from it. Nothing was sent."""


class Unreachable(ApiError):
    """No answer came. `ambiguous` is True when a write may have reached the server."""


class Unauthorized(ApiError):
    """401: the API server does not know who asks."""


class Forbidden(ApiError):
    """403: RBAC, an admission plugin or a quota says no; the message names which."""


class NotFound(ApiError):
    """404: the API server serves the kind and has no such object."""


class NotServed(ApiError):
    """404: the API server does not serve the kind at all. Says nothing about any object."""


class Conflict(ApiError):
    """409: the object changed since it was read, or a uid or resourceVersion precondition failed."""


class AlreadyExists(ApiError):
    """409: an object of that name is there already."""


class Gone(ApiError):
    """410: the resourceVersion or the continue token is too old. List again."""


class Invalid(ApiError):
    """422: the object does not validate, or a `test` of a JSON Patch did not hold."""


class TooManyRequests(ApiError):
    """429: the API server sheds load, or a disruption budget refuses."""


class ServerError(ApiError):
    """The server failed (5xx), or something that is no API server answered in its place."""


_BY_STATUS: dict[int, type[ApiError]] = {
    401: Unauthorized,
    403: Forbidden,
    404: NotFound,
    409: Conflict,
    410: Gone,
    422: Invalid,
    429: TooManyRequests,
}
_STATUS_OF_REASON = {"Expired": 410, "Gone": 410, "TooManyRequests": 429, "Forbidden": 403, "NotFound": 404}


def writes(verb: str) -> bool:
    """Whether the verb changes the cluster."""
    return verb in _WRITES


def shorten(text: str) -> str:
    """The text on one line, at most 300 characters."""
    line = " ".join(text.split())
    return line if len(line) <= _LONGEST_MESSAGE else line[: _LONGEST_MESSAGE - 1] + "…"


def from_status(status: Mapping[str, Any], verb: str, target: str, *, code: int = 0) -> ApiError:
    """The error that a Kubernetes Status object tells of.

    code is the HTTP status of the answer it came in; 0 for one from a watch, where the object's own counts.
    """
    reason = _text(status.get("reason"))
    code = code or _whole(status.get("code")) or _STATUS_OF_REASON.get(reason, 500)
    details = status.get("details")
    wait = details.get("retryAfterSeconds") if isinstance(details, Mapping) else None
    return _build(
        code,
        reason or _phrase(code),
        _text(status.get("message")),
        verb,
        target,
        retry_after=min(wait, _LONGEST_WAIT) if isinstance(wait, int | float) and wait > 0 else None,
        # The API server's own 503 is a refusal; other failures may come after the write.
        ambiguous=writes(verb) and code >= 500 and code != 503,
    )


def from_answer(code: int, headers: Mapping[str, str], body: bytes, verb: str, target: str) -> ApiError:
    """The error that an HTTP answer other than 2xx tells of."""
    status = _status_object(body)
    if status is not None:
        error = from_status(status, verb, target, code=code)
    elif code == 404 and body.strip() == b"404 page not found":  # kube-apiserver's own
        error = _build(code, "NotFound", _UNSERVED, verb, target)
    elif code in (404, 410):  # of these two much follows: only the API server's own word counts
        return bad_answer(code, headers, body, verb, target)
    else:
        ambiguous = writes(verb) and code >= 500
        error = _build(code, _phrase(code), _plain(headers, body), verb, target, ambiguous=ambiguous)
    if error.retry_after is None:
        error.retry_after = _seconds(headers.get("Retry-After", ""))
    return error


def bad_answer(code: int, headers: Mapping[str, str], body: bytes, verb: str, target: str) -> ServerError:
    """The error for an answer that cannot come from an API server, whatever its HTTP status."""
    message = f"{_plain(headers, body)} (not an answer of a Kubernetes API server: a proxy in between?)"
    return ServerError(code, "BadAnswer", message, verb, target, ambiguous=writes(verb))


def _build(
    code: int,
    reason: str,
    message: str,
    verb: str,
    target: str,
    *,
    ambiguous: bool = False,
    retry_after: float | None = None,
) -> ApiError:
    kind = _BY_STATUS.get(code, ServerError if code >= 500 else ApiError)
    if kind is NotFound and message.startswith(_UNSERVED):
        kind, reason = NotServed, "NotServed"
    if kind is Conflict and reason == "AlreadyExists":
        kind = AlreadyExists
    return kind(code, reason, message, verb, target, ambiguous=ambiguous, retry_after=retry_after)


def _status_object(body: bytes) -> dict[str, Any] | None:
    try:
        parsed = json.loads(body)
    except (ValueError, RecursionError):
        return None
    return parsed if isinstance(parsed, dict) and parsed.get("kind") == "Status" else None


def _plain(headers: Mapping[str, str], body: bytes) -> str:
    """What an answer that is no Status says: its type and the start of its text."""
    content_type = headers.get("Content-Type", "").partition(";")[0] or "no content type"
    text = " ".join(body[:2000].decode("utf-8", "replace").split())
    return f"{content_type}: {text[:160]}" if text else f"{content_type}, empty body"


def _phrase(code: int) -> str:
    try:
        return HTTPStatus(code).phrase.replace(" ", "")
    except ValueError:
        return "Unknown"


def _seconds(retry_after: str) -> float | None:
    """Retry-After in seconds; its other form, a date, is no use between two unsynchronised clocks."""
    return min(float(retry_after), _LONGEST_WAIT) if re.fullmatch(r"[0-9]+", retry_after) else None


def _text(value: object) -> str:
    return value if isinstance(value, str) else ""


def _whole(value: object) -> int:
    return value if isinstance(value, int) else 0
