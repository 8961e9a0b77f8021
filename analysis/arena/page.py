"""The arena as one page: no script, nothing from elsewhere, made of the cells alone."""

from __future__ import annotations

import html
import importlib.resources
import math
import re
import statistics
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

from analysis import JudgeConfig
from analysis.arena.cells import clopper_pearson
from analysis.arena.chart import Mark, Rule, Scale, axis, bar, strip, swatch
from analysis.arena.judges import NAMES
from analysis.arena.scenario import Scenario
from analysis.arena.truth import harm_floor, is_covered
from analysis.arena.words import counted, limits, median_minutes, percent, short, span, spans, times

Cell = dict[str, Any]

_ALPHA: Final = 0.01
_HIDDEN: Final = 0.5  # a judge that finds fewer is drawn hollow where it is no use reading its mark alone

_SUMMARY: Final = (
    "good releases rolled back, worst scenario",
    "bad releases found",
    "bad releases promoted",
    "failed requests, times the least possible",
    "time to promote a good one",
)

_RATE: Final = Scale(0.001, 1.0, ((0, "0"), (0.001, "0.1 %"), (0.01, "1 %"), (0.1, "10 %"), (1, "100 %")))
_TIME: Final = Scale(
    20, 7200, ((0, "0"), (30, "30 s"), (120, "2 min"), (600, "10"), (1800, "30"), (7200, "2 h")), never=0.13
)

_BOUND: Final = Rule(_ALPHA, "bound", "1 %: the bound that canaryd states")

_SHOWN_AT_ONCE: Final = 120  # cells; a longer table waits to be opened

_KINDS: Final = (
    ("Errors that come independently", lambda cell: cell["scenario"].startswith("errors")),
    ("Latency", lambda cell: cell["params"]["latency"]),
    ("Everything that goes on besides", lambda _: True),
)


def page(cells: Sequence[Cell]) -> str:
    """A whole HTML document. cells: as `summarise` makes them, of any judges and scenarios."""
    judges = [name for name in NAMES if any(cell["judge"] == name for cell in cells)]
    config = JudgeConfig()
    usual = [cell for cell in cells if is_covered(Scenario.from_json(cell["params"]), config)]
    beyond = [cell for cell in cells if cell not in usual]
    body = [
        _opening(usual, judges),
        _legend(judges),
        _summary(usual, judges),
        _false_rollbacks(usual, judges),
        _harm(usual, judges),
        _detection(usual, judges),
        _promotion(usual, judges),
        _beyond(beyond, judges),
        _numbers(cells),
        _closing(),
    ]
    style = importlib.resources.files("analysis.arena").joinpath("page.css").read_text()
    toggles = "".join(f"body:has(#show-{j}:not(:checked)) .strip .{j}{{display:none}}" for j in judges)
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>Judges of releases, measured</title>\n<style>\n{style}{toggles}\n</style>\n</head>\n"
        f"<body>\n<main>\n{''.join(body)}</main>\n</body>\n</html>\n"
    )


def _opening(cells: Sequence[Cell], judges: Sequence[str]) -> str:
    releases = sum(cell["runs"] for cell in cells)
    scenarios = len({cell["scenario"] for cell in cells})
    lead = [
        f"{counted(len(judges))}, {releases:,} simulated releases of {scenarios} kinds. "
        "Some are as good as the version before them, some are not, and each judge meets the same ones.".replace(
            ",", ","
        )
    ]
    own = [cell for cell in cells if cell["judge"] == "canaryd"]
    good, bad = [c for c in own if c["harmless"]], [c for c in own if _is_bad(c)]
    if good and bad:
        back = sum(round(c["false_rollback"][0] * c["runs"]) for c in good)
        found = statistics.fmean(c["detected"][0] for c in bad)
        lead.append(
            f"<b>canaryd rolled back {back:,} of {sum(c['runs'] for c in good):,} good releases</b> and found "
            f"<b>{percent(found)} of the bad ones</b>."
        )
    paragraphs = f'<p class="lead">{" ".join(lead)}</p>'
    return f"<header><h1>How well do judges of releases judge?</h1>{paragraphs}</header>\n"


def _legend(judges: Sequence[str]) -> str:
    labels = "".join(
        f'<label><input type="checkbox" id="show-{j}" checked>{swatch(j)}{j}</label>' for j in judges
    )
    return f'<nav class="legend" aria-label="judges shown">{labels}</nav>\n'


def _summary(cells: Sequence[Cell], judges: Sequence[str]) -> str:
    floors = _floors(cells)
    rows = []
    for judge in judges:
        own = [cell for cell in cells if cell["judge"] == judge]
        worst = max((cell for cell in own if cell["harmless"]), key=_false_rate, default=None)
        found = _mean(cell["detected"][0] for cell in own if _is_bad(cell))
        promoted = _mean(cell["false_promote"] for cell in own if cell["false_promote"] is not None)
        ratios = [c["excess_failed_mean"] / floors[c["scenario"]] for c in own if c["scenario"] in floors]
        minutes = [c["seconds_to_promote"]["median"] for c in own if c["harmless"]]
        values = (
            _shared(None if worst is None else _false_rate(worst), judge),
            _shared(found, judge),
            _shared(promoted, judge),
            times(statistics.median(ratios) if ratios else None),
            median_minutes(minutes),
        )
        columns = zip(_SUMMARY, values, strict=True)
        tds = "".join(f'<td data-label="{label}">{value}</td>' for label, value in columns)
        who = f'<td><span class="who">{swatch(judge)}{judge}</span></td>'
        rows.append(f'<tr class="{judge}">{who}{tds}</tr>')
    head = "".join(f"<th>{label}</th>" for label in ("", *_SUMMARY))
    return _section(
        "At a glance",
        "A judge can be quick by crying wolf, and quiet by sleeping. It has to be read across: the oracle, which is told "
        "the true rates, shows what there is to win. Bad are releases that no judge should promote; they include some "
        "with hardly any traffic, which nobody finds in time.",
        f'<div class="card"><div class="scroll"><table class="summary"><tr>{head}</tr>{"".join(rows)}</table></div></div>',
    )


def _shared(share: float | None, judge: str) -> str:
    return "–" if share is None else f"{percent(share)}{bar(share, judge)}"


def _false_rollbacks(cells: Sequence[Cell], judges: Sequence[str]) -> str:
    return _section(
        "Good releases rolled back",
        "Nothing is wrong with these releases: the canary fails and answers like the baseline, or differs by less than "
        "the tolerance. The dashed line is the bound that canaryd states, 1 %, however often it looks. Lines are "
        "exact 95 % limits.",
        _rows(
            [c for c in cells if c["harmless"]], judges, _RATE, _false_rollback_mark, rules=lambda _: [_BOUND]
        ),
    )


def _false_rollback_mark(cell: Cell) -> Mark:
    rate, low, high = cell["false_rollback"]
    tip = f"{cell['judge']}: {percent(rate)} of {cell['runs']:,}, {percent(low)} to {percent(high)}"
    return Mark(cell["judge"], rate, tip, low, high)


def _harm(cells: Sequence[Cell], judges: Sequence[str]) -> str:
    floors = _floors(cells)
    chosen = [cell for cell in cells if cell["scenario"] in floors]
    most = 10.0 ** len(str(int(max([cell["excess_failed_mean"] for cell in chosen], default=1))))
    ticks = [(0.0, "0")] + [(10.0**i, short(10**i)) for i in range(len(str(int(most))))]
    scale = Scale(1.0, most, tuple(ticks))

    def mark(cell: Cell) -> Mark:
        found, excess = cell["detected"][0], cell["excess_failed_mean"]
        tip = f"{cell['judge']}: {excess:,.1f} requests, fault found in {percent(found)}"
        if cell["floor"]:
            tip += f"; no test that errs as it does needs fewer than {cell['floor']:,.1f}"
        return Mark(cell["judge"], excess, tip, hollow=found < _HIDDEN)

    def rules(scenario: str) -> list[Rule]:
        floor = floors[scenario]
        return [Rule(floor, "floor", f"{floor:.1f}: the least that any test of level 1 % needs")]

    return _section(
        "Requests that failed because of a bad release",
        "On average over all releases, up to the rollback; where the fault was not found, or promoted, up to the deadline. "
        "The thick line is the floor: whatever the traffic, no judge that rolls back at most 1 % of good releases "
        "can do with fewer. Left of it are only those that err more often. Hollow: the fault was missed more often "
        "than found.",
        _rows(chosen, judges, scale, mark, rules=rules),
    )


def _detection(cells: Sequence[Cell], judges: Sequence[str]) -> str:
    def mark(cell: Cell) -> Mark:
        quantiles, found = cell["seconds_to_protect"], cell["detected"][0]
        tip = f"{cell['judge']}: found in {percent(found)}, median {span(quantiles['median'])}, 95 % {span(quantiles['p95'])}"
        return _time_mark(cell, quantiles, tip)

    return _section(
        "Time to protect",
        "From the beginning of the fault to the moment that traffic is taken from the canary: the median, and a line up to "
        "95 % of releases. A release whose fault is not found counts as never.",
        _rows([c for c in cells if not c["harmless"]], judges, _TIME, mark),
    )


def _promotion(cells: Sequence[Cell], judges: Sequence[str]) -> str:
    def mark(cell: Cell) -> Mark:
        quantiles = cell["seconds_to_promote"]
        tip = f"{cell['judge']}: median {span(quantiles['median'])}, 95 % {span(quantiles['p95'])}"
        return _time_mark(cell, quantiles, tip)

    return _section(
        "Time to promote a good release",
        "The median, and a line up to 95 % of releases. canaryd promotes on evidence of safety, which takes requests; where "
        "the traffic is too thin for it within the deadline it says so, and never promotes by default.",
        _rows([c for c in cells if c["harmless"]], judges, _TIME, mark),
    )


def _beyond(cells: Sequence[Cell], judges: Sequence[str]) -> str:
    """Harmless releases that canaryd's bound does not cover."""
    chosen = [cell for cell in cells if cell["harmless"]]
    if not chosen:
        return ""

    def note(scenario: str) -> str:
        params = next(cell["params"] for cell in chosen if cell["scenario"] == scenario)
        if not params["pod_sigma"]:
            return ""
        ratio = params["harm_ratio_needed"]
        return "no ratio would do" if ratio is None else f"needs a tolerated ratio of {ratio:.2f}"

    return _section(
        "Good releases that no bound covers",
        "Bursts cannot be told from a fault where pods are not told apart, or where they last longer than the judge was told "
        "to expect. And pods may differ for good, each with an error rate of its own: no waiting cures that, since the "
        "canary may have drawn the worst. What helps is a tolerance as wide as the pods are apart; it is named with "
        "each.",
        _rows(chosen, judges, _RATE, _false_rollback_mark, rules=lambda _: [_BOUND], note=note, kinds=False),
    )


def _numbers(cells: Sequence[Cell]) -> str:
    head = (
        "<tr><th>scenario</th><th>judge</th><th>runs</th><th>rolled back<br>though good</th><th>found</th>"
        "<th>promoted<br>though unsafe</th><th>undecided</th><th>excess<br>failed</th><th>its<br>floor</th>"
        "<th>information<br>÷ log 1/α</th><th>to protect<br>median, 95 %</th><th>to promote<br>median, 95 %</th></tr>"
    )
    rows, before = [], ""
    for cell in cells:
        first = cell["scenario"] != before
        before = cell["scenario"]
        unsafe = cell["false_promote"]
        values = [
            " ".join(filter(None, _label(cell))) if first else "",
            cell["judge"],
            f"{cell['runs']:,}",
            limits(cell["false_rollback"]),
            limits(cell["detected"]),
            limits(None if unsafe is None else clopper_pearson(round(unsafe * cell["runs"]), cell["runs"])),
            limits(clopper_pearson(round(cell["inconclusive"] * cell["runs"]), cell["runs"])),
            "–" if cell["harmless"] else f"{cell['excess_failed_mean']:,.1f}",
            "–" if cell["floor"] is None else f"{cell['floor']:,.1f}",
            "–" if cell["information_ratio"] is None else f"{cell['information_ratio']:.2f}",
            spans(cell["seconds_to_protect"]),
            spans(cell["seconds_to_promote"]),
        ]
        rows.append(
            f'<tr class="{"first" if first else ""}">{"".join(f"<td>{value}</td>" for value in values)}</tr>'
        )
    shown = " open" if len(cells) <= _SHOWN_AT_ONCE else ""
    table = f'<div class="scroll"><table class="numbers">{head}{"".join(rows)}</table></div>'
    return _section(
        "All numbers",
        "Below each rate its exact 95 % limits. Times are quantiles over all releases of a cell, a dash where so few got there.",
        f'<div class="card"><details{shown}><summary>{len(cells)} cells</summary>{table}</details></div>',
    )


def _closing() -> str:
    return (
        "<footer><p>Made with <code>python -m analysis.arena</code>. The peers are restated from their sources with the limits "
        "of their samples and documentation, and judge the same counts as canaryd does; people who tune those limits "
        "to their service will see other numbers. Flagger and Argo compare one rate with one limit, Kayenta compares "
        "points of one minute, z-test and fisher are looked at after every interval at 0.05.</p></footer>\n"
    )


def _section(title: str, text: str, content: str) -> str:
    return f"<section><h2>{title}</h2><p>{text}</p>{content}</section>\n"


def _rows(
    cells: Sequence[Cell],
    judges: Sequence[str],
    scale: Scale,
    mark: Callable[[Cell], Mark],
    *,
    rules: Callable[[str], Sequence[Rule]] = lambda _: (),
    note: Callable[[str], str] = lambda _: "",
    kinds: bool = True,
) -> str:
    """A card with one row per scenario, under a heading for each kind."""
    by_scenario: dict[str, list[Cell]] = {}
    for cell in cells:
        by_scenario.setdefault(cell["scenario"], []).append(cell)
    if not by_scenario:
        return '<div class="card">No such scenario was played.</div>'
    parts, left = [], dict(by_scenario)
    for heading, belongs in _KINDS:
        names = [name for name, own in left.items() if belongs(own[0])]
        if names and kinds:
            parts.append(f"<h3>{heading}</h3>")
        if names:
            parts.append(f'<div class="row scale"><div class="name"></div>{axis(scale)}</div>')
        for name in names:
            own = left.pop(name)
            title, detail = _label(own[0])
            detail = "; ".join(filter(None, (detail, note(name))))
            lanes = strip(scale, [mark(cell) for cell in own], judges, rules(name))
            parts.append(
                f'<div class="row"><div class="name">{title}<small>{detail}</small></div>{lanes}</div>'
            )
    return f'<div class="card">{"".join(parts)}</div>'


def _label(cell: Cell) -> tuple[str, str]:
    """A scenario's name for people, and its traffic."""
    name = re.sub(r" [0-9.]+/s$", "", cell["scenario"])
    name = re.sub(r"\bx([0-9.]+)", r"×\1", name).replace("+-", "±")
    name = re.sub(r"([0-9])%", "\\1 %", name)
    return html.escape(name), f"{cell['params']['rps']:,g} requests/s"


def _floors(cells: Sequence[Cell]) -> dict[str, float]:
    """By scenario with a fault in errors, the floor of tests of level 1 % that find every fault."""
    scenarios = {cell["scenario"]: Scenario.from_json(cell["params"]) for cell in cells}
    floors = {name: harm_floor(one, JudgeConfig(), _ALPHA, missed=0.0) for name, one in scenarios.items()}
    return {name: floor for name, floor in floors.items() if floor}


def _time_mark(cell: Cell, quantiles: dict[str, float | None], tip: str) -> Mark:
    median, p95 = quantiles["median"], quantiles["p95"]
    if median is None:
        return Mark(cell["judge"], None, tip)
    return Mark(cell["judge"], median, tip, median, math.inf if p95 is None else p95)


def _is_bad(cell: Cell) -> bool:
    """Worse than the safe tolerances: between them and harm a judge may roll back or promote."""
    return not cell["harmless"] and cell["false_promote"] is not None


def _false_rate(cell: Cell) -> float:
    return float(cell["false_rollback"][0])


def _mean(values: Iterable[float]) -> float | None:
    found = list(values)
    return statistics.fmean(found) if found else None
