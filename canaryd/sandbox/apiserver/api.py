"""One API request in, one answer out: everything but watches and logs, which are streams."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from typing import Any

import yaml

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver import errors, reviews, scale
from canaryd.sandbox.apiserver.core import Core
from canaryd.sandbox.apiserver.deletion import Deleted, DeleteOptions, delete
from canaryd.sandbox.apiserver.discovery import subresources
from canaryd.sandbox.apiserver.kinds import REVIEWS, ResourceType
from canaryd.sandbox.apiserver.negotiate import Form, negotiate
from canaryd.sandbox.apiserver.patches import APPLY_PATCH
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.present import Presenter
from canaryd.sandbox.apiserver.reading import Reader
from canaryd.sandbox.apiserver.store import Snapshot, dump
from canaryd.sandbox.apiserver.wire import decode_protobuf
from canaryd.sandbox.apiserver.writes import Writes, Written

_SUCCESS: Json = {"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201}
_PROTOBUF = "application/vnd.kubernetes.protobuf"
_OBJECT_MEDIA = ("application/json", "application/yaml", _PROTOBUF)


@dataclass(frozen=True, slots=True)
class Answer:
    """What goes back over HTTP."""

    status: int
    body: bytes
    warnings: list[str] = field(default_factory=list)
    media: str = "application/json"
    retry_after: int | None = None


def refusal(error: errors.StatusError) -> Answer:
    return Answer(error.code, dump(error.body()), retry_after=error.retry_after)


def decode(content_type: str, data: bytes) -> Any:
    """The document in a request body; None if there is none. Raises 400 and 415."""
    if not data:
        return None
    if content_type == _PROTOBUF:
        return decode_protobuf(data)
    try:
        if content_type.endswith("yaml"):
            return yaml.safe_load(data)
        return json.loads(data)
    except (ValueError, yaml.YAMLError) as error:
        raise errors.bad_request(f"the body of the request cannot be read: {error}") from error


class ResourceApi:
    """The verbs of the API on everything that is served."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._writes = Writes(core)
        self._reader = Reader(core.store)

    def answer(self, info: RequestInfo) -> Answer:
        """Do what is asked. Raises `StatusError` for a refusal."""
        review = next(
            (r for r in REVIEWS if (r.group, r.plural) == (info.path.group, info.path.plural)), None
        )
        if review is not None and info.verb == "create" and info.path.version == "v1":
            return Answer(201, dump(reviews.answer(review, decode(info.content_type, info.body) or {})))
        resource = self._core.registry.find(info.path)
        if info.path.subresource:
            known = {name for name, *_ in subresources(resource)}
            if info.path.subresource not in known:
                raise errors.no_such_path()
            if info.path.subresource == "scale":
                return self._scale(resource, info)
            if info.path.subresource == "eviction":
                return self._evict(resource, info)
            if info.path.subresource == "binding":
                return self._bind(resource, info)
        return self._main(resource, info)

    def _main(self, resource: ResourceType, info: RequestInfo) -> Answer:
        match info.verb:
            case "get":
                return Answer(200, self._presenter(resource, info).one(self._found(resource, info)))
            case "list":
                return Answer(200, self._presenter(resource, info).page(self._reader.page(resource, info)))
            case "delete":
                return self._delete(resource, info)
            case "deletecollection":
                self._needs_namespace(resource, info)
                return self._delete_all(resource, info)
            case "create" if not info.path.name:
                self._needs_namespace(resource, info)
                written = self._writes.create(resource, self._body(info), info)
            case "update" if info.path.name:
                written = self._writes.update(resource, self._body(info), info)
            case "patch" if info.path.name:
                written = self._writes.patch(resource, self._patch_body(info), info)
            case _:
                raise errors.method_not_allowed()
        return self._written(resource, written, info)

    @staticmethod
    def _needs_namespace(resource: ResourceType, info: RequestInfo) -> None:
        if resource.namespaced and not info.path.namespace:
            raise errors.method_not_allowed()

    @staticmethod
    def _body(info: RequestInfo) -> Any:
        if info.content_type not in ("", *_OBJECT_MEDIA):
            raise errors.unsupported_media(_OBJECT_MEDIA)
        return decode(info.content_type, info.body)

    @staticmethod
    def _patch_body(info: RequestInfo) -> Any:
        try:
            return {} if info.content_type == APPLY_PATCH else json.loads(info.body)
        except ValueError as error:
            raise errors.bad_request(f"error decoding patch: {error}") from error

    def _presenter(self, resource: ResourceType, info: RequestInfo, *, plain: bool = False) -> Presenter:
        form = Form() if plain else negotiate(info.accept)
        return Presenter(self._core.registry, resource, info, form, self._core.clock)

    def _found(self, resource: ResourceType, info: RequestInfo) -> Snapshot:
        found = self._core.store.get(resource.store_key, (info.path.namespace, info.path.name))
        if found is None:
            raise errors.not_found(resource.target(info.path.name))
        return found

    def _written(self, resource: ResourceType, written: Written, info: RequestInfo) -> Answer:
        body = self._presenter(resource, info).one(written.snapshot)
        return Answer(201 if written.created else 200, body, written.warnings)

    def _delete(self, resource: ResourceType, info: RequestInfo) -> Answer:
        options = DeleteOptions.parse(decode(info.content_type, info.body) or {}, info)
        deleted = delete(self._core, resource, (info.path.namespace, info.path.name), options, info)
        if resource.returns_deleted or not deleted.removed:
            return Answer(200, self._presenter(resource, info).one(deleted.snapshot))
        return Answer(200, dump(self._done(resource, deleted)))

    @staticmethod
    def _done(resource: ResourceType, deleted: Deleted) -> Json:
        meta = deleted.snapshot.body["metadata"]
        details = resource.target(meta["name"]).details() | {"uid": meta["uid"]}
        return {
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Success",
            "details": details,
        }

    def _delete_all(self, resource: ResourceType, info: RequestInfo) -> Answer:
        options = DeleteOptions.parse(decode(info.content_type, info.body) or {}, info)
        page = self._reader.page(resource, info)
        for snapshot in page.items:
            meta = snapshot.body["metadata"]
            delete(self._core, resource, (meta.get("namespace", ""), meta["name"]), options, info)
        return Answer(200, self._presenter(resource, info).page(page))

    def _scale(self, resource: ResourceType, info: RequestInfo) -> Answer:
        found = self._found(resource, info)
        if info.verb in ("update", "patch"):
            change = self._patch_body(info) if info.verb == "patch" else self._body(info)
            body = scale.scaled(resource, found, change, info)
            found = self._writes.replace(resource, found, body, info).snapshot
        elif info.verb != "get":
            raise errors.method_not_allowed()
        return Answer(200, dump(scale.scale_of(resource, found)))

    def _evict(self, resource: ResourceType, info: RequestInfo) -> Answer:
        if info.verb != "create":
            raise errors.method_not_allowed()
        delete(self._core, resource, (info.path.namespace, info.path.name), DeleteOptions(), info)
        return Answer(201, dump(_SUCCESS))

    def _bind(self, resource: ResourceType, info: RequestInfo) -> Answer:
        """Give a pod its node: what a scheduler does. 409 if it has one."""
        if info.verb != "create":
            raise errors.method_not_allowed()
        found = self._found(resource, info)
        binding = self._body(info) or {}
        node = (binding.get("target") or {}).get("name", "")
        uid = (binding.get("metadata") or {}).get("uid") or found.body["metadata"]["uid"]
        if not node:
            cause = errors.required("target.name")
            raise errors.invalid(errors.Target("", "bindings", "Binding", info.path.name), [cause])
        held = found.body["spec"].get("nodeName")
        if held or uid != found.body["metadata"]["uid"]:
            why = f'pod {info.path.name} is already assigned to node "{held}"' if held else "the uid differs"
            raise errors.conflict(errors.Target("", "pods/binding", "Binding", info.path.name), why)
        self._writes.bind(resource, found, node, info)
        return Answer(201, dump(_SUCCESS))
