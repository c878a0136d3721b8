"""Where it is recorded that the audit was read, by a login that may only read.

A file of its own, which only grows. One JSON line for each entry: who read what, when,
and by whose leave. Each line names the SHA-256 of the line before it, so that none is
changed or taken out of the middle unseen; what stands in the last one is worth keeping
elsewhere. The entry's sealed parts, such as addresses, are left out; what was asked for
is not, in words that name no person: no erasure reaches this file.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import BinaryIO
from uuid import UUID

import anyio.to_thread
import msgspec

from grantledger.adapters.keys import durable
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import Recorded, RecordVerdict

MAX_LINE_BYTES = 16_384
NO_LINE = "0" * 64
"""What the first line says of the one before it."""


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One line; `before` is the SHA-256 of the line before, with its end, in hex."""

    v: int
    before: str
    at: datetime
    outcome: str
    caller: str
    request_id: str
    reason: str | None = None
    asked: str | None = None
    provider: str = ""
    grant_id: UUID | None = None
    policy: str = ""


_DECODER = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


class AccessFile:
    """Implements ports.AccessJournal in one file, made when it is needed.

    Several processes of one machine may share it.

    Args:
        path: of the file.
        monotonic: the clock that verdicts are dated by, in seconds.
    """

    def __init__(self, path: Path, monotonic: Callable[[], float]) -> None:
        self.path = path
        self._monotonic = monotonic

    async def record(self, entry: AccessEntry) -> Recorded:
        """Make a line of the entry durable.

        Raises:
            Unavailable: it could not be written; nothing may leave.
            IntegrityError: the last line is none of this file's.
        """
        try:
            await anyio.to_thread.run_sync(self._add, entry)
        except OSError as cause:
            raise Unavailable(
                f"the record of readings {self.path} cannot be written: "
                f"{cause.strerror}"
            ) from cause
        return Recorded(RecordVerdict.RECORDED, self._monotonic())

    def _add(self, entry: AccessEntry) -> None:
        with durable.growing(self.path, os.O_NOFOLLOW) as file:
            end, before = self._last(file)
            # What a crash left half-written was acknowledged to nobody.
            file.truncate(end)
            file.seek(end)
            file.write(written(entry, before))
            file.flush()
            os.fsync(file.fileno())

    def _last(self, file: BinaryIO) -> tuple[int, str]:
        """Return where the lines end, and the last one's hash."""
        size = file.seek(0, os.SEEK_END)
        start = max(0, size - 2 * MAX_LINE_BYTES)
        file.seek(start)
        tail = file.read()
        whole = tail[: tail.rfind(b"\n") + 1]
        if not whole:
            if size > MAX_LINE_BYTES:
                raise self._changed()
            return 0, NO_LINE
        last = whole[whole.rfind(b"\n", 0, -1) + 1 :]
        try:
            _DECODER.decode(last)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            raise self._changed() from None
        return start + len(whole), hashlib.sha256(last).hexdigest()

    def _changed(self) -> IntegrityError:
        return IntegrityError(
            f"the last line of the record of readings {self.path} was changed"
        )


def written(entry: AccessEntry, before: str) -> bytes:
    """Return the line that follows the one with the hash `before`."""
    private = entry.private
    return (
        _ENCODER.encode(
            Line(
                1,
                before,
                entry.at,
                str(entry.outcome),
                entry.caller,
                entry.request_id,
                entry.reason,
                None if private is None else private.detail,
                entry.provider,
                entry.grant_id,
                entry.policy,
            )
        )
        + b"\n"
    )


def read_accesses(data: bytes) -> list[Line]:
    """Return the whole lines of such a file.

    Raises:
        IntegrityError: a line was changed, or one before it is missing; its number is
            named.
    """
    found: list[Line] = []
    before = NO_LINE
    for number, raw in enumerate(data.splitlines(keepends=True), start=1):
        if not raw.endswith(b"\n"):
            break
        try:
            line = _DECODER.decode(raw)
        except (msgspec.MsgspecError, UnicodeDecodeError):
            line = None
        if line is None or line.before != before:
            raise IntegrityError(
                f"line {number} of the record of readings was changed, or a line "
                "before it is missing"
            )
        before = hashlib.sha256(raw).hexdigest()
        found.append(line)
    return found
