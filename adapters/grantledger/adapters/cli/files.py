"""Small private files, written whole or not at all."""

from __future__ import annotations

import os
from pathlib import Path

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
