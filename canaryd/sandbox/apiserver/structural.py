"""Structural schemas of custom resources: prune, default, validate."""

from __future__ import annotations

import copy
import datetime as dt
import functools
import ipaddress
from collections.abc import Iterable
from typing import Any

from jsonschema import Draft4Validator, FormatChecker
from jsonschema.exceptions import ValidationError

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import Cause, bad_type, bad_value, required, shown, unsupported

_KEPT = frozenset({"apiVersion", "kind", "metadata"})
_PRESERVE = "x-kubernetes-preserve-unknown-fields"
_JSON_TYPES = {"str": "string", "int": "integer", "float": "number", "bool": "boolean", "dict": "object",
               "list": "array", "NoneType": "null"}  # fmt: skip

_formats = FormatChecker(formats=())


@_formats.checks("date-time", raises=ValueError)
def _is_date_time(value: object) -> bool:
    return not isinstance(value, str) or ("T" in value and bool(dt.datetime.fromisoformat(value)))


@_formats.checks("ipv4", raises=ValueError)
def _is_ipv4(value: object) -> bool:
    return not isinstance(value, str) or bool(ipaddress.IPv4Address(value))


class StructuralSchema:
    """The schema of one version of one custom resource."""

    def __init__(self, schema: Json) -> None:
        self.schema = schema

    @functools.cached_property
    def _validator(self) -> Draft4Validator:
        return Draft4Validator(_plain(self.schema, root=True), format_checker=_formats)

    def prune(self, body: Json) -> list[str]:
        """Drop the fields that the schema does not have; the answer lists their paths."""
        dropped: list[str] = []
        _prune(self.schema, body, "", dropped, root=True)
        return dropped

    def default(self, body: Json) -> None:
        """Fill in the schema's defaults, after dropping the nulls that it does not allow."""
        _default(self.schema, body, root=True)

    def errors(self, body: Json) -> list[Cause]:
        """What is wrong with the object, in the words of the real server."""
        return [cause for error in self._validator.iter_errors(body) for cause in _causes(error)]


def _at(path: str, key: str) -> str:
    return f"{path}.{key}" if path else key


def _prune(schema: Json, value: Any, path: str, dropped: list[str], *, root: bool = False) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        for index, item in enumerate(value):
            _prune(items if isinstance(items, dict) else {_PRESERVE: True}, item, f"{path}[{index}]", dropped)
        return
    if not isinstance(value, dict):
        return
    known = schema.get("properties") or {}
    extra = schema.get("additionalProperties")
    embedded = root or schema.get("x-kubernetes-embedded-resource")
    for key in list(value):
        if embedded and key in _KEPT:
            continue
        if key in known:
            _prune(known[key], value[key], _at(path, key), dropped)
        elif isinstance(extra, dict):
            _prune(extra, value[key], _at(path, key), dropped)
        elif not extra and not schema.get(_PRESERVE):
            dropped.append(_at(path, key))
            del value[key]


def _default(schema: Json, value: Any, *, root: bool = False) -> None:
    if isinstance(value, list):
        items = schema.get("items")
        if isinstance(items, dict):
            for item in value:
                _default(items, item)
    if not isinstance(value, dict):
        return
    known: Json = schema.get("properties") or {}
    for key, inner in known.items():
        if root and key in _KEPT:
            continue
        if key in value and value[key] is None and not inner.get("nullable"):
            del value[key]
        if "default" in inner and key not in value:
            value[key] = copy.deepcopy(inner["default"])
        if key in value:
            _default(inner, value[key])
    extra = schema.get("additionalProperties")
    if isinstance(extra, dict):
        for key in value.keys() - known.keys():
            _default(extra, value[key])


def _plain(schema: Any, *, root: bool = False) -> Any:
    """Turn an OpenAPI v3 schema of Kubernetes into the JSON schema (draft 4) that means the same."""
    if not isinstance(schema, dict):
        return schema
    plain: Json = {}
    for key, value in schema.items():
        if key in ("properties", "patternProperties"):
            plain[key] = {
                name: _plain(inner) for name, inner in value.items() if not (root and name in _KEPT)
            }
        elif key in ("items", "not", "additionalProperties"):
            plain[key] = _plain(value)
        elif key in ("allOf", "anyOf", "oneOf"):
            plain[key] = [_plain(inner) for inner in value]
        elif key in _VALIDATIONS:
            plain[key] = value
    if schema.get("x-kubernetes-int-or-string"):
        plain["type"] = ["integer", "string"]
        plain.pop("anyOf", None)
    return _allow_null(plain) if schema.get("nullable") else plain


_VALIDATIONS = frozenset({
    "type", "enum", "required", "pattern", "format", "minimum", "maximum", "exclusiveMinimum",
    "exclusiveMaximum", "multipleOf", "minLength", "maxLength", "minItems", "maxItems", "uniqueItems",
    "minProperties", "maxProperties",
})  # fmt: skip


def _allow_null(plain: Json) -> Json:
    kind = plain.get("type")
    if isinstance(kind, str):
        plain["type"] = [kind, "null"]
    elif isinstance(kind, list):
        plain["type"] = [*kind, "null"]
    if "enum" in plain:
        plain["enum"] = [*plain["enum"], None]
    return plain


def _field_path(parts: Iterable[str | int]) -> str:
    path = ""
    for part in parts:
        path = f"{path}[{part}]" if isinstance(part, int) else _at(path, part)
    return path


def _causes(error: ValidationError) -> list[Cause]:
    path = _field_path(error.absolute_path)
    value: Any = error.instance
    limit: Any = error.validator_value
    match error.validator:
        case "required":
            missing = [key for key in limit if key not in value]
            return [required(_at(path, key)) for key in missing if repr(key) in error.message]
        case "type":
            return [_wrong_type(path, value, limit)]
        case "enum":
            return [unsupported(path, value, [choice for choice in limit if choice is not None])]
    if error.validator in ("minItems", "maxItems", "minProperties", "maxProperties"):
        value = len(value)
    return [bad_value(path, _brief(value), _describe(error, path))]


def _wrong_type(path: str, value: object, wanted: str | list[str]) -> Cause:
    name = wanted if isinstance(wanted, str) else ",".join(kind for kind in wanted if kind != "null")
    found = _JSON_TYPES[type(value).__name__]
    return bad_type(path, found, f"{path} in body must be of type {name}: {shown(found)}")


def _brief(value: object) -> object:
    """The server prints whole values; a huge one helps nobody, so containers stay short here."""
    text = shown(value)
    return value if len(text) <= 200 or isinstance(value, str) else text[:200] + "..."


_SENTENCES = {
    "minimum": "should be greater than or equal to {}",
    "maximum": "should be less than or equal to {}",
    "pattern": "should match '{}'",
    "minLength": "should be at least {} chars long",
    "maxLength": "should be at most {} chars long",
    "minItems": "should have at least {} items",
    "maxItems": "should have at most {} items",
    "minProperties": "should have at least {} properties",
    "maxProperties": "should have at most {} properties",
    "multipleOf": "should be a multiple of {}",
    "format": "must be of type {}",
}


def _describe(error: ValidationError, path: str) -> str:
    kind = str(error.validator)
    if kind in _SENTENCES:
        sentence = f"{path} in body " + _SENTENCES[kind].format(error.validator_value)
        return f"{sentence}: {shown(error.instance)}" if kind == "format" else sentence
    match kind:
        case "oneOf":
            found = "none valid" if error.context else "2 or more valid"
            return f'"{path}" must validate one and only one schema (oneOf). Found {found}'
        case "anyOf":
            return f'"{path}" must validate at least one schema (anyOf)'
        case "not":
            return f'"{path}" must not validate the schema (not)'
        case "uniqueItems":
            return f"{path} in body shouldn't contain duplicates"
    return error.message
