"""Kinds of values that name a place on the network, and what is sent along."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from config.kinds import Kind
from config.problems import MalformedError

Headers = tuple[tuple[str, str], ...]

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, field-name
_VALUE = re.compile(r"[\x21-\x7e](?:[\x20-\x7e\t]*[\x21-\x7e])?")  # RFC 9110, field-value without obs-text
_HOST = r"(?:\[[0-9A-Fa-f:.]+\]|[A-Za-z0-9_.-]*)"


@dataclass(frozen=True, slots=True)
class Url(Kind[str]):
    """An http or https URL without credentials, query or fragment; a trailing slash is dropped."""

    @property
    def allowed(self) -> str:
        return (
            'a URL such as "https://prometheus.monitoring:9090/path", without query and without credentials '
            "(they belong into prometheus.bearer-token-file or prometheus.headers)"
        )

    def parse(self, raw: object) -> str:
        if not isinstance(raw, str) or not re.fullmatch(r"[\x21-\x7e]{1,2000}", raw):
            raise self.refuse()
        try:
            url = urlsplit(raw)
            credentials, port = "@" in url.netloc, url.port
        except ValueError:
            raise self.refuse() from None
        if url.scheme not in ("http", "https") or not url.hostname or credentials or port == 0:
            raise self.refuse()
        if "?" in raw or "#" in raw or "\\" in raw:
            raise self.refuse()
        return raw.rstrip("/")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "format": "uri"}


@dataclass(frozen=True, slots=True)
class ListenAddress(Kind[str]):
    """host:port to listen on; "" (written "off") for not listening."""

    @property
    def allowed(self) -> str:
        return 'host:port such as "0.0.0.0:8081" or ":8081" (port 0: a free one), or "off"'

    def parse(self, raw: object) -> str:
        if raw == "off":
            return ""
        match = re.fullmatch(rf"{_HOST}:([0-9]{{1,5}})", raw) if isinstance(raw, str) else None
        if match is None or int(match[1]) > 65535:
            raise self.refuse()
        return match[0]

    def plain(self, value: str) -> str:
        return value or "off"

    def schema(self) -> dict[str, Any]:
        return {"type": "string"}


@dataclass(frozen=True, slots=True)
class HeaderFields(Kind[Headers]):
    """HTTP request headers: a mapping, or "Name: value" lines. Values may be secrets and are not shown."""

    @property
    def allowed(self) -> str:
        return 'a mapping of header names to texts (in a variable: lines of "Name: value")'

    def parse(self, raw: object) -> Headers:
        if isinstance(raw, str):
            lines = [line for line in raw.splitlines() if line.strip()]
            if not all(":" in line for line in lines):
                raise self.refuse()
            raw = dict(_field(line) for line in lines)
        if not isinstance(raw, Mapping):
            raise self.refuse()
        fields = tuple(sorted((str(name), self._value(str(name), value)) for name, value in raw.items()))
        if len({name.lower() for name, _ in fields}) != len(raw):
            raise MalformedError(f"{self.allowed}, each name once")
        return fields

    def _value(self, name: str, value: object) -> str:
        if not _TOKEN.fullmatch(name):
            raise self.refuse()
        number = isinstance(value, int) and not isinstance(value, bool)  # a tenant called 42
        if not (number or isinstance(value, str)) or not _VALUE.fullmatch(str(value)):
            raise MalformedError(f"{self.allowed}; the value of {name} is no such text")
        return str(value)

    def plain(self, value: Headers) -> dict[str, str]:
        return dict(value)

    def show(self, value: Headers) -> dict[str, str]:
        return {name: "[redacted]" for name, _ in value}

    def schema(self) -> dict[str, Any]:
        return {"type": "object", "additionalProperties": {"type": "string"}}


def _field(line: str) -> tuple[str, str]:
    name, _, value = line.partition(":")
    return name.strip(), value.strip()


@dataclass(frozen=True, slots=True)
class Namespaces(Kind[tuple[str, ...]]):
    """Names of namespaces; () stands for all of them and is written "all"."""

    @property
    def allowed(self) -> str:
        return '"all", or a list of different namespace names'

    def parse(self, raw: object) -> tuple[str, ...]:
        if raw == "all":
            return ()
        items = raw.split(",") if isinstance(raw, str) else raw
        if not isinstance(items, list) or not items:
            raise self.refuse()
        names = tuple(item.strip() if isinstance(item, str) else "" for item in items)
        if not all(re.fullmatch(r"[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?", name) for name in names):
            raise self.refuse()
        if len(set(names)) != len(names):
            raise self.refuse()
        return names

    def plain(self, value: tuple[str, ...]) -> Any:
        return list(value) or "all"

    def schema(self) -> dict[str, Any]:
        return {"oneOf": [{"enum": ["all"]}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
