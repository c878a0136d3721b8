"""A key ring's file that is looked at again: whether it is another one than before."""

from __future__ import annotations

import threading
from pathlib import Path

Status = tuple[int, int, int, int]


class RingSource:
    """A file that is replaced whole, never written in place.

    Attributes:
        lock: held while it is read anew: whoever comes meanwhile waits for the keys.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = threading.Lock()
        self._taken: Status | None = None

    def now(self) -> Status | None:
        """Return what tells this file from its next one, None where it is gone."""
        try:
            found = self.path.stat()
        except OSError:
            return None
        return found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns

    def is_new(self, status: Status | None) -> bool:
        """Tell whether that is another file than the one that was taken last."""
        return status is not None and status != self._taken

    def took(self, status: Status | None) -> None:
        """Take note that the keys of this file are in use."""
        self._taken = status
