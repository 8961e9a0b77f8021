"""Strips: one row of a chart as inline SVG. Positions across are percentages, so that a strip fits any width."""

from __future__ import annotations

import html
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

LANE: Final = 11  # pixels from one judge to the next
_PAD: Final = 9
_LEFT, _RIGHT = 1.0, 99.0  # percent, so that marks at the ends are whole

_SQUARES: Final = frozenset({"z-test", "fisher"})


@dataclass(frozen=True, slots=True)
class Scale:
    """Values to places: linear up to `unit`, logarithmic above, `most` at the right end.

    ticks: value and label; never: the share of the width, at the right, for what never happened.
    """

    unit: float
    most: float
    ticks: tuple[tuple[float, str], ...]
    never: float = 0.0

    def at(self, value: float) -> float:
        """Percent of the width; what is infinite never happened."""
        if value == math.inf:
            return self.at_never
        share = math.log1p(min(max(value, 0.0), self.most) / self.unit) / math.log1p(self.most / self.unit)
        return _LEFT + (_RIGHT - _LEFT) * (1 - self.never) * share

    @property
    def at_never(self) -> float:
        """Percent of the width: the middle of what is left for "never"."""
        return 100 - 50 * self.never


@dataclass(frozen=True, slots=True)
class Mark:
    """One judge in a strip. value: None for never; low, high: a line through it (infinite: up to never); hollow:
    not to be read alone; tip: what a pointer that rests on it is told."""

    judge: str
    value: float | None
    tip: str
    low: float | None = None
    high: float | None = None
    hollow: bool = False


@dataclass(frozen=True, slots=True)
class Rule:
    """A vertical line across a strip: a bound or a floor. kind: its class."""

    value: float
    kind: Literal["bound", "floor"]
    tip: str = ""


def strip(scale: Scale, marks: Sequence[Mark], judges: Sequence[str], rules: Sequence[Rule] = ()) -> str:
    """One row: a lane for each of `judges`, in their order."""
    height = 2 * _PAD + LANE * (len(judges) - 1)
    parts = [_grid(scale, height)]
    parts += [_rule(scale, rule, height) for rule in rules]
    lanes = {judge: _PAD + LANE * lane for lane, judge in enumerate(judges)}
    parts += [_mark(scale, mark, lanes[mark.judge]) for mark in marks if mark.judge in lanes]
    return f'<svg class="strip" height="{height}" role="img">{"".join(parts)}</svg>'


def axis(scale: Scale, never: str = "never") -> str:
    """The row of tick labels."""
    places = [(scale.at(value), label) for value, label in scale.ticks]
    if scale.never:
        places.append((scale.at_never, never))
    texts = [
        f'<text x="{x:.2f}%" y="12" text-anchor="{_anchor(x)}">{html.escape(t)}</text>' for x, t in places
    ]
    return f'<svg class="axis" height="17" aria-hidden="true">{"".join(texts)}</svg>'


def swatch(judge: str) -> str:
    """The judge's mark, for the legend."""
    mark = _shape(judge, "50%", 8, hollow=False)
    return (
        f'<svg class="swatch" width="16" height="16" aria-hidden="true"><g class="j {judge}">{mark}</g></svg>'
    )


def bar(share: float, judge: str) -> str:
    """A small bar under a number; share: 0..1."""
    width = 100 * min(max(share, 0.0), 1.0)
    return (
        '<svg class="bar" height="4" aria-hidden="true"><rect class="rail" width="100%" height="4" rx="2"/>'
        f'<g class="j {judge}"><rect class="fill" width="{width:.1f}%" height="4" rx="2"/></g></svg>'
    )


def _anchor(x: float) -> str:
    return "start" if x < 5 else "end" if x > 96 else "middle"


def _grid(scale: Scale, height: int) -> str:
    lines = [
        f'<line x1="{scale.at(v):.2f}%" x2="{scale.at(v):.2f}%" y1="0" y2="{height}"/>'
        for v, _ in scale.ticks
    ]
    if scale.never:
        left = 100 - 100 * scale.never
        lines.append(
            f'<rect class="never" x="{left:.2f}%" width="{100 * scale.never:.2f}%" height="{height}"/>'
        )
    return f'<g class="grid">{"".join(lines)}</g>'


def _rule(scale: Scale, rule: Rule, height: int) -> str:
    x = f"{scale.at(rule.value):.2f}%"
    tip = f"<title>{html.escape(rule.tip)}</title>" if rule.tip else ""
    return f'<line class="{rule.kind}" x1="{x}" x2="{x}" y1="0" y2="{height}">{tip}</line>'


def _mark(scale: Scale, mark: Mark, y: int) -> str:
    place = scale.at_never if mark.value is None else scale.at(mark.value)
    line = ""
    if mark.low is not None and mark.high is not None:
        line = f'<line x1="{scale.at(mark.low):.2f}%" x2="{scale.at(mark.high):.2f}%" y1="{y}" y2="{y}"/>'
    shape = _shape(mark.judge, f"{place:.2f}%", y, hollow=mark.hollow or mark.value is None)
    return f'<g class="j {mark.judge}"><title>{html.escape(mark.tip)}</title>{line}{shape}</g>'


def _shape(judge: str, x: str, y: int, *, hollow: bool) -> str:
    kind = "hollow" if hollow else "full"
    if judge in _SQUARES:
        return f'<svg x="{x}" y="{y}" overflow="visible"><rect class="{kind}" x="-3" y="-3" width="6" height="6"/></svg>'
    if judge == "oracle":
        return f'<svg x="{x}" y="{y}" overflow="visible"><path class="{kind}" d="M0-4.5 4.5 0 0 4.5-4.5 0z"/></svg>'
    radius = 5 if judge == "canaryd" else 3.7
    return f'<circle class="{kind}" cx="{x}" cy="{y}" r="{radius}"/>'
