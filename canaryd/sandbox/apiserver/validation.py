"""What the server refuses in built-in objects: the rules that canaryd and its users meet.

Far from all of Kubernetes' validation, but each rule here answers with the real server's field and words.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.errors import (
    Cause,
    bad_value,
    duplicate,
    forbidden_field,
    required,
    shown,
    unsupported,
)
from canaryd.sandbox.apiserver.naming import dns_label_problems, label_causes
from canaryd.sandbox.apiserver.selectors import Requirement

_IMMUTABLE = "field is immutable"
_PROTOCOLS = ("SCTP", "TCP", "UDP")
_ENV_NAME = re.compile(r"[-._a-zA-Z][-._a-zA-Z0-9]*")
_PORT_RANGE = "must be between 1 and 65535, inclusive"
_NOT_NEGATIVE = "must be greater than or equal to 0"
_ENV_RULE = (
    "a valid environment variable name must consist of alphabetic characters, digits, '_', '-', or '.', and "
    "must not start with a digit (e.g. 'my.env-name',  or 'MY_ENV.NAME',  or 'MyEnvName1', regex used for "
    "validation is '[-._a-zA-Z][-._a-zA-Z0-9]*')"
)
_PERCENT_RULE = (
    "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex "
    "used for validation is '[0-9]+%')"
)
_CONFIG_KEY_RULE = (
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or "
    "'KEY_NAME',  or 'key-name', regex used for validation is '[-._a-zA-Z0-9]+')"
)
_POD_MUTABLE = ("activeDeadlineSeconds", "terminationGracePeriodSeconds", "tolerations", "schedulingGates")


def _port_causes(ports: Iterable[Json], path: str, key: str) -> list[Cause]:
    causes = []
    for index, port in enumerate(ports):
        where = f"{path}[{index}]"
        number = port.get(key)
        if not number:
            causes.append(required(f"{where}.{key}"))
        elif not 1 <= number <= 65535:
            causes.append(bad_value(f"{where}.{key}", number, _PORT_RANGE))
        if port.get("protocol") not in _PROTOCOLS:
            causes.append(unsupported(f"{where}.protocol", port.get("protocol"), _PROTOCOLS))
    return causes


def _container_causes(containers: list[Json], volumes: set[str], path: str) -> list[Cause]:
    causes: list[Cause] = []
    seen: set[str] = set()
    for index, container in enumerate(containers):
        where = f"{path}[{index}]"
        name = container.get("name", "")
        if not name:
            causes.append(required(f"{where}.name"))
        else:
            causes += [bad_value(f"{where}.name", name, problem) for problem in dns_label_problems(name)]
        if name in seen:
            causes.append(duplicate(f"{where}.name", name))
        seen.add(name)
        if not container.get("image"):
            causes.append(required(f"{where}.image"))
        causes += _port_causes(container.get("ports", ()), f"{where}.ports", "containerPort")
        for at, variable in enumerate(container.get("env", ())):
            given = variable.get("name", "")
            if not given:
                causes.append(required(f"{where}.env[{at}].name"))
            elif not _ENV_NAME.fullmatch(given):
                causes.append(bad_value(f"{where}.env[{at}].name", given, _ENV_RULE))
        for at, mount in enumerate(container.get("volumeMounts", ())):
            if mount.get("name") not in volumes:
                message = f"Not found: {shown(mount.get('name'))}"
                causes.append(Cause(f"{where}.volumeMounts[{at}].name", "FieldValueNotFound", message))
    return causes


def pod_spec_causes(spec: Json, path: str) -> list[Cause]:
    volumes = {volume.get("name", "") for volume in spec.get("volumes", ())}
    causes = []
    if not spec.get("containers"):
        causes.append(required(f"{path}.containers"))
    causes += _container_causes(spec.get("containers") or [], volumes, f"{path}.containers")
    causes += _container_causes(spec.get("initContainers") or [], volumes, f"{path}.initContainers")
    allowed = ("Always", "Never", "OnFailure")
    if spec.get("restartPolicy") not in allowed:
        causes.append(unsupported(f"{path}.restartPolicy", spec.get("restartPolicy"), allowed))
    return causes


def requirements_of(selector: Json) -> tuple[Requirement, ...]:
    """The conditions of a LabelSelector object."""
    equal = [
        Requirement(key, "in", frozenset({value}))
        for key, value in (selector.get("matchLabels") or {}).items()
    ]
    operators = {"In": "in", "NotIn": "notin", "Exists": "exists", "DoesNotExist": "!"}
    others = [
        Requirement(term.get("key", ""), operators[term["operator"]], frozenset(term.get("values") or ()))  # type: ignore[arg-type]
        for term in selector.get("matchExpressions") or ()
        if term.get("operator") in operators
    ]
    return (*equal, *others)


def _selector_causes(spec: Json, old: Json | None) -> list[Cause]:
    selector = spec.get("selector")
    labels = spec["template"]["metadata"].get("labels") or {}
    mismatch = "`selector` does not match template `labels`"
    if selector is None:
        return [required("spec.selector"), bad_value("spec.template.metadata.labels", labels, mismatch)]
    causes = label_causes(selector.get("matchLabels"), "spec.selector.matchLabels")
    if not selector.get("matchLabels") and not selector.get("matchExpressions"):
        return [bad_value("spec.selector", selector, "empty selector is invalid for deployment")]
    if not all(requirement.holds(labels) for requirement in requirements_of(selector)):
        causes.append(bad_value("spec.template.metadata.labels", labels, mismatch))
    if old is not None and old["spec"].get("selector") != selector:
        causes.append(bad_value("spec.selector", selector, _IMMUTABLE))
    return causes


def _template_causes(spec: Json) -> list[Cause]:
    template = spec["template"]
    causes = label_causes(template["metadata"].get("labels"), "spec.template.metadata.labels")
    causes += pod_spec_causes(template["spec"], "spec.template.spec")
    if template["spec"].get("restartPolicy") in ("Never", "OnFailure"):
        causes.append(
            unsupported("spec.template.spec.restartPolicy", template["spec"]["restartPolicy"], ["Always"])
        )
    return causes


def _not_negative(part: Json, *keys: str, path: str = "spec") -> list[Cause]:
    return [bad_value(f"{path}.{key}", part[key], _NOT_NEGATIVE) for key in keys if (part.get(key) or 0) < 0]


def _count_causes(body: Json, *counts: str) -> list[Cause]:
    """The counts in a workload's status: none negative, none above the whole."""
    status = body.get("status") or {}
    causes = _not_negative(status, "replicas", *counts, path="status")
    whole = status.get("replicas", 0)
    for key in counts:
        if status.get(key, 0) > whole:
            causes.append(bad_value(f"status.{key}", status[key], "cannot be greater than status.replicas"))
    available = status.get("availableReplicas", 0)
    if status.get("readyReplicas", 0) < available <= whole:
        causes.append(
            bad_value("status.availableReplicas", available, "cannot be greater than readyReplicas")
        )
    return causes


def _share(value: Any, path: str) -> list[Cause]:
    if isinstance(value, int) and not isinstance(value, bool):
        return [bad_value(path, value, _NOT_NEGATIVE)] if value < 0 else []
    if isinstance(value, str) and re.fullmatch(r"[0-9]+%", value):
        return []
    return [bad_value(path, value, _PERCENT_RULE)]


def _deployment(body: Json, old: Json | None) -> list[Cause]:
    spec = body["spec"]
    causes = _not_negative(spec, "replicas", "minReadySeconds", "revisionHistoryLimit")
    causes += _selector_causes(spec, old) + _template_causes(spec)
    causes += _count_causes(body, "updatedReplicas", "readyReplicas", "availableReplicas")
    strategy = spec["strategy"]
    if strategy["type"] not in ("Recreate", "RollingUpdate"):
        return [*causes, unsupported("spec.strategy", strategy, ["Recreate", "RollingUpdate"])]
    rolling = strategy.get("rollingUpdate")
    if strategy["type"] == "Recreate" and rolling:
        detail = "may not be specified when strategy `type` is 'Recreate'"
        causes.append(forbidden_field("spec.strategy.rollingUpdate", detail))
    elif rolling:
        path = "spec.strategy.rollingUpdate"
        causes += _share(rolling["maxUnavailable"], f"{path}.maxUnavailable")
        causes += _share(rolling["maxSurge"], f"{path}.maxSurge")
        if rolling["maxUnavailable"] in (0, "0%") and rolling["maxSurge"] in (0, "0%"):
            detail = "may not be 0 when `maxSurge` is 0"
            causes.append(bad_value(f"{path}.maxUnavailable", rolling["maxUnavailable"], detail))
    deadline = spec.get("progressDeadlineSeconds")
    if deadline is not None and deadline <= spec.get("minReadySeconds", 0):
        detail = "must be greater than minReadySeconds"
        causes.append(bad_value("spec.progressDeadlineSeconds", deadline, detail))
    return causes


def _replica_set(body: Json, old: Json | None) -> list[Cause]:
    spec = body["spec"]
    return (
        _not_negative(spec, "replicas", "minReadySeconds")
        + _selector_causes(spec, old)
        + _template_causes(spec)
        + _count_causes(body, "fullyLabeledReplicas", "readyReplicas", "availableReplicas")
    )


def _pod(body: Json, old: Json | None) -> list[Cause]:
    causes = pod_spec_causes(body["spec"], "spec")
    if old is not None and _frozen_pod(body["spec"]) != _frozen_pod(old["spec"]):
        causes.append(
            forbidden_field(
                "spec",
                "pod updates may not change fields other than `spec.containers[*].image`, "
                "`spec.initContainers[*].image`, `spec.activeDeadlineSeconds` or "
                "`spec.tolerations` (only additions to existing tolerations)",
            )
        )
    return causes


def _frozen_pod(spec: Json) -> Json:
    """The part of a pod's spec that never changes."""
    frozen = {key: value for key, value in spec.items() if key not in _POD_MUTABLE}
    for kind in ("containers", "initContainers"):
        if kind in frozen:
            frozen[kind] = [{**container, "image": ""} for container in frozen[kind]]
    return frozen


def _service(body: Json, old: Json | None) -> list[Cause]:
    spec = body["spec"]
    headless = spec.get("clusterIP") == "None"
    causes = []
    if not spec.get("ports") and spec["type"] != "ExternalName" and not headless:
        causes.append(required("spec.ports"))
    causes += _port_causes(spec.get("ports", ()), "spec.ports", "port")
    if len(spec.get("ports", ())) > 1:
        nameless = [index for index, port in enumerate(spec["ports"]) if not port.get("name")]
        causes += [required(f"spec.ports[{index}].name") for index in nameless]
    causes += label_causes(spec.get("selector"), "spec.selector")
    before = (old or {}).get("spec", {}).get("clusterIP")
    if before and spec["type"] != "ExternalName" and spec.get("clusterIP") != before:
        causes.append(bad_value("spec.clusterIPs[0]", [spec.get("clusterIP")], "may not change once set"))
    return causes


def _config_map(body: Json, old: Json | None) -> list[Cause]:
    causes: list[Cause] = []
    for part in ("data", "binaryData"):
        causes += [
            bad_value(f"{part}[{key}]", key, _CONFIG_KEY_RULE)
            for key in body.get(part) or {}
            if not re.fullmatch(r"[-._a-zA-Z0-9]+", key)
        ]
    if old is not None and old.get("immutable") and old.get("data") != body.get("data"):
        causes.append(forbidden_field("data", "field is immutable when `immutable` is set"))
    return causes


def _lease(body: Json, _old: Json | None) -> list[Cause]:
    spec = body.get("spec") or {}
    duration, transitions = spec.get("leaseDurationSeconds"), spec.get("leaseTransitions")
    causes = []
    if duration is not None and duration <= 0:
        causes.append(bad_value("spec.leaseDurationSeconds", duration, "must be greater than 0"))
    if transitions is not None and transitions < 0:
        causes.append(bad_value("spec.leaseTransitions", transitions, _NOT_NEGATIVE))
    return causes


def _event(body: Json, _old: Json | None) -> list[Cause]:
    involved = (body.get("involvedObject") or {}).get("namespace", "")
    namespace = body["metadata"].get("namespace", "")
    if (involved or "default") != namespace:
        return [bad_value("involvedObject.namespace", involved, "does not match event.namespace")]
    return []


_BY_KIND: Mapping[str, Callable[[Json, Json | None], list[Cause]]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "Service": _service,
    "ConfigMap": _config_map,
    "Lease": _lease,
    "Event": _event,
}


def builtin_causes(kind: str, body: Json, old: Json | None) -> list[Cause]:
    """What is wrong with a built-in object after its defaults were filled in."""
    found = _BY_KIND.get(kind)
    return found(body, old) if found else []
