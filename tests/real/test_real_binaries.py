"""Finding and building the servers, as far as it needs none of them."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from canaryd.sandbox import realcluster_build as build
from canaryd.sandbox.realcluster import available, without_cel
from canaryd.sandbox.realcluster_apt import private_apt, source_lines, source_stanzas
from canaryd.sandbox.realcluster_binaries import BINARIES, built_folder
from canaryd.sandbox.realcluster_commands import signing_key


def executables(folder: Path, *names: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).write_text("#!/bin/sh\n")
        (folder / name).chmod(0o755)
    return folder


class TestAvailable:
    def test_assets_named_by_the_environment_come_first(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
        executables(built_folder(), *BINARIES)
        assert available() is None

        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(tmp_path / "assets"))
        assert available() == f"KUBEBUILDER_ASSETS ({tmp_path}/assets) has no etcd and no kube-apiserver."

    def test_envtest_has_no_controller_manager(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(executables(tmp_path, "etcd", "kube-apiserver")))

        assert available(controllers=False) is None
        assert available() == f"KUBEBUILDER_ASSETS ({tmp_path}) has no kube-controller-manager."

    def test_an_empty_cache_names_the_command_that_fills_it(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

        assert "python -m canaryd.sandbox.realcluster_build" in str(available())


class TestBuild:
    @pytest.fixture(autouse=True)
    def _empty_cache(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("KUBEBUILDER_ASSETS", raising=False)
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    def test_what_is_there_is_not_built_again(self, capsys: pytest.CaptureFixture[str]) -> None:
        executables(built_folder(), *BINARIES)

        assert build.main() == 0
        assert "there already" in capsys.readouterr().out

    def test_assets_named_by_the_environment_are_not_built(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        monkeypatch.setenv("KUBEBUILDER_ASSETS", str(executables(tmp_path / "assets", *BINARIES)))
        assert build.main() == 0

        (tmp_path / "assets" / "etcd").unlink()
        assert build.main() == 3
        assert "has no etcd. Unset it" in capsys.readouterr().err

    def test_another_distribution_is_told_what_to_do(
        self, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
    ) -> None:
        fedora = {"ID": "fedora", "PRETTY_NAME": "Fedora Linux 44"}
        monkeypatch.setattr("platform.freedesktop_os_release", lambda: fedora)

        assert build.main() == 3
        told = capsys.readouterr().err
        assert "this is Fedora Linux 44" in told
        assert "KUBEBUILDER_ASSETS" in told

    def test_a_failing_step_shows_its_last_lines_and_leaves_nothing(self, tmp_path: Path) -> None:
        root = tmp_path / "workshop"
        with (
            (tmp_path / "lock").open("w") as lock,
            pytest.raises(build.BuildError, match=r"compile ended with 7:\nno space left"),
            build.Workshop(root, lock.fileno()) as shop,
        ):
            shop.run("compile", ["sh", "-c", "echo no space left; exit 7"])

        assert not root.exists()


ONE_LINE = """\
# deb http://a.example/debian bookworm main
deb [signed-by=/k.gpg arch=amd64] http://a.example/debian bookworm main contrib
deb http://a.example/security bookworm-security main
deb http://a.example/debian trixie main
deb http://b.example/cloud cloud-sdk-bookworm main
"""

STANZAS = """\
Types: deb
# a comment
URIs: http://a.example/debian
Suites: bookworm bookworm-updates
Components: main

Types: deb
URIs: http://b.example/node
Suites: nodistro
Components: main

Enabled: no
Types: deb
URIs: http://c.example/debian
Suites: bookworm
Components: main
"""


class TestPackageSources:
    def test_lines(self) -> None:
        assert source_lines(ONE_LINE).splitlines() == [
            "deb [signed-by=/k.gpg arch=amd64] http://a.example/debian bookworm main contrib",
            "deb-src [signed-by=/k.gpg arch=amd64] http://a.example/debian bookworm main contrib",
            "deb http://a.example/security bookworm-security main",
            "deb-src http://a.example/security bookworm-security main",
        ]

    def test_stanzas(self) -> None:
        kept = source_stanzas(STANZAS)

        assert kept.count("URIs:") == 1
        assert "Types: deb deb-src\n" in kept
        assert "http://a.example/debian" in kept

    def test_apt_keeps_everything_in_its_folder(self, tmp_path: Path) -> None:
        try:
            command = private_apt(tmp_path)
        except LookupError:
            pytest.skip("not a Debian 12")
        assert [word for word in command if "Dir::State::Lists" in word] == [
            f"Dir::State::Lists={tmp_path}/apt/lists"
        ]


def test_cel_rules_are_dropped_at_any_depth() -> None:
    rule = {"x-kubernetes-validations": [{"rule": "self > 0"}]}
    assert without_cel({"a": [{"b": 1, **rule}], **rule}) == {"a": [{"b": 1}]}


@pytest.mark.skipif(shutil.which("openssl") is None, reason="openssl is not installed")
def test_the_signing_key_is_a_valid_key() -> None:
    check = subprocess.run(
        ["openssl", "ec", "-check", "-noout"],
        input=signing_key(),
        capture_output=True,
        text=True,
        check=False,
    )
    assert "EC Key valid" in check.stdout + check.stderr
