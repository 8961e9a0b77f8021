"""The sorts of lists a knob can have; each is written as a YAML list or as a text with commas."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from config.kinds import Kind, Text
from config.problems import MalformedError
from config.quantities import parse_decimal, parse_seconds, parse_whole, spell_seconds, split_list


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
