"""Small private files, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

from grantledger.domain.errors import ConfigurationError

_MODE = 0o600


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
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def replace(path: Path, text: str) -> None:
    """Make an existing file hold this text; a link to it stays a link.

    Raises:
        ConfigurationError: it cannot be written.
    """
    target = Path(os.path.realpath(path))
    temporary = target.with_name(f".{target.name}.{os.getpid()}.tmp")
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
