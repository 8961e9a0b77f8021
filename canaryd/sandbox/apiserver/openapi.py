"""OpenAPI documents: enough for kubectl to leave validation to the server, and for `kubectl explain`.

The v2 document has no schemas: kubectl before 1.27 then validates nothing itself and takes the merge keys
that it was built with. Both say that the server validates fields, which makes `kubectl apply` ask for
strict validation. The v3 documents carry the schemas.
"""

from __future__ import annotations

import functools
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver import openapi_wire
from canaryd.sandbox.apiserver.discovery import VERSION
from canaryd.sandbox.apiserver.errors import no_such_path
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.registry import Registry
from canaryd.sandbox.apiserver.shapes import fields_of, inner_type, model_class, model_of
from canaryd.sandbox.apiserver.store import dump

_PROTOBUF = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
_SCALARS: dict[str, Json] = {
    "str": {"type": "string"},
    "int": {"type": "integer"},
    "float": {"type": "number"},
    "bool": {"type": "boolean"},
    "datetime": {"type": "string", "format": "date-time"},
    "bytearray": {"type": "string", "format": "byte"},
}
_GVK = "x-kubernetes-group-version-kind"
_TITLE = "canaryd sandbox"
_DRY_RUN: Json = {"name": "dryRun", "in": "query", "schema": {"type": "string"}}
_VALIDATES: Json = {
    "name": "fieldValidation",
    "in": "query",
    "description": "What to do about unknown fields: Ignore, Warn or Strict.",
    "schema": {"type": "string"},
}


def _reference(model: str) -> Json:
    return {"$ref": f"#/components/schemas/{model}"}


def _described(model: str, attribute: str) -> str:
    """The description of a field; clients before 36 have none in a form to be read."""
    found = getattr(model_class(model), "model_fields", {}).get(attribute)
    return getattr(found, "description", None) or ""


def _type(expression: str) -> Json:
    container, inner = inner_type(expression)
    if container == "list":
        return {"type": "array", "items": _type(inner)}
    if container == "dict":
        return {"type": "object", "additionalProperties": _type(inner)}
    if inner in _SCALARS:
        return dict(_SCALARS[inner])
    return {"allOf": [_reference(inner)]} if fields_of(inner) else {}


def _collect(model: str, schemas: dict[str, Json]) -> None:
    """Add a model's schema, and those of all that it refers to."""
    if model in schemas:
        return
    found = model_class(model)
    schemas[model] = {"type": "object", "properties": {}}
    for attribute, expression in found.openapi_types.items():
        described = {"description": _described(model, attribute), **_type(expression)}
        schemas[model]["properties"][found.attribute_map[attribute]] = described
        inner = inner_type(expression)[1]
        if inner not in _SCALARS and fields_of(inner):
            _collect(inner, schemas)


class OpenApi:
    """The documents of what the registry serves at the moment."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def document(self, path: str) -> tuple[bytes, str]:
        """The document at a path and its media type; 404 where there is none."""
        if path == "/openapi/v2":
            return self._v2(self._registry.generation), _PROTOBUF
        return self._v3(path, self._registry.generation), "application/json"

    @functools.lru_cache(maxsize=1)  # noqa: B019 - lives as long as its server
    def _v2(self, _generation: int) -> bytes:
        patches = {
            path: operations["patch"][_GVK]
            for resource in self._registry.types()
            for version in resource.versions
            for path, operations in _paths(resource, version, "").items()
        }
        names = [_DRY_RUN["name"], _VALIDATES["name"]]
        return openapi_wire.document(_TITLE, VERSION["gitVersion"], patches, names)

    @functools.lru_cache(maxsize=64)  # noqa: B019 - lives as long as its server
    def _v3(self, path: str, generation: int) -> bytes:
        group_versions = {f"{'apis' if t.group else 'api'}/{t.api_version(v)}": (t.group, v)
                          for t in self._registry.types() for v in t.versions}  # fmt: skip
        if path == "/openapi/v3":
            urls = {p: {"serverRelativeURL": f"/openapi/v3/{p}?hash={generation}"} for p in group_versions}
            return dump({"paths": urls})
        found = group_versions.get(path.removeprefix("/openapi/v3/"))
        if found is None:
            raise no_such_path()
        return dump(self._group_version(*found))

    def _group_version(self, group: str, version: str) -> Json:
        paths: Json = {}
        schemas: dict[str, Json] = {}
        for resource in self._registry.types():
            if resource.group == group and version in resource.versions:
                name = self._schema(resource, version, schemas)
                paths |= _paths(resource, version, name)
        info = {"title": _TITLE, "version": VERSION["gitVersion"]}
        return {"openapi": "3.0.0", "info": info, "paths": paths, "components": {"schemas": schemas}}

    def _schema(self, resource: ResourceType, version: str, schemas: dict[str, Json]) -> str:
        kind = {"group": resource.group, "version": version, "kind": resource.kind}
        custom = self._registry.custom(resource)
        if custom is None:
            name = model_of(resource)
            _collect(name, schemas)
            schemas[name][_GVK] = [kind]
            return name
        _collect("V1ObjectMeta", schemas)
        name = ".".join([*reversed(resource.group.split(".")), version, resource.kind])
        openapi = custom.versions[version].openapi
        own = {"apiVersion": {"type": "string"}, "kind": {"type": "string"},
               "metadata": {"allOf": [_reference("V1ObjectMeta")]}}  # fmt: skip
        properties = {**(openapi.get("properties") or {}), **own}
        schemas[name] = {**openapi, "type": "object", "properties": properties, _GVK: [kind]}
        return name


def _paths(resource: ResourceType, version: str, schema: str) -> Json:
    """The one operation that kubectl looks at: it wants to know whether a patch validates fields."""
    kind = {"group": resource.group, "version": version, "kind": resource.kind}
    prefix = f"/{'apis' if resource.group else 'api'}/{resource.api_version(version)}"
    scope = "/namespaces/{namespace}" if resource.namespaced else ""
    answer: Any = {"description": "OK", "content": {"application/json": {"schema": _reference(schema)}}}
    operation = {
        "x-kubernetes-action": "patch",
        _GVK: kind,
        "parameters": [_DRY_RUN, _VALIDATES],
        "responses": {"200": answer},
    }
    return {f"{prefix}{scope}/{resource.plural}/{{name}}": {"patch": operation}}
