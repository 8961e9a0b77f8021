"""A plan of a release: the ladder and the traffic that it is made for, and what it says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from analysis.expected import Truth
from analysis.slowness import shifted

LIFTS: Final = (1.5, 2.0, 5.0, 10.0)
RATES: Final = (0.001, 0.005, 0.02, 0.1)  # instead of lifts, where nothing fails yet
SURE: Final = 0.9  # "would be noticed": in nine of ten releases


@dataclass(frozen=True, slots=True)
class Ladder:
    """How a release climbs; shares 0..1, times in seconds.

    weights: rising, the last 1; last_judged: the weight at which safety must be shown; step_min: least time
    judged at a step; harm_budget: requests that a fault still possible may fail at a rise; interval: between
    two readings; before: from the start of the run to the first weight; shift: at a new weight before it is
    judged; exposure: seconds of the next step's traffic that a rise puts at risk; lag: from the end of an
    interval to what is done about it.
    """

    weights: tuple[float, ...]
    last_judged: float
    step_min: float
    harm_budget: float
    interval: float
    before: float = 0.0
    shift: float = 0.0
    exposure: float = 0.0
    lag: float = 0.0

    @property
    def judged(self) -> tuple[float, ...]:
        """The weights at which canary and baseline are compared."""
        return tuple(weight for weight in self.weights if weight <= self.last_judged)


@dataclass(frozen=True, slots=True)
class Traffic:
    """What the running version gets: requests per second, its rate of errors 0..1, and, by the edges of the
    latency histogram (seconds), the shares of its successful requests that are slower."""

    rps: float
    error_rate: float
    edges: tuple[float, ...] = ()
    slower: tuple[float, ...] = ()

    def truth(self, canary: float | None = None, shift: float = 1.0) -> Truth:
        """With a canary whose rate of errors is `canary` (None: the baseline's), and `shift` times as slow."""
        slower = shifted(self.edges, self.slower, shift) if shift != 1 else self.slower
        return Truth(self.error_rate if canary is None else canary, self.error_rate, slower, self.slower)


@dataclass(frozen=True, slots=True)
class Noticed:
    """A fault, and what becomes of it.

    lift: its ratio to the baseline's rate (None where that is 0); rate: the canary's error rate; harmful:
    beyond both tolerances; chance: that it is noticed before the deadline and before the promotion; seconds:
    until then, in the mean, from the first request that it could fail (None where the chance is below 1/2);
    failed: requests failed beyond the baseline's rate until then, in the mean over all runs, to the deadline
    where it is not noticed; weight: the step at which half of what is noticed has been (0: never); promoted: the
    chance that it is promoted first.
    """

    lift: float | None
    rate: float
    harmful: bool
    chance: float
    seconds: float | None
    failed: float
    weight: float = 0.0
    promoted: float = 0.0


@dataclass(frozen=True, slots=True)
class Step:
    """One step for a harmless release, and what would be noticed at it.

    seconds: that it lasts in the mean (None: beyond the deadline); because: what it waits for, one of
    "step-min", "requests", "harm-budget", "min-judged", a metric of `shown_safe`, "watched" above the judged
    steps, or "not reached"; requests: of the canary that are judged at it; least_rate, least_shift: the smallest
    error rate of the canary, and the smallest factor on all its latencies, that would be noticed at it in nine of
    ten releases if it came up there (None: none would); faults: what becomes of faults of the size LIFTS that
    come up at this step if the release stays there.
    """

    weight: float
    judged: bool
    seconds: float | None
    because: str
    requests: float = 0.0
    least_rate: float | None = None
    least_shift: float | None = None
    faults: tuple[Noticed, ...] = ()


@dataclass(frozen=True, slots=True)
class Promotion:
    """A harmless release: the chance that it is shown to be safe before the deadline, and when.

    seconds, late: from the start of the run to the last step's end, in the mean and for nine of ten (None:
    not before the deadline); because: what the last judged step waits for.
    """

    chance: float
    seconds: float | None
    late: float | None
    because: str

    @property
    def likely(self) -> bool:
        """Whether nine of ten harmless releases are promoted before the deadline."""
        return self.chance >= SURE


@dataclass(frozen=True, slots=True)
class Plan:
    """What a policy sees at this traffic. tolerated: the greatest error rate of a canary that is no harm;
    faults: there from the first request on; least_rate, least_shift: as in Step, of such faults, over the run."""

    steps: tuple[Step, ...]
    faults: tuple[Noticed, ...]
    promotion: Promotion
    tolerated: float
    least_rate: float | None
    least_shift: float | None
