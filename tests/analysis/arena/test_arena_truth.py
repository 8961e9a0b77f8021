"""What is harmful, and what any judge must pay."""

from __future__ import annotations

import itertools
import math
from typing import Any

import pytest

from analysis import JudgeConfig
from analysis.arena.scenario import Scenario
from analysis.arena.truth import (
    Boundary,
    binary_divergence,
    harm_floor,
    harm_nulls,
    is_covered,
    is_harmful,
    is_unsafe,
    nearest,
    pod_ratio_needed,
)

CONFIG = JudgeConfig()


@pytest.mark.parametrize(
    ("base", "lift", "harmful", "unsafe"),
    [
        (0.01, 1.0, False, False),
        (0.01, 1.2, False, False),
        (0.01, 1.24, False, False),
        (0.01, 1.26, True, False),
        (0.01, 2.0, True, True),
        (0.0001, 5.0, False, False),  # four times the odds more, and less than one in two thousand
        (0.0001, 10.0, True, False),
        (0.001, 1.5, False, False),  # exactly the difference that is tolerated
        (0.001, 2.0, True, True),
        (0.05, 1.2, False, False),
        (0.05, 1.5, True, True),
    ],
)
def test_errors_by_the_tolerance_pair(base: float, lift: float, harmful: bool, unsafe: bool) -> None:
    scenario = Scenario(base_rate=base, lift=lift)
    assert (is_harmful(scenario, CONFIG), is_unsafe(scenario, CONFIG)) == (harmful, unsafe)


@pytest.mark.parametrize(
    ("slower", "tail", "harmful", "unsafe"),
    [
        (1.0, 0.0, False, False),
        (1.05, 0.0, False, False),
        (1.1, 0.0, True, False),
        (1.2, 0.0, True, True),
        (1.5, 0.0, True, True),
        (1.0, 0.05, True, True),
    ],
)
def test_latency_by_the_odds_at_an_edge(slower: float, tail: float, harmful: bool, unsafe: bool) -> None:
    scenario = Scenario(slower=slower, tail=tail, latency=True)
    assert (is_harmful(scenario, CONFIG), is_unsafe(scenario, CONFIG)) == (harmful, unsafe)
    assert not is_harmful(
        Scenario(slower=slower, tail=tail), CONFIG
    )  # without histograms there is nothing to see


@pytest.mark.parametrize(("lift", "floor"), [(1.5, 21.3), (2, 11.9), (3, 7.1), (5, 4.55), (10, 2.96)])
def test_the_floor_without_tolerances(lift: float, floor: float) -> None:
    """judge and traffic do not come into it: log(1/alpha) (rho - 1) / (rho log rho - rho + 1) for small rates."""
    strict = JudgeConfig(harm_ratio=1, harm_delta=0)
    found = harm_floor(Scenario(base_rate=1e-6, lift=lift), strict, 0.01, missed=0)
    assert found == pytest.approx(floor, rel=0.005)


def test_the_floor_with_the_default_tolerances() -> None:
    found = harm_floor(Scenario(base_rate=0.01, lift=2), CONFIG, 0.01, missed=0)
    assert found == pytest.approx(23.6, abs=0.05)


def test_a_test_that_errs_or_misses_more_needs_less() -> None:
    scenario = Scenario(base_rate=0.01, lift=2)
    floors = [
        harm_floor(scenario, CONFIG, *errs) for errs in ((0.01, 0.0), (0.1, 0.0), (0.1, 0.5), (0.5, 0.5))
    ]
    assert all(a is not None and b is not None and a > b for a, b in itertools.pairwise(floors))
    assert floors[-1] == 0
    assert harm_floor(Scenario(), CONFIG, 0.01, 0.0) is None


def test_the_nearest_point_of_equality() -> None:
    point = nearest(0.5, 0.10, 0.05, Boundary())
    assert point.baseline == pytest.approx(0.075, abs=1e-6)
    expected = (binary_divergence(0.10, 0.075) + binary_divergence(0.05, 0.075)) / 2
    assert point.information == pytest.approx(expected, rel=1e-9)


def test_the_nearest_point_of_a_null_of_harm() -> None:
    point = nearest(0.5, 0.001, 0.001, Boundary(delta=0.001))
    assert (point.canary, point.baseline) == pytest.approx((0.00170693, 0.00070693), abs=1e-7)


def test_information_goes_with_the_smaller_arm() -> None:
    by_ratio, _ = harm_nulls(CONFIG)
    found = [nearest(w, 0.02, 0.01, by_ratio).information for w in (0.01, 0.1, 0.5)]
    limit = binary_divergence(0.02, 0.0125 / (1 + 0.25 * 0.01))
    assert found[0] == pytest.approx(0.01 * limit, rel=0.02)
    assert found[0] < found[1] < found[2]


def test_the_ratio_that_unequal_pods_need() -> None:
    expected = math.exp(3.36493 * 0.5 * math.sqrt(1 / 2 + 1 / 6))  # Student, 5 degrees of freedom, 99 %
    assert pod_ratio_needed(0.5, 2, 6, 0.01) == pytest.approx(expected, rel=1e-5)
    assert pod_ratio_needed(0.5, 2, 1, 0.01) == math.inf


@pytest.mark.parametrize(
    ("kind", "covered"),
    [
        ({}, True),
        ({"pod_sigma": 0.1}, False),
        ({"pods_known": False}, True),
        ({"burst_gap": 600.0, "burst_seconds": (60.0, 60.0)}, True),
        ({"burst_gap": 600.0, "burst_seconds": (60.0, 61.0)}, False),
        ({"burst_gap": 600.0, "pods_known": False}, False),
        ({"icc": 0.001}, True),
        ({"icc": 0.001, "pods_known": False}, False),
    ],
)
def test_what_the_bound_covers(kind: dict[str, Any], covered: bool) -> None:
    assert is_covered(Scenario(**kind), CONFIG) == covered
