"""Lines of text in little space: as a gzip file in base64, the same lines always as the same text."""

from __future__ import annotations

import base64
import gzip
import zlib
from collections.abc import Sequence


def packed(lines: Sequence[str]) -> str:
    """The lines as text for a field of an object; "" for none."""
    if not lines:
        return ""
    data = gzip.compress("".join(f"{line}\n" for line in lines).encode(), mtime=0)
    return base64.b64encode(data).decode()


def unpacked(text: str) -> tuple[str, ...]:
    """The lines that `packed` was given. ValueError where it cannot have been."""
    if not text:
        return ()
    try:
        lines = gzip.decompress(base64.b64decode(text, validate=True)).decode().split("\n")
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(str(error)) from None
    if len(lines) < 2 or lines.pop():
        raise ValueError("the last line has no end")
    return tuple(lines)
