"""Keeps secrets out of what is written: by the name of a key, and by the look of a text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final

REDACTED: Final = "[redacted]"

_SECRET_KEY = re.compile(
    r"authorization|cookie|passw(?:or)?d|secret|credential|(?:^|[-_.])token$|api[-_]?key|private[-_]?key",
    re.IGNORECASE,
)
# Each keeps what its group `kept` matched. Lengths are bounded: lines of a pod's log come through here too.
_SECRET_TEXTS: Final = tuple(
    re.compile(pattern, re.IGNORECASE)
    for pattern in (
        r"(?P<kept>://)[^/?#\s\"'<>]{1,2000}(?=@)",  # user:password of a URL
        r"(?P<kept>\bauthorization\b[\"']?\s{0,9}[:=]\s{0,9}[\"']?(?:(?:bearer|basic)\s{1,9})?)[^\s\"',;]+",
        r"(?P<kept>\b(?:bearer|basic)\s{1,9})[A-Za-z0-9._~+/=-]{8,}",
        r"(?P<kept>\b)eyJ[A-Za-z0-9_-]{8,4000}\.[A-Za-z0-9_-]{8,4000}(?:\.[A-Za-z0-9_-]{0,4000})?",  # a JWT
        r"(?P<kept>\b)xox[a-z]-[A-Za-z0-9-]{8,400}",  # Slack's tokens
        r"(?P<kept>hooks\.slack\.com/)[^\s\"'<>]+",  # the path of Slack's webhooks is the secret
        r"(?P<kept>[?&](?:access_|id_)?(?:token|password|secret|api_?key)=)[^&\s\"'<>]+",
    )
)
_DEEPEST: Final = 8


def redact_text(text: str) -> str:
    """`text` without credentials of URLs, authorization headers, bearer tokens, JWTs and Slack's secrets."""
    for pattern in _SECRET_TEXTS:
        text = pattern.sub(rf"\g<kept>{REDACTED}", text)
    return text


def redact_value(key: str, value: Any, depth: int = 0) -> Any:
    """`value` of `key` as it may be written: numbers and nothing as they are, all else as redacted text."""
    if value is None or isinstance(value, bool):
        return value
    if _SECRET_KEY.search(key):
        return REDACTED
    if isinstance(value, int | float):
        return value
    if depth < _DEEPEST and isinstance(value, Mapping):
        return {str(name): redact_value(str(name), item, depth + 1) for name, item in value.items()}
    if depth < _DEEPEST and isinstance(value, list | tuple | set | frozenset):
        return [redact_value("", item, depth + 1) for item in value]
    return redact_text(value if isinstance(value, str) else repr(value))
