"""What the judge concludes, release by release."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import beta, binom

from analysis import Counts, Interval, Judge, JudgeConfig, JudgeState, Verdict, Watch
from analysis.errors import EdgesDiffer, UnknownEdge

EDGES = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0)
QUICK = JudgeConfig(min_judged=0, burst_block=0)  # bad events are independent


class Release:
    """Traffic drawn interval by interval and judged."""

    def __init__(self, config: JudgeConfig = QUICK, *, seed: int = 1, rps: float = 300) -> None:
        self.judge, self.state = Judge(config), Judge(config).start()
        self.rng, self.rps, self.now = np.random.default_rng(seed), rps, 0.0

    def run(
        self,
        seconds: int,
        *,
        weight: float = 0.1,
        canary: float = 0.01,
        baseline: float = 0.01,
        slower: float | None = None,
        until_decided: bool = True,
    ) -> Verdict:
        """`slower`: factor on the canary's latency; None: no histogram."""
        for _ in range(seconds):
            arms = [
                self._pod(self.rps * share, rate, factor)
                for share, rate, factor in (
                    (weight, canary, slower),
                    (1 - weight, baseline, None if slower is None else 1.0),
                )
            ]
            edges = () if slower is None else EDGES
            interval = Interval(self.now, self.now + 1, weight, {"c": arms[0]}, {"b": arms[1]}, edges)
            self.state = self.judge.update(self.state, interval)
            self.now += 1
            if until_decided and self.verdict().decision != "continue":
                break
        return self.verdict()

    def _pod(self, mean: float, rate: float, slower: float | None) -> Counts:
        n = int(self.rng.poisson(mean))
        errors = int(self.rng.binomial(n, rate))
        if slower is None:
            return Counts(n, errors)
        latency = self.rng.lognormal(np.log(0.06 * slower), 0.8, n - errors)
        buckets = np.bincount(np.searchsorted(EDGES, latency), minlength=len(EDGES) + 1)
        return Counts(n, errors, tuple(buckets.tolist()))

    def verdict(self, *, deadline_passed: bool = False) -> Verdict:
        return self.judge.verdict(self.state, deadline_passed=deadline_passed)


class TestHarm:
    def test_five_fold_errors_are_rolled_back_within_a_handful(self) -> None:
        release = Release()
        verdict = release.run(300, canary=0.05, weight=0.05)
        assert verdict.decision == "rollback"
        assert verdict.reason == "ErrorRateRegression"
        errors = verdict.metrics["errors"]
        assert errors.guilty
        assert errors.canary_bad < 40
        assert errors.ratio_low is not None
        assert errors.ratio_low > 1
        assert verdict.evidence_harm >= verdict.harm_threshold == 100
        assert f"{errors.canary_requests:,} requests" in verdict.because

    def test_a_service_without_errors_that_begins_to_fail(self) -> None:
        release = Release()
        release.run(60, canary=0, baseline=0)
        verdict = release.run(60, canary=0.05, baseline=0)
        assert verdict.decision == "rollback"
        assert verdict.metrics["errors"].canary_bad <= 12
        assert verdict.metrics["errors"].ratio is None
        assert "baseline 0 %" in verdict.because

    def test_a_fault_that_begins_with_a_later_step(self) -> None:
        release = Release(JudgeConfig(min_judged=1e4, burst_block=0))
        release.run(300, weight=0.1, until_decided=False)
        verdict = release.run(300, weight=0.25, canary=0.05)
        assert verdict.decision == "rollback"
        assert release.now - 300 < 30

    def test_suspicion_holds_back_a_promotion(self) -> None:
        """Safety was shown, and then a fault begins: not promoted in the moments before it is proved."""
        release = Release(JudgeConfig(min_judged=300, burst_block=0))
        release.run(299, weight=0.5, until_decided=False)
        assert release.verdict().metrics["errors"].safe
        while release.verdict().evidence_harm < 10:
            release.run(1, weight=0.5, canary=0.5, until_decided=False)
        assert release.verdict().decision != "promote"

    def test_a_tripled_but_negligible_rate_is_no_harm(self) -> None:
        release = Release(
            JudgeConfig(min_judged=0, harm_delta=0.002, safe_delta=0.003, burst_block=0), rps=3000
        )
        verdict = release.run(400, canary=0.0006, baseline=0.0002, weight=0.5, until_decided=False)
        assert verdict.decision != "rollback"
        assert verdict.metrics["errors"].ratio_low is not None
        assert verdict.metrics["errors"].ratio_low > 1.5

    def test_a_shock_to_both_arms_is_no_harm(self) -> None:
        release = Release()
        release.run(60, until_decided=False)
        verdict = release.run(60, canary=0.3, baseline=0.3, until_decided=False)
        assert verdict.decision != "rollback"

    def test_slower_is_harm_too(self) -> None:
        verdict = Release().run(120, slower=1.6)
        assert (verdict.decision, verdict.reason) == ("rollback", "LatencyRegression")
        assert verdict.metrics["latency"].guilty
        assert not verdict.metrics["errors"].guilty
        assert verdict.metrics["latency"].edge in EDGES
        assert verdict.because.startswith("slower than")

    def test_fast_failures_do_not_look_like_speed_nor_slow_successes_like_errors(self) -> None:
        verdict = Release().run(120, slower=1.0, canary=0.3)
        assert verdict.reason == "ErrorRateRegression"

    def test_two_bad_events_are_never_enough(self) -> None:
        judge = Judge(JudgeConfig(alpha=0.05, burst_block=0))
        state = judge.start()
        for i in range(2):
            arms = {"c": Counts(10, 1)}, {"b": Counts(100_000, 0)}
            state = judge.update(state, Interval(i, i + 1, 0.01, *arms))
        verdict = judge.verdict(state)
        assert verdict.evidence_harm > verdict.harm_threshold
        assert verdict.decision == "continue"

    def test_one_interval_is_enough_only_when_overwhelming(self) -> None:
        judge = Judge(QUICK)
        few = Interval(0, 1, 0.1, {"c": Counts(20, 4)}, {"b": Counts(900, 3)})
        many = Interval(0, 1, 0.1, {"c": Counts(100, 60)}, {"b": Counts(900, 9)})
        once = judge.update(judge.start(), few)
        assert judge.verdict(once).evidence_harm > 100
        assert judge.verdict(once).decision == "continue"
        nothing = Interval(1, 2, 0.1, {"c": Counts(1, 0)}, {"b": Counts(1, 0)})
        assert judge.verdict(judge.update(once, nothing)).decision == "rollback"
        assert judge.verdict(judge.update(judge.start(), many)).decision == "rollback"

    def test_what_was_proved_stays_proved(self) -> None:
        release = Release()
        release.run(300, canary=0.05)
        verdict = release.run(600, canary=0.0, until_decided=False)
        assert verdict.metrics["errors"].evidence_harm < 100
        assert verdict.decision == "rollback"

    def test_alpha_is_kept_at_the_edge_of_the_tolerance(self) -> None:
        """Odds of exactly harm_ratio, ten looks a release: rolled back no more often than alpha."""
        config, releases, base = JudgeConfig(alpha=0.1, harm_delta=0.0, burst_block=0), 400, 0.05
        odds = 1.25 * base / (1 - base)
        back = 0
        for seed in range(releases):
            release = Release(config, seed=seed, rps=2000)
            back += release.run(10, canary=odds / (1 + odds), baseline=base).decision == "rollback"
        assert back <= binom.ppf(0.9999, releases, config.alpha)
        assert float(beta.ppf(0.025, back, releases - back + 1) if back else 0) <= config.alpha


class TestSafety:
    def test_a_good_release_is_promoted_with_both_metrics_shown_safe(self) -> None:
        release = Release(JudgeConfig(min_judged=120, burst_block=0))
        verdict = release.run(900, weight=0.5, slower=1.0)
        assert (verdict.decision, verdict.reason) == ("promote", "Safe")
        assert release.now >= 120
        assert set(verdict.metrics) == {"errors", "latency"}
        assert all(metric.safe and metric.requests_needed == 0 for metric in verdict.metrics.values())
        assert verdict.because.endswith("judged for 2 min.")

    def test_not_before_the_judged_time(self) -> None:
        release = Release(JudgeConfig(min_judged=600, burst_block=0))
        verdict = release.run(300, weight=0.5)
        assert verdict.decision == "continue"
        assert all(metric.safe for metric in verdict.metrics.values())
        assert "5 min of judged time are missing" in verdict.because

    def test_a_service_without_errors_is_shown_safe_by_the_difference(self) -> None:
        verdict = Release().run(300, weight=0.5, canary=0, baseline=0)
        assert verdict.decision == "promote"
        assert verdict.metrics["errors"].canary_requests > 2000

    def test_latency_that_nobody_measured_is_said(self) -> None:
        verdict = Release().run(600, weight=0.5)
        assert verdict.decision == "promote"
        assert "latency was not measured" in verdict.because

    def test_named_edges_that_were_never_seen_are_not_safe(self) -> None:
        release = Release(JudgeConfig(min_judged=0, slow_edges=(0.5,), burst_block=0))
        verdict = release.run(120, weight=0.5)
        assert verdict.decision == "continue"
        assert not verdict.metrics["latency"].safe

    def test_every_named_edge_must_be_safe(self) -> None:
        """Slower by a tail that only the higher of two named edges shows."""
        release = Release(
            JudgeConfig(min_judged=0, slow_edges=(0.05, 1.0), slow_safe_delta=0.002, burst_block=0), rps=600
        )
        for _ in range(200):
            spread = [0, 0, 30, 80, 100, 60, 20, 6, 0, 0, 0]
            tail = [0, 0, 30, 80, 100, 60, 20, 0, 6, 0, 0]
            canary, baseline = ({"p": Counts(sum(h), 0, tuple(h))} for h in (tail, spread))
            interval = Interval(release.now, release.now + 1, 0.5, canary, baseline, EDGES)
            release.state = release.judge.update(release.state, interval)
            release.now += 1
        judged = list(enumerate(release.state.latency.judged, start=1))
        slow = {EDGES[edge.index]: release.state.rows.money[row, 2] for row, edge in judged if edge.decides}
        assert slow.keys() == {0.05, 1.0}
        assert slow[0.05] > 3
        assert not release.verdict().metrics["latency"].safe

    def test_requests_needed_is_about_right(self) -> None:
        release = Release(seed=5)
        first = release.run(10, weight=0.5, until_decided=False)
        needed = first.metrics["errors"].requests_needed
        assert needed is not None
        sent = 0
        while not release.verdict().metrics["errors"].safe:
            release.run(10, weight=0.5, until_decided=False)
            sent += 10 * 300
        assert needed / 4 < sent < needed * 4


class TestWaiting:
    def test_no_traffic_is_no_evidence(self) -> None:
        judge = Judge(QUICK)
        state = judge.update(judge.start(), Interval(0, 60, 0.05, {}, {"b": Counts(0, 0)}))
        verdict = judge.verdict(state)
        assert verdict.decision == "continue"
        assert verdict.judged_seconds == 0
        assert verdict.evidence_harm == 1
        assert verdict.excess_rate_upper == 1
        assert verdict.requests_needed is not None
        assert verdict.requests_needed > 10_000
        assert f"{verdict.requests_needed:,}" in verdict.because

    def test_a_baseline_alone_proves_nothing(self) -> None:
        judge = Judge(QUICK)
        state = judge.update(judge.start(), Interval(0, 60, 0.05, {}, {"b": Counts(1000, 10)}))
        assert judge.verdict(state).evidence_harm == 1
        assert state.rows.tally[0, 3] == 1000

    def test_the_deadline_is_never_a_promotion(self) -> None:
        release = Release()
        release.run(3)
        verdict = release.verdict(deadline_passed=True)
        assert (verdict.decision, verdict.reason) == ("inconclusive", "Inconclusive")
        assert "more requests" in verdict.because

    def test_harm_and_safety_outrank_the_deadline(self) -> None:
        bad, good = Release(), Release()
        bad.run(300, canary=0.1)
        good.run(600, weight=0.5)
        assert bad.verdict(deadline_passed=True).decision == "rollback"
        assert good.verdict(deadline_passed=True).decision == "promote"

    def test_the_excess_rate_is_bounded_from_above(self) -> None:
        uppers = [Release(seed=s).run(60, until_decided=False).excess_rate_upper for s in range(40)]
        assert all(upper > 0 for upper in uppers)
        assert np.median(uppers) < 0.02
        bad = [Release(seed=s).run(20, canary=0.05, until_decided=False).excess_rate_upper for s in range(40)]
        assert sum(upper < 0.04 for upper in bad) <= 5

    def test_at_a_weight_that_teaches_nothing(self) -> None:
        judge = Judge(QUICK)
        pods = {"c": Counts(10, 0)}, {"b": Counts(10, 0)}
        verdict = judge.verdict(judge.update(judge.start(), Interval(0, 1, 1.0, *pods)))
        assert verdict.requests_needed is None
        assert "cannot be at this weight" in verdict.because


class TestHistograms:
    def test_other_edges_than_before_are_an_error(self) -> None:
        release = Release()
        release.run(5, slower=1.0)
        other = Interval(99, 100, 0.1, {}, {"b": Counts(1, 0, (1, 0))}, (0.1,))
        with pytest.raises(EdgesDiffer):
            release.judge.update(release.state, other)

    def test_a_named_edge_that_is_none_is_an_error(self) -> None:
        release = Release(JudgeConfig(slow_edges=(0.3,), burst_block=0))
        with pytest.raises(UnknownEdge, match=r"0\.3"):
            release.run(1, slower=1.0)

    def test_a_small_shift_of_the_bulk_is_seen_by_tilts_where_nothing_is_tolerated(self) -> None:
        strict = JudgeConfig(min_judged=0, burst_block=0, slow_ratio=1.0)
        ahead = []
        for seed in range(8):
            release = Release(strict, rps=300, seed=seed)
            release.run(60, weight=0.1, slower=1.2, until_decided=False)
            by_edges = np.logaddexp.reduce(release.state.rows.log_ratio()[1:])
            ahead.append(release.state.latency.tilts.log_value() - by_edges + np.log(5))
        assert np.mean(ahead) > 0
        assert release.verdict().reason == "LatencyRegression"
        alike = Release(strict, rps=300, seed=4)
        assert alike.run(200, weight=0.5, slower=1.0, until_decided=False).evidence_harm < 20
        assert not Release(QUICK).run(5, slower=1.0).metrics["latency"].guilty

    def test_latency_can_be_left_out(self) -> None:
        release = Release(JudgeConfig(latency_weight=0, min_judged=0, burst_block=0))
        verdict = release.run(600, weight=0.5, slower=3.0)
        assert verdict.decision == "promote"
        assert "latency" not in verdict.metrics
        assert verdict.metrics["errors"].harm_threshold == pytest.approx(100)

    def test_a_baseline_that_is_never_slow_has_slow_edges_all_the_same(self) -> None:
        judge, state = Judge(QUICK), Judge(QUICK).start()
        fast = Counts(1000, 0, (1000, 0, 0))
        for i in range(30):
            state = judge.update(state, Interval(i, i + 1, 0.5, {"c": fast}, {"b": fast}, (0.1, 0.5)))
        assert any(edge.decides for edge in state.latency.judged)
        assert judge.verdict(state).metrics["latency"].safe


class TestWatching:
    def judged(self) -> tuple[Watch, JudgeState]:
        release = Release(JudgeConfig(min_judged=1e4, burst_block=0))
        release.run(120, weight=0.5, slower=1.0, until_decided=False)
        return Watch(release.judge.config), release.state

    def watched(self, watch: Watch, state: JudgeState, rate: float, seconds: int = 120) -> tuple[str, int]:
        rng, seen = np.random.default_rng(3), watch.start(watch.learn(state))
        for i in range(seconds):
            n = int(rng.poisson(300))
            pod = {"c": Counts(n, int(rng.binomial(n, rate)))}
            seen = watch.update(seen, Interval(i, i + 1, 1.0, pod))
            if watch.check(seen).decision == "rollback":
                return watch.check(seen).because, i
        return "", seconds

    def test_a_fault_above_the_last_judged_rung_is_found(self) -> None:
        because, seconds = self.watched(*self.judged(), rate=0.05)
        assert because.startswith("Watched, not judged: the new version fails")
        assert seconds < 10

    def test_the_rate_that_the_baseline_had_is_allowed(self) -> None:
        assert self.watched(*self.judged(), rate=0.01) == ("", 120)

    def test_the_worst_block_of_the_baseline_raises_the_limit(self) -> None:
        release = Release(JudgeConfig(min_judged=1e4, burst_block=0))
        release.run(600, weight=0.5, until_decided=False)
        calm = Watch(QUICK).learn(release.state).limits[0].rate
        release.run(60, weight=0.5, canary=0.04, baseline=0.04, until_decided=False)
        release.run(600, weight=0.5, until_decided=False)
        shocked = Watch(QUICK).learn(release.state).limits[0].rate
        assert calm < 0.016
        assert shocked > 0.035

    def test_slowness_is_watched_too(self) -> None:
        watch, state = self.judged()
        seen = watch.start(watch.learn(state))
        slow = Release(seed=9)
        for i in range(60):
            interval = Interval(i, i + 1, 1.0, {"c": slow._pod(300, 0.01, 2.5)}, {}, EDGES)
            seen = watch.update(seen, interval)
        verdict = watch.check(seen)
        assert (verdict.decision, verdict.reason) == ("rollback", "LatencyRegression")

    def test_the_new_stable_is_watched_after_promotion(self) -> None:
        watch, state = self.judged()
        seen = watch.start(watch.learn(state))
        for i in range(30):
            interval = Interval(i, i + 1, 0.0, {}, {"b": Counts(300, 30)})
            seen = watch.update(seen, interval, arm="baseline")
        assert watch.check(seen).decision == "rollback"

    def test_other_edges_are_an_error(self) -> None:
        watch, state = self.judged()
        other = Interval(0, 1, 1.0, {"c": Counts(1, 0, (1, 0))}, {}, (0.1,))
        with pytest.raises(EdgesDiffer):
            watch.update(watch.start(watch.learn(state)), other)

    def test_without_a_past_there_is_nothing_to_watch_by(self) -> None:
        watch = Watch(QUICK)
        seen = watch.start(watch.learn(Judge(QUICK).start()))
        seen = watch.update(seen, Interval(0, 1, 1.0, {"c": Counts(100, 90)}))
        assert watch.check(seen).decision == "continue"
        assert "Nothing is watched" in watch.check(seen).because


def test_updates_are_pure() -> None:
    release = Release()
    release.run(5, slower=1.0)
    state = release.state
    copy = replace(state)
    interval = Interval(9, 10, 0.1, {"c": Counts(10, 3)}, {"b": Counts(90, 1)})
    assert release.judge.update(state, interval) == release.judge.update(state, interval)
    assert state == copy
