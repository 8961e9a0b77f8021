"""The one place where writes are committed, and where the rest of the process hears of them."""

from __future__ import annotations

import datetime as dt
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass

from canaryd.cluster.resources import Json, Key
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.registry import Registry
from canaryd.sandbox.apiserver.store import Snapshot, Store

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class WriteRecord:
    """One committed write. `old` is None for a creation, `new` for a removal; neither may be changed.

    `verb` is the request's (create, update, patch, delete, deletecollection); a deletion that only marks
    the object has verb delete and a `new`. `resource` is as in `deployments.apps`. `at` is in seconds
    since the epoch, by the server's clock. `body` is the request's, as it was sent: a patch, DeleteOptions,
    a whole object.
    """

    verb: str
    resource: str
    subresource: str
    namespace: str
    name: str
    old: Json | None
    new: Json | None
    field_manager: str
    user_agent: str
    at: float
    body: bytes = b""


WriteHook = Callable[[WriteRecord], None]


def timestamp(seconds: float) -> str:
    return dt.datetime.fromtimestamp(seconds, dt.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Core:
    """Store, registry and clock together, and the commit that everything goes through."""

    def __init__(self, history: int, clock: Callable[[], float] = time.time) -> None:
        self.store = Store(history)
        self.registry = Registry()
        self.clock = clock
        self.hooks: list[WriteHook] = []

    def now(self, ahead: float = 0) -> str:
        """The time, `ahead` seconds from now, as the API writes it."""
        return timestamp(self.clock() + ahead)

    def commit(self, resource: ResourceType, key: Key, body: Json, info: RequestInfo) -> Snapshot:
        old = self.store.get(resource.store_key, key)
        new = self.store.commit(resource.store_key, key, body)
        if resource.plural == "customresourcedefinitions" and not resource.custom:
            self.registry.define(body)
        self._tell(resource, key, old, new, info)
        return new

    def remove(self, resource: ResourceType, key: Key, info: RequestInfo) -> Snapshot:
        """Take the object out; the answer is its last state."""
        old = self.store.get(resource.store_key, key)
        last = self.store.remove(resource.store_key, key)
        if resource.plural == "customresourcedefinitions" and not resource.custom:
            self.registry.withdraw(last.body)
        self._tell(resource, key, old, None, info)
        return last

    def _tell(
        self, resource: ResourceType, key: Key, old: Snapshot | None, new: Snapshot | None, info: RequestInfo
    ) -> None:
        if not self.hooks:
            return
        record = WriteRecord(
            verb=info.verb,
            resource=resource.store_key,
            subresource=info.path.subresource,
            namespace=key[0],
            name=key[1],
            old=old.body if old else None,
            new=new.body if new else None,
            field_manager=info.manager,
            user_agent=info.user_agent,
            at=self.clock(),
            body=info.body,
        )
        for hook in tuple(self.hooks):
            try:
                hook(record)
            except Exception:  # noqa: BLE001 - a broken hook must not fail the client's write
                _log.exception("on_write hook failed")
