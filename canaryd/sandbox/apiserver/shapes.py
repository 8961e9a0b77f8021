"""The fields of the built-in kinds: what a typed server would drop, refuse or warn of.

The knowledge comes from the generated models of the official Python client, so a new field of
Kubernetes needs no change here. They are imported on first use: that costs half a second.
"""

from __future__ import annotations

import functools
import importlib
import re
from dataclasses import dataclass, field
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import bad_request, undecodable
from canaryd.sandbox.apiserver.kinds import ResourceType

_SPECIAL_MODELS = {
    ("", "Event"): "CoreV1Event",
    ("events.k8s.io", "Event"): "EventsV1Event",
    ("autoscaling", "HorizontalPodAutoscaler"): "V2HorizontalPodAutoscaler",
}
_QUANTITIES = frozenset({"limits", "requests", "capacity", "allocatable", "allocatedResources", "overhead",
                         "hard", "used", "sizeLimit", "divisor", "averageValue", "value"})  # fmt: skip
_SCALARS: dict[str, tuple[type, ...]] = {
    "str": (str,),
    "datetime": (str,),
    "bytearray": (str,),
    "bool": (bool,),
    "int": (int,),
    "float": (int, float),
}
_CONTAINER = re.compile(r"(?i:(?P<container>list|dict))[\[(](?:str, ?)?(?P<inner>.+)[\])]")
_PRECISE_TIMES = frozenset({"renewTime", "acquireTime", "eventTime", "lastObservedTime"})
_PRECISE_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}(Z|[+-]\d\d:\d\d)")
_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)")
_GO_TYPES = {"int": "int32", "str": "string", "bool": "bool", "float": "float64", "datetime": "string",
             "bytearray": "[]uint8"}  # fmt: skip


@functools.cache
def _models() -> Any:
    return importlib.import_module("kubernetes.client.models")


def model_class(model: str) -> Any:
    """The client's class of that name; None if there is none."""
    return getattr(_models(), model, None)


@functools.cache
def fields_of(model: str) -> dict[str, str] | None:
    """JSON field name -> type expression of a model; None for a model that is not known."""
    found = model_class(model)
    if found is None:
        return None
    return {found.attribute_map[name]: kind for name, kind in found.openapi_types.items()}


def model_of(resource: ResourceType) -> str:
    """The name of the client's model for a built-in kind."""
    special = _SPECIAL_MODELS.get((resource.group, resource.kind))
    return special or f"{resource.storage.capitalize()}{resource.kind}"


def inner_type(expression: str) -> tuple[str, str]:
    """Split `List[X]` and `Dict[str, X]` into (container, X); a plain type has no container."""
    found = _CONTAINER.fullmatch(expression)
    return (found["container"].lower(), found["inner"]) if found else ("", expression)


def _go_kind(value: object) -> str:
    match value:
        case bool():
            return "bool"
        case str():
            return "string"
        case int() | float():
            return "number"
        case list():
            return "array"
        case _:
            return "object"


@dataclass
class Decoder:
    """Checks one object against its model; collects unknown fields and drops them and all nulls."""

    kind: str
    version: str
    unknown: list[str] = field(default_factory=list)

    def decode(self, model: str, body: Json, path: str = "", *, root: bool = False) -> None:
        known = fields_of(model)
        if known is None:
            return
        for key in list(body):
            where = f"{path}.{key}" if path else key
            if body[key] is None:
                del body[key]
            elif key in known:
                self._value(known[key], body, key, where, model)
                if body[key] in ([], {}) and inner_type(known[key])[0]:
                    del body[key]  # an empty list or map is as good as none, and is not kept
            elif not (root and key in ("apiVersion", "kind")):
                self.unknown.append(where)
                del body[key]

    def _value(self, expression: str, holder: Any, key: Any, path: str, owner: str) -> None:
        value = holder[key]
        container, inner = inner_type(expression)
        if container == "list":
            self._expect(isinstance(value, list), value, path, owner, f"[]{inner}")
            for index in range(len(value)):
                self._value(inner, value, index, f"{path}[{index}]", owner)
        elif container == "dict":
            self._expect(isinstance(value, dict), value, path, owner, f"map[string]{inner}")
            for name in list(value):
                if value[name] is None and inner != "object":
                    value[name] = ""
                self._entry(inner, value, name, path, owner)
        elif inner in _SCALARS:
            self._scalar(inner, value, path, owner)
        elif fields_of(inner):
            self._expect(isinstance(value, dict), value, path, owner, inner)
            self.decode(inner, value, path)

    def _entry(self, inner: str, holder: Json, name: str, path: str, owner: str) -> None:
        if inner == "str" and path.rpartition(".")[2] in _QUANTITIES:
            self._expect(isinstance(holder[name], (str, int, float)), holder[name], path, owner, "Quantity")
            holder[name] = str(holder[name])
        else:
            self._value(inner, holder, name, f"{path}.{name}" if fields_of(inner) else path, owner)

    def _scalar(self, kind: str, value: object, path: str, owner: str) -> None:
        quantity = kind == "str" and path.rpartition(".")[2] in _QUANTITIES
        fits = isinstance(value, (*_SCALARS[kind], int, float) if quantity else _SCALARS[kind])
        fits = fits and (kind == "bool" or not isinstance(value, bool))
        self._expect(fits, value, path, owner, _GO_TYPES[kind])
        if kind == "datetime":
            self._time(str(value), path)

    def _time(self, value: str, path: str) -> None:
        """Times are RFC 3339; those with microseconds want exactly six digits, as in Go's layout."""
        precise = path.rpartition(".")[2] in _PRECISE_TIMES
        if not (_PRECISE_TIME if precise else _TIME).fullmatch(value):
            layout = "2006-01-02T15:04:05.000000Z07:00" if precise else "2006-01-02T15:04:05Z07:00"
            why = f'{path}: parsing time "{value}" as "{layout}": cannot parse'
            raise bad_request(undecodable(self.kind, self.version, why))

    def _expect(self, fits: bool, value: object, path: str, owner: str, wanted: str) -> None:
        if not fits:
            struct = owner.removeprefix("V1").removeprefix("V2").removeprefix("Core").removeprefix("Events")
            where = f"Go struct field {struct}.{path} of type {wanted}"
            why = f"json: cannot unmarshal {_go_kind(value)} into {where}"
            raise bad_request(undecodable(self.kind, self.version, why))


def decode_builtin(resource: ResourceType, body: Json, version: str) -> list[str]:
    """Drop from `body` what the kind does not have; the answer lists it. A wrong type is a 400."""
    decoder = Decoder(resource.kind, version)
    decoder.decode(model_of(resource), body, root=True)
    return decoder.unknown
