"""The traffic and the policy that `canaryd plan` and `canaryd simulate` are asked about."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from canaryd.cli.policies import refuse

if TYPE_CHECKING:
    from analysis.plan import Ladder, Traffic
    from config import Policy, Settings

P50, P99 = "60ms", "400ms"  # of latency, where nothing is said of it

_Command = TypeVar("_Command", bound=Callable[..., Any])
_Value = TypeVar("_Value")


def traffic_options(command: _Command) -> _Command:
    """--rps, --error-rate, --p50 and --p99."""
    options = (
        click.option("--rps", metavar="N", help="Requests per second of the running version."),
        click.option("--error-rate", metavar="P", help="The share of them that fail, such as 0.002 or 0.2%."),
        click.option("--p50", metavar="TIME", help=f"Median latency of those that succeed (default: {P50})."),
        click.option("--p99", metavar="TIME", help=f"99th percentile of their latency (default: {P99})."),
    )
    for option in reversed(options):
        command = option(command)
    return command


def named_traffic(rps: str, error_rate: str, p50: str | None, p99: str | None) -> Traffic:
    """The traffic that flags describe, with lognormal latencies; ends with 2 where it cannot be."""
    from analysis.plan import Traffic
    from analysis.slowness import ISTIO_EDGES, lognormal

    times = duration("--p50", p50 or P50), duration("--p99", p99 or P99)
    if not times[0] < times[1]:
        refuse(f"--p99: it must be above --p50, the median, which is {p50 or P50}")
    return Traffic(
        number("--rps", rps, 0.001, 1_000_000),
        proportion("--error-rate", error_rate),
        ISTIO_EDGES,
        lognormal(ISTIO_EDGES, *times),
    )


def number(flag: str, text: str, low: float, high: float) -> float:
    """A number within the range; ends with 2 otherwise."""
    from config.kinds import Number

    return _parsed(flag, text, Number(low, high).parse)


def whole(flag: str, text: str, low: int, high: int) -> int:
    """A whole number within the range; ends with 2 otherwise."""
    from config.kinds import Integer

    return _parsed(flag, text, Integer(low, high).parse)


def duration(flag: str, text: str, low: float = 0.0001, high: float = 3600.0) -> float:
    """Seconds of a text such as "90s"; ends with 2 where they are not within the range."""
    from config.kinds import Duration

    return _parsed(flag, text, Duration(low, high).parse)


def proportion(flag: str, text: str) -> float:
    """A share such as 0.002 or 0.2%, from 0 to 0.5; ends with 2 otherwise."""
    from config.problems import MalformedError
    from config.quantities import parse_decimal

    def parse(raw: str) -> float:
        bare = raw.strip().removesuffix("%")
        value = parse_decimal(bare)
        share = None if value is None else value / 100 if bare != raw.strip() else value
        if share is None or not 0 <= share <= 0.5:
            raise MalformedError("a share from 0 to 0.5, such as 0.002 or 0.2%")
        return share

    return _parsed(flag, text, parse)


def ladder(policy: Policy, settings: Settings) -> Ladder:
    """How the controller climbs the policy's steps, with the terms of the settings.

    Four changes must reach every proxy before the first weight: both subsets, the fence, the destination. A
    weight is judged once it has settled and been scraped, from the next reading on. The time that pods take to
    start is not in it.
    """
    from analysis.plan import Ladder

    scrape, tick, settle = settings.prometheus.scrape_interval, settings.tick, settings.settle
    interval = max(scrape, tick)
    return Ladder(
        weights=tuple(step / 100 for step in policy.steps),
        last_judged=policy.last_judged_step / 100,
        step_min=policy.step_min,
        harm_budget=policy.harm_budget,
        interval=interval,
        before=4 * (settle + tick / 2),
        shift=settle + scrape + (tick + interval) / 2,
        exposure=2 * scrape + settle,
        lag=tick / 2,
    )


def _parsed(flag: str, text: str, parse: Callable[[str], _Value]) -> _Value:
    from config.problems import MalformedError, not_allowed, shown

    try:
        return parse(text)
    except MalformedError as fault:
        refuse(f"{flag}: {not_allowed(shown(text), fault.allowed)}")
