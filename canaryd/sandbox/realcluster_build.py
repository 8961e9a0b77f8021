"""Build kube-apiserver and kube-controller-manager from Debian's source package: `python -m` this module.

No package registry has these binaries, but Debian 12's source package `kubernetes` holds the whole tree. They
go, with Debian's etcd, to the cache outside the checkout (`realcluster_binaries.built_folder`), once. That
takes 4 to 10 minutes of two cores, and 3 GB of disk meanwhile.

Nothing is installed and nothing of the system is changed: packages are unpacked into the working folder, apt
keeps its lists there. So it needs no root either. It can be killed and run again; of two at once, the second
waits and then finds the work done.

Exit codes: 0 the binaries are there; 1 the build failed; 3 this machine cannot build them, with the reason.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import click

from canaryd.sandbox.realcluster_apt import DEBIAN, private_apt
from canaryd.sandbox.realcluster_binaries import (
    ASSETS_VARIABLE,
    BINARIES,
    KUBE_VERSION,
    available,
    built_folder,
)

SOURCE_PACKAGE = "kubernetes"
BINARY_PACKAGES = ("golang-1.19-go", "golang-1.19-src", "golang-github-modern-go-reflect2-dev", "etcd-server")
TARGETS = ("kube-apiserver", "kube-controller-manager")

_TOOLS = ("setpriv", "apt-get", "dpkg-deb", "make", "tar", "bash")
_FREE_BYTES = 4 * 2**30
_HEARTBEAT = 15.0  # seconds between signs of life: the compiler says nothing for minutes


class UnbuildableError(Exception):
    """This machine cannot build the binaries; the message is the sentence that says why."""


class BuildError(Exception):
    """A step failed; the message has the step and its last lines."""


@dataclass(frozen=True, slots=True)
class Amendment:
    """One replacement in the source, without which the binaries misbehave or cannot be built so simply."""

    path: str
    old: str
    new: str
    count: int = 1


_ZERO_IS_NULL = (
    "if data == nil || reflect.DeepEqual(reflect.Zero(reflect.TypeOf(data)), reflect.ValueOf(data)) {"
)
AMENDMENTS = (
    # With Go >= 1.16 that comparison holds for "", which custom resources were then told to be null.
    Amendment("vendor/github.com/go-openapi/validate/type.go", _ZERO_IS_NULL, "if data == nil {"),
    Amendment(
        "vendor/k8s.io/kube-openapi/pkg/validation/validate/type.go", _ZERO_IS_NULL, "if data == nil {"
    ),
    # The only use of rsync, for one file at a time.
    Amendment("hack/lib/golang.sh", "rsync -pc {}", "cp -p {}"),
)


def main() -> int:
    """Build unless it is done already; prints progress and a closing sentence. Returns the exit code."""
    target = built_folder()
    try:
        if _named_by_user():
            return 0
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target) as lock:
            if _complete(target):
                click.echo(f"The real control plane is there already: {target}")
                return 0
            _check_machine(target.parent)
            started = time.monotonic()
            with Workshop(target.with_name(f"{target.name}.building"), lock) as shop:
                _build(target, shop)
            click.echo(f"Built kube {KUBE_VERSION} in {time.monotonic() - started:.0f} s: {target}")
            return 0
    except UnbuildableError as reason:
        click.echo(f"Cannot build a real kube-apiserver here: {reason}", err=True)
        return 3
    except (BuildError, OSError) as error:
        click.echo(f"The build failed: {error}", err=True)
        return 1
    except KeyboardInterrupt:
        click.echo("Interrupted; nothing is kept.", err=True)
        return 130


def _named_by_user() -> bool:
    named = os.environ.get(ASSETS_VARIABLE)
    if not named:
        return False
    reason = available()
    if reason is not None:
        raise UnbuildableError(f"{reason} Unset it to build them into the cache.")
    click.echo(f"The real control plane is the one that {ASSETS_VARIABLE} names: {named}")
    return True


def _complete(target: Path) -> bool:
    return all(os.access(target / name, os.X_OK) for name in BINARIES)


@contextlib.contextmanager
def _alone(target: Path) -> Iterator[int]:
    """Hold the build's lock. Children inherit it, so that what a killed build left running still holds it."""
    with target.with_name(f"{target.name}.lock").open("a") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            click.echo("Another build is under way; waiting for it ...")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield lock.fileno()


def _check_machine(cache: Path) -> None:
    release = platform.freedesktop_os_release() if sys.platform == "linux" else {}
    if release.get("VERSION_CODENAME") != DEBIAN or release.get("ID") != "debian":
        raise UnbuildableError(
            f"its source is in Debian 12, and this is {release.get('PRETTY_NAME', sys.platform)}."
            " Let KUBEBUILDER_ASSETS name a folder with etcd, kube-apiserver and kube-controller-manager."
        )
    missing = [tool for tool in _TOOLS if shutil.which(tool) is None]
    if missing:
        raise UnbuildableError(f"{', '.join(missing)} is missing (`apt-get install {' '.join(missing)}`).")
    free = shutil.disk_usage(cache).free
    if free < _FREE_BYTES:
        raise UnbuildableError(f"{cache} has {free / 2**30:.1f} GB free, and the build needs 4.")


class Workshop:
    """The working folder, gone afterwards, and how commands run in it. A killed build's is removed first."""

    def __init__(self, root: Path, lock: int) -> None:
        self.root = root
        self._lock = lock
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir(parents=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self.root, ignore_errors=True)

    @property
    def source(self) -> Path:
        """The unpacked source of Kubernetes."""
        return self.root / "source"

    @property
    def unpacked(self) -> Path:
        """Where binary packages are unpacked, as if it were `/`."""
        return self.root / "unpacked"

    def run(self, step: str, command: Sequence[str | Path], *, env: dict[str, str] | None = None) -> None:
        """Run one command in the working folder, with signs of life. BuildError unless it exits 0.

        Without `env` it gets this process's environment: apt may need a proxy.
        """
        log = self.root / f"{step.replace(' ', '-')}.log"
        started = time.monotonic()
        click.echo(f"  {step} ...")
        with log.open("wb") as output:
            process = subprocess.Popen(
                ["setpriv", "--pdeathsig", "KILL", "--", *(str(word) for word in command)],
                cwd=self.root,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env={"LC_ALL": "C.UTF-8", **(os.environ if env is None else env)},
                pass_fds=[self._lock],
            )
            with process:
                while not _ended(process):
                    click.echo(f"  {step} ... {time.monotonic() - started:.0f} s")
        if process.returncode != 0:
            tail = "\n".join(log.read_text(errors="replace").splitlines()[-25:])
            raise BuildError(f"{step} ended with {process.returncode}:\n{tail}")


def _ended(process: subprocess.Popen[bytes]) -> bool:
    try:
        process.wait(_HEARTBEAT)
    except subprocess.TimeoutExpired:
        return False
    except BaseException:
        process.kill()
        raise
    return True


def _build(target: Path, shop: Workshop) -> None:
    os.nice(10)
    _fetch(shop)
    _amend(shop)
    _compile(shop)
    finished = shop.root / "finished"
    finished.mkdir()
    for name in TARGETS:
        shutil.copy2(shop.source / "_output/bin" / name, finished)
    shutil.copy2(shop.unpacked / "usr/bin/etcd", finished)
    for name in BINARIES:
        shop.run(f"try {name}", [finished / name, "--version"])
    shutil.rmtree(target, ignore_errors=True)
    finished.rename(target)


def _fetch(shop: Workshop) -> None:
    try:
        apt = private_apt(shop.root)
    except LookupError as error:
        raise UnbuildableError(str(error)) from error
    shop.run("read package lists", [*apt, "update"])
    shop.run("fetch the compiler and etcd", [*apt, "download", *BINARY_PACKAGES])
    shop.run("fetch the source", [*apt, "source", "--download-only", SOURCE_PACKAGE])
    for package in sorted(shop.root.glob("*.deb")):
        shop.run(f"unpack {package.name.partition('_')[0]}", ["dpkg-deb", "-x", package, shop.unpacked])
    archives = list(shop.root.glob(f"{SOURCE_PACKAGE}_*{KUBE_VERSION}.orig.tar.*"))
    if len(archives) != 1:
        raise UnbuildableError(
            f"Debian's source package is no longer {KUBE_VERSION}, the version this recipe is for."
        )
    shop.source.mkdir()
    shop.run("unpack the source", ["tar", "-xf", archives[0], "-C", shop.source, "--strip-components=1"])


def _amend(shop: Workshop) -> None:
    for each in AMENDMENTS:
        file = shop.source / each.path
        text = file.read_text()
        if text.count(each.old) != each.count:
            raise BuildError(
                f"{each.path} is not as expected: it should have {each.old!r} {each.count} time(s)"
            )
        file.write_text(text.replace(each.old, each.new))
    # With Go >= 1.18 the vendored reflect2 reads the runtime's map iterators wrongly, and the server crashes.
    vendored = shop.source / "vendor/github.com/modern-go/reflect2"
    fixed = shop.unpacked / "usr/share/gocode/src/github.com/modern-go/reflect2"
    for stale in [*vendored.glob("*.go"), *vendored.glob("*.s")]:
        stale.unlink()
    for fresh in [*fixed.glob("*.go"), *fixed.glob("*.s")]:
        shutil.copy2(fresh, vendored)


def _compile(shop: Workshop) -> None:
    """GOPATH build, as in the package's debian/rules."""
    major, minor, _ = KUBE_VERSION.split(".")
    version = {
        "KUBE_GIT_COMMIT": "unknown",
        "KUBE_GIT_TREE_STATE": "clean",
        "KUBE_GIT_VERSION": f"v{KUBE_VERSION}",
        "KUBE_GIT_MAJOR": major,
        "KUBE_GIT_MINOR": minor,
    }
    version_file = shop.root / "version.sh"
    version_file.write_text("".join(f"{key}={value}\n" for key, value in version.items()))
    gopath = shop.source / ".go"
    (gopath / "src/k8s.io").mkdir(parents=True)
    (gopath / "src/k8s.io/kubernetes").symlink_to("../../..")
    what = " ".join(f"cmd/{name}" for name in TARGETS)
    environment = {
        "PATH": f"{shop.unpacked / 'usr/lib/go-1.19/bin'}:{os.defpath}",
        "HOME": str(shop.root),
        "TMPDIR": str(shop.root),
        "GOPATH": str(gopath),
        "CGO_ENABLED": "0",
        "KUBE_GIT_VERSION_FILE": str(version_file),
    }
    shop.run("compile", ["make", "-C", shop.source, f"WHAT={what}"], env=environment)


if __name__ == "__main__":
    sys.exit(main())
