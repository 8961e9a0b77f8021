"""What the demo shows: a live panel on a terminal, a line now and then elsewhere, and a table at the end."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich.console import Console, Group
from rich.live import Live
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from canaryd.sandbox.outcome import Moment, Report
from canaryd.sandbox.scenarios import Scenario

COLOURS = {"Succeeded": "green", "RolledBack": "red", "Holding": "yellow"}

ROWS: tuple[tuple[str, Callable[[Report], Text | str]], ...] = (
    ("scenario", lambda report: report.scenario),
    ("outcome", lambda report: Text(report.outcome, style=COLOURS.get(report.outcome, ""))),
    ("because", lambda report: report.because),
    ("seconds", lambda report: f"{report.seconds:.0f}"),
    ("highest weight", lambda report: f"{report.highest_weight} %"),
    (
        "failed beyond the baseline's rate",
        lambda report: f"{report.excess_failed:.0f} of {sum(report.requests.values())} requests",
    ),
    ("all as before", lambda report: "yes" if report.restored else "no"),
)


class Screen:
    """Writes to standard error while it plays, so that standard output is the result's."""

    def __init__(self, *, live: bool) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._out = Console(highlight=False)
        self._live = live and self._console.is_terminal

    def say(self, line: str) -> None:
        """One line of progress."""
        self._console.print(f"[dim]{line}[/dim]" if line else "")

    @contextmanager
    def watch(self, scenario: Scenario) -> Iterator[Callable[[Moment], None]]:
        """A callback that shows moments while the scenario plays."""
        self._console.print(f"\n[bold]{scenario.name}[/bold]: {scenario.summary}")
        if self._live:
            with Live(console=self._console, refresh_per_second=8, transient=True) as live:
                yield lambda moment: live.update(panel(moment))
            return
        last: list[str] = [""]

        def line(moment: Moment) -> None:
            text = _line(moment)
            if text != last[0]:
                last[0] = text
                self._console.print(f"{moment.seconds:5.1f} s  {text}", soft_wrap=True)

        yield line

    def outcome(self, report: Report) -> None:
        """How a scenario ended, in two lines."""
        colour = COLOURS.get(report.outcome, "white")
        self._console.print(
            f"[{colour}]{report.outcome}[/{colour}] ({report.reason}) after {report.seconds:.0f} s"
        )
        self._console.print(f"because: {report.because}", soft_wrap=True)

    def table(self, reports: Sequence[Report]) -> None:
        """The short table at the end."""
        table = Table(title="What happened", title_justify="left", show_header=False, show_lines=True)
        table.add_column(style="bold", max_width=16)
        for _ in reports:
            table.add_column(overflow="fold")
        for name, cell in ROWS:
            table.add_row(name, *(cell(report) for report in reports))
        self._out.print(table)
        good = all(report.expected for report in reports)
        self._out.print(
            "Each release ended as it should." if good else "A release did not end as it should: see above."
        )


def _line(moment: Moment) -> str:
    status = moment.run.get("status") or {}
    if not status:
        return "waiting for the run to begin"
    weight = status.get("weight") or {}
    return f"{status.get('phase', '')}: canary {weight.get('wanted', 0)} %: {status.get('because', '')}"


def panel(moment: Moment) -> Panel:
    """The run as it stands."""
    status: dict[str, Any] = moment.run.get("status") or {}
    phase = status.get("phase", "waiting")
    rows = Table.grid(padding=(0, 2))
    rows.add_column(style="dim")
    rows.add_column()
    rows.add_row("ladder", _ladder(status))
    rows.add_row("weight", _weights(status))
    rows.add_row("", "")
    for row in _arms(status, moment):
        rows.add_row(*row)
    because = Text(status.get("because", ""), style="bold")
    colour = COLOURS.get(phase, "cyan")
    title = f"{status.get('service', 'checkout')}  [{colour}]{phase}[/{colour}]  {moment.seconds:.0f} s"
    return Panel(Group(rows, Text(""), because), title=title, title_align="left", border_style=colour)


def _ladder(status: dict[str, Any]) -> Text:
    steps = (status.get("policy") or {}).get("steps") or []
    at = (status.get("step") or {}).get("index", -1)
    text = Text()
    for index, step in enumerate(steps):
        style = "green" if index < at else "bold reverse" if index == at else "dim"
        text.append(f" {step} % ", style=style)
    return text


def _weights(status: dict[str, Any]) -> str:
    weight = status.get("weight") or {}
    seen = weight.get("seen")
    return f"wanted {weight.get('wanted', 0)} %, seen {'-' if seen is None else f'{100 * seen:.1f} %'}"


def _arms(status: dict[str, Any], moment: Moment) -> list[tuple[str, str]]:
    metrics = (status.get("verdict") or {}).get("metrics") or {}
    rows = []
    for name, metric in metrics.items():
        rows.append((name, f"canary {_rate(metric, 'canary')}   baseline {_rate(metric, 'baseline')}"))
        rows.append(("  harm", _bar(metric["evidence_harm"], metric["harm_threshold"], "red")))
        rows.append(("  safety", _bar(metric["evidence_safe"], metric["safe_threshold"], "green")))
    users = moment.users
    failed = sum(users.failed.values()) + sum(users.unanswered.values())
    rows.append(
        (
            "users",
            f"{sum(users.requests.values())} requests, {failed} failed, {users.requests['canary']} by canary pods",
        )
    )
    return rows


def _rate(metric: dict[str, Any], arm: str) -> str:
    rate, requests = metric.get(f"{arm}_rate"), metric.get(f"{arm}_requests", 0)
    return "-" if rate is None else f"{100 * rate:.2f} % of {requests}"


def _bar(evidence: float, threshold: float, colour: str) -> str:
    """Evidence on a logarithmic scale, full at the threshold."""
    share = 0.0 if evidence <= 1 else min(1.0, math.log(evidence) / math.log(threshold))
    filled = round(24 * share)
    return (
        f"[{colour}]{'█' * filled}[/{colour}][dim]{'░' * (24 - filled)}[/dim] {evidence:.3g} of {threshold:g}"
    )
