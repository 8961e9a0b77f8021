"""What is remembered of an arm between two readings, and which of its pods' spans are judged."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from analysis.readings import PodDelta
from analysis.telemetry import PodReading

# Which pods of a workload are the arm's own: name -> creation time (seconds since the epoch), or a prefix of
# their names (their births unknown), or None: all of them. Only with creation times is a pod that appears
# during the run known to have started at zero, and warm-up survives a restart of the daemon. A pod that was
# named once stays the arm's own: what it served before it was deleted counts, as in an arm named by a prefix.
Pods = Mapping[str, float] | str | None

FIRST_WINDOW = 120.0  # seconds: a run's first reading looks back this far for pods that already served


@dataclass(slots=True)
class Arm:
    """An arm's last counters, since when each pod has been seen, and since when pods start at zero.

    births: creation times of all pods that ever were the arm's own, where those are known; zero_since: a pod
    created later that has no past started at zero.
    """

    pods: dict[str, PodReading]
    first_seen: dict[str, float]
    births: dict[str, float]
    zero_since: float

    def born(self) -> dict[str, float]:
        """The pods that started at zero if they have no past, with their births."""
        return {pod: created for pod, created in self.births.items() if created >= self.zero_since}

    def remember(self, current: Mapping[str, PodReading]) -> None:
        """Take in a reading. Pods without a new scrape keep their old counters: the next delta spans both.

        Nor does a pod go back to an older scrape, which would count twice what came after it. It could: missed
        scrapes make the time between scrapes seem longer, and what counts as new enough moves with it.
        """
        for pod, reading in current.items():
            if pod not in self.pods or reading.time > self.pods[pod].time:
                self.pods[pod] = reading
            self.first_seen.setdefault(pod, reading.time)

    def warm(self, pods: Mapping[str, PodDelta], warm_up: float) -> dict[str, PodDelta]:
        """The pods that were old enough when their span began; warm_up in seconds."""
        births = {**self.first_seen, **self.births}
        return {pod: delta for pod, delta in pods.items() if delta.start >= births[pod] + warm_up}


def base_line(
    readings: tuple[Mapping[str, PodReading], Mapping[str, PodReading]],
    own: tuple[Pods, Pods],
    *,
    end: float,
    weight: float,
    warm_up: float,
) -> tuple[Arm, Arm]:
    """Canary and baseline as a run's first reading finds them, at `end` (seconds since the epoch).

    own: which pods are the arms'; weight: the canary's share; warm_up: seconds that a pod is not judged.
    """
    window = end - FIRST_WINDOW  # who served before, and is not seen in it, was not scraped
    canary, baseline = readings
    return (
        # Of a canary pod whose birth is unknown the age is counted from here; a baseline pod is taken as old.
        Arm(
            dict(canary),
            {pod: reading.time for pod, reading in canary.items()},
            births(own[0]),
            zero_since=-math.inf if weight == 0 else window,
        ),
        Arm(
            dict(baseline),
            {pod: reading.time - warm_up for pod, reading in baseline.items()},
            births(own[1]),
            zero_since=window,
        ),
    )


def births(own: Pods) -> dict[str, float]:
    """The creation times, where they are known."""
    return dict(own) if isinstance(own, Mapping) else {}


def belongs(pod: str, own: Pods) -> bool:
    """Whether a pod of that name is the arm's."""
    return pod.startswith(own) if isinstance(own, str) else own is None or pod in own


def begun_since(pods: Mapping[str, PodDelta], settled: float) -> dict[str, PodDelta]:
    """The pods whose span began after the weight had settled (seconds since the epoch)."""
    return {pod: delta for pod, delta in pods.items() if delta.start >= settled}
