"""What the API server answers when it refuses: the `Status` objects of the Kubernetes API.

Every refusal inside the server is a `StatusError`; the HTTP edge turns it into its `Status` body.
The wording follows kube-apiserver's, because clients and people match on it.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

from canaryd.cluster.resources import Json


@dataclass(frozen=True, slots=True)
class Cause:
    """One reason why an object is invalid; `path` is its field as in `spec.ports[0].port`."""

    path: str
    reason: str
    message: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


def shown(value: object) -> str:
    """Print a value as the server prints it inside an error: strings quoted, the rest as JSON."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def required(path: str, detail: str = "") -> Cause:
    return Cause(path, "FieldValueRequired", "Required value" + (f": {detail}" if detail else ""))


def bad_value(path: str, value: object, detail: str) -> Cause:
    return Cause(path, "FieldValueInvalid", f"Invalid value: {shown(value)}: {detail}")


def bad_type(path: str, value: object, detail: str) -> Cause:
    return Cause(path, "FieldValueTypeInvalid", f"Invalid value: {shown(value)}: {detail}")


def unsupported(path: str, value: object, allowed: Sequence[object]) -> Cause:
    choices = ", ".join(shown(choice) for choice in allowed)
    return Cause(
        path, "FieldValueNotSupported", f"Unsupported value: {shown(value)}: supported values: {choices}"
    )


def forbidden_field(path: str, detail: str) -> Cause:
    return Cause(path, "FieldValueForbidden", f"Forbidden: {detail}")


def duplicate(path: str, value: object) -> Cause:
    return Cause(path, "FieldValueDuplicate", f"Duplicate value: {shown(value)}")


class StatusError(Exception):
    """A refusal with its HTTP code; `reason` and `details` as in meta/v1 Status."""

    def __init__(
        self,
        code: int,
        reason: str,
        message: str,
        details: Json | None = None,
        retry_after: int | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.reason = reason
        self.message = message
        self.details = details
        self.retry_after = retry_after

    def body(self) -> Json:
        status: Json = {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "code": self.code,
        }
        if self.reason:
            status["reason"] = self.reason
        if self.details is not None:
            status["details"] = self.details
        return status


@dataclass(frozen=True, slots=True)
class Target:
    """The object that a refusal is about, in the forms that messages need."""

    group: str
    plural: str
    kind: str
    name: str = ""

    @property
    def resource(self) -> str:
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def group_kind(self) -> str:
        return f"{self.kind}.{self.group}" if self.group else self.kind

    def details(self, *, by_kind: bool = False, causes: Sequence[Cause] = ()) -> Json:
        found: Json = {"name": self.name} if self.name else {}
        if self.group:
            found["group"] = self.group
        found["kind"] = self.kind if by_kind else self.plural
        if causes:
            found["causes"] = [{"reason": c.reason, "message": c.message, "field": c.path} for c in causes]
        return found


def not_found(target: Target) -> StatusError:
    return StatusError(404, "NotFound", f'{target.resource} "{target.name}" not found', target.details())


def no_such_path() -> StatusError:
    return StatusError(404, "NotFound", "the server could not find the requested resource", {})


class NotServed(StatusError):  # noqa: N818 - the word of the API
    """404 for a group or a custom kind that is not there at all: the one answer that is no Status."""

    def __init__(self) -> None:
        super().__init__(404, "NotFound", "404 page not found\n")


def internal(message: str) -> StatusError:
    """A 500 without a reason, which is how the server passes on what it did not foresee."""
    return StatusError(500, "", message)


def already_exists(target: Target) -> StatusError:
    return StatusError(
        409, "AlreadyExists", f'{target.resource} "{target.name}" already exists', target.details()
    )


def conflict(target: Target, why: str) -> StatusError:
    message = f'Operation cannot be fulfilled on {target.resource} "{target.name}": {why}'
    return StatusError(409, "Conflict", message, target.details())


def stale(target: Target) -> StatusError:
    why = "the object has been modified; please apply your changes to the latest version and try again"
    return conflict(target, why)


def invalid(target: Target, causes: Sequence[Cause]) -> StatusError:
    listed = ", ".join(str(cause) for cause in causes)
    listed = f"[{listed}]" if len(causes) > 1 else listed
    message = f'{target.group_kind} "{target.name}" is invalid: {listed}'
    return StatusError(422, "Invalid", message, target.details(by_kind=True, causes=causes))


def bad_request(message: str) -> StatusError:
    return StatusError(400, "BadRequest", message)


def forbidden(target: Target, why: str, causes: Sequence[Cause] = ()) -> StatusError:
    message = f'{target.resource} "{target.name}" is forbidden: {why}'
    return StatusError(403, "Forbidden", message, target.details(causes=causes))


def undecodable(kind: str, version: str, why: str) -> str:
    """The message for a body that does not fit its kind."""
    return f'{kind} in version "{version}" cannot be handled as a {kind}: {why}'


def expired(message: str) -> StatusError:
    return StatusError(410, "Expired", message)


def method_not_allowed() -> StatusError:
    return StatusError(
        405, "MethodNotAllowed", "the server does not allow this method on the requested resource", {}
    )


def unsupported_media(accepted: Sequence[str]) -> StatusError:
    message = "the body of the request was in an unknown format - accepted media types include: " + ", ".join(
        accepted
    )
    return StatusError(415, "UnsupportedMediaType", message)
