"""Evidence that bursts cannot make: the pods of both arms compared in blocks of time, whole bursts apart.

Errors come in bursts: a dependency stalls, one pod misbehaves for a minute. Request by request such a burst in
the canary looks like harm. Here a pod in a block of time counts once, whatever happened within it (see
`exchangeable`), and after each block nothing is compared for `burst_block` seconds: a burst no longer than that
never touches two blocks, so that blocks are fair bets one after the other and their product is an e-process in
everything seen so far. Adjoining blocks are not: a burst across their border pays twice, and at alpha = 1 % one
to three harmless releases in a hundred were rolled back.

A block may be as short as a quarter of `burst_block`, since only the number of blocks limits what few pods can
prove. It ends once the past says that a pod should have shown two bad events, at `burst_block` unless traffic is
very thin, and at four times that at the latest: by the clock, by requests and by the baseline's past alone.
Where the weight rises, blocks under way are compared as they are (it rises when the canary looks well, which
favours the canary); where it falls they are thrown away (it may fall because the canary looks bad).

Each proportion has blocks of its own. Its bets start with three quarters of the wealth and are fed a twentieth
of the rest at each later block, so that a fault that begins late is found as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from analysis.errors import BadState
from analysis.exchangeable import LIFTS, Pods, factors, keeping_difference, keeping_ratio, thinned
from analysis.pod_table import PodCounts, PodTable

AT_ONCE: Final = 3  # blocks compared after an interval; others that are due wait: updates stay short
_SHORTEST: Final = 0.25  # of burst_block
_LONGEST: Final = 4.0
_ENOUGH: Final = 2.0  # bad events expected per pod that end a block early
_THIN: Final = 0.1  # fewer than that prolong it
_SLACK: Final = 1e-6  # seconds
_FIRST_STAKE: Final = 0.75
_LATER_STAKE: Final = 0.05
_MOST_WEALTH: Final = 1e200
_LEAST_CASH: Final = 1e-100  # never staked
_KEPT: Final = 0.5 ** (1 / 30)  # of the past, per block
_PRIOR_BAD, _PRIOR_REQUESTS = 0.5, 100.0  # stand for the past while there is none


@dataclass(frozen=True, slots=True)
class Tolerated:
    """One proportion and what is tolerated of it: odds up to `ratio` times, and a difference up to `delta`.

    Harm means that both are exceeded; delta None: the ratio alone decides.
    """

    name: str
    ratio: float
    delta: float | None = None


@dataclass(frozen=True, slots=True)
class Track:
    """One proportion's blocks.

    under_way: whether a block is under way; since: when it began, else when the next may begin (seconds since
    the epoch); blocks: how many were compared; potential: the most that they could have been worth (nats);
    requests, bad: of the baseline's quieter pods in blocks before; ratio, difference: wealth by bet,
    `difference` empty where no difference is tolerated.
    """

    name: str
    under_way: bool = False
    since: float = 0.0
    blocks: int = 0
    potential: float = 0.0
    requests: float = 0.0
    bad: float = 0.0
    ratio: tuple[float, ...] = ()
    difference: tuple[float, ...] = ()

    def evidence(self) -> float:
        """E, against "the odds were tolerable throughout, or the difference was"."""
        staked = sum(self.ratio)
        return self._cash(self.blocks) + (min(staked, sum(self.difference)) if self.difference else staked)

    def potential_needed(self, log_threshold: float) -> float:
        """What `potential` must have grown to before a fault that begins now can have been proved.

        log_threshold: log of the evidence that condemns.
        """
        staked = max(self.evidence() - self._cash(self.blocks + 1), _LEAST_CASH)
        return self.potential + max(0.0, log_threshold - math.log(staked))

    def rate(self) -> float:
        """What is usual of the baseline, by the blocks before; inside (0, 1)."""
        return (self.bad + _PRIOR_BAD) / (self.requests + _PRIOR_REQUESTS)

    def starts(self, start: float) -> bool:
        """Whether a block may begin then."""
        return not self.under_way and start >= self.since - _SLACK

    def is_over(self, seconds: float, requests: float, burst_block: float) -> bool:
        """Whether a block of that length ends, in which each pod had so many requests."""
        expected = requests * self.rate()
        return (
            expected >= _ENOUGH
            or (expected >= _THIN and seconds >= burst_block - _SLACK)
            or seconds >= _LONGEST * burst_block - _SLACK
        )

    def after(self, block: _Block) -> Track:
        """After one block was compared."""
        stake = (self._cash(self.blocks) - self._cash(self.blocks + 1)) / len(LIFTS)
        return replace(
            self,
            blocks=self.blocks + 1,
            potential=self.potential + block.log_choices,
            requests=_KEPT * self.requests + block.requests,
            bad=_KEPT * self.bad + block.bad,
            ratio=_grown(self.ratio, stake, block.ratio),
            difference=_grown(self.difference, stake, block.difference),
        )

    @staticmethod
    def _cash(blocks: int) -> float:
        """What is not staked yet after so many blocks."""
        return max((1 - _FIRST_STAKE) * (1 - _LATER_STAKE) ** (blocks - 1), _LEAST_CASH) if blocks else 1.0


@dataclass(frozen=True, slots=True)
class Bursts:
    """Immutable. weight: of the last interval, -1 before any; pods_known: whether that one named its pods."""

    tracks: tuple[Track, ...] = ()
    pods: PodTable = field(default_factory=PodTable)
    weight: float = -1.0
    pods_known: bool = True

    def after(
        self,
        canary: Mapping[str, PodCounts],
        baseline: Mapping[str, PodCounts],
        *,
        start: float,
        end: float,
        weight: float,
        tolerated: Sequence[Tolerated],
        burst_block: float,
    ) -> Bursts:
        """After one closed interval from `start` to `end`: counts by pod, each in the order of `tolerated`.

        A proportion that was never given before joins with no evidence; one that is not given any more keeps
        its evidence. An interval that does not name its pods ({"": ...}) adds nothing.
        """
        places = {one.name: place for place, one in enumerate(tolerated)}
        new = [Track(name) for name in places.keys() - {track.name for track in self.tracks}]
        state = self
        if new:
            new.sort(key=lambda track: places[track.name])
            state = replace(self, tracks=(*self.tracks, *new), pods=self.pods.wider(len(new)))
        limits = {i: tolerated[places[t.name]] for i, t in enumerate(state.tracks) if t.name in places}
        state = state._moved(weight, start, limits, burst_block)
        if "" in canary or "" in baseline:
            return replace(state, pods_known=False)
        state = state._begun(start, canary, baseline, [places.get(track.name) for track in state.tracks])
        if not any(track.under_way for track in state.tracks):
            return state
        gathered = [places[track.name] if track.under_way else None for track in state.tracks]
        pods = state.pods.plus(canary, baseline, gathered)
        return replace(state, pods=pods)._ended(end, limits, burst_block)

    def log_evidence(self) -> dict[str, float]:
        """log E by proportion."""
        return {track.name: math.log(track.evidence()) for track in self.tracks}

    def check(self, where: str) -> None:
        """Raise BadState, naming the field below `where`, if this cannot be a state: for one that was read."""
        pods, columns = self.pods, len(self.tracks)
        for name, rows in (("requests", pods.requests), ("bad", pods.bad)):
            if len(rows) != len(pods.canary) + len(pods.baseline):
                raise BadState(f"{where}.pods.{name}", len(rows), "as many rows as there are pods")
            for i, row in enumerate(rows):
                if len(row) != columns or min(row, default=0) < 0:
                    raise BadState(f"{where}.pods.{name}[{i}]", row, f"{columns} counts")
        for i, track in enumerate(self.tracks):
            for name, wealth in (("ratio", track.ratio), ("difference", track.difference)):
                if len(wealth) not in {0, len(LIFTS)} or min(wealth, default=0.0) < 0:
                    raise BadState(
                        f"{where}.tracks[{i}].{name}", wealth, f"{len(LIFTS)} numbers of at least 0"
                    )
            if min(track.blocks, track.bad, track.requests - track.bad) < 0:
                raise BadState(f"{where}.tracks[{i}]", track, "one with counts that can be true")

    def _moved(
        self, weight: float, start: float, limits: Mapping[int, Tolerated], burst_block: float
    ) -> Bursts:
        """At the weight of the next interval: where it changed, no block goes on."""
        running = [i for i, track in enumerate(self.tracks) if track.under_way]
        leaving = running if weight != self.weight else [i for i in running if i not in limits]
        if not leaving:
            return self if weight == self.weight else replace(self, weight=weight)
        state = self
        if weight > self.weight and (columns := [i for i in leaving if i in limits]):
            pods = Pods.of(len(self.pods.canary), *self.pods.counts(columns))
            state = self._compared(columns, pods, start, limits)
        return replace(state._left(leaving, start + burst_block), weight=weight)

    def _begun(
        self,
        start: float,
        canary: Mapping[str, PodCounts],
        baseline: Mapping[str, PodCounts],
        places: Sequence[int | None],
    ) -> Bursts:
        """With a block under way for each proportion whose gap is over and that both arms have requests for."""
        begun = [
            replace(track, under_way=True, since=start)
            if place is not None
            and track.starts(start)
            and _served(canary, place)
            and _served(baseline, place)
            else track
            for track, place in zip(self.tracks, places, strict=True)
        ]
        return replace(self, tracks=tuple(begun), pods_known=True)

    def _ended(self, end: float, limits: Mapping[int, Tolerated], burst_block: float) -> Bursts:
        """With those blocks compared whose time has come."""
        shortest = _SHORTEST * burst_block - _SLACK
        due = [i for i, track in enumerate(self.tracks) if track.under_way and end - track.since >= shortest]
        if not due:
            return self
        pods = Pods.of(len(self.pods.canary), *self.pods.counts(due))
        over = [
            place
            for place, (i, size) in enumerate(zip(due, pods.size.tolist(), strict=True))
            if self.tracks[i].is_over(end - self.tracks[i].since, size, burst_block)
        ][:AT_ONCE]
        if not over:
            return self
        ending = [due[place] for place in over]
        return self._compared(ending, pods.only(over), end, limits)._left(ending, end + burst_block)

    def _compared(
        self, columns: Sequence[int], pods: Pods, at: float, limits: Mapping[int, Tolerated]
    ) -> Bursts:
        """With the blocks under way of these proportions compared."""
        tracks = list(self.tracks)
        blocks = _blocks(pods, [tracks[i] for i in columns], [limits[i] for i in columns], at)
        for i, block in zip(columns, blocks, strict=True):
            if block is not None:
                tracks[i] = tracks[i].after(block)
        return replace(self, tracks=tuple(tracks))

    def _left(self, ended: Sequence[int], until: float) -> Bursts:
        """With the blocks of these proportions over, their counts gone, and a gap until then."""
        tracks = list(self.tracks)
        for i in ended:
            tracks[i] = replace(tracks[i], under_way=False, since=until)
        return replace(self, tracks=tuple(tracks), pods=self.pods.without(ended))


@dataclass(frozen=True, slots=True)
class _Block:
    """What a block was worth: the most it could have been; what the baseline's quieter pods showed; E by bet."""

    log_choices: float
    requests: float
    bad: float
    ratio: list[float]
    difference: list[float]


def _blocks(
    pods: Pods, tracks: Sequence[Track], limits: Sequence[Tolerated], at: float
) -> list[_Block | None]:
    """What a block of each proportion is worth; None where an arm has no pods to compare."""
    # A proportion with a tolerated difference is compared twice: its second column follows all the first ones.
    deltas = {i: limit.delta for i, limit in enumerate(limits) if limit.delta is not None}
    columns = [*range(len(tracks)), *deltas]
    rates = np.array([track.rate() for track in tracks])
    ratios = np.array([limit.ratio for limit in limits])
    keeping = np.concatenate(
        (keeping_ratio(ratios, rates), keeping_difference(np.array([*deltas.values()]))), axis=1
    )
    twice = pods.only(columns)
    rng = np.random.default_rng([int(abs(at) * 1000), int(min(pods.requests.sum(), 2.0**62))])
    past = np.array([track.requests > 0 for track in tracks])[columns]
    expected = np.where(past, twice.size * (1 - keeping[1] * (1 - rates[columns])), np.inf)
    worth = factors(thinned(twice, keeping, rng), twice.kept, pods.canary_pods, expected).T.tolist()
    seconds = dict(zip(deltas, worth[len(tracks) :], strict=True))
    requests, bad = pods.quiet_baseline()
    choices = pods.log_choices()
    return [
        _Block(float(choices[i]), float(requests[i]), float(bad[i]), worth[i], seconds.get(i, []))
        if size
        else None
        for i, size in enumerate(pods.size.tolist())
    ]


def _grown(wealth: tuple[float, ...], stake: float, worth: list[float]) -> tuple[float, ...]:
    """Wealth by bet after one block; a proportion without a tolerated difference has no bets on it."""
    before = wealth or (0.0,) * len(worth)
    return tuple([min((one + stake) * e, _MOST_WEALTH) for one, e in zip(before, worth, strict=False)])


def _served(pods: Mapping[str, PodCounts], place: int) -> bool:
    return any(requests[place] for requests, _ in pods.values())
