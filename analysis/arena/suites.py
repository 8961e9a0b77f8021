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

Suite = Literal["quick", "full"]

LIFTS: Final = (1.0, 1.2, 1.5, 2.0, 5.0, 10.0)


@dataclass(frozen=True, slots=True)
class _Runs:
    """Runs per cell of one judge."""

    harmless: int
    harmful: int


_PLANNED: Final[dict[Suite, dict[str, _Runs]]] = {
    "quick": {"canaryd": _Runs(100, 40), "": _Runs(100, 40)},
    "full": {"canaryd": _Runs(10_000, 1000), "": _Runs(400, 400)},
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
            count = runs or (planned.harmless if cell.harmless else planned.harmful)
            found.append(replace(cell, runs=count))
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
    yield "bursts 10-60 s", replace(short, rps=300.0, burst_gap=600.0, scrape_offsets=True)
    yield "shocks to both arms", replace(short, rps=300.0, shock_gap=600.0, scrape_offsets=True)
    yield "day +-80 %", replace(short, rps=300.0, diurnal=0.8)


def _full() -> Iterator[tuple[str, Scenario]]:
    for base, rps in ((0.0001, 1000.0), (0.001, 100.0), (0.001, 1000.0), (0.005, 100.0), (0.05, 100.0)):
        for lift in LIFTS:
            yield errors(base, lift, rps)
    for rps in (1.0, 10.0, 100.0, 1000.0, 10_000.0):
        for lift in LIFTS:
            yield errors(0.01, lift, rps)
    yield from _full_latency()
    yield from _full_trouble()


def _full_latency() -> Iterator[tuple[str, Scenario]]:
    for rps in (10.0, 100.0, 1000.0):
        usual = Scenario(latency=True, rps=rps)
        for factor in (1.0, 1.1, 1.2, 1.5):
            yield f"latency x{factor:g} {rps:g}/s", replace(usual, slower=factor)
        for tail in (0.01, 0.05):
            yield f"latency tail {tail * 100:g}% {rps:g}/s", replace(usual, tail=tail)


def _full_trouble() -> Iterator[tuple[str, Scenario]]:
    """What goes on besides, in harmless releases and in those that fail twice as often."""
    usual = Scenario(rps=300.0)
    apart = replace(usual, scrape_offsets=True)
    bursts = replace(apart, burst_gap=600.0)
    troubles = {
        "icc 0.001": replace(usual, icc=0.001),
        "icc 0.005": replace(usual, icc=0.005),
        "icc 0.005 10000/s": replace(usual, icc=0.005, rps=10_000.0),
        "bursts of 10 s": replace(bursts, burst_seconds=(10.0, 10.0)),
        "bursts of 30 s": replace(bursts, burst_seconds=(30.0, 30.0)),
        "bursts of 60 s": replace(bursts, burst_seconds=(60.0, 60.0)),
        "bursts of 60 s, 1 canary pod, 1 baseline pod": replace(
            bursts, burst_seconds=(60.0, 60.0), canary_pods=1, baseline_pods=1
        ),
        "bursts of 60 s, 3 canary pods, 10 baseline pods": replace(
            bursts, burst_seconds=(60.0, 60.0), canary_pods=3, baseline_pods=10
        ),
        "bursts of 120 s": replace(bursts, burst_seconds=(120.0, 120.0)),
        "bursts of 60 s, pods unknown": replace(bursts, burst_seconds=(60.0, 60.0), pods_known=False),
        "shocks": replace(usual, shock_gap=600.0),
        "shocks, scrapes apart": replace(apart, shock_gap=600.0),
        "day +-80 %": replace(usual, diurnal=0.8),
        "pods draining": replace(usual, drain_at=300.0),
        "pods late": replace(usual, late_pods=1),
        "scrapes apart": apart,
        "scrapes missed": replace(usual, missed_scrapes=0.05, outages=0.02),
        "scrapes settling": replace(apart, settle=15.0),
        "counters reset": replace(usual, resets_per_hour=6.0),
        "pods unequal 0.2": replace(usual, pod_sigma=0.2),
        "pods unequal 0.5": replace(usual, pod_sigma=0.5),
    }
    for name, scenario in troubles.items():
        for lift in (1.0, 2.0):
            yield f"{name} x{lift:g}", replace(scenario, lift=lift)
    yield "onset 600 s x2", replace(usual, lift=2.0, onset=600.0)
    yield "onset 600 s x5", replace(usual, lift=5.0, onset=600.0)
    yield "pods draining x2 10000/s", replace(usual, lift=2.0, rps=10_000.0, drain_at=30.0)
