"""The defaults that Kubernetes writes into built-in objects, as its API versions declare them."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from canaryd.cluster.resources import Json

_TOLERATIONS = tuple(
    {
        "key": f"node.kubernetes.io/{key}",
        "operator": "Exists",
        "effect": "NoExecute",
        "tolerationSeconds": 300,
    }
    for key in ("not-ready", "unreachable")
)


def fill(target: Json, **defaults: Any) -> None:
    """Set each key that is absent."""
    for key, value in defaults.items():
        if key not in target:
            target[key] = value


def _items(holder: Json, key: str) -> Iterable[Json]:
    value = holder.get(key)
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else ()


def _always_pulled(image: str) -> bool:
    """True for an image without a tag or with `latest`; a digest counts as a tag."""
    last = image.rpartition("/")[2]
    return "@" not in last and (":" not in last or last.endswith(":latest"))


def _probe(probe: Json) -> None:
    fill(probe, timeoutSeconds=1, periodSeconds=10, successThreshold=1, failureThreshold=3)
    if "httpGet" in probe:
        fill(probe["httpGet"], path="/", scheme="HTTP")
    if "grpc" in probe:
        fill(probe["grpc"], service="")


def _container(container: Json) -> None:
    fill(
        container,
        terminationMessagePath="/dev/termination-log",
        terminationMessagePolicy="File",
        resources={},
    )
    fill(
        container, imagePullPolicy="Always" if _always_pulled(container.get("image", "")) else "IfNotPresent"
    )
    for port in _items(container, "ports"):
        fill(port, protocol="TCP")
    for probe in ("livenessProbe", "readinessProbe", "startupProbe"):
        if isinstance(container.get(probe), dict):
            _probe(container[probe])
    for hook in (container.get("lifecycle") or {}).values():
        if isinstance(hook, dict) and "httpGet" in hook:
            fill(hook["httpGet"], path="/", scheme="HTTP")
    for variable in _items(container, "env"):
        reference = (variable.get("valueFrom") or {}).get("fieldRef")
        if reference:
            fill(reference, apiVersion="v1")
    resources = container["resources"]
    if resources.get("limits"):
        resources["requests"] = {**resources["limits"], **resources.get("requests", {})}


def _volume(volume: Json) -> None:
    for source in ("secret", "configMap", "downwardAPI", "projected"):
        if isinstance(volume.get(source), dict):
            fill(volume[source], defaultMode=420)
    if isinstance(volume.get("hostPath"), dict):
        fill(volume["hostPath"], type="")
    if set(volume) == {"name"}:
        volume["emptyDir"] = {}


def pod_spec(spec: Json) -> None:
    """Fill a pod's spec; a template's is the same."""
    fill(
        spec,
        restartPolicy="Always",
        terminationGracePeriodSeconds=30,
        dnsPolicy="ClusterFirst",
        securityContext={},
        schedulerName="default-scheduler",
    )
    if "serviceAccountName" in spec:
        fill(spec, serviceAccount=spec["serviceAccountName"])
    elif "serviceAccount" in spec:
        fill(spec, serviceAccountName=spec["serviceAccount"])
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in _items(spec, kind):
            _container(container)
    for volume in _items(spec, "volumes"):
        _volume(volume)


def _template(holder: Json) -> None:
    template = holder.setdefault("template", {})
    template.setdefault("metadata", {})
    pod_spec(template.setdefault("spec", {}))


def _pod(body: Json) -> None:
    spec = body.setdefault("spec", {})
    pod_spec(spec)
    fill(spec, enableServiceLinks=True, priority=0, preemptionPolicy="PreemptLowerPriority")
    fill(spec, tolerations=[dict(toleration) for toleration in _TOLERATIONS])


def _deployment(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, replicas=1, revisionHistoryLimit=10, progressDeadlineSeconds=600)
    strategy = spec.setdefault("strategy", {})
    fill(strategy, type="RollingUpdate")
    if strategy["type"] == "RollingUpdate":
        fill(strategy.setdefault("rollingUpdate", {}), maxUnavailable="25%", maxSurge="25%")
    _template(spec)


def _replica_set(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, replicas=1)
    _template(spec)


def _stateful_set(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, replicas=1, revisionHistoryLimit=10, podManagementPolicy="OrderedReady")
    update = spec.setdefault("updateStrategy", {})
    fill(update, type="RollingUpdate")
    if update["type"] == "RollingUpdate":
        fill(update.setdefault("rollingUpdate", {}), partition=0)
    _template(spec)


def _daemon_set(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, revisionHistoryLimit=10)
    update = spec.setdefault("updateStrategy", {})
    fill(update, type="RollingUpdate")
    if update["type"] == "RollingUpdate":
        fill(update.setdefault("rollingUpdate", {}), maxUnavailable=1, maxSurge=0)
    _template(spec)


def _service(body: Json) -> None:
    spec = body.setdefault("spec", {})
    fill(spec, sessionAffinity="None", type="ClusterIP")
    for port in _items(spec, "ports"):
        fill(port, protocol="TCP")
        if spec["type"] != "ExternalName" and "port" in port:
            fill(port, targetPort=port["port"])
    if spec["type"] != "ExternalName":
        fill(spec, internalTrafficPolicy="Cluster", ipFamilies=["IPv4"], ipFamilyPolicy="SingleStack")
    if spec["type"] in ("NodePort", "LoadBalancer"):
        fill(spec, externalTrafficPolicy="Cluster")


def _endpoints(body: Json) -> None:
    for subset in _items(body, "subsets"):
        for port in _items(subset, "ports"):
            fill(port, protocol="TCP")


def _namespace(body: Json) -> None:
    body["metadata"].setdefault("labels", {})["kubernetes.io/metadata.name"] = body["metadata"].get(
        "name", ""
    )
    fill(body.setdefault("spec", {}), finalizers=["kubernetes"])
    fill(body.setdefault("status", {}), phase="Active")


def _event(body: Json) -> None:
    fill(body, source={}, firstTimestamp=None, lastTimestamp=None, eventTime=None)
    fill(body, reportingComponent="", reportingInstance="")


def _secret(body: Json) -> None:
    fill(body, type="Opaque")
    for key, value in (body.pop("stringData", None) or {}).items():
        body.setdefault("data", {})[key] = base64.b64encode(value.encode()).decode()


def _claim(body: Json) -> None:
    fill(body.setdefault("spec", {}), volumeMode="Filesystem")
    fill(body.setdefault("status", {}), phase="Pending")


def _autoscaler(body: Json) -> None:
    spec = body.setdefault("spec", {})
    cpu = {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 80}}
    fill(spec, minReplicas=1)
    if not spec.get("metrics"):
        spec["metrics"] = [{"type": "Resource", "resource": cpu}]


def _role_binding(body: Json) -> None:
    fill(body.setdefault("roleRef", {}), apiGroup="rbac.authorization.k8s.io")
    for subject in _items(body, "subjects"):
        group = "" if subject.get("kind") == "ServiceAccount" else "rbac.authorization.k8s.io"
        if group:
            fill(subject, apiGroup=group)


def _definition(body: Json) -> None:
    spec = body.setdefault("spec", {})
    names = spec.setdefault("names", {})
    kind = names.get("kind", "")
    fill(names, singular=kind.lower(), listKind=f"{kind}List" if kind else "")
    fill(spec, conversion={"strategy": "None"})


_BY_KIND: Mapping[str, Callable[[Json], None]] = {
    "Pod": _pod,
    "Deployment": _deployment,
    "ReplicaSet": _replica_set,
    "StatefulSet": _stateful_set,
    "DaemonSet": _daemon_set,
    "PodTemplate": _template,
    "Service": _service,
    "Endpoints": _endpoints,
    "Namespace": _namespace,
    "Event": _event,
    "Secret": _secret,
    "PersistentVolumeClaim": _claim,
    "HorizontalPodAutoscaler": _autoscaler,
    "RoleBinding": _role_binding,
    "ClusterRoleBinding": _role_binding,
    "CustomResourceDefinition": _definition,
}


def set_defaults(kind: str, body: Json) -> None:
    """Fill in, in place, what the object leaves open."""
    found = _BY_KIND.get(kind)
    if found is not None:
        found(body)
