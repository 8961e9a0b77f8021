"""Which requests an unproven revision answered, and whether it was the canary's share (invariant I8).

What no log of writes can show: only the answers do. Every answer names its pod and the pod's role.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from canaryd.sandbox.load.report import LogRow

_IMPROBABLE = (
    16.0  # nats: a fair split gives such a share with probability below exp(-16), one in ten million
)


@dataclass(frozen=True, slots=True)
class Weights:
    """The canary's weights as written: (Unix time, percent), and 0 before the first.

    lag: seconds that an answer may come after the weight that sent its request there: the mesh's
    propagation, and the time to answer.
    """

    writes: Sequence[tuple[float, int]]
    lag: float

    def possible(self, second: int) -> set[int]:
        """The weights that may have sent what was answered within `second`."""
        before = [weight for at, weight in self.writes if at < second - self.lag]
        during = {weight for at, weight in self.writes if second - self.lag <= at < second + 1}
        return {before[-1] if before else 0} | during


def beyond_share(rows: Iterable[LogRow], weights: Weights) -> list[str]:
    """Where the canary answered more than its weight and chance explain: by the second, and by the weight."""
    canary: Counter[int] = Counter()
    everyone: Counter[int] = Counter()
    for row in rows:
        if row.pod:
            everyone[row.second] += row.requests
            canary[row.second] += row.requests if row.role == "canary" else 0
    found, held = [], Counter[tuple[str, int]]()
    for second, total in sorted(everyone.items()):
        possible = weights.possible(second)
        if _improbable(canary[second], total, max(possible)):
            found.append(f"second {second}: {canary[second]} of {total} requests at {max(possible)} %")
        if len(possible) == 1:
            held["canary", max(possible)] += canary[second]
            held["all", max(possible)] += total
    for weight in sorted({weight for _, weight in held}):
        count, total = held["canary", weight], held["all", weight]
        if _improbable(count, total, weight):
            found.append(f"while at {weight} %: {count} of {total} requests")
    return found


def unproven(rows: Iterable[LogRow], pods: str, since: float, weights: Weights) -> list[str]:
    """Answers of stable pods other than `pods` (a prefix of their names) before the canary had 100 %, which is
    looked for from `since` (Unix time) on."""
    proven = next((at for at, weight in weights.writes if weight == 100 and at >= since), math.inf)
    answers: Counter[str] = Counter()
    for row in rows:
        if row.pod and row.role != "canary" and row.second < proven and not row.pod.startswith(pods):
            answers[row.pod] += row.requests
    return [f"pod {pod} answered {count} requests unproven" for pod, count in sorted(answers.items())]


def _improbable(count: int, total: int, percent: int) -> bool:
    """Chernoff's bound on the upper tail of a binomial law."""
    share, weight = count / total, percent / 100
    if share <= weight:
        return False
    if weight == 0:
        return True
    rest = (1 - share) * math.log((1 - share) / (1 - weight)) if share < 1 else 0.0
    return total * (share * math.log(share / weight) + rest) > _IMPROBABLE
