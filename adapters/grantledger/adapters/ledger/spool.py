"""Answers that the ledger could not take, sealed on local disk until it can.

One file an attempt, mode 0600, in a directory 0700; written beside, synced, renamed,
so that a crash leaves a whole file or none.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from uuid import UUID

import anyio.to_thread
import msgspec

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger.codec import reveal, secret_of
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import Unavailable

SUFFIX = ".answer"


class Spooled(msgspec.Struct, frozen=True):
    """What one file holds, sealed."""

    grant_id: UUID
    attempt_id: UUID
    answer: TokenAnswer


_ENCODER = msgspec.json.Encoder(enc_hook=reveal)
_DECODER = msgspec.json.Decoder(Spooled, dec_hook=secret_of)


class FileSpool:
    """Implements ports.Spool in a directory beside the ledger."""

    def __init__(self, directory: Path, ring: KeyRing) -> None:
        self._directory = directory
        self._ring = ring

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
        """Forget an answer; one that is not there is no error."""
        path = self._path(attempt_id)
        await anyio.to_thread.run_sync(lambda: path.unlink(missing_ok=True))

    async def waiting(self) -> Sequence[tuple[UUID, UUID, TokenAnswer]]:
        """Return every spooled answer.

        Raises:
            WrongKey: the ring lacks the key that one was sealed with.
            IntegrityError: one was changed.
        """
        return await anyio.to_thread.run_sync(self._read)

    def _path(self, attempt_id: UUID) -> Path:
        return self._directory / f"{attempt_id.hex}{SUFFIX}"

    def _write(self, attempt_id: UUID, sealed: bytes) -> None:
        self._directory.mkdir(mode=0o700, exist_ok=True)
        path = self._path(attempt_id)
        half = path.with_suffix(".part")
        handle = os.open(half, os.O_CREAT | os.O_TRUNC | os.O_WRONLY, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(sealed)
            file.flush()
            os.fsync(file.fileno())
        half.replace(path)
        directory = os.open(self._directory, os.O_RDONLY)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)

    def _read(self) -> list[tuple[UUID, UUID, TokenAnswer]]:
        found: list[tuple[UUID, UUID, TokenAnswer]] = []
        for path in sorted(self._directory.glob(f"*{SUFFIX}")):
            attempt_id = UUID(hex=path.stem)
            data = self._ring.open_spool(path.read_bytes(), attempt_id.bytes)
            spooled = _DECODER.decode(data)
            found.append((spooled.grant_id, spooled.attempt_id, spooled.answer))
        return found
