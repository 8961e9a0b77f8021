"""What is wrong with a configuration: every problem names where it was written, the key, and what is allowed.

ConfigurationError      all problems of one configuration, never only the first
MalformedError          one value that its kind refuses; the reader adds the key and the source
"""

from __future__ import annotations

import difflib
import re
import reprlib
from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 80  # characters of a value that a message repeats
_CREDENTIALS = re.compile(r"//[^/\s@]+@")

_bounded = reprlib.Repr()  # YAML aliases make values whose full repr would not fit in memory
_bounded.maxlevel = 3
_bounded.maxlist = _bounded.maxdict = 12


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: `source` is a file (with `line`, from 1), "environment", "command line" or "spec.policy".

    Either `value` (as messages repeat it) is not what is `allowed`, or `fault` says what is wrong.
    """

    source: str
    key: str
    value: str = ""
    allowed: str = ""
    fault: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        subject = ": ".join(part for part in (where, self.key) if part)
        return f"{subject}: {self.fault or not_allowed(self.value, self.allowed)}"


class ConfigurationError(Exception):
    """A configuration that cannot be used; `problems` has at least one entry."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


@dataclass(frozen=True, slots=True)
class Flaw:
    """One fault inside of a value that is a mapping: the path of keys to it, and what is wrong, as in Problem."""

    path: tuple[str, ...]
    value: object = None
    allowed: str = ""
    fault: str = ""


class MalformedError(ValueError):
    """A value that a kind refuses; `allowed` says what it takes instead.

    It never carries the value itself. `flaws` are the faults inside of it,
    where the value is a mapping.
    """

    def __init__(self, allowed: str, flaws: tuple[Flaw, ...] = ()) -> None:
        self.allowed = allowed
        self._flaws = flaws
        super().__init__(allowed)

    def flaws(self, value: object) -> tuple[Flaw, ...]:
        """What is wrong with `value`, which was refused."""
        return self._flaws or (Flaw((), value, self.allowed),)


def not_allowed(value: str, allowed: str) -> str:
    """The one way in which messages refuse a value."""
    return f"{value} is not allowed; allowed is {allowed}"


def nearest(word: str, known: Iterable[str], *, cutoff: float = 0.6) -> str:
    """The known word closest to `word`, or "" when none is near."""
    near = difflib.get_close_matches(word[:_SHOWN], list(known), n=1, cutoff=cutoff)
    return near[0] if near else ""


def did_you_mean(word: str, known: Iterable[str], *, prefix: str = "") -> str:
    """'; did you mean "steps"?' for the known word closest to `word`, or "" when none is near."""
    near = nearest(word, known)
    return f'; did you mean "{prefix}{near}"?' if near else ""


def shown(value: object) -> str:
    """`value` as a message repeats it: text in quotes, on one line, cut short, without URL credentials."""
    if value is None:
        return "nothing (null)"
    if isinstance(value, bool):
        return str(value).lower()
    text = '"' + repr(value[:_SHOWN])[1:-1] + '"' if isinstance(value, str) else _bounded.repr(value)
    text = _CREDENTIALS.sub("//[redacted]@", text)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
