"""The simulated traffic is what its scenario says."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest

from analysis import Counts
from analysis.arena import Release, Scenario, Tick
from analysis.arena.environment import latency_laws
from analysis.arena.scenario import EDGES
from analysis.errors import BadConfig

HOUR = Scenario(rps=200, base_rate=0.02, deadline=3600)


def ticks(scenario: Scenario, seed: int = 1, weight: float = 0.1) -> list[Tick]:
    release = Release(scenario, seed)
    found = []
    while (tick := release.tick(weight)) is not None:
        found.append(tick)
    return found


def sums(played: list[Tick]) -> tuple[Counts, Counts]:
    """All counts of canary and baseline."""

    def arm(name: str) -> Counts:
        own = [c for t in played if t.interval for c in getattr(t.interval, name).values()]
        buckets = tuple(map(sum, zip(*(c.latency for c in own), strict=True)))
        return Counts(sum(c.requests for c in own), sum(c.errors for c in own), buckets)

    return arm("canary"), arm("baseline")


def near(found: float, expected: float, deviation: float) -> bool:
    return abs(found - expected) < 5 * deviation


class TestDeterminism:
    def test_the_same_seed_is_the_same_release(self) -> None:
        scenario = replace(HOUR, latency=True, icc=0.01, burst_gap=300, missed_scrapes=0.1, outages=0.1)
        assert ticks(scenario, 7) == ticks(scenario, 7)
        assert ticks(scenario, 7) != ticks(scenario, 8)

    def test_bursts_come_at_the_same_moments_whatever_the_weight(self) -> None:
        scenario = replace(HOUR, base_rate=0, burst_gap=300, burst_rate=0.9, baseline_pods=1, canary_pods=1)

        def hit(weight: float) -> list[bool]:
            return [t.rates != (0, 0) for t in ticks(scenario, 3, weight)]

        assert hit(0.1) == hit(0.5)
        assert any(hit(0.1))


class TestTotals:
    @pytest.mark.parametrize("weight", [0.01, 0.25, 0.5])
    def test_requests_follow_the_weight_and_errors_the_rate(self, weight: float) -> None:
        canary, baseline = sums(ticks(HOUR, weight=weight))
        expected = 200 * 3600
        assert near(canary.requests, weight * expected, (weight * expected) ** 0.5)
        assert near(baseline.requests, (1 - weight) * expected, expected**0.5)
        for arm in (canary, baseline):
            assert near(arm.errors, 0.02 * arm.requests, (0.02 * arm.requests) ** 0.5)

    def test_the_lift_multiplies_the_canarys_rate_from_the_onset_on(self) -> None:
        played = ticks(replace(HOUR, lift=3, onset=1805), weight=0.5)
        before, after = sums(played[:180]), sums(played[181:])
        assert near(before[0].errors, 0.02 * before[0].requests, before[0].errors ** 0.5)
        assert near(after[0].errors, 0.06 * after[0].requests, after[0].errors ** 0.5)
        assert near(after[1].errors, 0.02 * after[1].requests, after[1].errors ** 0.5)
        assert played[179].excess_failed == 0
        assert played[180].rates[0] == pytest.approx(0.04)  # half of that interval

    def test_excess_is_what_the_fault_alone_adds(self) -> None:
        played = ticks(replace(HOUR, lift=2, shock_gap=600), weight=0.5)
        calm = [t for t in played if t.rates == pytest.approx((0.04, 0.02))]
        assert len(calm) > 100
        for tick in calm:
            assert tick.excess_failed == pytest.approx(0.02 * tick.canary_requests)
        shocked = [t for t in played if t.rates[1] > 0.25]
        assert shocked
        assert all(t.excess_failed < 0.02 * t.canary_requests for t in shocked)

    def test_what_a_promoted_fault_costs_until_the_deadline(self) -> None:
        release = Release(replace(HOUR, lift=2), 1)
        for _ in range(180):
            release.tick(0.1)
        assert release.excess_at_full_weight() == pytest.approx(1800 * 200 * 0.02)

    def test_latency_follows_its_law(self) -> None:
        scenario = replace(HOUR, latency=True, slower=1.5, base_rate=0.5)
        canary, baseline = sums(ticks(scenario, weight=0.5))
        usual, slower = latency_laws(scenario)
        for arm, law in ((canary, slower), (baseline, usual)):
            assert sum(arm.latency) == arm.requests - arm.errors
            deviations = np.sqrt(sum(arm.latency) * law) + 1
            assert np.all(np.abs(arm.latency - sum(arm.latency) * law) < 5 * deviations)

    def test_the_median_is_60_ms_and_a_tail_is_ten_times_as_slow(self) -> None:
        usual, tailed = latency_laws(Scenario(tail=0.05, latency=True))
        below = np.cumsum(usual)
        assert below[EDGES.index(0.05)] < 0.5 < below[EDGES.index(0.1)]
        assert tailed.sum() == pytest.approx(1)
        beyond = slice(EDGES.index(0.5) + 1, None)
        assert 0.025 < tailed[beyond].sum() - usual[beyond].sum() < 0.05


class TestTrouble:
    def test_icc_spreads_errors(self) -> None:
        def dispersion(icc: float) -> float:
            scenario = replace(HOUR, icc=icc, canary_pods=1, baseline_pods=1, rps=100, deadline=20_000)
            pods = [t.interval.baseline["baseline-0"] for t in ticks(scenario, weight=0.5) if t.interval]
            x = np.array([(c.errors - 0.02 * c.requests) ** 2 / (0.02 * 0.98 * c.requests) for c in pods])
            return float(x.mean())

        assert 0.85 < dispersion(0) < 1.15
        assert 0.85 < dispersion(0.01) / (1 + 499 * 0.01) < 1.15

    def test_a_burst_is_one_pods_and_lasts_as_long_as_said(self) -> None:
        scenario = Scenario(
            rps=2000, base_rate=0, deadline=36_000, burst_gap=500, burst_seconds=(30, 30), burst_rate=0.5
        )
        played = ticks(scenario, weight=0.5)
        names = [f"canary-{i}" for i in range(2)] + [f"baseline-{i}" for i in range(6)]
        lost = dict.fromkeys(names, 0.0)
        alone = 0
        for tick in played:
            assert tick.interval is not None
            pods = {**tick.interval.canary, **tick.interval.baseline}
            for name, counts in pods.items():
                lost[name] += counts.errors / counts.requests / 0.5 * 10
            alone += sum(c.errors > 0 for c in pods.values()) == 1
        expected = 36_000 * 30 / 530
        assert 0.8 < sum(lost.values()) / (8 * expected) < 1.2
        assert all(seconds > 0 for seconds in lost.values())
        assert alone > 100

    def test_a_burst_ends_within_an_interval(self) -> None:
        played = ticks(Scenario(rps=20_000, base_rate=0, burst_gap=500, burst_seconds=(30, 30)), weight=0.5)
        shares = {
            round(c.errors / c.requests, 2) for t in played if t.interval for c in t.interval.canary.values()
        }
        assert len(shares - {0.0, 0.3}) > 5

    def test_a_shock_hits_both_arms_alike(self) -> None:
        played = ticks(replace(HOUR, shock_gap=300, shock_rate=0.4))
        assert any(t.rates[0] > 0.3 for t in played)
        assert all(t.rates[0] == pytest.approx(t.rates[1]) for t in played)

    def test_scrapes_apart_part_a_shock_and_quarantine_a_change_of_the_weight(self) -> None:
        played = ticks(replace(HOUR, shock_gap=300, scrape_offsets=True))
        assert any(abs(t.rates[0] - t.rates[1]) > 0.01 for t in played)
        assert [t.judged for t in played[:3]] == [False, True, True]

    def test_an_interval_that_straddles_a_change_has_requests_of_both_weights(self) -> None:
        release = Release(Scenario(rps=20_000, scrape_offsets=True, canary_pods=8), 1)
        for _ in range(5):
            release.tick(0.1)
        between, after = release.tick(0.5), release.tick(0.5)
        assert between is not None
        assert after is not None
        assert not between.judged
        assert after.judged
        assert 0.15 * 200_000 < between.canary_requests < 0.45 * 200_000
        assert near(after.canary_requests, 100_000, 100_000**0.5)

    def test_a_settle_time_is_not_judged(self) -> None:
        release = Release(replace(HOUR, settle=15), 1)
        judged = [release.tick(0.1 if i < 5 else 0.2) for i in range(10)]
        assert [t is not None and t.judged for t in judged] == [False, False] + 3 * [True] + 2 * [
            False
        ] + 3 * [True]

    def test_the_day_swings_traffic_and_errors_together(self) -> None:
        played = ticks(replace(HOUR, diurnal=0.8, rps=2000), weight=0.5)
        requests = np.array([t.canary_requests for t in played])
        rates = np.array([t.rates[0] for t in played])
        assert requests.max() / requests.min() > 6
        assert rates.max() / rates.min() > 6
        assert np.corrcoef(requests, rates)[0, 1] > 0.99

    def test_pods_that_differ_do_so_for_good(self) -> None:
        played = ticks(replace(HOUR, pod_sigma=0.5, rps=5000))
        half = len(played) // 2

        def rates(some: list[Tick]) -> list[float]:
            pods: dict[str, list[Counts]] = {}
            for tick in some:
                assert tick.interval is not None
                for name, counts in tick.interval.baseline.items():
                    pods.setdefault(name, []).append(counts)
            return [sum(c.errors for c in own) / sum(c.requests for c in own) for own in pods.values()]

        first, second = rates(played[:half]), rates(played[half:])
        assert np.corrcoef(first, second)[0, 1] > 0.95
        assert max(first) / min(first) > 1.5

    def test_a_draining_pods_traffic_goes_to_the_others(self) -> None:
        played = ticks(replace(HOUR, drain_at=600, rps=2000))
        last = played[-1].interval
        assert last is not None
        assert last.baseline["baseline-0"].requests < 0.05 * last.baseline["baseline-1"].requests
        canary, baseline = sums(played)
        assert near(baseline.requests, 0.9 * 2000 * 3600, (0.9 * 2000 * 3600) ** 0.5)
        assert near(canary.requests, 0.1 * 2000 * 3600, (0.1 * 2000 * 3600) ** 0.5)

    def test_late_pods_are_not_there_before(self) -> None:
        played = ticks(replace(HOUR, late_pods=1, late_by=300))
        early, late = played[10].interval, played[100].interval
        assert early is not None
        assert late is not None
        assert (len(early.canary), len(early.baseline)) == (1, 5)
        assert (len(late.canary), len(late.baseline)) == (2, 6)

    def test_a_reset_costs_the_pods_interval(self) -> None:
        played = ticks(replace(HOUR, resets_per_hour=36))
        sizes = [len(t.interval.canary) + len(t.interval.baseline) for t in played if t.interval]
        assert len(sizes) == len(played)
        assert 0.05 < 1 - np.mean(sizes) / 8 < 0.15

    def test_what_a_missed_scrape_held_back_comes_with_the_next(self) -> None:
        played = ticks(replace(HOUR, missed_scrapes=0.3, rps=2000))
        sizes = [len(t.interval.baseline) for t in played if t.interval]
        assert min(sizes) < 6
        canary, baseline = sums(played)
        assert near(canary.requests + baseline.requests, 2000 * 3600, (2000 * 3600) ** 0.5 + 4000)
        longest = max(c.requests for t in played if t.interval for c in t.interval.baseline.values())
        assert longest > 1.8 * 0.9 * 2000 * 10 / 6

    def test_what_was_held_back_over_a_change_of_the_weight_is_left_out(self) -> None:
        release = Release(Scenario(rps=3000, missed_scrapes=0.4, deadline=3600), 2)
        told, served = 0, 0
        for i in range(360):
            tick = release.tick(0.1 if i % 2 else 0.2)
            assert tick is not None
            served += tick.canary_requests
            told += sum(c.requests for c in tick.interval.canary.values()) if tick.interval else 0
        assert 0.33 < told / served < 0.39  # this scrape came, and the one before

    def test_an_outage_makes_the_next_interval_longer(self) -> None:
        played = ticks(replace(HOUR, outages=0.2))
        intervals = [t.interval for t in played if t.interval]
        assert 0.1 < 1 - len(intervals) / len(played) < 0.3
        assert all(a.end == b.start for a, b in itertools.pairwise(intervals))
        lengths = {round(i.end - i.start) for i in intervals}
        assert {10, 20} <= lengths

    def test_pods_unknown(self) -> None:
        known, unknown = ticks(HOUR)[0].interval, ticks(replace(HOUR, pods_known=False))[0].interval
        assert known is not None
        assert unknown is not None
        assert list(unknown.canary) == list(unknown.baseline) == [""]
        assert unknown.baseline[""].requests == sum(c.requests for c in known.baseline.values())


class TestScenario:
    @pytest.mark.parametrize(
        ("field", "value"),
        [
            ("base_rate", 1.0),
            ("base_rate", "much"),
            ("base_rate", float("nan")),
            ("lift", 0),
            ("lift", 101.0),
            ("rps", -1.0),
            ("interval", float("inf")),
            ("canary_pods", 0),
            ("canary_pods", 1.5),
            ("late_pods", 2),
            ("burst_seconds", (60.0, 10.0)),
            ("shock_seconds", (60.0,)),
            ("outages", 1),
        ],
    )
    def test_nonsense_is_refused_by_name(self, field: str, value: object) -> None:
        with pytest.raises(BadConfig) as raised:
            replace(Scenario(), **{field: value})  # type: ignore[arg-type]
        assert raised.value.field == field

    def test_a_lone_baseline_pod_cannot_drain(self) -> None:
        with pytest.raises(BadConfig, match="drain_at"):
            Scenario(drain_at=10, baseline_pods=1)

    def test_json_round_trip(self) -> None:
        scenario = Scenario(burst_seconds=(5, 7), lift=2, late_pods=1)
        assert Scenario.from_json(scenario.to_json()) == scenario
