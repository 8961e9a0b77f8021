"""From what a run wants and what the world is to the writes that close the gap.

The order of the writes and the conditions on them keep the invariants: traffic is taken from the canary
before anything else, a subset is there before a route names it, nothing is scaled away, removed or rolled
while a route may still send traffic to it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from canaryd.domain.model import LADDER, Form, Labels, RouteRef, Run, Stage, Traffic
from canaryd.domain.world import CanaryView, RouteView, World


@dataclass(frozen=True, slots=True)
class SetPaused:
    paused: bool


@dataclass(frozen=True, slots=True)
class PutTemplate:
    """Put the template of `revision` back into the user's Deployment; `paused` goes with it in one write."""

    revision: str
    paused: bool


@dataclass(frozen=True, slots=True)
class PutSubsets:
    """The subsets that canaryd's DestinationRule has; none removes the rule."""

    subsets: tuple[tuple[str, Labels], ...]


@dataclass(frozen=True, slots=True)
class PutCanary:
    """Create the canary Deployment, or scale it."""

    replicas: int
    create: bool


@dataclass(frozen=True, slots=True)
class DeleteCanary:
    name: str


@dataclass(frozen=True, slots=True)
class OwnCarrier:
    """Make the run the owner of the carrier: it must not go with the run that made it."""

    name: str


@dataclass(frozen=True, slots=True)
class PutTraffic:
    ref: RouteRef
    traffic: Traffic
    seen: Traffic | None

    @property
    def falls(self) -> bool:
        """Whether this only takes traffic from the canary: such a write is always safe."""
        return self.seen is not None and self.traffic.canary_share_below(self.seen)


Effect = SetPaused | PutTemplate | PutSubsets | PutCanary | DeleteCanary | OwnCarrier | PutTraffic


def converge(run: Run, world: World) -> tuple[Effect, ...]:
    """The writes that are due now, in order; empty when the world is as the run wants it."""
    traffic = tuple(_traffic(run, world))
    calm = not traffic
    return (
        *(effect for effect in traffic if effect.falls),
        *_carrier(run, world),
        *_subsets(run, world, calm),
        *_gate(run, world, calm),
        *_canary(run, world, calm),
        *(effect for effect in traffic if not effect.falls),
        *_removals(run, world, calm),
    )


def urgent(run: Run, effects: Sequence[Effect]) -> tuple[Effect, ...]:
    """Those that come before the run's status: in an emergency the canary's share falls first.

    A planned shift to stable is written like a rise, after its status.
    """
    if run.stage is not Stage.DRAIN and run.stage not in LADDER:
        return ()
    return tuple(effect for effect in effects if isinstance(effect, PutTraffic) and effect.falls)


def _traffic(run: Run, world: World) -> list[PutTraffic]:
    return [
        PutTraffic(view.ref, run.wanted.traffic, view.seen)
        for view in world.routes
        if not view.gone and view.seen != run.wanted.traffic
    ]


def _carrier(run: Run, world: World) -> list[Effect]:
    carrier = world.carrier
    if carrier is None or carrier.deleting or not run.wanted.carrier or carrier.owner in ("", run.uid):
        return []
    return [OwnCarrier(run.carrier)]


def _subsets(run: Run, world: World, calm: bool) -> list[Effect]:
    wanted = {
        name: labels
        for name, labels in (("stable", run.wanted.stable_subset), ("canary", run.wanted.canary_subset))
        if labels is not None
    }
    if {name: dict(labels) for name, labels in wanted.items()} == {
        n: dict(w) for n, w in world.subsets.items()
    }:
        return []
    if not calm:
        # Routes may still name what is there: add what is missing, change and remove nothing.
        wanted = {**wanted, **world.subsets}
        if wanted.keys() == world.subsets.keys():
            return []
    return [PutSubsets(tuple(sorted(wanted.items(), reverse=True)))]


def _gate(run: Run, world: World, calm: bool) -> list[Effect]:
    deployment = world.deployment
    if deployment is None or deployment.deleting:
        return []
    if run.wanted.template and deployment.revision != run.wanted.template:
        return [PutTemplate(run.wanted.template, run.wanted.paused)] if calm else []
    if deployment.paused == run.wanted.paused:
        return []
    return [SetPaused(run.wanted.paused)] if run.wanted.paused or calm else []


def _canary(run: Run, world: World, calm: bool) -> list[Effect]:
    wanted, canary = run.wanted.canary, world.canary
    if wanted is None or (canary is not None and canary.deleting):
        return []
    if canary is None:
        # A canary pod behind a plain route would be sent its pod share at once.
        fenced = calm and run.wanted.traffic.form is not Form.PLAIN
        return [PutCanary(wanted, create=True)] if fenced and wanted > 0 else []
    if canary.replicas == wanted or (wanted < canary.replicas and not calm):
        return []
    return [PutCanary(wanted, create=False)]


def _removals(run: Run, world: World, calm: bool) -> list[Effect]:
    if not calm:
        return []
    gone: list[tuple[bool, str, CanaryView | None]] = [
        (run.wanted.canary is None, run.canary_name, world.canary),
        (not run.wanted.carrier and bool(run.carrier), run.carrier, world.carrier),
    ]
    return [
        DeleteCanary(name)
        for unwanted, name, view in gone
        if unwanted and view is not None and not view.deleting
    ]


def lost_routes(world: World) -> tuple[RouteView, ...]:
    """Managed routes that were deleted, or rewritten beyond recognition."""
    return tuple(view for view in world.routes if view.gone)
