"""The key ring's file: read only where nobody else can, replaced whole or not at all.

It leaves to others what the text means.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from grantledger.adapters.keys import durable
from grantledger.domain.errors import ConfigurationError

MAX_BYTES = 1 << 20
"""Of a key ring; a larger file is something else."""

_FIELD = "key_ring"
_MODE = 0o600
_OTHERS = 0o077


def read(path: Path) -> str:
    """Return the file's text.

    Raises:
        ConfigurationError: it is missing, no regular file, too large, no text, or its
            mode lets its group or others in.
    """
    try:
        # O_NONBLOCK: opening a pipe that stands there must not wait for its writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except FileNotFoundError:
        raise ConfigurationError(
            f"there is no key ring at {path}; make one with `grantledger init`, or "
            "restore the one that the ledger was written with",
            _FIELD,
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"the key ring {path} cannot be opened: {error.strerror}", _FIELD
        ) from error
    # Of the open file, so that it cannot be swapped after the check.
    status = os.fstat(descriptor)
    if not stat.S_ISREG(status.st_mode):
        os.close(descriptor)
        raise ConfigurationError(f"the key ring {path} is no file", _FIELD)
    with os.fdopen(descriptor, "rb") as file:
        mode = stat.S_IMODE(status.st_mode)
        if mode & _OTHERS:
            raise ConfigurationError(
                f"the key ring {path} has mode {mode:04o}: others than its owner have "
                f"access; run `chmod 600 {path}`, and replace its keys if anyone else "
                "may have read it",
                _FIELD,
            )
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise ConfigurationError(
            f"the key ring {path} is larger than {MAX_BYTES} bytes", _FIELD
        )
    try:
        return raw.decode()
    except UnicodeDecodeError:
        # Without its cause, which carries the whole text.
        raise ConfigurationError(f"the key ring {path} is not UTF-8", _FIELD) from None


def write(path: Path, text: str, *, overwrite: bool) -> None:
    """Make the file hold the text, mode 0600, on disk with its directory entry.

    A crash leaves the old file or the new one, and perhaps a `.tmp` beside it.

    Raises:
        ConfigurationError: it exists and `overwrite` is false, or writing failed.
    """
    try:
        _write(path, text.encode(), overwrite=overwrite)
    except FileExistsError:
        raise ConfigurationError(
            f"{path} exists and is not replaced: what was sealed with its keys would "
            "be lost",
            _FIELD,
        ) from None
    except OSError as error:
        raise ConfigurationError(
            f"the key ring {path} cannot be written: {error.strerror}", _FIELD
        ) from error


def _write(path: Path, data: bytes, *, overwrite: bool) -> None:
    # A link to the ring stays a link: the file behind it is replaced.
    target = Path(os.path.realpath(path)) if overwrite else path
    temporary = target.with_name(f".{target.name}.{os.urandom(8).hex()}.tmp")
    descriptor = os.open(
        temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE
    )
    try:
        with os.fdopen(descriptor, "wb") as file:
            # The umask may have taken bits that the owner needs.
            os.fchmod(file.fileno(), _MODE)
            if overwrite:
                _keep_owner(target, file.fileno())
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        if overwrite:
            temporary.replace(target)
        else:
            # Fails where the name is taken, also by someone else just now.
            os.link(temporary, target)
    finally:
        temporary.unlink(missing_ok=True)
    durable.sync(target.parent)


def _keep_owner(target: Path, descriptor: int) -> None:
    """Give the new file the old one's owner: root may replace a service's ring."""
    try:
        owner = target.stat().st_uid
    except FileNotFoundError:
        return
    if owner != os.fstat(descriptor).st_uid:
        os.fchown(descriptor, owner, -1)
