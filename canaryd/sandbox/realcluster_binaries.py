"""Where the binaries of a real control plane are.

Envtest's layout, a folder with `etcd` and `kube-apiserver`, and beside them `kube-controller-manager`.
"""

from __future__ import annotations

import os
import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

from canaryd.sandbox.tools import cache_dir

KUBE_VERSION = "1.20.2"
BINARIES = ("etcd", "kube-apiserver", "kube-controller-manager")

ASSETS_VARIABLE = "KUBEBUILDER_ASSETS"
_BUILD_COMMAND = "python -m canaryd.sandbox.realcluster_build"


@dataclass(frozen=True, slots=True)
class Binaries:
    """Where the servers are. Envtest's assets hold no controller manager."""

    etcd: Path
    apiserver: Path
    controller_manager: Path | None

    def minor(self) -> int:
        """20 for v1.20.2."""
        said = subprocess.run(
            [self.apiserver, "--version"], capture_output=True, text=True, check=True, timeout=60
        ).stdout
        found = re.search(r"v1\.(\d+)\.", said)
        if found is None:
            raise ValueError(f"{self.apiserver} --version says {said.strip()!r}, not a version")
        return int(found[1])


def built_folder() -> Path:
    """Where the build puts its binaries: outside any checkout, shared by all of them."""
    return cache_dir() / f"kube-{KUBE_VERSION}"


def available(*, controllers: bool = True) -> str | None:
    """None if a RealCluster can run here, else the reason why it cannot, as a sentence.

    `controllers=False` asks for etcd and kube-apiserver alone.
    """
    found = locate()
    if isinstance(found, str):
        return found
    if controllers and found.controller_manager is None:
        return f"{ASSETS_VARIABLE} ({found.apiserver.parent}) has no kube-controller-manager."
    return None


def locate() -> Binaries | str:
    named = os.environ.get(ASSETS_VARIABLE)
    folder = Path(named) if named else built_folder()
    etcd, apiserver, manager = (folder / name for name in BINARIES)
    missing = [each.name for each in (etcd, apiserver) if not os.access(each, os.X_OK)]
    if not missing:
        return Binaries(etcd, apiserver, manager if os.access(manager, os.X_OK) else None)
    if named:
        return f"{ASSETS_VARIABLE} ({named}) has no {' and no '.join(missing)}."
    return (
        f"{ASSETS_VARIABLE} is not set, and {folder} has no {' and no '.join(missing)}:"
        f" run `{_BUILD_COMMAND}` once."
    )
