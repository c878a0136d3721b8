"""The erasure list: a file of its own, outside the ledger, that only grows.

One JSON line for each erasure: grant, receipt, time and reason, no subject. Each line
carries a keyed code over itself and the code before it, so that a line can neither be
forged, nor changed, nor taken out between others, without the key ring. A cut at the
end shows no code; the log itself names what was erased, and `resume` writes it again.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Callable, Sequence
from datetime import datetime
from pathlib import Path
from typing import TypeVar
from uuid import UUID

import anyio.to_thread
import msgspec

from grantledger.adapters.keys import durable
from grantledger.adapters.keys.framing import first_part
from grantledger.adapters.keys.ring import KeyRing, KeyUse
from grantledger.domain.errors import IntegrityError, LedgerError, Unavailable
from grantledger.domain.maintenance import Erasure

T = TypeVar("T")
VERSIONS = (1, 2)
"""Form 2 says until when backups or archives are kept; form 1 does not."""
MAX_LINE_BYTES = 4096
_PURPOSE = b"grantledger erasure list 1"


class Line(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One line; `code` is over the other fields, as they stand, and the code before."""

    v: int
    grant_id: UUID
    receipt: str
    at: datetime
    reason: str
    backups_until: datetime | msgspec.UnsetType = msgspec.UNSET
    archives_until: datetime | msgspec.UnsetType = msgspec.UNSET
    code: str = ""


_DECODER = msgspec.json.Decoder(Line)
_ENCODER = msgspec.json.Encoder()


class FileErasures:
    """Implements maintenance.ErasureList in one file, made when it is needed.

    Several processes of one machine may share it.
    """

    def __init__(self, path: Path, ring: KeyRing) -> None:
        self.path = path
        self._ring = ring

    async def add(self, erasure: Erasure) -> None:
        """Make the line durable, unless its grant is listed; see `ErasureList.add`."""
        await self._in_thread(lambda: self._add(erasure))

    async def read(self) -> Sequence[Erasure]:
        """Return every line; see `ErasureList.read`."""
        return await self._in_thread(lambda: self._lines()[0])

    async def _in_thread(self, work: Callable[[], T]) -> T:
        try:
            return await anyio.to_thread.run_sync(work)
        except OSError as cause:
            raise Unavailable(
                f"the erasure list {self.path} cannot be used: {cause.strerror}"
            ) from cause

    async def recode(self) -> int:
        """Give every line a code of the active key; return how many had an older one.

        Raises:
            IntegrityError: a line was changed; nothing is written.
        """
        return await self._in_thread(self._recode)

    async def coding_keys(self) -> set[str]:
        """Return the ids of the keys that made the codes of the lines."""
        return await self._in_thread(self._coding_keys)

    def _coding_keys(self) -> set[str]:
        try:
            data = self.path.read_bytes()
        except FileNotFoundError:
            return set()
        found: set[str] = set()
        for number, raw in enumerate(_whole(data).splitlines(), start=1):
            split = first_part(self._line(raw, number)[1])
            if split is None:
                raise self._changed(number)
            found.add(split[0].decode("latin-1"))
        return found

    def _recode(self) -> int:
        if not self.path.exists():
            return 0
        with durable.growing(self.path) as file:
            data = file.read()
            lines = self.parsed(data)[0]
            older = sum(
                not self._ring.is_current(KeyUse.MAC, self._line(raw, number)[1])
                for number, raw in enumerate(_whole(data).splitlines(), start=1)
            )
            if not older:
                return 0
            written, code = b"", b""
            for erasure in lines:
                raw = self.written(erasure, code)
                code = self._line(raw, 0)[1]
                written += raw
            half = self.path.with_name(f".{self.path.name}.{os.urandom(8).hex()}.tmp")
            handle = os.open(
                half, os.O_CREAT | os.O_EXCL | os.O_WRONLY, durable.FILE_MODE
            )
            with os.fdopen(handle, "wb") as anew:
                anew.write(written)
                anew.flush()
                os.fsync(anew.fileno())
            half.replace(self.path)
        durable.sync(self.path.parent)
        return older

    def _add(self, erasure: Erasure) -> None:
        with durable.growing(self.path) as file:
            known, end, code = self.parsed(file.read())
            if not any(line.grant_id == erasure.grant_id for line in known):
                # What a crash left half-written was acknowledged to nobody.
                file.truncate(end)
                file.seek(end)
                file.write(self.written(erasure, code))
                file.flush()
            os.fsync(file.fileno())

    def _lines(self) -> tuple[list[Erasure], int, bytes]:
        try:
            return self.parsed(self.path.read_bytes())
        except FileNotFoundError:
            return [], 0, b""

    def parsed(self, data: bytes) -> tuple[list[Erasure], int, bytes]:
        """Return the lines, where they end, and the last one's code.

        Raises:
            IntegrityError: a line was changed, forged or moved; its number is named.
        """
        found: list[Erasure] = []
        before = b""
        end = data.rfind(b"\n") + 1
        for number, raw in enumerate(data[:end].splitlines(), start=1):
            line, code = self._line(raw, number)
            if not self._ring.check_mac(code, _parts(line, before)):
                raise self._changed(number)
            before = code
            found.append(
                Erasure(
                    line.grant_id,
                    line.receipt,
                    line.at,
                    line.reason,
                    line.backups_until or None,
                    line.archives_until or None,
                )
            )
        return found, end, before

    def _line(self, raw: bytes, number: int) -> tuple[Line, bytes]:
        try:
            line = _DECODER.decode(raw)
            code = b64decode(line.code, validate=True)
        except (ValueError, UnicodeDecodeError, RecursionError):
            # `from None`: nothing of it is quoted.
            raise self._changed(number) from None
        if line.v not in VERSIONS:
            raise LedgerError(
                f"line {number} of {self.path} has form {line.v}; "
                f"this program knows {VERSIONS[-1]}"
            )
        return line, code

    def _changed(self, number: int) -> IntegrityError:
        return IntegrityError(
            f"line {number} of the erasure list {self.path} was changed, or a line "
            "before it is missing"
        )

    def written(self, erasure: Erasure, before: bytes) -> bytes:
        """Return the line that follows the one with the code `before`.

        Raises:
            LedgerError: it is over a line's limit.
        """
        until = (erasure.backups_until, erasure.archives_until)
        line = Line(
            VERSIONS[any(until)],
            erasure.grant_id,
            erasure.receipt,
            erasure.at,
            erasure.reason,
            until[0] or msgspec.UNSET,
            until[1] or msgspec.UNSET,
        )
        code = self._ring.mac(_parts(line, before))
        full = msgspec.structs.replace(line, code=b64encode(code).decode())
        raw = _ENCODER.encode(full) + b"\n"
        if len(raw) > MAX_LINE_BYTES:
            raise LedgerError(
                f"a line of the erasure list has {len(raw)} bytes; the limit is "
                f"{MAX_LINE_BYTES}"
            )
        return raw


def _whole(data: bytes) -> bytes:
    """Return the lines that are whole."""
    return data[: data.rfind(b"\n") + 1]


def _parts(line: Line, before: bytes) -> list[bytes]:
    return [_PURPOSE, before, _ENCODER.encode(msgspec.structs.replace(line, code=""))]
