"""Everything about a release that does not depend on the weight: drawn at once, the same for every judge."""

from __future__ import annotations

from typing import Final

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtr

from analysis.arena.scenario import EDGES, TAIL_FACTOR, Scenario

Floats = NDArray[np.float64]
Flags = NDArray[np.bool_]

_DRAINED: Final = 1 / 50  # of its traffic is left to a draining pod
_DRAINING: Final = 120.0  # seconds that the draining takes


class Environment:
    """A release's surroundings, as arrays over intervals (rows) and pods (columns, the canary's first).

    lag[pod]            seconds from a pod's scrape to the nominal end of the interval
    rate[interval]      requests per second to both arms together
    share[interval, pod]   of its arm's requests; 0 while the pod is not there
    failing, unharmed[interval, pod]   chance that a request fails, and what it would be without the fault
    buckets[interval or 1, pod, bucket]   chances of a successful request's latency, or None
    reset, missed[interval, pod]   the pod's counts are not counted; they come with its next scrape; or None
    """

    def __init__(self, scenario: Scenario, rng: np.random.Generator) -> None:
        pods = scenario.canary_pods + scenario.baseline_pods
        count = max(1, round(scenario.deadline / scenario.interval))
        ends = scenario.interval * np.arange(1, count + 1)
        self.scenario = scenario
        self.count = count
        self.is_canary: Flags = np.arange(pods) < scenario.canary_pods
        self.lag: Floats = rng.uniform(0, scenario.interval, pods) * scenario.scrape_offsets
        self._ends: Floats = ends[:, None] - self.lag[None, :]
        swing, phase = scenario.diurnal, 2 * np.pi * rng.random()
        day = 1 + swing * np.sin(2 * np.pi * ends / scenario.diurnal_period + phase)
        self.rate: Floats = scenario.rps * day
        self.share: Floats = self._shares()
        faulty = self._passed(scenario.onset)[:, self.is_canary]
        self.unharmed, self.failing = self._chances(day, faulty, rng)
        self.buckets: Floats | None = self._latency(faulty) if scenario.latency else None
        self.reset = self._coin(scenario.resets_per_hour * scenario.interval / 3600, rng)
        self.missed = self._coin(scenario.missed_scrapes, rng)
        if scenario.outages:
            outages = rng.random((count, 1)) < scenario.outages
            self.missed = outages | (False if self.missed is None else self.missed) & np.ones(pods, bool)

    def excess(self) -> Floats:
        """Chance per interval that a canary's request fails because of the fault."""
        canary = self.is_canary
        gap = self.failing[:, canary] - self.unharmed[:, canary]
        return np.asarray((self.share[:, canary] * gap).sum(axis=1))

    def arm_rates(self) -> tuple[Floats, Floats]:
        """The chances, per interval, that a request of the canary and one of the baseline fails."""
        weighted = self.share * self.failing
        return weighted[:, self.is_canary].sum(axis=1), weighted[:, ~self.is_canary].sum(axis=1)

    def _passed(self, moment: float) -> Floats:
        """The share of every pod's interval that lies after `moment`."""
        return np.clip((self._ends - moment) / self.scenario.interval, 0, 1)

    def _coin(self, chance: float, rng: np.random.Generator) -> Flags | None:
        return rng.random(self._ends.shape) < chance if chance else None

    def _shares(self) -> Floats:
        scenario, arms = self.scenario, (self.is_canary, ~self.is_canary)
        share = np.ones(self._ends.shape)
        for arm in arms:
            late = np.flatnonzero(arm)[::-1][: scenario.late_pods]
            share[:, late] = self._passed(scenario.late_by)[:, late]
        if scenario.drain_at:
            pod = scenario.canary_pods  # the baseline's first: late pods are an arm's last
            gone = np.clip((self._ends[:, pod] - scenario.drain_at) / _DRAINING, 0, 1)
            share[:, pod] = 1 - (1 - _DRAINED) * gone
        for arm in arms:
            share[:, arm] /= share[:, arm].sum(axis=1, keepdims=True)
        return share

    def _chances(self, day: Floats, faulty: Floats, rng: np.random.Generator) -> tuple[Floats, Floats]:
        scenario, canary = self.scenario, self.is_canary
        unharmed = np.broadcast_to(scenario.base_rate * day[:, None], self._ends.shape)
        if scenario.pod_sigma:
            odds = np.exp(scenario.pod_sigma * rng.standard_normal(len(canary)))
            unharmed = odds * unharmed / (1 + (odds - 1) * unharmed)
        spells = []
        if scenario.shock_gap:
            windows = _windows(scenario.shock_gap, scenario.shock_seconds, scenario.deadline, rng)
            spells.append((self._covered([windows] * len(canary)), scenario.shock_rate))
        if scenario.burst_gap:
            each = [
                _windows(scenario.burst_gap, scenario.burst_seconds, scenario.deadline, rng) for _ in canary
            ]
            spells.append((self._covered(each), scenario.burst_rate))
        failing = unharmed
        if scenario.lift != 1:
            failing = unharmed.copy()
            failing[:, canary] *= 1 + (scenario.lift - 1) * faulty
        for covered, level in spells:
            unharmed = unharmed + np.maximum(level - unharmed, 0) * covered
            failing = failing + np.maximum(level - failing, 0) * covered
        return unharmed, np.minimum(failing, 1)

    def _covered(self, windows: list[Floats]) -> Floats:
        """The share of every pod's interval that its windows cover."""
        length = self.scenario.interval
        columns = [
            _before(own, ends) - _before(own, ends - length)
            for own, ends in zip(windows, self._ends.T, strict=True)
        ]
        return np.clip(np.stack(columns, axis=1) / length, 0, 1)

    def _latency(self, faulty: Floats) -> Floats:
        scenario = self.scenario
        usual, faulted = latency_laws(scenario)
        buckets = np.broadcast_to(usual, (1, len(self.is_canary), len(usual)))
        if scenario.slower == 1 and scenario.tail == 0:
            return buckets
        if scenario.onset == 0 and not scenario.scrape_offsets:
            return np.where(self.is_canary[None, :, None], faulted, buckets)
        mixed = np.repeat(buckets, self.count, axis=0)
        mixed[:, self.is_canary] += faulty[:, :, None] * (faulted - usual)
        return mixed


def latency_laws(scenario: Scenario) -> tuple[Floats, Floats]:
    """Chances of the buckets for a successful request of the baseline, and of the canary with its fault."""

    def law(factor: float) -> Floats:
        deviations = np.log(np.asarray(EDGES) / (scenario.latency_median * factor)) / scenario.latency_sigma
        return np.diff(ndtr(deviations), prepend=0.0, append=1.0)

    usual, slower = law(1.0), law(scenario.slower)
    return usual, (1 - scenario.tail) * slower + scenario.tail * law(scenario.slower * TAIL_FACTOR)


def _windows(gap: float, lengths: tuple[float, float], until: float, rng: np.random.Generator) -> Floats:
    """Starts and ends, seconds, of spells that are `gap` apart on average; one may be under way at 0."""
    start = -2 * (gap + lengths[1])
    expected = (until - start) / (gap + sum(lengths) / 2)
    count = int(expected + 6 * np.sqrt(expected) + 6)
    durations = rng.uniform(*lengths, count)
    starts = start + np.cumsum(rng.exponential(gap, count)) + np.cumsum(durations) - durations
    return np.stack((starts, starts + durations), axis=1)


def _before(windows: Floats, moments: Floats) -> Floats:
    """Seconds that the windows cover before each moment."""
    covered = np.cumsum(windows[:, 1] - windows[:, 0])
    covered = np.stack((covered - (windows[:, 1] - windows[:, 0]), covered), axis=1)
    return np.interp(moments, windows.ravel(), covered.ravel())
