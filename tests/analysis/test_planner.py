"""Plans: what follows from the policy and the traffic, whatever the constants are."""

from __future__ import annotations

import dataclasses
from dataclasses import replace

import pytest

from analysis import JudgeConfig
from analysis.plan import LIFTS, RATES, Ladder, Traffic
from analysis.planner import Planner
from analysis.remedies import TOLERANCES, narrowest_tolerances, remedies
from analysis.slowness import ISTIO_EDGES, lognormal

LATENCY = lognormal(ISTIO_EDGES, 0.06, 0.4)
LADDER = Ladder(
    weights=(0.01, 0.02, 0.05, 0.1, 0.25, 0.5, 1.0),
    last_judged=0.5,
    step_min=60.0,
    harm_budget=10.0,
    interval=15.0,
    before=60.0,
    shift=45.0,
    exposure=45.0,
    lag=7.5,
)


def planner(
    rps: float = 100.0, error_rate: float = 0.01, *, latency: bool = False, **config: float
) -> Planner:
    known = (ISTIO_EDGES, LATENCY) if latency else ((), ())
    return Planner(replace(JudgeConfig(), **config), LADDER, Traffic(rps, error_rate, *known))  # type: ignore[arg-type]


def test_a_plan_has_every_step_and_every_fault() -> None:
    plan = planner(latency=True).plan()
    assert [step.weight for step in plan.steps] == list(LADDER.weights)
    assert [step.judged for step in plan.steps] == [True] * 6 + [False]
    assert [fault.lift for fault in plan.faults] == list(LIFTS)
    assert plan.promotion.likely
    judged = [step for step in plan.steps if step.judged]
    assert all(step.seconds is not None and step.seconds >= 105 for step in judged)
    assert all(len(step.faults) == len(LIFTS) for step in judged)
    total = LADDER.before + sum(step.seconds or 0 for step in plan.steps)
    assert plan.promotion.seconds == pytest.approx(total, abs=15)


def test_a_higher_weight_notices_less_and_sooner_and_costs_more_per_second() -> None:
    steps = [step for step in planner(1000.0, latency=True).plan().steps if step.judged]
    for lower, higher in ((steps[0], steps[2]), (steps[2], steps[5])):
        assert (lower.least_shift or 99) > (higher.least_shift or 99)
        for before, after in zip(lower.faults, higher.faults, strict=True):
            assert (after.seconds or 0) < (before.seconds or 1e9)


def test_a_larger_fault_is_noticed_sooner_and_more_surely() -> None:
    faults = planner().plan().faults
    assert [fault.chance for fault in faults] == sorted(fault.chance for fault in faults)
    seconds = [fault.seconds for fault in faults if fault.seconds is not None]
    assert seconds == sorted(seconds, reverse=True)


def test_more_traffic_notices_smaller_faults_and_promotes_sooner() -> None:
    thin, thick = planner(20.0, latency=True).plan(), planner(200.0, latency=True).plan()
    assert thin.least_rate is not None and thick.least_rate is not None
    assert thick.tolerated < thick.least_rate < thin.least_rate
    assert thin.least_shift is not None and thick.least_shift is not None
    assert thick.least_shift < thin.least_shift
    assert (thick.promotion.seconds or 0) < (thin.promotion.seconds or 0)


@pytest.mark.parametrize(("error_rate", "tolerated"), [(0.0, 0.0005), (0.0001, 0.0006), (0.1, 0.1219512)])
def test_what_keeps_either_tolerance_is_no_harm(error_rate: float, tolerated: float) -> None:
    assert planner(error_rate=error_rate).tolerated == pytest.approx(tolerated)


def test_a_tolerated_fault_is_called_so_and_not_noticed() -> None:
    plan = planner(1000.0, 0.0001).plan()
    assert [fault.harmful for fault in plan.faults] == [False, False, False, True]
    assert all(fault.chance <= 0.01 for fault in plan.faults if not fault.harmful)


def test_without_any_errors_faults_are_rates() -> None:
    plan = planner(error_rate=0.0).plan()
    assert [(fault.lift, fault.rate) for fault in plan.faults] == [(None, rate) for rate in RATES]
    assert all(fault.chance > 0.95 for fault in plan.faults)
    assert plan.promotion.likely


def test_a_release_beyond_what_is_safe_is_promoted_with_chance_beta_at_most() -> None:
    plan = planner(30.0, 0.002).plan()
    assert all(fault.promoted <= 0.05 for fault in plan.faults if fault.rate >= 0.003)


def test_a_fault_cannot_fail_more_requests_than_there_are() -> None:
    plan = planner(error_rate=0.3).plan()
    assert [fault.lift for fault in plan.faults] == [1.5, 2.0]


def test_without_latencies_no_shift_is_noticed() -> None:
    plan = planner().plan()
    assert plan.least_shift is None
    assert not any(step.least_shift for step in plan.steps)
    assert planner(latency=True, latency_weight=0.0).plan().least_shift is None


def test_what_the_last_step_waits_for_is_named() -> None:
    assert planner(2000.0, min_judged=0.0).plan().steps[5].because == "step-min"
    assert planner(2000.0, min_judged=3600.0).plan().steps[5].because == "min-judged"
    assert planner(10.0).plan().steps[5].because == "errors"
    slow = {"slow_safe_ratio": 1.26, "slow_safe_delta": 1e-5, "horizon": 86400.0}
    strict = planner(5.0, 0.02, latency=True, safe_ratio=20.0, safe_delta=0.5, **slow)
    assert strict.promotion()[1].because.startswith("latency at 0.")


def test_a_step_waits_for_the_harm_budget_and_for_requests() -> None:
    assert planner(500.0, 0.02).plan().steps[0].because == "harm-budget"
    assert planner(0.5, 0.01).plan().steps[0].because == "requests"


def test_a_ladder_that_cannot_rise_says_where_it_stays() -> None:
    plan = planner(1000.0, 0.02, harm_ratio=1.0, harm_delta=0.0).plan()
    assert (plan.promotion.chance, plan.promotion.because) == (0.0, "harm-budget")
    stuck = next(step for step in plan.steps if step.seconds is None)
    assert stuck.because == "harm-budget"
    assert [step.because for step in plan.steps if step.weight > stuck.weight][:1] == ["not reached"]


def test_with_hardly_any_traffic_nothing_is_decided_and_nothing_breaks() -> None:
    plan = planner(0.001, 0.01, latency=True).plan()
    assert (plan.promotion.chance, plan.promotion.seconds) == (0.0, None)
    assert all(fault.seconds is None for fault in plan.faults)
    assert all(step.least_rate is None for step in plan.steps)


def test_a_deadline_before_the_first_judged_interval_reaches_no_step() -> None:
    plan = planner(horizon=60.0).plan()
    assert {step.because for step in plan.steps} == {"not reached", "watched"}
    assert plan.promotion.chance == 0


@pytest.mark.parametrize("rps", [0.5, 2.0, 5.0])
def test_each_remedy_is_one_change_and_makes_the_policy_decide(rps: float) -> None:
    before = planner(rps, 0.002, latency=True)
    assert not before.promotion()[1].likely
    found = remedies(before)
    assert found
    for remedy in found:
        assert remedy.planner.promotion()[1].likely
        assert remedy.promotion.seconds is not None
        changed = [
            name
            for name in ("config", "ladder", "traffic")
            if getattr(remedy.planner, name) != getattr(before, name)
        ]
        assert len(changed) == 1
        harm = ("harm_ratio", "harm_delta", "slow_ratio", "alpha", "beta")
        assert all(getattr(remedy.planner.config, knob) == getattr(before.config, knob) for knob in harm)


def test_what_decides_already_needs_no_remedy() -> None:
    assert remedies(planner(100.0)) == []


def test_a_harm_budget_that_is_too_small_is_what_is_changed() -> None:
    before = planner(1000.0, 0.02, harm_ratio=1.0, harm_delta=0.0)
    budgets = [remedy.planner.ladder.harm_budget for remedy in remedies(before)]
    assert max(budgets) > LADDER.harm_budget


def test_safe_tolerances_follow_traffic() -> None:
    chosen = [narrowest_tolerances(planner(rps, 0.002)) for rps in (0.1, 2.0, 5.0, 30.0)]
    assert chosen[0] is None
    assert chosen[-1] == TOLERANCES[0]
    places = [TOLERANCES.index(pair) for pair in chosen[1:] if pair is not None]
    assert places == sorted(places, reverse=True)
    assert len(set(places)) > 1


def test_only_tolerances_above_what_is_harm_are_considered() -> None:
    wide = planner(100.0, harm_ratio=1.6, harm_delta=0.003, safe_ratio=3.0, safe_delta=0.01)
    assert narrowest_tolerances(wide) == (2.0, 0.005)


def test_a_plan_is_plain_data() -> None:
    raw = dataclasses.asdict(planner().plan())
    assert raw["promotion"]["because"]
    assert all(type(step["seconds"]) in (float, type(None)) for step in raw["steps"])
    assert type(raw["promotion"]["late"]) is float
