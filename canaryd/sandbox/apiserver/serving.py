"""The HTTP edge: requests in, Kubernetes API answers out."""

from __future__ import annotations

import logging
from collections.abc import Callable

from aiohttp import web

from canaryd.cluster.resources import Json
from canaryd.sandbox.apiserver import errors, openapi
from canaryd.sandbox.apiserver.api import Answer, ResourceApi, refusal
from canaryd.sandbox.apiserver.core import Core
from canaryd.sandbox.apiserver.discovery import VERSION, Discovery
from canaryd.sandbox.apiserver.errors import NotServed, StatusError
from canaryd.sandbox.apiserver.paths import ApiPath, RequestInfo, parse_path, verb_of
from canaryd.sandbox.apiserver.store import dump
from canaryd.sandbox.apiserver.streams import LogProvider, serve_log, serve_watch

Reject = Callable[[RequestInfo], "tuple[int, Json] | None"]
"""Asked before every resource request; an answer is sent instead of doing it."""

_log = logging.getLogger(__name__)
_LARGEST_BODY = 16 * 1024 * 1024
_HEALTH = ("/healthz", "/livez", "/readyz")


class Frontend:
    """Routes each request to discovery, a stream, or the resource API."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._api = ResourceApi(core)
        self._discovery = Discovery(core.registry)
        self._openapi = openapi.OpenApi(core.registry)
        self.reject: Reject | None = None
        self.log_provider: LogProvider | None = None

    def application(self) -> web.Application:
        app = web.Application(client_max_size=_LARGEST_BODY)
        app.router.add_route("*", "/{path:.*}", self.respond)
        return app

    async def respond(self, request: web.Request) -> web.StreamResponse:
        """Answer one request; a refusal of any kind becomes its Status."""
        try:
            path = parse_path(request.path)
            if path is None:
                return self._static(request)
            return await self._resource(request, path)
        except NotServed as error:
            return web.Response(status=error.code, text=error.message)
        except StatusError as error:
            return _response(refusal(error))
        except ConnectionError:
            raise  # nobody is left to answer
        except Exception as error:  # noqa: BLE001 - whatever it is, the client gets a Status
            _log.exception("%s %s failed", request.method, request.path)
            unforeseen = StatusError(500, "InternalError", f"Internal error occurred: {error}")
            return _response(refusal(unforeseen))

    async def _resource(self, request: web.Request, path: ApiPath) -> web.StreamResponse:
        headers = request.headers
        info = RequestInfo(
            verb=verb_of(request.method, path, request.query),
            path=path,
            query=request.query,
            user_agent=headers.get("User-Agent", ""),
            content_type=request.content_type if "Content-Type" in headers else "",
            accept=headers.get("Accept", ""),
            body=await request.read(),
        )
        rejected = self.reject(info) if self.reject is not None else None
        if rejected is not None:
            return _response(Answer(rejected[0], dump(rejected[1])))
        if info.verb == "watch":
            return await serve_watch(request, self._core, info)
        if path.subresource == "log" and path.plural == "pods" and not path.group:
            return await serve_log(request, self._core, info, self.log_provider)
        return _response(self._api.answer(info))

    def _static(self, request: web.Request) -> web.Response:
        path, accept = request.path.rstrip("/"), request.headers.get("Accept", "")
        if path in _HEALTH:
            return web.Response(text="ok")
        if path == "/version":
            return _response(Answer(200, dump(VERSION)))
        found = self._discovery.document(path, accept)
        if found is not None:
            return _response(Answer(200, dump(found[0]), media=f"application/json{found[1]}"))
        if path.startswith("/openapi/"):
            document, media = self._openapi.document(path)
            return _response(Answer(200, document, media=media))
        raise errors.NotServed


def _response(answer: Answer) -> web.Response:
    response = web.Response(status=answer.status, body=answer.body)
    response.headers["Content-Type"] = answer.media
    for warning in answer.warnings:
        escaped = warning.replace("\\", "\\\\").replace('"', '\\"')
        response.headers.add("Warning", f'299 - "{escaped}"')
    if answer.retry_after is not None:
        response.headers["Retry-After"] = str(answer.retry_after)
    return response
