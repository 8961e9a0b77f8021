"""Create, update and patch: one pipeline that every written object passes."""

from __future__ import annotations

import random
import uuid
from dataclasses import dataclass, field
from typing import Any

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver import errors
from canaryd.sandbox.apiserver.core import Core
from canaryd.sandbox.apiserver.defaults import set_defaults
from canaryd.sandbox.apiserver.definitions import definition_causes
from canaryd.sandbox.apiserver.errors import Cause
from canaryd.sandbox.apiserver.kinds import ResourceType
from canaryd.sandbox.apiserver.naming import metadata_causes
from canaryd.sandbox.apiserver.ownership import Author, record
from canaryd.sandbox.apiserver.patches import apply_patch
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.preparation import Preparation
from canaryd.sandbox.apiserver.shapes import Decoder, decode_builtin
from canaryd.sandbox.apiserver.store import Snapshot
from canaryd.sandbox.apiserver.validation import builtin_causes
from canaryd.sandbox.apiserver.views import seen, to_storage

_NAME_LETTERS = "bcdfghjklmnpqrstvwxz2456789"
_SYSTEM_SET = ("deletionTimestamp", "deletionGracePeriodSeconds", "selfLink", "generation")
_DROPPED_EMPTY = ("labels", "annotations", "finalizers", "ownerReferences")
_GUARDED = ("uid", "creationTimestamp", "deletionTimestamp", "deletionGracePeriodSeconds", "generation",
            "name", "namespace", "generateName")  # fmt: skip


@dataclass(frozen=True, slots=True)
class Written:
    """What a write led to. `warnings` are for the client's eyes; `created` asks for a 201."""

    snapshot: Snapshot
    created: bool = False
    removed: bool = False
    warnings: list[str] = field(default_factory=list)


class Writes:
    """The pipeline: identify, decode, isolate, default, validate, record owners, commit."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._preparation = Preparation()

    # ---- create -------------------------------------------------------------------------------------

    def create(self, resource: ResourceType, body: Json, info: RequestInfo) -> Written:
        """Store a new object. Raises 400, 403, 404 (namespace), 409 and 422 as `StatusError`."""
        self._identify(resource, body, info)
        meta = body["metadata"]
        if meta.get("resourceVersion"):
            raise errors.internal("resourceVersion should not be set on objects to be created")
        self._admit(resource, info.path.namespace, meta.get("name", ""))
        warnings = self._decode(resource, body, info)
        body = to_storage(resource, body)
        meta = body["metadata"]
        for key in _SYSTEM_SET:
            meta.pop(key, None)
        self._name(meta)
        meta["uid"] = str(uuid.uuid4())
        meta["creationTimestamp"] = self._core.now()
        if not resource.custom:
            set_defaults(resource.kind, body)
        self._check(resource, body, None)
        self._preparation.create(resource, body, self._core.now())
        record(None, body, self._author(resource, info))
        place = (meta.get("namespace", ""), meta["name"])
        if self._core.store.get(resource.store_key, place) is not None:
            raise errors.already_exists(resource.target(meta["name"]))
        if info.dry_run:
            return Written(Snapshot(body, 0), created=True, warnings=warnings)
        return Written(self._core.commit(resource, place, body, info), created=True, warnings=warnings)

    def _admit(self, resource: ResourceType, namespace: str, name: str) -> None:
        """A namespace must exist and not be on its way out to take new objects."""
        if not resource.namespaced:
            return
        found = self._core.store.get("namespaces", ("", namespace))
        if found is None:
            raise errors.not_found(errors.Target("", "namespaces", "Namespace", namespace))
        if found.body["metadata"].get("deletionTimestamp"):
            why = f"unable to create new content in namespace {namespace} because it is being terminated"
            message = f"namespace {namespace} is being terminated"
            cause = Cause("metadata.namespace", "NamespaceTerminating", message)
            raise errors.forbidden(resource.target(name), why, [cause])

    @staticmethod
    def _name(meta: Json) -> None:
        prefix = meta.get("generateName", "")
        if not meta.get("name") and prefix:
            meta["name"] = prefix[:58] + "".join(random.choices(_NAME_LETTERS, k=5))

    # ---- update and patch ---------------------------------------------------------------------------

    def update(self, resource: ResourceType, body: Json, info: RequestInfo) -> Written:
        """Replace an object, or its status. Raises 400, 404, 409 and 422."""
        old = self._core.store.get(resource.store_key, (info.path.namespace, info.path.name))
        self._identify(resource, body, info)
        if old is None:
            if resource.create_on_update and not info.path.subresource:
                return self.create(resource, body, info)
            raise errors.not_found(resource.target(info.path.name))
        return self.replace(resource, old, body, info)

    def patch(self, resource: ResourceType, patch: Any, info: RequestInfo) -> Written:
        """Patch an object, or its status, with any of the served patch formats."""
        old = self._core.store.get(resource.store_key, (info.path.namespace, info.path.name))
        if old is None:
            raise errors.not_found(resource.target(info.path.name))
        document = seen(resource, info.path.version, old.copy())
        body = apply_patch(info.content_type, resource, document, patch)
        self._identify(resource, body, info)
        return self.replace(resource, old, body, info)

    def bind(self, resource: ResourceType, pod: Snapshot, node: str, info: RequestInfo) -> Written:
        """Put a pod on a node."""
        scheduled = {"type": "PodScheduled", "status": "True", "lastProbeTime": None,
                     "lastTransitionTime": self._core.now()}  # fmt: skip
        status = pod.body.get("status") or {}
        others = [c for c in status.get("conditions") or () if c.get("type") != "PodScheduled"]
        body = {
            **pod.body,
            "metadata": dict(pod.body["metadata"]),
            "spec": {**pod.body["spec"], "nodeName": node},
            "status": {**status, "conditions": [*others, scheduled]},
        }
        record(pod.body, body, self._author(resource, info))
        place = (body["metadata"]["namespace"], body["metadata"]["name"])
        return Written(self._core.commit(resource, place, body, info))

    def replace(self, resource: ResourceType, old: Snapshot, body: Json, info: RequestInfo) -> Written:
        """Bring `body`, as a client wrote it, in the place of `old`; writes nothing if nothing changed."""
        self._precondition(resource, old, body["metadata"], info)
        warnings = self._decode(resource, body, info)
        body = self._isolated(resource, to_storage(resource, body), old.body, info.path.subresource)
        meta = body["metadata"]
        for key in _GUARDED:
            meta.pop(key, None)
            if key in old.body["metadata"]:
                meta[key] = old.body["metadata"][key]
        meta["resourceVersion"] = old.body["metadata"]["resourceVersion"]
        if not resource.custom:
            set_defaults(resource.kind, body)
        main = info.path.subresource != "status"
        self._preparation.update(resource, body, old.body, self._core.now(), main=main)
        self._check(resource, body, old.body)
        record(old.body, body, self._author(resource, info))
        if body == old.body:
            return Written(old, warnings=warnings)
        if info.dry_run:
            return Written(Snapshot(body, old.revision), warnings=warnings)
        place = (meta.get("namespace", ""), meta["name"])
        if self._is_finished(resource, body):
            # The real server deletes without storing the last change, but answers with it.
            self._core.remove(resource, place, info)
            return Written(Snapshot(body, old.revision), removed=True, warnings=warnings)
        return Written(self._core.commit(resource, place, body, info), warnings=warnings)

    @staticmethod
    def _precondition(resource: ResourceType, old: Snapshot, meta: Json, info: RequestInfo) -> None:
        target = resource.target(old.body["metadata"]["name"])
        asked, uid = meta.get("resourceVersion"), meta.get("uid")
        if uid and uid != old.body["metadata"]["uid"] and info.verb == "patch":
            raise errors.invalid(target, [errors.bad_value("metadata.uid", uid, "field is immutable")])
        if uid and uid != old.body["metadata"]["uid"]:
            why = (
                f"Precondition failed: UID in precondition: {uid}, "
                f"UID in object meta: {old.body['metadata']['uid']}"
            )
            raise errors.conflict(target, why)
        if not asked and not resource.unconditional_update:
            cause = Cause(
                "metadata.resourceVersion",
                "FieldValueInvalid",
                "Invalid value: 0x0: must be specified for an update",
            )
            by_plural = errors.Target(target.group, target.plural, target.plural, target.name)
            raise errors.invalid(by_plural, [cause])
        if asked and not str(asked).isdigit():
            raise errors.internal(f'strconv.ParseUint: parsing "{asked}": invalid syntax')
        if asked and int(asked) != old.revision:
            raise errors.stale(target)

    def _isolated(self, resource: ResourceType, body: Json, old: Json, subresource: str) -> Json:
        """Keep the status out of main writes, and everything else out of status writes."""
        if subresource == "status":
            meta = dict(old["metadata"]) if resource.custom else {**body["metadata"]}
            if resource.kind == "Deployment" and "labels" in old["metadata"]:
                meta["labels"] = old["metadata"]["labels"]
            if not resource.custom:
                meta["ownerReferences"] = old["metadata"].get("ownerReferences")
                meta = {key: value for key, value in meta.items() if value is not None}
            if "managedFields" in body["metadata"]:
                meta["managedFields"] = body["metadata"]["managedFields"]
            isolated = {**old, "metadata": meta, "status": body.get("status")}
            return {key: value for key, value in isolated.items() if value is not None}
        if resource.status and subresource != "finalize":
            body.pop("status", None)
            if "status" in old:
                body["status"] = old["status"]
            if resource.kind == "Namespace" and not resource.custom:
                body["spec"] = old["spec"]
        return body

    @staticmethod
    def _is_finished(resource: ResourceType, body: Json) -> bool:
        """True for an object that waited for its last finalizer, and has none left."""
        meta = body["metadata"]
        if not meta.get("deletionTimestamp") or meta.get("finalizers"):
            return False
        if resource.kind == "Namespace" and (body.get("spec") or {}).get("finalizers"):
            return False
        return not meta.get("deletionGracePeriodSeconds")

    # ---- shared steps -------------------------------------------------------------------------------

    def _identify(self, resource: ResourceType, body: Any, info: RequestInfo) -> None:
        """Refuse an object that is not what the URL says; fill in what the URL implies."""
        if not isinstance(body, dict):
            raise errors.bad_request("the body of the request is not an object")
        api_version = resource.api_version(info.path.version)
        if resource.custom:
            self._identify_custom(resource, body, info)
        given = body.setdefault("apiVersion", api_version)
        if given != api_version:
            why = f"does not match the expected API version ({api_version})"
            raise errors.bad_request(f"the API version in the data ({given}) {why}")
        if body.setdefault("kind", resource.kind) != resource.kind:
            raise errors.bad_request(
                f'{body["kind"]} in version "{info.path.version}" cannot be handled as a {resource.kind}'
            )
        meta = body.setdefault("metadata", {})
        if not isinstance(meta, dict):
            raise errors.bad_request(
                "json: cannot unmarshal into Go struct field .metadata of type ObjectMeta"
            )
        self._place(resource, meta, info)

    @staticmethod
    def _identify_custom(resource: ResourceType, body: Json, info: RequestInfo) -> None:
        if not body.get("kind"):
            missing = f"Object 'Kind' is missing in '{errors.shown(body)[:200]}'"
            raise errors.bad_request(errors.undecodable(resource.kind, info.path.version, missing))
        if not body.get("apiVersion"):
            missing = "Object 'apiVersion' is missing in 'object has no apiVersion field'"
            raise errors.internal(f"Internal error occurred: {missing}")
        if body["kind"] != resource.kind:
            name = (body.get("metadata") or {}).get("name", "")
            cause = errors.bad_value("kind", body["kind"], f"must be {resource.kind}")
            raise errors.invalid(errors.Target(resource.group, resource.plural, body["kind"], name), [cause])

    @staticmethod
    def _place(resource: ResourceType, meta: Json, info: RequestInfo) -> None:
        wanted = info.path.namespace if resource.namespaced else ""
        given = meta.get("namespace") or wanted
        if given != wanted and info.verb == "patch":
            why = f"does not match the namespace on the request ({wanted})"
            raise errors.bad_request(f"the namespace of the object ({given}) {why}")
        if given != wanted:
            raise errors.bad_request(
                "the namespace of the provided object does not match the namespace sent on the request"
            )
        if wanted:
            meta["namespace"] = wanted
        else:
            meta.pop("namespace", None)
        name = info.path.name
        if name and not meta.get("name"):
            raise errors.bad_request(
                f"the name of the object ({name} based on URL) was undeterminable: name must be provided"
            )
        if name and meta["name"] != name:
            raise errors.bad_request(
                f"the name of the object ({meta['name']}) does not match the name on the URL ({name})"
            )

    def _decode(self, resource: ResourceType, body: Json, info: RequestInfo) -> list[str]:
        """Drop unknown fields (or refuse them, under strict validation); fill a schema's defaults."""
        custom = self._core.registry.custom(resource)
        if custom is None:
            unknown = decode_builtin(resource, body, info.path.version)
        else:
            decoder = Decoder(resource.kind, info.path.version)
            decoder.decode("V1ObjectMeta", body["metadata"], "metadata")
            schema = custom.versions[info.path.version].schema
            unknown = decoder.unknown + schema.prune(body)
            schema.default(body)
        for key in _DROPPED_EMPTY:
            if key in body["metadata"] and not body["metadata"][key]:
                del body["metadata"][key]
        warnings = [f'unknown field "{path}"' for path in unknown]
        if warnings and info.field_validation == "Strict":
            why = f"strict decoding error: {', '.join(warnings)}"
            raise errors.bad_request(errors.undecodable(resource.kind, info.path.version, why))
        return warnings if info.field_validation != "Ignore" else []

    def _check(self, resource: ResourceType, body: Json, old: Json | None) -> None:
        causes = metadata_causes(resource, body, old)
        custom = self._core.registry.custom(resource)
        if custom is not None:
            causes += custom.versions[self._schema_version(resource)].schema.errors(body)
        elif resource.kind == "CustomResourceDefinition":
            causes += definition_causes(body, old)
        else:
            causes += builtin_causes(resource.kind, body, old)
        if causes:
            raise errors.invalid(resource.target(body["metadata"].get("name", "")), causes)

    @staticmethod
    def _schema_version(resource: ResourceType) -> str:
        return resource.storage if resource.storage in resource.versions else resource.versions[0]

    def _author(self, resource: ResourceType, info: RequestInfo) -> Author:
        subresource = info.path.subresource if info.path.subresource != "finalize" else ""
        version = resource.api_version(info.path.version)
        return Author(info.manager, version, subresource, self._core.now())
