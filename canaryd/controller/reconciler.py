"""One pass over one Deployment: read, decide, write the status, make the cluster match it.

The order of writes is the heart of it. A rise of the canary's share follows the status that decided it, so
that a second canaryd loses on the resourceVersion before it can do harm. A fall comes first: taking traffic
away from a bad release never waits for a status.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from canaryd.cluster.errors import AlreadyExists, ApiError, Conflict, Invalid, NotFound
from canaryd.cluster.events import EventRecorder
from canaryd.cluster.resources import CANARYRUNS, DEPLOYMENTS, Json, Key
from canaryd.cluster.runs import FINALIZER, manifest, parse, status
from canaryd.cluster.transport import Api
from canaryd.controller.caches import Caches
from canaryd.controller.effects import Effects, TemplateLostError
from canaryd.controller.measure import Measurer
from canaryd.controller.sweep import orphans, restoring
from canaryd.controller.world import WorldReader
from canaryd.domain.announce import announce
from canaryd.domain.converge import Effect, PutTraffic, converge
from canaryd.domain.decide import decide
from canaryd.domain.idle import Gate, HandBack, Start, idle
from canaryd.domain.model import DeploymentView, ReplicaSetView, Run, Stage, Target, World
from config.annotations import Managed, resolve
from config.annotations import parse as parse_annotations
from config.policy import Policy
from config.settings import Settings

log = structlog.get_logger(__name__)

_SOON = 0.05  # seconds until the next look after writes: their effect is in the caches by then


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
        self._api = api
        self._caches = caches
        self._settings = settings
        self._measurer = measurer
        self._clock = clock
        self._reader = WorldReader(api, caches, settings)
        self._effects = Effects(api, caches, settings.root_namespace)
        self._events = EventRecorder(api)
        self._said: dict[Key, str] = {}
        self._gated: set[Key] = set()
        self._suspects: set[Key] = set()
        self._parsed: dict[str, tuple[str, Run]] = {}

    def reconcile(self, key: Key) -> float | None:
        """One pass; seconds until the next look, None for when something changes. Raises ApiError."""
        if self._settings.namespaces and key[0] not in self._settings.namespaces:
            return None
        runs = self.runs_of(key)
        active = [run for run in runs if run.active]
        if active:
            return self._step(active[0])
        return self._idle(key, sorted(runs, key=lambda run: run.created, reverse=True))

    def runs_of(self, key: Key) -> list[Run]:
        """All runs of a Deployment."""
        return [run for run in self.runs() if (run.namespace, run.target.name) == key]

    def runs(self) -> list[Run]:
        """All runs of the cluster; objects that are none of ours are logged and left alone."""
        found = []
        for obj in self._caches.runs.items():
            try:
                found.append(self._parse(obj))
            except (KeyError, ValueError, TypeError) as error:
                log.error("run.unreadable", run=obj["metadata"].get("name"), error=repr(error))
        present = {run.uid for run in found}
        self._parsed = {uid: entry for uid, entry in self._parsed.items() if uid in present}
        return found

    def _parse(self, obj: Json) -> Run:
        """Each version of a run is read once."""
        uid, version = obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
        known = self._parsed.get(uid)
        if known is None or known[0] != version:
            known = self._parsed[uid] = (version, parse(obj))
        return known[1]

    # -- with a run ---------------------------------------------------------------------------------

    def _step(self, run: Run) -> float | None:
        now = self._clock()
        measured = self._measurer.measured(run, now)
        world = self._reader.world(run, measured)
        before = run
        run = replace(run, routes=tuple(view.ref for view in world.routes) or run.routes)
        decision = decide(run, world, now)
        after = decision.run
        effects = converge(after, world)
        # In an emergency: a planned shift to stable is written like a rise, after its status.
        emergency = after.stage in (Stage.DRAIN, Stage.JUDGE)
        falls = [e for e in effects if isinstance(e, PutTraffic) and e.falls and emergency]
        failed = self._perform(after, falls)
        if after != before:
            after = self._save(after)
            self._measurer.accept(after)
            self._tell(before, after, world)
        failed = self._perform(after, [e for e in effects if e not in falls]) or failed
        self._log(after, now)
        if after.stage is Stage.DONE:
            self._finish(after)
            return _SOON
        if failed:
            return 0.5
        return _SOON if effects else max(decision.again, _SOON)

    def _perform(self, run: Run, effects: Sequence[Effect]) -> bool:
        """Each effect on its own: one that fails does not keep the others back. True if any failed."""
        failed = False
        for effect in effects:
            try:
                self._effects.perform(run, effect)
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

    def _save(self, run: Run) -> Run:
        body: Json = {
            "metadata": {"resourceVersion": run.resource_version},
            "status": _explicit(status(run)),
        }
        saved = self._api.patch(CANARYRUNS, run.namespace, run.name, body, subresource="status")
        self._caches.runs.saw(saved)
        return replace(run, resource_version=saved["metadata"]["resourceVersion"])

    def _finish(self, run: Run) -> None:
        obj = self._caches.runs.get((run.namespace, run.name))
        finalizers = obj["metadata"].get("finalizers") or [] if obj else []
        if FINALIZER in finalizers:
            change = {"metadata": {"finalizers": [f for f in finalizers if f != FINALIZER]}}
            try:
                self._caches.runs.saw(self._api.patch(CANARYRUNS, run.namespace, run.name, change))
            except NotFound:
                return

    def _tell(self, before: Run, after: Run, world: World) -> None:
        about = [_about_run(after)]
        if world.deployment is not None:
            about.append(_about_deployment(after.namespace, after.target.name, world.deployment.uid))
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

    # -- without a run ------------------------------------------------------------------------------

    def _idle(self, key: Key, finished: list[Run]) -> float | None:
        for run in finished:
            if run.deleting:
                self._finish(run)
        raw, deployment, sets = self._reader.deployment(*key)
        if raw is None or deployment is None or "canaryd.io/run" in (raw["metadata"].get("labels") or {}):
            return None
        if key in self._suspects and self._sweep(key, raw, deployment, sets, finished):
            return _SOON
        policy = self._policy(key, raw, deployment)
        if deployment.paused and deployment.owns_pause:
            self._gated.add(key)
        care = idle(
            deployment,
            sets,
            finished,
            self._reader.terms,
            gated=bool(finished) or key in self._gated,
            roll_restarts=isinstance(policy, Policy) and policy.restarts == "roll",
        )
        match care:
            case Start(after):
                self._start(key, deployment, finished, after, policy)
            case Gate(paused, because):
                self._say(key, deployment, "Gate", because)
                self._effects.set_paused(*key, paused)
            case HandBack(revision, because):
                self._say(key, deployment, "HandedBack", because)
                self._effects.put_template(*key, revision, paused=deployment.enabled)
        if not isinstance(care, Start):
            self._prune(finished)
        return _SOON if isinstance(care, Start) else None

    def _policy(self, key: Key, raw: Json, deployment: DeploymentView) -> Policy | None:
        """The policy that the annotations ask for; what is wrong with them is said once."""
        if not deployment.enabled:
            return None
        managed = parse_annotations(raw["metadata"].get("annotations") or {})
        policy = (
            resolve(managed, self._settings.policies, self._settings.default_policy)
            if isinstance(managed, Managed)
            else managed
        )
        if isinstance(policy, Policy):
            return policy
        self._say(key, deployment, "InvalidAnnotation", "; ".join(map(str, policy)), warning=True)
        return None

    def _say(
        self, key: Key, deployment: DeploymentView, reason: str, message: str, *, warning: bool = False
    ) -> None:
        """An event about a Deployment without a run, once per message."""
        if self._said.get(key) == message:
            return
        self._said[key] = message
        log.info("deployment", namespace=key[0], name=key[1], reason=reason, because=message)
        self._events.record(_about_deployment(*key, deployment.uid), reason, message, warning=warning)

    def suspect(self, key: Key) -> None:
        """A run of this Deployment may have vanished without cleaning up: look when it is next reconciled."""
        self._suspects.add(key)

    def _sweep(
        self,
        key: Key,
        raw: Json,
        deployment: DeploymentView,
        sets: list[ReplicaSetView],
        finished: list[Run],
    ) -> bool:
        """Begin a run that puts back what a vanished one left; whether there was anything."""
        caches = self._caches
        left = orphans(
            raw, caches.services.items(), caches.virtualservices.items(), caches.destinationrules.items()
        )
        serving = [rs for rs in sets if rs.replicas > 0 and rs.ready > 0]
        self._suspects.discard(key)
        if left is None or not serving:
            return False
        run = Run(
            namespace=key[0],
            name=f"{key[1][:45]}-swept-{len(finished) + 1}",
            target=Target(*key, deployment.uid),
            revision=left.revision or deployment.revision,
            created=self._clock(),
            trigger="routes without a run",
        )
        canary = caches.deployments.get((key[0], run.canary_name))
        created = self._create(run)
        if created is None:
            return False
        self._save(restoring(created, left, max(serving, key=lambda rs: rs.ready), canary))
        self._say(key, deployment, "Swept", "routes of a run that is gone are put back", warning=True)
        return True

    def _create(self, run: Run) -> Run | None:
        """The run as an object of the API; None if it is there already."""
        try:
            meta = self._api.create(CANARYRUNS, run.namespace, manifest(run))["metadata"]
        except AlreadyExists:
            return None
        return replace(run, uid=meta["uid"], resource_version=meta["resourceVersion"])

    def _start(
        self,
        key: Key,
        deployment: DeploymentView,
        finished: list[Run],
        after: Run | None,
        policy: Policy | None,
    ) -> None:
        """Create the run. Its name holds revision and count: two who try create it once."""
        count = sum(run.revision == deployment.revision for run in finished)
        base = f"{key[1][:45]}-{deployment.revision}"
        run = Run(
            namespace=key[0],
            name=f"{base}-{count + 1}" if count else base,
            target=Target(*key, deployment.uid),
            revision=deployment.revision,
            created=self._clock(),
            policy_name=policy.name if policy else "",
            trigger="the Deployment's template changed",
            retry=deployment.retry,
        )
        created = self._create(run)
        if created is None:
            return
        run = created
        if after is not None:
            run = _inherit(run, after)
        run = self._save(replace(run, stage_since=run.created, because="looking at the ground"))
        self._effects.keep_template(run)
        for said in announce(None, run):
            self._events.record(_about_run(run), said.reason, said.message)
            self._events.record(
                _about_deployment(*key, deployment.uid), said.reason, said.message, warning=said.warning
            )

    def _prune(self, finished: list[Run]) -> None:
        """Keep the newest runs of a Deployment; what they own goes with them."""
        for run in finished[self._settings.history :]:
            if not run.deleting:
                try:
                    self._api.delete(CANARYRUNS, run.namespace, run.name, uid=run.uid)
                except NotFound:
                    continue


def _explicit(body: Json) -> Json:
    """A merge patch that also removes what is no longer there; the last verdict stays for people to read."""
    optional = ("outcome", "hold", "policy", "stable", "judge", "watched", "finishedAt")
    times = ("settledFrom", "judgedSince", "judgedTo", "holdSince", "blindSince", "finished")
    return {
        **dict.fromkeys(optional),
        **body,
        "times": {**dict.fromkeys(times), **body["times"]},
    }


def _inherit(run: Run, after: Run) -> Run:
    """A run that begins beside the carrier on which `after` ended."""
    carrier = after.carrier if after.outcome and after.carrier and after.stable else after.canary_name
    stable = after.stable
    if carrier == after.canary_name:
        stable = (
            replace(
                after.stable,
                workload=after.canary_name,
                revision=after.revision,
                labels=after.canary_labels,
                replicaset="",
            )
            if after.stable
            else None
        )
    return replace(
        run,
        carrier=carrier,
        stable=stable,
        service=after.service,
        host=after.host,
        routes=after.routes,
        wanted=after.wanted,
    )


def _about_run(run: Run) -> Json:
    return {
        "apiVersion": CANARYRUNS.api_version,
        "kind": CANARYRUNS.kind,
        "metadata": {"namespace": run.namespace, "name": run.name, "uid": run.uid},
    }


def _about_deployment(namespace: str, name: str, uid: str) -> Json:
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
    }
