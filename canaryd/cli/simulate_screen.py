"""What `canaryd simulate` prints: how the releases ended, and what it took."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.plan import Traffic
from analysis.simulation import Quantiles, Simulation, Summary
from canaryd.cli.figures import percent, span, thousands, times
from canaryd.cli.plan_screen import described
from canaryd.cli.replay_screen import COLOURS

_COLOURS = {
    "rolled back": COLOURS["rollback"],
    "retreated": COLOURS["retreat"],
    "promoted": COLOURS["promote"],
    "inconclusive": COLOURS["inconclusive"],
}


def show(simulation: Simulation, traffic: Traffic, policy: str, summary: Summary) -> None:
    """Print it all to standard output."""
    console = Console(highlight=False)
    scenario = simulation.scenario
    console.print(f"{described(traffic)}; {', '.join(_fault(simulation))}")
    console.print(
        f"policy {policy}: {thousands(summary.releases)} releases, seed {simulation.seed}, "
        f"{scenario.canary_pods} canary and {scenario.baseline_pods} baseline pods\n"
    )
    console.print(_ends(summary))
    console.print()
    console.print(_figures(summary))


def _fault(simulation: Simulation) -> Iterator[str]:
    scenario = simulation.scenario
    if scenario.lift != 1:
        yield f"the canary fails {times(scenario.lift)} as often ({percent(scenario.lift * scenario.base_rate)})"
    if scenario.slower != 1:
        yield f"the canary takes {times(scenario.slower)} as long"
    if scenario.tail:
        yield f"{percent(scenario.tail)} of the canary's answers take ten times as long"
    if scenario.onset:
        yield f"from {span(scenario.onset)} after the first weight on"
    if (scenario.lift, scenario.slower, scenario.tail) == (1, 1, 0):
        yield "the canary is like the baseline"
    if scenario.burst_gap:
        yield f"bursts {span(scenario.burst_gap)} apart in each pod"
    if scenario.shock_gap:
        yield f"shocks {span(scenario.shock_gap)} apart to both versions"


def _ends(summary: Summary) -> Table:
    table = _table()
    table.add_column("outcome", no_wrap=True)
    for name in ("releases", "share", "95 % limits"):
        table.add_column(name, justify="right", no_wrap=True)
    for end, (count, limits) in summary.ends.items():
        table.add_row(Text(end, style=_COLOURS[end] if count else "dim"), *_counted(count, limits))
    table.add_row("ever taken back", *_counted(*summary.protected))
    return table


def _counted(count: int, limits: list[float]) -> tuple[str, ...]:
    share, low, high = limits
    return thousands(count), percent(share), f"{percent(low).removesuffix(' %')} to {percent(high)}"


def _figures(summary: Summary) -> Table:
    table = _table()
    table.add_column("", no_wrap=True)
    for name in ("mean", "median", "95 %"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_row("requests failed until taken back", *_quantiles(summary.failed_before, thousands))
    table.add_row("requests failed until the end", *_quantiles(summary.failed, thousands))
    table.add_row("taken back after", *_quantiles(summary.to_protect, span))
    table.add_row("promoted after", *_quantiles(summary.to_promote, span))
    return table


def _quantiles(found: Quantiles | None, spelt: Callable[[float], str]) -> tuple[str, ...]:
    return ("-", "-", "-") if found is None else (spelt(found.mean), spelt(found.median), spelt(found.p95))


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 3, 0, 0))
