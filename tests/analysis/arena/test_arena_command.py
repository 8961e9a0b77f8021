"""Cells and the command."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Literal

import pytest
from scipy.stats import beta

from analysis.arena.__main__ import main
from analysis.arena.cells import FIELDS, Cell, clopper_pearson, level, summarise
from analysis.arena.judges import NAMES
from analysis.arena.page import page
from analysis.arena.runs import Outcome
from analysis.arena.scenario import Scenario
from analysis.arena.suites import cells
from analysis.arena.tournament import play_runs, tournament
from analysis.arena.truth import is_covered

TINY = ("--scenario", "errors 1% x1 ", "--scenario", "errors 1% x5", "--runs", "4")


def outcome(
    end: Literal["rollback", "promote", "deadline"],
    ended: float,
    *,
    protected: float | None = None,
    excess: float = 0.0,
) -> Outcome:
    return Outcome(end, ended, protected, excess, 0.0)


@pytest.mark.parametrize(("x", "n"), [(0, 10), (1, 10), (10, 10), (37, 10_000)])
def test_limits_are_exact(x: int, n: int) -> None:
    rate, low, high = clopper_pearson(x, n)
    assert rate == x / n
    assert low == pytest.approx(beta.ppf(0.025, x, n - x + 1) if x else 0)
    assert high == pytest.approx(beta.ppf(0.975, x + 1, n - x) if x < n else 1)


def test_a_harmful_cell_in_sum() -> None:
    cell = Cell("canaryd", "errors", Scenario(lift=2, onset=100), 4)
    outcomes = [
        outcome("rollback", 300, protected=200, excess=10),
        outcome("rollback", 400, protected=400, excess=20),
        outcome("promote", 1000, excess=300),
        outcome("deadline", 7200, excess=70),
    ]
    found = summarise(cell, outcomes, alpha=0.01)
    assert tuple(found) == FIELDS
    assert (found["harmless"], found["false_rollback"]) == (False, None)
    assert found["detected"] == clopper_pearson(2, 4)
    assert (found["false_promote"], found["inconclusive"]) == (0.25, 0.25)
    assert found["excess_failed_mean"] == 100
    assert found["floor"] > 0
    assert found["seconds_to_protect"] == {"median": 300, "p95": None}  # of all four; since the onset
    assert found["seconds_to_rollback"] == {"median": 300, "p95": None}
    assert found["seconds_to_promote"] == {"median": None, "p95": None}
    assert json.loads(json.dumps(found)) == found


def test_a_harmless_cell_in_sum() -> None:
    cell = Cell("flagger", "errors", Scenario(pod_sigma=0.2), 2)
    found = summarise(cell, [outcome("rollback", 300, protected=300), outcome("promote", 360)], alpha=None)
    assert (found["harmless"], found["detected"], found["false_promote"]) == (True, None, None)
    assert found["false_rollback"] == clopper_pearson(1, 2)
    assert (found["floor"], found["information_ratio"]) == (None, None)
    assert found["params"]["harm_ratio_needed"] == pytest.approx(1.733, rel=1e-3)


def test_the_level_is_stated_or_that_of_the_harmless_twin() -> None:
    fault, twin = Scenario(lift=2, rps=77), Scenario(rps=77)
    played = {Cell("flagger", "twin", twin, 9): [outcome("rollback", 1)] * 4 + [outcome("promote", 1)] * 5}
    assert level(Cell("flagger", "fault", fault, 1), played) == 0.45
    assert level(Cell("argo", "fault", fault, 1), played) is None
    assert level(Cell("canaryd", "fault", fault, 1), played) == 0.01


def test_every_judge_plays_every_scenario_of_a_suite() -> None:
    for suite in ("quick", "full"):
        found = cells(suite, NAMES)
        names = {cell.name for cell in found}
        assert len(found) == len(names) * len(NAMES) == len({(cell.name, cell.judge) for cell in found})
        assert {cell.scenario for cell in found if cell.harmless}
    harmless = [cell for cell in cells("full", ["canaryd"]) if cell.harmless]
    bounded = [cell for cell in harmless if is_covered(cell.scenario, cell.config)]
    assert len(bounded) > 20
    assert all(cell.runs >= 10_000 for cell in bounded)


def test_results_do_not_depend_on_the_number_of_workers() -> None:
    chosen = cells("quick", ["flagger", "oracle"], only=["x5"], runs=45)
    one = dict(tournament(chosen, seed=3, workers=1))
    two = dict(tournament(chosen, seed=3, workers=2))
    assert one == two
    other = play_runs(chosen[0], 4, 0, 45)
    assert other != one[chosen[0]]


def test_judges_meet_the_same_releases() -> None:
    chosen = cells("quick", ["z-test", "fisher"], only=["60 s x1"], runs=30)
    z, f = (play_runs(cell, 1, 0, 30) for cell in chosen)
    assert sum(a.ended == b.ended for a, b in zip(z, f, strict=True)) > 10


class TestCommand:
    def test_json_and_page(self, tmp_path: Path) -> None:
        written, drawn = tmp_path / "cells.json", tmp_path / "page.html"
        code = main([*TINY, "--workers", "1", "--json", str(written), "--html", str(drawn)])
        assert code == 0
        found = json.loads(written.read_text())
        assert {cell["judge"] for cell in found} == set(NAMES)
        assert all(tuple(cell) == FIELDS for cell in found)
        assert {cell["harmless"] for cell in found} == {True, False}
        assert all(cell["runs"] == 4 for cell in found)
        text = drawn.read_text()
        assert page(found) == text
        for name in NAMES:
            assert f'class="j {name}"' in text
        assert not re.search(r"(src|href)=|url\(|@import|<script|http", text)
        again = tmp_path / "again.html"
        assert main(["--from", str(written), "--html", str(again)]) == 0
        assert again.read_text() == text

    def test_a_table_on_the_terminal(self, capsys: pytest.CaptureFixture[str]) -> None:
        assert main([*TINY, "--judge", "flagger", "--workers", "1"]) == 0
        lines = capsys.readouterr().out.splitlines()
        assert len(lines) == 2
        assert all("flagger" in line and "of 4" in line for line in lines)

    def test_a_refuted_bound_is_an_exit_code(self, tmp_path: Path) -> None:
        cell = Cell("canaryd", "errors", Scenario(), 100)
        bad = summarise(cell, [outcome("rollback", 10, protected=10)] * 100, 0.01)
        read, drawn = tmp_path / "cells.json", tmp_path / "page.html"
        read.write_text(json.dumps([bad]))
        assert main(["--from", str(read), "--html", str(drawn)]) == 1

    @pytest.mark.parametrize(
        "arguments", [["--judge", "somebody"], ["--runs", "0"], ["--workers", "none"], ["--seed", "-1"]]
    )
    def test_wrong_usage(self, arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
        with pytest.raises(SystemExit) as ended:
            main(arguments)
        assert ended.value.code == 2
        assert arguments[0] in capsys.readouterr().err

    def test_no_such_scenario_or_file(self, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
        assert main(["--scenario", "unheard of"]) == 2
        assert "unheard of" in capsys.readouterr().err
        assert main(["--from", str(tmp_path / "none.json"), "--html", str(tmp_path / "page.html")]) == 2
        assert "none.json" in capsys.readouterr().err
