"""Small private files, written whole or not at all."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self

from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import Secret

_MODE = 0o600
MAX_SECRET_BYTES = 64 * 1024


def write_private(path: Path, text: str) -> None:
    """Make a new file of mode 0600 with this text.

    Raises:
        ConfigurationError: it exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, _MODE)
    except OSError as cause:
        raise ConfigurationError(
            f"cannot make {path}: {cause.strerror}", "config"
        ) from cause
    try:
        _fill(descriptor, text)
    except OSError as cause:
        path.unlink(missing_ok=True)
        raise ConfigurationError(
            f"cannot write {path}: {cause.strerror}", "config"
        ) from cause


class NewFile:
    """A new file of mode 0600, under its name once it is whole.

    On an error nothing is left of it.

    Raises:
        ConfigurationError: it exists, or cannot be written.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._half = path.with_name(f".{path.name}.{os.urandom(8).hex()}.part")
        if path.exists() or path.is_symlink():
            raise ConfigurationError(f"{path} exists and is not replaced", "out")
        try:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
            self._file = os.fdopen(os.open(self._half, flags, _MODE), "wb")
        except OSError as cause:
            raise self._cannot(cause) from cause

    def write(self, data: bytes) -> None:
        """Add to it."""
        try:
            self._file.write(data)
        except OSError as cause:
            raise self._cannot(cause) from cause

    def __enter__(self) -> Self:
        """Begin."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Make it durable, then give it its name; or take it away."""
        try:
            if kind is None:
                self._file.flush()
                os.fsync(self._file.fileno())
                # Unlike a renaming, this replaces no file that came meanwhile.
                self._path.hardlink_to(self._half)
        except OSError as cause:
            raise self._cannot(cause) from cause
        finally:
            with suppress(OSError):
                self._file.close()
            self._half.unlink(missing_ok=True)

    def _cannot(self, cause: OSError) -> ConfigurationError:
        return ConfigurationError(f"cannot write {self._path}: {cause.strerror}", "out")


def replace(path: Path, text: str) -> None:
    """Make an existing file hold this text; a link to it stays a link.

    Raises:
        ConfigurationError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    try:
        mode = target.stat().st_mode & 0o777
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
        try:
            _fill(descriptor, text)
            temporary.replace(target)
        finally:
            temporary.unlink(missing_ok=True)
    except OSError as cause:
        raise ConfigurationError(
            f"cannot write {path}: {cause.strerror}", "config"
        ) from cause


def _fill(descriptor: int, text: str) -> None:
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())


def read_secret_file(path: Path, field: str) -> Secret:
    """Return the secret in a file, without the white space around it.

    Raises:
        ConfigurationError: it cannot be read, or is empty, large or no text.
    """
    try:
        with path.open("rb") as file:
            raw = file.read(MAX_SECRET_BYTES + 1)
        text = raw.decode().strip()
    except OSError as cause:
        raise ConfigurationError(
            f"cannot read {path}: {cause.strerror}", field
        ) from cause
    except UnicodeDecodeError:
        # Without its cause, which carries the text.
        raise ConfigurationError(f"{path} is not UTF-8", field) from None
    if not text or len(raw) > MAX_SECRET_BYTES:
        raise ConfigurationError(
            f"{path} has {len(raw)} bytes; the limit is 1 to {MAX_SECRET_BYTES}", field
        )
    return Secret(text)
