"""Portable proofs of single leaves (C2SP tlog-proof).

`c2sp.org/tlog-proof@v1`, an optional `extra` line, `index N`, the hashes in base64,
one a line, a blank line, and the checkpoint.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from grantledger.projections.verify.findings import Refuted
from grantledger.projections.verify.merkle import NotProven, root_by_inclusion
from grantledger.projections.verify.notes import (
    MAX_NOTE_BYTES,
    Note,
    read_hashes,
    read_note,
)

FIRST_LINE = "c2sp.org/tlog-proof@v1"
OLD_LINE = "old "
MAX_HASHES = 63
MAX_PROOF_BYTES = 2 * MAX_NOTE_BYTES
_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class Proof:
    """A proof as it was read; nothing of it is checked."""

    index: int
    hashes: tuple[bytes, ...]
    note: Note


def read_proof(data: bytes, where: str) -> Proof:
    """Return what a proof file says.

    Raises:
        Refuted: it is none.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise Refuted(where, f"has {len(data)} bytes; the limit is {MAX_PROOF_BYTES}")
    head, gap, rest = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError:
        raise Refuted(where, "a proof's lines are ASCII") from None
    if not gap or lines.pop(0) != FIRST_LINE:
        raise Refuted(where, f"a proof begins with {FIRST_LINE}")
    if lines and lines[0].startswith("extra "):
        del lines[0]
    index = _INDEX.fullmatch(lines.pop(0)) if lines else None
    if index is None:
        raise Refuted(where, "a proof names its index")
    if len(lines) > MAX_HASHES:
        raise Refuted(where, f"more than {MAX_HASHES} hashes")
    hashes = read_hashes(lines, where)
    return Proof(int(index[1]), tuple(hashes), read_note(rest, where))


def read_growth(data: bytes, where: str) -> tuple[list[bytes], bytes]:
    """Return the hashes of a consistency proof, and the note that follows them.

    The form is that in which witnesses are asked (C2SP tlog-witness): a line `old N`,
    hashes, a blank line, a checkpoint. Hashes alone, one a line, will do.

    Raises:
        Refuted: it is neither.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise Refuted(where, f"has {len(data)} bytes; the limit is {MAX_PROOF_BYTES}")
    head, _, note = data.partition(b"\n\n")
    lines = head.decode("latin-1").split("\n")
    if lines[0].startswith(OLD_LINE):
        del lines[0]
    lines = [line for line in lines if line]
    if len(lines) > MAX_HASHES:
        raise Refuted(where, f"more than {MAX_HASHES} hashes")
    return read_hashes(lines, where), note


def check_proof(proof: Proof, hashed: bytes, where: str) -> None:
    """See that the leaf with this hash is where the proof says.

    Raises:
        Refuted: it is not.
    """
    at = f"{where}, leaf {proof.index}"
    try:
        root = root_by_inclusion(hashed, proof.index, proof.note.size, proof.hashes)
    except NotProven as cause:
        raise Refuted(at, str(cause)) from None
    if root != proof.note.root:
        raise Refuted(
            at,
            "this leaf is not there: the proof leads to another root than the "
            "checkpoint's",
        )
