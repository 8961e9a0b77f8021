"""Blocks over a run: whole bursts apart, fair together, and the same after a restart."""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from scipy.stats import beta

from analysis import bursts, codec
from analysis.bursts import Bursts, Tolerated
from analysis.errors import BadState
from analysis.pod_table import MOST_BASELINE_PODS, MOST_CANARY_PODS, PodCounts

Arm = Mapping[str, PodCounts]
BLOCK = 60.0
ERRORS = (Tolerated("errors", 1.0),)
EDGES = (Tolerated("errors", 1.25, 0.0005), *(Tolerated(f"slower than {i}", 1.25) for i in range(8)))


def step(
    state: Bursts,
    canary: Arm,
    baseline: Arm,
    *,
    start: float,
    seconds: float = 15.0,
    weight: float = 0.1,
    tolerated: tuple[Tolerated, ...] = ERRORS,
    burst_block: float = BLOCK,
) -> Bursts:
    return state.after(
        canary,
        baseline,
        start=start,
        end=start + seconds,
        weight=weight,
        tolerated=tolerated,
        burst_block=burst_block,
    )


def one(requests: int, bad: int) -> PodCounts:
    return (requests,), (bad,)


def arm(name: str, requests: int, *bad: int) -> Arm:
    return {f"{name}-{i}": one(requests, x) for i, x in enumerate(bad)}


def saved(state: Bursts) -> Bursts:
    return codec.decode(Bursts, json.loads(json.dumps(codec.encode(state))), "bursts")


def played(intervals: list[tuple[Arm, Arm]]) -> list[Bursts]:
    """The states after each of many intervals of 15 seconds."""
    states, state = [], Bursts()
    for i, (canary, baseline) in enumerate(intervals):
        state = step(state, canary, baseline, start=15.0 * i)
        states.append(state)
    return states


BAD = (arm("c", 1000, 40, 50), arm("b", 1000, 5, 4, 6, 5, 5, 5))
GOOD = (arm("c", 1000, 5, 5), BAD[1])


class TestBlocks:
    def test_lie_a_burst_apart_and_are_as_short_as_a_quarter_of_one(self) -> None:
        states = played([BAD] * 20)
        ends = [
            15 * (i + 1) for i in range(1, 20) if states[i].tracks[0].blocks > states[i - 1].tracks[0].blocks
        ]
        assert states[0].tracks[0].blocks == 1  # the first one ends at 15 s
        assert ends == [90, 165, 240]

    @settings(max_examples=50)
    @given(st.lists(st.tuples(st.floats(0, 40), st.floats(1, 40), st.integers(0, 400)), max_size=60))
    def test_no_burst_touches_two_blocks(self, intervals: list[tuple[float, float, int]]) -> None:
        """Whatever the gaps between intervals, their lengths and their traffic."""
        state, now, last_end = Bursts(), 1.7e9, -math.inf
        for gap, seconds, requests in intervals:
            start = now + gap
            before = state.tracks[0] if state.tracks else bursts.Track("errors")
            state = step(state, arm("c", requests, 0), arm("b", requests, 1), start=start, seconds=seconds)
            now, track = start + seconds, state.tracks[0]
            if (track.under_way or track.blocks > before.blocks) and not before.under_way:
                assert start >= last_end + BLOCK - 1e-5
            if track.blocks > before.blocks:
                last_end = now

    def test_last_longer_where_traffic_is_thin(self) -> None:
        few = arm("c", 1, 0), arm("b", 1, 0, 0)
        some = arm("c", 20, 0), arm("b", 20, 0, 0)
        first = {
            name: next(i + 1 for i, state in enumerate(played([pods] * 40)) if state.tracks[0].blocks)
            for name, pods in (("few", few), ("some", some), ("many", BAD))
        }
        assert first == {"few": 16, "some": 4, "many": 1}  # intervals of 15 seconds

    def test_only_so_many_end_at_once(self) -> None:
        """The first go first, the others an interval later."""
        pods = {"c": ((1000,) * 9, (300,) * 9)}, {"b": ((1000,) * 9, (300,) * 9)}
        state = Bursts()
        for ended in (3, 6, 9):
            state = step(state, *pods, start=5.0 * ended, tolerated=EDGES)
            assert [track.blocks for track in state.tracks] == [1] * ended + [0] * (9 - ended)

    def test_a_rise_of_the_weight_compares_what_there_is(self) -> None:
        quiet = arm("c", 20, 9), arm("b", 20, 0, 0, 0, 0, 0, 0)
        before = step(Bursts(), *quiet, start=0)
        after = step(before, *quiet, start=20, weight=0.2)
        assert before.tracks[0].blocks == 0
        assert after.tracks[0].blocks == 1
        assert after.log_evidence()["errors"] > 1
        assert not after.tracks[0].under_way
        assert after.tracks[0].since == 20 + BLOCK

    def test_a_fall_of_the_weight_throws_it_away(self) -> None:
        quiet = arm("c", 20, 9), arm("b", 20, 0, 0, 0, 0, 0, 0)
        before = step(Bursts(), *quiet, start=0)
        after = step(before, *quiet, start=20, weight=0.01)
        assert after.log_evidence() == {"errors": 0.0}
        assert not after.tracks[0].under_way
        assert after.tracks[0].since == 20 + BLOCK
        assert after.pods.requests == ()


class TestEvidence:
    def test_a_lasting_fault_is_condemned_by_the_least_number_of_blocks(self) -> None:
        first = next(
            i for i, state in enumerate(played([BAD] * 20)) if state.log_evidence()["errors"] > math.log(100)
        )
        assert 15 * (first + 1) == 90  # the second block's end

    def test_one_burst_is_one_event(self) -> None:
        """Five blocks' worth of failures in one minute prove no more than one block can."""
        worst = arm("c", 1000, 900, 900), BAD[1]
        states = played([worst] * 4 + [GOOD] * 40)
        assert max(state.log_evidence()["errors"] for state in states) <= math.log(28)

    def test_a_late_fault_is_found(self) -> None:
        states = played([GOOD] * 120 + [BAD] * 60)
        assert states[119].log_evidence()["errors"] < 0
        assert states[-1].log_evidence()["errors"] > math.log(100)

    def test_a_run_of_any_length_has_evidence(self) -> None:
        state = played([GOOD])[-1]
        state = replace(state, tracks=(replace(state.tracks[0], blocks=10**6, ratio=(0.0,) * 5),))
        assert -300 < state.log_evidence()["errors"] < 0
        assert math.isfinite(state.tracks[0].potential_needed(math.log(100)))
        assert step(state, *BAD, start=100).tracks[0].blocks == 10**6 + 1

    def test_bursts_in_the_baseline_do_not_hide_a_fault(self) -> None:
        """One pod of the baseline after the other has a burst; what is usual is what the others show."""
        rounds = [
            (arm("c", 1000, 40, 50), arm("b", 1000, *(400 if i == k else 5 for i in range(6))))
            for k in range(6)
        ]
        assert played([one for one in rounds for _ in range(5)])[-1].log_evidence()["errors"] > math.log(100)

    def test_both_tolerances_must_be_exceeded(self) -> None:
        pods = arm("c", 1000, 40, 50), arm("b", 1000, 5, 4, 6, 5, 5, 5)
        limits = (
            Tolerated("ratio", 20.0, 0.0005),
            Tolerated("delta", 1.25, 0.2),
            Tolerated("both", 1.25, 0.0005),
        )
        two = [{name: ((*n, *n, *n), (*x, *x, *x)) for name, (n, x) in one.items()} for one in pods]
        state = Bursts()
        for i in range(30):
            state = step(state, two[0], two[1], start=15.0 * i, tolerated=limits)
        found = state.log_evidence()
        assert found["ratio"] < 0
        assert found["delta"] < 0
        assert found["both"] > math.log(1e4)

    def test_the_potential_says_when_a_fault_can_have_been_proved(self) -> None:
        """Never before `potential` has grown to what was needed when the fault began, and soon after."""
        states = played([GOOD] * 40 + [BAD] * 40)
        needed = states[39].tracks[0].potential_needed(math.log(100))
        proved = next(i for i, s in enumerate(states) if s.tracks[0].evidence() >= 100)
        able = next(i for i, s in enumerate(states) if s.tracks[0].potential >= needed)
        assert able <= proved <= able + 10
        assert able > 40

    @pytest.mark.parametrize(
        "laws", [((0.9, 0.1), (0.2, 0.8)), ((0.5, 0.5), (0.5, 0.5)), ((0.99, 0.01),) * 2]
    )
    @pytest.mark.parametrize(("canary", "baseline"), [(1, 1), (1, 2), (2, 2)])
    def test_is_fair_over_three_blocks(
        self, laws: tuple[tuple[float, float], ...], canary: int, baseline: int
    ) -> None:
        """By enumeration: in each block each pod is ill by its own lot; the law of the next block may depend on
        how many were ill, and the caps are made of what the baseline showed."""
        pods = canary + baseline

        def mean(state: Bursts, law: tuple[float, float], left: int, now: float) -> float:
            if not left:
                return math.exp(state.log_evidence()["errors"])
            total = 0.0
            for ill in itertools.product((0, 1), repeat=pods):
                bad = [800 * x for x in ill]
                after = step(
                    state, arm("c", 800, *bad[:canary]), arm("b", 800, *bad[canary:]), start=now, seconds=60
                )
                chance = math.prod(law[x] for x in ill)
                total += chance * mean(after, laws[sum(ill) % len(laws)], left - 1, now + 120)
            return total

        assert mean(Bursts(), laws[0], 3 if pods < 4 else 2, 0.0) == pytest.approx(1, abs=1e-9)


class TestState:
    def test_resumes_bit_for_bit(self) -> None:
        rng = np.random.default_rng(2)
        kept, resumed = Bursts(), Bursts()
        for i in range(60):
            pods = [
                {
                    f"{name}{k}": (n, tuple(rng.binomial(n, 0.2).tolist()))
                    for k in range(size)
                    for n in [_nine(rng)]
                }
                for name, size in (("c", 2), ("b", 5))
            ]
            kept = step(kept, pods[0], pods[1], start=15.0 * i, tolerated=EDGES)
            resumed = saved(step(resumed, pods[0], pods[1], start=15.0 * i, tolerated=EDGES))
            assert resumed == kept
        assert any(track.blocks > 5 for track in kept.tracks)

    def test_fifty_pods_and_nine_proportions_are_small(self) -> None:
        rng, state, largest = np.random.default_rng(3), Bursts(), 0
        for i in range(60):
            pods = [
                {
                    f"checkout-service-7d9f8b6c5d-{name}{k:04d}": (n, tuple(rng.binomial(n, 0.001).tolist()))
                    for k in range(size)
                    for n in [tuple(rng.poisson(150, 9).tolist())]
                }
                for name, size in (("c", 10), ("b", 40))
            ]
            state = step(state, pods[0], pods[1], start=15.0 * i, tolerated=EDGES)
            largest = max(largest, len(json.dumps(codec.encode(state))))
            assert len(state.pods.canary) <= MOST_CANARY_PODS
            assert len(state.pods.baseline) <= MOST_BASELINE_PODS
        assert 2000 < largest < 5 * 1024

    @pytest.mark.parametrize(
        ("field", "garble"),
        [
            ("bursts.pods.requests", lambda s: replace(s, pods=replace(s.pods, requests=s.pods.requests[1:]))),
            ("bursts.pods.bad[0]", lambda s: replace(s, pods=replace(s.pods, bad=((), *s.pods.bad[1:])))),
            ("bursts.pods.bad[1]", lambda s: replace(s, pods=replace(s.pods, bad=((0,), (-1,), *s.pods.bad[2:])))),
            ("bursts.tracks[0].ratio", lambda s: replace(s, tracks=(replace(s.tracks[0], ratio=(1.0, 2.0)),))),
            ("bursts.tracks[0].difference", lambda s: replace(s, tracks=(replace(s.tracks[0], difference=(-1.0,) * 5),))),
            ("bursts.tracks[0]", lambda s: replace(s, tracks=(replace(s.tracks[0], blocks=-1),))),
            ("bursts.tracks[0]", lambda s: replace(s, tracks=(replace(s.tracks[0], bad=1e9),))),
        ],
    )  # fmt: skip
    def test_garbage_is_named(self, field: str, garble: Callable[[Bursts], Bursts]) -> None:
        state = step(played([BAD] * 6)[-1], *BAD, start=150, seconds=5)
        assert state.pods.requests
        state.check("bursts")
        with pytest.raises(BadState) as caught:
            garble(state).check("bursts")
        assert caught.value.field == field

    def test_pods_without_names_prove_nothing(self) -> None:
        unknown: Arm = {"": one(1000, 500)}
        state = step(Bursts(), *BAD, start=0, seconds=5)
        for canary, baseline in ((unknown, BAD[1]), (BAD[0], unknown), (unknown, unknown)):
            after = step(state, canary, baseline, start=5, seconds=60)
            assert not after.pods_known
            assert replace(after, pods_known=True) == state
        assert step(after, *BAD, start=65).pods_known

    def test_proportions_come_and_go(self) -> None:
        state = step(Bursts(), *BAD, start=0)
        proved = state.log_evidence()["errors"]
        assert proved > 1
        other = (Tolerated("slow", 1.0),)
        for i in range(1, 8):
            state = step(state, *BAD, start=15.0 * i, tolerated=other)
        assert state.log_evidence()["errors"] == proved
        assert state.log_evidence()["slow"] > 1
        state = step(state, *BAD, start=120, tolerated=(Tolerated("errors", 1.0, 0.001),))
        state = step(state, *BAD, start=200, tolerated=ERRORS)
        assert math.isfinite(state.log_evidence()["errors"])


def _nine(rng: np.random.Generator) -> tuple[int, ...]:
    return tuple(rng.poisson(200, 9).tolist())


NAMES = st.sampled_from(["", "a", "b", "c", "d", "é" * 40, *(f"pod-{i}" for i in range(30))])
COUNTS = st.one_of(st.integers(0, 5), st.integers(0, 10**4), st.integers(0, 10**13))


@st.composite
def any_arm(draw: st.DrawFn) -> Arm:
    names = draw(st.one_of(st.sets(NAMES, max_size=3), st.sets(NAMES, max_size=30)))
    pods = {}
    for name in sorted(names):
        requests = (draw(COUNTS), draw(COUNTS))
        pods[name] = requests, tuple(draw(st.integers(0, n)) for n in requests)
    return pods


@settings(max_examples=100)
@given(
    st.lists(
        st.tuples(
            any_arm(), any_arm(), st.floats(-30, 200), st.floats(0.1, 300), st.sampled_from([0, 0.01, 0.5, 1])
        ),
        max_size=12,
    ),
    st.sampled_from([0.0, 1.0, 60.0]),
    st.sampled_from([None, 0.0, 0.01, 0.5]),
)
def test_nothing_that_pods_do_makes_an_update_fail(
    intervals: list[tuple[Arm, Arm, float, float, float]], burst_block: float, delta: float | None
) -> None:
    state, now = Bursts(), 0.0
    limits = (Tolerated("errors", 1.25, delta), Tolerated("slow", 1.0))
    for canary, baseline, gap, seconds, weight in intervals:
        state = step(
            state, canary, baseline, start=now + gap, seconds=seconds, weight=weight, tolerated=limits,
            burst_block=burst_block,
        )  # fmt: skip
        now += gap + seconds
        assert saved(state) == state
        for track in state.tracks:
            assert 0 < track.evidence() < math.inf
            assert track.evidence() <= math.exp(track.potential) * (1 + 1e-9)


class TestSimulated:
    """1,000 releases of half an hour at once, as proportions of one run; the large simulation is in tests/bench."""

    RUNS = 1000

    def play(
        self,
        monkeypatch: pytest.MonkeyPatch,
        arms: tuple[int, int],
        rate: float,
        lift: float,
        *,
        every: float,
    ) -> NDArray[np.float64]:
        """Seconds until E was 100; pods have bursts of 10-60 s every so many seconds, in which 30 % fail."""
        monkeypatch.setattr(bursts, "AT_ONCE", self.RUNS)
        rng = np.random.default_rng(7)
        pods, seconds = sum(arms), 1800
        tolerated = tuple(Tolerated(str(run), 1.0) for run in range(self.RUNS))
        begin = rng.uniform(-60, seconds, (int(seconds / every) + 1, pods, self.RUNS))
        end = begin + rng.uniform(10, 60, begin.shape)
        rates = np.where(np.arange(pods) < arms[0], lift * rate, rate)[:, None]
        state, hit = Bursts(), np.full(self.RUNS, math.inf)
        for now in np.arange(0.0, seconds, 15):
            share = np.clip(np.minimum(end, now + 15) - np.maximum(begin, now), 0, 15).sum(axis=0) / 15
            requests = rng.poisson(125, (pods, self.RUNS))
            bad = rng.binomial(requests, rates + np.minimum(share, 1) * np.maximum(0.3 - rates, 0))
            named = {str(pod): (requests[pod].tolist(), bad[pod].tolist()) for pod in range(pods)}
            canary = {pod: named[pod] for pod in list(named)[: arms[0]]}
            baseline = {pod: named[pod] for pod in list(named)[arms[0] :]}
            state = step(state, canary, baseline, start=now, tolerated=tolerated)
            reached = np.array([track.evidence() for track in state.tracks]) >= 100
            hit[reached & np.isinf(hit)] = now + 15
        return hit

    @pytest.mark.parametrize("arms", [(1, 1), (1, 6), (2, 6)])
    def test_bursts_condemn_no_more_than_they_may(
        self, monkeypatch: pytest.MonkeyPatch, arms: tuple[int, int]
    ) -> None:
        found = int(np.isfinite(self.play(monkeypatch, arms, 0.005, 1, every=300)).sum())
        assert beta.ppf(0.975, found + 1, self.RUNS - found) <= 0.013, found

    @pytest.mark.parametrize(("arms", "median"), [((1, 1), 960), ((1, 6), 540), ((2, 6), 300), ((2, 3), 450)])
    def test_a_fivefold_error_rate_is_condemned(
        self, monkeypatch: pytest.MonkeyPatch, arms: tuple[int, int], median: float
    ) -> None:
        hit = self.play(monkeypatch, arms, 0.005, 5, every=3600)
        assert np.median(hit) <= median
