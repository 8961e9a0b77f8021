"""Runs on an API server leave a recording that repeats them, and need none to go on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from served_shop import App, Served, served

from analysis import replay as recordings
from canaryd.cluster.recordings import read
from canaryd.cluster.resources import CANARYRUNS, CONFIGMAPS
from canaryd.controller import recorder


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Served]:
    with served(tmp_path) as running:
        yield running


@pytest.fixture
def app(cluster: Served) -> App:
    return cluster.installed("checkout")[0]


def promoted(cluster: Served, app: App) -> str:
    """The name of the run that released v2, once it is over."""
    cluster.wait("v2 promoted", lambda: app.image == "v2" and app.stage == "done" and app.at_rest)
    assert app.status["outcome"] == "Succeeded"
    return str(app.runs[-1]["metadata"]["name"])


def refuse_configmaps(cluster: Served) -> None:
    cluster.refuse(lambda info: info.path.plural == "configmaps", status=403, reason="Forbidden")


def held_at_half(cluster: Served, app: App, seconds: float) -> None:
    """Intervals enough for more than a status keeps."""
    cluster.to_half(app)
    cluster.stays(lambda: True, seconds)
    app.annotate(pause=None)


def recorded(app: App, run: str) -> int:
    """Judge the run's recording again; how many of its lines are in ConfigMaps."""
    found, lines = read(app.api, app.namespace, run)
    recording = recordings.read(lines)
    moments = list(recordings.replay(recording, recording.header.judge))
    assert not [moment for moment in moments if moment.differs]
    assert found.evidence is not None
    assert moments[-1].state.to_json() == found.evidence.to_json()
    return found.recorded.stored


def test_a_recording_repeats_the_run_and_goes_with_it(cluster: Served, app: App) -> None:
    held_at_half(cluster, app, 3.0)
    run = promoted(cluster, app)
    assert recorded(app, run) >= recorder.LINES
    assert app.api.list(CONFIGMAPS, "shop")[0]
    app.api.delete(CANARYRUNS, "shop", run)
    cluster.wait("the recording is gone", lambda: not app.api.list(CONFIGMAPS, "shop")[0])


def test_a_restart_in_between_loses_no_line(cluster: Served, app: App) -> None:
    app.annotate(pause="true")
    app.release("v2")
    cluster.wait("50 %", lambda: app.status.get("hold") == "Paused")
    for _ in range(3):
        cluster.stays(lambda: True, 0.8)
        cluster.stop()
        cluster.start()
    app.annotate(pause=None)
    recorded(app, promoted(cluster, app))


def test_where_no_configmap_may_be_written_the_run_goes_on_and_says_so(
    cluster: Served, app: App, capsys: pytest.CaptureFixture[str]
) -> None:
    refuse_configmaps(cluster)
    held_at_half(cluster, app, 3.0)
    run = promoted(cluster, app)
    conditions = {condition["type"]: condition for condition in app.status["conditions"]}
    assert (conditions["Recorded"]["status"], conditions["Recorded"]["reason"]) == ("False", "Forbidden")
    assert "configmaps" in conditions["Recorded"]["message"]
    assert capsys.readouterr().out.count("recording.failed") == 1
    assert recorded(app, run) == 0


def test_what_could_not_be_written_is_written_later(
    cluster: Served, app: App, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(recorder, "_RETRY", 0.2)
    refuse_configmaps(cluster)
    cluster.to_half(app)

    def condition() -> str:
        found = [each for each in app.status["conditions"] if each["type"] == "Recorded"]
        return str(found[0]["status"]) if found else ""

    cluster.wait("it is refused", lambda: condition() == "False")
    cluster.allow()
    cluster.wait("it is written", lambda: condition() == "True")
    app.annotate(pause=None)
    assert recorded(app, promoted(cluster, app)) >= recorder.LINES
