"""Figures as the page writes them."""

from __future__ import annotations

from collections.abc import Sequence


def percent(share: float) -> str:
    """A share in percent, with as many digits as say something."""
    percent = 100 * share
    if percent in (0, 100):
        return f"{percent:.0f} %"
    digits = 0 if 10 <= percent <= 99 else 1 if percent >= 1 else 2
    return f"{min(percent, 99.99):.{digits if percent < 99 else 1}f} %"


def limits(limits: Sequence[float] | None) -> str:
    """A rate, with its limits small and in brackets."""
    if limits is None:
        return "–"
    rate, low, high = limits
    ends = (percent(end).removesuffix(" %") for end in (low, high))
    return f"{percent(rate)} <small>{' to '.join(ends)}</small>"


def span(seconds: float | None) -> str:
    """Seconds in the unit that reads best."""
    if seconds is None:
        return "never"
    return (
        f"{seconds:.0f} s"
        if seconds < 100
        else f"{seconds / 60:.0f} min"
        if seconds >= 600
        else f"{seconds / 60:.1f} min"
    )


def spans(quantiles: dict[str, float | None]) -> str:
    """Each of some quantiles."""
    told = ["–" if value is None else span(value) for value in quantiles.values()]
    return ", ".join(told) if any(value is not None for value in quantiles.values()) else "–"


def median_minutes(seconds: Sequence[float | None]) -> str:
    """Over scenarios; a scenario in which fewer than half are promoted counts as never."""
    if not seconds:
        return "–"
    ordered = sorted(float("inf") if value is None else value for value in seconds)
    middle = ordered[(len(ordered) - 1) // 2]
    return "never" if middle == float("inf") else span(middle)


def times(ratio: float | None) -> str:
    """A ratio."""
    if ratio is None:
        return "–"
    return f"×{ratio:,.0f}" if ratio >= 10 else f"×{ratio:.1f}"


def short(number: int) -> str:
    """1000 as 1 k."""
    return (
        f"{number // 1_000_000} M"
        if number >= 1_000_000
        else f"{number // 1000} k"
        if number >= 1000
        else str(number)
    )


def counted(count: int) -> str:
    """How many judges, as a sentence begins."""
    words = (
        "No judge",
        "One judge",
        "Two judges",
        "Three judges",
        "Four judges",
        "Five judges",
        "Six judges",
    )
    return words[count] if count < len(words) else "Seven judges"
