"""The runs as they are kept in the cluster: read once per version, created, saved, let go."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import structlog

from canaryd.cluster.errors import AlreadyExists, NotFound
from canaryd.cluster.resources import CANARYRUNS, Json, Key
from canaryd.cluster.runs import FINALIZER, manifest, parse, status
from canaryd.cluster.transport import Api
from canaryd.controller.caches import Cache
from canaryd.domain.model import Run

log = structlog.get_logger(__name__)


class RunBook:
    """All runs of the cluster. Thread-safe as its cache is; what it memoises may be made twice."""

    def __init__(self, api: Api, cache: Cache) -> None:
        self._api = api
        self._cache = cache
        self._parsed: dict[str, tuple[str, Run]] = {}
        self.unreadable: Mapping[Key, str] = {}

    def all(self) -> list[Run]:
        """Every run; what cannot be read is noted in `unreadable`, by its Deployment, with the reason."""
        found, unreadable = [], {}
        for obj in self._cache.items():
            try:
                found.append(self._parse(obj))
            except (KeyError, ValueError, TypeError) as error:
                target = (obj.get("spec") or {}).get("target") or {}
                key = (obj["metadata"].get("namespace", ""), str(target.get("name")))
                unreadable[key] = f"CanaryRun {obj['metadata'].get('name')}: {error}"
                if self.unreadable.get(key) != unreadable[key]:
                    log.error("run.unreadable", namespace=key[0], name=key[1], error=unreadable[key])
        present = {run.uid for run in found}
        self._parsed = {uid: entry for uid, entry in self._parsed.items() if uid in present}
        self.unreadable = unreadable
        return found

    def of(self, key: Key) -> list[Run]:
        """The runs of a Deployment, newest first."""
        runs = [run for run in self.all() if (run.namespace, run.target.name) == key]
        return sorted(runs, key=lambda run: run.created, reverse=True)

    def _parse(self, obj: Json) -> Run:
        uid, version = obj["metadata"]["uid"], obj["metadata"]["resourceVersion"]
        known = self._parsed.get(uid)
        if known is None or known[0] != version:
            known = self._parsed[uid] = (version, parse(obj))
        return known[1]

    def create(self, run: Run) -> Run | None:
        """The run as an object of the API, without its status yet; None if it is there already."""
        try:
            meta = self._api.create(CANARYRUNS, run.namespace, manifest(run))["metadata"]
        except AlreadyExists:
            return None
        return replace(run, uid=meta["uid"], resource_version=meta["resourceVersion"])

    def save(self, run: Run) -> Run:
        """Write the status on the version that was decided on. Raises Conflict where another was first."""
        body: Json = {
            "metadata": {"resourceVersion": run.resource_version},
            "status": _explicit(status(run)),
        }
        saved = self._api.patch(CANARYRUNS, run.namespace, run.name, body, subresource="status")
        self._cache.saw(saved)
        return replace(run, resource_version=saved["metadata"]["resourceVersion"])

    def let_go(self, run: Run) -> None:
        """Take the finalizer off a run that has ended."""
        obj = self._cache.get((run.namespace, run.name))
        finalizers = obj["metadata"].get("finalizers") or [] if obj else []
        if FINALIZER not in finalizers:
            return
        change = {"metadata": {"finalizers": [f for f in finalizers if f != FINALIZER]}}
        try:
            self._cache.saw(self._api.patch(CANARYRUNS, run.namespace, run.name, change))
        except NotFound:
            return

    def prune(self, finished: list[Run], keep: int) -> None:
        """Keep the newest `keep` runs of a Deployment; what the others own goes with them."""
        for run in finished[keep:]:
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
