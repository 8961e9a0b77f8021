"""Figures as the tables of the command line have them: short, and with the precision that they deserve."""

from __future__ import annotations

import math


def percent(rate: float) -> str:
    """A proportion with two significant digits: 0.00123 -> "0.12 %"."""
    value = 100 * rate
    if value == 0 or value >= 10:
        return f"{value:.0f} %"
    digits = max(0, 1 - math.floor(math.log10(value) + 1e-9))
    text = f"{value:.{min(digits, 6)}f}"
    return f"{text.rstrip('0').rstrip('.') if '.' in text else text} %"


def thousands(count: float) -> str:
    """A whole number in groups of three: 12345 -> "12 345"."""
    return f"{round(count):,}".replace(",", " ")


def clock(seconds: float) -> str:
    """A moment of a run: 75 -> "1:15", 3675 -> "1:01:15"."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def evidence(value: float) -> str:
    """An e-value: 0.0123 -> "0.012", 12345 -> "12 345", 3e9 -> "1e9"."""
    if value >= 1e6:
        return f"1e{math.floor(math.log10(value))}"
    if value >= 1000:
        return thousands(value)
    return f"{value:.2g}" if 0.001 <= value < 10 else f"{value:.0f}" if value >= 10 else "< 0.001"


def times(factor: float) -> str:
    """A ratio: 1.2345 -> "1.23 x", 14.2 -> "14 x"."""
    return f"{factor:.3g} x" if factor < 10 else f"{thousands(factor)} x"


def span(seconds: float) -> str:
    """A length of time, no finer than it deserves: 48 -> "48s", 105 -> "1m45s", 1336 -> "22m", 9000 -> "2h30m"."""
    if seconds < 600:
        minutes, rest = divmod(round(seconds), 60)
        return (f"{minutes}m" if minutes else "") + (f"{rest}s" if rest or not minutes else "")
    hours, minutes = divmod(round(seconds / 60), 60)
    if hours >= 48:
        return f"{hours / 24:.0f}d"
    return (f"{hours}h" if hours else "") + (f"{minutes}m" if minutes or not hours else "")
