"""What a request asks for: its URL and query taken apart, once, at the edge."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from canaryd.sandbox.apiserver.errors import bad_request

_NAMESPACE_SUBRESOURCES = ("status", "finalize")


@dataclass(frozen=True, slots=True)
class ApiPath:
    """A path below /api/v1 or /apis/GROUP/VERSION."""

    group: str
    version: str
    plural: str
    namespace: str = ""
    name: str = ""
    subresource: str = ""


def parse_path(path: str) -> ApiPath | None:
    """Take a resource path apart; None where it is not one."""
    parts = [part for part in path.split("/") if part]
    if parts[:1] == ["api"] and len(parts) > 2:
        group, version, rest = "", parts[1], parts[2:]
    elif parts[:1] == ["apis"] and len(parts) > 3:
        group, version, rest = parts[1], parts[2], parts[3:]
    else:
        return None
    namespace = ""
    if rest[0] == "namespaces" and len(rest) > 2 and rest[2] not in _NAMESPACE_SUBRESOURCES:
        namespace, rest = rest[1], rest[2:]
    if len(rest) > 3:
        return None
    plural, name, subresource = (*rest, "", "")[:3]
    return ApiPath(group, version, plural, namespace, name, subresource)


@dataclass(frozen=True, slots=True)
class RequestInfo:
    """One API request, as the `reject` hook and the write records see it.

    `verb` is the API verb: get, list, watch, create, update, patch, delete or deletecollection.
    """

    verb: str
    path: ApiPath
    query: Mapping[str, str]
    user_agent: str = ""
    content_type: str = ""
    accept: str = ""
    body: bytes = b""

    @property
    def dry_run(self) -> bool:
        asked = self.query.get("dryRun", "")
        if asked not in ("", "All"):
            raise bad_request(f'Invalid value: "{asked}": dryRun: supported values: "All"')
        return asked == "All"

    @property
    def manager(self) -> str:
        """Who writes, for metadata.managedFields: the named field manager, else the client's name."""
        return self.query.get("fieldManager") or self.user_agent.split("/")[0][:128] or "unknown"

    @property
    def field_validation(self) -> str:
        return self.query.get("fieldValidation", "Warn")

    def flag(self, name: str) -> bool:
        return self.query.get(name, "").lower() in ("true", "1")

    def number(self, name: str) -> int | None:
        text = self.query.get(name, "")
        if not text:
            return None
        try:
            return int(text)
        except ValueError:
            raise bad_request(f'strconv.ParseInt: parsing "{text}": invalid syntax') from None


def verb_of(method: str, path: ApiPath, query: Mapping[str, str]) -> str:
    """The API verb of an HTTP method on a path."""
    watching = query.get("watch", "").lower() in ("true", "1")
    match method:
        case "GET" if not path.name:
            return "watch" if watching else "list"
        case "POST":
            return "create"
        case "PUT":
            return "update"
        case "PATCH":
            return "patch"
        case "DELETE":
            return "delete" if path.name else "deletecollection"
        case _:
            return "get"
