"""Which resources are served: the built-in ones, and those that definitions add at run time."""

from __future__ import annotations

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.definitions import CustomResource, custom_resource
from canaryd.sandbox.apiserver.errors import NotServed, no_such_path
from canaryd.sandbox.apiserver.kinds import BUILTINS, ResourceType
from canaryd.sandbox.apiserver.paths import ApiPath

_BUILTIN_GROUPS = frozenset(kind.group for kind in BUILTINS)


class Registry:
    """All served resource types."""

    def __init__(self) -> None:
        self._types: dict[tuple[str, str], ResourceType] = {(t.group, t.plural): t for t in BUILTINS}
        self._custom: dict[tuple[str, str], CustomResource] = {}
        self.generation = 0
        """Grows with every change of what is served: the key for anything cached about it."""

    def types(self) -> list[ResourceType]:
        return list(self._types.values())

    def find(self, path: ApiPath) -> ResourceType:
        """The type that a path addresses; 404 where nothing of the kind is served."""
        found = self._types.get((path.group, path.plural))
        if found is None or path.version not in found.versions:
            raise no_such_path() if path.group in _BUILTIN_GROUPS else NotServed()
        if bool(path.namespace) and not found.namespaced:
            raise no_such_path()
        return found

    def by_kind(self, api_version: str, kind: str) -> ResourceType | None:
        """The type of an owner reference; its version need not be served any more."""
        group = api_version.rpartition("/")[0]
        for found in self._types.values():
            if found.group == group and found.kind == kind:
                return found
        return None

    def by_store_key(self, key: str) -> ResourceType | None:
        return next((t for t in self._types.values() if t.resource == key and not t.stored_as), None)

    def custom(self, resource: ResourceType) -> CustomResource | None:
        return self._custom.get((resource.group, resource.plural))

    def define(self, definition: Json) -> None:
        """Serve what a valid definition describes, from now on."""
        made = custom_resource(definition)
        key = (made.type.group, made.type.plural)
        self._types[key] = made.type
        self._custom[key] = made
        self.generation += 1

    def withdraw(self, definition: Json) -> None:
        key = (definition["spec"]["group"], definition["spec"]["names"]["plural"])
        self._types.pop(key, None)
        self._custom.pop(key, None)
        self.generation += 1
