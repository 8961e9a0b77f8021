"""Counts per pod and proportion, gathered over the intervals of a block."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Row = tuple[int, ...]
PodCounts = tuple[Sequence[int], Sequence[int]]  # requests and bad events, one entry per proportion

MOST_CANARY_PODS: Final = 6  # more would prove little more, and a state must stay small
MOST_BASELINE_PODS: Final = 16


@dataclass(frozen=True, slots=True)
class PodTable:
    """canary, baseline: names of pods; requests, bad: a row per pod, the canary's first, a column per proportion.

    Where there are more pods than are kept, those that are seen first are, and of these the first by name.
    """

    canary: tuple[str, ...] = ()
    baseline: tuple[str, ...] = ()
    requests: tuple[Row, ...] = ()
    bad: tuple[Row, ...] = ()

    def wider(self, columns: int) -> PodTable:
        """With that many more proportions, nothing counted of them yet."""
        none = (0,) * columns
        return PodTable(
            self.canary,
            self.baseline,
            tuple((*row, *none) for row in self.requests),
            tuple((*row, *none) for row in self.bad),
        )

    def plus(
        self,
        canary: Mapping[str, PodCounts],
        baseline: Mapping[str, PodCounts],
        places: Sequence[int | None],
    ) -> PodTable:
        """With one more interval; places: for each column the index into the pods' counts, None to add none."""
        cut = len(self.canary)
        mine, my_requests, my_bad = _grown(
            canary, (self.canary, self.requests[:cut], self.bad[:cut]), places, MOST_CANARY_PODS
        )
        theirs, their_requests, their_bad = _grown(
            baseline, (self.baseline, self.requests[cut:], self.bad[cut:]), places, MOST_BASELINE_PODS
        )
        return PodTable(mine, theirs, my_requests + their_requests, my_bad + their_bad)

    def without(self, columns: Sequence[int]) -> PodTable:
        """With nothing counted in these columns, and without the pods that have no requests left."""
        gone = set(columns)
        rows = [
            (name, place < len(self.canary), _blanked(requests, gone), _blanked(bad, gone))
            for place, (name, requests, bad) in enumerate(
                zip(self.canary + self.baseline, self.requests, self.bad, strict=True)
            )
        ]
        rows = [row for row in rows if any(row[2])]
        return PodTable(
            tuple(name for name, is_canary, _, _ in rows if is_canary),
            tuple(name for name, is_canary, _, _ in rows if not is_canary),
            tuple(requests for _, _, requests, _ in rows),
            tuple(bad for _, _, _, bad in rows),
        )

    def counts(self, columns: Sequence[int]) -> tuple[Floats, Floats]:
        """Requests and bad events of these columns, (pods, columns) each."""
        shape = len(self.requests), len(columns)
        requests = [[row[i] for i in columns] for row in self.requests]
        bad = [[row[i] for i in columns] for row in self.bad]
        return (
            np.array(requests, dtype=np.float64).reshape(shape),
            np.array(bad, dtype=np.float64).reshape(shape),
        )


Rows = tuple[tuple[str, ...], tuple[Row, ...], tuple[Row, ...]]  # pods, their requests, their bad events


def _grown(pods: Mapping[str, PodCounts], rows: Rows, places: Sequence[int | None], most: int) -> Rows:
    known, requests, bad = rows
    new = sorted(pods.keys() - set(known))[: most - len(known)]
    none = ((0,) * len(places),) * len(new)
    names = (*known, *new)
    counted = [pods.get(name) for name in names]
    return (
        names,
        tuple(_sum(row, one and one[0], places) for row, one in zip(requests + none, counted, strict=True)),
        tuple(_sum(row, one and one[1], places) for row, one in zip(bad + none, counted, strict=True)),
    )


def _sum(row: Row, counts: Sequence[int] | None, places: Sequence[int | None]) -> Row:
    if counts is None:
        return row
    return tuple([one if i is None else one + counts[i] for one, i in zip(row, places, strict=True)])


def _blanked(row: Row, columns: set[int]) -> Row:
    return tuple([0 if i in columns else one for i, one in enumerate(row)])
