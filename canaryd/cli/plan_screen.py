"""What `canaryd plan` prints: the promotion, the steps, the faults, and what to change."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis.plan import Noticed, Step, Traffic
from analysis.slowness import quantile
from canaryd.cli.figures import percent, span, thousands, times
from canaryd.cli.foresight import Change, Foresight
from canaryd.cli.policies import spelt
from config.quantities import spell_number

_WAITS: Final = {
    "requests": "5 requests",
    "errors": "safety of errors",
    "watched": "step-min (watched)",
    "deadline": "more than the deadline",
}
_TELLING: Final = 100  # a ratio of odds above it says less than the rate itself


def show(foresight: Foresight) -> None:
    """Print it all to standard output."""
    console = Console(highlight=False)
    console.print(*_head(foresight), sep="\n")
    console.print(
        "\nThe steps of a harmless release (requests: of the canary, judged), and the least fault that nine of "
        "ten times is noticed at a step if it comes up there, or at all if it is there from the start:"
    )
    console.print(_steps(foresight))
    console.print(
        "\nA fault that comes up at a step, if the release stays there: how long until it is noticed and the "
        "canary taken back to the lowest step, and the requests that it fails until then:"
    )
    console.print(_late(foresight))
    console.print(
        "\nA fault from the start: what becomes of the release, when, at which step, and what it fails:"
    )
    console.print(_early(foresight))
    console.print(*_end(foresight), sep="\n")


def _head(foresight: Foresight) -> Iterator[str | Text]:
    config = foresight.planner.config
    if foresight.source:
        yield foresight.source
    yield described(foresight.planner.traffic)
    yield (
        f"policy {foresight.policy.name}: harm above {times(config.harm_ratio)} and +{percent(config.harm_delta)}, "
        f"here an error rate above {percent(foresight.plan.tolerated)}; "
        f"safe below {times(config.safe_ratio)} or +{percent(config.safe_delta)}"
    )
    own = [*(one.name for one in config.custom), *(one.name for one in config.thresholds)]
    if own:
        yield f"not planned, as their traffic is not known: the policy's metrics {', '.join(own)}"
    yield _promotion(foresight)


def described(traffic: Traffic) -> str:
    """A traffic on one line."""
    p50, p99 = (quantile(traffic.edges, traffic.slower, share) for share in (0.5, 0.01))
    latency = f"latency p50 {_seconds(p50)}, p99 {_seconds(p99)}" if p50 and p99 else "latency not measured"
    return f"{_rough(traffic.rps)} requests/s, {percent(traffic.error_rate)} errors, {latency}"


def _promotion(foresight: Foresight) -> Text:
    promotion, deadline = foresight.plan.promotion, spelt("deadline", foresight.planner.config.horizon)
    if promotion.likely and promotion.seconds is not None and promotion.late is not None:
        slow = promotion.late > 1.02 * promotion.seconds
        late = f" (nine of ten within {span(promotion.late)})" if slow else ""
        text = f"A harmless release rolls out after {span(promotion.seconds)}{late}"
        return Text(f"{text}, besides the time that pods take to start; deadline {deadline}", style="green")
    return Text(
        f"The policy does not decide at this traffic: {percent(promotion.chance)} of harmless releases get "
        f"through within the deadline of {deadline}; missing is {_waits(promotion.because)}",
        style="yellow",
    )


def _steps(foresight: Foresight) -> Table:
    table = _table()
    for name in ("step", "lasts"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("waits for", no_wrap=True)
    for name in ("requests", "errors", "latency"):
        table.add_column(name, justify="right", no_wrap=True)
    plan, baseline = foresight.plan, foresight.planner.traffic.error_rate
    for step in plan.steps:
        table.add_row(*_step(step, baseline))
    table.add_row("all", "", "", "", *_least(plan.least_rate, plan.least_shift, baseline))
    return table


def _step(step: Step, baseline: float) -> tuple[str, ...]:
    place = percent(step.weight), "-" if step.seconds is None else span(step.seconds), _waits(step.because)
    if not step.judged or not step.faults:
        return place
    return *place, thousands(step.requests), *_least(step.least_rate, step.least_shift, baseline)


def _waits(because: str) -> str:
    return _WAITS.get(because, f"safety of {because}" if because.startswith("latency") else because)


def _least(rate: float | None, shift: float | None, baseline: float) -> tuple[str, str]:
    slower = "none" if shift is None else times(math.ceil(100 * shift) / 100)
    if rate is None:
        return "none", slower
    lift = rate / (1 - rate) / (baseline / (1 - baseline)) if baseline else _TELLING
    return percent(rate) if lift >= _TELLING else f"{times(lift)} ({percent(rate)})", slower


def _late(foresight: Foresight) -> Table:
    table = _table()
    table.add_column("step", justify="right", no_wrap=True)
    steps = [step for step in foresight.plan.steps if step.faults]
    for fault in steps[0].faults if steps else ():
        table.add_column(_name(fault), justify="right", no_wrap=True)
    for step in steps:
        table.add_row(percent(step.weight), *(_cell(fault) for fault in step.faults))
    return table


def _cell(fault: Noticed) -> str:
    if not fault.harmful:
        return "tolerated"
    if fault.seconds is None:
        return f"{percent(round(fault.chance, 3))} in time"
    return f"{span(fault.seconds)}, {thousands(fault.failed)}"


def _early(foresight: Foresight) -> Table:
    table = _table()
    table.add_column("errors", no_wrap=True)
    for name in ("noticed", "promoted", "held", "after", "at", "fails"):
        table.add_column(name, justify="right", no_wrap=True)
    for fault in foresight.plan.faults:
        held = max(0.0, 1 - fault.chance - fault.promoted)
        moment = ("-", "-") if fault.seconds is None else (span(fault.seconds), percent(fault.weight))
        noticed = percent(round(fault.chance, 3)) if fault.harmful else "tolerated"
        shares = (percent(round(share, 3)) for share in (fault.promoted, held))
        table.add_row(_name(fault), noticed, *shares, *moment, thousands(fault.failed))
    return table


def _name(fault: Noticed) -> str:
    rate = percent(fault.rate)
    return rate if fault.lift is None else f"{times(fault.lift)} ({rate})"


def _end(foresight: Foresight) -> Iterator[str]:
    if foresight.plan.promotion.likely:
        if foresight.narrowest is not None:
            ratio, delta = (spell_number(value) for value in foresight.narrowest)
            usual = "The narrowest usual safe tolerances that decide at this traffic"
            yield f"\n{usual}: safe-error-ratio {ratio}, safe-error-delta {delta}"
        return
    yield "\nWhat to change, each alone:" if foresight.changes else "\nNo single change was found that helps"
    for change in foresight.changes:
        yield f"  {_change(change)}: rolls out after {span(change.seconds)}"


def _change(change: Change) -> str:
    if change.policy is not None:
        return f"--policy {change.policy}"
    if change.rps is not None:
        return f"{_rough(change.rps)} requests/s"
    return " ".join(f"--set {key}={value}" for key, value in change.sets.items())


def _rough(value: float) -> str:
    """Three significant digits: 312.47 -> "312"."""
    return spell_number(float(f"{value:.3g}"))


def _seconds(seconds: float) -> str:
    return f"{seconds * 1000:.3g} ms" if seconds < 1 else f"{seconds:.2g} s"


def _table() -> Table:
    return Table(box=None, pad_edge=False, padding=(0, 2, 0, 0))
