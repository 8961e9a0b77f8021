"""Arithmetic of the ladder: canary sizes, and what a rung puts at risk."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from stage_play import NEW, OLD, Play, fresh_run

from canaryd.domain.ladder import canary_size, next_traffic, stable_ready
from canaryd.domain.model import Arm
from canaryd.domain.world import CanaryView, Measured, ReplicaSetView, World

COUNTS = st.integers(0, 500)


@pytest.mark.parametrize(
    ("weight", "stable", "at_start", "size"),
    [
        (1, 4, 4, 1),
        (5, 4, 4, 1),
        (5, 40, 40, 2),
        (6, 4, 4, 2),  # above 5 %, so that one bad pod can be told
        (10, 30, 30, 3),
        (25, 10, 10, 3),  # a quarter of ten is not two
        (50, 10, 10, 5),
        (100, 3, 3, 3),
        (100, 1, 1, 2),
        (100, 2, 10, 10),  # scaled down meanwhile: what it was at the start
        (100, 10, 2, 10),  # scaled up meanwhile
        (1, 0, 0, 1),
        (100, 0, 0, 2),
    ],
)
def test_sizes(weight: int, stable: int, at_start: int, size: int) -> None:
    assert canary_size(weight, stable, at_start) == size


@given(st.integers(1, 100), COUNTS, COUNTS)
def test_enough_pods_for_the_share_and_never_too_few(weight: int, stable: int, at_start: int) -> None:
    size = canary_size(weight, stable, at_start)
    assert 100 * size >= weight * max(stable, at_start)
    assert size >= (2 if weight > 5 else 1)
    assert size <= max(2, stable, at_start)


@given(st.integers(1, 99), COUNTS, COUNTS)
def test_a_higher_rung_never_has_fewer(weight: int, stable: int, at_start: int) -> None:
    assert canary_size(weight, stable, at_start) <= canary_size(weight + 1, stable, at_start)


def test_stable_is_the_running_replicaset() -> None:
    run = fresh_run(stable=Arm("checkout", OLD, {}))
    sets = (ReplicaSetView("a", OLD, "a", 4, 3), ReplicaSetView("b", NEW, "b", 1, 1))
    assert stable_ready(run, replace(Play().world(run), replicasets=sets)) == 3
    assert stable_ready(fresh_run(), replace(Play().world(run), replicasets=sets)) == 0


def test_stable_is_the_carrier_where_there_is_one() -> None:
    run = fresh_run(stable=Arm("carrier", OLD, {}), carrier="carrier")
    world = Play().world(run)
    assert stable_ready(run, replace(world, carrier=CanaryView(4, 2, ()))) == 2
    assert stable_ready(run, replace(world, carrier=None)) == 0


@pytest.mark.parametrize(("weight", "requests"), [(1, 4.0), (10, 40.0), (100, 400.0)])
def test_what_a_rung_sends_before_it_can_be_taken_back(weight: int, requests: float) -> None:
    """Two scrapes see it and the mesh takes it back: 2 x 1 s + 2 s at 100 requests per second."""
    world: World = replace(Play().world(fresh_run()), measured=Measured(request_rate=100.0))
    assert next_traffic(world, weight) == pytest.approx(requests)
