"""The newest commit of each process, noted beside the guard as it happens.

One file a process, written in place and never synced: it costs a system call a commit,
survives the process (a SIGKILL as well) and not its machine. The process holds a lock
on it; a note without one was left by a process that is dead, and is read by the next.
"""

from __future__ import annotations

import fcntl
import logging
import os
from contextlib import suppress
from datetime import datetime
from pathlib import Path

from grantledger.adapters.ledger.guard_file import (
    FILE_MODE,
    Guarded,
    GuardFile,
    guarded,
)
from grantledger.domain.errors import LedgerError
from grantledger.domain.log_identity import KnownLog

SUFFIX = ".note"
NOTE_BYTES = 1024

_log = logging.getLogger("grantledger.guard")


class GuardNotes:
    """This process's note, and those that the dead have left.

    Args:
        guard: beside which the notes stand.
    """

    def __init__(self, guard: GuardFile) -> None:
        self._guard = guard
        name = f"{guard.path.name}.{os.urandom(8).hex()}{SUFFIX}"
        self._path = guard.path.with_name(name)
        self._handle: int | None = None
        self._failed = False

    def note(self, log: KnownLog, at: datetime) -> None:
        """Have the operating system keep what was just committed; never raises."""
        if self._failed:
            return
        data = self._guard.encode(guarded(log, "", at))
        try:
            if self._handle is None:
                self._handle = self._opened()
            os.pwrite(self._handle, data.ljust(NOTE_BYTES), 0)
        except OSError:
            self._failed = True  # the guard, in the same place, says why

    def close(self) -> None:
        """Remove the note: what it says stands in the guard."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None
            self._path.unlink(missing_ok=True)

    def left(self) -> list[tuple[Path, Guarded]]:
        """Return the notes of the dead; one that is torn is passed over.

        Only the end of a machine tears one. The living look for themselves.
        """
        found: list[tuple[Path, Guarded]] = []
        pattern = f"{self._guard.path.name}.*{SUFFIX}"
        for path in sorted(self._guard.path.parent.glob(pattern)):
            if not _is_dead(path):
                continue
            try:
                said = GuardFile(path, self._guard.ring).read()
            except LedgerError as error:
                _log.warning("a note is passed over: %s", error)
                continue
            if said is not None:
                found.append((path, said))
        return found

    def sweep(self, kept: KnownLog) -> None:
        """Remove notes of the dead that say no more than the guard."""
        for path, said in self.left():
            more = said.incarnation == kept.incarnation and said.size > kept.size
            if not more:
                path.unlink(missing_ok=True)

    def _opened(self) -> int:
        flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC
        handle = os.open(self._path, flags, FILE_MODE)
        fcntl.flock(handle, fcntl.LOCK_EX)
        return handle


def _is_dead(path: Path) -> bool:
    """Tell whether the process that made a note has ended."""
    with suppress(OSError), path.open("rb") as file:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    return False
