"""The stories that the demo tells and the end-to-end tests check, each a fault and how it must end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType

# Slow enough that a busy machine does not look like a slow version. 1.4 % take longer than 250 ms, a bound of
# Istio's histogram: the judge compares only at bounds that the first few hundred requests exceed.
BASE: Mapping[str, str] = MappingProxyType(
    {"ERROR_RATE": "0.01", "LATENCY_MEDIAN_MS": "80", "LATENCY_SIGMA": "0.52"}
)
POLICY = "demo"
_SERVED = 'istio_requests_total{reporter="destination", namespace="$namespace", pod=~"$pods"'
# Steps of seconds instead of minutes, and tolerances that some ten thousand requests can decide.
POLICIES: Mapping[str, Mapping[str, object]] = MappingProxyType(
    {
        POLICY: {
            "extends": "fast",
            "steps": "1,2,5,10,25,50,100",
            "step-min": "3s",
            "deadline": "150s",
            "ready-timeout": "20s",
            "warm-up": "1s",
            "min-judged": "10s",
            "safe-error-ratio": 2.0,
            "safe-error-delta": 0.01,
            "blind-limit": "10s",
            "drain-limit": 0,
            "harm-budget": 8,
            # The application's errors are independent of each other: an alarm is no burst.
            "burst-block": 0,
        },
        # What is no error to the mesh, and yet must not become more.
        "rejections": {
            "extends": POLICY,
            "metrics": {
                "rejected": {
                    "bad": f'sum by (pod) ({_SERVED}, response_code="409"}})',
                    "total": f"sum by (pod) ({_SERVED}}})",
                    "weight": 0.2,
                }
            },
        },
    }
)


# Where errors come in bursts: an alarm is waited out on the lowest rung, which has traffic enough to tell, and what
# the burst has spoilt counts until much more traffic has gone well.
BURSTS: Mapping[str, str] = MappingProxyType(
    {"burst-block": "10s", "steps": "5,10,25,50,100", "deadline": "6m", "harm-budget": "20"}
)


@dataclass(frozen=True, slots=True)
class Deed:
    """Something that happens once the canary has reached `weight`; `lasts` seconds later it is undone."""

    weight: int
    name: str
    lasts: float = 0.0


@dataclass(frozen=True, slots=True)
class Scenario:
    """One release: what is wrong with the new version, what happens meanwhile, how it must end."""

    name: str
    summary: str
    outcome: str  # Succeeded, RolledBack or Holding
    reasons: tuple[str, ...]  # one of these
    env: Mapping[str, str] = field(default_factory=dict)
    deeds: tuple[Deed, ...] = ()
    policy: Mapping[str, str] = field(default_factory=dict)  # annotations without their prefix
    earlier: tuple[str, ...] = ()  # how runs ended that were not the last
    traffic: bool = True
    timeout: float = 240.0

    def release(self) -> dict[str, str]:
        """The environment of the new version."""
        return {**BASE, **self.env}


def _named(scenarios: tuple[Scenario, ...]) -> Mapping[str, Scenario]:
    return MappingProxyType({scenario.name: scenario for scenario in scenarios})


SCENARIOS = _named(
    (
        Scenario("healthy", "a good version", "Succeeded", ("Promoted",)),
        Scenario(
            "errors", "five times the errors", "RolledBack", ("ErrorRateRegression",), {"ERROR_RATE": "0.05"}
        ),
        Scenario(
            "subtle",
            "twice the errors",
            "RolledBack",
            ("ErrorRateRegression",),
            {"ERROR_RATE": "0.02"},
            # The demo's own tolerances call twice the errors nearly harmless, for the sake of speed.
            policy={
                "max-error-ratio": "1.25",
                "max-error-delta": "0.0005",
                "safe-error-ratio": "1.6",
                "safe-error-delta": "0.004",
                "deadline": "4m",
            },
            timeout=300.0,
        ),
        Scenario(
            "late",
            "ten times the errors, from 25 % on",
            "RolledBack",
            ("ErrorRateRegression",),
            deeds=(Deed(25, "fault"),),
        ),
        Scenario(
            "latency",
            "one answer in twenty takes 400 ms longer",
            "RolledBack",
            ("LatencyRegression",),
            {"SLOW_SHARE": "0.05", "SLOW_MS": "400"},
        ),
        Scenario(
            "rejects",
            "one request in twenty is answered 409, which only a metric of the policy counts",
            "RolledBack",
            ("MetricRegression",),
            {"REJECT_RATE": "0.05"},
            policy={"policy": "rejections"},
        ),
        Scenario(
            "crash",
            "the process dies after some requests",
            "RolledBack",
            ("CanaryNotReady",),
            {"CRASH_AFTER_REQUESTS": "60"},
        ),
        Scenario(
            "shock",
            "both versions fail alike for a while",
            "Succeeded",
            ("Promoted",),
            deeds=(Deed(5, "shock", 4.0), Deed(25, "shock", 4.0)),
        ),
        Scenario(
            "burst",
            "one new pod fails half of its requests for 10 s",
            "Succeeded",
            ("Promoted",),
            deeds=(Deed(10, "burst", 10.0),),
            policy=BURSTS,
            timeout=420.0,
        ),
        Scenario(
            "lasting",
            "ten times the errors from 10 % on, where bursts are known",
            "RolledBack",
            ("ErrorRateRegression",),
            deeds=(Deed(10, "fault"),),
            policy=BURSTS,
            timeout=420.0,
        ),
        Scenario(
            "no-traffic",
            "nobody asks",
            "Holding",
            ("Inconclusive",),
            policy={"deadline": "60s"},
            traffic=False,
        ),
        Scenario(
            "prometheus-outage",
            "Prometheus is away for 15 s",
            "Succeeded",
            ("Promoted",),
            deeds=(Deed(10, "outage", 15.0),),
        ),
        Scenario(
            "superseded",
            "a newer version arrives half way",
            "Succeeded",
            ("Promoted",),
            deeds=(Deed(10, "newer"),),
            earlier=("Superseded",),
        ),
        Scenario(
            "drift",
            "somebody edits the weights",
            "Succeeded",
            ("Promoted",),
            deeds=(Deed(10, "edit"),),
        ),
    )
)
