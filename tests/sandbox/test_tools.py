"""Finding and fetching programs, with an apt-get of our own that hands out a package of our own."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from canaryd.sandbox import tools

needs_dpkg = pytest.mark.skipif(shutil.which("dpkg-deb") is None, reason="needs dpkg-deb")

APT_GET = """#!/bin/sh
echo "$@" >> {log}
case "$*" in
    *update*) exit 0 ;;
    *{condition}*) cp {package} . ;;
    *) echo "E: Unable to locate package" >&2; exit 100 ;;
esac
"""


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return path


class Machine:
    """A PATH of its own, a cache of its own."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.bin, self.cache = folder / "bin", folder / "cache"
        self.folder = folder
        self.log = folder / "apt.log"
        self.bin.mkdir()
        for program in ("dpkg-deb", "cp", "tar", "sh", "rm"):
            if real := shutil.which(program):
                (self.bin / program).symlink_to(real)
        monkeypatch.setenv("PATH", str(self.bin))
        monkeypatch.setenv("XDG_CACHE_HOME", str(self.cache))
        monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
        self.said: list[str] = []

    def offer(self, program: str, *, package: str = "prometheus", condition: str = "download") -> None:
        """apt-get hands out a package with this program where its arguments contain `condition`."""
        tree = self.folder / "tree"
        script(tree / "usr" / "bin" / "prometheus", program)
        control = f"Package: {package}\nVersion: 1\nArchitecture: all\nMaintainer: a <a@b>\nDescription: a\n"
        (tree / "DEBIAN").mkdir(exist_ok=True)
        (tree / "DEBIAN" / "control").write_text(control)
        file = self.folder / f"{package}_1_all.deb"
        subprocess.run(["dpkg-deb", "-b", tree, file], check=True, capture_output=True)
        script(self.bin / "apt-get", APT_GET.format(log=self.log, condition=condition, package=file))

    def obtain(self, name: str = "prometheus") -> Path:
        return tools.obtain(name, report=self.said.append)

    @property
    def commands(self) -> list[str]:
        return self.log.read_text().splitlines() if self.log.exists() else []


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


RUNS = "#!/bin/sh\nexit 0\n"


def test_envoy_comes_with_the_environment() -> None:
    assert os.access(tools.envoy(), os.X_OK)


def test_a_program_on_the_path_is_taken(machine: Machine) -> None:
    there = script(machine.bin / "kubectl", RUNS)
    assert machine.obtain("kubectl") == there
    assert machine.said == []


def test_the_assets_folder_comes_first(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    script(machine.bin / "etcd", RUNS)
    asset = script(machine.folder / "assets" / "etcd", RUNS)
    monkeypatch.setenv("KUBEBUILDER_ASSETS", str(asset.parent))
    assert machine.obtain("etcd") == asset


@needs_dpkg
def test_what_is_missing_is_fetched_once(machine: Machine) -> None:
    machine.offer(RUNS)
    got = machine.obtain()
    assert os.access(got, os.X_OK)
    assert got.is_relative_to(machine.cache)
    assert machine.said[0].startswith("prometheus: not here yet")
    assert machine.said[-1] == f"prometheus: fetched, {got}"
    before = machine.commands
    assert machine.obtain() == got
    assert machine.commands == before
    assert {file.name for file in (machine.cache / "canaryd" / "tools").iterdir()} == {
        ".lock",
        got.parents[2].name,
    }


@needs_dpkg
def test_without_package_lists_it_reads_its_own(machine: Machine) -> None:
    machine.offer(RUNS, condition="Dir::State=")
    assert machine.obtain().exists()
    assert any(command.endswith(" update") for command in machine.commands)
    assert not any("update" in command and "Dir::State=" not in command for command in machine.commands)


@needs_dpkg
@pytest.mark.parametrize(
    ("program", "reason"),
    [
        ("#!/bin/sh\necho 'libfoo.so.1: cannot open shared object file' >&2\nexit 127\n", "libfoo.so.1"),
        ("#!/no/such/interpreter\n", "does not run here"),
    ],
)
def test_a_program_that_does_not_run_is_not_kept(machine: Machine, program: str, reason: str) -> None:
    machine.offer(program)
    with pytest.raises(tools.ToolError, match=reason):
        machine.obtain()
    assert tools.find("prometheus") is None


@needs_dpkg
def test_a_package_without_the_program(machine: Machine) -> None:
    machine.offer(RUNS)
    with pytest.raises(tools.ToolError, match="holds no promtool: put promtool on PATH"):
        machine.obtain("promtool")


def test_no_package_anywhere(machine: Machine) -> None:
    script(machine.bin / "apt-get", "#!/bin/sh\necho 'E: Unable to locate package' >&2\nexit 100\n")
    if shutil.which("dpkg-deb") is None:
        script(machine.bin / "dpkg-deb", RUNS)
    with pytest.raises(
        tools.ToolError, match=r"(?s)Unable to locate.*apt-get update.*put prometheus on PATH"
    ):
        machine.obtain()


def test_no_apt(machine: Machine) -> None:
    with pytest.raises(tools.ToolError, match=r"there is no apt-get here.*https://prometheus\.io"):
        machine.obtain()


def test_a_cache_that_cannot_be_written(machine: Machine, monkeypatch: pytest.MonkeyPatch) -> None:
    machine.offer(RUNS)
    (machine.folder / "file").write_text("")
    monkeypatch.setenv("XDG_CACHE_HOME", str(machine.folder / "file"))
    with pytest.raises(tools.ToolError, match=r"cannot write to the cache.*set XDG_CACHE_HOME"):
        machine.obtain()


def test_an_unknown_name_lists_the_known() -> None:
    with pytest.raises(tools.ToolError, match="etcd, kubectl, prometheus, promtool"):
        tools.obtain("helm")


@pytest.mark.parametrize(
    ("variable", "expected"),
    [("/x", "/x/canaryd"), ("", "/home/me/.cache/canaryd"), ("relative", "/home/me/.cache/canaryd")],
)
def test_where_the_cache_is(monkeypatch: pytest.MonkeyPatch, variable: str, expected: str) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", variable)
    monkeypatch.setenv("HOME", "/home/me")
    assert tools.cache_dir() == Path(expected)


@needs_dpkg
def test_of_two_at_once_one_fetches(machine: Machine) -> None:
    machine.offer(RUNS)
    code = "from canaryd.sandbox import tools; print(tools.obtain('prometheus'))"
    both = [
        subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        for _ in range(2)
    ]
    answers = {process.communicate()[0] for process in both}
    assert [process.returncode for process in both] == [0, 0]
    assert len(answers) == 1
    assert sum("download" in command for command in machine.commands) == 1


def test_the_command_says_where_they_are() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "canaryd.sandbox.tools", "envoy"], capture_output=True, text=True, check=True
    )
    assert done.stdout == f"envoy\t{tools.envoy()}\n"
