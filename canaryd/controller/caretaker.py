"""Deployments without an active run: their gate, the beginning of a run, and what a vanished run left."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import structlog

from canaryd.cluster.events import EventRecorder
from canaryd.cluster.resources import CANARYRUNS, DEPLOYMENTS, Json, Key
from canaryd.cluster.workloads import ENABLED
from canaryd.controller.book import RunBook
from canaryd.controller.caches import Caches
from canaryd.controller.effects import Effects
from canaryd.controller.sweep import orphans, restoring
from canaryd.controller.world import WorldReader
from canaryd.domain.announce import announce
from canaryd.domain.idle import Gate, HandBack, Start, idle
from canaryd.domain.model import Outcome, Run, Stage, Target
from canaryd.domain.world import DeploymentView, ReplicaSetView
from config.annotations import Managed, parse, resolve
from config.policy import Policy
from config.settings import Settings

log = structlog.get_logger(__name__)

SWEEP = "routes without a run"  # the trigger of a run that puts back what a vanished one left


class Caretaker:
    """Looks after Deployments by key while they have no active run. One worker at a time per key."""

    def __init__(
        self,
        caches: Caches,
        settings: Settings,
        reader: WorldReader,
        effects: Effects,
        events: EventRecorder,
        book: RunBook,
        clock: Callable[[], float],
    ) -> None:
        self._caches = caches
        self._settings = settings
        self._reader = reader
        self._effects = effects
        self._events = events
        self._book = book
        self._clock = clock
        self._said: dict[Key, str] = {}
        self._gated: set[Key] = set()
        self._suspects: set[Key] = set()

    def suspect(self, key: Key) -> None:
        """A run of this Deployment may have vanished without cleaning up: look when it is next cared for."""
        self._suspects.add(key)

    def blocked(self, key: Key, fault: str) -> None:
        """Say that nothing is done for a Deployment, since one of its runs cannot be read."""
        _, deployment, _ = self._reader.deployment(*key)
        if deployment is not None:
            message = f"{fault}; nothing is done for this Deployment until it is mended or deleted"
            self._say(key, deployment, "UnreadableRun", message, warning=True)

    def care(self, key: Key, finished: list[Run]) -> bool:
        """Whether a run was begun. `finished`: the Deployment's ended runs, newest first. Raises ApiError."""
        for run in finished:
            if run.deleting:
                self._book.let_go(run)
        raw, deployment, sets = self._reader.deployment(*key)
        last = finished[0] if finished else None
        if last is not None and last.hands_on and _deployment_gone(last, deployment):
            return self._put_away(key, last)
        if raw is None or deployment is None or "canaryd.io/run" in (raw["metadata"].get("labels") or {}):
            return False
        if key in self._suspects and self._sweep(key, raw, deployment, sets, finished):
            return True
        # A Deployment that was made anew under the old name begins without a past, save for a carrier's traffic.
        finished = [
            run for run in finished if run.target.uid == deployment.uid or (run is last and run.hands_on)
        ]
        if self._misspelt(key, raw, deployment):
            return False
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
                self._start(key, deployment, after, policy)
                return True
            case Gate(paused, because):
                self._say(key, deployment, "Gate", because)
                self._effects.set_paused(*key, paused, deployment.resource_version)
            case HandBack(revision, because):
                self._say(key, deployment, "HandedBack", because)
                version = deployment.resource_version
                self._effects.put_template(*key, revision, version, paused=deployment.enabled)
        self._book.prune(finished, self._settings.history)
        return False

    def _misspelt(self, key: Key, raw: Json, deployment: DeploymentView) -> bool:
        """Whether canaryd.io/enabled is neither true nor false: then nothing is begun and nothing handed back."""
        text = (raw["metadata"].get("annotations") or {}).get(ENABLED, "false")
        if text in ("true", "false"):
            return False
        message = f'{ENABLED}: "{text}" is not allowed; allowed is "true" or "false"'
        self._say(key, deployment, "InvalidAnnotation", message, warning=True)
        return True

    def _policy(self, key: Key, raw: Json, deployment: DeploymentView) -> Policy | None:
        """The policy that the annotations ask for; what is wrong with them is said once."""
        if not deployment.enabled:
            return None
        managed = parse(raw["metadata"].get("annotations") or {})
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
        self._events.record(about_deployment(*key, deployment.uid), reason, message, warning=warning)

    def _start(self, key: Key, deployment: DeploymentView, after: Run | None, policy: Policy | None) -> None:
        run = self._begin(
            key,
            deployment.revision,
            deployment.uid,
            after,
            policy_name=policy.name if policy else "",
            trigger="the Deployment's template changed",
            retry=deployment.retry,
        )
        if run is None:
            return
        self._effects.keep_template(run)
        self._tell_begun(run, about_deployment(*key, deployment.uid))

    def _put_away(self, key: Key, after: Run) -> bool:
        """Begin a run for a Deployment that is gone: it ends at once, and takes the carrier of `after` with it."""
        run = self._begin(
            key,
            after.revision,
            after.target.uid,
            after,
            policy_name=after.policy_name,
            trigger="the Deployment is gone, and its carrier is not",
        )
        if run is None:
            return False
        self._tell_begun(run)
        return True

    def _begin(self, key: Key, revision: str, uid: str, after: Run | None, **what: str) -> Run | None:
        """A new run with its first status; None where another was faster.

        Its name holds revision and count: two who try create it once.
        """
        count = sum(run.revision == revision for run in self._book.of(key))
        base = f"{key[1][:45].rstrip('.-')}-{revision}"
        created = self._book.create(
            Run(
                namespace=key[0],
                name=f"{base}-{count + 1}" if count else base,
                target=Target(*key, uid),
                revision=revision,
                created=self._clock(),
                **what,  # type: ignore[arg-type]  # text fields alone
            )
        )
        if created is None:
            return None
        run = inherit(created, after) if after is not None else created
        return self._book.save(replace(run, stage_since=run.created, because="looking at the ground"))

    def _tell_begun(self, run: Run, *others: Json) -> None:
        for said in announce(None, run):
            for about in (about_run(run), *others):
                self._events.record(about, said.reason, said.message, warning=said.warning)

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
        created = self._book.create(
            Run(
                namespace=key[0],
                name=f"{key[1][:45].rstrip('.-')}-swept-{len(finished) + 1}",
                target=Target(*key, deployment.uid),
                revision=left.revision or deployment.revision,
                created=self._clock(),
                trigger=SWEEP,
            )
        )
        if created is None:
            return False
        canary = caches.deployments.get((key[0], created.canary_name))
        self._book.save(restoring(created, left, max(serving, key=lambda rs: rs.ready), canary))
        self._say(key, deployment, "Swept", "routes of a run that is gone are put back", warning=True)
        return True

    def completed(self, run: Run, finished: list[Run]) -> Run:
        """A run whose first status was lost to a crash, as it should have begun; any other as it is."""
        if run.stage is not Stage.PREFLIGHT or run.stage_since > 0:
            return run
        if run.trigger == SWEEP:
            # Ended at once: what it was to put back is found again.
            self.suspect((run.namespace, run.target.name))
            return replace(run, stage=Stage.REST, outcome=Outcome.ROLLED_BACK, reason="Swept")
        return inherit(run, finished[0]) if finished and finished[0].hands_on else run


def _deployment_gone(last: Run, deployment: DeploymentView | None) -> bool:
    """Whether nobody takes over what `last` handed on: its Deployment is gone, and none that is managed came since."""
    return deployment is None or (deployment.uid != last.target.uid and not deployment.enabled)


def inherit(run: Run, after: Run) -> Run:
    """A run that begins beside the carrier on which `after` ended: that is its stable arm."""
    kept = after.outcome is Outcome.ROLLED_BACK and bool(after.carrier)
    stable = after.stable
    if not kept and stable is not None:
        stable = replace(
            stable,
            workload=after.canary_name,
            revision=after.revision,
            labels=after.canary_labels,
            replicaset="",
        )
    return replace(
        run,
        carrier=after.carrier if kept else after.canary_name,
        stable=stable,
        service=after.service,
        host=after.host,
        routes=after.routes,
        wanted=replace(after.wanted, carrier=True, canary=None, paused=True),
    )


def about_run(run: Run) -> Json:
    """What an event about a run refers to."""
    return {
        "apiVersion": CANARYRUNS.api_version,
        "kind": CANARYRUNS.kind,
        "metadata": {"namespace": run.namespace, "name": run.name, "uid": run.uid},
    }


def about_deployment(namespace: str, name: str, uid: str) -> Json:
    """What an event about a Deployment refers to."""
    return {
        "apiVersion": DEPLOYMENTS.api_version,
        "kind": DEPLOYMENTS.kind,
        "metadata": {"namespace": namespace, "name": name, "uid": uid},
    }
