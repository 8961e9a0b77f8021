"""Recordings of runs in the cluster: ConfigMaps that a CanaryRun owns, and the newest lines in its status.

A ConfigMap holds up to some 256 KiB; its keys are batches of lines, each a gzip file named by the number of its
first line. To write a batch again, or a longer one that begins with the same line, changes nothing else. The
status has the lines that no ConfigMap has yet: they are saved together with the evidence that they led to, and
so survive a crash at any moment.
"""

from __future__ import annotations

from collections.abc import Iterator

from canaryd.cluster.errors import AlreadyExists, NotFound
from canaryd.cluster.lines import packed, unpacked
from canaryd.cluster.resources import CANARYRUNS, CONFIGMAPS, Json
from canaryd.cluster.runs import parse
from canaryd.cluster.transport import Api
from canaryd.domain.model import Run

CHUNK = 256 << 10  # characters of batches after which the next ConfigMap begins; the API server takes 1 MiB

_LABELS = {"app.kubernetes.io/managed-by": "canaryd"}


class SpoiltRecordingError(Exception):
    """A recording that somebody edited or deleted a part of; the message says which."""


def store(api: Api, run: Run, owner: Json) -> int:
    """Put the lines that only the status has into a ConfigMap owned by `owner`; their size. Raises ApiError."""
    data = packed(run.recorded.lines)
    name = _name(run, run.recorded.size // CHUNK)
    body: Json = {"binaryData": {_key(run.recorded.stored): data}}
    try:
        api.patch(CONFIGMAPS, run.namespace, name, body)
    except NotFound:
        meta = {"name": name, "namespace": run.namespace, "labels": _LABELS, "ownerReferences": [owner]}
        try:
            api.create(CONFIGMAPS, run.namespace, {"metadata": meta, **body})
        except AlreadyExists:
            api.patch(CONFIGMAPS, run.namespace, name, body)
    return len(data)


def read(api: Api, namespace: str, name: str) -> tuple[Run, tuple[str, ...]]:
    """A run and all lines of its recording. Raises ApiError, SpoiltRecordingError, ValueError (no run to read)."""
    run = parse(api.get(CANARYRUNS, namespace, name))
    return run, (*_stored(api, run), *run.recorded.lines)


def _stored(api: Api, run: Run) -> Iterator[str]:
    number = 0
    for index in range(run.recorded.size // CHUNK + 1 if run.recorded.stored else 0):
        part = _name(run, index)
        try:
            batches = api.get(CONFIGMAPS, run.namespace, part).get("binaryData") or {}
        except NotFound:
            batches = {}
        while (key := _key(number)) in batches and number < run.recorded.stored:
            try:
                # A batch may have been written once more when a line had come: that line is in the next, too.
                lines = unpacked(batches[key])[: run.recorded.stored - number]
            except ValueError as error:
                where = f"ConfigMap {run.namespace}/{part}: {key}"
                raise SpoiltRecordingError(f"{where} is no batch of lines: {error}") from None
            yield from lines
            number += len(lines)
    if number != run.recorded.stored:
        raise SpoiltRecordingError(f"line {number + 1} is in no ConfigMap of run {run.namespace}/{run.name}")


def _name(run: Run, index: int) -> str:
    """A deleted run may leave ConfigMaps for a while: one of the same name must not write into them."""
    return f"{run.name}-recording-{run.uid[:8]}-{index}"


def _key(first: int) -> str:
    return f"{first:08d}.jsonl.gz"
