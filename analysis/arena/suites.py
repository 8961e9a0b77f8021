"""What is played: scenarios by name, and how many runs each judge gets.

The numbers of runs are fixed, so that a suite says the same everywhere; they were planned from the time that a run
takes (docs/arena).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

from analysis.arena.cells import Cell
from analysis.arena.scenario import Scenario
from analysis.arena.truth import is_covered

Suite = Literal["quick", "full"]

# Base error rate, requests per second, lifts. A lift of 1 costs ten thousand releases.
_GRID: Final = (
    (0.0001, 1000.0, (1.0, 10.0)),
    (0.001, 1000.0, (1.0, 2.0, 5.0, 10.0)),
    (0.005, 100.0, (2.0, 5.0, 10.0)),
    (0.01, 1.0, (1.0, 2.0, 5.0, 10.0)),
    (0.01, 10.0, (2.0, 5.0, 10.0)),
    (0.01, 100.0, (1.0, 1.2, 1.5, 2.0, 5.0, 10.0)),
    (0.01, 1000.0, (1.0, 1.5, 2.0, 5.0, 10.0)),
    (0.01, 10_000.0, (1.0, 1.5, 2.0, 5.0, 10.0)),
    (0.05, 100.0, (1.0, 1.5, 2.0, 5.0, 10.0)),
)
_SCRAPE: Final = 15.0  # seconds, as Istio's sample Prometheus
_LAZY_SCRAPE: Final = 30.0  # where there are few requests


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs per cell of one judge."""

    harmless: int
    harmful: int


_PLANNED: Final[dict[Suite, dict[str, _Runs]]] = {
    "quick": {"canaryd": _Runs(100, 40), "": _Runs(100, 40)},
    "full": {"canaryd": _Runs(10_000, 500), "": _Runs(200, 200)},
}


def cells(
    suite: Suite, judges: Sequence[str], *, only: Sequence[str] = (), runs: int | None = None
) -> list[Cell]:
    """Every cell of a suite: scenarios in order, the judges in each. only: parts of scenarios' names; runs: per cell."""
    found = []
    for name, scenario in _scenarios(suite):
        if only and not any(part in name for part in only):
            continue
        for judge in judges:
            cell = Cell(judge, name, scenario, 1)
            planned = _PLANNED[suite].get(judge, _PLANNED[suite][""])
            bounded = cell.harmless and is_covered(scenario, cell.config)
            found.append(replace(cell, runs=runs or (planned.harmless if bounded else planned.harmful)))
    return found


def _scenarios(suite: Suite) -> Iterator[tuple[str, Scenario]]:
    return _quick() if suite == "quick" else _full()


def errors(base: float, lift: float, rps: float, scenario: Scenario | None = None) -> tuple[str, Scenario]:
    """Independent errors: a name such as "errors 1% x2 100/s", and the scenario."""
    name = f"errors {base * 100:g}% x{lift:g} {rps:g}/s"
    return name, replace(scenario or Scenario(), base_rate=base, lift=lift, rps=rps)


def _quick() -> Iterator[tuple[str, Scenario]]:
    short = Scenario(deadline=3600.0)
    for base, lift in itertools.product((0.001, 0.01), (1.0, 2.0, 5.0)):
        yield errors(base, lift, 300.0, short)
    yield errors(0.05, 1.0, 300.0, short)
    slow = replace(short, latency=True, rps=100.0)
    for factor in (1.0, 1.5):
        yield f"latency x{factor:g} 100/s", replace(slow, slower=factor)
    bursts = replace(short, rps=300.0, burst_gap=1800.0, burst_rate=0.2, scrape_offsets=True)
    yield "bursts of 10 to 60 s x1", bursts
    yield "bursts of 10 to 60 s x3", replace(bursts, lift=3.0)
    yield "shocks to both arms", replace(short, rps=300.0, shock_gap=600.0, scrape_offsets=True)
    yield "day +-80 %", replace(short, rps=300.0, diurnal=0.8)


def _full() -> Iterator[tuple[str, Scenario]]:
    for base, rps, lifts in _GRID:
        usual = Scenario(
            interval=_LAZY_SCRAPE if rps < _LAZY_SCRAPE else _SCRAPE,
            deadline=7200.0 if 1 < rps < 1000 else 3600.0,  # what is not decided by then will not be for long
        )
        for lift in lifts:
            yield errors(base, lift, rps, usual)
    yield from _full_latency()
    yield from _full_trouble()


def _full_latency() -> Iterator[tuple[str, Scenario]]:
    for rps in (100.0, 1000.0):
        usual = Scenario(latency=True, rps=rps, interval=_SCRAPE, deadline=3600.0)
        factors = (1.0, 1.1, 1.2, 1.5) if rps == 100 else (1.1, 1.2)
        for factor in factors:
            yield f"latency x{factor:g} {rps:g}/s", replace(usual, slower=factor)
        for tail in (0.01, 0.05):
            yield f"latency tail {tail * 100:g}% {rps:g}/s", replace(usual, tail=tail)


def _full_trouble() -> Iterator[tuple[str, Scenario]]:
    """What goes on besides, in harmless releases and in those that fail three times as often."""
    usual = Scenario(rps=100.0, interval=_SCRAPE, deadline=3600.0)
    apart = replace(usual, scrape_offsets=True)
    burst = replace(apart, burst_gap=1800.0, burst_rate=0.2, burst_seconds=(60.0, 60.0))
    troubles = {
        "icc 0.001": replace(usual, icc=0.001),
        "icc 0.005": replace(usual, icc=0.005),
        "bursts of 10 s": replace(burst, burst_seconds=(10.0, 10.0)),
        "bursts of 30 s": replace(burst, burst_seconds=(30.0, 30.0)),
        "bursts of 60 s": burst,
        "bursts of 60 s, three times as many": replace(burst, burst_gap=600.0),
        "bursts of 60 s, 1 canary and 1 baseline pod": replace(burst, canary_pods=1, baseline_pods=1),
        "bursts of 60 s, 3 canary and 10 baseline pods": replace(burst, canary_pods=3, baseline_pods=10),
        "bursts of 60 s, pods unknown": replace(burst, pods_known=False),
        "bursts of 120 s": replace(burst, burst_seconds=(120.0, 120.0)),
        "shocks to both arms": replace(apart, shock_gap=600.0),
        "day +-80 %": replace(usual, diurnal=0.8),
        "pods come and go": replace(apart, drain_at=300.0, late_pods=1, settle=_SCRAPE),
        "scrapes missed, counters reset": replace(
            usual, missed_scrapes=0.05, outages=0.02, resets_per_hour=6.0
        ),
        "pods unequal 0.2": replace(usual, pod_sigma=0.2),
        "pods unequal 0.5": replace(usual, pod_sigma=0.5),
    }
    for name, scenario in troubles.items():
        for lift in (1.0, 3.0):
            yield f"{name} x{lift:g}", replace(scenario, lift=lift)
    yield "onset 600 s x2", replace(usual, lift=2.0, onset=600.0)
    yield "onset 600 s x5", replace(usual, lift=5.0, onset=600.0)
    yield "pod draining x2 10000/s", replace(usual, lift=2.0, rps=10_000.0, drain_at=30.0)
