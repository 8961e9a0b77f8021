"""The OpenAPI v2 document in the protobuf form that kubectl reads.

It says one thing: which query parameters a patch of each kind knows. That is how kubectl before 1.27 finds
out whether the server runs dry and validates fields.
"""

from __future__ import annotations

from collections.abc import Iterable

from canaryd.sandbox.apiserver.store import dump


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def _field(number: int, value: str | bytes) -> bytes:
    data = value.encode() if isinstance(value, str) else value
    return _varint(number << 3 | 2) + _varint(len(data)) + data


def _query_parameter(name: str) -> bytes:
    query = _field(2, "query") + _field(4, name)
    return _field(8, _field(1, _field(2, _field(3, query))))


def _patch(kind: dict[str, str], parameters: Iterable[str]) -> bytes:
    known = b"".join(_query_parameter(name) for name in parameters)
    extension = _field(1, "x-kubernetes-group-version-kind") + _field(2, _field(2, dump(kind)))
    return known + _field(13, extension)


def document(
    title: str, version: str, patches: dict[str, dict[str, str]], parameters: Iterable[str]
) -> bytes:
    """The document for `patches`: path -> group, version and kind of what is patched there."""
    names = tuple(parameters)
    items = [
        _field(2, _field(1, path) + _field(2, _field(8, _patch(kind, names))))
        for path, kind in patches.items()
    ]
    info = _field(1, title) + _field(2, version)
    return _field(1, "2.0") + _field(2, info) + _field(8, b"".join(items))
