"""OpenAPI documents, as far as kubectl needs them."""

from __future__ import annotations

from aiohttp import web

from canaryd.sandbox.apiserver.errors import no_such_path
from canaryd.sandbox.apiserver.registry import Registry


class OpenApi:
    """An empty v2 document, which makes kubectl leave validation to the server."""

    def __init__(self, registry: Registry) -> None:
        self._registry = registry

    def response(self, path: str, _hash: str) -> web.Response:
        if path == "/openapi/v2":
            return web.Response(
                body=b"", content_type="application/com.github.proto-openapi.spec.v2.v1.0+protobuf"
            )
        raise no_such_path()
