"""One pass over a part of a SQLite ledger's leaves and of what is sealed beside them.

Written for speed: a leaf is hashed once, compared with its columns byte by byte, and
parsed only where that does not settle it. Nothing here decides alone: a part's
result is joined with the others' (see `ledger`).
"""

from __future__ import annotations

import gc
import sqlite3
from array import array
from binascii import b2a_base64
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any
from uuid import UUID

from grantledger.projections.verify.findings import Findings, Refuted, TooMany, shown
from grantledger.projections.verify.leaves import JOURNAL, OF_EVENT, read_leaf
from grantledger.projections.verify.merkle import (
    BLOCK_LEAVES,
    HASH_BYTES,
    leaf_hashes,
    perfect_root,
)
from grantledger.projections.verify.streams import Stream, Streams

# As the columns are declared; SQLite keeps what anybody writes into them.
Row = tuple[int, Any, Any, Any, Any, Any]
Part = tuple[int, Any, Any, Any, Any, Any]

Missing = dict[str, tuple[str, int]]
"""By grant: where the first part of it that is missing should be, and how many."""

_ROWS = (
    "SELECT rowid, originator_id, originator_version, topic, state, leaf_hash"
    " FROM stored_events WHERE rowid > ? AND rowid <= ? ORDER BY rowid"
)
_NEXT = "SELECT min(rowid) FROM stored_events WHERE rowid > ? AND rowid <= ?"
_PARTS = (
    "SELECT leaf_index, entry, field, grant_id, dek_id, ct FROM sealed"
    " WHERE leaf_index >= ? AND leaf_index < ? ORDER BY leaf_index, entry, field"
)
_BEGINNING = b'{"v":1,"event_id":"'
_STREAM_AT = len(_BEGINNING) + 36
_DIGESTS = b'"ct_'
"""Stands before each digest. The rest of its name is left out: a search for bytes looks
for the last of them first, and a quote is everywhere in a leaf."""
_MAX_KNOWN = 65_536


@dataclass(slots=True)
class Scan:
    """What a part of the log is.

    Attributes:
        start, end: indices of its leaves, the last excluded.
        blocks: roots of whole blocks, and of any other block its leaf hashes.
        pruned: leaves without bytes.
        missing: sealed parts that are not there, or without their key.
        sealed: how many parts were compared.
        whole: no leaf is missing.
    """

    start: int
    end: int
    blocks: list[bytes | list[bytes]] = field(
        default_factory=list["bytes | list[bytes]"]
    )
    streams: Streams = field(default_factory=Streams)
    findings: Findings = field(default_factory=Findings)
    pruned: array[int] = field(default_factory=lambda: array("Q"))
    missing: Missing = field(default_factory=dict[str, tuple[str, int]])
    sealed: int = 0
    whole: bool = True


class Scanner:
    """Reads one part within the caller's transaction.

    Args:
        connection: to the ledger.
        wanted: sizes at which the root is asked for: leaf hashes stay apart there.
        keys: (data key's id, grant) that there are; None where that is not compared.
        sealed: whether what is sealed is compared.
    """

    def __init__(
        self,
        connection: sqlite3.Connection,
        wanted: Collection[int],
        keys: Collection[tuple[str, str]],
        *,
        sealed: bool = True,
    ) -> None:
        self._connection = connection
        self._wanted = wanted
        self._keys = keys
        self._sealed = sealed
        self._needles: dict[tuple[Any, Any], dict[tuple[Any, Any], bytes]] = {}
        self._made = 0
        self._topics: dict[str, bytes] = {}

    def scan(self, start: int, end: int) -> Scan:
        """Return what the leaves from `start` on are, `end` excluded."""
        found = Scan(start, end)
        collecting = gc.isenabled()
        # Rows are many and hold no cycles: looking for some costs a tenth.
        gc.disable()
        try:
            low = start
            while low < end:
                if self._block(found, low, min(low + BLOCK_LEAVES, end)):
                    low += BLOCK_LEAVES
                else:
                    low = self._next(found, low, end)
        except TooMany:
            found.whole = False
        finally:
            if collecting:
                gc.enable()
        return found

    def _next(self, found: Scan, low: int, end: int) -> int:
        """Return where the next block with leaves begins, where one has none."""
        (number,) = self._connection.execute(_NEXT, (low, end)).fetchone()
        after = end if number is None else number - 1
        found.whole = False
        found.findings.add(_leaves(low, after), "missing")
        return after if number is None else after // BLOCK_LEAVES * BLOCK_LEAVES

    def _block(self, found: Scan, low: int, high: int) -> bool:
        """Check a block; tell whether it has any leaf."""
        rows: list[Row] = self._connection.execute(_ROWS, (low, high)).fetchall()
        if not rows:
            return False
        # As columns: a row is taken apart once.
        numbers, ids, versions, topics, states, told = zip(*rows, strict=True)
        indices: Sequence[int] = range(low, high)
        if numbers != tuple(range(low + 1, high + 1)):
            indices = [number - 1 for number in numbers]
            self._gaps(found, indices, low, high)
        try:
            hashes = leaf_hashes(states)
        except TypeError:
            states = _as_bytes(found, indices, states)
            hashes = leaf_hashes(states)
        if tuple(hashes) != told:
            self._differing(found, zip(indices, states, told, strict=True), hashes)
        if high - low == BLOCK_LEAVES == len(hashes) and not any(
            low < size < high for size in self._wanted
        ):
            found.blocks.append(perfect_root(hashes))
        else:
            found.blocks.append(hashes)
        self._columns(found, zip(indices, ids, versions, topics, states, strict=True))
        if self._sealed:
            self._parts(found, dict(zip(indices, states, strict=True)), low, high)
        return True

    @staticmethod
    def _gaps(found: Scan, indices: Sequence[int], low: int, high: int) -> None:
        found.whole = False
        there = set(indices)
        first: int | None = None
        for index in range(low, high + 1):
            if index < high and index not in there:
                first = index if first is None else first
            elif first is not None:
                found.findings.add(_leaves(first, index), "missing")
                first = None

    @staticmethod
    def _differing(
        found: Scan, rows: Iterable[tuple[int, bytes, Any]], hashes: list[bytes]
    ) -> None:
        """Say which leaves differ from their hash; of one without bytes, take it."""
        for number, (index, state, said) in enumerate(rows):
            where = f"leaf {index}"
            if not isinstance(said, bytes) or len(said) != HASH_BYTES:
                found.findings.add(where, "its leaf_hash is no hash")
            elif state == b"":
                hashes[number] = said
            elif hashes[number] != said:
                found.findings.add(
                    where,
                    f"differs from its hash: its bytes give {hashes[number].hex()}, "
                    f"leaf_hash is {said.hex()}",
                )

    def _columns(
        self, found: Scan, rows: Iterable[tuple[int, Any, Any, Any, bytes]]
    ) -> None:
        streams, topics = found.streams, self._topics
        known, place, take = streams.by_id, streams.place, streams.take
        findings = found.findings
        for index, stream_id, version, topic, state in rows:
            stream = known.get(stream_id)
            if stream is None or version != stream.last + 1:
                stream = place(index, stream_id, version, topic, findings)
                if stream is None:
                    continue
            else:
                stream.last, stream.leaf = version, index
            tail = topics.get(topic)
            if tail is None:
                tail = topics[topic] = f',"type":"{topic}","recorded_at":"'.encode()
            if not state:
                self._empty(found, index, topic, stream)
                continue
            try:
                settled = state.startswith(
                    b"%b%d%b" % (stream.head, version, tail), _STREAM_AT
                ) and state.startswith(_BEGINNING)
            except TypeError:
                findings.add(f"leaf {index}", "a column has another kind of value")
                continue
            if not settled and not _agrees(
                index, (stream_id, version, topic), state, findings
            ):
                continue
            if topic != JOURNAL:
                take(index, stream, topic, state, findings)

    @staticmethod
    def _empty(found: Scan, index: int, topic: str, stream: Stream) -> None:
        if topic != JOURNAL:
            found.findings.add(f"leaf {index}", "has no bytes, and is no journal leaf")
            return
        found.pruned.append(index)
        stream.empty(index)

    def _parts(
        self, found: Scan, states: dict[int, bytes], low: int, high: int
    ) -> None:
        parts: list[Part] = self._connection.execute(_PARTS, (low, high)).fetchall()
        wrong: set[int] = set()
        counts: Counter[int] = Counter()
        if parts:
            indices, entries, names, grants, deks, texts = zip(*parts, strict=True)
            counts = Counter(indices)
            if len(set(zip(indices, entries, names, strict=True))) != len(parts):
                # The file's own schema may have lost its key: a part twice hides
                # another.
                wrong.update(index for index, count in counts.items() if count > 1)
            rows = zip(
                indices, entries, names, grants, deks, _digests(texts), strict=True
            )
            self._compare(found, states, rows, wrong)
        found.sealed += len(parts)
        for index, state in states.items():
            if state.count(_DIGESTS) != counts[index]:
                wrong.add(index)
        if wrong:
            self._wrong_parts(found, states, parts, wrong)

    def _compare(
        self,
        found: Scan,
        states: dict[int, bytes],
        rows: Iterable[tuple[int, Any, Any, Any, Any, bytes]],
        wrong: set[int],
    ) -> None:
        """Look for each part's digest in its leaf, and for what has to stand before."""
        owner: object = None
        at: object = None
        state: bytes | None = None
        needles: dict[tuple[Any, Any], bytes] = {}
        keyed = False
        for index, entry, name, grant, dek, digest in rows:
            # Those of a leaf come one after the other, and mostly have one key.
            if index != at:
                at, state = index, states.get(index)
            if (dek, grant) != owner:
                owner = dek, grant
                keyed = owner in self._keys
                needles = self._known(owner)
            needle = needles.get((entry, name))
            if needle is None:
                needle = needles[entry, name] = _needle(entry, dek, name, grant)
                self._made += 1
            # A digest stands once in a leaf, so that it is found before what names it.
            if (
                not state
                or not digest
                or not state.startswith(needle, state.find(digest) - len(needle))
            ):
                wrong.add(index)
            elif not keyed:
                self._no_key(found, index, grant)

    def _known(self, owner: tuple[Any, Any]) -> dict[tuple[Any, Any], bytes]:
        """Return what comes before a digest, by entry and field, for one data key."""
        if self._made >= _MAX_KNOWN:
            self._needles.clear()
            self._made = 0
        return self._needles.setdefault(owner, {})

    @staticmethod
    def _no_key(found: Scan, index: int, grant: str) -> None:
        """Take note of a part that is there without its key: if it is not erased."""
        where, count = found.missing.get(
            grant, (f"leaf {index}: its data key is missing", 0)
        )
        found.missing[grant] = (where, count + 1)

    @staticmethod
    def _wrong_parts(
        found: Scan,
        states: dict[int, Any],
        parts: Sequence[Part],
        wrong: set[int],
    ) -> None:
        there: dict[int, list[Part]] = {index: [] for index in wrong}
        for part in parts:
            if part[0] in there:
                there[part[0]].append(part)
        for index in sorted(wrong):
            for where, message in compared(
                index, states.get(index), there[index], found.missing
            ):
                found.findings.add(where, message)


def _needle(entry: Any, dek: Any, name: Any, grant: Any) -> bytes:  # noqa: ANN401 - as the file has them
    """Return the bytes that come before the digest of such a part in a leaf."""
    try:
        owner = UUID(hex=grant)
    except (ValueError, TypeError, AttributeError):
        owner = grant
    return (
        f'"entry":{"null" if entry == OF_EVENT else entry},"grant_id":"{owner}",'
        f'"field":"{name}","dek_id":"{dek}","ct_sha256":"'
    ).encode()


def _as_bytes(
    found: Scan, indices: Iterable[int], states: Iterable[Any]
) -> tuple[bytes, ...]:
    """Return leaves as bytes; says where they are none."""
    made: list[bytes] = []
    for index, state in zip(indices, states, strict=True):
        if isinstance(state, bytes):
            made.append(state)
        else:
            found.findings.add(f"leaf {index}", f"is stored as {shown(state)}")
            made.append(str(state).encode())
    return tuple(made)


def _digests(ciphertexts: Iterable[Any]) -> list[bytes]:
    """Return the digest of each ciphertext in base64; of what is none, nothing."""
    try:
        return [b2a_base64(sha256(ct).digest(), newline=False) for ct in ciphertexts]
    except TypeError:
        # Somebody has put text where bytes belong.
        return [
            _digest(ct).encode() if isinstance(ct, bytes) else b"" for ct in ciphertexts
        ]


def _leaves(start: int, end: int) -> str:
    """Return how leaves from `start` on, `end` excluded, are called."""
    return f"leaf {start}" if end == start + 1 else f"leaves {start} to {end - 1}"


def _agrees(
    index: int, said: tuple[str, int, str], state: bytes, findings: Findings
) -> bool:
    """Tell whether a leaf's bytes say what its columns do."""
    where = f"leaf {index}"
    try:
        leaf = read_leaf(state, where)
    except Refuted as refuted:
        findings.add(refuted.finding.where, refuted.finding.message)
        return False
    told = {
        "originator_id": (said[0], leaf.stream),
        "originator_version": (said[1], leaf.version),
        "topic": (said[2], leaf.topic),
    }
    for column, (found, meant) in told.items():
        if found != meant:
            findings.add(
                where,
                f"its column {column} is {shown(found)}, its bytes say {shown(meant)}",
            )
            return False
    return True


def compared(
    index: int,
    state: bytes | None,
    parts: Sequence[Sequence[Any]],
    missing: Missing,
) -> Iterator[tuple[str, str]]:
    """Yield what is wrong with a leaf's sealed parts.

    Args:
        index: of the leaf.
        state: its bytes; None where there is no such leaf.
        parts: leaf index, entry, field, grant, data key and ciphertext of each.
        missing: takes note of what an erasure may have destroyed.
    """
    where = f"leaf {index}"
    if not state:
        what = "there is no such leaf" if state is None else "its bytes are gone"
        yield where, f"sealed has {len(parts)} parts of it, and {what}"
        return
    try:
        refs = {
            (r.entry, r.field): (r.grant, r.dek, r.digest)
            for r in read_leaf(state, where).sealed
        }
    except Refuted as refuted:
        yield refuted.finding.where, refuted.finding.message
        return
    for _, entry, name, grant, dek, ciphertext in parts:
        said = refs.pop((entry, name), None)
        at = f"{where}, sealed {shown(name)}" + (
            "" if entry == OF_EVENT else f" of entry {shown(entry)}"
        )
        if said is None:
            yield at, "the leaf names no such part"
        elif not isinstance(ciphertext, bytes) or said[2] != _digest(ciphertext):
            yield at, "differs from the digest that the leaf holds"
        elif said[:2] != (grant, dek):
            yield at, "names another grant or data key than the leaf"
    for (entry, name), (grant, _, _) in refs.items():
        of = "" if entry == OF_EVENT else f" of entry {entry}"
        first, count = missing.get(
            grant, (f"{where}: sealed {shown(name)}{of} is missing", 0)
        )
        missing[grant] = (first, count + 1)


def _digest(ciphertext: bytes) -> str:
    return b2a_base64(sha256(ciphertext).digest(), newline=False).decode()
