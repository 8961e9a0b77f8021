"""What `kubectl get` shows of the built-in kinds."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any

from canaryd.cluster.resources import Json


@dataclass(frozen=True, slots=True)
class Moment:
    """The time of the request, against which ages are told."""

    now: dt.datetime

    def age(self, stamp: str | None) -> str:
        """How long ago, in the two largest units that matter: 45s, 3m12s, 5h, 2d3h."""
        if not stamp:
            return "<unknown>"
        try:
            then = dt.datetime.fromisoformat(stamp)
        except ValueError:
            return "<invalid>"
        return human_duration(int((self.now - then).total_seconds()))


_UNITS = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
# Below the first bound only one unit is shown, below the second the next smaller one is shown too.
_LADDER = (
    (120, "s", ""),
    (600, "m", "s"),
    (10800, "m", ""),
    (28800, "h", "m"),
    (172800, "h", ""),
    (691200, "d", "h"),
)


def human_duration(seconds: int) -> str:
    """A duration as kubectl prints ages."""
    if seconds < -1:
        return "<invalid>"
    seconds = max(seconds, 0)
    sizes = dict(_UNITS)
    for bound, unit, lesser in _LADDER:
        if seconds < bound:
            whole, rest = divmod(seconds, sizes[unit])
            more = rest // sizes[lesser] if lesser else 0
            return f"{whole}{unit}{more}{lesser}" if more else f"{whole}{unit}"
    days = seconds // 86400
    years, left = divmod(days, 365)
    if not years:
        return f"{days}d"
    return f"{years}y{left}d" if years < 8 and left else f"{years}y"


Cell = Callable[[Json, Moment], Any]


@dataclass(frozen=True, slots=True)
class Column:
    """One column; `priority` above 0 shows in wide output only."""

    name: str
    type: str
    cell: Cell
    format: str = ""
    description: str = ""
    priority: int = 0


def plain_text(value: Any) -> str:
    """A value in a cell: text as it is, the rest as JSON."""
    if isinstance(value, str):
        return value
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def at(body: Json, *path: str, default: Any = None) -> Any:
    value: Any = body
    for key in path:
        value = value.get(key) if isinstance(value, dict) else None
    return default if value is None else value


def field(*path: str, default: Any = "<none>") -> Cell:
    return lambda body, _now: at(body, *path, default=default)


def age(body: Json, now: Moment) -> str:
    return now.age(body["metadata"].get("creationTimestamp"))


def joined(values: Iterable[Any]) -> str:
    return ",".join(str(value) for value in values) or "<none>"


def labels(*path: str) -> Cell:
    return lambda body, _now: joined(f"{k}={v}" for k, v in sorted(at(body, *path, default={}).items()))


def selector_text(selector: Json) -> str:
    """A LabelSelector object in the grammar of label selectors."""
    words = {"In": "in", "NotIn": "notin"}
    terms = [f"{key}={value}" for key, value in sorted((selector.get("matchLabels") or {}).items())]
    for term in selector.get("matchExpressions") or ():
        if term["operator"] in words:
            terms.append(f"{term['key']} {words[term['operator']]} ({','.join(sorted(term['values']))})")
        else:
            terms.append(("!" if term["operator"] == "DoesNotExist" else "") + term["key"])
    return ",".join(terms)


def selector(body: Json, _now: Moment) -> str:
    return selector_text(at(body, "spec", "selector", default={})) or "<none>"


def containers(key: str, *path: str) -> Cell:
    return lambda body, _now: joined(
        container.get(key, "") for container in at(body, *path, "containers", default=[])
    )


NAME = Column("Name", "string", field("metadata", "name"), format="name")
AGE = Column("Age", "string", age)


def wide(name: str, cell: Cell) -> Column:
    return Column(name, "string", cell, priority=1)


def text(name: str, cell: Cell) -> Column:
    return Column(name, "string", cell)


def count(name: str, cell: Cell) -> Column:
    return Column(name, "integer", cell)
