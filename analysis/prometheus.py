"""Prometheus, asked strictly: the only module of `analysis` with I/O.

prometheus-api-client builds and sends the query; the session under it is ours, because the library has no
total deadline, no cap on the answer's size, follows redirects, retries by itself, drops warnings and hands
out whatever JSON came. An answer is either exactly what was asked for or an error that names URL and query.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.parse import urlsplit, urlunsplit

import requests
from prometheus_api_client import PrometheusConnect
from requests.adapters import HTTPAdapter
from urllib3.util.retry import Retry

from analysis.custom_queries import Answer, Sample
from analysis.errors import BadConfig, PrometheusAnswer, PrometheusDown, PrometheusError
from analysis.intervals import IntervalBuilder
from analysis.telemetry import (
    BUCKETS,
    REQUESTS,
    Series,
    WorkloadRef,
    WorkloadSamples,
    by_workload,
    selector,
)

_CHUNK: Final = 65536
_WORKLOADS_PER_QUERY: Final = 50


class PrometheusClient:
    """One Prometheus (or Thanos querier). Thread-safe; at most `pool` queries are under way at once.

    url: http(s), may carry a path prefix and user:password; timeout: seconds from the call to the last byte;
    max_bytes: of the decoded answer; token_file: read again for every query, as Kubernetes renews tokens;
    ca: a PEM file instead of the system's authorities; verify: false only in tests. Raises BadConfig for a
    URL that is none.
    """

    def __init__(
        self,
        url: str,
        *,
        timeout: float = 5.0,
        max_bytes: int = 64 << 20,
        pool: int = 4,
        token: str | None = None,
        token_file: str | Path | None = None,
        ca: str | Path | None = None,
        verify: bool = True,
        headers: Mapping[str, str] | None = None,
    ) -> None:
        self.url, auth = _split_credentials(url)
        self._timeout = timeout
        self._slots = threading.BoundedSemaphore(pool)
        self._session = _StrictSession(self.url, max_bytes, token, token_file)
        self._session.auth = auth
        self._session.headers.update(headers or {})
        self._session.verify = (str(ca) if ca else True) if verify else False
        self._connect = PrometheusConnect(
            url=self.url, session=self._session, method="POST", retry=Retry(0, redirect=0, status=0)
        )
        self._session.mount(self.url, HTTPAdapter(pool_maxsize=pool, max_retries=0))

    def matrix(self, query: str, at: float) -> Sequence[Series]:
        """The raw series of a range selector, evaluated at `at` (seconds since the epoch).

        Every series has text labels and samples [seconds, text]. Raises PrometheusDown, PrometheusAnswer.
        """
        result = self._result("matrix", query, at, time.monotonic() + self._timeout)
        return [self._series(one, query) for one in result]

    def vectors(self, queries: Iterable[str], at: float) -> Mapping[str, Answer]:
        """The instant vectors of `queries`, evaluated at `at`, asked one after the other within one deadline.

        Each is a list of samples or the error that came instead. Once Prometheus is down for one of them, the
        others are not asked.
        """
        until = time.monotonic() + self._timeout
        answers: dict[str, Answer] = {}
        down: PrometheusDown | None = None
        for query in queries:
            try:
                if down is not None:
                    raise PrometheusDown(f"not asked after {down.what}", url=self.url, query=query)
                answers[query] = [
                    self._sample(one, query) for one in self._result("vector", query, at, until)
                ]
            except PrometheusError as error:
                answers[query] = error
                down = down or (error if isinstance(error, PrometheusDown) else None)
        return answers

    def close(self) -> None:
        """Drop the pooled connections."""
        self._session.close()

    def _result(self, wanted: str, query: str, at: float, until: float) -> Sequence[Any]:
        kind: str
        result: list[Any]
        kind, result = self._within(until, query, lambda: self._ask(query, at, until))
        if kind != wanted:
            what = f"a result of type {kind!r} came instead of a {wanted}"
            raise PrometheusAnswer(what, url=self.url, query=query)
        return result

    def _ask(self, query: str, at: float, until: float) -> Any:
        left = max(until - time.monotonic(), 0.001)
        return self._connect.custom_query(query, params={"time": f"{at:.3f}"}, timeout=left)

    def _within(self, until: float, query: str, call: Callable[[], Any]) -> Any:
        """Run `call` on a thread and stop waiting at the deadline, whatever it hangs in (name look-up, a
        trickle of bytes): timeouts of sockets bound only single steps."""
        late = PrometheusDown(f"no answer within {self._timeout:g} s", url=self.url, query=query)
        if not self._slots.acquire(timeout=max(until - time.monotonic(), 0)):
            raise late
        box: queue.SimpleQueue[tuple[Any, Exception | None]] = queue.SimpleQueue()

        def work() -> None:
            try:
                box.put((call(), None))
            except Exception as error:  # noqa: BLE001  handed to the waiting caller, which raises it
                box.put((None, error))
            finally:
                self._slots.release()

        threading.Thread(target=work, name="prometheus-query", daemon=True).start()
        try:
            result, error = box.get(timeout=max(until - time.monotonic(), 0))
        except queue.Empty:
            raise late from None
        if error is not None:
            raise error
        return result

    def _series(self, raw: Any, query: str) -> Series:
        """`raw` if it is a series of plain samples."""
        metric, values = self._labels(raw, query), raw.get("values")
        if not isinstance(values, list) or not all(map(_is_sample, values)):
            what = f"the series {metric} has samples that are not [seconds, text]"
            raise PrometheusAnswer(what, url=self.url, query=query)
        return {"metric": metric, "values": values}

    def _sample(self, raw: Any, query: str) -> Sample:
        """`raw` if it is one plain sample of a series."""
        metric, value = self._labels(raw, query), raw.get("value")
        if not _is_sample(value):
            what = f"the series {metric} has a value that is not [seconds, text]"
            raise PrometheusAnswer(what, url=self.url, query=query)
        return Sample(metric, value[1])

    def _labels(self, raw: Any, query: str) -> Mapping[str, str]:
        metric = raw.get("metric") if isinstance(raw, dict) else None
        if not isinstance(metric, dict) or not all(isinstance(v, str) for v in metric.values()):
            raise PrometheusAnswer("a series without labels", url=self.url, query=query)
        return metric


def _is_sample(value: Any) -> bool:
    return (
        isinstance(value, list)
        and len(value) == 2
        and isinstance(value[0], int | float)
        and isinstance(value[1], str)
    )


class _StrictSession(requests.Session):
    """Sends one request, reads a bounded body before a deadline, and lets only a good answer through."""

    def __init__(self, url: str, max_bytes: int, token: str | None, token_file: str | Path | None) -> None:
        super().__init__()
        self.trust_env = False  # no proxies, no .netrc: what is sent is what was configured
        self._url = url
        self._max_bytes = max_bytes
        self._token = token
        self._token_file = token_file

    def request(self, method: str | bytes, url: str | bytes, **kwargs: Any) -> requests.Response:  # type: ignore[override]
        """As PrometheusConnect calls it; `timeout` is the total number of seconds left."""
        params: Mapping[str, str] = kwargs["params"]
        left: float = kwargs["timeout"]
        until = time.monotonic() + left
        try:
            with super().request(
                method,
                url,
                data=params,  # a form, as the selectors of fifty workloads outgrow a URL
                headers=self._authorization(),
                timeout=left,
                allow_redirects=False,
                stream=True,
                verify=self.verify,
            ) as response:
                body = self._body(response, until, params["query"])
        except (requests.RequestException, OSError) as error:
            raise self._down(_plainly(error), params["query"]) from error
        return _Good(self._decoded(response, body, params["query"]))

    def _authorization(self) -> Mapping[str, str]:
        token = Path(self._token_file).read_text().strip() if self._token_file else self._token
        return {"Authorization": f"Bearer {token}"} if token else {}

    def _body(self, response: requests.Response, until: float, query: str) -> bytes:
        body = bytearray()
        for chunk in response.iter_content(_CHUNK):
            body += chunk
            if len(body) > self._max_bytes:
                raise self._down(f"the answer is larger than {self._max_bytes} bytes", query)
            if time.monotonic() > until:
                raise self._down("the answer did not end in time", query)
        return bytes(body)

    def _decoded(self, response: requests.Response, body: bytes, query: str) -> Mapping[str, Any]:
        status = response.status_code
        if 300 <= status < 400:
            raise self._down(f"redirected (HTTP {status}); redirects are not followed", query)
        try:
            answer = json.loads(body, parse_constant=_refuse)
        except (ValueError, RecursionError):
            what = "HTML" if body.lstrip()[:1] == b"<" else "something that is not JSON"
            if status != 200:
                raise self._down(f"HTTP {status} with {what}", query) from None
            raise self._answer(f"{what} came instead of a Prometheus answer", query) from None
        if not isinstance(answer, dict):
            raise self._answer("a JSON value came that is no Prometheus answer", query)
        if status != 200 or answer.get("status") != "success":
            said = f"{answer.get('errorType', 'error')}: {answer.get('error', 'no reason given')}"
            if status >= 500 or status == 429:
                raise self._down(f"HTTP {status}, {said}", query)
            raise self._answer(f"HTTP {status}, {said}", query)
        return self._complete(answer, query)

    def _complete(self, answer: Mapping[str, Any], query: str) -> Mapping[str, Any]:
        """Type and result of an answer without warnings: a warning means that counts may be missing."""
        if answer.get("warnings"):
            raise self._answer(f"answered with warnings {answer['warnings']!r}", query)
        data = answer.get("data")
        if not isinstance(data, dict) or not isinstance(data.get("result"), list):
            raise self._answer("an answer without a result came", query)
        return {"data": {"result": (data.get("resultType"), data["result"])}}

    def _down(self, what: str, query: str) -> PrometheusDown:
        return PrometheusDown(what, url=self._url, query=query)

    def _answer(self, what: str, query: str) -> PrometheusAnswer:
        return PrometheusAnswer(what, url=self._url, query=query)


class _Good(requests.Response):
    """An answer that was already decoded and checked: its result is (type, list)."""

    def __init__(self, answer: Mapping[str, Any]) -> None:
        super().__init__()
        self.status_code = 200
        self._answer = answer

    def json(self, **_: Any) -> Any:
        """The decoded answer."""
        return self._answer


def _refuse(constant: str) -> float:
    raise ValueError(constant)


def _plainly(error: Exception) -> str:
    """What failed, without the URL that requests repeats (it may carry a token)."""
    if isinstance(error, requests.exceptions.SSLError):
        return "the TLS certificate is not trusted, or TLS failed"
    if isinstance(error, requests.Timeout):
        return "no answer in time"
    if isinstance(error, requests.exceptions.ChunkedEncodingError | requests.exceptions.ContentDecodingError):
        return "the answer was cut off"
    if isinstance(error, requests.ConnectionError):
        return "no connection"
    if isinstance(error, requests.RequestException):
        return type(error).__name__
    return f"{type(error).__name__}: {error}"  # the token's file


def _split_credentials(url: str) -> tuple[str, tuple[str, str] | None]:
    """The URL without user:password and trailing slash, and those two."""
    parts = urlsplit(url)
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        raise BadConfig("prometheus.url", parts.hostname or "", "must be http://host[:port] or https://...")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    netloc = f"{host}:{parts.port}" if parts.port else host
    auth = (parts.username, parts.password or "") if parts.username else None
    return urlunsplit((parts.scheme, netloc, parts.path.rstrip("/"), "", "")), auth


@dataclass(frozen=True, slots=True)
class Reading:
    """What one tick read: samples per workload, and why there are none where a query failed."""

    at: float
    workloads: Mapping[WorkloadRef, WorkloadSamples]
    failures: Mapping[WorkloadRef, PrometheusError]


class Reader:
    """Reads all workloads together: two queries per fifty of them."""

    def __init__(self, client: PrometheusClient, *, pod_label: str = "pod") -> None:
        self._client = client
        self._pod_label = pod_label

    def read(self, workloads: Collection[WorkloadRef], at: float, window: float) -> Reading:
        """The raw samples of the last `window` seconds. A failed query fails its workloads only."""
        ordered = sorted(set(workloads))
        found: dict[WorkloadRef, WorkloadSamples] = {}
        failures: dict[WorkloadRef, PrometheusError] = {}
        for start in range(0, len(ordered), _WORKLOADS_PER_QUERY):
            chunk = ordered[start : start + _WORKLOADS_PER_QUERY]
            try:
                counters = self._client.matrix(selector(REQUESTS, chunk, window), at)
                buckets = self._client.matrix(selector(BUCKETS, chunk, window), at)
            except PrometheusError as error:
                failures.update(dict.fromkeys(chunk, error))
            else:
                found.update(by_workload(counters, buckets, chunk, self._pod_label))
        return Reading(at, found, failures)


class Access(Protocol):
    """Where Prometheus is and how one gets in; seconds, "" for no file. config.settings has these fields."""

    @property
    def url(self) -> str: ...
    @property
    def timeout(self) -> float: ...
    @property
    def scrape_interval(self) -> float: ...
    @property
    def bearer_token_file(self) -> str: ...
    @property
    def ca_file(self) -> str: ...
    @property
    def verify(self) -> bool: ...
    @property
    def headers(self) -> tuple[tuple[str, str], ...]: ...


def client(access: Access, *, pool: int = 4) -> PrometheusClient:
    """A client of the Prometheus of the settings; pool: queries at the same time. Raises BadConfig."""
    return PrometheusClient(
        access.url,
        timeout=access.timeout,
        pool=pool,
        token_file=access.bearer_token_file or None,
        ca=access.ca_file or None,
        verify=access.verify,
        headers=dict(access.headers),
    )


def interval_builder(access: Access) -> IntervalBuilder:
    """A builder that reads the Prometheus of the settings. Raises BadConfig."""
    return IntervalBuilder(Reader(client(access)), scrape_interval=access.scrape_interval)
