"""Label and field selectors: the set-based grammar of the Kubernetes API, parsed once per request."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import bad_request

Operator = Literal["in", "notin", "exists", "!", ">", "<"]

_TOKEN = re.compile(r"\s*(==|!=|=|!|\(|\)|,|>|<|[^\s=!(),<>]+)")


@dataclass(frozen=True, slots=True)
class Requirement:
    """One condition on one label."""

    key: str
    operator: Operator
    values: frozenset[str] = frozenset()

    def holds(self, labels: Mapping[str, str]) -> bool:
        value = labels.get(self.key)
        match self.operator:
            case "in":
                return value is not None and value in self.values
            case "notin":
                return value is None or value not in self.values
            case "exists":
                return value is not None
            case "!":
                return value is None
            case _:
                return self._compares(value)

    def _compares(self, value: str | None) -> bool:
        if value is None or not re.fullmatch(r"[+-]?\d+", value):
            return False
        bound = int(next(iter(self.values)))
        return int(value) > bound if self.operator == ">" else int(value) < bound


class _Parser:
    """Recursive descent over the tokens of one selector."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.tokens = self._tokenise(text)
        self.at = 0

    def _tokenise(self, text: str) -> list[str]:
        tokens, position = [], 0
        stripped = text.rstrip()
        while position < len(stripped):
            found = _TOKEN.match(stripped, position)
            if found is None:
                raise self.error(f"unexpected character at {position}")
            tokens.append(found.group(1))
            position = found.end()
        return tokens

    def error(self, why: str) -> Exception:
        return bad_request(f"unable to parse requirement: {why}")

    def peek(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self) -> str:
        token = self.peek()
        self.at += 1
        return token

    def requirements(self) -> Iterable[Requirement]:
        while self.at < len(self.tokens):
            yield self.requirement()
            if self.peek() and self.take() != ",":
                raise self.error(f"found '{self.tokens[self.at - 1]}', expected: ',' or end of string")
            if self.at == len(self.tokens) and self.tokens[-1] == ",":
                raise self.error("found '', expected: identifier after ','")

    def requirement(self) -> Requirement:
        if self.peek() == "!":
            self.take()
            return Requirement(self.key(), "!")
        key = self.key()
        operator = self.peek()
        if operator in ("", ","):
            return Requirement(key, "exists")
        self.take()
        match operator:
            case "=" | "==":
                return Requirement(key, "in", frozenset({self.value()}))
            case "!=":
                return Requirement(key, "notin", frozenset({self.value()}))
            case "in" | "notin":
                return Requirement(key, "in" if operator == "in" else "notin", self.value_set())
            case ">" | "<":
                return Requirement(key, ">" if operator == ">" else "<", frozenset({self.number()}))
            case _:
                raise self.error(f"found '{operator}', expected: '=', '!=', '==', 'in', notin'")

    def key(self) -> str:
        token = self.take()
        if not re.fullmatch(r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?", token):
            raise self.error(f"found '{token}', expected: identifier")
        return token

    def value(self) -> str:
        token = self.peek()
        if token in ("", ","):
            return ""
        self.take()
        if not re.fullmatch(r"([A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?)?", token):
            raise self.error(f'Invalid value: "{token}"')
        return token

    def number(self) -> str:
        token = self.take()
        if not re.fullmatch(r"[+-]?\d+", token):
            raise self.error("for 'Gt', 'Lt' operators, the value must be an integer")
        return token

    def value_set(self) -> frozenset[str]:
        if self.take() != "(":
            raise self.error("found no '(' after 'in' or 'notin', expected: '('")
        values = {""} if self.peek() in (",", ")") else {self.value()}
        while (found := self.take()) != ")":
            if found != ",":
                raise self.error(f"found '{found}', expected: ',' or ')'")
            values.add("" if self.peek() in (",", ")") else self.value())
        return frozenset(values)


def parse_labels(text: str) -> tuple[Requirement, ...]:
    """Parse a label selector; a malformed one is a 400."""
    return tuple(_Parser(text).requirements()) if text.strip() else ()


def parse_fields(text: str, unknown: Callable[[str], str]) -> tuple[tuple[str, bool, str], ...]:
    """Parse a field selector into (field, wanted equal, value); an unknown field is a 400."""
    terms = []
    for term in filter(None, (part.strip() for part in text.split(","))):
        found = re.fullmatch(r"([^=!]+?)(==|!=|=)(.*)", term)
        if found is None:
            raise bad_request(f"invalid selector: '{text}'; can't understand '{term}'")
        field, operator, value = found.groups()
        if why := unknown(field):
            raise bad_request(why)
        terms.append((field, operator != "!=", value))
    return tuple(terms)


def field_value(body: Json, path: str) -> str:
    """The value of a dotted field as field selectors compare it: absent is the empty string."""
    value: object = body
    for key in path.split("."):
        if not isinstance(value, dict):
            return ""
        value = value.get(key)
    if isinstance(value, bool):
        return str(value).lower()
    return "" if value is None else str(value)


@dataclass(frozen=True, slots=True)
class Selection:
    """What a list or a watch asks for, below its resource."""

    namespace: str = ""
    labels: tuple[Requirement, ...] = ()
    fields: tuple[tuple[str, bool, str], ...] = ()

    @property
    def everything(self) -> bool:
        """True if only the namespace restricts."""
        return not self.labels and not self.fields

    def matches(self, body: Json) -> bool:
        meta = body["metadata"]
        if self.namespace and meta.get("namespace") != self.namespace:
            return False
        if self.labels:
            labels = meta.get("labels") or {}
            if not all(requirement.holds(labels) for requirement in self.labels):
                return False
        return all((field_value(body, path) == value) is equal for path, equal, value in self.fields)
