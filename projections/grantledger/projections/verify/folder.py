"""A directory, or a zip of one, read with limits and without surprises.

Names are relative, with slashes; a link, a name that leads elsewhere, or a file that
grows on being unpacked beyond its limit is refused.
"""

from __future__ import annotations

import unicodedata
import zipfile
import zlib
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from grantledger.projections.verify.fields import mapping, parsed
from grantledger.projections.verify.findings import Refuted, Unreadable, shown

MAX_FILES = 1_000_000
MAX_FILE_BYTES = 1 << 30
MAX_UNPACKED_BYTES = 1 << 32
"""Of all files of a zip together."""
MAX_LINE_BYTES = 1 << 20
MAX_NAME = 512
CHUNK = 1 << 20


class Folder:
    """Implements reading by name; use it in a `with`.

    Args:
        path: of the directory or the zip file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stack = ExitStack()
        self._zip: zipfile.ZipFile | None = None

    def __enter__(self) -> Self:
        """Open it.

        Raises:
            Unreadable: it is neither a directory nor a zip file.
        """
        if self._path.is_dir():
            return self
        try:
            self._zip = self._stack.enter_context(zipfile.ZipFile(self._path))
        except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError) as cause:
            raise Unreadable(
                f"{self._path} is neither a directory nor a zip file"
            ) from cause
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Close it."""
        self._stack.close()

    def names(self) -> list[str]:
        """Return the names of all files.

        Raises:
            Refuted: there are too many, one twice, or one that leads elsewhere; or
                together they are too long.
        """
        found: dict[str, str] = {}
        for name in self._names():
            if not _is_plain(name):
                raise Refuted(shown(name), "is no plain name of a file")
            alike = _alike(name)
            if alike in found:
                raise Refuted(shown(name), f"is there twice: as {shown(found[alike])}")
            found[alike] = name
            if len(found) > MAX_FILES:
                raise Refuted(str(self._path), f"has more than {MAX_FILES} files")
        return list(found.values())

    def _names(self) -> Iterator[str]:
        if self._zip is not None:
            total = 0
            for info in self._zip.infolist():
                # No more than what is said here is ever unpacked.
                total += info.file_size
                if total > MAX_UNPACKED_BYTES:
                    raise Refuted(
                        str(self._path),
                        f"unpacks to more than {MAX_UNPACKED_BYTES} bytes",
                    )
                if not info.is_dir():
                    yield info.filename
            return
        for path in sorted(self._path.rglob("*")):
            name = path.relative_to(self._path).as_posix()
            if path.is_symlink():
                raise Refuted(shown(name), "is a link")
            if not path.is_dir():
                yield name

    def has(self, name: str) -> bool:
        """Tell whether there is such a file."""
        if self._zip is not None:
            return name in self._zip.NameToInfo
        path = self._path / name
        return path.is_file() and not path.is_symlink()

    def chunks(self, name: str, limit: int = MAX_FILE_BYTES) -> Iterator[bytes]:
        """Yield a file's bytes in parts.

        Raises:
            Refuted: it is missing, damaged or too long.
        """
        total = 0
        try:
            with self._open(name) as file:
                while part := file.read(CHUNK):
                    total += len(part)
                    if total > limit:
                        raise Refuted(name, f"has more than {limit} bytes")
                    yield part
        except (
            OSError,
            ValueError,
            KeyError,
            EOFError,
            RuntimeError,
            NotImplementedError,
            zipfile.BadZipFile,
            zlib.error,
        ):
            raise Refuted(name, "is missing or cannot be read") from None

    def _open(self, name: str) -> IO[bytes]:
        if self._zip is not None:
            return self._zip.open(name)
        if not self.has(name):
            raise FileNotFoundError(name)
        return (self._path / name).open("rb")

    def read(self, name: str, limit: int = MAX_FILE_BYTES) -> bytes:
        """Return a file's bytes; raises as `chunks` does."""
        return b"".join(self.chunks(name, limit))

    def json(self, name: str, limit: int) -> Any:  # noqa: ANN401 - whatever stands there
        """Return what a JSON file says.

        Raises:
            Refuted: there is none, or it is no JSON.
        """
        return parsed(self.read(name, limit), name)

    def lines(self, name: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
        """Yield (position, object) of each line of JSON.

        Raises:
            Refuted: names the line that is none.
        """
        rest, number = b"", 0
        for part in self.chunks(name):
            *whole, rest = (rest + part).split(b"\n")
            if len(rest) > MAX_LINE_BYTES:
                raise Refuted(f"{name} line {number + 1}", "is too long")
            for line in whole:
                number += 1
                where = f"{name} line {number}"
                yield where, mapping(parsed(line, where), where)
        if rest:
            raise Refuted(f"{name} line {number + 1}", "has no end")


def _alike(name: str) -> str:
    """Return what a name is to a file system that knows no case and one spelling."""
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", name).casefold())


def _is_plain(name: str) -> bool:
    parts = name.split("/")
    return (
        0 < len(name) <= MAX_NAME
        and name.isprintable()
        and "\\" not in name
        and ":" not in name
        and not any(part in {"", ".", ".."} for part in parts)
    )
