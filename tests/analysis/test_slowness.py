"""Latencies known by a histogram: shifted, and read at a share."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from analysis.slowness import ISTIO_EDGES, lognormal, quantile, shifted

P50, P99 = 0.06, 0.4


@given(st.floats(1.01, 20))
def test_a_lognormal_that_is_shifted_is_the_lognormal_of_slower_requests(factor: float) -> None:
    found = shifted(ISTIO_EDGES, lognormal(ISTIO_EDGES, P50, P99), factor)
    for got, wanted in zip(found, lognormal(ISTIO_EDGES, factor * P50, factor * P99), strict=True):
        assert got == pytest.approx(wanted, abs=1e-6)


def test_nothing_is_slower_by_a_factor_of_one() -> None:
    slower = lognormal(ISTIO_EDGES, P50, P99)
    assert shifted(ISTIO_EDGES, slower, 1.0) == pytest.approx(slower)


@given(st.lists(st.floats(0, 1), min_size=4, max_size=4), st.floats(1.0, 50))
def test_slower_requests_exceed_every_edge_at_least_as_often(shares: list[float], factor: float) -> None:
    slower = tuple(sorted(shares, reverse=True))
    edges = (0.01, 0.1, 1.0, 10.0)
    assert all(a >= b - 1e-9 for a, b in zip(shifted(edges, slower, factor), slower, strict=True))


def test_a_histogram_that_says_nothing_stays_as_it_is() -> None:
    assert shifted((0.1, 0.2), (1.0, 0.0), 3.0) == (1.0, 0.0)
    assert quantile((0.1, 0.2), (1.0, 0.0), 0.5) is None
    assert quantile((), (), 0.5) is None


@pytest.mark.parametrize(("share", "wanted"), [(0.5, P50), (0.01, P99)])
def test_quantiles_are_read_back(share: float, wanted: float) -> None:
    found = quantile(ISTIO_EDGES, lognormal(ISTIO_EDGES, P50, P99), share)
    assert found is not None
    assert math.isclose(found, wanted, rel_tol=1e-3)


@pytest.mark.parametrize(("p50", "p99"), [(0.1, 0.1), (0.2, 0.1), (0, 0.1)])
def test_a_median_above_the_99th_percentile_is_refused(p50: float, p99: float) -> None:
    with pytest.raises(ValueError, match="must be above the median"):
        lognormal(ISTIO_EDGES, p50, p99)
