"""The judges that the arena knows, by name."""

from __future__ import annotations

from typing import Final

from analysis import JudgeConfig
from analysis.arena.argo import Argo
from analysis.arena.canaryd import Canaryd, standard_ladder
from analysis.arena.contender import Contender
from analysis.arena.flagger import Flagger
from analysis.arena.kayenta import Kayenta
from analysis.arena.oracle import Oracle
from analysis.arena.scenario import Scenario
from analysis.arena.significance import Significance, fisher, z_test

NAMES: Final = ("canaryd", "flagger", "argo", "kayenta", "z-test", "fisher", "oracle")
BOUNDED: Final = frozenset({"canaryd", "oracle"})  # those that state a bound, alpha, on false rollbacks


def enter(name: str, scenario: Scenario, config: JudgeConfig) -> Contender:
    """A judge at the start of a release. config: canaryd's own, and what the oracle holds for harm."""
    match name:
        case "canaryd":
            return Canaryd(config, standard_ladder(scenario))
        case "flagger":
            return Flagger(scenario)
        case "argo":
            return Argo()
        case "kayenta":
            return Kayenta(scenario)
        case "z-test":
            return Significance(z_test)
        case "fisher":
            return Significance(fisher)
        case "oracle":
            return Oracle(scenario, config)
    raise ValueError(f"{name!r} is no judge; there are {', '.join(NAMES)}")
