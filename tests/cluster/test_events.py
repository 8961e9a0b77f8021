"""Events are written where people look for them, and never stop a release."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from canaryd.cluster.events import EventRecorder
from canaryd.cluster.resources import EVENTS, Json
from canaryd.cluster.transport import Api
from canaryd.sandbox.apiserver import ApiServer


@pytest.fixture
def server() -> Iterator[ApiServer]:
    with ApiServer() as running:
        yield running


@pytest.fixture
def api(server: ApiServer, tmp_path: Path) -> Api:
    return Api.connect(str(server.kubeconfig(tmp_path / "kubeconfig")))


def about(name: str = "checkout") -> Json:
    meta = {"namespace": "default", "name": name, "uid": "d-1"}
    return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta}


def recorded(api: Api) -> list[Json]:
    return api.list(EVENTS, "default")[0]


def test_about_the_object_in_its_namespace(api: Api) -> None:
    EventRecorder(api).record(about(), "WeightShifted", "5 % to the canary")
    (event,) = recorded(api)
    assert event["involvedObject"] == {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "namespace": "default",
        "name": "checkout",
        "uid": "d-1",
    }
    assert (event["type"], event["reason"], event["message"]) == (
        "Normal",
        "WeightShifted",
        "5 % to the canary",
    )
    assert event["source"] == {"component": "canaryd"}
    assert event["firstTimestamp"] == event["lastTimestamp"]


def test_warnings_and_repeats(api: Api) -> None:
    recorder = EventRecorder(api)
    for _ in range(2):
        recorder.record(about(), "Drifted", "somebody", warning=True)
    assert [event["type"] for event in recorded(api)] == ["Warning", "Warning"]


def test_a_long_sentence_is_cut_to_what_the_api_takes(api: Api) -> None:
    EventRecorder(api).record(about(), "PreflightFailed", "x" * 5000)
    (event,) = recorded(api)
    assert len(event["message"]) == 1000


def test_a_long_name_gives_a_valid_one(api: Api) -> None:
    EventRecorder(api).record(about("a" * 199 + "-" + "b" * 20), "RunStarted", "")
    (event,) = recorded(api)
    assert event["metadata"]["name"].startswith("a" * 199 + ".")


def test_one_that_cannot_be_written_is_forgotten(api: Api, server: ApiServer) -> None:
    server.reject = lambda *_: (500, {"kind": "Status", "status": "Failure", "code": 500, "message": "no"})
    EventRecorder(api).record(about(), "RunStarted", "")
    server.reject = None
    assert recorded(api) == []
