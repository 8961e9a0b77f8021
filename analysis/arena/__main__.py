"""`python -m analysis.arena`: every judge on the same simulated releases."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from analysis import JudgeConfig
from analysis.arena.cells import Cell, level, summarise
from analysis.arena.judges import NAMES
from analysis.arena.page import page
from analysis.arena.runs import Outcome
from analysis.arena.scenario import Scenario
from analysis.arena.suites import cells
from analysis.arena.tournament import overridden_threads, tournament
from analysis.arena.truth import is_covered

DONE: Final = 0
REFUTED: Final = 1
USAGE: Final = 2
INTERRUPTED: Final = 130

_DESCRIPTION: Final = "Measure judges of releases on the same simulated releases."
_EPILOG: Final = """
examples:
  python -m analysis.arena                                        the quick suite, all judges, a table on the terminal
  python -m analysis.arena --json arena.json --html arena.html    keep the cells, and draw the page
  python -m analysis.arena --judge canaryd --judge oracle         two judges
  python -m analysis.arena --scenario bursts --runs 500           scenarios with "bursts" in their names, more runs
  python -m analysis.arena --suite full --json full.json          everything; takes about an hour on two cores
  python -m analysis.arena --from full.json --html full.html      draw the page again; nothing is played

exit codes:
  0    done
  1    done, and canaryd's bound on false rollbacks is refuted: in some harmless scenario that it covers even the
       lower 95 % limit of the rate is above alpha
  2    wrong usage
  130  interrupted; the cells that were finished are written
"""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; returns its exit code."""
    options = _options(argv)
    if options.read is not None:
        try:
            found = json.loads(options.read.read_text())
        except (OSError, ValueError) as fault:
            return _complain(f"{options.read}: {fault}")
        return _write(found, options)
    chosen = cells(options.suite, options.judge or NAMES, only=options.scenario, runs=options.runs)
    if not chosen:
        return _complain(
            f"no scenario of the {options.suite} suite has {' or '.join(options.scenario)} in its name"
        )
    for setting in overridden_threads():
        _say(f"{setting} does not hold here: each worker uses one thread")
    played: dict[Cell, list[Outcome]] = {}
    code = DONE
    try:
        _play(chosen, played, options)
    except KeyboardInterrupt:
        code = INTERRUPTED
    found = [summarise(cell, played[cell], level(cell, played)) for cell in chosen if cell in played]
    return _write(found, options) or code


def _options(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m analysis.arena",
        description=_DESCRIPTION,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--suite", choices=("quick", "full"), default="quick", help="what is played (quick)")
    parser.add_argument(
        "--judge", action="append", choices=NAMES, metavar="NAME", help=f"only this one: {', '.join(NAMES)}"
    )
    parser.add_argument(
        "--scenario",
        action="append",
        default=[],
        metavar="TEXT",
        help="only scenarios with TEXT in their name",
    )
    parser.add_argument(
        "--seed", type=_whole, default=1, metavar="N", help="another seed, other releases (1)"
    )
    parser.add_argument(
        "--runs", type=_positive, metavar="N", help="releases per cell, instead of the suite's"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the cells, a JSON list")
    parser.add_argument("--html", type=Path, metavar="FILE", help="write the page, in one file")
    parser.add_argument(
        "--from", dest="read", type=Path, metavar="FILE", help="read the cells instead of playing"
    )
    parser.add_argument(
        "--workers", type=_positive, default=os.cpu_count() or 1, metavar="N", help="processes (one per core)"
    )
    return parser.parse_args(argv)


def _whole(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 0")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number of at least 1")
    return number


def _play(chosen: Sequence[Cell], played: dict[Cell, list[Outcome]], options: argparse.Namespace) -> None:
    began, releases, done = time.monotonic(), sum(cell.runs for cell in chosen), 0
    _say(f"{len(chosen)} cells, {releases} releases, {options.workers} workers, seed {options.seed}")
    for cell, outcomes in tournament(chosen, options.seed, options.workers):
        played[cell] = outcomes
        done += cell.runs
        elapsed = time.monotonic() - began
        left = elapsed * (releases - done) / done
        summary = _line(summarise(cell, outcomes, None))
        _say(f"{done / releases:4.0%}  {_clock(elapsed)}, about {_clock(left)} left  {summary}")


def _line(cell: dict[str, Any]) -> str:
    kind = "false rollback" if cell["harmless"] else "detected"
    rate, low, high = cell["false_rollback"] or cell["detected"]
    return f"{cell['scenario']:<32} {cell['judge']:<8} {kind} {rate:.1%} ({low:.1%} to {high:.1%}) of {cell['runs']}"


def _clock(seconds: float) -> str:
    return f"{int(seconds) // 60}:{int(seconds) % 60:02d}"


def _write(found: list[dict[str, Any]], options: argparse.Namespace) -> int:
    try:
        if options.json is not None and options.read is None:
            options.json.write_text("[\n" + ",\n".join(json.dumps(cell) for cell in found) + "\n]\n")
        if options.html is not None:
            options.html.write_text(page(found))
    except OSError as fault:
        return _complain(str(fault))
    if options.json is None and options.html is None:
        sys.stdout.write("\n".join(_line(cell) for cell in found) + "\n")
    refuted = [cell for cell in found if _refutes(cell)]
    for cell in refuted:
        _say(f"the bound does not hold: {_line(cell)}")
    return REFUTED if refuted else DONE


def _refutes(cell: dict[str, Any]) -> bool:
    config = JudgeConfig()
    if cell["judge"] != "canaryd" or not cell["harmless"]:
        return False
    covered = is_covered(Scenario.from_json(cell["params"]), config)
    return bool(covered and cell["false_rollback"][1] > config.alpha)


def _complain(fault: str) -> int:
    _say(f"python -m analysis.arena: {fault}")
    return USAGE


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    raise SystemExit(main())
