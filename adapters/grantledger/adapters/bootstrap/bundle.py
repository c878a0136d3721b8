"""A bundle's files on disk: written beside their place, and put there whole.

Nothing that exists is replaced, and nobody but its owner reads what is made.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import zipfile
from collections.abc import Generator, Iterable, Mapping
from contextlib import contextmanager
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Self

from grantledger.domain.errors import ConfigurationError
from grantledger.projections.evidence import File

ZIP = ".zip"
_DIRECTORY = 0o700
_FILE = 0o600
_REGULAR = 0o100_000


class BundleFile:
    """A file that is being written, and its digest."""

    def __init__(self, path: Path) -> None:
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
        self._file = os.fdopen(os.open(path, flags, _FILE), "wb")
        self._digest = hashlib.sha256()
        self._size = 0

    def write(self, texts: Iterable[str]) -> None:
        """Write the texts one after the other, as UTF-8."""
        # What an attacker sent may be half of a surrogate pair: it is replaced.
        data = "".join(texts).encode(errors="replace")
        self._file.write(data)
        self._digest.update(data)
        self._size += len(data)

    def __enter__(self) -> Self:
        """Return itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._file.close()

    @property
    def file(self) -> File:
        """What was written."""
        return File(self._digest.hexdigest(), self._size)


class BundleFiles:
    """The files of a bundle under way, in a directory that is there and empty."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._files: dict[str, BundleFile] = {}

    def new(self, path: str) -> BundleFile:
        """Return a new file; the caller closes it."""
        target = self._directory / path
        target.parent.mkdir(mode=_DIRECTORY, parents=True, exist_ok=True)
        made = BundleFile(target)
        self._files[path] = made
        return made

    def add(self, path: str, text: str) -> None:
        """Write a whole file."""
        with self.new(path) as file:
            file.write((text,))

    @property
    def written(self) -> Mapping[str, File]:
        """What was written so far, by path."""
        return {path: file.file for path, file in self._files.items()}


@contextmanager
def placed(target: Path, created_at: datetime) -> Generator[Path]:
    """Yield an empty directory; on leaving it well, put its files at `target`.

    Args:
        target: a new directory, or a new zip where it ends so.
        created_at: of the files within the zip; aware UTC.

    Raises:
        ConfigurationError: it exists, or cannot be written.
    """
    if target.exists() or target.is_symlink():
        raise ConfigurationError(f"{target} exists and is not replaced", "out")
    half = target.with_name(f".{target.name}.{os.urandom(8).hex()}.part")
    packed = half.with_name(f"{half.name}{ZIP}")
    try:
        half.mkdir(mode=_DIRECTORY)
        yield half
        if target.suffix == ZIP:
            pack(half, packed, created_at)
            os.link(packed, target)  # fails where somebody was faster
        else:
            half.rename(target)
    except OSError as cause:
        raise ConfigurationError(
            f"cannot write {target}: {cause.strerror}", "out"
        ) from cause
    finally:
        packed.unlink(missing_ok=True)
        shutil.rmtree(half, ignore_errors=True)


def pack(directory: Path, target: Path, created_at: datetime) -> None:
    """Make a new zip of a directory's files, the same bytes for the same files."""
    when = created_at.timetuple()[:6]
    descriptor = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _FILE)
    with (
        os.fdopen(descriptor, "wb") as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as packed,
    ):
        for path in sorted(p for p in directory.rglob("*") if p.is_file()):
            entry = zipfile.ZipInfo(path.relative_to(directory).as_posix(), when)
            entry.compress_type = zipfile.ZIP_DEFLATED
            entry.external_attr = (_REGULAR | _FILE) << 16
            with path.open("rb") as source, packed.open(entry, "w") as sink:
                shutil.copyfileobj(source, sink)
