"""Pods as the node needs them, parsed once from the API's JSON."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from canaryd.cluster.resources import Json

RestartPolicy = Literal["Always", "OnFailure", "Never"]
_RESTART_POLICIES: dict[str, RestartPolicy] = {"OnFailure": "OnFailure", "Never": "Never"}


@dataclass(frozen=True, slots=True)
class HttpGet:
    port: int | str
    path: str = "/"
    host: str = ""
    headers: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class TcpSocket:
    port: int | str
    host: str = ""


@dataclass(frozen=True, slots=True)
class Exec:
    command: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Sleep:
    seconds: float


@dataclass(frozen=True, slots=True)
class Unsupported:
    """A field that this node cannot honour; what uses it fails with `what` in the message."""

    what: str


Action = HttpGet | TcpSocket | Exec | Sleep | Unsupported


@dataclass(frozen=True, slots=True)
class Probe:
    """Times in seconds; a period below one second is honoured as given."""

    action: Action
    initial_delay: float = 0.0
    period: float = 10.0
    timeout: float = 1.0
    success_threshold: int = 1
    failure_threshold: int = 3


@dataclass(frozen=True, slots=True)
class FieldRef:
    path: str


@dataclass(frozen=True, slots=True)
class EnvVar:
    name: str
    value: str | FieldRef | Unsupported


@dataclass(frozen=True, slots=True)
class Container:
    name: str
    image: str
    command: tuple[str, ...] = ()
    args: tuple[str, ...] = ()
    working_dir: str = ""
    env: tuple[EnvVar, ...] = ()
    ports: tuple[tuple[str, int], ...] = ()  # (name or "", containerPort)
    startup: Probe | None = None
    readiness: Probe | None = None
    liveness: Probe | None = None
    pre_stop: Action | None = None
    message_from_logs: bool = False

    def port(self, wanted: int | str) -> int:
        """The number of a port given by number or name. Raises ValueError at an unknown name."""
        if isinstance(wanted, int) or wanted.isdigit():
            return int(wanted)
        for name, number in self.ports:
            if name == wanted:
                return number
        raise ValueError(f"container {self.name} has no port named {wanted!r}")


@dataclass(frozen=True, slots=True)
class PodSpec:
    """What the node acts on, and nothing that the node itself reports: two versions of a pod that differ in
    their status alone are equal."""

    namespace: str
    name: str
    uid: str
    node_name: str
    finished: bool  # phase Succeeded or Failed: nothing of it runs again
    deleting: bool
    grace: float  # seconds between SIGTERM and SIGKILL; the deletion's own once the pod is being deleted
    labels: Mapping[str, str]
    annotations: Mapping[str, str]
    service_account: str
    restart_policy: RestartPolicy
    init_containers: tuple[Container, ...]
    containers: tuple[Container, ...]


def parse_pod(raw: Json) -> PodSpec:
    """Reads a v1 Pod, with the API's defaults where a field is absent."""
    meta, spec = raw["metadata"], raw.get("spec") or {}
    grace = meta.get("deletionGracePeriodSeconds")
    if grace is None:
        grace = spec.get("terminationGracePeriodSeconds")
    return PodSpec(
        namespace=meta["namespace"],
        name=meta["name"],
        uid=meta["uid"],
        node_name=spec.get("nodeName") or "",
        finished=(raw.get("status") or {}).get("phase") in ("Succeeded", "Failed"),
        deleting=bool(meta.get("deletionTimestamp")),
        grace=30.0 if grace is None else float(grace),
        labels=meta.get("labels") or {},
        annotations=meta.get("annotations") or {},
        service_account=spec.get("serviceAccountName") or "default",
        restart_policy=_RESTART_POLICIES.get(spec.get("restartPolicy", ""), "Always"),
        init_containers=tuple(map(_container, spec.get("initContainers") or ())),
        containers=tuple(map(_container, spec.get("containers") or ())),
    )


def _container(raw: Json) -> Container:
    return Container(
        name=raw["name"],
        image=raw.get("image") or "",
        command=_strings(raw.get("command")),
        args=_strings(raw.get("args")),
        working_dir=raw.get("workingDir") or "",
        env=(*map(_env_var, raw.get("env") or ()), *_env_from(raw.get("envFrom") or ())),
        ports=tuple((port.get("name") or "", int(port["containerPort"])) for port in raw.get("ports") or ()),
        startup=_probe(raw.get("startupProbe")),
        readiness=_probe(raw.get("readinessProbe")),
        liveness=_probe(raw.get("livenessProbe")),
        pre_stop=_action((raw.get("lifecycle") or {}).get("preStop")),
        message_from_logs=raw.get("terminationMessagePolicy") == "FallbackToLogsOnError",
    )


def _strings(values: Iterable[object] | None) -> tuple[str, ...]:
    return tuple(map(str, values or ()))


def _env_var(raw: Json) -> EnvVar:
    source = raw.get("valueFrom")
    if not source:
        return EnvVar(raw["name"], str(raw.get("value") or ""))
    if path := (source.get("fieldRef") or {}).get("fieldPath"):
        return EnvVar(raw["name"], FieldRef(path))
    return EnvVar(raw["name"], Unsupported(f"{', '.join(source)} of env {raw['name']}"))


def _env_from(sources: Iterable[Json]) -> list[EnvVar]:
    return [EnvVar("", Unsupported(f"envFrom {', '.join(source)}")) for source in sources]


def _probe(raw: Json | None) -> Probe | None:
    if not raw:
        return None
    return Probe(
        action=_action(raw) or Unsupported("probe without an action"),
        initial_delay=float(raw.get("initialDelaySeconds") or 0),
        period=float(raw.get("periodSeconds") or 10),
        timeout=float(raw.get("timeoutSeconds") or 1),
        success_threshold=int(raw.get("successThreshold") or 1),
        failure_threshold=int(raw.get("failureThreshold") or 3),
    )


def _action(raw: Json | None) -> Action | None:
    if not raw:
        return None
    if get := raw.get("httpGet"):
        headers = tuple((header["name"], header.get("value", "")) for header in get.get("httpHeaders") or ())
        return HttpGet(get["port"], get.get("path") or "/", get.get("host") or "", headers)
    if tcp := raw.get("tcpSocket"):
        return TcpSocket(tcp["port"], tcp.get("host") or "")
    if command := (raw.get("exec") or {}).get("command"):
        return Exec(_strings(command))
    if sleep := raw.get("sleep"):
        return Sleep(float(sleep.get("seconds") or 0))
    return Unsupported(f"action {', '.join(sorted(raw))}")
