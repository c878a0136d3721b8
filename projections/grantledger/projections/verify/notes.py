"""Signed checkpoints, and the keys that they are checked with.

C2SP signed-note v1.0.0, tlog-checkpoint v1.0.0, tlog-cosignature v1.0.1: Ed25519
signatures of the log (algorithm 0x01) and cosignatures of witnesses (0x04).
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from grantledger.projections.verify.findings import Refuted, Unreadable, shown
from grantledger.projections.verify.merkle import HASH_BYTES

ED25519 = 1
COSIGNATURE = 4
PUBLIC_BYTES = 32
KEY_ID_BYTES = 4
SIGNATURE_BYTES = 64
TIME_BYTES = 8
MAX_NOTE_BYTES = 65_536
MAX_SIGNATURES = 64

_DASH = "\N{EM DASH} "
_SIZE = re.compile(r"(0|[1-9][0-9]{0,18})")
_NAME = re.compile(r"[^\s+]{1,256}")
_KEY_ID = re.compile(r"[0-9a-f]{8}")


@dataclass(frozen=True, slots=True)
class Key:
    """A verifier key: of a log, or of a witness.

    Attributes:
        algorithm: ED25519 or COSIGNATURE.
        public: 32 bytes.
    """

    name: str
    algorithm: int
    public: bytes

    @property
    def key_id(self) -> bytes:
        """The 4 bytes that tell it among those of its name."""
        tail = bytes((self.algorithm,)) + self.public
        return sha256(self.name.encode() + b"\n" + tail).digest()[:KEY_ID_BYTES]

    def holds(self, text: bytes, signature: bytes) -> bool:
        """Tell whether this key made the signature over a note's text."""
        if self.algorithm == COSIGNATURE:
            if len(signature) != TIME_BYTES + SIGNATURE_BYTES:
                return False
            time = int.from_bytes(signature[:TIME_BYTES])
            if time >> 63:
                return False  # signed times end at 2**63 - 1
            text = b"cosignature/v1\ntime %d\n" % time + text
            signature = signature[TIME_BYTES:]
        try:
            Ed25519PublicKey.from_public_bytes(self.public).verify(signature, text)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class Signature:
    """A signature line: name, 4 bytes of the key's id, and what comes after."""

    name: str
    key_id: bytes
    raw: bytes


@dataclass(frozen=True, slots=True)
class Note:
    """A checkpoint as it was read; `text` is what its signatures cover."""

    origin: str
    size: int
    root: bytes
    text: bytes
    signatures: tuple[Signature, ...]


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom the reader believes.

    Attributes:
        keys: of logs and of witnesses.
        quorum: how many witnesses have to have cosigned.
    """

    keys: tuple[Key, ...]
    quorum: int = 0


NOBODY = Trust(())
"""Believes no key."""


@dataclass(frozen=True, slots=True)
class Signers:
    """Whose signatures hold: keys of the log by id, witnesses by (name, time)."""

    keys: tuple[str, ...]
    witnesses: tuple[tuple[str, int], ...]


def read_key(text: str) -> Key:
    """Return the key that a text `name+id+base64` says.

    Raises:
        Unreadable: it is none, or its id is not its own.
    """
    name, _, rest = text.strip().partition("+")
    said, _, tail = rest.partition("+")
    raw = _base64(tail)
    if (
        raw is None
        or len(raw) != 1 + PUBLIC_BYTES
        or raw[0] not in {ED25519, COSIGNATURE}
        or not _NAME.fullmatch(name)
        or not _KEY_ID.fullmatch(said)
    ):
        raise Unreadable(f"{shown(text)} is no verifier key: name+id+base64")
    key = Key(name, raw[0], raw[1:])
    if key.key_id.hex() != said:
        raise Unreadable(f"the id of verifier key {shown(text)} is not its own")
    return key


def read_keys(lines: Iterable[str]) -> tuple[Key, ...]:
    """Return the keys of a file, one a line; empty lines and `#` lines are skipped."""
    kept = (line.strip() for line in lines)
    return tuple(read_key(line) for line in kept if line and line[0] != "#")


def read_note(data: bytes, where: str) -> Note:
    """Return the checkpoint of a note; no signature is checked.

    Raises:
        Refuted: it is none.
    """
    if len(data) > MAX_NOTE_BYTES:
        raise Refuted(where, f"has {len(data)} bytes; the limit is {MAX_NOTE_BYTES}")
    try:
        whole = data.decode()
    except UnicodeDecodeError:
        raise Refuted(where, "a checkpoint is UTF-8") from None
    text, gap, tail = whole.rpartition("\n\n")
    if not gap or not tail.endswith("\n"):
        raise Refuted(where, "a checkpoint has a blank line before its signatures")
    if any(c < " " and c != "\n" for c in whole):
        raise Refuted(where, "a checkpoint has no control characters")
    lines = text.split("\n")
    signed = tail[:-1].split("\n")
    if len(signed) > MAX_SIGNATURES:
        raise Refuted(where, f"more than {MAX_SIGNATURES} signatures")
    signatures = tuple(_signature(line, where) for line in signed)
    head = 3
    root = _base64(lines[2]) if len(lines) >= head else None
    if (
        root is None
        or len(root) != HASH_BYTES
        or not lines[0]
        or not _SIZE.fullmatch(lines[1])
        or not all(lines[head:])
    ):
        raise Refuted(where, "line 1 to 3 are an origin, a size and a root in base64")
    return Note(lines[0], int(lines[1]), root, f"{text}\n".encode(), signatures)


def check_signatures(note: Note, trust: Trust, where: str) -> Signers:
    """See that the log signed the note, and enough witnesses.

    A signature line of an unknown key is passed over (signed-note, "Verifying"); one
    of a known key has to hold.

    Raises:
        Refuted: says which signature is missing or wrong.
    """
    keys: dict[str, None] = {}
    witnesses: dict[str, int] = {}
    # One that signs with two keys while one takes over is one.
    names: set[str] = set()
    for signature in note.signatures:
        for key in trust.keys:
            if (key.name, key.key_id) != (signature.name, signature.key_id):
                continue
            said = f"{key.name}+{key.key_id.hex()}"
            if not key.holds(note.text, signature.raw):
                raise Refuted(where, f"the signature of {said} is wrong")
            if key.algorithm == COSIGNATURE:
                if key.name == note.origin:
                    continue  # nobody is the witness of what is its own
                time = int.from_bytes(signature.raw[:TIME_BYTES])
                witnesses[said] = max(time, witnesses.get(said, 0))
                names.add(key.name)
            elif key.name == note.origin:
                keys[said] = None
    if not keys:
        raise Refuted(
            where, f"no known key of the log {shown(note.origin)} has signed it"
        )
    if len(names) < trust.quorum:
        raise Refuted(
            where,
            f"{len(names)} known witnesses have signed it, not {trust.quorum}",
        )
    return Signers(tuple(keys), tuple(witnesses.items()))


def read_hashes(lines: Sequence[str], where: str) -> list[bytes]:
    """Return the hashes of lines in base64.

    Raises:
        Refuted: names the line that is none.
    """
    found: list[bytes] = []
    for number, line in enumerate(lines, 1):
        raw = _base64(line)
        if raw is None or len(raw) != HASH_BYTES:
            raise Refuted(where, f"hash {number} is not 32 bytes in base64")
        found.append(raw)
    return found


def _signature(line: str, where: str) -> Signature:
    name, _, blob = line.removeprefix(_DASH).partition(" ")
    raw = _base64(blob)
    if (
        not line.startswith(_DASH)
        or not _NAME.fullmatch(name)
        or raw is None
        or len(raw) <= KEY_ID_BYTES
    ):
        raise Refuted(where, "a signature line is an em dash, a name and base64")
    return Signature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def _base64(text: str) -> bytes | None:
    """Return what canonical base64 stands for, None for anything else."""
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return raw if base64.b64encode(raw).decode() == text else None
