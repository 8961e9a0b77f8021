"""Events (core/v1): what `kubectl describe` shows of an object's history."""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Literal
from uuid import uuid4

from canaryd.cluster.errors import ApiError
from canaryd.cluster.resources import EVENTS, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.controllers.model import format_time

EventType = Literal["Normal", "Warning"]
_REMEMBERED = 256


@dataclass(frozen=True, slots=True)
class About:
    """The object that an event is about."""

    api_version: str
    kind: str
    namespace: str
    name: str
    uid: str

    def json(self) -> Json:
        """As an ObjectReference."""
        reference = {"apiVersion": self.api_version, "kind": self.kind, "uid": self.uid}
        return reference | {"namespace": self.namespace, "name": self.name}


class EventRecorder:
    """Writes events in the name of one component. Thread-safe. A failed write is let go: events are told to
    people, and nothing may hang on them."""

    def __init__(self, api: Api, component: str) -> None:
        self._api = api
        self._component = component
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, str, str], tuple[str, int]] = OrderedDict()

    def record(self, about: About, kind: EventType, reason: str, message: str) -> None:
        """Writes the event, or counts one up that says the same of the same object."""
        key = (about.uid, reason, message)
        with self._lock:
            name, count = self._known.pop(key, (f"{about.name}.{uuid4().hex[:16]}", 0))
            self._known[key] = (name, count + 1)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        said = {"type": kind, "reason": reason, "message": message, "count": count + 1}
        try:
            self._write(about, name, said)
        except ApiError:
            with self._lock:
                self._known.pop(key, None)

    def _write(self, about: About, name: str, said: Json) -> None:
        now = format_time(datetime.now(UTC))
        if said["count"] > 1:
            again = {"count": said["count"], "lastTimestamp": now}
            self._api.patch(EVENTS, about.namespace, name, again, field_manager=self._component)
            return
        event: Json = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"namespace": about.namespace, "name": name},
            "involvedObject": about.json(),
            "source": {"component": self._component},
            "reportingComponent": self._component,
            "firstTimestamp": now,
            "lastTimestamp": now,
        }
        self._api.create(EVENTS, about.namespace, event | said)
