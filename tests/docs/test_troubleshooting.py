"""Every hold, reason, stage and check that a person can meet is explained."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from document_pages import ROOT

from analysis.judge_config import ERRORS, LATENCY
from analysis.sentences import regression
from canaryd.controller.preflight import CHECKS
from canaryd.domain.model import Hold, Phase, Stage

TROUBLESHOOTING = (ROOT / "docs/troubleshooting.md").read_text()
OPERATORS = (ROOT / "docs/release-in-place.md").read_text()
CAMEL = re.compile(r"[A-Z][a-z]+([A-Z][a-z]+)*")


def _trees(*folders: str) -> Iterator[ast.AST]:
    for folder in folders:
        for module in sorted(Path(ROOT / folder).glob("*.py")):
            yield ast.parse(module.read_text())


def _nodes(*folders: str) -> Iterator[ast.AST]:
    for tree in _trees(*folders):
        yield from ast.walk(tree)


def _text(node: ast.AST) -> str:
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


def _reasons() -> set[str]:
    """The CamelCase words of the domain, of the judge's reasons, and of events about Deployments."""
    words = {_text(node) for node in _nodes("canaryd/domain")}
    words |= {
        _text(call.args[2])
        for call in _nodes("canaryd/controller")
        if isinstance(call, ast.Call) and getattr(call.func, "attr", "") == "_say" and len(call.args) > 2
    }
    words |= {
        _text(keyword.value)
        for keyword in _nodes("canaryd/controller")
        if isinstance(keyword, ast.keyword) and keyword.arg == "reason"
    }
    regressions = {regression(metric) for metric in (ERRORS, LATENCY, "checkouts")}
    return {word for word in words if CAMEL.fullmatch(word)} | regressions


def _checks() -> set[str]:
    """The names of preflight's findings: literal, or a module's CHECK."""
    literal = {
        _text(call.args[0])
        for call in _nodes("canaryd/controller", "canaryd/mesh")
        if isinstance(call, ast.Call) and getattr(call.func, "id", "") == "Finding"
    }
    named = {
        _text(node.value)
        for node in _nodes("canaryd/controller", "canaryd/mesh")
        if isinstance(node, ast.Assign) and [getattr(t, "id", "") for t in node.targets] == ["CHECK"]
    }
    return {*literal, *named, *CHECKS} - {""}


def _rows(names: Iterable[str], section: str) -> set[str]:
    """Those of `names` that begin a row of a table in the section."""
    body = TROUBLESHOOTING.split(f"\n## {section}\n", 1)[1].split("\n## ", 1)[0]
    return {name for name in names if f"\n| `{name}` |" in body}


def test_every_hold_has_a_row() -> None:
    holds = {hold.value for hold in Hold}
    assert _rows(holds, "Holds") == holds


def test_every_check_has_a_row() -> None:
    checks = _checks()
    assert checks >= set(CHECKS)
    assert _rows(checks, "Preflight checks") == checks


@pytest.mark.parametrize("check", sorted(_checks()))
def test_a_row_says_whether_the_check_can_be_accepted(check: str) -> None:
    row = next(line for line in TROUBLESHOOTING.splitlines() if line.startswith(f"| `{check}` |"))
    assert row.split("|")[2].strip() == ("yes" if check in CHECKS else "no")


@pytest.mark.parametrize("reason", sorted(_reasons()))
def test_every_reason_is_explained(reason: str) -> None:
    assert f"`{reason}`" in TROUBLESHOOTING


def test_every_phase_is_explained() -> None:
    assert {phase.value for phase in Phase if f"`{phase.value}`" in TROUBLESHOOTING} == set(Phase)


def test_every_stage_is_told_to_operators() -> None:
    stages = {stage.value for stage in Stage if stage is not Stage.DONE}
    assert {stage for stage in stages if f"`{stage}`" in OPERATORS} == stages
