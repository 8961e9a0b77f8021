"""One YAML file as plain values, with the line of every key, and everything that is wrong with it as YAML.

Values follow the core schema of YAML 1.2: `on`, `1:30` and `010` are not turned into something else, and a
key written twice is an error, where PyYAML would silently let the last one win.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from config.problems import Problem, shown

KeyPath = tuple[str, ...]

_LARGEST = 1 << 20  # bytes
_TAG = "tag:yaml.org,2002:"


@dataclass(frozen=True, slots=True)
class Document:
    """What a file holds; `root` is empty where `problems` prevented reading it."""

    source: str
    root: Mapping[str, Any]
    lines: Mapping[KeyPath, int]
    problems: tuple[Problem, ...] = ()

    def problem(self, path: KeyPath, *, value: object = None, allowed: str = "", fault: str = "") -> Problem:
        """A problem with the key at `path`, at its line."""
        text = "" if fault else shown(value)
        return Problem(self.source, ".".join(path), text, allowed, fault, self.lines.get(path, 0))


def read_document(file: Path) -> Document:
    """The mapping that `file` holds. Never raises for what a file or its text may be."""
    source = str(file)
    try:
        with file.open("rb") as stream:
            content = stream.read(_LARGEST + 1)
    except OSError as fault:
        return _unusable(source, f"cannot be read: {fault.strerror or fault}")
    if len(content) > _LARGEST:
        return _unusable(source, "is larger than 1 MiB")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        return _unusable(source, f"is not UTF-8: byte {fault.start + 1}")
    return parse_document(text, source)


def parse_document(text: str, source: str) -> Document:
    """The mapping that `text` is; `source` names it in messages."""
    try:
        node = yaml.compose(text, Loader=_CoreLoader)
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        because = " ".join(part for part in (fault.context, fault.problem) if part)
        return _unusable(source, f"is not YAML: {because}", mark.line + 1 if mark else 0)
    except yaml.YAMLError as fault:
        return _unusable(source, "is not YAML: " + " ".join(str(fault).split()))
    except RecursionError:
        return _unusable(source, "is nested too deeply")
    walk = _Walk(source)
    root = walk.value(node, ()) if node is not None else None
    if root is None:
        return _unusable(source, 'is empty; write "{}" where the defaults are meant')
    if not isinstance(root, dict):
        return _unusable(source, f"holds {shown(root)}, not a mapping of keys to values", 1)
    return Document(source, root, walk.lines, tuple(walk.problems))


def _unusable(source: str, fault: str, line: int = 0) -> Document:
    empty: Mapping[Any, Any] = MappingProxyType({})
    return Document(source, empty, empty, (Problem(source, "", fault=fault, line=line),))


class _CoreLoader(yaml.SafeLoader):
    """Resolves plain scalars by YAML 1.2's core schema; nothing is constructed by it."""

    yaml_implicit_resolvers: dict[str, Any] = {}  # noqa: RUF012 - PyYAML's own protocol


for _name, _pattern, _first in (
    ("null", r"(?:~|null|Null|NULL|)", ["~", "n", "N", ""]),
    ("bool", r"(?:true|True|TRUE|false|False|FALSE)", list("tTfF")),
    ("int", r"[-+]?[0-9]{1,18}", list("-+0123456789")),
    ("float", r"[-+]?(?:\.[0-9]+|[0-9]+(?:\.[0-9]*)?)(?:[eE][-+]?[0-9]+)?", list("-+.0123456789")),
):
    _CoreLoader.add_implicit_resolver(_TAG + _name, re.compile(rf"^{_pattern}$"), _first)


@dataclass(slots=True)
class _Walk:
    """One pass over the nodes. Each node is built once: aliases cannot blow up, and cycles are seen."""

    source: str
    lines: dict[KeyPath, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    built: dict[int, Any] = field(default_factory=dict)
    open: set[int] = field(default_factory=set)

    def value(self, node: yaml.Node, path: KeyPath) -> Any:
        if id(node) in self.open:
            return self._fault(path, node, "contains itself")
        if id(node) not in self.built:
            self.open.add(id(node))
            self.built[id(node)] = self._build(node, path)
            self.open.discard(id(node))
        return self.built[id(node)]

    def _build(self, node: yaml.Node, path: KeyPath) -> Any:
        if isinstance(node, yaml.MappingNode) and node.tag == _TAG + "map":
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode) and node.tag == _TAG + "seq":
            return [self.value(item, path) for item in node.value]
        if isinstance(node, yaml.ScalarNode):
            return self._scalar(node, path)
        return self._fault(path, node, f"has the tag {node.tag}, which is not understood here")

    def _mapping(self, node: yaml.MappingNode, path: KeyPath) -> dict[str, Any]:
        built: dict[str, Any] = {}
        for key_node, value_node in node.value:
            key = str(key_node.value) if isinstance(key_node, yaml.ScalarNode) else shown(key_node.tag)
            here, line = (*path, key), key_node.start_mark.line + 1
            if key in built:
                self._fault(here, key_node, f"is written twice, first on line {self.lines[here]}")
                continue
            self.lines[here] = line
            built[key] = self.value(value_node, here)
        return built

    def _scalar(self, node: yaml.ScalarNode, path: KeyPath) -> Any:
        text = str(node.value)
        match node.tag.removeprefix(_TAG):
            case "str":
                return text
            case "null":
                return None
            case "bool" if text.lower() in ("true", "false"):
                return text.lower() == "true"
            case "int" if re.fullmatch(r"[-+]?[0-9]{1,18}", text):
                return int(text)
            case "float" if re.fullmatch(r"[-+.0-9eE]{1,400}", text):
                return _float(text)
        return self._fault(path, node, f"has the tag {node.tag}, which is not understood here")

    def _fault(self, path: KeyPath, node: yaml.Node, fault: str) -> None:
        line = node.start_mark.line + 1
        self.problems.append(Problem(self.source, ".".join(path), fault=fault, line=line))


def _float(text: str) -> float | str:
    """The number, or the text itself where an explicit tag promised one in vain: its kind will refuse it."""
    try:
        return float(text)
    except ValueError:
        return text
