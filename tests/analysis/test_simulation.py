"""Simulated releases: the same seed plays the same ones, and what is told of them adds up."""

from __future__ import annotations

from dataclasses import replace

import pytest

from analysis import JudgeConfig
from analysis.plan import Ladder, Traffic
from analysis.replay import header_line, read, record_line, replay
from analysis.simulation import (
    ENDS,
    Played,
    Simulation,
    play,
    play_all,
    record,
    scenario_of,
    summarise,
)
from analysis.slowness import ISTIO_EDGES, lognormal

LADDER = Ladder((0.05, 0.25, 0.5, 1.0), 0.5, 15.0, 50.0, 15.0, before=60.0, shift=30.0, exposure=45.0)
CONFIG = JudgeConfig(safe_ratio=2.0, safe_delta=0.01, min_judged=60.0, horizon=1200.0, latency_weight=0.0)


def simulation(lift: float = 1.0, *, seed: int = 1, rps: float = 100.0) -> Simulation:
    scenario = replace(scenario_of(Traffic(rps, 0.01), LADDER, CONFIG), lift=lift)
    return Simulation(scenario, CONFIG, LADDER, seed)


def test_a_release_depends_on_seed_and_number_alone() -> None:
    first = [play(simulation(5.0), run) for run in range(4)]
    assert [play(simulation(5.0), run) for run in range(4)] == first
    assert len(set(first)) > 1
    assert [play(simulation(5.0, seed=2), run) for run in range(4)] != first


def test_workers_play_the_same_releases() -> None:
    alone = [one for batch in play_all(simulation(3.0), 12, 1) for one in batch]
    together = [one for batch in play_all(simulation(3.0), 12, 2) for one in batch]
    assert sorted(alone, key=repr) == sorted(together, key=repr)
    assert len(alone) == 12


def test_a_bad_release_is_taken_back_and_costs_requests() -> None:
    for run in range(3):
        one = play(simulation(10.0), run)
        assert one.end in ("rolled back", "retreated")
        assert one.protected is not None and one.protected <= one.ended
        assert 0 < one.failed_before <= one.failed


def test_a_good_release_is_promoted_and_costs_none() -> None:
    one = play(simulation(), 0)
    assert (one.end, one.protected, one.failed) == ("promoted", None, 0.0)


def test_without_traffic_a_release_is_inconclusive_at_the_deadline() -> None:
    one = play(simulation(rps=0.01), 0)
    assert (one.end, one.ended) == ("inconclusive", 1140.0)


def test_a_summary_counts_every_release_once() -> None:
    played = [
        Played("rolled back", 300.0, 100.0, 12.0, 10.0),
        Played("rolled back", 500.0, 200.0, 20.0, 12.0),
        Played("promoted", 900.0, None, 0.0, 0.0),
        Played("inconclusive", 1140.0, None, 0.0, 0.0),
    ]
    late = replace(simulation(), scenario=replace(simulation().scenario, onset=60.0))
    summary = summarise(late, played)
    assert {end: count for end, (count, _) in summary.ends.items()} == {
        "rolled back": 2,
        "retreated": 0,
        "promoted": 1,
        "inconclusive": 1,
    }
    assert set(summary.ends) == set(ENDS)
    assert summary.protected[0] == 2
    assert summary.to_protect is not None and summary.to_protect.mean == 90.0
    assert summary.to_promote is not None and summary.to_promote.median == 900.0
    assert summary.failed.mean == 8.0
    share, low, high = summary.ends["rolled back"][1]
    assert (share, low, high) == pytest.approx((0.5, 0.06759, 0.93241), abs=1e-4)  # Clopper and Pearson


def test_latencies_become_lognormal() -> None:
    traffic = Traffic(10.0, 0.01, ISTIO_EDGES, lognormal(ISTIO_EDGES, 0.08, 0.9))
    scenario = scenario_of(traffic, LADDER, CONFIG)
    assert scenario.latency
    assert scenario.latency_median == pytest.approx(0.08, rel=1e-3)
    assert lognormal(ISTIO_EDGES, 0.08, 0.9)[5] == pytest.approx(
        lognormal(ISTIO_EDGES, scenario.latency_median, 0.9)[5], rel=1e-3
    )
    assert not scenario_of(Traffic(10.0, 0.01), LADDER, CONFIG).latency


def test_a_recorded_release_is_replayed_to_the_same_decisions() -> None:
    recording = record(simulation(5.0), 0, "simulated", "fast")
    assert any(one.quarantined for one in recording.records)
    assert recording.records[-1].decision in ("retreat", "rollback")
    again = read([header_line(recording.header), *map(record_line, recording.records)])
    assert again == recording
    assert not any(moment.differs for moment in replay(again, again.header.judge))
