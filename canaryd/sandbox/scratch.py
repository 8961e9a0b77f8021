"""Temporary folders that do not pile up, even when their owners are killed."""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import tempfile
import weakref
from pathlib import Path

_OWNER = "owner.lock"


class Scratch:
    """A temporary folder that is removed on `close()`, at the latest when its owner ends.

    If that was killed with -9, the next Scratch of the same prefix does it.
    """

    def __init__(self, prefix: str) -> None:
        self._sweep(prefix)
        self.path = Path(tempfile.mkdtemp(prefix=prefix))
        self._remove = weakref.finalize(self, shutil.rmtree, self.path, ignore_errors=True)
        unlocked = self.path / "unlocked"
        self._owner = unlocked.open("w")
        fcntl.flock(self._owner, fcntl.LOCK_EX)
        unlocked.rename(self.path / _OWNER)  # only a locked file may bear the name that a sweep looks for

    def close(self) -> None:
        """Remove the folder and all in it. Repeats do nothing."""
        self._remove()
        self._owner.close()

    @staticmethod
    def _sweep(prefix: str) -> None:
        for left in Path(tempfile.gettempdir()).glob(f"{prefix}*/{_OWNER}"):
            with contextlib.suppress(OSError), left.open("r+") as owner:
                fcntl.flock(owner, fcntl.LOCK_EX | fcntl.LOCK_NB)  # held by a living owner: OSError
                shutil.rmtree(left.parent, ignore_errors=True)
