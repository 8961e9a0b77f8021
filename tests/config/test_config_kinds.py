"""Every kind reads what people write, refuses the rest with what is allowed, and reads back what it shows."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from config.addresses import HeaderFields, ListenAddress, Namespaces, Url
from config.annotation_table import ANNOTATIONS
from config.kinds import Duration, Flag, Integer, Kind, Number
from config.knobs import Knob
from config.lists import Edges, Ladder
from config.policy_knobs import POLICY_KNOBS
from config.problems import MalformedError, shown
from config.quantities import parse_decimal, parse_seconds, spell_number, spell_seconds
from config.setting_knobs import SETTING_KNOBS

KNOBS = (*POLICY_KNOBS, *SETTING_KNOBS, *ANNOTATIONS.values())

anything = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=8,
)
values_that_look_right = st.one_of(
    st.from_regex(r"[0-9]{1,4}(\.[0-9]{1,3})?(ms|s|m|h|d)?", fullmatch=True),
    st.from_regex(r"[a-z0-9.-]{1,9}(/[a-z0-9.-]{1,9})?(:[0-9]{1,5})?", fullmatch=True),
    st.from_regex(r"https?://[a-z0-9.:@/\[\]-]{0,20}", fullmatch=True),
    st.lists(st.integers(1, 100)).map(lambda weights: ",".join(map(str, sorted(weights)))),
    st.sets(st.integers(1, 99), min_size=1).map(lambda weights: [*sorted(weights), 100]),
    st.sampled_from(["true", "false", "all", "off", "hold", "keep", "roll", "info", "json", "A: b"]),
)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("1m", 60),
        ("90s", 90),
        ("2h", 7200),
        ("1h30m", 5400),
        ("500ms", 0.5),
        ("1d12h", 129600),
        ("1s500ms", 1.5),
        ("1.5s", 1.5),
        ("15", 15),
        (" 15s ", 15),
        (15, 15),
        (0.25, 0.25),
        ("1e2", 100),
        ("0", 0),
    ],
)
def test_durations_that_are_understood(text: object, seconds: float) -> None:
    assert parse_seconds(text) == seconds


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "s",
        "1",
        "m1",
        "1x",
        "30m1h",
        "1h 30m",
        "1H",
        "-5s",
        "1m1m",
        "1.5m",
        "٣s",
        "nan",
        "inf",
        True,
        None,
        [],
    ],
)
def test_durations_that_are_not(text: object) -> None:
    with pytest.raises(MalformedError, match="a duration from 2s to 1h"):
        Duration(2, 3600).parse(text)


@given(st.floats(min_value=0, max_value=1e9))
def test_a_spelt_duration_reads_back_exactly(seconds: float) -> None:
    assert parse_seconds(spell_seconds(seconds)) == seconds


@given(st.integers(min_value=0, max_value=10**10))
def test_a_duration_in_milliseconds_is_spelt_in_units(millis: int) -> None:
    spelt = spell_seconds(millis / 1000)
    assert spelt[-1].isalpha()
    assert parse_seconds(spelt) == millis / 1000


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_a_spelt_number_reads_back_exactly(number: float) -> None:
    spelt = spell_number(number)
    assert "e" not in spelt
    assert parse_decimal(spelt) == number


@pytest.mark.parametrize(
    ("kind", "raw", "value"),
    [
        (Ladder(), "1,2,5,10,25,50,100", (1, 2, 5, 10, 25, 50, 100)),
        (Ladder(), " 5 , 100 ", (5, 100)),
        (Ladder(), [5, "50", 100], (5, 50, 100)),
        (Edges(3), "250ms,1s", (0.25, 1.0)),
        (Edges(3), [0.25, 1], (0.25, 1.0)),
        (Edges(3), 0.5, (0.5,)),
        (Edges(3), "", ()),
        (Edges(3), [], ()),
        (Flag(), "true", True),
        (Flag(), False, False),
        (Integer(1, 9), "7", 7),
        (Number(1, 20), "1.25", 1.25),
        (Url(), "https://prom.example:9090/a/", "https://prom.example:9090/a"),
        (Url(), "http://[::1]:9090", "http://[::1]:9090"),
        (ListenAddress(), ":8081", ":8081"),
        (ListenAddress(), "[::]:0", "[::]:0"),
        (ListenAddress(), "off", ""),
        (HeaderFields(), {"X-Scope-OrgID": 42, "A": "b c"}, (("A", "b c"), ("X-Scope-OrgID", "42"))),
        (HeaderFields(), "A: b:c\n\nD: e", (("A", "b:c"), ("D", "e"))),
        (HeaderFields(), {}, ()),
        (Namespaces(), "all", ()),
        (Namespaces(), ["a", "b"], ("a", "b")),
        (Namespaces(), "a, b", ("a", "b")),
    ],
)
def test_values_that_are_understood(kind: Kind[Any], raw: object, value: object) -> None:
    assert kind.parse(raw) == value


@pytest.mark.parametrize(
    ("kind", "raw"),
    [
        (Ladder(), "100"),
        (Ladder(), "0,100"),
        (Ladder(), "5,5,100"),
        (Ladder(), "50,25,100"),
        (Ladder(), "5,50"),
        (Ladder(), "5,,100"),
        (Ladder(), "5.5,100"),
        (Ladder(), "5,101"),
        (Ladder(), [5, True, 100]),
        (Ladder(), 100),
        (Ladder(), {"5": 100}),
        (Edges(3), "1,2,3,4"),
        (Edges(3), "1s,1s"),
        (Edges(3), "0"),
        (Edges(3), True),
        (Flag(), "True"),
        (Flag(), "yes"),
        (Flag(), 1),
        (Integer(1, 9), True),
        (Integer(1, 9), 7.0),
        (Integer(1, 9), "9" * 5000),
        (Integer(1, 9), 10),
        (Number(0, 1), math.nan),
        (Number(0, 1), 10**400),
        (Number(0, 1), "1e999"),
        (Url(), "prometheus:9090"),
        (Url(), "ftp://prometheus"),
        (Url(), "http://"),
        (Url(), "http://user:password@prometheus"),
        (Url(), "http://@prometheus"),
        (Url(), "http://prometheus?x=1"),
        (Url(), "http://prometheus#x"),
        (Url(), "http://prometheus:99999"),
        (Url(), "http://[::1"),
        (Url(), "http://a b"),
        (ListenAddress(), "8081"),
        (ListenAddress(), "host:65536"),
        (ListenAddress(), ""),
        (HeaderFields(), {"bad name": "x"}),
        (HeaderFields(), {"A": "x\r\nB: y"}),
        (HeaderFields(), {"A": "x", "a": "y"}),
        (HeaderFields(), {"A": True}),
        (HeaderFields(), "no colon"),
        (Namespaces(), []),
        (Namespaces(), ""),
        (Namespaces(), ["A"]),
        (Namespaces(), ["a", "a"]),
        (Namespaces(), ["a", 1]),
    ],
)
def test_values_that_are_refused(kind: Kind[Any], raw: object) -> None:
    with pytest.raises(MalformedError) as refusal:
        kind.parse(raw)
    assert refusal.value.allowed.startswith(kind.allowed)


@given(st.sampled_from(KNOBS), anything | values_that_look_right)
@settings(max_examples=1000)
def test_no_kind_ever_raises_anything_else(knob: Knob, raw: object) -> None:
    try:
        value = knob.kind.parse(raw)
    except MalformedError:
        return
    assert knob.kind.parse(knob.kind.plain(value)) == value
    if not knob.secret:
        assert knob.kind.parse(knob.kind.show(value)) == value
        if value != "":
            assert knob.kind.parse(knob.kind.spell(value)) == value


@given(anything)
def test_a_shown_value_is_one_short_line(raw: object) -> None:
    text = shown(raw)
    assert text
    assert len(text) <= 80
    assert len(text.splitlines()) == 1


def test_a_shown_value_hides_credentials_and_survives_shared_structure() -> None:
    bomb: list[Any] = ["x"] * 10
    for _ in range(30):
        bomb = [bomb] * 10
    assert "hunter2" not in shown("https://me:hunter2@prometheus")
    assert len(shown(bomb)) <= 80
