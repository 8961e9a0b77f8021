"""What `kubectl get` shows of the other built-in kinds."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver.columns import (
    AGE,
    NAME,
    Cell,
    Column,
    Moment,
    at,
    field,
    joined,
    labels,
    text,
    wide,
)

_MOST_SHOWN = 3


def _external_address(body: Json, _now: Moment) -> str:
    spec = body["spec"]
    given = spec.get("externalIPs") or []
    if spec.get("type") == "ExternalName":
        return str(spec.get("externalName", "<none>"))
    if spec.get("type") == "LoadBalancer":
        entries = at(body, "status", "loadBalancer", "ingress", default=[])
        given = [*(entry.get("ip") or entry.get("hostname") for entry in entries), *given]
        return ",".join(given) or "<pending>"
    return joined(given)


def _service_ports(body: Json, _now: Moment) -> str:
    ports = at(body, "spec", "ports", default=[])
    return joined(
        f"{port['port']}{':' + str(port['nodePort']) if port.get('nodePort') else ''}/{port['protocol']}"
        for port in ports
    )


def _some(values: Iterable[str]) -> str:
    """The first three of a list, and how many more there are."""
    all_of_them = list(values)
    more = len(all_of_them) - _MOST_SHOWN
    shown = ",".join(all_of_them[:_MOST_SHOWN]) or "<none>"
    return f"{shown} + {more} more..." if more > 0 else shown


def _endpoints(body: Json, _now: Moment) -> str:
    return _some(
        f"{address['ip']}:{port['port']}"
        for subset in body.get("subsets") or ()
        for port in subset.get("ports") or ()
        for address in subset.get("addresses") or ()
    )


def _slice_endpoints(body: Json, _now: Moment) -> str:
    return _some(a for endpoint in body.get("endpoints") or () for a in endpoint.get("addresses") or ())


def _slice_ports(body: Json, _now: Moment) -> str:
    return _some(str(port.get("port", "*")) for port in body.get("ports") or ())


def _last_seen(body: Json, now: Moment) -> str:
    series = at(body, "series", "lastObservedTime")
    last = series or body.get("lastTimestamp") or body.get("eventTime")
    count_ = body.get("count") or 0
    first = body.get("firstTimestamp")
    if count_ > 1 and first and last:
        return f"{now.age(last)} (x{count_} over {now.age(first)})"
    return now.age(last or first)


def _event_object(body: Json, _now: Moment) -> str:
    involved = body.get("involvedObject") or {}
    return f"{str(involved.get('kind', '')).lower()}/{involved.get('name', '')}"


def _event_source(body: Json, _now: Moment) -> str:
    source = body.get("source") or {}
    parts = [source.get("component") or body.get("reportingComponent")]
    parts.append(source.get("host") or body.get("reportingInstance"))
    return ", ".join(part for part in parts if part)


def _event_message(body: Json, _now: Moment) -> str:
    return str(body.get("message", "")).strip()


def _size(*keys: str) -> Cell:
    return lambda body, _now: str(sum(len(body.get(key) or ()) for key in keys))


def _claim_status(body: Json, _now: Moment) -> str:
    gone = body["metadata"].get("deletionTimestamp")
    return "Terminating" if gone else str(at(body, "status", "phase", default=""))


def _node_status(body: Json, _now: Moment) -> str:
    conditions = {c["type"]: c["status"] for c in at(body, "status", "conditions", default=[])}
    ready = {"True": "Ready", "False": "NotReady"}.get(conditions.get("Ready", ""), "Unknown")
    return f"{ready},SchedulingDisabled" if at(body, "spec", "unschedulable") else ready


def _node_roles(body: Json, _now: Moment) -> str:
    prefix = "node-role.kubernetes.io/"
    return joined(
        sorted(
            key.removeprefix(prefix) for key in body["metadata"].get("labels") or {} if key.startswith(prefix)
        )
    )


def _node_address(kind: str) -> Cell:
    def read(body: Json, _now: Moment) -> str:
        addresses = at(body, "status", "addresses", default=[])
        return next((a["address"] for a in addresses if a.get("type") == kind), "<none>")

    return read


def _node_info(key: str) -> Cell:
    return field("status", "nodeInfo", key, default="<unknown>")


def _role(body: Json, _now: Moment) -> str:
    reference = body.get("roleRef") or {}
    return f"{reference.get('kind', '')}/{reference.get('name', '')}"


def _subjects(kind: str) -> Cell:
    def read(body: Json, _now: Moment) -> str:
        chosen = [s for s in body.get("subjects") or () if s.get("kind") == kind]
        names = [f"{s['namespace']}/{s['name']}" if s.get("namespace") else s["name"] for s in chosen]
        return ", ".join(names)

    return read


_CREATED = text("Created At", field("metadata", "creationTimestamp"))
_BINDING = [
    NAME,
    text("Role", _role),
    AGE,
    wide("Users", _subjects("User")),
    wide("Groups", _subjects("Group")),
    wide("ServiceAccounts", _subjects("ServiceAccount")),
]

CORE: Mapping[str, list[Column]] = {
    "services": [
        NAME,
        text("Type", field("spec", "type")),
        text("Cluster-IP", field("spec", "clusterIP")),
        text("External-IP", _external_address),
        text("Port(s)", _service_ports),
        AGE,
        wide("Selector", labels("spec", "selector")),
    ],
    "endpoints": [NAME, text("Endpoints", _endpoints), AGE],
    "endpointslices.discovery.k8s.io": [
        NAME,
        text("AddressType", field("addressType")),
        text("Ports", _slice_ports),
        text("Endpoints", _slice_endpoints),
        AGE,
    ],
    "events": [
        text("Last Seen", _last_seen),
        text("Type", field("type", default="")),
        text("Reason", field("reason", default="")),
        text("Object", _event_object),
        wide("Subobject", field("involvedObject", "fieldPath", default="")),
        wide("Source", _event_source),
        text("Message", _event_message),
        wide("First Seen", lambda body, now: now.age(body.get("firstTimestamp") or body.get("eventTime"))),
        Column("Count", "integer", lambda body, _now: body.get("count") or 1, priority=1),
        Column("Name", "string", field("metadata", "name"), format="name", priority=1),
    ],
    "namespaces": [NAME, text("Status", field("status", "phase", default="")), AGE],
    "configmaps": [NAME, text("Data", _size("data", "binaryData")), AGE],
    "secrets": [NAME, text("Type", field("type", default="")), text("Data", _size("data")), AGE],
    "serviceaccounts": [NAME, text("Secrets", _size("secrets")), AGE],
    "persistentvolumeclaims": [
        NAME,
        text("Status", _claim_status),
        text("Volume", field("spec", "volumeName", default="")),
        text("Capacity", field("status", "capacity", "storage", default="")),
        text("Access Modes", lambda body, _now: ",".join(at(body, "status", "accessModes", default=[]))),
        text("StorageClass", field("spec", "storageClassName", default="")),
        AGE,
        wide("VolumeMode", field("spec", "volumeMode", default="<unset>")),
    ],
    "nodes": [
        NAME,
        text("Status", _node_status),
        text("Roles", _node_roles),
        AGE,
        text("Version", field("status", "nodeInfo", "kubeletVersion", default="")),
        wide("Internal-IP", _node_address("InternalIP")),
        wide("External-IP", _node_address("ExternalIP")),
        wide("OS-Image", _node_info("osImage")),
        wide("Kernel-Version", _node_info("kernelVersion")),
        wide("Container-Runtime", _node_info("containerRuntimeVersion")),
    ],
    "leases.coordination.k8s.io": [NAME, text("Holder", field("spec", "holderIdentity", default="")), AGE],
    "customresourcedefinitions.apiextensions.k8s.io": [NAME, _CREATED],
    "roles.rbac.authorization.k8s.io": [NAME, _CREATED],
    "clusterroles.rbac.authorization.k8s.io": [NAME, _CREATED],
    "rolebindings.rbac.authorization.k8s.io": _BINDING,
    "clusterrolebindings.rbac.authorization.k8s.io": _BINDING,
}
