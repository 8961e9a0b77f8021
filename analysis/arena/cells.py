"""Cells: one judge on many releases of one scenario, summed up with exact limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from scipy.special import betaincinv

from analysis import JudgeConfig
from analysis.arena.judges import BOUNDED
from analysis.arena.runs import Outcome
from analysis.arena.scenario import Scenario
from analysis.arena.truth import errors_harmful, harm_floor, is_harmful, is_unsafe, pod_ratio_needed

FIELDS: Final = (
    "judge", "scenario", "params", "harmless", "runs", "false_rollback", "detected", "false_promote", "inconclusive",
    "excess_failed_mean", "floor", "information_ratio", "seconds_to_protect", "seconds_to_rollback", "seconds_to_promote",
)  # fmt: skip

Limits = list[float]  # rate, lower and upper 95 % limit


@dataclass(frozen=True, slots=True)
class Cell:
    """What is to be played. name: of the scenario, its kind first."""

    judge: str
    name: str
    scenario: Scenario
    runs: int

    @property
    def config(self) -> JudgeConfig:
        """The judge's defaults, with the release's deadline as horizon."""
        return JudgeConfig(horizon=min(max(self.scenario.deadline, 60.0), 7 * 86400.0))

    @property
    def harmless(self) -> bool:
        """By the tolerance pair."""
        return not is_harmful(self.scenario, self.config)


def summarise(cell: Cell, outcomes: Sequence[Outcome], alpha: float | None) -> dict[str, Any]:
    """The JSON object of a cell, with the fields of FIELDS.

    alpha: the judge's level where it is known, for the floor. false_rollback is that of harmless releases,
    detected that of harmful ones (a retreat or a rollback after the fault began); false_promote is None where a
    promotion is no mistake. Seconds count from the start, to protect and to roll back from the fault's onset;
    quantiles are over all runs, None where so few got there.
    """
    runs, config, scenario = len(outcomes), cell.config, cell.scenario
    harmless, onset = cell.harmless, scenario.onset
    rolled_back = [one.ended for one in outcomes if one.end == "rollback"]
    protected = [one.protected for one in outcomes if one.protected is not None]
    promoted = [one.ended for one in outcomes if one.end == "promote"]
    missed = 1 - len(protected) / runs
    measured = scenario.independent and errors_harmful(scenario, config) and cell.judge in BOUNDED
    information = math.fsum(one.information for one in outcomes) / runs
    return {
        "judge": cell.judge,
        "scenario": cell.name,
        "params": _params(scenario, config),
        "harmless": harmless,
        "runs": runs,
        "false_rollback": clopper_pearson(len(rolled_back), runs) if harmless else None,
        "detected": None if harmless else clopper_pearson(len(protected), runs),
        "false_promote": len(promoted) / runs if is_unsafe(scenario, config) else None,
        "inconclusive": sum(one.end == "deadline" for one in outcomes) / runs,
        "excess_failed_mean": math.fsum(one.excess_failed for one in outcomes) / runs,
        "floor": None if alpha is None else harm_floor(scenario, config, alpha, missed),
        "information_ratio": information / -math.log(config.alpha) if measured else None,
        "seconds_to_protect": _quantiles([moment - onset for moment in protected], runs),
        "seconds_to_rollback": _quantiles([moment - onset for moment in rolled_back], runs),
        "seconds_to_promote": _quantiles(promoted, runs),
    }


def level(cell: Cell, played: Mapping[Cell, Sequence[Outcome]]) -> float | None:
    """The judge's chance of a false rollback: what it states, or what its harmless twin showed; else None."""
    if cell.judge in BOUNDED:
        return cell.config.alpha
    harmless = replace(cell.scenario, lift=1.0, slower=1.0, tail=0.0, onset=0.0)
    for twin, outcomes in played.items():
        if twin.judge == cell.judge and twin.scenario == harmless:
            return (sum(one.end == "rollback" for one in outcomes) + 0.5) / (len(outcomes) + 1)
    return None


def clopper_pearson(successes: int, runs: int) -> Limits:
    """The rate of successes with its exact two-sided 95 % limits."""
    low = float(betaincinv(successes, runs - successes + 1, 0.025)) if successes else 0.0
    high = float(betaincinv(successes + 1, runs - successes, 0.975)) if successes < runs else 1.0
    return [successes / runs, low, high]


def _params(scenario: Scenario, config: JudgeConfig) -> dict[str, Any]:
    params = scenario.to_json()
    if scenario.pod_sigma:
        needed = pod_ratio_needed(
            scenario.pod_sigma, scenario.canary_pods, scenario.baseline_pods, config.alpha
        )
        params["harm_ratio_needed"] = needed if math.isfinite(needed) else None
    return params


def _quantiles(seconds: Sequence[float], runs: int) -> dict[str, float | None]:
    ordered = sorted(seconds)
    ranks = {"median": math.ceil(0.5 * runs) - 1, "p95": math.ceil(0.95 * runs) - 1}
    return {name: ordered[rank] if rank < len(ordered) else None for name, rank in ranks.items()}
