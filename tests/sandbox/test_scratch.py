"""Temporary folders: gone with their owner, however it ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from canaryd.sandbox.scratch import Scratch

OWNER = """
import sys, tempfile, time
from canaryd.sandbox.scratch import Scratch
tempfile.tempdir = sys.argv[1]
scratch = Scratch("owned-")
(scratch.path / "data").write_text("some")
print(scratch.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    return tmp_path


def owner(folder: Path) -> tuple[subprocess.Popen[str], Path]:
    """A process with a Scratch; it ends by itself when its input does."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def test_what_a_killed_owner_left_is_removed_by_the_next(folder: Path) -> None:
    process, left = owner(folder)
    with process:
        process.kill()
    assert (left / "data").exists()
    Scratch("others-").close()
    assert left.exists()
    Scratch("owned-").close()
    assert list(folder.iterdir()) == []


def test_a_folder_of_a_living_owner_stays(folder: Path) -> None:
    process, held = owner(folder)
    with process:
        Scratch("owned-").close()
        assert (held / "data").exists()
    assert list(folder.iterdir()) == []


def test_an_owner_that_forgets_to_close_it_leaves_nothing(folder: Path) -> None:
    process, held = owner(folder)
    assert held.exists()
    process.communicate()
    assert list(folder.iterdir()) == []
