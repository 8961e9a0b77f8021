"""Recordings written to API servers, and read back by `canaryd export`."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from analysis import Counts, Interval, JudgeConfig
from analysis import replay as recordings
from analysis.replay import Header, Record, header_line, record_line
from canaryd.cli.main import canaryd as command
from canaryd.cluster import recordings as kept
from canaryd.cluster.errors import ApiError
from canaryd.cluster.recordings import SpoiltRecordingError, read, store
from canaryd.cluster.resources import CANARYRUNS, CONFIGMAPS, NAMESPACES
from canaryd.cluster.runs import manifest, status
from canaryd.cluster.transport import Api
from canaryd.controller.effects import owner
from canaryd.domain.model import Recorded, Run, Target
from canaryd.sandbox.apiserver import ApiServer
from canaryd.sandbox.crds import canaryrun, install
from canaryd.sandbox.realcluster import RealCluster, available


@dataclass
class Server:
    api: Api
    kubeconfig: Path
    runs: int = 0


@contextmanager
def _real() -> Iterator[Path]:
    reason = available(controllers=False)
    if reason is not None and os.environ.get("CANARYD_REQUIRE_REAL") == "1":
        pytest.fail(f"CANARYD_REQUIRE_REAL=1, but: {reason}", pytrace=False)
    if reason is not None:
        pytest.skip(reason)
    with RealCluster(controllers=()) as cluster:
        yield cluster.kubeconfig


@contextmanager
def _sandbox(folder: Path) -> Iterator[Path]:
    with ApiServer() as server:
        yield server.kubeconfig(folder / "kubeconfig")


@pytest.fixture(scope="module", params=["sandbox", pytest.param("real", marks=pytest.mark.real)])
def server(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """An API server that serves CanaryRuns."""
    folder = tmp_path_factory.mktemp("server")
    with _sandbox(folder) if request.param == "sandbox" else _real() as kubeconfig:
        api = Api.connect(str(kubeconfig))
        install(api, [canaryrun()])
        api.create(NAMESPACES, None, {"metadata": {"name": "shop"}})
        deadline = time.monotonic() + 60
        while True:
            try:
                api.list(CANARYRUNS)
                break
            except ApiError:
                assert time.monotonic() < deadline, "CanaryRuns are not served"
                time.sleep(0.1)
        yield Server(api, kubeconfig)
        api.close()


def recording(intervals: int) -> tuple[str, ...]:
    made = [
        Interval(10.0 * i, 10.0 * (i + 1), 0.1, {"c": Counts(30, i % 3)}, {"b": Counts(270, 3)})
        for i in range(intervals)
    ]
    header = header_line(Header("shop/checkout", JudgeConfig(alpha=0.02), "mine", 1.0))
    return (header, *(record_line(Record(one, decision="continue")) for one in made))


@pytest.fixture
def run(server: Server) -> Run:
    """A run on the server, nothing recorded yet."""
    server.runs += 1
    run = Run("shop", f"checkout-{server.runs}", Target("shop", "checkout", "u"), "rev", created=1.0)
    meta = server.api.create(CANARYRUNS, "shop", manifest(run))["metadata"]
    return replace(run, uid=meta["uid"])


def save(server: Server, run: Run) -> None:
    server.api.patch(CANARYRUNS, "shop", run.name, {"status": status(run)}, subresource="status")


def play(server: Server, run: Run, lines: tuple[str, ...], *, batch: int) -> Run:
    """Record `lines`, a batch stored after the other; what is left stays in the status."""
    while lines:
        run = replace(run, recorded=replace(run.recorded, lines=lines[:batch], end=1.0))
        lines = lines[batch:]
        if lines:
            before = run.recorded
            size = store(server.api, run, owner(run))
            assert store(server.api, run, owner(run)) == size  # the answer had been lost
            run = replace(
                run, recorded=Recorded((), before.stored + batch, before.size + size, end=before.end)
            )
    save(server, run)
    return run


def configmaps(server: Server, run: Run) -> list[str]:
    found = server.api.list(CONFIGMAPS, "shop")[0]
    return sorted(cm["metadata"]["name"] for cm in found if cm["metadata"]["name"].startswith(f"{run.name}-"))


def test_lines_come_back_from_status_and_configmaps(server: Server, run: Run) -> None:
    lines = recording(25)
    played = play(server, run, lines, batch=8)
    assert (played.recorded.stored, len(played.recorded.lines)) == (24, 2)
    found, read_back = read(server.api, "shop", run.name)
    assert read_back == lines
    assert found.recorded == played.recorded
    (name,) = configmaps(server, run)
    (reference,) = server.api.get(CONFIGMAPS, "shop", name)["metadata"]["ownerReferences"]
    assert (reference["kind"], reference["uid"]) == ("CanaryRun", run.uid)


def test_large_recordings_take_more_configmaps(
    server: Server, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kept, "CHUNK", 1000)
    lines = recording(60)
    play(server, run, lines, batch=4)
    assert len(configmaps(server, run)) > 3
    assert read(server.api, "shop", run.name)[1] == lines


def test_a_batch_that_the_status_does_not_know_of_yet_is_not_read_twice(server: Server, run: Run) -> None:
    """canaryd died between the ConfigMap and the next status."""
    lines = recording(10)
    run = replace(run, recorded=Recorded(lines, end=1.0))
    store(server.api, run, owner(run))
    save(server, run)
    assert read(server.api, "shop", run.name)[1] == lines


@pytest.mark.parametrize("harm", ["deleted", "edited", "cut"])
def test_a_recording_that_lost_a_part_is_not_given_out(server: Server, run: Run, harm: str) -> None:
    play(server, run, recording(20), batch=8)
    (name,) = configmaps(server, run)
    if harm == "deleted":
        server.api.delete(CONFIGMAPS, "shop", name)
    else:
        value = None if harm == "cut" else "aGVsbG8="
        server.api.patch(CONFIGMAPS, "shop", name, {"binaryData": {"00000008.jsonl.gz": value}})
    with pytest.raises(SpoiltRecordingError, match=run.name):
        read(server.api, "shop", run.name)


def test_a_batch_is_refused_by_a_server_without_the_namespace(server: Server, run: Run) -> None:
    gone = replace(run, namespace="nowhere", recorded=Recorded(recording(3)))
    with pytest.raises(ApiError):
        store(server.api, gone, owner(gone))


class TestExport:
    def export(self, server: Server, *arguments: str) -> tuple[int, str, str]:
        result = CliRunner().invoke(
            command, ["export", *arguments, "--kubeconfig", str(server.kubeconfig), "-n", "shop"]
        )
        return result.exit_code, result.stdout, result.stderr

    def test_the_lines_are_a_recording(self, server: Server, run: Run, tmp_path: Path) -> None:
        lines = recording(20)
        play(server, run, lines, batch=6)
        file = tmp_path / "checkout.jsonl"
        assert self.export(server, run.name, "-o", str(file)) == (0, "", "")
        with file.open("rb") as stream:
            found = recordings.read(stream)
        assert found == recordings.read(lines)
        assert self.export(server, run.name) == (0, file.read_text(), "")

    def test_what_is_missing_is_said(self, server: Server, run: Run) -> None:
        run = replace(run, recorded=Recorded(recording(2), ended="the recording ends after 4 MiB"))
        save(server, run)
        code, out, err = self.export(server, run.name)
        assert (code, len(out.splitlines())) == (0, 3)
        assert err == "the recording is not complete: the recording ends after 4 MiB\n"

    def test_a_run_without_a_recording(self, server: Server, run: Run) -> None:
        assert self.export(server, run.name) == (1, "", f"run shop/{run.name} has no recording\n")

    def test_no_such_run(self, server: Server) -> None:
        code, _, err = self.export(server, "nobody")
        assert code == 1
        assert "canaryruns.canaryd.io shop/nobody: 404 NotFound" in err

    def test_a_file_that_cannot_be_written(self, server: Server, run: Run, tmp_path: Path) -> None:
        play(server, run, recording(2), batch=6)
        code, _, err = self.export(server, run.name, "-o", str(tmp_path / "no" / "file"))
        assert (code, err) == (1, f"{tmp_path}/no/file: No such file or directory\n")
