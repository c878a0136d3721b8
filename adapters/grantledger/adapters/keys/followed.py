"""Whether the key ring's file is another one than when it was last looked at."""

from __future__ import annotations

from pathlib import Path


class RingSource:
    """A file that is replaced whole, never written in place."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._seen: tuple[int, int, int, int] | None = None

    def changed(self) -> bool:
        """Tell whether it was replaced since the last call; not one that is gone."""
        try:
            status = self.path.stat()
        except OSError:
            return False
        now = (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns)
        changed, self._seen = now != self._seen, now
        return changed
