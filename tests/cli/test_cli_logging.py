"""Logs: readable by machines off a terminal, by people on one, and without secrets in both."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator
from typing import Any

import pytest
import structlog
from hypothesis import given
from hypothesis import strategies as st

from canaryd.cli.logging import configure
from canaryd.cli.redaction import redact_text, redact_value


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers[:], root.level = handlers, level
    structlog.reset_defaults()


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_off_a_terminal_each_event_is_a_line_of_json() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    structlog.get_logger().info("reconciled", run="shop/checkout-5d9f", weight=5, verdict=None)
    (line,) = lines(stream)
    assert line.pop("time").endswith("Z")
    assert line == {
        "event": "reconciled",
        "level": "info",
        "run": "shop/checkout-5d9f",
        "weight": 5,
        "verdict": None,
    }


def test_on_a_terminal_it_is_text() -> None:
    stream = Terminal()
    configure(stream=stream)
    structlog.get_logger().info("reconciled", weight=5)
    assert "reconciled" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.parametrize(("form", "stream"), [("json", Terminal()), ("console", io.StringIO())])
def test_the_form_can_be_chosen(form: str, stream: io.StringIO) -> None:
    configure(form=form, stream=stream)
    structlog.get_logger().info("reconciled")
    assert stream.getvalue().startswith("{") == (form == "json")


def test_lines_below_the_level_are_dropped() -> None:
    stream = io.StringIO()
    configure("warning", stream=stream)
    structlog.get_logger().info("reconciled")
    logging.getLogger("urllib3").info("connected")
    structlog.get_logger().warning("held")
    assert [line["event"] for line in lines(stream)] == ["held"]


def test_a_second_call_replaces_the_first_also_for_loggers_that_exist() -> None:
    first, second = io.StringIO(), io.StringIO()
    configure(stream=first)
    logger = structlog.get_logger().bind(run="a")
    logger.info("one")
    configure(stream=second)
    logger.info("two")
    assert [line["event"] for line in lines(first)] == ["one"]
    assert [line["event"] for line in lines(second)] == ["two"]


def test_libraries_log_the_same_way() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    logging.getLogger("apscheduler").warning("run of %s missed", "tick", extra={"password": "hunter2"})
    (line,) = lines(stream)
    assert (line["logger"], line["event"], line["level"]) == ("apscheduler", "run of tick missed", "warning")
    assert line["password"] == "[redacted]"


@pytest.mark.parametrize("form", ["json", "console"])
def test_tracebacks_are_kept_and_redacted(form: str) -> None:
    stream = io.StringIO()
    configure(form=form, stream=stream)
    for logger in (structlog.get_logger(), logging.getLogger("urllib3")):
        try:
            raise ValueError("no answer of https://me:hunter2@prometheus/")
        except ValueError:
            logger.exception("failed")
    assert stream.getvalue().count("ValueError: no answer of https://[redacted]@prometheus/") == 2
    assert "hunter2" not in stream.getvalue()


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        (
            "GET https://me:hunter2@prometheus:9090/api?x=a@b",
            "GET https://[redacted]@prometheus:9090/api?x=a@b",
        ),
        ("https://hunter2@prometheus", "https://[redacted]@prometheus"),
        ("http://me:p@ss:hunter2@prometheus/x", "http://[redacted]@prometheus/x"),
        ("Authorization: Bearer hunter2", "Authorization: Bearer [redacted]"),
        ("authorization=hunter2, x=1", "authorization=[redacted], x=1"),
        ("{'Authorization': 'Basic hunter2hunter2'}", "{'Authorization': 'Basic [redacted]'}"),
        ("sent bearer hunter2hunter2", "sent bearer [redacted]"),
        ("token eyJhbGciOiJSUzI1.eyJpc3MiOiJr.c2lnbmF0 ok", "token [redacted] ok"),
        ("xoxb-hunter2-hunter2", "[redacted]"),
        ("POST https://hooks.slack.com/services/T0/B0/hunter2", "POST https://hooks.slack.com/[redacted]"),
        ("/hook?a=1&token=hunter2&b=2", "/hook?a=1&token=[redacted]&b=2"),
        ("a bearer of news, at me@example.com", "a bearer of news, at me@example.com"),
        ("steps: 1, 5, 100", "steps: 1, 5, 100"),
    ],
)
def test_secrets_known_by_their_look(text: str, redacted: str) -> None:
    assert redact_text(text) == redacted
    assert redact_text(redacted) == redacted


@pytest.mark.parametrize(
    ("key", "value", "redacted"),
    [
        ("token", "hunter2", "[redacted]"),
        ("slack_bot_token", "hunter2", "[redacted]"),
        ("bearer-token-file", "/var/run/token", "/var/run/token"),
        ("Authorization", b"hunter2", "[redacted]"),
        ("client_secret", ["hunter2"], "[redacted]"),
        ("tokens", 5, 5),
        ("password", None, None),
        ("headers", {"Authorization": "x", "Accept": "y"}, {"Authorization": "[redacted]", "Accept": "y"}),
        ("tried", [{"url": "http://me:hunter2@x"}], [{"url": "http://[redacted]@x"}]),
        ("error", ValueError("http://me:hunter2@x"), "ValueError('http://[redacted]@x')"),
    ],
)
def test_secrets_known_by_their_key(key: str, value: object, redacted: object) -> None:
    assert redact_value(key, value) == redacted


def test_a_long_line_is_no_trouble() -> None:
    for text in ("a" * 10**6, "eyJ" * 10**5, "://" * 10**5, "xoxb-" * 10**5, "bearer " * 10**5):
        redact_text(text)


@given(
    st.recursive(
        st.text() | st.integers() | st.binary() | st.none(),
        lambda x: st.lists(x) | st.dictionaries(st.text(), x),
    )
)
def test_whatever_is_logged_becomes_json(value: Any) -> None:
    json.dumps(redact_value("value", value))


def test_something_that_contains_itself_is_logged_all_the_same() -> None:
    loop: list[Any] = []
    loop.append(loop)
    json.dumps(redact_value("loop", loop))
