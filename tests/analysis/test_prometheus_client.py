"""What Prometheus (or whatever sits in front of it) may answer, and the error each answer becomes."""

from __future__ import annotations

import gzip
import http.server
import json
import socket
import threading
import time
import urllib.parse
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from analysis.errors import BadConfig, PrometheusAnswer, PrometheusDown, PrometheusError
from analysis.prometheus import PrometheusClient, Reader
from analysis.telemetry import WorkloadRef

QUERY = 'istio_requests_total{reporter="destination"}[60000ms]'


def matrix(*series: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "matrix", "result": list(series)}, **more}


def vector(*samples: Any, **more: Any) -> dict[str, Any]:
    return {"status": "success", "data": {"resultType": "vector", "result": list(samples)}, **more}


SERIES = {"metric": {"pod": "a"}, "values": [[1700000000.123, "17"], [1700000001, "1e+06"]]}


@dataclass
class Answer:
    body: bytes = b""
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    pause: float = 0.0


@dataclass
class Asked:
    path: str
    form: dict[str, list[str]]
    headers: dict[str, str]


class Scripted(http.server.ThreadingHTTPServer):
    """Gives the same answer to every request, and remembers what was asked."""

    daemon_threads = True
    answer = Answer()

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        server = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                length = int(self.headers.get("Content-Length", 0))
                form = urllib.parse.parse_qs(self.rfile.read(length).decode())
                server.asked.append(Asked(self.path, form, dict(self.headers)))
                time.sleep(server.answer.pause)
                self.send_response(server.answer.status)
                for name, value in server.answer.headers.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(server.answer.body)))
                self.end_headers()
                self.wfile.write(server.answer.body)

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def says(self, value: Any, **more: Any) -> None:
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        self.answer = Answer(body, **more)


@pytest.fixture
def server() -> Iterator[Scripted]:
    server = Scripted()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def client(server: Scripted) -> Iterator[PrometheusClient]:
    client = PrometheusClient(server.url, timeout=5)
    yield client
    client.close()


def test_a_good_answer(server: Scripted, client: PrometheusClient) -> None:
    server.says(matrix(SERIES))
    assert client.matrix(QUERY, 1700000001.25) == [SERIES]
    (asked,) = server.asked
    assert asked.path == "/api/v1/query"
    assert asked.form == {"query": [QUERY], "time": ["1700000001.250"]}


def test_a_compressed_answer(server: Scripted, client: PrometheusClient) -> None:
    server.says(gzip.compress(json.dumps(matrix(SERIES)).encode()), headers={"Content-Encoding": "gzip"})
    assert client.matrix(QUERY, 0) == [SERIES]


BAD: dict[str, tuple[Any, dict[str, Any], type[PrometheusError], str]] = {
    "HTML": (b"\n<!doctype html><title>Sign in</title>", {}, PrometheusAnswer, "HTML"),
    "HTML with an error": (
        b"<html>Bad gateway</html>",
        {"status": 502},
        PrometheusDown,
        "HTTP 502 with HTML",
    ),
    "nothing": (b"", {}, PrometheusAnswer, "not JSON"),
    "cut JSON": (b'{"status":"success","data":{', {}, PrometheusAnswer, "not JSON"),
    "not UTF-8": (b'{"status":"\xff"}', {}, PrometheusAnswer, "not JSON"),
    "bottomless JSON": (b"[" * 200_000, {}, PrometheusAnswer, "not JSON"),
    "a bare NaN": (
        b'{"status":"success","data":{"resultType":"matrix","result":[{"metric":{},"values":[[1,NaN]]}]}}',
        {},
        PrometheusAnswer,
        "not JSON",
    ),
    "a list": ([1, 2], {}, PrometheusAnswer, "no Prometheus answer"),
    "status error": (
        {"status": "error", "errorType": "bad_data", "error": "parse error: x"},
        {"status": 400},
        PrometheusAnswer,
        "bad_data: parse error: x",
    ),
    "status error with HTTP 200": (
        {"status": "error", "errorType": "execution", "error": "too many samples"},
        {},
        PrometheusAnswer,
        "too many samples",
    ),
    "overloaded": (
        {"status": "error", "errorType": "timeout", "error": "query timed out"},
        {"status": 503},
        PrometheusDown,
        "HTTP 503, timeout: query timed out",
    ),
    "throttled": ({}, {"status": 429}, PrometheusDown, "HTTP 429"),
    "forbidden": (b"no", {"status": 403}, PrometheusDown, "HTTP 403"),
    "a redirect": (
        b"",
        {"status": 302, "headers": {"Location": "http://127.0.0.1:1/"}},
        PrometheusDown,
        "redirect",
    ),
    "warnings": (matrix(SERIES, warnings=["partial data"]), {}, PrometheusAnswer, "partial data"),
    "a vector": (
        {"status": "success", "data": {"resultType": "vector", "result": []}},
        {},
        PrometheusAnswer,
        "'vector' came instead of a matrix",
    ),
    "no data": ({"status": "success"}, {}, PrometheusAnswer, "without a result"),
    "result of another shape": (
        {"status": "success", "data": {"resultType": "matrix", "result": {}}},
        {},
        PrometheusAnswer,
        "without a result",
    ),
    "series without labels": (matrix({"values": []}), {}, PrometheusAnswer, "without labels"),
    "labels that are no text": (matrix({"metric": {"a": 1}, "values": []}), {}, PrometheusAnswer, "labels"),
    "a native histogram": (matrix({"metric": {}, "histograms": []}), {}, PrometheusAnswer, "samples"),
    "samples of another shape": (
        matrix({"metric": {}, "values": [[1, "2"], [1, 2]]}),
        {},
        PrometheusAnswer,
        "samples",
    ),
    "a series that is none": (matrix(3), {}, PrometheusAnswer, "labels"),
}


@pytest.mark.parametrize(("body", "more", "error", "words"), BAD.values(), ids=BAD.keys())
def test_a_bad_answer_names_what_url_and_query(
    server: Scripted,
    client: PrometheusClient,
    body: Any,
    more: dict[str, Any],
    error: type[PrometheusError],
    words: str,
) -> None:
    server.says(body, **more)
    with pytest.raises(error, match=words) as caught:
        client.matrix(QUERY, 0)
    assert caught.value.url == server.url
    assert caught.value.query == QUERY
    assert server.url in str(caught.value)
    assert len(server.asked) == 1, "asked again"


def test_too_large_an_answer(server: Scripted) -> None:
    server.says(matrix(*[SERIES] * 3000))
    with pytest.raises(PrometheusDown, match="larger than 100000 bytes"):
        PrometheusClient(server.url, max_bytes=100_000).matrix(QUERY, 0)


def test_a_small_body_that_unpacks_to_a_large_one(server: Scripted) -> None:
    server.says(gzip.compress(b" " * 20_000_000), headers={"Content-Encoding": "gzip"})
    with pytest.raises(PrometheusDown, match="larger than 100000 bytes"):
        PrometheusClient(server.url, max_bytes=100_000).matrix(QUERY, 0)


def test_nobody_listens() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{probe.getsockname()[1]}"
    with pytest.raises(PrometheusDown, match="no connection"):
        PrometheusClient(url).matrix(QUERY, 0)


def _talk(accept: Callable[[socket.socket], None]) -> tuple[str, socket.socket]:
    """A server that does to each connection what `accept` does."""
    listener = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=accept, args=(connection,), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()
    return f"http://127.0.0.1:{listener.getsockname()[1]}", listener


def _silent(connection: socket.socket) -> None:
    with connection:
        time.sleep(30)


def _trickling_head(connection: socket.socket) -> None:
    with connection:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nX: ")
            for _ in range(300):
                connection.sendall(b"x")
                time.sleep(0.1)
        except OSError:
            return


def _trickling_body(connection: socket.socket) -> None:
    with connection:
        try:
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n")
            for _ in range(300):
                connection.sendall(b" ")
                time.sleep(0.1)
        except OSError:
            return


def _hanging_up(connection: socket.socket) -> None:
    with connection:
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n{")


@pytest.mark.parametrize("behaviour", [_silent, _trickling_head, _trickling_body], ids=lambda f: f.__name__)
def test_the_deadline_is_total(behaviour: Callable[[socket.socket], None]) -> None:
    url, listener = _talk(behaviour)
    with listener:
        start = time.monotonic()
        with pytest.raises(PrometheusDown, match=r"in time|within 0\.5 s"):
            PrometheusClient(url, timeout=0.5).matrix(QUERY, 0)
        assert time.monotonic() - start < 10


def test_an_answer_that_is_cut_off() -> None:
    url, listener = _talk(_hanging_up)
    with listener, pytest.raises(PrometheusDown):
        PrometheusClient(url, timeout=5).matrix(QUERY, 0)


def test_queries_wait_for_a_slot_no_longer_than_the_deadline() -> None:
    url, listener = _talk(_silent)
    with listener:
        client = PrometheusClient(url, timeout=0.3, pool=1)
        for _ in range(3):
            with pytest.raises(PrometheusDown):
                client.matrix(QUERY, 0)


class TestVectors:
    def test_each_query_has_its_samples(self, server: Scripted, client: PrometheusClient) -> None:
        server.says(vector({"metric": {"pod": "a"}, "value": [1700000000.123, "17"]}))
        answers = client.vectors(["one", "two"], 1700000001.25)
        assert answers == {query: [({"pod": "a"}, "17")] for query in ("one", "two")}
        assert [asked.form for asked in server.asked] == [
            {"query": [query], "time": ["1700000001.250"]} for query in ("one", "two")
        ]

    @pytest.mark.parametrize(
        ("answer", "status", "wanted"),
        [
            (matrix(SERIES), 200, "'matrix' came instead of a vector"),
            ({"status": "success", "data": {"resultType": "scalar", "result": [1, "2"]}}, 200, "'scalar'"),
            ({"status": "error", "errorType": "bad_data", "error": "parse error"}, 400, "parse error"),
            (vector({"metric": {}, "value": [1, 2]}), 200, "not [seconds, text]"),
            (vector({"metric": {}}), 200, "not [seconds, text]"),
            (vector(3), 200, "without labels"),
            (vector(warnings=["partial data"]), 200, "partial data"),
        ],
    )
    def test_a_query_without_a_vector_has_an_error_of_its_own(
        self, server: Scripted, client: PrometheusClient, answer: Any, status: int, wanted: str
    ) -> None:
        server.says(answer, status=status)
        answers = client.vectors(["one", "two"], 1.0)
        for query in ("one", "two"):
            error = answers[query]
            assert isinstance(error, PrometheusAnswer)
            assert wanted in str(error)
            assert error.query == query

    def test_one_deadline_for_all_and_the_rest_is_not_asked(self) -> None:
        url, listener = _talk(_silent)
        with listener:
            start = time.monotonic()
            answers = PrometheusClient(url, timeout=0.4).vectors(["one", "two", "three"], 1.0)
            assert time.monotonic() - start < 5
        one, two, three = (answers[query] for query in ("one", "two", "three"))
        assert isinstance(one, PrometheusDown)
        for other in (two, three):
            assert isinstance(other, PrometheusDown)
            assert "not asked after no answer" in str(other)


class TestAccess:
    def test_credentials_in_the_url_are_sent_and_never_shown(self, server: Scripted) -> None:
        server.says(b"no", status=401)
        url = server.url.replace("http://", "http://me:hidden@")
        with pytest.raises(PrometheusDown) as caught:
            PrometheusClient(url).matrix(QUERY, 0)
        assert server.asked[0].headers["Authorization"] == "Basic bWU6aGlkZGVu"
        assert "hidden" not in f"{caught.value}{caught.value.url}"

    def test_the_tokens_file_is_read_again(self, server: Scripted, tmp_path: Path) -> None:
        server.says(matrix())
        token = tmp_path / "token"
        client = PrometheusClient(server.url, token_file=token, headers={"X-Scope-OrgID": "shop"})
        for value in ("first", "second"):
            token.write_text(f"{value}\n")
            client.matrix(QUERY, 0)
        assert [asked.headers["Authorization"] for asked in server.asked] == ["Bearer first", "Bearer second"]
        assert server.asked[0].headers["X-Scope-OrgID"] == "shop"

    def test_a_missing_token_file_is_named(self, server: Scripted, tmp_path: Path) -> None:
        with pytest.raises(PrometheusDown, match="absent"):
            PrometheusClient(server.url, token_file=tmp_path / "absent").matrix(QUERY, 0)

    def test_a_path_prefix(self, server: Scripted) -> None:
        server.says(matrix())
        PrometheusClient(f"{server.url}/prometheus/").matrix(QUERY, 0)
        assert server.asked[0].path == "/prometheus/api/v1/query"

    @pytest.mark.parametrize("url", ["", "prometheus:9090", "ftp://x", "http://", "/tmp"])
    def test_a_url_that_is_none(self, url: str) -> None:
        with pytest.raises(BadConfig, match=r"prometheus\.url"):
            PrometheusClient(url)

    def test_the_environments_proxy_is_not_used(
        self, server: Scripted, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
        server.says(matrix())
        assert PrometheusClient(server.url).matrix(QUERY, 0) == []


class TestReader:
    def test_two_queries_for_fifty_workloads(self, server: Scripted, client: PrometheusClient) -> None:
        server.says(matrix())
        refs = [WorkloadRef("shop", f"w{i}") for i in range(51)]
        reading = Reader(client).read([*refs, *refs], 100.0, 60)
        assert len(server.asked) == 4
        assert reading.workloads.keys() == set(refs)
        assert not reading.failures

    def test_a_failed_query_fails_its_workloads_with_the_reason(
        self, server: Scripted, client: PrometheusClient
    ) -> None:
        server.says(b"<html>")
        ref = WorkloadRef("shop", "checkout")
        reading = Reader(client).read([ref], 100.0, 60)
        assert not reading.workloads
        assert "HTML" in str(reading.failures[ref])
