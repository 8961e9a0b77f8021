"""Frozen dataclasses to JSON and back, strictly: for states that must survive a restart bit for bit.

Python writes a float as the shortest text that reads back as the same double, so JSON loses nothing; a JSON
library that writes 1.0 as 1 is understood. A tuple of floats becomes one line of base64 (doubles, little
endian): a third of the size, and one line in `kubectl get -o yaml`; so does an array. Infinities and NaN are refused on the way
in: no state has any.
"""

from __future__ import annotations

import base64
import dataclasses
import functools
import math
import struct
import types
import typing
from collections.abc import Mapping
from typing import Any, TypeVar

import numpy as np

from analysis.arrays import Arrays, frozen
from analysis.errors import BadState

T = TypeVar("T")


def encode(value: Any) -> Any:
    """A JSON-able copy of a dataclass of numbers, text, tuples, arrays and such dataclasses."""
    if isinstance(value, np.ndarray):
        return base64.b64encode(np.ascontiguousarray(value, dtype="<f8").tobytes()).decode("ascii")
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: encode(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, tuple):
        if value and all(isinstance(item, float) for item in value):
            return base64.b64encode(struct.pack(f"<{len(value)}d", *value)).decode("ascii")
        return [encode(item) for item in value]
    return value


def decode(cls: type[T], raw: Any, where: str) -> T:
    """The dataclass that `encode` wrote; `where` names it in BadState, which every misfit raises."""
    if not isinstance(raw, Mapping):
        raise BadState(where, raw, "a mapping")
    if issubclass(cls, Arrays):
        return typing.cast(T, _arrays(cls, raw, where))
    hints = _hints(typing.cast(Any, cls))
    for key in raw:
        if key not in hints:
            raise BadState(f"{where}.{key}", raw[key], "a known field")
    missing = [name for name in hints if name not in raw]
    if missing:
        raise BadState(f"{where}.{missing[0]}", None, "there")
    return cls(**{name: _value(hint, raw[name], f"{where}.{name}") for name, hint in hints.items()})


def _arrays(cls: type[Arrays], raw: Mapping[str, Any], where: str) -> Arrays:
    """Arrays whose rows are as wide as their class says; how many there are is for the caller to check."""
    if set(raw) != set(cls.names()):
        raise BadState(where, sorted(raw), f"the arrays {', '.join(cls.names())}")
    arrays = {}
    for name, width in zip(cls.names(), cls.WIDTHS, strict=True):
        values = _unpacked(raw[name], f"{where}.{name}")
        if len(values) % width or not all(map(math.isfinite, values)):
            raise BadState(f"{where}.{name}", raw[name], f"rows of {width} finite numbers")
        arrays[name] = frozen(np.array(values, dtype=np.float64).reshape(-1, width))
    return cls(**arrays)


@functools.cache
def _hints(cls: Any) -> dict[str, Any]:
    return typing.get_type_hints(cls)


def _value(hint: Any, raw: Any, where: str) -> Any:
    if typing.get_origin(hint) in {types.UnionType, typing.Union}:
        if raw is None:
            return None
        (hint,) = (arm for arm in typing.get_args(hint) if arm is not type(None))
    if typing.get_origin(hint) is tuple:
        if isinstance(raw, str) and typing.get_args(hint)[0] is float:
            raw = _unpacked(raw, where)
        if not isinstance(raw, list | tuple):
            raise BadState(where, raw, "a list")
        item = typing.get_args(hint)[0]
        return tuple(_value(item, one, f"{where}[{i}]") for i, one in enumerate(raw))
    if dataclasses.is_dataclass(hint):
        return decode(typing.cast("type[Any]", hint), raw, where)
    return _scalar(hint, raw, where)


def _unpacked(raw: object, where: str) -> tuple[float, ...]:
    if not isinstance(raw, str):
        raise BadState(where, raw, "doubles in base64")
    try:
        packed = base64.b64decode(raw, validate=True)
        return struct.unpack(f"<{len(packed) // 8}d", packed)
    except (ValueError, struct.error):
        raise BadState(where, raw, "doubles in base64") from None


def _scalar(hint: Any, raw: Any, where: str) -> Any:
    if hint is bool or hint is str:
        if isinstance(raw, hint):
            return raw
    elif isinstance(raw, int | float) and not isinstance(raw, bool) and math.isfinite(raw):
        if hint is float:
            return float(raw)
        if hint is int and raw == int(raw):
            return int(raw)
    raise BadState(where, raw, f"a finite {hint.__name__}" if hint is float else f"of type {hint.__name__}")
