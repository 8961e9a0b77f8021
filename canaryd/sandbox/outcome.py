"""What came of a release: what users saw, which weights were written, how it ended."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.load import Report as LoadReport

ROLES = ("stable", "canary")
# Envoy's flags of answers that it made itself: no cluster, no healthy endpoint, no route, no connection.
ENVOYS_OWN = {"NC", "UH", "NR", "UF"}


@dataclass(frozen=True, slots=True)
class Users:
    """What users saw since a moment: requests and failures by the role of the pod that answered, and failures
    that no pod answered, by kind ("503 NC": Envoy's own; "timeout": none at all)."""

    requests: Mapping[str, int]
    failed: Mapping[str, int]
    unanswered: Mapping[str, int]

    @classmethod
    def between(cls, before: LoadReport, after: LoadReport) -> Users:
        """What happened after `before`."""

        def since(count: str, role: str) -> int:
            reports = ((after, 1), (before, -1))
            return sum(sign * int(getattr(r.roles[role], count)) for r, sign in reports if role in r.roles)

        kinds = {kind: count - before.failures.get(kind, 0) for kind, count in after.failures.items()}
        return cls(
            {role: since("requests", role) for role in ROLES},
            {role: since("failed", role) for role in ROLES},
            {kind: count for kind, count in kinds.items() if count and not kind.isdigit()},
        )


NOBODY = Users(dict.fromkeys(ROLES, 0), dict.fromkeys(ROLES, 0), {})


@dataclass(frozen=True, slots=True)
class Moment:
    """What a watcher sees: the run, and what users saw since the release began."""

    seconds: float
    run: Json
    users: Users


@dataclass(frozen=True, slots=True)
class Ending:
    """How one run ended."""

    run: str
    outcome: str
    reason: str
    because: str


@dataclass(frozen=True, slots=True)
class Report:
    """What came of a scenario: the fields of `canaryd demo --json`, and what tests look at besides.

    Times are in seconds since the new version was released. expected: it ended as it should, and left
    nothing behind. runs: every run that it took, the earliest first. judged_to: the scrape up to which
    evidence was taken in. misrouted: requests that the canary got beyond its share, or that an unproven
    revision answered otherwise.
    """

    scenario: str
    outcome: str
    reason: str
    because: str
    seconds: float
    weights: list[tuple[float, int]]
    requests: dict[str, int]
    failed: dict[str, int]
    excess_failed: float
    restored: bool
    expected: bool
    unanswered: dict[str, int] = field(default_factory=dict)
    misrouted: list[str] = field(default_factory=list)
    violations: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)
    runs: list[Ending] = field(default_factory=list)
    judged_to: float | None = None

    @property
    def highest_weight(self) -> int:
        """Percent."""
        return max((weight for _, weight in self.weights), default=0)

    @property
    def retreats(self) -> int:
        """How often the canary's weight fell, and not to nought."""
        weights = [weight for _, weight in self.weights]
        return sum(0 < after < before for before, after in itertools.pairwise(weights))

    @property
    def seconds_to_protect(self) -> float | None:
        """From the scrape that carried the last evidence to the 100/0 write; None where there was none."""
        falls = [at for at, weight in self.weights if weight == 0]
        if self.judged_to is None or not falls or self.highest_weight == 0:
            return None
        return round(falls[-1] - self.judged_to, 2)

    @property
    def envoys_own(self) -> dict[str, int]:
        """Failures that Envoy made itself because it had nowhere to send to."""
        kinds = self.unanswered.items()
        return {kind: count for kind, count in kinds if ENVOYS_OWN & set(kind.replace(",", " ").split())}

    def to_json(self) -> dict[str, Any]:
        """JSON-able."""
        return asdict(self)


def weight_of(vs: Json) -> int:
    """The canary's weight in a VirtualService, in percent; 0 where no route has one."""
    return max(
        (
            entry.get("weight") or 0
            for route in vs["spec"].get("http") or []
            for entry in route.get("route") or []
            if entry["destination"].get("subset") == "canary"
        ),
        default=0,
    )


def excess(users: Users) -> float:
    """Failed requests beyond the baseline's rate: the canary's, and those that no pod answered."""
    stable = users.requests["stable"]
    rate = users.failed["stable"] / stable if stable else 0.0
    canary = users.failed["canary"] - rate * users.requests["canary"]
    return round(canary + sum(users.unanswered.values()), 1)


def ending(run: Json) -> Ending:
    """How a CanaryRun stands."""
    status = run.get("status") or {}
    return Ending(
        run["metadata"]["name"],
        status.get("phase", ""),
        status.get("reason", ""),
        status.get("because", ""),
    )
