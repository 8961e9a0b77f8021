"""What can go wrong at the edges of `analysis`; every error names the field (or the query) and the value.

    AnalysisError
      BadCounts           a count, an interval or a histogram that cannot be true
        EdgesDiffer       the two arms, or an interval and the past, have different histogram edges
        UnknownEdge       a named slow edge is not an edge of the histogram
      BadConfig           a knob of JudgeConfig outside its range
      BadState            a serialised state that this version cannot read
      PrometheusError     no counts could be had; carries the URL (without credentials) and the query
        PrometheusDown    no answer: refused, timed out, cut off, too large, a redirect, an HTTP error
        PrometheusAnswer  an answer that is not what was asked for: HTML, warnings, NaN, wrong types

"Cannot compute" is a result of its own: nothing here is ever turned into a rate of zero.
"""

from __future__ import annotations

# ruff: noqa: N818  the names say what happened, and read better without a suffix

_SHOWN = 120  # characters of a value that a message repeats


def shown(value: object) -> str:
    """`value` on one line, cut to a readable length."""
    text = repr(value)
    return text if len(text) <= _SHOWN else text[: _SHOWN - 3] + "..."


class AnalysisError(Exception):
    """Root of every error that `analysis` raises."""


class BadCounts(AnalysisError):
    """Counts that cannot be true; `field` is a path such as "canary['pod-a'].errors"."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(f"{field}: {shown(value)} is not {allowed}")


class EdgesDiffer(BadCounts):
    """Histograms with different edges: comparing them would compare nothing."""


class UnknownEdge(BadCounts):
    """A named slow edge that the histogram does not have."""


class BadConfig(AnalysisError):
    """A knob of JudgeConfig that is not what its range allows; `field` is the knob's name."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        self.allowed = allowed
        super().__init__(f"{field}: {shown(value)} is not allowed; {allowed}")


class BadState(AnalysisError):
    """A serialised JudgeState that is not of this version, or was cut or edited."""

    def __init__(self, field: str, value: object, allowed: str) -> None:
        self.field = field
        self.value = value
        super().__init__(f"{field}: {shown(value)} is not {allowed}")


class PrometheusError(AnalysisError):
    """No counts from Prometheus; `url` is without credentials, `query` is the PromQL that was asked."""

    def __init__(self, what: str, *, url: str, query: str) -> None:
        self.what = what
        self.url = url
        self.query = query
        super().__init__(f"{what} ({url}, query {shown(query)})")


class PrometheusDown(PrometheusError):
    """No usable answer came: refused, timed out, cut off, larger than the cap, redirected, or HTTP >= 400."""


class PrometheusAnswer(PrometheusError):
    """An answer came and is not what was asked for: not JSON, status error, warnings, NaN, wrong types."""
