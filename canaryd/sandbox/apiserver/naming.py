"""Names, labels, annotations and the rest of metadata: what is allowed."""

from __future__ import annotations

import re
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import Cause, bad_value, forbidden_field, required
from canaryd.sandbox.apiserver.kinds import ResourceType

_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?")
_LABEL_1035 = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_SUBDOMAIN = re.compile(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?(\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*")
_QUALIFIED = re.compile(r"[A-Za-z0-9]([-A-Za-z0-9_.]*[A-Za-z0-9])?")
_PATH_SEGMENT = re.compile(r"(?!\.{1,2}$)[^/%]+")

_SUBDOMAIN_RULE = (
    "a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, '-' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')"
)
_LABEL_RULE = (
    "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start "
    "and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is "
    "'[a-z0-9]([-a-z0-9]*[a-z0-9])?')"
)
_LABEL_1035_RULE = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic "
    "character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for "
    "validation is '[a-z]([-a-z0-9]*[a-z0-9])?')"
)
_NAME_RULE = (
    "name part must consist of alphanumeric characters, '-', '_' or '.', and must start and end with an "
    "alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is "
    "'([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')"
)
_VALUE_RULE = (
    "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must "
    "start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used "
    "for validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')"
)
_LONGEST_ANNOTATIONS = 256 * 1024

_STANDARD_FINALIZERS = frozenset({"orphan", "foregroundDeletion", "kubernetes"})
_LABEL_NAMED = frozenset({"namespaces"})
_LABEL_1035_NAMED = frozenset({"services"})


def name_problems(resource: ResourceType, name: str, *, prefix: bool = False) -> list[str]:
    """What is wrong with the name of an object; for a `prefix` a trailing dash is fine."""
    tried = f"{name}a" if prefix else name
    if resource.group == "rbac.authorization.k8s.io":
        return [] if _PATH_SEGMENT.fullmatch(tried) else [f"may not contain '/' or '%': {name}"]
    if resource.plural in _LABEL_1035_NAMED and not resource.custom:
        pattern, rule, longest = _LABEL_1035, _LABEL_1035_RULE, 63
    elif resource.plural in _LABEL_NAMED:
        pattern, rule, longest = _LABEL, _LABEL_RULE, 63
    else:
        pattern, rule, longest = _SUBDOMAIN, _SUBDOMAIN_RULE, 253
    problems = [] if len(tried) <= longest else [f"must be no more than {longest} characters"]
    return problems if pattern.fullmatch(tried) else [*problems, rule]


def dns_label_problems(name: str) -> list[str]:
    problems = [] if len(name) <= 63 else ["must be no more than 63 characters"]
    return problems if _LABEL.fullmatch(name) else [*problems, _LABEL_RULE]


def qualified_name_problems(name: str) -> list[str]:
    """Label and annotation keys: an optional DNS prefix, a slash and a name of at most 63 characters."""
    prefix, slash, tail = name.rpartition("/")
    problems = []
    if slash and not (len(prefix) <= 253 and _SUBDOMAIN.fullmatch(prefix)):
        problems.append(f"prefix part {_SUBDOMAIN_RULE}")
    if not tail:
        problems.append("name part must be non-empty")
    elif len(tail) > 63:
        problems.append("name part must be no more than 63 characters")
    if not _QUALIFIED.fullmatch(tail):
        problems.append(_NAME_RULE)
    return problems


def label_causes(labels: Any, path: str) -> list[Cause]:
    causes = []
    for key, value in (labels or {}).items():
        causes += [bad_value(path, key, problem) for problem in qualified_name_problems(key)]
        if len(value) > 63:
            causes.append(bad_value(path, value, "must be no more than 63 characters"))
        if value and not _QUALIFIED.fullmatch(value):
            causes.append(bad_value(path, value, _VALUE_RULE))
    return causes


def annotation_causes(annotations: Any, path: str) -> list[Cause]:
    causes, size = [], 0
    for key, value in (annotations or {}).items():
        causes += [bad_value(path, key, problem) for problem in qualified_name_problems(key.lower())]
        size += len(key) + len(value)
    if size > _LONGEST_ANNOTATIONS:
        message = f"Too long: must have at most {_LONGEST_ANNOTATIONS} bytes"
        causes.append(Cause(path, "FieldValueTooLong", message))
    return causes


def _owner_causes(owners: Any) -> list[Cause]:
    causes, controllers = [], []
    for index, owner in enumerate(owners or ()):
        path = f"metadata.ownerReferences[{index}]"
        causes += [
            bad_value(f"{path}.{key}", "", f"{key} must not be empty")
            for key in ("apiVersion", "kind", "name", "uid")
            if not owner.get(key)
        ]
        if owner.get("controller"):
            controllers.append(owner)
    if len(controllers) > 1:
        names = " and ".join(f"{owner.get('kind')}/{owner.get('name')}" for owner in controllers)
        detail = f'Only one reference can have Controller set to true. Found "true" in references for {names}'
        causes.append(bad_value("metadata.ownerReferences", None, detail))
    return causes


def _finalizer_causes(meta: Json, old: Json | None) -> list[Cause]:
    causes = []
    finalizers = meta.get("finalizers") or []
    for index, name in enumerate(finalizers):
        path = f"metadata.finalizers[{index}]"
        causes += [bad_value(path, name, problem) for problem in qualified_name_problems(name)]
        if "/" not in name and name not in _STANDARD_FINALIZERS:
            detail = "name is neither a standard finalizer name nor is it fully qualified"
            causes.append(bad_value(path, name, detail))
    if old is not None and old.get("deletionTimestamp"):
        added = [name for name in finalizers if name not in (old.get("finalizers") or [])]
        if added:
            names = ", ".join(f'"{name}"' for name in added)
            causes.append(
                forbidden_field(
                    "metadata.finalizers",
                    "no new finalizers can be added if the object is being deleted, "
                    f"found new finalizers []string{{{names}}}",
                )
            )
    return causes


def metadata_causes(resource: ResourceType, body: Json, old: Json | None) -> list[Cause]:
    """What is wrong with an object's metadata; `old` is its state before, None when it is created."""
    meta = body["metadata"]
    name = meta.get("name", "")
    prefix = meta.get("generateName", "")
    causes = []
    if old is None and prefix:
        problems = name_problems(resource, prefix, prefix=True)
        causes += [bad_value("metadata.generateName", prefix, problem) for problem in problems]
    if not name:
        causes.append(required("metadata.name", "name or generateName is required"))
    elif old is None:
        causes += [bad_value("metadata.name", name, problem) for problem in name_problems(resource, name)]
    causes += label_causes(meta.get("labels"), "metadata.labels")
    causes += annotation_causes(meta.get("annotations"), "metadata.annotations")
    causes += _owner_causes(meta.get("ownerReferences"))
    causes += _finalizer_causes(meta, old["metadata"] if old else None)
    return causes
