"""Numbers, durations and lists as people write them, in YAML, in a variable or in an annotation.

Each parser returns nothing for what it does not understand; the kinds turn that into a message.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from decimal import Decimal

_DURATION = re.compile(
    r"(?:([0-9]+)d)?(?:([0-9]+)h)?(?:([0-9]+)m)?(?:([0-9]+(?:\.[0-9]+)?)s)?(?:([0-9]+)ms)?"
)
_DECIMAL = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_WHOLE = re.compile(r"[+-]?[0-9]{1,18}")


def parse_decimal(raw: object) -> float | None:
    """The finite number that `raw` is or spells, otherwise nothing. A boolean is no number."""
    if isinstance(raw, str) and _DECIMAL.fullmatch(raw.strip()):
        number = float(raw)
    elif isinstance(raw, int | float) and not isinstance(raw, bool):
        try:
            number = float(raw)
        except OverflowError:
            return None
    else:
        return None
    return number if math.isfinite(number) else None


def parse_whole(raw: object) -> int | None:
    """The whole number that `raw` is or spells, otherwise nothing. A boolean is no number."""
    if isinstance(raw, str) and _WHOLE.fullmatch(raw.strip()):
        return int(raw)
    return raw if isinstance(raw, int) and not isinstance(raw, bool) else None


def parse_seconds(raw: object) -> float | None:
    """Seconds of "90s", "1h30m", "500ms" or a plain number; nothing for anything else."""
    match = _DURATION.fullmatch(raw.strip()) if isinstance(raw, str) else None
    if match is None or not any(match.groups()):
        return parse_decimal(raw)
    days, hours, minutes, seconds, millis = (Decimal(amount or 0) for amount in match.groups())
    total = float(((days * 24 + hours) * 60 + minutes) * 60 + seconds + millis / 1000)
    return total if math.isfinite(total) else None


def spell_number(number: float) -> str:
    """`number` without an exponent and without needless zeros: 1e-06 -> "0.000001", 2.0 -> "2"."""
    text = f"{Decimal(repr(number)):f}"
    return text.rstrip("0").rstrip(".") if "." in text else text


def spell_seconds(seconds: float) -> str:
    """A spelling that `parse_seconds` reads back exactly: 5400 -> "1h30m", 0.5 -> "500ms", 0 -> "0s"."""
    millis = round(seconds * 1000)
    if millis <= 0 or millis / 1000 != seconds or millis > 10**15:
        return "0s" if seconds == 0 else repr(seconds)
    spelt = ""
    for unit, size in (("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)):
        amount, millis = divmod(millis, size)
        spelt += f"{amount}{unit}" if amount else ""
    return spelt if parse_seconds(spelt) == seconds else repr(seconds)


def split_list(raw: object) -> Sequence[object] | None:
    """The items of a YAML list or of a comma list; nothing for anything else."""
    if isinstance(raw, str):
        return [item.strip() for item in raw.split(",")] if raw.strip() else []
    return raw if isinstance(raw, list | tuple) else None
