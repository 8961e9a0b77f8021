"""The answers that go on: watches and followed logs."""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Awaitable, Callable

from aiohttp import web

from canaryd.cluster.resources import Key
from canaryd.sandbox.apiserver import errors
from canaryd.sandbox.apiserver.core import Core
from canaryd.sandbox.apiserver.errors import StatusError, bad_request
from canaryd.sandbox.apiserver.negotiate import negotiate
from canaryd.sandbox.apiserver.paths import RequestInfo
from canaryd.sandbox.apiserver.present import Presenter
from canaryd.sandbox.apiserver.reading import revision_of, selection_of
from canaryd.sandbox.apiserver.store import dump
from canaryd.sandbox.apiserver.watching import Watch

LogProvider = Callable[[str, str, str, bool, int | None], str]
"""(namespace, pod, container, previous, tail lines or None for all) -> the log's text."""

_BOOKMARK_SECONDS = 60.0
_LAST_BOOKMARK_SECONDS = 2.0
_UNASKED_WATCH_SECONDS = (1800, 3600)
_FOLLOW_SECONDS = 0.5


async def serve_watch(request: web.Request, core: Core, info: RequestInfo) -> web.StreamResponse:
    """Stream changes until the client's timeout. A version that is too old is an ERROR event, as on the
    real server, not an HTTP 410."""
    resource = core.registry.find(info.path)
    selection = selection_of(resource, info)
    presenter = Presenter(core.registry, resource, info, negotiate(info.accept), core.clock)
    asked = revision_of(info.query.get("resourceVersion", ""))
    response = web.StreamResponse(headers={"Content-Type": "application/json"})
    await response.prepare(request)
    try:
        watch = Watch(core.store, resource.store_key, selection, asked or None)
    except StatusError as error:
        await response.write(dump({"type": "ERROR", "object": error.body()}) + b"\n")
        return response
    try:
        await _pump(response, watch, presenter, info)
    except ConnectionError:
        pass  # the client went away, which is how most watches end
    finally:
        watch.close()
    return response


async def _pump(response: web.StreamResponse, watch: Watch, presenter: Presenter, info: RequestInfo) -> None:
    loop = asyncio.get_running_loop()
    seconds = info.number("timeoutSeconds") or random.randint(*_UNASKED_WATCH_SECONDS)
    end = loop.time() + seconds
    marks = info.flag("allowWatchBookmarks")
    next_mark = _next_mark(loop.time(), end)
    while (now := loop.time()) < end and not watch.overflowed:
        if marks and now >= next_mark:
            await response.write(presenter.bookmark(watch.revision))
            next_mark = _next_mark(now, end)
        events = await watch.next(min(end, next_mark if marks else end) - now)
        if events:
            await response.write(b"".join(presenter.event(event) for event in events))


def _next_mark(now: float, end: float) -> float:
    """Bookmarks come every minute, and once shortly before the end so that a client can go on from there."""
    last = end - _LAST_BOOKMARK_SECONDS
    return min(now + _BOOKMARK_SECONDS, last) if now < last else end


async def serve_log(
    request: web.Request, core: Core, info: RequestInfo, provider: LogProvider | None
) -> web.StreamResponse:
    """A container's log, from the provider; `follow` polls it until the pod is gone or has ended."""
    key = (info.path.namespace, info.path.name)
    found = core.store.get("pods", key)
    if found is None:
        raise errors.not_found(errors.Target("", "pods", "Pod", info.path.name))
    container = _container(info, [c["name"] for c in found.body["spec"]["containers"]])
    if provider is None:
        raise StatusError(501, "NotImplemented", "no log provider is set: nothing runs pods here")

    async def read(tail: int | None) -> bytes:
        return (await asyncio.to_thread(provider, *key, container, info.flag("previous"), tail)).encode()

    follow, tail = info.flag("follow"), info.number("tailLines")
    whole = await read(None if follow else tail)
    text = b"".join(whole.splitlines(keepends=True)[-tail:]) if follow and tail else whole
    response = web.StreamResponse(headers={"Content-Type": "text/plain"})
    await response.prepare(request)
    await response.write(text[: info.number("limitBytes") or len(text)])
    if follow:
        with contextlib.suppress(ConnectionError):  # the reader has seen enough
            await _follow(response, len(whole), lambda: read(None), lambda: _is_over(core, key))
    return response


async def _follow(
    response: web.StreamResponse, shown: int, read: Callable[[], Awaitable[bytes]], over: Callable[[], bool]
) -> None:
    last = False
    while not last:
        await asyncio.sleep(_FOLLOW_SECONDS)
        last = over()  # asked before reading: what was written until the end is shown
        text = await read()
        await response.write(text[min(shown, len(text)) :])
        shown = len(text)


def _is_over(core: Core, key: Key) -> bool:
    found = core.store.get("pods", key)
    return found is None or (found.body.get("status") or {}).get("phase") in ("Succeeded", "Failed")


def _container(info: RequestInfo, names: list[str]) -> str:
    asked = info.query.get("container", "")
    if asked and asked not in names:
        raise bad_request(f"container {asked} is not valid for pod {info.path.name}")
    if not asked and len(names) > 1:
        raise bad_request(
            f"a container name must be specified for pod {info.path.name}, choose one of: [{' '.join(names)}]"
        )
    return asked or names[0]
