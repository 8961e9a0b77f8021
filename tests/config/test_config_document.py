"""A file that cannot be used says why and where; one that can means what it seems to mean."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from config.document import parse_document, read_document


def faults(text: str) -> list[str]:
    return [str(problem) for problem in parse_document(text, "canaryd.yaml").problems]


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("", 'canaryd.yaml: is empty; write "{}" where the defaults are meant'),
        ("# nothing\n---\n", 'canaryd.yaml: is empty; write "{}" where the defaults are meant'),
        ("- a\n", "canaryd.yaml:1: holds ['a'], not a mapping of keys to values"),
        ("text", 'canaryd.yaml:1: holds "text", not a mapping of keys to values'),
        ("a: 1\nb: 2\na: 3\n", "canaryd.yaml:3: a: is written twice, first on line 1"),
        ("a:\n  b: 1\n  b: 2\n", "canaryd.yaml:3: a.b: is written twice, first on line 2"),
        (
            "a: !!python/object:os.system {}\n",
            "canaryd.yaml:1: a: has the tag tag:yaml.org,2002:python/object:os.system, which is not understood here",
        ),
        (
            "a: !!binary aGk=\n",
            "canaryd.yaml:1: a: has the tag tag:yaml.org,2002:binary, which is not understood here",
        ),
        ("a: &x [*x]\n", "canaryd.yaml:1: a: contains itself"),
    ],
)
def test_one_fault(text: str, fault: str) -> None:
    assert faults(text) == [fault]


@pytest.mark.parametrize(
    ("text", "start"),
    [
        ("a: [1\n", "canaryd.yaml:2: is not YAML: while parsing a flow sequence"),
        ("a: 1\n---\nb: 2\n", "canaryd.yaml:2: is not YAML: expected a single document"),
        ("a: *nowhere\n", "canaryd.yaml:1: is not YAML: found undefined alias"),
        ("a: \x00\n", "canaryd.yaml: is not YAML: unacceptable character"),
        ("[" * 5000, "canaryd.yaml: is nested too deeply"),
    ],
)
def test_text_that_is_no_yaml(text: str, start: str) -> None:
    (fault,) = faults(text)
    assert fault.startswith(start)


@pytest.mark.parametrize(
    ("scalar", "value"),
    [
        ("on", "on"),
        ("yes", "yes"),
        ("1:30", "1:30"),
        ("010", 10),
        ("1_000", "1_000"),
        ("2020-01-01", "2020-01-01"),
        ("0x10", "0x10"),
        (".nan", ".nan"),
        ("true", True),
        ("1e3", 1000.0),
        ("1.5", 1.5),
        ("~", None),
        ("'5'", "5"),
        ("<<", "<<"),
        ("9" * 6000, None),
    ],
)
def test_scalars_follow_the_core_schema(scalar: str, value: object) -> None:
    document = parse_document(f"a: {scalar}\n", "x")
    if len(scalar) < 100:
        assert document.root["a"] == value
        assert type(document.root["a"]) is type(value)
    else:
        assert document.problems


def test_lines_are_known_for_every_key() -> None:
    document = parse_document("a: 1\n\nb:\n  c: 2\n", "x")
    assert document.lines == {("a",): 1, ("b",): 3, ("b", "c"): 4}


def test_aliases_are_shared_not_copied() -> None:
    levels = "\n".join(f"l{i}: &l{i} [{', '.join([f'*l{i - 1}'] * 9)}]" for i in range(1, 25))
    document = parse_document(f"l0: &l0 [x]\n{levels}\n", "x")
    assert not document.problems
    assert len(document.root["l24"]) == 9


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    latin = tmp_path / "latin.yaml"
    latin.write_bytes(b"a: \xe4\n")
    large = tmp_path / "large.yaml"
    large.write_bytes(b"#" * (1 << 20) + b"\n")
    found = [read_document(file).problems[0].fault for file in (tmp_path / "none", tmp_path, latin, large)]
    assert found == [
        "cannot be read: No such file or directory",
        "cannot be read: Is a directory",
        "is not UTF-8: byte 4",
        "is larger than 1 MiB",
    ]


def test_a_byte_order_mark_is_no_part_of_the_first_key(tmp_path: Path) -> None:
    file = tmp_path / "bom.yaml"
    file.write_bytes(b"\xef\xbb\xbftick: 5s\n")
    assert read_document(file).root == {"tick": "5s"}


@given(st.text() | st.text(alphabet="ab:-[]{}&*!? \n'\"|>#,~1.", max_size=60))
def test_no_text_ever_crashes_the_reader(text: str) -> None:
    document = parse_document(text, "x")
    assert document.problems or isinstance(document.root, dict)


words = st.from_regex(r"[^0-9]*", fullmatch=True)  # PyYAML leaves "0E0" without quotes, a number here


@given(st.dictionaries(st.text(alphabet="abc", min_size=1), st.integers(-999, 999) | words, min_size=1))
def test_what_pyyaml_writes_is_read_back(written: dict[str, Any]) -> None:
    import yaml

    document = parse_document(yaml.safe_dump(written), "x")
    assert not document.problems
    assert document.root == written
