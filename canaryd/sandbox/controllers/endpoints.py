"""The Endpoints controller: which addresses a Service has, ready ones apart from those that are not."""

from collections import defaultdict
from collections.abc import Iterable

from canaryd.cluster.errors import NotFound
from canaryd.cluster.resources import ENDPOINTS, Json, Key
from canaryd.sandbox.controllers.cluster import MANAGER, Cluster
from canaryd.sandbox.controllers.network import Pod, Service, ServicePort


class EndpointsController:
    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster

    def sync(self, key: Key) -> float | None:
        """Brings the Endpoints of one Service into line, or removes them with it. Raises ApiError."""
        service = self._cluster.services.get(key)
        if service is None:
            self._remove(key)
        elif service.selector is not None and not service.meta.deleting:
            pods = self._cluster.pods.within(service.meta.namespace)
            self._write(service, subsets(service, pods))
        return None

    def _write(self, service: Service, wanted: list[Json]) -> None:
        meta = service.meta
        known = self._cluster.endpoints.get(meta.key)
        labels = {**meta.labels, **({"service.kubernetes.io/headless": ""} if service.headless else {})}
        if known is not None and known.subsets == wanted and dict(known.meta.labels) == labels:
            return
        body: Json = {"metadata": {"name": meta.name, "labels": labels}, "subsets": wanted}
        if known is None:
            raw = self._cluster.api.create(
                ENDPOINTS, meta.namespace, {"apiVersion": "v1", "kind": "Endpoints", **body}
            )
        else:
            gone: Json = {name: None for name in known.meta.labels if name not in labels}
            body["metadata"]["labels"] = {**labels, **gone}
            raw = self._cluster.api.patch(ENDPOINTS, meta.namespace, meta.name, body, field_manager=MANAGER)
        self._cluster.endpoints.wrote(raw)

    def _remove(self, key: Key) -> None:
        known = self._cluster.endpoints.get(key)
        if known is None or known.meta.deleting:
            return
        try:
            self._cluster.api.delete(ENDPOINTS, *key, uid=known.meta.uid)
        except NotFound:
            return
        self._cluster.endpoints.removed(known)


def subsets(service: Service, pods: Iterable[Pod]) -> list[Json]:
    """The `subsets` of the Service's Endpoints, in a fixed order. Pure."""
    ready: defaultdict[tuple[ServicePort, ...], list[Pod]] = defaultdict(list)
    unready: defaultdict[tuple[ServicePort, ...], list[Pod]] = defaultdict(list)
    for pod in pods:
        if not _belongs(service, pod):
            continue
        ports = tuple(found for port in service.ports if (found := _resolved(port, pod)))
        if ports or (service.headless and not service.ports):
            (ready if pod.ready or service.publish_not_ready else unready)[ports].append(pod)
    result: list[Json] = []
    for ports in sorted({*ready, *unready}, key=str):
        subset: Json = {}
        for name, group in (("addresses", ready), ("notReadyAddresses", unready)):
            if group[ports]:
                subset[name] = [_address(pod) for pod in sorted(group[ports], key=_order)]
        if ports:
            subset["ports"] = [_port_json(port) for port in ports]
        result.append(subset)
    return result


def _belongs(service: Service, pod: Pod) -> bool:
    assert service.selector is not None
    if not pod.ip or not service.selector.matches(pod.meta.labels):
        return False
    if pod.meta.deleting and not service.publish_not_ready:
        return False
    over = {"Never": ("Succeeded", "Failed"), "OnFailure": ("Succeeded",)}.get(pod.restart_policy, ())
    return pod.phase not in over


def _resolved(port: ServicePort, pod: Pod) -> ServicePort | None:
    """The port with the number that it has on this pod; None where the pod has no port of that name."""
    target = port.target
    if isinstance(target, str) and target.isdigit():
        target = int(target)
    if isinstance(target, int):
        return ServicePort(port.name, target, target, port.protocol)
    for own in pod.ports:
        if own.name == target and own.protocol == port.protocol:
            return ServicePort(port.name, own.number, own.number, port.protocol)
    return None


def _address(pod: Pod) -> Json:
    target = {"kind": "Pod", "namespace": pod.meta.namespace, "name": pod.meta.name, "uid": pod.meta.uid}
    return {"ip": pod.ip, **({"nodeName": pod.node} if pod.node else {}), "targetRef": target}


def _port_json(port: ServicePort) -> Json:
    name = {"name": port.name} if port.name else {}
    return {**name, "port": port.port, "protocol": port.protocol}


def _order(pod: Pod) -> tuple[tuple[int, ...], str]:
    return tuple(int(part) for part in pod.ip.split(".") if part.isdigit()), pod.meta.uid
