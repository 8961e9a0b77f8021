"""CustomResourceDefinitions: checked, established at once, and turned into served resource types."""

from __future__ import annotations

from dataclasses import dataclass, field

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import Cause, bad_value, required, unsupported
from canaryd.sandbox.apiserver.kinds import ResourceType, ScalePaths
from canaryd.sandbox.apiserver.structural import StructuralSchema

CLEANUP = "customresourcecleanup.apiextensions.k8s.io"
"""The finalizer that keeps a definition until its objects are gone."""


@dataclass(frozen=True, slots=True)
class PrinterColumn:
    """One additionalPrinterColumn; `priority` above 0 shows in wide output only."""

    name: str
    type: str
    json_path: str
    format: str = ""
    description: str = ""
    priority: int = 0


@dataclass(frozen=True, slots=True)
class CustomVersion:
    """One served version of a custom resource."""

    name: str
    schema: StructuralSchema
    columns: tuple[PrinterColumn, ...]
    openapi: Json = field(repr=False)


@dataclass(frozen=True, slots=True)
class CustomResource:
    """A custom resource as its definition describes it."""

    type: ResourceType
    versions: dict[str, CustomVersion]


def _path(text: str) -> tuple[str, ...]:
    return tuple(part for part in text.split(".") if part)


def _column(column: Json) -> PrinterColumn:
    return PrinterColumn(
        name=column["name"],
        type=column["type"],
        json_path=column["jsonPath"],
        format=column.get("format", ""),
        description=column.get("description", ""),
        priority=column.get("priority", 0),
    )


def _version(version: Json) -> CustomVersion:
    openapi = (version.get("schema") or {}).get("openAPIV3Schema") or {}
    columns = tuple(_column(column) for column in version.get("additionalPrinterColumns") or ())
    return CustomVersion(version["name"], StructuralSchema(openapi), columns, openapi)


def _scale(version: Json) -> ScalePaths | None:
    scale = (version.get("subresources") or {}).get("scale")
    if not scale:
        return None
    return ScalePaths(
        replicas=_path(scale["specReplicasPath"]),
        status_replicas=_path(scale["statusReplicasPath"]),
        selector=_path(scale.get("labelSelectorPath", "")),
    )


def preference(version: str) -> tuple[int, int, int, str]:
    """The order of versions in discovery: v2, v1, v1beta2, v1beta1, v1alpha1, then the rest by name."""
    for stage, word in ((0, ""), (1, "beta"), (2, "alpha")):
        major, _, minor = version[1:].partition(word) if word else (version[1:], "", "0")
        if version[:1] == "v" and major.isdigit() and minor.isdigit():
            return (stage, -int(major), -int(minor), "")
    return (3, 0, 0, version)


def custom_resource(body: Json) -> CustomResource:
    """The resource type that a valid definition describes."""
    spec = body["spec"]
    names = spec["names"]
    served = sorted((v for v in spec["versions"] if v["served"]), key=lambda v: preference(v["name"]))
    storage = next(v for v in spec["versions"] if v["storage"])
    made = ResourceType(
        group=spec["group"],
        plural=names["plural"],
        kind=names["kind"],
        versions=tuple(version["name"] for version in served),
        storage=storage["name"],
        namespaced=spec["scope"] == "Namespaced",
        singular=names.get("singular") or names["kind"].lower(),
        list_kind=names.get("listKind", ""),
        short_names=tuple(names.get("shortNames") or ()),
        categories=tuple(names.get("categories") or ()),
        status="status" in (storage.get("subresources") or {}),
        scale=_scale(storage),
        generation=True,
        unconditional_update=False,
        custom=True,
    )
    return CustomResource(made, {version["name"]: _version(version) for version in served})


def definition_causes(body: Json, old: Json | None) -> list[Cause]:
    """What is wrong with a definition."""
    spec = body["spec"]
    names = spec.get("names") or {}
    causes = [
        required(f"spec.{'names.' if holder is names else ''}{key}")
        for holder, keys in ((spec, ("group", "scope", "versions")), (names, ("plural", "kind")))
        for key in keys
        if not holder.get(key)
    ]
    if causes:
        return causes
    wanted = f"{names['plural']}.{spec['group']}"
    if body["metadata"].get("name") != wanted:
        detail = f'must be spec.names.plural+"."+spec.group: {wanted}'
        causes.append(bad_value("metadata.name", body["metadata"].get("name"), detail))
    if spec["scope"] not in ("Cluster", "Namespaced"):
        causes.append(unsupported("spec.scope", spec["scope"], ["Cluster", "Namespaced"]))
    return causes + _version_causes(spec) + _change_causes(spec, old)


def _version_causes(spec: Json) -> list[Cause]:
    causes = []
    if sum(1 for version in spec["versions"] if version.get("storage")) != 1:
        detail = "must have exactly one version marked as storage version"
        causes.append(bad_value("spec.versions", [v.get("name") for v in spec["versions"]], detail))
    for index, version in enumerate(spec["versions"]):
        path = f"spec.versions[{index}]"
        causes += [required(f"{path}.{key}") for key in ("name", "served", "storage") if key not in version]
        schema = (version.get("schema") or {}).get("openAPIV3Schema")
        if schema is None:
            causes.append(required(f"{path}.schema.openAPIV3Schema", "schemas are required"))
        elif schema.get("type") != "object":
            where = f"{path}.schema.openAPIV3Schema.type"
            causes.append(bad_value(where, schema.get("type", ""), "must be object at the root"))
    return causes


def _change_causes(spec: Json, old: Json | None) -> list[Cause]:
    if old is None:
        return []
    causes = [
        bad_value(f"spec.{key}", spec[key], "field is immutable")
        for key in ("group", "scope")
        if spec[key] != old["spec"][key]
    ]
    if spec["names"]["plural"] != old["spec"]["names"]["plural"]:
        causes.append(bad_value("spec.names.plural", spec["names"]["plural"], "field is immutable"))
    return causes


def established(body: Json, now: str) -> Json:
    """The status of a definition that is served."""
    old = {condition["type"]: condition for condition in (body.get("status") or {}).get("conditions") or ()}
    conditions = [
        ("NamesAccepted", "NoConflicts", "no conflicts found"),
        ("Established", "InitialNamesAccepted", "the initial names have been accepted"),
    ]
    storage = next((v["name"] for v in body["spec"]["versions"] if v.get("storage")), "")
    stored = list((body.get("status") or {}).get("storedVersions") or ())
    return {
        "conditions": [
            old.get(kind)
            or {
                "type": kind,
                "status": "True",
                "lastTransitionTime": now,
                "reason": reason,
                "message": message,
            }
            for kind, reason, message in conditions
        ],
        "acceptedNames": body["spec"]["names"],
        "storedVersions": stored if storage in stored else [*stored, storage],
    }
