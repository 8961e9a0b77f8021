"""PromQL with the arm as a placeholder: what is wrong with it, and the query for one arm.

A `$` that no letter follows is PromQL's own: the end of a regular expression, a group of label_replace.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from config.kinds import Kind
from config.problems import MalformedError, did_you_mean, shown

PLACEHOLDERS: Mapping[str, str] = {
    "pods": "a regular expression for the names of the arm's pods, for `pod=~`",
    "workload": "the name of the arm's Deployment, as Istio calls it",
    "namespace": "the namespace of both",
}

_PLACEHOLDER = re.compile(r"\$(\{?)([A-Za-z_][A-Za-z0-9_]*)")
_RATE = re.compile(r"\b(rate|irate|increase|delta|idelta|deriv)\s*\(")
_TEXT = re.compile(
    r""" "(?:[^"\
]|\.)*" | '(?:[^'\
]|\.)*' | `[^`]*` | \#[^
]* """,
    re.VERBOSE,
)
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f]")
_LONGEST = 4000
_PAIRS = {")": "(", "]": "[", "}": "{"}
_REGEX_SPECIAL = re.compile(r"[.+*?()|\[{$]")  # of those, names of pods have the dot alone


@dataclass(frozen=True, slots=True)
class PromQL(Kind[str]):
    """A PromQL expression. counter: of a counter that grows, asked once per arm, so that it must name the arm."""

    counter: bool = False

    @property
    def allowed(self) -> str:
        what = "PromQL for a counter as it is" if self.counter else "PromQL for one value"
        return f"{what}, with {_spelt()} for the arm"

    def parse(self, raw: object) -> str:
        if not isinstance(raw, str) or not raw.strip() or len(raw) > _LONGEST or _CONTROL.search(raw):
            raise MalformedError(f"{self.allowed}, of at most {_LONGEST} characters")
        for brace, name in _PLACEHOLDER.findall(raw):
            if brace or name not in PLACEHOLDERS:
                there = f"${{{name}}}" if brace else f"${name}"
                hint = "" if brace else did_you_mean(name, PLACEHOLDERS, prefix="$")
                raise MalformedError(f"PromQL whose placeholders are {_spelt()}; {there} is none{hint}")
        code = _TEXT.sub(" ", raw)
        unmatched = _unmatched(code)
        if unmatched:
            raise MalformedError(
                f"PromQL whose quotes and brackets match; {shown(unmatched)} has no other half"
            )
        if self.counter:
            self._check_counter(raw, code)
        return raw.strip()

    def _check_counter(self, raw: str, code: str) -> None:
        rate = _RATE.search(code)
        if rate:
            raise MalformedError(f"PromQL for a counter as it is, without {rate[1]}(): canaryd counts itself")
        if not {"pods", "workload"} & {name for _, name in _PLACEHOLDER.findall(raw)}:
            raise MalformedError("PromQL that tells the arms apart, by $pods or $workload")

    def schema(self) -> dict[str, Any]:
        return {"type": "string", "maxLength": _LONGEST}


def filled(expression: str, *, namespace: str, workload: str, pods: str) -> str:
    """The expression for one arm; `pods` as `named` or `prefixed` gives it."""
    values = {"namespace": namespace, "workload": workload, "pods": pods}
    return _PLACEHOLDER.sub(lambda found: values[found[2]], expression)


def named(pods: Mapping[str, float]) -> str:
    """A regular expression for exactly these pods, of use in every sort of quotes; for none: what no pod is called."""
    return f"(?:{'|'.join(map(_literal, sorted(pods)))})" if pods else "-"


def prefixed(prefix: str) -> str:
    """A regular expression for the pods whose names begin so."""
    return f"{_literal(prefix)}.+"


def _literal(text: str) -> str:
    return _REGEX_SPECIAL.sub(r"[\g<0>]", text)


def _spelt() -> str:
    return ", ".join(f"${name}" for name in PLACEHOLDERS)


def _unmatched(code: str) -> str:
    """The first quote or bracket without its other half, "" where there is none; `code` is without strings."""
    open_: list[str] = []
    for character in code:
        if character in "\"'`":
            return character
        if character in _PAIRS.values():
            open_.append(character)
        if character in _PAIRS and (not open_ or open_.pop() != _PAIRS[character]):
            return character
    return open_[-1] if open_ else ""
