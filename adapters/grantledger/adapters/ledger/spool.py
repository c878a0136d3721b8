"""Answers that the ledger could not take, sealed on local disk until it can.

One file an attempt, mode 0600, in a directory 0700; written beside, synced, renamed,
so that a crash leaves a whole file or none.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from uuid import UUID

import anyio.to_thread
import msgspec

from grantledger.adapters.keys import durable
from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.states import reveal, secret_of
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import (
    IntegrityError,
    LedgerError,
    Unavailable,
    WrongKey,
)

SUFFIX = ".answer"
DIRECTORY_MODE = 0o700
FILE_MODE = 0o600


class Spooled(msgspec.Struct, frozen=True):
    """What one file holds, sealed."""

    grant_id: UUID
    attempt_id: UUID
    answer: TokenAnswer


_ENCODER = msgspec.json.Encoder(enc_hook=reveal)
_DECODER = msgspec.json.Decoder(Spooled, dec_hook=secret_of)


class FileSpool:
    """Implements ports.Spool in a directory beside the ledger.

    Args:
        directory: made when it is needed.
        ring: seals the answers.
        unreadable: called, in a thread, with each file that `waiting` cannot open and
            passes over; None: `waiting` raises instead.
    """

    def __init__(
        self,
        directory: Path,
        ring: KeyRing,
        unreadable: Callable[[Path, LedgerError], None] | None = None,
    ) -> None:
        self._directory = directory
        self._ring = ring
        self._unreadable = unreadable

    async def put(self, grant_id: UUID, attempt_id: UUID, answer: TokenAnswer) -> None:
        """Make the answer durable.

        Raises:
            Unavailable: the disk does not take it either.
        """
        data = _ENCODER.encode(Spooled(grant_id, attempt_id, answer))
        sealed = self._ring.seal_spool(data, attempt_id.bytes)
        try:
            await anyio.to_thread.run_sync(self._write, attempt_id, sealed)
        except OSError as cause:
            raise Unavailable(f"the spool cannot be written: {cause}") from cause

    async def remove(self, attempt_id: UUID) -> None:
        """Forget an answer; one that is not there is no error.

        Raises:
            Unavailable: the directory cannot be written.
        """
        path = self._path(attempt_id)
        try:
            await anyio.to_thread.run_sync(lambda: path.unlink(missing_ok=True))
        except OSError as cause:
            raise Unavailable(f"the spool cannot be written: {cause}") from cause

    async def waiting(self) -> Sequence[tuple[UUID, UUID, TokenAnswer]]:
        """Return every spooled answer.

        Raises:
            WrongKey: the ring lacks the key that one was sealed with.
            IntegrityError: one was changed; the file is named.
            Unavailable: the directory cannot be read.
        """
        try:
            return await anyio.to_thread.run_sync(self._read)
        except OSError as cause:
            raise Unavailable(f"the spool cannot be read: {cause}") from cause

    def _path(self, attempt_id: UUID) -> Path:
        return self._directory / f"{attempt_id.hex}{SUFFIX}"

    def _write(self, attempt_id: UUID, sealed: bytes) -> None:
        if not self._directory.is_dir():
            self._directory.mkdir(mode=DIRECTORY_MODE, exist_ok=True)
            durable.sync(self._directory.parent)
        path = self._path(attempt_id)
        half = path.with_suffix(".part")
        handle = os.open(half, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, FILE_MODE)
        with os.fdopen(handle, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
        durable.sync(self._directory)

    def _read(self) -> list[tuple[UUID, UUID, TokenAnswer]]:
        try:
            # Not Path.glob: it takes a directory that may not be read for empty.
            paths = sorted(self._directory.iterdir())
        except FileNotFoundError:
            return []
        found: list[tuple[UUID, UUID, TokenAnswer]] = []
        for path in paths:
            if path.suffix == SUFFIX:
                try:
                    found.append(self._opened(path))
                except FileNotFoundError:
                    continue  # another process has brought it home meanwhile
                except LedgerError as error:
                    if self._unreadable is None:
                        raise
                    self._unreadable(path, error)
        return found

    def _opened(self, path: Path) -> tuple[UUID, UUID, TokenAnswer]:
        try:
            attempt_id = UUID(hex=path.stem)
            data = self._ring.open_spool(path.read_bytes(), attempt_id.bytes)
            spooled = _DECODER.decode(data)
        except (IntegrityError, WrongKey) as cause:
            raise type(cause)(f"{path}: {cause}") from cause
        except (ValueError, msgspec.DecodeError):
            # `from None`: what was sealed stays out of every trace.
            raise IntegrityError(f"{path} is no spooled answer") from None
        return spooled.grant_id, spooled.attempt_id, spooled.answer
