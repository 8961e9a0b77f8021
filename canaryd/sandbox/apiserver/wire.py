"""Request bodies in Kubernetes' protobuf form, turned into the JSON objects that they stand for."""

from __future__ import annotations

import base64
import datetime as dt
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import StatusError, bad_request
from canaryd.sandbox.apiserver.wire_messages import MESSAGES

_MAGIC = b"k8s\x00"
_EMPTY: tuple[Any, ...] = ("", 0, False, {}, [], None)


@dataclass(frozen=True, slots=True)
class _Field:
    name: str
    type: str
    pointer: bool = False
    many: bool = False
    mapped: bool = False
    inline: bool = False


@functools.cache
def _messages() -> dict[str, dict[int, _Field]]:
    found = {}
    for line in MESSAGES.strip().splitlines():
        name, _, fields = line.partition(":")
        found[name] = dict(_field(text.split()) for text in fields.split(","))
    return found


def _field(words: list[str]) -> tuple[int, _Field]:
    number, name, kind = words
    plain = kind.lstrip("?[]{}=")
    return int(number), _Field(
        name,
        plain,
        pointer=kind.startswith("?"),
        many=kind.startswith("[]"),
        mapped=kind.startswith("{}"),
        inline=kind.startswith("="),
    )


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        byte = data[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return value, at


def _entries(data: bytes) -> Iterator[tuple[int, Any]]:
    """The (number, value) pairs of one message: integers, or bytes."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, form = tag >> 3, tag & 7
        if form == 0:
            value, at = _varint(data, at)
            yield number, value
        elif form == 2:
            size, at = _varint(data, at)
            if at + size > len(data):
                raise IndexError(at)
            yield number, data[at : at + size]
            at += size
        else:
            raise bad_request(f"protobuf wire type {form} is not expected here")


def _signed(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def _value(kind: str, raw: Any) -> Any:
    decode = _DECODERS.get(kind)
    return decode(raw) if decode else _message(kind, raw)


def _quantity(raw: bytes) -> str:
    return next((value.decode() for _, value in _entries(raw)), "")


def _int_or_string(raw: bytes) -> int | str:
    parts = dict(_entries(raw))
    return parts.get(3, b"").decode() if parts.get(1) else _signed(parts.get(2, 0))


def _time(raw: bytes) -> str | None:
    parts: dict[int, int] = dict(_entries(raw))
    if not parts:
        return None
    moment = dt.datetime.fromtimestamp(parts.get(1, 0), dt.UTC)
    if not parts.get(2):
        return moment.strftime("%Y-%m-%dT%H:%M:%SZ")
    return moment.replace(microsecond=parts[2] // 1000).isoformat().replace("+00:00", "Z")


_DECODERS: dict[str, Callable[[Any], Any]] = {
    "str": lambda raw: raw.decode(),
    "int": _signed,
    "bool": bool,
    "bytes": lambda raw: base64.b64encode(raw).decode(),
    "Quantity": _quantity,
    "IntOrString": _int_or_string,
    "Time": _time,
}


def _message(name: str, data: bytes) -> Json:
    fields = _messages()[name]
    body: Json = {}
    for number, raw in _entries(data):
        known = fields.get(number)
        if known is None:
            raise StatusError(
                415,
                "UnsupportedMediaType",
                f"field {number} of {name} is not understood in protobuf here; send JSON instead",
            )
        if known.type != "-":
            _put(body, known, raw)
    return body


def _put(body: Json, field: _Field, raw: Any) -> None:
    if field.mapped:
        pair = dict(_entries(raw))
        body.setdefault(field.name, {})[pair.get(1, b"").decode()] = _value(field.type, pair.get(2, b""))
    elif field.many:
        body.setdefault(field.name, []).append(_value(field.type, raw))
    elif field.inline:
        body.update(_value(field.type, raw))
    else:
        value = _value(field.type, raw)
        if field.pointer or value not in _EMPTY:
            body[field.name] = value


def decode_protobuf(data: bytes) -> Json:
    """The object in an enveloped protobuf body. Raises 400 for garbage, 415 for kinds not understood."""
    if not data.startswith(_MAGIC):
        raise bad_request("the body does not start as Kubernetes protobuf does")
    try:
        envelope = dict(_entries(data[len(_MAGIC) :]))
        kinds = {number: value.decode() for number, value in _entries(envelope[1])}
        api_version, kind = kinds.get(1, ""), kinds.get(2, "")
        if kind not in _messages() or (kind == "Event" and api_version != "v1"):
            message = f"{kind} of {api_version} is not understood in protobuf here; send JSON instead"
            raise StatusError(415, "UnsupportedMediaType", message)
        return {"apiVersion": api_version, "kind": kind, **_message(kind, envelope.get(2, b""))}
    except (IndexError, KeyError, UnicodeDecodeError) as error:
        raise bad_request("the protobuf body cannot be read") from error
