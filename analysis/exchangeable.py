"""An e-value for one block of time: are the canary's pods worse than chance would pick from all pods?

Without harm, and with bursts that hit pods of either arm alike, the pods of a block are exchangeable: any m of
the N = m + G pods could have been the canary's. Given what the pods show together, a bet on the canary's is
fair when divided by its mean over all choices of m pods:

    E_theta = C(N, m) * product of e^(theta f_i) over the canary's pods / e_m(e^(theta f_1), ..., e^(theta f_N))

with e_m the elementary symmetric polynomial: a statistic over its mean under all permutations (Koning 2023,
"Measuring evidence against exchangeability and group invariance with e-values", arXiv 2310.01153). However
strongly errors within a pod depend on each other, the mean of E is 1; and no block is worth more than
log C(N, m), as one burst is one event. f = min(x, cap) keeps a pod in a burst from outweighing all others; the
cap is made of the past, so that it is the same for every choice.

Pods count alike only over equally many requests: each is thinned to the smallest number (hypergeometric draws;
the mean of several). What is tolerated is taken out before the comparison by keeping the canary's bad events
with one probability and the baseline's good ones with another (`keeping_ratio`, `keeping_difference`): then the
worst tolerated canary is as its baseline, a better one is below it, and E is increasing in the canary's events.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import binom

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]

LIFTS: Final = np.array([1.5, 2.0, 3.0, 5.0, 10.0])  # rho: what the canary's rate is bet to be multiplied by
DRAWS: Final = 4
_TILTS: Final = np.log(LIFTS)[:, None]
_TOO_MANY: Final = 1e9  # requests of a pod in a block: numpy draws hypergeometric numbers below that
_DEEPEST: Final = 600.0  # nats below the best pod, all pods of the canary together: still above underflow


@dataclass(frozen=True, slots=True)
class Pods:
    """The pods of a block, those of the canary first, and which of them count: chosen by requests alone.

    requests, bad, kept: (pods, proportions), `kept` tells which pods count; size: the requests that every one of
    them is thinned to, 0 where nothing can be compared (proportions,).
    """

    canary_pods: int
    requests: Floats
    bad: Floats
    kept: Bools
    size: Ints

    @classmethod
    def of(cls, canary_pods: int, requests: Floats, bad: Floats) -> Pods:
        """Leave out pods below half the median of their own arm: one that drains must not shrink all others."""
        canary, baseline = _fair_sized(requests[:canary_pods]), _fair_sized(requests[canary_pods:])
        kept = np.concatenate((canary, baseline))
        smallest = np.where(kept, requests, _TOO_MANY).min(axis=0, initial=_TOO_MANY)
        usable = canary.any(axis=0) & baseline.any(axis=0) & (requests.max(axis=0, initial=0) < _TOO_MANY)
        return cls(canary_pods, requests, bad, kept, np.where(usable, smallest, 0).astype(np.int64))

    def only(self, columns: Sequence[int]) -> Pods:
        """The proportions with these indices; one may occur twice."""
        of = np.array(columns, dtype=np.int64)
        return Pods(self.canary_pods, self.requests[:, of], self.bad[:, of], self.kept[:, of], self.size[of])

    def log_choices(self) -> Floats:
        """log C(N, m), the most that the block can be worth (proportions,); 0 where nothing is compared."""
        choices = binom(self.kept.sum(axis=0), self.kept[: self.canary_pods].sum(axis=0))
        logs: Floats = np.log(np.where(self.size > 0, choices, 1.0))
        return logs

    def quiet_baseline(self) -> tuple[Floats, Floats]:
        """Requests and bad events of the better half of the baseline's pods that count (proportions,) each.

        What is usual while bursts come and go: of this past the caps and the length of blocks are made.
        """
        requests, bad = self.requests[self.canary_pods :], self.bad[self.canary_pods :]
        kept = self.kept[self.canary_pods :]
        rates = np.where(kept, bad / np.maximum(requests, 1.0), np.inf)
        ranks = rates.argsort(axis=0, kind="stable").argsort(axis=0)
        quiet = kept & (2 * ranks < kept.sum(axis=0))
        return (requests * quiet).sum(axis=0), (bad * quiet).sum(axis=0)


def keeping_ratio(ratio: Floats, rate: Floats) -> Floats:
    """Probabilities (2, proportions) of keeping a canary's bad event, and a baseline's good one, for odds up to `ratio` times.

    The worst tolerated rate of the canary is a concave function of the baseline's; any tangent lies above it,
    so every `rate` at which it is drawn is fair whatever the true rate is, and nothing is given away where it
    is the true one. At a rate of 0: keep bad events with 1/ratio and touch no good ones.
    """
    good = 1 / (1 + (ratio - 1) * rate**2)
    return np.array((np.minimum((1 + (ratio - 1) * rate) ** 2 * good / ratio, 1.0), good))


def keeping_difference(delta: Floats) -> Floats:
    """As `keeping_ratio`, for a canary's rate up to the baseline's plus `delta`; fair at every rate."""
    kept = 1 / (1 + delta)
    return np.array((kept, kept))


def thinned(pods: Pods, keeping: Floats, rng: np.random.Generator) -> Floats:
    """Bad events (pods, draws, proportions): over equally many requests, and less what is tolerated.

    keeping: as `keeping_ratio` gives it.
    """
    size, cut = pods.size, pods.canary_pods
    compared = pods.kept & (size > 0)
    total = np.where(compared, pods.requests, size).astype(np.int64)
    bad = np.where(compared, pods.bad, 0).astype(np.int64)
    drawn = rng.hypergeometric(bad, total - bad, size, size=(DRAWS, *bad.shape)).swapaxes(0, 1)
    events = np.empty(drawn.shape)
    events[:cut] = rng.binomial(drawn[:cut], keeping[0])
    events[cut:] = drawn[cut:] + rng.binomial(size - drawn[cut:], 1 - keeping[1])
    return events


def factors(events: Floats, kept: Bools, canary_pods: int, expected: Floats) -> Floats:
    """E by lift (lifts, proportions), the mean over draws; 1 where an arm has no pods.

    events: bad events per unit (pods, draws, proportions), pods of the canary first; kept: which pods count
    (pods, proportions); expected: bad events per unit by the past (proportions,), infinite where there is none.
    """
    raised = LIFTS[:, None] * expected
    cap = raised + 2 * np.sqrt(raised) + 2
    counting = kept[:, None, None]
    scores = _TILTS * np.minimum(events[:, :, None], cap) * counting
    scores -= scores.max(axis=0, initial=0.0)
    tilted = np.exp(np.maximum(scores, -_DEEPEST / max(canary_pods, 1))) * counting
    chosen = kept[:canary_pods].sum(axis=0)
    bet = np.where(counting[:canary_pods], tilted[:canary_pods], 1.0).prod(axis=0)
    every = _symmetric(tilted, canary_pods)[chosen, ..., np.arange(len(chosen))]
    found: Floats = binom(kept.sum(axis=0), chosen) * (bet / np.moveaxis(every, 0, -1)).mean(axis=0)
    return found


def least_blocks(canary_pods: int, baseline_pods: int, alpha: float) -> int | None:
    """How many blocks it takes at least to condemn, None where blocks can prove nothing.

    Five times the evidence that alpha asks for leaves room for the mixture of bets and for imperfect blocks.
    """
    if canary_pods < 1 or baseline_pods < 1:
        return None
    return math.ceil(math.log(5 / alpha) / math.log(math.comb(canary_pods + baseline_pods, canary_pods)))


def _fair_sized(requests: Floats) -> Bools:
    pods, proportions = requests.shape
    if not pods:
        return np.zeros(requests.shape, dtype=bool)
    present = (requests > 0).sum(axis=0)
    middle = np.minimum(pods - 1, pods - (present + 1) // 2)  # of two the larger
    median = np.sort(requests, axis=0)[middle, np.arange(proportions)]
    fair: Bools = 2 * requests >= np.maximum(median, 1.0)
    return fair


def _symmetric(tilted: Floats, degree: int) -> Floats:
    """Elementary symmetric polynomials over the pods (axis 0) up to `degree`: (degree + 1, draws, ...).

    One pod after the other: e_k(x_1 ... x_n) = e_k(x_1 ... x_(n-1)) + x_n e_(k-1)(x_1 ... x_(n-1)).
    """
    found = np.zeros((degree + 1, *tilted.shape[1:]))
    found[0] = 1.0
    for pod in tilted:
        found[1:] += pod * found[:-1]
    return found
