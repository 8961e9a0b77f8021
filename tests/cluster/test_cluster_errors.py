"""Answers and what they mean."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scripted_apiserver import status_object

from canaryd.cluster import errors as e

VERBS = ["get", "list", "watch", "create", "replace", "patch", "delete", "logs"]
HTML = b"<html><head><title>404 Not Found</title></head><body>nginx</body></html>"


def answer(code: int, reason: str, verb: str = "get", message: str = "why") -> e.ApiError:
    body = json.dumps(status_object(code, reason, message)).encode()
    return e.from_answer(code, {"Content-Type": "application/json"}, body, verb, "pods shop/web")


@pytest.mark.parametrize(
    ("code", "reason", "kind"),
    [
        (400, "BadRequest", e.ApiError),
        (401, "Unauthorized", e.Unauthorized),
        (403, "Forbidden", e.Forbidden),
        (404, "NotFound", e.NotFound),
        (409, "Conflict", e.Conflict),
        (409, "AlreadyExists", e.AlreadyExists),
        (410, "Expired", e.Gone),
        (422, "Invalid", e.Invalid),
        (429, "TooManyRequests", e.TooManyRequests),
        (500, "InternalError", e.ServerError),
        (503, "ServiceUnavailable", e.ServerError),
        (504, "Timeout", e.ServerError),
    ],
)
def test_statuses_have_their_class(code: int, reason: str, kind: type[e.ApiError]) -> None:
    error = answer(code, reason)
    assert type(error) is kind
    assert (error.status, error.reason, error.message) == (code, reason, "why")
    assert str(error) == f"get pods shop/web: {code} {reason}: why"


@pytest.mark.parametrize("code", [404, 410])
@pytest.mark.parametrize("body", [HTML, b"", b'{"error": "no route"}', b"[]", b"null", b"\xff\xfe"])
def test_only_the_api_server_may_say_that_something_is_gone(code: int, body: bytes) -> None:
    error = e.from_answer(code, {"Content-Type": "text/html"}, body, "get", "pods shop/web")
    assert type(error) is e.ServerError
    assert "proxy" in error.message


@pytest.mark.parametrize(
    "body",
    [
        b"404 page not found\n",
        json.dumps(
            status_object(404, "NotFound", "the server could not find the requested resource")
        ).encode(),
    ],
)
def test_an_unserved_kind_is_not_a_missing_object(body: bytes) -> None:
    error = e.from_answer(404, {"Content-Type": "text/plain"}, body, "get", "x")
    assert type(error) is e.NotServed
    assert (error.status, error.reason) == (404, "NotServed")


@pytest.mark.parametrize(
    ("code", "verb", "ambiguous"),
    [
        (500, "get", False),
        (500, "patch", True),
        (504, "create", True),
        (503, "delete", False),
        (409, "replace", False),
        (429, "patch", False),
    ],
)
def test_writes_that_may_have_been_done(code: int, verb: str, ambiguous: bool) -> None:
    assert answer(code, "Whatever", verb).ambiguous is ambiguous


def test_a_proxys_503_leaves_a_write_open() -> None:
    error = e.from_answer(503, {}, b"upstream connect error", "patch", "x")
    assert isinstance(error, e.ServerError)
    assert error.ambiguous
    assert "upstream connect error" in error.message


@pytest.mark.parametrize(
    ("header", "details", "expected"),
    [
        ("7", {}, 7.0),
        ("", {"retryAfterSeconds": 3}, 3.0),
        ("7", {"retryAfterSeconds": 3}, 3.0),
        ("9" * 400, {}, 300.0),
        ("", {"retryAfterSeconds": float("inf")}, 300.0),
        ("Wed, 21 Oct 2026 07:28:00 GMT", {}, None),
        ("-1", {}, None),
        ("", {}, None),
        ("", {"retryAfterSeconds": "soon"}, None),
    ],
)
def test_retry_after(header: str, details: dict[str, object], expected: float | None) -> None:
    body = json.dumps(status_object(429, "TooManyRequests", "slow down", **details)).encode()
    error = e.from_answer(429, {"Retry-After": header}, body, "get", "pods")
    assert isinstance(error, e.TooManyRequests)
    assert error.retry_after == expected


def test_messages_are_cut_and_on_one_line() -> None:
    error = answer(422, "Invalid", message="spec.x: bad\n" * 200)
    assert len(error.message) == 300
    assert "\n" not in str(error)


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        ({"code": 410, "reason": "Expired"}, e.Gone),
        ({"reason": "Expired"}, e.Gone),
        ({"reason": "Gone"}, e.Gone),
        ({"code": 500, "reason": "InternalError"}, e.ServerError),
        ({}, e.ServerError),
        ({"code": "410", "reason": ["x"], "message": 3, "details": "?"}, e.ServerError),
    ],
)
def test_statuses_in_a_watch(status: dict[str, object], kind: type[e.ApiError]) -> None:
    assert type(e.from_status(status, "watch", "pods")) is kind


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
STATUSES = st.fixed_dictionaries(
    {"kind": st.just("Status")},
    optional=dict.fromkeys(("code", "reason", "message", "details", "metadata"), JSON),
)
BODIES = st.binary(max_size=400) | (JSON | STATUSES).map(lambda value: json.dumps(value).encode())


@given(code=st.integers(300, 599), body=BODIES, verb=st.sampled_from(VERBS), wait=st.text(max_size=5))
def test_any_answer_makes_an_error(code: int, body: bytes, verb: str, wait: str) -> None:
    error = e.from_answer(code, {"Retry-After": wait}, body, verb, "pods")
    assert len(error.message) <= 300
    assert error.status == code
    assert not (error.ambiguous and not e.writes(verb))
    assert error.retry_after is None or 0 <= error.retry_after <= 300
