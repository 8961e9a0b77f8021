"""One pass over one Deployment: read, decide, write the status, make the cluster match it.

The order of writes is the heart of it. A rise of the canary's share follows the status that decided it, so
that a second canaryd loses on the resourceVersion before it can do harm. In an emergency the fall comes first:
taking traffic away from a bad release never waits for a status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from canaryd.cluster.errors import ApiError, Conflict, Invalid, NotFound
from canaryd.cluster.events import EventRecorder
from canaryd.cluster.recordings import store
from canaryd.cluster.resources import Key
from canaryd.cluster.transport import Api
from canaryd.controller.book import RunBook
from canaryd.controller.caches import Caches
from canaryd.controller.caretaker import Caretaker, about_deployment, about_run
from canaryd.controller.effects import Effects, TemplateLostError, owner
from canaryd.controller.measure import Measurer
from canaryd.controller.recorder import Recorder
from canaryd.controller.world import WorldReader
from canaryd.domain.announce import announce
from canaryd.domain.converge import Effect, converge, urgent
from canaryd.domain.decide import decide
from canaryd.domain.model import Form, Run, Stage
from canaryd.domain.world import World
from canaryd.mesh import virtualservice as vs_
from config.settings import Settings

log = structlog.get_logger(__name__)

_SOON = 0.05  # seconds until the next look after writes: their effect is in the caches by then
_AFTER_FAILURE = 0.5


class Reconciler:
    """Reconciles Deployments by key; one worker at a time per key (see KeyedQueue)."""

    def __init__(
        self,
        api: Api,
        caches: Caches,
        settings: Settings,
        measurer: Measurer,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._caches = caches
        self._measurer = measurer
        self._clock = clock
        self._book = RunBook(api, caches.runs)
        self._reader = WorldReader(api, caches, settings)
        self._effects = Effects(api, caches, settings.root_namespace)
        self._events = EventRecorder(api)
        self._recorder = Recorder(lambda run: store(api, run, owner(run)))
        self._caretaker = Caretaker(
            caches, settings, self._reader, self._effects, self._events, self._book, clock
        )

    def runs(self) -> list[Run]:
        """All runs of the cluster."""
        return self._book.all()

    def stop(self) -> None:
        """No more is written in the background."""
        self._recorder.stop()

    def suspect(self, key: Key) -> None:
        """A run of this Deployment may have vanished without cleaning up."""
        self._caretaker.suspect(key)

    def reconcile(self, key: Key) -> float | None:
        """One pass; seconds until the next look, None for when something changes. Raises ApiError."""
        runs = self._book.of(key)
        fault = self._book.unreadable.get(key)
        if fault is not None:
            self._caretaker.blocked(key, fault)
            return None  # there is a run: nothing may be done over its head
        active = [run for run in runs if run.active]
        finished = [run for run in runs if not run.active]
        if active:
            return self._step(self._caretaker.completed(active[0], finished), active[0])
        return _SOON if self._caretaker.care(key, finished) else None

    def _step(self, run: Run, kept: Run) -> float | None:
        """One pass of `run`; `kept` is the run as its object has it."""
        now = self._clock()
        measured = self._measurer.measured(run, now)
        run = self._recorder.settled(run, now, grows=bool(measured.lines))
        world = self._reader.world(run, measured)
        run = replace(run, routes=tuple(view.ref for view in world.routes) or run.routes)
        decision = decide(run, world, now)
        after = decision.run
        effects = converge(after, world)
        falls = urgent(after, effects)
        version = world.deployment.resource_version if world.deployment else ""
        failed = self._perform(after, falls, version)
        if after != kept:
            after = self._book.save(after)
            self._measurer.accept(after)
            self._tell(kept, after, world)
        failed = self._perform(after, [e for e in effects if e not in falls], version) or failed
        self._recorder.offer(after)
        if after.outcome is not None and after.wanted.traffic.form is Form.PLAIN and not failed:
            self._give_back(after)
        self._log(after, now)
        if after.stage is Stage.DONE:
            self._book.let_go(after)
            self._recorder.forget(after)
            return _SOON
        if failed:
            return _AFTER_FAILURE
        return _SOON if effects else max(decision.again, _SOON)

    def _give_back(self, run: Run) -> None:
        """Looked at in every pass of a run's tail: a crash or an error of the API may have come between."""
        for key in {(ref.namespace, ref.name) for ref in run.routes}:
            vs = self._caches.virtualservices.get(key)
            if vs is not None:
                self._effects.give_back(vs, self._book.all())

    def give_back_left(self) -> None:
        """What the last canaryd did not come to. Routes of a vanished run are put back first, by a run of theirs."""
        for vs in self._caches.virtualservices.items():
            if not vs_.names_subsets(vs):
                self._effects.give_back(vs, self._book.all())

    def _perform(self, run: Run, effects: Sequence[Effect], version: str) -> bool:
        """Each effect on its own: one that fails does not keep the others back. True if any failed."""
        failed = False
        for effect in effects:
            try:
                self._effects.perform(run, effect, version)
            except (Conflict, Invalid, NotFound) as error:
                failed = True
                log.info("write.raced", run=run.name, effect=type(effect).__name__, error=str(error))
            except ApiError as error:
                failed = True
                log.warning("write.failed", run=run.name, effect=type(effect).__name__, error=str(error))
            except TemplateLostError as error:
                failed = True
                log.error("template.lost", run=run.name, error=str(error))
        return failed

    def _tell(self, before: Run, after: Run, world: World) -> None:
        about = [about_run(after)]
        if world.deployment is not None:
            about.append(about_deployment(after.namespace, after.target.name, world.deployment.uid))
        for said in announce(before, after):
            for obj in about:
                self._events.record(obj, said.reason, said.message, warning=said.warning)

    def _log(self, run: Run, now: float) -> None:
        log.info(
            "reconciled",
            run=run.name,
            namespace=run.namespace,
            phase=run.phase.value,
            stage=run.stage.value,
            step=run.step,
            weight=run.wanted.traffic.weight,
            seen=run.seen_share,
            verdict=run.verdict.decision if run.verdict else "",
            because=run.because,
            seconds=round(self._clock() - now, 3),
        )
