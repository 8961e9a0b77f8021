"""Fields of raw objects, read with the type that they must have: what is read here is trusted from here on.

A field that is null is a field that is missing, as API servers have it.
"""

from __future__ import annotations

from typing import Any, TypeVar

from canaryd.cluster.resources import Json

T = TypeVar("T")


def value(raw: Json, key: str, default: T) -> T:
    """A field of the type that its default has; the default where it is missing. TypeError if it is another."""
    found = raw.get(key)
    if found is None:
        return default
    if type(found) is not type(default):
        raise TypeError(f"{key}: {found!r} is not of type {type(default).__name__}")
    return found


def number(raw: Json, key: str) -> float | None:
    """A number, None where there is none. TypeError if it is something else."""
    found = raw.get(key)
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, int | float):
        raise TypeError(f"{key}: {found!r} is not a number")
    return float(found)


def part(raw: Json, key: str) -> Json:
    """An object, empty where it is missing."""
    return value(raw, key, {})


def entries(raw: Json, key: str) -> list[Any]:
    """A list, empty where it is missing."""
    return value(raw, key, [])
