"""What is wrong with a configuration: every problem names where it was written, the key, and what is allowed.

ConfigurationError      all problems of one configuration, never only the first
MalformedError               one value that its kind refuses; the reader adds the key and the source
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from dataclasses import dataclass

_SHOWN = 80  # characters of a value that a message repeats


@dataclass(frozen=True, slots=True)
class Problem:
    """One fault: `source` is a file (with `line`, from 1), "environment" or "command line"."""

    source: str
    key: str
    allowed: str
    value: str = ""
    hint: str = ""
    line: int = 0

    def __str__(self) -> str:
        where = f"{self.source}:{self.line}" if self.line else self.source
        subject = ": ".join(part for part in (where, self.key) if part)
        value = f"{self.value} is not allowed; " if self.value else ""
        hint = f" ({self.hint})" if self.hint else ""
        return f"{subject}: {value}{self.allowed}{hint}"


class ConfigurationError(Exception):
    """A configuration that cannot be used; `problems` has at least one entry."""

    def __init__(self, problems: Iterable[Problem]) -> None:
        self.problems = tuple(problems)
        super().__init__("\n".join(str(problem) for problem in self.problems))


class MalformedError(ValueError):
    """A value that a kind refuses; `allowed` says what it takes instead. Never carries the value itself."""

    def __init__(self, allowed: str) -> None:
        self.allowed = allowed
        super().__init__(allowed)


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """'did you mean "steps"?' for the known word closest to `word`, or nothing when none is near."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f'did you mean "{near[0]}"?' if near else ""


def shown(value: object) -> str:
    """`value` as a message repeats it: quoted when it is text, on one line, cut to a readable length."""
    text = repr(value)
    if isinstance(value, str):
        text = '"' + repr(value)[1:-1] + '"'
    elif value is None:
        text = "nothing (null)"
    elif isinstance(value, bool):
        text = str(value).lower()
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."
