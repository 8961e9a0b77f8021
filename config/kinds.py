"""The sorts of value a knob can have: how each is read, written back, described and put into a schema.

A kind reads what YAML, an environment variable or an annotation gives (a string, or what YAML made of it)
and either returns a value that needs no further check or raises `MalformedError` with what is allowed.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Generic, TypeVar

from config.problems import MalformedError, did_you_mean
from config.quantities import parse_decimal, parse_seconds, parse_whole, spell_seconds, split_list

T = TypeVar("T")


class Kind(ABC, Generic[T]):
    """One sort of value. `parse` never raises anything but `MalformedError`."""

    @property
    @abstractmethod
    def allowed(self) -> str:
        """What is allowed, as the end of an error message."""

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
        return str(shown).lower() if isinstance(shown, bool) else str(shown)

    def refuse(self) -> MalformedError:
        return MalformedError(self.allowed)


@dataclass(frozen=True, slots=True)
class Duration(Kind[float]):
    """Seconds, written "90s", "1h30m", "500ms" or as a plain number; `low` and `high` in seconds."""

    low: float
    high: float

    @property
    def allowed(self) -> str:
        span = f"from {spell_seconds(self.low)} to {spell_seconds(self.high)}"
        return f'a duration {span}, such as "90s" or "1h30m"'

    @property
    def unit(self) -> str:
        return "seconds"

    def parse(self, raw: object) -> float:
        seconds = parse_seconds(raw)
        if seconds is None or not self.low <= seconds <= self.high:
            raise self.refuse()
        return seconds

    def plain(self, value: float) -> float:
        return int(value) if value.is_integer() else value

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
        return f"a number from {self.low:g} to {self.high:g}"

    @property
    def unit(self) -> str:
        return self.of

    def parse(self, raw: object) -> float:
        number = parse_decimal(raw)
        if number is None or not self.low <= number <= self.high:
            raise self.refuse()
        return number

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
        return f"a whole number from {self.low} to {self.high}"

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
class Ladder(Kind[tuple[int, ...]]):
    """The steps of a run: rising weights in percent, at least two, the last 100."""

    @property
    def allowed(self) -> str:
        return 'at least two rising whole percentages from 1, the last 100, such as "1,5,25,50,100"'

    @property
    def unit(self) -> str:
        return "percent"

    def parse(self, raw: object) -> tuple[int, ...]:
        items = split_list(raw)
        if items is None or not 2 <= len(items) <= 100:
            raise self.refuse()
        weights = [weight for weight in map(parse_whole, items) if weight is not None]
        rising = all(low < high for low, high in pairwise(weights))
        if len(weights) != len(items) or not rising or weights[0] < 1 or weights[-1] != 100:
            raise self.refuse()
        return tuple(weights)

    def plain(self, value: tuple[int, ...]) -> list[int]:
        return list(value)

    def schema(self) -> dict[str, Any]:
        item = {"type": "integer", "minimum": 1, "maximum": 100}
        return {"type": "array", "items": item, "minItems": 2, "maxItems": 100}


@dataclass(frozen=True, slots=True)
class Edges(Kind[tuple[float, ...]]):
    """Rising durations, at most `most`; none is allowed."""

    most: int

    @property
    def allowed(self) -> str:
        return f'at most {self.most} rising durations above 0, such as "250ms,1s", or none'

    @property
    def unit(self) -> str:
        return "seconds"

    def parse(self, raw: object) -> tuple[float, ...]:
        items = split_list(raw)
        if items is None and parse_decimal(raw) is not None:
            items = [raw]
        if items is None or len(items) > self.most:
            raise self.refuse()
        edges = [edge for edge in map(parse_seconds, items) if edge is not None and 0 < edge <= 3600]
        rising = all(low < high for low, high in pairwise(edges))
        if len(edges) != len(items) or not rising:
            raise self.refuse()
        return tuple(edges)

    def plain(self, value: tuple[float, ...]) -> list[float]:
        return list(value)

    def show(self, value: tuple[float, ...]) -> list[str]:
        return [spell_seconds(edge) for edge in value]

    def schema(self) -> dict[str, Any]:
        item = {"type": "number", "minimum": 0, "maximum": 3600}
        return {"type": "array", "items": item, "maxItems": self.most}


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


@dataclass(frozen=True, slots=True)
class Texts(Kind[tuple[str, ...]]):
    """A list of different texts, as YAML or separated by commas; the empty list only where `least` is 0."""

    item: Text
    what: str
    least: int = 0

    @property
    def allowed(self) -> str:
        return self.what

    def parse(self, raw: object) -> tuple[str, ...]:
        items = split_list(raw)
        if items is None or len(items) < self.least:
            raise self.refuse()
        try:
            texts = tuple(self.item.parse(item) for item in items)
        except MalformedError:
            raise self.refuse() from None
        if len(set(texts)) != len(texts):
            raise self.refuse()
        return texts

    def plain(self, value: tuple[str, ...]) -> list[str]:
        return list(value)

    def schema(self) -> dict[str, Any]:
        return {"type": "array", "items": self.item.schema()}
