"""What outlasts a crash, and who may write: a sync and a lock, in few words."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

FILE_MODE = 0o600


def sync(path: Path) -> None:
    """Make durable what a file holds, or what a directory lists."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


@contextmanager
def growing(path: Path, flags: int = 0) -> Generator[BinaryIO]:
    """Open a private file, made where there is none, with its lock.

    It is the file that has the name once it is locked: another process may have put
    one in its place meanwhile. Its directory is synced where it was made.

    Args:
        path: of the file.
        flags: to open it with, beside the usual ones.
    """
    fresh = not path.exists()
    while True:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | flags, FILE_MODE)
        with os.fdopen(handle, "r+b") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(handle).st_ino == path.stat().st_ino:
                yield file
                break
    if fresh:
        sync(path.parent)


@contextmanager
def locked(directory: Path) -> Generator[None]:
    """Keep other processes that take the directory's lock away meanwhile."""
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)
