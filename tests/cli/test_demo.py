"""`canaryd demo`: what it prints, how it ends, and that it leaves nothing behind."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from click.testing import CliRunner
from rich.console import Console

from canaryd.cli.demo import demo
from canaryd.cli.demo_screen import ROWS, panel
from canaryd.sandbox.outcome import NOBODY, Moment, Report, Users, excess

SCENARIOS = [
    "healthy",
    "errors",
    "subtle",
    "late",
    "latency",
    "rejects",
    "crash",
    "shock",
    "burst",
    "lasting",
    "no-traffic",
    "prometheus-outage",
    "superseded",
    "drift",
]
FIELDS = [
    "scenario",
    "outcome",
    "reason",
    "because",
    "seconds",
    "weights",
    "requests",
    "failed",
    "excess_failed",
    "restored",
]


class Played:
    """The demo as a process group of its own, as a terminal starts it; all it starts can be told by a mark."""

    def __init__(self, folder: Path, *arguments: str) -> None:
        self.mark = uuid.uuid4().hex
        self.temporary = folder / "tmp"
        self.temporary.mkdir()
        env = {**os.environ, "CANARYD_TEST_MARK": self.mark, "TMPDIR": str(self.temporary)}
        self.complaints = folder / "stderr"
        with self.complaints.open("wb") as complaints:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "canaryd", "demo", *arguments],
                stdout=subprocess.PIPE,
                stderr=complaints,
                env=env,
                text=True,
                start_new_session=True,
            )

    def wait_for_words(self) -> None:
        """Until it says something: it has begun to start what must be gone afterwards."""
        deadline = time.monotonic() + 60
        while not self.complaints.stat().st_size and time.monotonic() < deadline:
            time.sleep(0.02)

    def interrupt(self) -> None:
        """Ctrl-C."""
        os.killpg(self.process.pid, signal.SIGINT)

    def processes(self) -> list[str]:
        """Whatever it has started and still runs, itself included."""
        found = []
        for entry in Path("/proc").iterdir():
            try:
                if entry.name.isdigit() and self.mark.encode() in (entry / "environ").read_bytes():
                    found.append((entry / "cmdline").read_text().replace("\0", " "))
            except OSError:
                continue
        return found

    def nothing_is_left(self) -> None:
        deadline = time.monotonic() + 5
        while self.processes() and time.monotonic() < deadline:
            time.sleep(0.1)
        assert self.processes() == []
        assert list(self.temporary.iterdir()) == []


@contextmanager
def played(folder: Path, *arguments: str) -> Iterator[Played]:
    run = Played(folder, *arguments)
    try:
        yield run
    finally:
        run.process.kill()
        run.process.communicate()


def test_it_lists_every_scenario() -> None:
    lines = CliRunner().invoke(demo, ["--list"]).stdout.splitlines()
    assert [line.split()[0] for line in lines] == SCENARIOS


def test_an_unknown_scenario_is_refused_with_those_that_are_known() -> None:
    done = CliRunner().invoke(demo, ["--scenario", "sunny"])
    assert done.exit_code == 2
    assert 'there is no "sunny"' in done.stderr
    assert "prometheus-outage" in done.stderr


def test_excess_is_what_failed_beyond_the_baselines_rate() -> None:
    users = Users({"stable": 1000, "canary": 200}, {"stable": 10, "canary": 12}, {"503 UH": 3})
    assert excess(users) == 12 - 200 * 0.01 + 3
    assert excess(NOBODY) == 0


def _report() -> Report:
    return Report(
        scenario="errors",
        outcome="RolledBack",
        reason="ErrorRateRegression",
        because="5 % of 100 requests",
        seconds=50.0,
        weights=[(5.0, 1), (20.0, 5), (47.5, 0)],
        requests={"stable": 9000, "canary": 100},
        failed={"stable": 90, "canary": 5},
        excess_failed=4.0,
        restored=True,
        expected=True,
        judged_to=47.25,
    )


def test_a_report_knows_how_fast_it_protected() -> None:
    assert _report().seconds_to_protect == 0.25
    assert _report().highest_weight == 5


def test_the_screen_shows_the_run_as_it_stands() -> None:
    metric = {
        "canary_rate": 0.05,
        "canary_requests": 100,
        "baseline_rate": None,
        "evidence_harm": 12.0,
        "harm_threshold": 100.0,
        "evidence_safe": 0.1,
        "safe_threshold": 20.0,
    }
    status = {
        "phase": "Progressing",
        "because": "judging at 5 %",
        "policy": {"steps": [1, 5]},
        "step": {"index": 1},
        "weight": {"wanted": 5, "seen": 0.049},
        "verdict": {"metrics": {"errors": metric}},
    }
    console = Console(width=100, record=True, file=io.StringIO())
    console.print(panel(Moment(12.0, {"status": status}, NOBODY)))
    shown = console.export_text()
    for words in ("judging at 5 %", "wanted 5 %, seen 4.9 %", "5.00 % of 100", "12 of 100"):
        assert words in shown
    assert [name for name, _ in ROWS][:2] == ["scenario", "outcome"]


@pytest.mark.e2e
def test_json_is_all_that_is_on_standard_output(tmp_path: Path) -> None:
    with played(tmp_path, "--scenario", "crash", "--json", "--seed", "3") as run:
        out, _ = run.process.communicate(timeout=240)
        assert run.process.returncode == 0, out
        run.nothing_is_left()
    (line,) = out.splitlines()
    report = json.loads(line)
    assert list(report)[: len(FIELDS)] == FIELDS
    assert (report["scenario"], report["outcome"], report["restored"]) == ("crash", "RolledBack", True)
    assert report["requests"].keys() == report["failed"].keys() == {"stable", "canary"}
    assert all(seconds >= 0 and weight in (0, 1, 2, 5, 10) for seconds, weight in report["weights"])


@pytest.mark.e2e
@pytest.mark.parametrize("seconds", [0.0, 3.0, 8.0, 20.0])
def test_ctrl_c_leaves_nothing_behind(tmp_path: Path, seconds: float) -> None:
    with played(tmp_path, "--scenario", "healthy") as run:
        run.wait_for_words()
        time.sleep(seconds)
        run.interrupt()
        time.sleep(0.5)
        run.interrupt()  # an impatient one must not cut the tidying short
        run.process.communicate(timeout=60)
        # Where it hits Python within an exec(), as dataclasses use it, Python ends itself by the signal: a shell
        # shows 130 for both.
        assert run.process.returncode in (130, -signal.SIGINT), run.complaints.read_text()[-2000:]
        run.nothing_is_left()
