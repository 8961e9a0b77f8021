"""What happens while a release is under way: faults, outages, and what people do at the wrong moment."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from canaryd.cluster.resources import PODS, VIRTUALSERVICES
from canaryd.cluster.transport import Api
from canaryd.sandbox.prometheus import Prometheus
from canaryd.sandbox.scenarios import Deed
from canaryd.sandbox.shop import Shop


@dataclass(frozen=True, slots=True)
class Faults:
    """The control file that every pod of the application looks at."""

    file: Path

    def put(self, faults: Mapping[str, Mapping[str, float]]) -> None:
        """By pod or version, "*" for all; they take effect within 0.2 s."""
        beside = self.file.with_suffix(".new")
        beside.write_text(json.dumps(faults))
        beside.replace(self.file)

    def clear(self) -> None:
        """Every pod behaves as its environment says."""
        self.file.unlink(missing_ok=True)


@dataclass(slots=True)
class _Pending:
    deed: Deed
    done_at: float | None = None
    open: bool = True


class Deeds:
    """The deeds of one scenario, each done once when its weight is reached, and undone when its time is over.

    version: that of the release; newer: releases a version after it.
    """

    def __init__(
        self,
        deeds: Sequence[Deed],
        *,
        api: Api,
        shop: Shop,
        prometheus: Prometheus,
        faults: Faults,
        version: str,
        newer: Callable[[], None],
    ) -> None:
        self._pending = [_Pending(deed) for deed in deeds]
        self._api, self._shop, self._prometheus = api, shop, prometheus
        self._faults, self._version, self._newer = faults, version, newer

    @property
    def all_done(self) -> bool:
        """Whether each has happened; some may still last."""
        return all(pending.done_at is not None for pending in self._pending)

    def follow(self, weight: int) -> None:
        """Do and undo what is due now that the canary has `weight`."""
        now = time.monotonic()
        for pending in self._pending:
            if pending.done_at is None and weight >= pending.deed.weight:
                pending.done_at = now
                self._do(pending.deed.name)
            elif pending.open and pending.done_at is not None and now - pending.done_at >= pending.deed.lasts:
                self._close(pending)

    def undo(self) -> None:
        """Undo whatever lasts."""
        for pending in self._pending:
            if pending.open and pending.done_at is not None:
                self._close(pending)
        self._faults.clear()

    def _close(self, pending: _Pending) -> None:
        pending.open = False
        match pending.deed.name:
            case "shock" | "burst":
                self._faults.clear()
            case "outage":
                self._prometheus.start()

    def _do(self, name: str) -> None:
        match name:
            case "fault":
                self._faults.put({self._version: {"error_rate": 0.1}})
            case "shock":
                self._faults.put({"*": {"error_rate": 0.3}})
            case "burst":
                self._faults.put({self._canary_pod(): {"error_rate": 0.5}})
            case "outage":
                self._prometheus.halt()
            case "newer":
                self._newer()
            case "edit":
                edit_weights(self._api, self._shop, stable=60, canary=40)

    def _canary_pod(self) -> str:
        """One of the canary's pods, the same one whenever it is asked for."""
        pods = self._api.list(PODS, self._shop.namespace, labels="canaryd.io/role=canary")[0]
        return min(str(pod["metadata"]["name"]) for pod in pods)


def edit_weights(api: Api, shop: Shop, *, stable: int, canary: int) -> None:
    """What a person does with `kubectl edit` at the wrong moment."""
    vs = api.get(VIRTUALSERVICES, shop.namespace, shop.name)
    index = next(i for i, route in enumerate(vs["spec"]["http"]) if len(route.get("route") or []) == 2)
    path = f"/spec/http/{index}/route"
    body = [
        {"op": "add", "path": f"{path}/{i}/weight", "value": weight}
        for i, weight in enumerate((stable, canary))
    ]
    api.patch(VIRTUALSERVICES, shop.namespace, shop.name, body, kind="json", field_manager="kubectl-edit")
