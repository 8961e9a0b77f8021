"""What the contract tests hold in their hands: a server, and small ways to ask it."""

from __future__ import annotations

import base64
import json
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import urllib3
import yaml

from canaryd.cluster.resources import Json, Resource
from canaryd.cluster.transport import Api

JSON_PATCH = "application/json-patch+json"
MERGE_PATCH = "application/merge-patch+json"
STRATEGIC_PATCH = "application/strategic-merge-patch+json"
TABLE = "application/json;as=Table;v=v1;g=meta.k8s.io"

THINGS = Resource("contract.canaryd.io", "v1", "things", "Thing")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Reply:
    """An answer as it came over HTTP; `body` is parsed where it is JSON, else the text."""

    status: int
    body: Any
    headers: dict[str, str]

    @property
    def causes(self) -> list[tuple[str, str]]:
        """(field, reason) of each cause in a Status."""
        return [(c["field"], c["reason"]) for c in self.body.get("details", {}).get("causes", [])]


@dataclass(frozen=True)
class Server:
    """An API server under test. `name` is sandbox or real."""

    name: str
    kubeconfig: Path

    @cached_property
    def api(self) -> Api:
        return Api.connect(str(self.kubeconfig))

    @cached_property
    def _connection(self) -> tuple[urllib3.PoolManager, str, dict[str, str]]:
        config = yaml.safe_load(self.kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        token = config["users"][0]["user"].get("token", "")
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        if "certificate-authority-data" not in cluster:
            return urllib3.PoolManager(), cluster["server"], headers
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        context = ssl.create_default_context(cadata=authority)
        return urllib3.PoolManager(ssl_context=context), cluster["server"], headers

    def ask(
        self,
        method: str,
        path: str,
        body: Any = None,
        *,
        content_type: str = "application/json",
        accept: str = "application/json",
        agent: str = "contract/1.0",
    ) -> Reply:
        """One request, with everything in the test's hands."""
        pool, url, headers = self._connection
        headers = {**headers, "Accept": accept, "User-Agent": agent}
        if body is not None:
            headers["Content-Type"] = content_type
        data = body if isinstance(body, bytes) or body is None else json.dumps(body).encode()
        response = pool.request(method, url + path, body=data, headers=headers, timeout=30, retries=False)
        try:
            parsed = json.loads(response.data)
        except ValueError:
            parsed = response.data.decode()
        return Reply(response.status, parsed, dict(response.headers))

    def watch_lines(self, path: str) -> list[Json]:
        """All events of a watch, until the server ends it: give it a timeoutSeconds."""
        text = self.ask("GET", path).body
        if isinstance(text, dict):
            return [text]
        return [json.loads(line) for line in text.splitlines() if line]


def eventually(check: Callable[[], T], *, within: float = 30.0) -> T:
    """Wait until `check` answers something true; fail after `within` seconds."""
    deadline = time.monotonic() + within
    while True:
        found = check()
        if found or time.monotonic() > deadline:
            assert found, f"did not come true within {within} s"
            return found
        time.sleep(0.05)


def pod_spec(*images: str) -> Json:
    names = "abcdefgh"
    return {"containers": [{"name": names[at], "image": image} for at, image in enumerate(images)]}


def deployment(name: str = "web", *, image: str = "web:1", **spec: Any) -> Json:
    """A Deployment with all that must be given, and nothing more."""
    template = {"metadata": {"labels": {"app": name}}, "spec": pod_spec(image)}
    needed = {"selector": {"matchLabels": {"app": name}}, "template": template}
    return {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name},
        "spec": {**needed, **spec},
    }


def configmap(name: str, data: dict[str, str] | None = None, **meta: Any) -> Json:
    return {"metadata": {"name": name, **meta}, "data": data or {}}


def owner(of: Json, **more: Any) -> Json:
    """An ownerReference to an object."""
    meta = of["metadata"]
    return {
        "apiVersion": of["apiVersion"],
        "kind": of["kind"],
        "name": meta["name"],
        "uid": meta["uid"],
        **more,
    }


def thing(name: str = "one", **spec: Any) -> Json:
    """An object of the custom kind that conftest.py defines."""
    meta = {"name": name}
    return {"apiVersion": THINGS.api_version, "kind": "Thing", "metadata": meta, "spec": {"size": 1, **spec}}
