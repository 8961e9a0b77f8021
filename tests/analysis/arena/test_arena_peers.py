"""The peers' rules, as their sources state them."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
from scipy.stats import hypergeom

from analysis import Counts, Interval, JudgeConfig
from analysis.arena.argo import Argo
from analysis.arena.contender import Contender
from analysis.arena.flagger import Flagger
from analysis.arena.kayenta import Kayenta
from analysis.arena.mann_whitney import Classification, classify
from analysis.arena.runs import play
from analysis.arena.scenario import EDGES, Scenario
from analysis.arena.significance import Significance, fisher, z_test
from analysis.arena.traffic import Tick
from analysis.arena.window import quantile

NAN = float("nan")


def tick(
    end: float, requests: int, errors: int, *, baseline: tuple[int, int] = (900, 9), slow: bool = False
) -> Tick:
    """An interval of ten seconds; slow: every request took a second."""
    bucket = EDGES.index(1.0 if slow else 0.1)
    latency = tuple(requests * (i == bucket) for i in range(len(EDGES) + 1))
    arms = {"c": Counts(requests, errors, latency)}, {"b": Counts(*baseline)}
    interval = Interval(end - 10, end, 0.1, *arms, EDGES)
    return Tick(end, interval, True, requests, 0.0, (0.01, 0.01))


def minutes(
    judge: Contender, rates: Iterable[float | None], *, slow: bool = False
) -> list[tuple[str, float]]:
    """The decision at the end of each minute, and the weight from then on. None: no requests."""
    told: list[tuple[str, float]] = []
    now = 0.0
    for rate in rates:
        for _ in range(6):
            now += 10
            requests = 0 if rate is None else 1000
            decision = judge.look(tick(now, requests, round(requests * (rate or 0)), slow=slow))
        told.append((decision, judge.weight))
        if decision in ("rollback", "promote"):
            break
    return told


class TestFlagger:
    def test_a_good_release_takes_one_step_a_minute(self) -> None:
        told = minutes(Flagger(Scenario()), [0.0] * 10)
        assert told == [
            ("continue", 0.02),
            ("continue", 0.05),
            ("continue", 0.10),
            ("continue", 0.25),
            ("continue", 0.50),
            ("promote", 0.50),
        ]

    @pytest.mark.parametrize(
        ("name", "rates", "ended"),
        [
            ("rolls back on the tick after the fifth failed check", [0.011] * 10, ("rollback", 6)),
            ("99 % is enough", [0.01] * 10, ("promote", 6)),
            ("failed checks are cumulative", [0.02, 0.0] * 10, ("rollback", 10)),
            ("no data fails a check", [None] * 10, ("rollback", 6)),
            ("four failed checks are forgiven", [0.02] * 4 + [0.0] * 10, ("promote", 10)),
            ("the counter is looked at before the check", [0.02] * 5 + [0.0] * 10, ("rollback", 6)),
        ],
    )
    def test_checks(self, name: str, rates: list[float | None], ended: tuple[str, int]) -> None:
        told = minutes(Flagger(Scenario()), rates)
        assert (told[-1][0], len(told)) == ended, name

    def test_a_failed_check_keeps_the_weight(self) -> None:
        assert [w for _, w in minutes(Flagger(Scenario()), [0.0, 0.02, 0.02, 0.0])] == [
            0.02,
            0.02,
            0.02,
            0.05,
        ]

    def test_the_99th_percentile_counts_where_there_are_histograms(self) -> None:
        assert minutes(Flagger(Scenario(latency=True)), [0.0] * 10, slow=True)[-1][0] == "rollback"
        assert minutes(Flagger(Scenario(latency=True)), [0.0] * 10)[-1][0] == "promote"
        assert minutes(Flagger(Scenario()), [0.0] * 10, slow=True)[-1][0] == "promote"


class TestArgo:
    @pytest.mark.parametrize(
        ("name", "rates", "ended"),
        [
            ("ten minutes a step", [0.05] * 100, ("promote", 60)),
            ("the fourth failure aborts", [0.051] * 100, ("rollback", 20)),
            ("three failures are allowed", [0.06] * 15 + [0.0] * 100, ("promote", 60)),
            ("failures add up", ([0.06] * 5 + [0.0] * 5) * 20, ("rollback", 35)),
            ("no series: five errors in a row, the first at the start", [None] * 100, ("rollback", 20)),
            ("0/0 of a known series fails", [0.0] * 5 + [None] * 100, ("rollback", 25)),
            ("a measurement ends a row of errors", [None] * 15 + [0.0] * 100, ("promote", 60)),
        ],
    )
    def test_measurements(self, name: str, rates: list[float | None], ended: tuple[str, int]) -> None:
        told = minutes(Argo(), rates)
        assert (told[-1][0], len(told)) == ended, name


class TestKayenta:
    @pytest.mark.parametrize(
        ("control", "experiment", "nan", "expected"),
        [
            ([1, 2.2, 1.1, 2.5, 3], [20, 22, 21, 25, 30], "remove", "High"),
            ([10, 20.2, 10.1, 20.5, 30], [2, 2, 2, 2, 3], "remove", "Low"),
            ([1, 1, 1, 1, 1], [1, 1, 1, 1, 10], "remove", "Pass"),
            ([1, 1, 1, 1, 1], [10, 10, 10, 10, 10], "remove", "High"),
            ([], [], "remove", "Nodata"),
            ([], [], "replace", "Pass"),
            ([NAN, NAN], [NAN, NAN], "remove", "Nodata"),
            ([NAN, NAN], [NAN, NAN], "replace", "Pass"),
            ([1, 1], [1, 1, 1], "remove", "Pass"),
            ([5, 4, 3, 2, 1], [1, 2, 3, 4, 5], "remove", "Pass"),
            ([1, 1, 1, 1, 1], [0, 1, 1, 1, 1], "remove", "Pass"),
            ([1, 2, 3, 4, 5], [], "remove", "Nodata"),
        ],
    )
    def test_classifications(
        self, control: list[float], experiment: list[float], nan: str, expected: Classification
    ) -> None:
        found = classify(control, experiment, tolerance=0.10, confidence=0.95, nan=nan)  # type: ignore[arg-type]
        assert found == expected

    def test_points_count_and_not_the_requests_behind_them(self) -> None:
        rng = np.random.default_rng(1)
        control, experiment = rng.normal(10, 2, 60), rng.normal(10, 2, 60)
        assert classify(list(control), list(experiment)) == "Pass"
        assert classify(list(control), list(experiment + 8)) == "High"
        assert classify(list(control), list(experiment - 8)) == "Low"

    def test_judges_from_the_fiftieth_point_on_and_passes_at_the_deadline(self) -> None:
        noise = np.random.default_rng(1).uniform(0, 0.02, 200)
        worse = minutes(Kayenta(Scenario()), list(noise + 0.2))
        assert (worse[-1][0], len(worse), worse[0][1]) == ("rollback", 60, 0.1)
        alike = minutes(Kayenta(Scenario(base_rate=0.01)), [0.01] * 200)
        assert (alike[-1][0], len(alike)) == ("promote", 120)

    def test_no_data_never_passes(self) -> None:
        assert minutes(Kayenta(Scenario()), [None] * 200)[-1][0] == "rollback"


class TestSignificance:
    def test_fishers_p_is_the_hypergeometric_tail(self) -> None:
        rng = np.random.default_rng(3)
        for _ in range(200):
            n, m = (int(v) for v in rng.integers(1, 5000, 2))
            x, y = int(rng.integers(0, min(n, 60) + 1)), int(rng.integers(0, min(m, 60) + 1))
            expected = hypergeom.sf(x - 1, n + m, x + y, n)
            assert fisher(x, n, y, m) == pytest.approx(expected, rel=1e-6, abs=1e-12)

    def test_fishers_p_with_many_errors(self) -> None:
        expected = hypergeom.sf(50_300 - 1, 2_000_000, 100_000, 1_000_000)
        assert fisher(50_300, 1_000_000, 49_700, 1_000_000) == pytest.approx(expected, rel=1e-6)

    def test_z(self) -> None:
        assert z_test(30, 1000, 10, 1000) == pytest.approx(0.000701, rel=0.002)  # z = 3.194
        assert z_test(10, 1000, 10, 1000) == 0.5
        assert z_test(0, 10, 0, 10) == 1

    @pytest.mark.parametrize("p_value", [z_test, fisher])
    def test_a_p_below_the_level_ends_the_release(self, p_value: object) -> None:
        judge = Significance(p_value)  # type: ignore[arg-type]
        assert judge.look(tick(10, 100, 1)) == "continue"
        assert judge.look(tick(20, 100, 20)) == "rollback"

    def test_promotes_after_fifteen_minutes(self) -> None:
        told = minutes(Significance(z_test), [0.0] * 60)
        assert (told[-1][0], len(told), told[-1][1]) == ("promote", 15, 0.5)


class TestOracle:
    @pytest.mark.parametrize(
        "kind", [{"lift": 2.0}, {"latency": True, "slower": 1.5}, {"lift": 5.0, "onset": 600.0}]
    )
    def test_finds_every_fault(self, kind: dict[str, float]) -> None:
        scenario = Scenario(rps=300, **kind)  # type: ignore[arg-type]
        outcomes = [play("oracle", scenario, JudgeConfig(), seed) for seed in range(20)]
        assert all(one.end == "rollback" and one.ended > scenario.onset for one in outcomes)

    def test_promotes_what_is_good(self) -> None:
        outcomes = [play("oracle", Scenario(rps=300), JudgeConfig(), seed) for seed in range(20)]
        assert all(one.end == "promote" for one in outcomes)

    def test_its_information_is_little_above_the_logarithm_of_its_threshold(self) -> None:
        """Wald: the mean is the threshold and what the last interval overshoots it by."""
        config = JudgeConfig()
        played = [play("oracle", Scenario(rps=1000, lift=2), config, seed).information for seed in range(60)]
        assert 1.0 < np.mean(played) / np.log(1 / config.alpha) < 1.5


def test_histogram_quantile_is_that_of_promql() -> None:
    """From the documentation's rule: linear within the bucket, the highest bound beyond it."""
    buckets = [0] * (len(EDGES) + 1)
    buckets[EDGES.index(0.1)], buckets[EDGES.index(0.25)] = 90, 10
    assert quantile(Counts(100, 0, tuple(buckets)), 0.99) == pytest.approx(0.1 + 0.15 * 0.9)
    assert quantile(Counts(100, 0, tuple(buckets)), 0.45) == pytest.approx(0.05 + 0.05 / 2)
    buckets[-1] = 1000
    assert quantile(Counts(1100, 0, tuple(buckets)), 0.99) == EDGES[-1]
    assert np.isnan(quantile(Counts(0, 0, (0,) * 20), 0.99))
