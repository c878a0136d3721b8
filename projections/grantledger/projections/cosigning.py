"""What witnesses say of a checkpoint, and how they are asked.

Formats, to the byte: C2SP tlog-cosignature v1.0.1 (Ed25519, algorithm 0x04) and
tlog-witness v1.0.0. A cosignature is a line of the note: key id, time as 8 bytes
big-endian in seconds since 1970, signature. What it signs::

    cosignature/v1
    time <T>
    <the note's text>

Who is asked, when, and how many must answer is left to others.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from grantledger.domain.ports import Signer
from grantledger.projections.checkpoints import (
    NoteSignature,
    SignedCheckpoint,
    key_id,
    read_hash,
    read_note,
    read_verifier_key,
    signature_line,
    verifier_key,
    written_hash,
)

COSIGNATURE = b"\x04"
SIGNATURE_BYTES = 64
TIME_BYTES = 8
MAX_PROOF_LINES = 63
SIZE_TYPE = "text/x.tlog.size"

_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")

IsSigned = Callable[[bytes, bytes, bytes], bool]
"""Tells of (public key, message, signature) whether it is rightly signed."""


@dataclass(frozen=True, slots=True)
class Cosigner:
    """A witness as others know it.

    Attributes:
        public: 32 bytes, Ed25519.
    """

    name: str
    public: bytes

    @classmethod
    def read(cls, text: str) -> Cosigner:
        """Return the witness of a verifier key of type 0x04.

        Raises:
            ValueError: it is none.
        """
        return cls(*read_verifier_key(text, COSIGNATURE))

    @property
    def key(self) -> str:
        """The text by which others know it."""
        return verifier_key(self.name, self.public, COSIGNATURE)

    @property
    def id(self) -> bytes:
        """The 4 bytes that name its key beside its name."""
        return key_id(self.name, self.public, COSIGNATURE)


@dataclass(frozen=True, slots=True)
class Cosignature:
    """A witness's line, rightly signed.

    Attributes:
        time: that the witness says, in seconds since 1970.
        line: of the note, with its line end.
    """

    cosigner: Cosigner
    time: int
    line: str


def cosigned(name: str, text: bytes, time: int, signer: Signer) -> str:
    """Return a witness's line under a checkpoint.

    Args:
        name: of the witness's key.
        text: of the note, with its last newline.
        time: seconds since 1970.
        signer: holds the key.
    """
    signature = signer.sign(_message(text, time))
    id_ = key_id(name, signer.public_key, COSIGNATURE)
    return signature_line(name, id_, time.to_bytes(TIME_BYTES, "big") + signature)


def cosignatures(
    text: bytes,
    signatures: Iterable[NoteSignature],
    cosigners: Iterable[Cosigner],
    is_signed: IsSigned,
) -> list[Cosignature]:
    """Return the lines that known witnesses rightly signed; others are passed over.

    Args:
        text: of the note.
        signatures: its lines, or a witness's answer.
        cosigners: who is known.
        is_signed: checks one Ed25519 signature.
    """
    known = {(each.name, each.id): each for each in cosigners}
    found: dict[Cosigner, Cosignature] = {}
    for line in signatures:
        cosigner = known.get((line.name, line.key_id))
        if cosigner is None or len(line.signature) != TIME_BYTES + SIGNATURE_BYTES:
            continue
        time = int.from_bytes(line.signature[:TIME_BYTES], "big")
        signature = line.signature[TIME_BYTES:]
        # Signed times end at 2**63 - 1.
        if time >> 63 or not is_signed(
            cosigner.public, _message(text, time), signature
        ):
            continue
        kept = signature_line(line.name, line.key_id, line.signature)
        found.setdefault(cosigner, Cosignature(cosigner, time, kept))
    return list(found.values())


def _message(text: bytes, time: int) -> bytes:
    return f"cosignature/v1\ntime {time}\n".encode() + text


# -- POST add-checkpoint


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """What a witness is asked.

    Attributes:
        old: the size that it has cosigned before, 0 for none.
        proof: that the checkpoint's tree begins with the old one.
        note: the signed checkpoint as it was sent.
    """

    old: int
    proof: tuple[bytes, ...]
    note: str

    def body(self) -> bytes:
        """Return the request's body."""
        lines = [f"old {self.old}", *map(written_hash, self.proof), ""]
        return ("".join(f"{line}\n" for line in lines) + self.note).encode()

    def signed(self) -> SignedCheckpoint:
        """Return the checkpoint, its signatures not checked.

        Raises:
            ValueError: it is no signed checkpoint.
        """
        return read_note(self.note.encode())


def read_request(body: bytes) -> AddCheckpoint:
    """Return what a witness is asked, nothing of it checked but its form.

    Raises:
        ValueError: it is no such body; says which line.
    """
    try:
        head, gap, note = body.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise ValueError("the body is UTF-8") from None
    lines: Sequence[str] = head.split("\n")
    found = _OLD.fullmatch(lines[0])
    if found is None or not gap:
        raise ValueError("the body begins with `old`, and a blank line ends its proof")
    if len(lines) > 1 + MAX_PROOF_LINES:
        raise ValueError(f"a proof has at most {MAX_PROOF_LINES} lines")
    proof = tuple(
        read_hash(line, f"line {number}") for number, line in enumerate(lines[1:], 2)
    )
    return AddCheckpoint(int(found[1]), proof, note)
