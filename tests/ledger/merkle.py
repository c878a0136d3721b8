"""A Merkle tree written straight from RFC 6962 section 2.1, to compare with."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from hashlib import sha256
from pathlib import Path

from grantledger.projections.transparency import CompactRange


def naive_leaf(leaf: bytes) -> bytes:
    return sha256(b"\x00" + leaf).digest()


def naive_root(hashes: Sequence[bytes]) -> bytes:
    """Return MTH over leaf hashes: split at the largest power of two below n."""
    if not hashes:
        return sha256(b"").digest()
    if len(hashes) == 1:
        return hashes[0]
    split = 1
    while split * 2 < len(hashes):
        split *= 2
    left, right = naive_root(hashes[:split]), naive_root(hashes[split:])
    return sha256(b"\x01" + left + right).digest()


def recomputed(path: Path) -> tuple[CompactRange, list[bytes]]:
    """Return the stored head, and the leaf hashes computed from the stored bytes.

    Leaf indices are contiguous from 0, and each stored leaf hash is right.
    """
    with closing(sqlite3.connect(path)) as connection:
        size, frontier = connection.execute(
            "SELECT next_index, frontier FROM log_head"
        ).fetchone()
        rows = connection.execute(
            "SELECT rowid, state, leaf_hash FROM stored_events ORDER BY rowid"
        ).fetchall()
    assert [row[0] for row in rows] == list(range(1, size + 1))
    hashes = [naive_leaf(row[1]) for row in rows]
    assert [row[2] for row in rows] == hashes
    return CompactRange.from_bytes(size, frontier), hashes
