"""The JSONPath of additionalPrinterColumns: fields, indexes, wildcards and equality filters."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from typing import Any

Step = Callable[[Any], list[Any]]

_TOKEN = re.compile(
    r"""\.(?P<field>(?:\\.|[^.\[\]\\])+)"""
    r"""|\['(?P<quoted>(?:\\.|[^'\\])*)'\]"""
    r"""|\[(?P<index>-?\d+)\]"""
    r"""|\[(?P<all>\*|:)\]"""
    r"""|\[\?\(@\.(?P<key>[^=!<>\s]+)\s*==\s*['"]?(?P<value>[^'")]*)['"]?\)\]"""
)


def _field(name: str) -> Step:
    if name == "*":
        return lambda value: list(value.values()) if isinstance(value, dict) else _every(value)
    return lambda value: [value[name]] if isinstance(value, dict) and name in value else []


def _index(at: int) -> Step:
    return lambda value: [value[at]] if isinstance(value, list) and -len(value) <= at < len(value) else []


def _every(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list) else []


def _filter(key: str, wanted: str) -> Step:
    steps = parse(f".{key}")

    def matching(value: Any) -> list[Any]:
        return [item for item in _every(value) if any(str(v) == wanted for v in walk(steps, item))]

    return matching


@functools.lru_cache(maxsize=512)
def parse(path: str) -> tuple[Step, ...]:
    """The steps of a path; what cannot be read finds nothing."""
    text = path.strip().removeprefix("{").removesuffix("}").removeprefix("$")
    text = text if text.startswith((".", "[")) else f".{text}"
    steps: list[Step] = []
    position = 0
    while position < len(text):
        found = _TOKEN.match(text, position)
        if found is None:
            return (lambda _value: [],)
        position = found.end()
        steps.append(_step(found))
    return tuple(steps)


def _step(found: re.Match[str]) -> Step:
    name = found["field"] if found["field"] is not None else found["quoted"]
    if name is not None:
        return _field(re.sub(r"\\(.)", r"\1", name))
    if found["index"]:
        return _index(int(found["index"]))
    if found["all"]:
        return _every
    return _filter(found["key"], found["value"])


def walk(steps: tuple[Step, ...], value: Any) -> list[Any]:
    values = [value]
    for step in steps:
        values = [result for item in values for result in step(item)]
    return values


def find(path: str, body: Any) -> list[Any]:
    """All values at `path` in `body`."""
    return walk(parse(path), body)
