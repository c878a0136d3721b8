"""The log as it was last seen, in a file outside its database: the guard.

One JSON document, mode 0600, replaced whole, with a code under the key ring's MAC key
over everything in it, so that it cannot be edited quietly. Processes of one machine may
share it: it never goes back within one incarnation of the log. Whether the log still is
what the guard says is decided in `domain.log_identity`.
"""

from __future__ import annotations

import base64
import os
from datetime import datetime
from pathlib import Path

import msgspec

from grantledger.adapters.keys import durable
from grantledger.adapters.keys.framing import first_part
from grantledger.adapters.keys.ring import KeyRing
from grantledger.domain.errors import IntegrityError, LedgerReadOnly
from grantledger.domain.log_identity import KnownLog

VERSION = 1
FILE_MODE = 0o600
MAX_BYTES = 1 << 16
_PURPOSE = b"grantledger/guard/v1"


class Guarded(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What the file says.

    Attributes:
        checkpoint: the same as a signed note; empty without a signing key.
        at: aware UTC, when the log was seen so.
        code: over all the others.
    """

    v: int
    incarnation: str
    origin: str
    size: int
    leaf: str
    root: str
    checkpoint: str
    at: datetime
    code: str = ""

    @property
    def log(self) -> KnownLog:
        """The log as it was seen."""
        return KnownLog(self.incarnation, self.origin, self.size, self.leaf, self.root)

    def parts(self) -> list[bytes]:
        """Return what the code is made over."""
        said = (
            str(self.v),
            self.incarnation,
            self.origin,
            str(self.size),
            self.leaf,
            self.root,
            self.checkpoint,
            self.at.isoformat(),
        )
        return [_PURPOSE, *(text.encode() for text in said)]


def guarded(log: KnownLog, checkpoint: str, at: datetime) -> Guarded:
    """Return what a guard says of a log, without its code."""
    return Guarded(
        VERSION,
        log.incarnation,
        log.origin,
        log.size,
        log.leaf,
        log.root,
        checkpoint,
        at,
    )


_ENCODER = msgspec.json.Encoder()
_DECODER = msgspec.json.Decoder(Guarded)


class GuardFile:
    """One replica's guard; safe in threads and between processes."""

    def __init__(self, path: Path, ring: KeyRing) -> None:
        self.path = path
        self.ring = ring

    def read(self) -> Guarded | None:
        """Return what was last seen, None where there is no such file.

        Raises:
            IntegrityError: it is no guard, or somebody has changed it.
            WrongKey: it was made with a key that the ring lacks.
            LedgerReadOnly: it cannot be read.
        """
        try:
            with self.path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except FileNotFoundError:
            return None
        except OSError as cause:
            raise LedgerReadOnly(
                f"the guard {self.path} cannot be read: {cause.strerror}"
            ) from cause
        try:
            guard = _DECODER.decode(data)
            code = base64.b64decode(guard.code, validate=True)
        except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as cause:
            raise IntegrityError(f"{self.path} is no guard of a log") from cause
        if guard.v != VERSION or not self.ring.check_mac(code, guard.parts()):
            raise IntegrityError(
                f"the guard {self.path} was changed, or is of another ledger's keys"
            )
        return guard

    def coding_key(self) -> str | None:
        """Return the id of the key that made the file's code, None without a file.

        Raises:
            IntegrityError: it is no guard, or somebody has changed it.
        """
        guard = self.read()
        if guard is None:
            return None
        split = first_part(base64.b64decode(guard.code))
        return None if split is None else split[0].decode("latin-1")

    def write(self, log: KnownLog, checkpoint: str, at: datetime) -> None:
        """Make the file say this, unless another process knows more of the same log.

        Raises:
            OSError: it cannot be written; what was there is still there.
        """
        data = self.encode(guarded(log, checkpoint, at))
        with durable.locked(self.path.parent):
            try:
                there = self.read()
            except IntegrityError:
                there = None  # what we have seen ourselves is worth more
            if (
                there is None
                or there.incarnation != log.incarnation
                or there.size < log.size
            ):
                self._replace(msgspec.json.format(data, indent=2) + b"\n")

    def encode(self, guard: Guarded) -> bytes:
        """Return the document, with its code."""
        code = base64.b64encode(self.ring.mac(guard.parts())).decode()
        return _ENCODER.encode(msgspec.structs.replace(guard, code=code))

    def _replace(self, data: bytes) -> None:
        half = self.path.with_name(f".{self.path.name}.{os.urandom(8).hex()}.tmp")
        try:
            handle = os.open(
                half, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, FILE_MODE
            )
            with os.fdopen(handle, "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            half.replace(self.path)
        finally:
            half.unlink(missing_ok=True)
        durable.sync(self.path.parent)
