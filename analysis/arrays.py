"""Dataclasses whose fields are read-only arrays: compared by value, safe to share between states."""

from __future__ import annotations

import dataclasses
from typing import Any, ClassVar, Self

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]


def frozen(array: Floats) -> Floats:
    """The same array, which nobody can write to any more."""
    array.flags.writeable = False
    return array


class Arrays:
    """Base of a frozen dataclass (eq=False) with array fields only, each of shape (rows, its entry in WIDTHS)."""

    __slots__ = ()
    WIDTHS: ClassVar[tuple[int, ...]] = ()

    @classmethod
    def names(cls) -> list[str]:
        """Of the fields, in order."""
        return [f.name for f in dataclasses.fields(cls)]  # type: ignore[arg-type]  # its subclasses are dataclasses

    def replaced(self, **changes: Floats) -> Self:
        """With some arrays exchanged."""
        return type(self)(**{name: getattr(self, name) for name in self.names()} | changes)

    def __eq__(self, other: object) -> bool:
        if type(other) is not type(self):
            return NotImplemented
        pairs = ((getattr(self, name), getattr(other, name)) for name in self.names())
        return all(np.array_equal(a, b) for a, b in pairs)

    def __hash__(self) -> int:
        return hash(tuple(getattr(self, name).tobytes() for name in self.names()))

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), tuple(getattr(self, name) for name in self.names())
