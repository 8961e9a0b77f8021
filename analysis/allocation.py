"""Whether the mesh splits as it was told: a finding of its own, never harm.

The null is an interval, configured share times (1 - slack) to (1 + slack). Against each of its ends runs a
one-sided binomial likelihood-ratio mixture; their average is an e-process (Ramdas et al., "Testing
exchangeability", 2022, section 3: an average of e-processes is one). Counts are pooled over pods.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

SLACK: Final = 0.05
MORE: Final = (1.2, 1.5, 2.0, 4.0, 10.0)  # shares tried above the upper end, as multiples of it
LESS: Final = (0.8, 0.5, 0.2, 0.05)  # shares tried below the lower end

Wealth = tuple[float, ...]  # log likelihood ratios, MORE then LESS


def start() -> Wealth:
    """Nothing bet yet."""
    return (0.0,) * (len(MORE) + len(LESS))


def update(wealth: Wealth, share: float, canary: int, total: int) -> Wealth:
    """After `canary` of `total` requests at a configured `share` (0..1); a share of 0 or 1 proves nothing."""
    if not 0 < share < 1 or total <= 0:
        return wealth
    upper, lower = min(share * (1 + SLACK), 0.999), share * (1 - SLACK)
    tried = [(upper, min(upper * k, (1 + upper) / 2)) for k in MORE] + [(lower, lower * k) for k in LESS]
    return tuple(
        log + canary * math.log(q / p) + (total - canary) * math.log((1 - q) / (1 - p))
        for log, (p, q) in zip(wealth, tried, strict=True)
    )


def evidence(wealth: Wealth) -> float:
    """The e-value against "the share is within the slack of what was configured", at most 1e300."""
    highest = max(wealth)
    sides = (wealth[: len(MORE)], wealth[len(MORE) :])
    mean = sum(sum(math.exp(log - highest) for log in side) / len(side) for side in sides) / 2
    return math.exp(min(highest + math.log(mean), 690.0))


@dataclass(frozen=True, slots=True)
class Finding:
    """The mesh sends another share than it was told; because: one sentence with the numbers."""

    evidence: float
    because: str


def judge(wealth: Wealth, share: float, seen: float, threshold: float = 1e4) -> Finding | None:
    """A finding once the evidence reaches `threshold`: by Ville's inequality falsely once in as many runs.

    seen: the share seen in the last interval, for the sentence.
    """
    e = evidence(wealth)
    if e < threshold:
        return None
    return Finding(
        e,
        f"the canary was given {100 * share:g} % and gets {100 * seen:.1f} % of the requests "
        f"(evidence {e:.3g} against {threshold:g}): the mesh does not split as it was told",
    )
