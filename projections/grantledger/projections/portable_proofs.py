"""A proof of one leaf as a file: index, inclusion proof and checkpoint in one text.

C2SP tlog-proof v1::

    c2sp.org/tlog-proof@v1
    index <N>
    <hash, base64>
    ...

    <checkpoint>

An `extra` line, which others may write, is read and given to nobody: nothing vouches
for it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from grantledger.projections.checkpoints import (
    MAX_NOTE_BYTES,
    SignedCheckpoint,
    read_hash,
    read_note,
    written_hash,
)
from grantledger.projections.proofs import inclusion_root

FIRST_LINE = "c2sp.org/tlog-proof@v1"
SUFFIX = ".tlog-proof"
# A tree has at most 2**63 leaves.
MAX_HASHES = 63
MAX_PROOF_BYTES = 2 * MAX_NOTE_BYTES

_INDEX = re.compile(r"index (0|[1-9][0-9]{0,18})")


@dataclass(frozen=True, slots=True)
class PortableProof:
    """What a proof file says; nothing of it is checked yet.

    Attributes:
        index: of the leaf.
        hashes: from the leaf's sibling to the root's child.
        note: the signed checkpoint, as it stands in the file.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: str

    def text(self) -> str:
        """Return the file's text."""
        lines = [FIRST_LINE, f"index {self.index}", *map(written_hash, self.hashes)]
        return "".join(f"{line}\n" for line in lines) + f"\n{self.note}"

    def signed(self) -> SignedCheckpoint:
        """Return the checkpoint; whether it is rightly signed is for others to check.

        Raises:
            ValueError: it is no signed checkpoint.
        """
        return read_note(self.note.encode())

    def check(self, leaf: bytes) -> SignedCheckpoint:
        """Return the checkpoint, whose root covers the leaf hash at the index.

        Raises:
            ValueError: it does not; says why.
        """
        signed = self.signed()
        checkpoint = signed.checkpoint
        if inclusion_root(self.index, checkpoint.size, leaf, self.hashes) != (
            checkpoint.root
        ):
            raise ValueError(
                f"the proof of leaf {self.index} does not lead to the checkpoint's root"
            )
        return signed


def read_proof(data: bytes) -> PortableProof:
    """Return what a proof file says, nothing of it checked but its form.

    Raises:
        ValueError: it is no such file; says which line.
    """
    if len(data) > MAX_PROOF_BYTES:
        raise ValueError(f"a proof has {len(data)} bytes; limit {MAX_PROOF_BYTES}")
    try:
        head, gap, note = data.decode().partition("\n\n")
    except UnicodeDecodeError:
        raise ValueError("a proof is UTF-8") from None
    lines = head.split("\n")
    if not gap or lines.pop(0) != FIRST_LINE:
        raise ValueError(f"a proof begins with {FIRST_LINE} and ends with a checkpoint")
    if lines and lines[0].startswith("extra "):
        del lines[0]
    return _proof(lines, note)


def _proof(lines: Sequence[str], note: str) -> PortableProof:
    found = _INDEX.fullmatch(lines[0]) if lines else None
    if found is None:
        raise ValueError("a proof says `index`, and a number without zeros in front")
    if len(lines) > 1 + MAX_HASHES:
        raise ValueError(f"a proof has {len(lines) - 1} hashes; limit {MAX_HASHES}")
    hashes = tuple(
        read_hash(line, f"hash {number} of the proof")
        for number, line in enumerate(lines[1:], 1)
    )
    return PortableProof(int(found[1]), hashes, note)
