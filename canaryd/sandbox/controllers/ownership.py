"""Which objects a controller owns: those it made, and those that nobody owns and its selector matches.

An owner adopts an orphan that matches, and releases what it owns and does not match any more; what somebody
else controls is left alone, whatever its labels.
"""

from collections.abc import Iterable

from canaryd.cluster.errors import Invalid, NotFound
from canaryd.cluster.resources import Json, Resource
from canaryd.cluster.transport import Api
from canaryd.sandbox.controllers.cluster import MANAGER
from canaryd.sandbox.controllers.model import Meta, OwnerRef, Selector
from canaryd.sandbox.controllers.view import T, View


class Claims:
    """Claims objects of one kind for owners of another."""

    def __init__(self, api: Api, owner: Resource, owned: Resource) -> None:
        self._api = api
        self._owner = owner
        self._owned = owned

    def reference(self, owner: Meta) -> OwnerRef:
        """What an object that the owner controls carries."""
        kind = self._owner
        return OwnerRef(
            kind.api_version, kind.kind, owner.name, owner.uid, controller=True, block_deletion=True
        )

    def owned(self, owner: Meta, selector: Selector, view: View[T], candidates: Iterable[T]) -> list[T]:
        """Those of the candidates that are the owner's once this returns. Raises ApiError; what was done
        until then stays."""
        may_adopt: bool | None = None
        result: list[T] = []
        for value in candidates:
            controller, matches = value.meta.controller, selector.matches(value.meta.labels)
            if controller is not None and controller.uid == owner.uid:
                if matches:
                    result.append(value)
                elif not owner.deleting:
                    self._set_owners(view, value, _others(value.meta, owner))
            elif controller is None and matches and not value.meta.deleting:
                if may_adopt is None:
                    may_adopt = not owner.deleting and self._still_there(owner)
                owners = [*_others(value.meta, owner), self.reference(owner)]
                if may_adopt and (adopted := self._set_owners(view, value, owners)):
                    result.append(adopted)
        return result

    def _still_there(self, owner: Meta) -> bool:
        """Asks the server, since the local copy may be late: an owner on its way out adopts nothing."""
        try:
            meta: Json = self._api.get(self._owner, owner.namespace, owner.name)["metadata"]
        except NotFound:
            return False
        return bool(meta["uid"] == owner.uid and not meta.get("deletionTimestamp"))

    def _set_owners(self, view: View[T], value: T, owners: list[OwnerRef]) -> T | None:
        """Returns None where the object is gone. Raises Conflict where it has changed."""
        meta = {"resourceVersion": str(value.meta.version), "ownerReferences": [o.json() for o in owners]}
        try:
            raw = self._api.patch(
                self._owned, value.meta.namespace, value.meta.name, {"metadata": meta}, field_manager=MANAGER
            )
        except (NotFound, Invalid):
            return None
        return view.wrote(raw)


def _others(meta: Meta, owner: Meta) -> list[OwnerRef]:
    return [reference for reference in meta.owners if reference.uid != owner.uid]
