"""The resource types that the server serves from the start, and what is peculiar to each."""

from __future__ import annotations

from dataclasses import dataclass, field

from canaryd.sandbox.apiserver.errors import Target

ALL_VERBS = ("create", "delete", "deletecollection", "get", "list", "patch", "update", "watch")


@dataclass(frozen=True, slots=True)
class ScalePaths:
    """Where the scale subresource finds its numbers, as tuples of keys below the object."""

    replicas: tuple[str, ...] = ("spec", "replicas")
    status_replicas: tuple[str, ...] = ("status", "replicas")
    selector: tuple[str, ...] = ("spec", "selector")


@dataclass(frozen=True, slots=True)
class ResourceType:
    """One resource with all its served versions, which are views of the same stored objects.

    `versions` lists the served ones, the preferred first; objects are kept in `storage`.
    """

    group: str
    plural: str
    kind: str
    versions: tuple[str, ...]
    storage: str
    namespaced: bool = True
    singular: str = ""
    list_kind: str = ""
    short_names: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    status: bool = False
    scale: ScalePaths | None = None
    generation: bool = False
    unconditional_update: bool = True
    create_on_update: bool = False
    returns_deleted: bool = False
    custom: bool = False
    fields: dict[str, str] = field(default_factory=dict)
    """Field selectors beyond metadata.name and metadata.namespace: label -> path in the object."""
    stored_as: str = ""
    """The resource whose objects these are, where this is only another view of it."""

    @property
    def resource(self) -> str:
        """The name of the type in messages and records: `deployments.apps`, `pods`."""
        return f"{self.plural}.{self.group}" if self.group else self.plural

    @property
    def store_key(self) -> str:
        return self.stored_as or self.resource

    @property
    def collection_kind(self) -> str:
        return self.list_kind or f"{self.kind}List"

    def api_version(self, version: str = "") -> str:
        version = version or self.storage
        return f"{self.group}/{version}" if self.group else version

    def target(self, name: str = "") -> Target:
        return Target(self.group, self.plural, self.kind, name)

    def unknown_field(self, label: str) -> str:
        """Why a field selector on `label` is refused; empty if it is not."""
        if label in ("metadata.name", "metadata.namespace") or label in self.fields:
            return ""
        if self.fields or self.custom:
            return f"field label not supported: {label}"
        return f'"{label}" is not a known field selector: only "metadata.name", "metadata.namespace"'


def _core(plural: str, kind: str, *short: str, **more: object) -> ResourceType:
    return _builtin("", "v1", plural, kind, *short, **more)


def _builtin(group: str, version: str, plural: str, kind: str, *short: str, **more: object) -> ResourceType:
    return ResourceType(
        group=group,
        plural=plural,
        kind=kind,
        versions=(version,),
        storage=version,
        singular=kind.lower(),
        short_names=short,
        **more,  # type: ignore[arg-type]
    )


def _same(*paths: str) -> dict[str, str]:
    return {path: path for path in paths}


_RBAC = "rbac.authorization.k8s.io"
_ALL = {"categories": ("all",)}
_WORKLOAD = {**_ALL, "status": True, "generation": True}
_POD_FIELDS = _same(
    "spec.nodeName", "spec.restartPolicy", "spec.schedulerName", "spec.serviceAccountName", "status.phase",
    "status.podIP", "status.nominatedNodeName",
)  # fmt: skip
_INVOLVED = ("kind", "namespace", "name", "uid", "apiVersion", "resourceVersion", "fieldPath")
_EVENT_FIELDS = {
    **_same(*(f"involvedObject.{part}" for part in _INVOLVED), "reason", "type"),
    "reportingComponent": "reportingComponent",
    "source": "source.component",
}

BUILTINS: tuple[ResourceType, ...] = (
    _core("namespaces", "Namespace", "ns", namespaced=False, status=True, fields=_same("status.phase")),
    _core("nodes", "Node", "no", namespaced=False, status=True, fields=_same("spec.unschedulable")),
    _core("pods", "Pod", "po", status=True, fields=_POD_FIELDS, returns_deleted=True, **_ALL),
    _core("services", "Service", "svc", status=True, returns_deleted=True, **_ALL),
    _core("endpoints", "Endpoints", "ep", create_on_update=True),
    _core("events", "Event", "ev", fields=_EVENT_FIELDS, create_on_update=True),
    _core("configmaps", "ConfigMap", "cm"),
    _core("secrets", "Secret", fields=_same("type")),
    _core("serviceaccounts", "ServiceAccount", "sa", returns_deleted=True),
    _core("podtemplates", "PodTemplate", returns_deleted=True),
    _core("persistentvolumeclaims", "PersistentVolumeClaim", "pvc", status=True, returns_deleted=True),
    _builtin("apps", "v1", "deployments", "Deployment", "deploy", scale=ScalePaths(), **_WORKLOAD),
    _builtin(
        "apps", "v1", "replicasets", "ReplicaSet", "rs",
        scale=ScalePaths(), fields=_same("status.replicas"), **_WORKLOAD,
    ),
    _builtin("apps", "v1", "statefulsets", "StatefulSet", "sts", scale=ScalePaths(), **_WORKLOAD),
    _builtin("apps", "v1", "daemonsets", "DaemonSet", "ds", **_WORKLOAD),
    _builtin("apps", "v1", "controllerrevisions", "ControllerRevision"),
    _builtin("autoscaling", "v2", "horizontalpodautoscalers", "HorizontalPodAutoscaler", "hpa",
             status=True, **_ALL),
    _builtin("policy", "v1", "poddisruptionbudgets", "PodDisruptionBudget", "pdb",
             status=True, generation=True, unconditional_update=False),
    _builtin("coordination.k8s.io", "v1", "leases", "Lease",
             unconditional_update=False, create_on_update=True),
    _builtin("discovery.k8s.io", "v1", "endpointslices", "EndpointSlice", generation=True),
    _builtin("events.k8s.io", "v1", "events", "Event", "ev", stored_as="events", create_on_update=True,
             fields=_same("reason", "type", "reportingController", *(f"regarding.{p}" for p in _INVOLVED))),
    _builtin(_RBAC, "v1", "roles", "Role"),
    _builtin(_RBAC, "v1", "rolebindings", "RoleBinding"),
    _builtin(_RBAC, "v1", "clusterroles", "ClusterRole", namespaced=False),
    _builtin(_RBAC, "v1", "clusterrolebindings", "ClusterRoleBinding", namespaced=False),
    _builtin("apiextensions.k8s.io", "v1", "customresourcedefinitions", "CustomResourceDefinition",
             "crd", "crds", namespaced=False, status=True, generation=True, unconditional_update=False,
             categories=("api-extensions",)),
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Review:
    """A resource that is only ever created: the answer is in its status and nothing is stored."""

    group: str
    plural: str
    kind: str
    namespaced: bool = False

    @property
    def api_version(self) -> str:
        return f"{self.group}/v1"


REVIEWS: tuple[Review, ...] = (
    Review("authentication.k8s.io", "tokenreviews", "TokenReview"),
    Review("authentication.k8s.io", "selfsubjectreviews", "SelfSubjectReview"),
    Review("authorization.k8s.io", "subjectaccessreviews", "SubjectAccessReview"),
    Review("authorization.k8s.io", "selfsubjectaccessreviews", "SelfSubjectAccessReview"),
    Review("authorization.k8s.io", "selfsubjectrulesreviews", "SelfSubjectRulesReview"),
    Review("authorization.k8s.io", "localsubjectaccessreviews", "LocalSubjectAccessReview", namespaced=True),
)
