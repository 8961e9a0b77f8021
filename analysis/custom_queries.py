"""Queries for the metrics that a run has of its own, with the arms already in them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from analysis.errors import PrometheusError


class Sample(NamedTuple):
    """One series of an instant vector: its labels, and its value as Prometheus writes it."""

    labels: Mapping[str, str]
    text: str


Answer = Sequence[Sample] | PrometheusError


@dataclass(frozen=True, slots=True)
class CounterQuery:
    """A proportion. bad, total: PromQL of its two counters, for the canary and for the baseline."""

    name: str
    bad: tuple[str, str]
    total: tuple[str, str]


@dataclass(frozen=True, slots=True)
class ValueQuery:
    """A value that a threshold is held against, as PromQL."""

    name: str
    value: str


def texts(queries: Iterable[CounterQuery | ValueQuery]) -> tuple[str, ...]:
    """The PromQL to ask, in this order: a bad event that comes meanwhile must not be missing in its total."""
    found: dict[str, None] = {}
    for query in queries:
        asked = (*query.bad, *query.total) if isinstance(query, CounterQuery) else (query.value,)
        found.update(dict.fromkeys(asked))
    return tuple(found)
