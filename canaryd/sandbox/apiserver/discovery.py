"""Discovery: which groups, versions and resources there are, for clients that ask."""

from __future__ import annotations

from collections.abc import Iterable

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.definitions import preference
from canaryd.sandbox.apiserver.kinds import ALL_VERBS, REVIEWS, ResourceType, Review
from canaryd.sandbox.apiserver.negotiate import asks_for
from canaryd.sandbox.apiserver.registry import Registry

VERSION: Json = {
    "major": "1",
    "minor": "33",
    "gitVersion": "v1.33.0+canaryd-sandbox",
    "gitCommit": "",
    "gitTreeState": "clean",
    "buildDate": "2025-01-01T00:00:00Z",
    "goVersion": "",
    "compiler": "",
    "platform": "linux/amd64",
}
_UPDATE_VERBS = ["get", "patch", "update"]
_AGGREGATED_VERSIONS = ("v2", "v2beta1")


def subresources(resource: ResourceType) -> list[tuple[str, str, str, list[str]]]:
    """The subresources of a type: (name, group/version of its kind or empty, kind, verbs)."""
    found = [("status", "", resource.kind, _UPDATE_VERBS)] if resource.status else []
    if resource.scale:
        found.append(("scale", "autoscaling/v1", "Scale", _UPDATE_VERBS))
    if resource.resource == "pods":
        found.append(("log", "", "Pod", ["get"]))
        found.append(("binding", "", "Binding", ["create"]))
        found.append(("eviction", "policy/v1", "Eviction", ["create"]))
    if resource.resource == "namespaces":
        found.append(("finalize", "", "Namespace", ["update"]))
    return found


class Discovery:
    """The discovery documents of what the registry serves at the moment."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def document(self, path: str, accept: str) -> tuple[Json, str] | None:
        """The document at a path with its media type's parameters; None where there is none."""
        parts = [part for part in path.split("/") if part]
        aggregated = asks_for(accept, "APIGroupDiscoveryList")
        if aggregated in _AGGREGATED_VERSIONS and parts in (["api"], ["apis"]):
            parameters = f";g=apidiscovery.k8s.io;v={aggregated};as=APIGroupDiscoveryList"
            return self._aggregated(aggregated, core=parts == ["api"]), parameters
        found: Json | None = None
        match parts:
            case ["api"]:
                found = {"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}
            case ["apis"]:
                groups = [self._group(group) for group in self._groups()]
                found = {"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}
            case ["apis", group] if group in self._groups():
                found = {"kind": "APIGroup", "apiVersion": "v1", **self._group(group)}
            case ["api", "v1"]:
                found = self._resources("", "v1")
            case ["apis", group, version] if version in self._versions(group):
                found = self._resources(group, version)
        return (found, "") if found is not None else None

    def _types(self, group: str, version: str) -> list[ResourceType]:
        return [t for t in self._registry.types() if t.group == group and version in t.versions]

    def _reviews(self, group: str, version: str) -> Iterable[Review]:
        return [review for review in REVIEWS if review.group == group and version == "v1"]

    def _groups(self) -> list[str]:
        groups = dict.fromkeys(t.group for t in self._registry.types() if t.group)
        return list(groups | dict.fromkeys(review.group for review in REVIEWS))

    def _versions(self, group: str) -> list[str]:
        found = {version for t in self._registry.types() if t.group == group for version in t.versions}
        found |= {"v1" for review in REVIEWS if review.group == group}
        return sorted(found, key=preference)

    def _group(self, group: str) -> Json:
        versions = [{"groupVersion": f"{group}/{v}", "version": v} for v in self._versions(group)]
        return {"name": group, "versions": versions, "preferredVersion": versions[0]}

    def _resources(self, group: str, version: str) -> Json:
        entries: list[Json] = []
        for resource in self._types(group, version):
            entries.append(_entry(resource))
            entries += [_subentry(resource, *sub) for sub in subresources(resource)]
        entries += [_review(review) for review in self._reviews(group, version)]
        group_version = f"{group}/{version}" if group else version
        return {
            "kind": "APIResourceList",
            "apiVersion": "v1",
            "groupVersion": group_version,
            "resources": entries,
        }

    def _aggregated(self, version: str, *, core: bool) -> Json:
        groups = [""] if core else self._groups()
        items = [
            {
                "metadata": {"name": group, "creationTimestamp": None},
                "versions": [self._aggregated_version(group, v) for v in self._versions(group)],
            }
            for group in groups
        ]
        api_version = f"apidiscovery.k8s.io/{version}"
        return {"kind": "APIGroupDiscoveryList", "apiVersion": api_version, "metadata": {}, "items": items}

    def _aggregated_version(self, group: str, version: str) -> Json:
        resources = [_aggregated_entry(t, version) for t in self._types(group, version)]
        resources += [
            {
                "resource": review.plural,
                "responseKind": {"group": "", "version": "", "kind": review.kind},
                "scope": "Namespaced" if review.namespaced else "Cluster",
                "singularResource": review.kind.lower(),
                "verbs": ["create"],
            }
            for review in self._reviews(group, version)
        ]
        return {"version": version, "resources": resources, "freshness": "Current"}


def _entry(resource: ResourceType) -> Json:
    entry: Json = {
        "name": resource.plural,
        "singularName": resource.singular,
        "namespaced": resource.namespaced,
        "kind": resource.kind,
        "verbs": list(ALL_VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    return entry


def _subentry(resource: ResourceType, name: str, group_version: str, kind: str, verbs: list[str]) -> Json:
    entry: Json = {
        "name": f"{resource.plural}/{name}",
        "singularName": "",
        "namespaced": resource.namespaced,
        "kind": kind,
        "verbs": verbs,
    }
    if group_version:
        entry["group"], entry["version"] = group_version.split("/")
    return entry


def _review(review: Review) -> Json:
    return {
        "name": review.plural,
        "singularName": review.kind.lower(),
        "namespaced": review.namespaced,
        "kind": review.kind,
        "verbs": ["create"],
    }


def _aggregated_entry(resource: ResourceType, version: str) -> Json:
    entry: Json = {
        "resource": resource.plural,
        "responseKind": {"group": resource.group, "version": version, "kind": resource.kind},
        "scope": "Namespaced" if resource.namespaced else "Cluster",
        "singularResource": resource.singular,
        "verbs": list(ALL_VERBS),
    }
    if resource.short_names:
        entry["shortNames"] = list(resource.short_names)
    if resource.categories:
        entry["categories"] = list(resource.categories)
    subs = []
    for name, group_version, kind, verbs in subresources(resource):
        where = group_version or resource.api_version(version)
        group, _, kind_version = where.rpartition("/")
        response = {"group": group, "version": kind_version, "kind": kind}
        subs.append({"subresource": name, "responseKind": response, "verbs": verbs})
    if subs:
        entry["subresources"] = subs
    return entry
