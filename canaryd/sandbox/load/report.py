"""What the users saw: counts by role, pod and kind of failure, latencies, and a log by the second."""

import json
import math
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

NOBODY = "none"  # the role of requests that no pod answered
_GROWTH = math.log(1.1)  # a bucket's bounds differ by 10 %, so quantiles are right within 5 %
_SMALLEST = 0.0001  # seconds
QUANTILES = (0.5, 0.9, 0.99)


class LogRow(NamedTuple):
    """How many requests of one second (Unix time) were answered in this way. `status` is 0 where there was no
    answer; `flags` are Envoy's response flags, or the client's own "timeout", "connect", "reset"."""

    second: int
    role: str
    status: int
    flags: str
    pod: str
    requests: int


@dataclass(frozen=True, slots=True)
class Outcome:
    """How one request ended. `seconds` from the moment when it was due, so that a slow sender does not
    flatter a slow service."""

    seconds: float
    status: int = 0
    pod: str = ""
    role: str = NOBODY
    flags: str = ""

    @property
    def failure(self) -> str:
        """The kind of failure, "" for success: "500" of a pod, "503 NC" of Envoy itself, "timeout"."""
        if self.status == 0:
            return self.flags
        if not self.pod:
            return f"{self.status} {self.flags or '-'}"
        return str(self.status) if self.status >= 500 else ""


@dataclass(frozen=True, slots=True)
class Tally:
    """Requests answered, how many of them failed, and quantiles of their latency in milliseconds."""

    requests: int
    failed: int
    p50_ms: float
    p90_ms: float
    p99_ms: float


@dataclass(frozen=True, slots=True)
class Report:
    """The totals since the start. `dropped`: due but not sent, since too many were under way already.
    `retried`: sent again because a kept connection turned out to be closed. Failed requests without an
    answer are in `failures`, and in `roles` under "none"."""

    seconds: float = 0.0
    sent: int = 0
    answered: int = 0
    dropped: int = 0
    retried: int = 0
    roles: Mapping[str, Tally] = field(default_factory=dict)
    pods: Mapping[str, Tally] = field(default_factory=dict)
    failures: Mapping[str, int] = field(default_factory=dict)

    @property
    def failed(self) -> int:
        return sum(self.failures.values())


class _Count:
    """Requests, failures and latencies of one role or pod."""

    def __init__(self) -> None:
        self.requests = 0
        self.failed = 0
        self._buckets: Counter[int] = Counter()

    def add(self, seconds: float, *, failed: bool) -> None:
        self.requests += 1
        self.failed += failed
        self._buckets[math.ceil(math.log(max(seconds, _SMALLEST) / _SMALLEST) / _GROWTH)] += 1

    def tally(self) -> Tally:
        return Tally(self.requests, self.failed, *(self._quantile(q) for q in QUANTILES))

    def _quantile(self, q: float) -> float:
        """In milliseconds: the middle of the bucket that holds it."""
        rank, below = math.ceil(q * self.requests), 0
        for bucket in sorted(self._buckets):
            below += self._buckets[bucket]
            if below >= rank:
                return round(1000 * _SMALLEST * math.exp(_GROWTH * (bucket - 0.5)), 2)
        return 0.0


class Recorder:
    """Takes outcomes, and gives reports as lines of JSON."""

    def __init__(self) -> None:
        self.sent = self.dropped = self.retried = 0
        self._answered = 0
        self._roles: dict[str, _Count] = {}
        self._pods: dict[str, _Count] = {}
        self._failures: Counter[str] = Counter()
        self._log: Counter[tuple[int, str, int, str, str]] = Counter()

    def add(self, outcome: Outcome, now: float) -> None:
        """Counts one outcome; `now` is Unix time in seconds."""
        failure = outcome.failure
        self._answered += outcome.status > 0
        counts = [self._roles.setdefault(outcome.role, _Count())]
        if outcome.pod:
            counts.append(self._pods.setdefault(outcome.pod, _Count()))
        for count in counts:
            count.add(outcome.seconds, failed=bool(failure))
        if failure:
            self._failures[failure] += 1
        self._log[int(now), outcome.role, outcome.status, outcome.flags, outcome.pod] += 1

    def report(self, seconds: float) -> Report:
        """The totals, `seconds` after the start."""
        return Report(
            seconds=round(seconds, 3),
            sent=self.sent,
            answered=self._answered,
            dropped=self.dropped,
            retried=self.retried,
            roles={role: count.tally() for role, count in self._roles.items()},
            pods={pod: count.tally() for pod, count in self._pods.items()},
            failures=dict(self._failures),
        )

    def new_rows(self) -> list[LogRow]:
        """The log since the last call; a second's count may come in parts."""
        rows = [LogRow(*key, count) for key, count in self._log.items()]
        self._log.clear()
        return rows


def encode(report: Report, rows: list[LogRow]) -> str:
    """One line, without its end."""
    fields: dict[str, Any] = {name: getattr(report, name) for name in Report.__slots__}
    for group in ("roles", "pods"):
        fields[group] = {name: _numbers(tally) for name, tally in fields[group].items()}
    return json.dumps({**fields, "log": rows}, separators=(",", ":"))


def decode(line: str) -> tuple[Report, list[LogRow]]:
    """Reads what `encode` wrote. Raises ValueError."""
    fields = json.loads(line)
    rows = [LogRow(*row) for row in fields.pop("log")]
    for group in ("roles", "pods"):
        fields[group] = {name: Tally(*numbers) for name, numbers in fields[group].items()}
    return Report(**fields), rows


def _numbers(tally: Tally) -> list[float]:
    return [tally.requests, tally.failed, tally.p50_ms, tally.p90_ms, tally.p99_ms]
