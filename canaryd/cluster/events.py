"""Kubernetes Events: what `kubectl describe` shows under a Deployment and its run."""

from __future__ import annotations

import secrets
import time

import structlog

from canaryd.cluster.errors import ApiError
from canaryd.cluster.resources import EVENTS, Json
from canaryd.cluster.runs import stamp
from canaryd.cluster.transport import Api

log = structlog.get_logger(__name__)

_LONGEST = 1000  # characters; the API allows 1024


class EventRecorder:
    """Records events; an event that cannot be written is logged and forgotten, it never stops a release."""

    def __init__(self, api: Api) -> None:
        self._api = api

    def record(self, about: Json, reason: str, message: str, *, warning: bool = False) -> None:
        """One event about an object (apiVersion, kind, metadata with namespace, name, uid)."""
        meta = about["metadata"]
        now = time.time()
        body = {
            "metadata": {
                "name": f"{meta['name'][:200].rstrip('-.')}.{secrets.token_hex(6)}",
                "namespace": meta["namespace"],
            },
            "involvedObject": {
                "apiVersion": about["apiVersion"],
                "kind": about["kind"],
                "namespace": meta["namespace"],
                "name": meta["name"],
                "uid": meta.get("uid", ""),
            },
            "type": "Warning" if warning else "Normal",
            "reason": reason,
            "message": message[:_LONGEST],
            "source": {"component": "canaryd"},
            "firstTimestamp": stamp(now)[:19] + "Z",
            "lastTimestamp": stamp(now)[:19] + "Z",
            "count": 1,
        }
        try:
            self._api.create(EVENTS, meta["namespace"], body)
        except ApiError as error:
            log.warning("event.lost", reason=reason, about=meta["name"], error=str(error))
