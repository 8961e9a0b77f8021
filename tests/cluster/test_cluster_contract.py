"""What this layer relies on, asked of API servers: the sandbox's own and, where there is one, a real one."""

from __future__ import annotations

import threading
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from scripted_apiserver import PATIENCE, eventually

from canaryd.cluster import errors as e
from canaryd.cluster.reflector import Reflector
from canaryd.cluster.resources import CANARYRUNS, CONFIGMAPS, NAMESPACES, POD_TEMPLATES, Json, key_of
from canaryd.cluster.transport import Api
from canaryd.sandbox import realcluster
from canaryd.sandbox.apiserver import ApiServer


@pytest.fixture(
    scope="module",
    params=["sandbox", pytest.param("real", marks=[pytest.mark.real, pytest.mark.slow])],
)
def api(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Api]:
    with started(request.param, tmp_path_factory.mktemp("server")) as path:
        api = Api.connect(str(path))
        yield api
        api.close()


class started:  # noqa: N801 - reads as a function
    """A kubeconfig of a server that runs for the block."""

    def __init__(self, which: str, folder: Path) -> None:
        if which == "real" and (reason := realcluster.available(controllers=False)):
            pytest.skip(reason)
        self._server: Any = realcluster.RealCluster(controllers=()) if which == "real" else ApiServer()
        self._folder = folder

    def __enter__(self) -> Path:
        self._server.__enter__()
        if isinstance(self._server, ApiServer):
            return self._server.kubeconfig(self._folder / "kubeconfig")
        path: Path = self._server.kubeconfig
        return path

    def __exit__(self, *error: object) -> None:
        self._server.__exit__(*error)

    def restart_apiserver(self) -> None:
        self._server.kill_apiserver()
        self._server.start_apiserver()


@pytest.fixture
def namespace(api: Api) -> str:
    name = f"test-{uuid.uuid4().hex[:8]}"
    api.create(NAMESPACES, None, {"metadata": {"name": name}})
    return name


def config(name: str, **data: str) -> Json:
    return {"metadata": {"name": name, "labels": {"app": name}}, "data": data}


def test_an_objects_life(api: Api, namespace: str) -> None:
    made = api.create(CONFIGMAPS, namespace, config("a", x="1"))
    assert key_of(made) == (namespace, "a")
    assert api.get(CONFIGMAPS, namespace, "a") == made
    merged = api.patch(CONFIGMAPS, namespace, "a", {"data": {"y": "2"}})
    assert merged["data"] == {"x": "1", "y": "2"}
    test = {"op": "test", "path": "/data/y", "value": "2"}
    patched = api.patch(CONFIGMAPS, namespace, "a", [test, {"op": "remove", "path": "/data/y"}], kind="json")
    assert patched["data"] == {"x": "1"}
    assert {entry["manager"] for entry in patched["metadata"]["managedFields"]} == {"canaryd"}
    strategic = api.patch(CONFIGMAPS, namespace, "a", {"data": {"z": "3"}}, kind="strategic")
    replaced = api.replace(CONFIGMAPS, namespace, "a", {**strategic, "data": {"w": "4"}})
    assert replaced["data"] == {"w": "4"}
    api.delete(CONFIGMAPS, namespace, "a", uid=made["metadata"]["uid"])
    with pytest.raises(e.NotFound):
        api.get(CONFIGMAPS, namespace, "a")


def test_refusals(api: Api, namespace: str) -> None:
    made = api.create(CONFIGMAPS, namespace, config("a", x="1"))
    api.patch(CONFIGMAPS, namespace, "a", {"data": {"x": "2"}})
    with pytest.raises(e.AlreadyExists):
        api.create(CONFIGMAPS, namespace, config("a"))
    with pytest.raises(e.Conflict):
        api.replace(CONFIGMAPS, namespace, "a", made)
    stale: Json = {"metadata": {"resourceVersion": made["metadata"]["resourceVersion"]}, "data": {}}
    with pytest.raises(e.Conflict):
        api.patch(CONFIGMAPS, namespace, "a", stale)
    with pytest.raises(e.Invalid):
        api.patch(CONFIGMAPS, namespace, "a", [{"op": "test", "path": "/data/x", "value": "1"}], kind="json")
    with pytest.raises(e.Invalid):
        api.create(CONFIGMAPS, namespace, config("Not A Name"))
    with pytest.raises(e.Conflict):
        api.delete(CONFIGMAPS, namespace, "a", uid="00000000-0000-0000-0000-000000000000")
    with pytest.raises(e.Conflict):
        api.delete(CONFIGMAPS, namespace, "a", resource_version=made["metadata"]["resourceVersion"])
    with pytest.raises(e.NotFound):
        api.delete(CONFIGMAPS, namespace, "b")
    with pytest.raises(e.NotFound):
        api.patch(CONFIGMAPS, namespace, "b", {})
    assert api.get(CONFIGMAPS, namespace, "a")["data"] == {"x": "2"}


def test_a_kind_that_is_not_served_is_not_a_missing_object(api: Api, namespace: str) -> None:
    with pytest.raises(e.NotServed):
        api.get(CANARYRUNS, namespace, "a")
    with pytest.raises(e.NotServed):
        api.list(CANARYRUNS)


def test_lists_in_pages_with_selectors(api: Api, namespace: str) -> None:
    for i in range(7):
        api.create(CONFIGMAPS, namespace, config(f"c{i}"))
    items, version = api.list(CONFIGMAPS, namespace, page=3, labels="app,app!=c6")
    assert [item["metadata"]["name"] for item in items] == [f"c{i}" for i in range(6)]
    assert all(item["kind"] == "ConfigMap" and item["apiVersion"] == "v1" for item in items)
    assert int(version) >= max(int(item["metadata"]["resourceVersion"]) for item in items)
    (one,), _ = api.list(CONFIGMAPS, namespace, fields="metadata.name=c3")
    assert one["metadata"]["name"] == "c3"


def test_a_watch_goes_on_where_the_list_ended(api: Api, namespace: str) -> None:
    api.create(CONFIGMAPS, namespace, config("a"))
    _, version = api.list(CONFIGMAPS, namespace)
    api.patch(CONFIGMAPS, namespace, "a", {"data": {"x": "1"}})
    with api.watch(CONFIGMAPS, namespace, resource_version=version, timeout_seconds=30) as watch:
        assert next(watch).object["data"] == {"x": "1"}
        api.delete(CONFIGMAPS, namespace, "a")
        assert next(watch).type == "DELETED"


def test_a_watch_ends_when_its_time_is_up(api: Api, namespace: str) -> None:
    _, version = api.list(CONFIGMAPS, namespace)
    watch = api.watch(CONFIGMAPS, namespace, resource_version=version, timeout_seconds=1)
    assert [event for event in watch if event.type != "BOOKMARK"] == []


def test_a_silent_watch_closes_at_once(api: Api, namespace: str) -> None:
    _, version = api.list(CONFIGMAPS, namespace)
    watch = api.watch(CONFIGMAPS, namespace, resource_version=version, timeout_seconds=60)
    reader = threading.Thread(target=lambda: list(watch))
    reader.start()
    watch.close()
    reader.join(PATIENCE)
    assert not reader.is_alive()


def test_a_reflector_follows(api: Api, namespace: str) -> None:
    api.create(POD_TEMPLATES, namespace, template("a", "x:1"))
    reflector = Reflector(api, POD_TEMPLATES, parse=image, namespace=namespace)
    reflector.start()
    try:
        assert reflector.synced.wait(PATIENCE)
        assert dict(reflector.items()) == {(namespace, "a"): "x:1"}
        api.create(POD_TEMPLATES, namespace, template("b", "x:1"))
        change = {"op": "replace", "path": "/template/spec/containers/0/image", "value": "x:2"}
        api.patch(POD_TEMPLATES, namespace, "b", [change], kind="json")
        api.delete(POD_TEMPLATES, namespace, "a")
        eventually(lambda: dict(reflector.items()) == {(namespace, "b"): "x:2"}, "the last state")
    finally:
        reflector.stop()
    assert not reflector._thread.is_alive()


def template(name: str, image: str) -> Json:
    pod = {"metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": image}]}}
    return {"metadata": {"name": name}, "template": pod}


def image(obj: Json) -> str:
    return str(obj["template"]["spec"]["containers"][0]["image"])


@pytest.mark.real
@pytest.mark.slow
def test_a_reflector_outlives_the_api_server(tmp_path: Path) -> None:
    server = started("real", tmp_path)
    with server as path:
        api = Api.connect(str(path))
        reflector = Reflector(api, CONFIGMAPS, parse=lambda obj: obj.get("data", {}), labels="app")
        reflector.start()
        assert reflector.synced.wait(PATIENCE)
        api.create(CONFIGMAPS, "default", config("a", x="1"))
        api.create(CONFIGMAPS, "default", config("b", x="1"))
        eventually(lambda: len(reflector.items()) == 2, "both")
        server.restart_apiserver()
        api.delete(CONFIGMAPS, "default", "a")
        api.patch(CONFIGMAPS, "default", "b", {"data": {"x": "2"}})
        eventually(lambda: dict(reflector.items()) == {("default", "b"): {"x": "2"}}, "the last state")
        reflector.stop()
        api.close()
