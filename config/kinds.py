"""The sorts of value a knob can have: how each is read, written back, described and put into a schema.

A kind reads what YAML, an environment variable or an annotation gives (a string, or what YAML made of it)
and either returns a value that needs no further check or raises `MalformedError` with what is allowed.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from config.problems import MalformedError, did_you_mean
from config.quantities import (
    parse_decimal,
    parse_seconds,
    parse_whole,
    spell_number,
    spell_seconds,
)

T = TypeVar("T")


class Kind(ABC, Generic[T]):
    """One sort of value. `parse` never raises anything but `MalformedError`."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """What is allowed, as the end of an error message."""

    @property
    def range(self) -> str:
        """What is allowed, as short as the reference has it."""
        return self.allowed

    @property
    def unit(self) -> str:
        """The unit of the value as canaryd holds it, or "" where there is none."""
        return ""

    @abstractmethod
    def parse(self, raw: object) -> T:
        """The value that `raw` stands for; `MalformedError` when it stands for none."""

    @abstractmethod
    def schema(self) -> dict[str, Any]:
        """OpenAPI schema (structural, as a CRD wants it) of `plain`."""

    def plain(self, value: T) -> Any:
        """`value` as JSON, in the unit of the knob; `parse` reads it back."""
        return value

    def show(self, value: T) -> Any:
        """`value` as a person would write it in YAML; `parse` reads it back."""
        return self.plain(value)

    def spell(self, value: T) -> str:
        """`value` on one line, as an annotation or a message has it; `parse` reads it back."""
        shown = self.show(value)
        if isinstance(shown, list):
            return ",".join(str(item) for item in shown)
        if isinstance(shown, bool):
            return str(shown).lower()
        return spell_number(shown) if isinstance(shown, float) else str(shown)

    def refuse(self) -> MalformedError:
        return MalformedError(self.allowed)


@dataclass(frozen=True, slots=True)
class Duration(Kind[float]):
    """Seconds, written "90s", "1h30m", "500ms" or as a plain number; `low` and `high` in seconds."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        return f'a duration from {self.range}, such as "90s" or "1h30m"'

    @property
    def range(self) -> str:
        return f"{spell_seconds(self.low)} to {spell_seconds(self.high)}"

    @property
    def unit(self) -> str:
        return "seconds"

    def parse(self, raw: object) -> float:
        seconds = parse_seconds(raw)
        if seconds is None or not self.low <= seconds <= self.high:
            raise self.refuse()
        return seconds

    def plain(self, value: float) -> float:
        return int(value) if float(value).is_integer() else value

    def show(self, value: float) -> str:
        return spell_seconds(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Number(Kind[float]):
    """A number from `low` to `high`, both included."""

    low: float
    high: float
    of: str = ""

    @property
    def allowed(self) -> str:
        return f"a number from {self.range}"

    @property
    def range(self) -> str:
        return f"{spell_number(self.low)} to {spell_number(self.high)}"

    @property
    def unit(self) -> str:
        return self.of

    def parse(self, raw: object) -> float:
        number = parse_decimal(raw)
        if number is None or not self.low <= number <= self.high:
            raise self.refuse()
        return number

    def plain(self, value: float) -> float:
        return int(value) if value.is_integer() else value

    def schema(self) -> dict[str, Any]:
        return {"type": "number", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Integer(Kind[int]):
    """A whole number from `low` to `high`, both included."""

    low: int
    high: int
    of: str = ""

    @property
    def allowed(self) -> str:
        return f"a whole number from {self.range}"

    @property
    def range(self) -> str:
        return f"{self.low} to {self.high}"

    @property
    def unit(self) -> str:
        return self.of

    def parse(self, raw: object) -> int:
        number = parse_whole(raw)
        if number is None or not self.low <= number <= self.high:
            raise self.refuse()
        return number

    def schema(self) -> dict[str, Any]:
        return {"type": "integer", "minimum": self.low, "maximum": self.high}


@dataclass(frozen=True, slots=True)
class Flag(Kind[bool]):
    """true or false, in exactly these spellings."""

    @property
    def allowed(self) -> str:
        return '"true" or "false"'

    def parse(self, raw: object) -> bool:
        if raw is True or raw == "true":
            return True
        if raw is False or raw == "false":
            return False
        raise self.refuse()

    def schema(self) -> dict[str, Any]:
        return {"type": "boolean"}


@dataclass(frozen=True, slots=True)
class Choice(Kind[str]):
    """One of a few words."""

    words: tuple[str, ...]

    @property
    def allowed(self) -> str:
        return "one of " + ", ".join(f'"{word}"' for word in self.words)

    def parse(self, raw: object) -> str:
        if isinstance(raw, str) and raw in self.words:
            return raw
        hint = did_you_mean(raw, self.words) if isinstance(raw, str) else ""
        raise MalformedError(self.allowed + hint)

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "enum": list(self.words)}


@dataclass(frozen=True, slots=True)
class Text(Kind[str]):
    """Text that `pattern` matches in full; `what` describes it."""

    what: str
    pattern: str = r"[^\x00-\x1f\x7f]+"
    longest: int = 253

    @property
    def allowed(self) -> str:
        return self.what

    def parse(self, raw: object) -> str:
        if isinstance(raw, str) and len(raw) <= self.longest and re.fullmatch(self.pattern, raw):
            return raw
        raise self.refuse()

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": self.longest}
