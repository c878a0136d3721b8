"""Checkpoints of the log, and the signed notes that carry them.

Formats, to the byte: C2SP signed-note v1.0.0 (Ed25519, algorithm 0x01) and
tlog-checkpoint v1.0.0::

    <origin>
    <size, decimal>
    <root, base64>

    <em dash> <name> <base64(key id || signature)>

The signature covers the text with its last newline, without the blank line. A key's id
is `SHA-256(name || 0x0A || 0x01 || public key)[:4]`. Making and checking signatures is
left to the `Signer` port and to whoever holds a public key.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256

from grantledger.domain.ports import Signer
from grantledger.projections.transparency import HASH_BYTES

ED25519 = b"\x01"
PUBLIC_BYTES = 32
KEY_ID_BYTES = 4
MAX_NOTE_BYTES = 65_536
MAX_NAME_LENGTH = 256

_DASH = "\N{EM DASH} "
_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")
# Signed-note section "Format": a name is not empty, without spaces and plus signs.
_NAME = re.compile(r"[^\s+]+")


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A log's size and root under its origin.

    Attributes:
        extensions: further lines, opaque; none are written here.
    """

    origin: str
    size: int
    root: bytes
    extensions: tuple[str, ...] = ()

    def text(self) -> str:
        """Return the checkpoint's lines, which the signature covers."""
        root = written_hash(self.root)
        lines = (self.origin, str(self.size), root, *self.extensions)
        return "".join(f"{line}\n" for line in lines)


@dataclass(frozen=True, slots=True)
class NoteSignature:
    """One signature line of a note.

    Attributes:
        key_id: 4 bytes that tell the key among those of the name.
        signature: what comes after them; 64 bytes for Ed25519.
    """

    name: str
    key_id: bytes
    signature: bytes


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint and who signed it; whether rightly is for others to check."""

    checkpoint: Checkpoint
    signed: bytes
    signatures: tuple[NoteSignature, ...]


def written_hash(data: bytes) -> str:
    """Return a hash in base64, as every text of the log has it."""
    return base64.b64encode(data).decode()


def read_hash(text: str, what: str) -> bytes:
    """Return the 32 bytes of a hash, which has one spelling.

    Args:
        text: base64 (RFC 4648 section 4).
        what: it is, for the error.

    Raises:
        ValueError: it is none.
    """
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if len(raw) != HASH_BYTES or written_hash(raw) != text:
        raise ValueError(f"{what} is no 32 bytes in base64")
    return raw


def is_name(text: str) -> bool:
    """Tell whether a key, and an origin here, may be called so."""
    return (
        len(text) <= MAX_NAME_LENGTH
        and _NAME.fullmatch(text) is not None
        and text.isprintable()
    )


def key_id(name: str, public: bytes, algorithm: bytes = ED25519) -> bytes:
    """Return the 4 bytes that name a key beside its name.

    Args:
        name: of the key.
        public: its 32 public bytes.
        algorithm: one byte; what the key signs.
    """
    return sha256(name.encode() + b"\n" + algorithm + public).digest()[:KEY_ID_BYTES]


def verifier_key(name: str, public: bytes, algorithm: bytes = ED25519) -> str:
    """Return the text by which others know the key: `name+id+base64`."""
    tail = base64.b64encode(algorithm + public).decode()
    return f"{name}+{key_id(name, public, algorithm).hex()}+{tail}"


def read_verifier_key(text: str, algorithm: bytes = ED25519) -> tuple[str, bytes]:
    """Return (name, 32-byte Ed25519 public key) of a verifier key.

    Raises:
        ValueError: it is none, of another algorithm, or its id is not its own.
    """
    name, _, rest = text.strip().partition("+")
    said, _, tail = rest.partition("+")
    try:
        key = base64.b64decode(tail, validate=True)
    except binascii.Error:
        key = b""
    if len(key) != 1 + PUBLIC_BYTES or key[:1] != algorithm or not is_name(name):
        raise ValueError("no verifier key of an Ed25519 key: name+id+base64")
    public = key[1:]
    if said != key_id(name, public, algorithm).hex():
        raise ValueError("the verifier key's id is not that of its name and key")
    return name, public


def signed_note(checkpoint: Checkpoint, *signers: Signer) -> str:
    """Return the checkpoint as a note, signed under its origin as the keys' name.

    Args:
        checkpoint: what is signed.
        signers: one line each; two while one key takes over from another.
    """
    text, name = checkpoint.text(), checkpoint.origin
    lines = (
        signature_line(name, key_id(name, each.public_key), each.sign(text.encode()))
        for each in signers
    )
    return f"{text}\n{''.join(lines)}"


def signature_line(name: str, id_: bytes, signature: bytes) -> str:
    """Return a signature as a line of a note, with its line end."""
    return f"{_DASH}{name} {base64.b64encode(id_ + signature).decode()}\n"


def read_note(note: bytes) -> SignedCheckpoint:
    """Return the checkpoint of a note with its signatures, none of them checked.

    Raises:
        ValueError: it is no signed note, or no checkpoint; says which line.
    """
    if len(note) > MAX_NOTE_BYTES:
        raise ValueError(f"a note has {len(note)} bytes; the limit is {MAX_NOTE_BYTES}")
    try:
        whole = note.decode()
    except UnicodeDecodeError:
        raise ValueError("a note is UTF-8") from None
    # The last blank line parts them: a text may have others.
    text, gap, lines = whole.rpartition("\n\n")
    if not gap or not lines.endswith("\n"):
        raise ValueError("a note has a text, a blank line, and signature lines")
    if any(ord(c) < ord(" ") and c != "\n" for c in whole):
        raise ValueError("a note has no control characters but line ends")
    signatures = read_signatures(lines)
    return SignedCheckpoint(
        _checkpoint(text.split("\n")), f"{text}\n".encode(), signatures
    )


def read_signatures(lines: str) -> tuple[NoteSignature, ...]:
    """Return the signatures of a note's lines, each with its line end.

    Raises:
        ValueError: a line is no signature, or there is none.
    """
    return tuple(_signature(line) for line in lines.removesuffix("\n").split("\n"))


def _signature(line: str) -> NoteSignature:
    name, _, blob = line.removeprefix(_DASH).partition(" ")
    try:
        raw = base64.b64decode(blob, validate=True)
    except (binascii.Error, ValueError):
        raw = b""
    if not line.startswith(_DASH) or not is_name(name) or len(raw) <= KEY_ID_BYTES:
        raise ValueError("a signature line is an em dash, a name and base64")
    return NoteSignature(name, raw[:KEY_ID_BYTES], raw[KEY_ID_BYTES:])


def _checkpoint(lines: Sequence[str]) -> Checkpoint:
    origin, size, root, *more = [*lines, "", "", ""][: max(3, len(lines))]
    if not origin:
        raise ValueError("line 1 of a checkpoint is its origin")
    if _SIZE.fullmatch(size) is None:
        raise ValueError("line 2 of a checkpoint is its size, decimal without zeros")
    raw = read_hash(root, "line 3 of a checkpoint, its root,")
    if not all(more):
        raise ValueError("an extension line of a checkpoint is not empty")
    return Checkpoint(origin, int(size), raw, tuple(more))
