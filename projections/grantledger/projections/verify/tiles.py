"""A log as a directory of tiles (C2SP tlog-tiles), with the tables beside it.

`checkpoint`, `tile/<L>/<N>[.p/<W>]` with 256 hashes each, `tile/entries/<N>[.p/<W>]`
with a length of two bytes before each entry. An entry of length 0 stands for a leaf
whose bytes were pruned. Under `tables/` stands, line by line, what a ledger holds
beside its leaves; each of those files may be missing.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass

from grantledger.projections.verify import fields
from grantledger.projections.verify.findings import Findings, Refuted, TooMany, shown
from grantledger.projections.verify.folder import Folder
from grantledger.projections.verify.joined import Joined
from grantledger.projections.verify.leaves import JOURNAL, OF_EVENT, Leaf, read_leaf
from grantledger.projections.verify.merkle import (
    HASH_BYTES,
    MAX_LEAF_BYTES,
    leaf_hash,
    perfect_root,
)
from grantledger.projections.verify.notes import Note

CHECKPOINT = "checkpoint"
KEYS = "keys.txt"
EVENTS = "tables/stored_events.ndjson"
SEALED = "tables/sealed.ndjson"
GRANTS = "tables/current_grants.ndjson"

HEIGHT = 8
WIDTH = 1 << HEIGHT
LENGTH_BYTES = 2
MAX_BUNDLE_BYTES = WIDTH * (LENGTH_BYTES + MAX_LEAF_BYTES)


@dataclass(frozen=True, slots=True)
class TilesReport:
    """What was checked; `tables` are those that were there."""

    sealed: int
    grants: int
    erased: int
    pruned: int
    tables: tuple[str, ...]
    unknown: tuple[str, ...]


def check_tiles(
    folder: Folder, note: Note, older: Sequence[Note], findings: Findings
) -> TilesReport:
    """Check every tile and entry up to a checkpoint, and the tables.

    Args:
        folder: the export.
        note: its checkpoint, whose signatures were checked.
        older: checkpoints that it has to begin with, likewise.
        findings: what does not hold is added here.

    Raises:
        Refuted: a file is missing or is no tile: what comes after it is not checked.
    """
    check = _Check(folder, note, older, findings)
    with suppress(TooMany):
        check.run()
    found = check.joined
    grants = found.streams.grants()
    return TilesReport(
        found.sealed,
        len(grants),
        sum(found.streams.erased(grant) for grant in grants),
        len(found.pruned),
        tuple(name for name in (EVENTS, SEALED, GRANTS) if folder.has(name)),
        tuple(sorted(found.streams.unknown)),
    )


class _Check:
    def __init__(
        self,
        folder: Folder,
        note: Note,
        older: Sequence[Note],
        findings: Findings,
    ) -> None:
        self._folder = folder
        self._note = note
        self._older = older
        self._findings = findings
        self._roots: list[bytes] = []
        self._events = folder.lines(EVENTS) if folder.has(EVENTS) else None
        self._sealed = _Sealed(folder) if folder.has(SEALED) else None
        wanted = {one.size for one in older} | {note.size}
        self.joined = Joined(wanted, findings)
        # Without the table, nobody knows the place of a leaf without bytes.
        self.joined.streams.gaps = self._events is None

    def run(self) -> None:
        size = self._note.size
        for start in range(0, size, WIDTH):
            self._bundle(start // WIDTH, min(WIDTH, size - start))
        if self._events is not None and next(self._events, None) is not None:
            self._findings.add(EVENTS, f"has more than {size} lines")
        if self._sealed is not None:
            self._sealed.end(self._findings)
        self._upper()
        found = self.joined
        if found.tree.root() != self._note.root:
            self._findings.add(
                CHECKPOINT,
                f"covers {size} leaves with root {self._note.root.hex()}; "
                f"those here have {found.tree.root().hex()}",
            )
        found.finish()
        if self._folder.has(GRANTS):
            found.check_grants(self._grants())
        found.check_older(size, self._older)

    def _bundle(self, number: int, width: int) -> None:
        name = _path("0", number, width)
        hashes = _hashes(_read(self._folder, name, number, width), width, name)
        start = number * WIDTH
        entries = self._entries(number, width)
        for at, entry in enumerate(entries):
            index = start + at
            if not entry:
                self.joined.pruned.append(index)
            elif leaf_hash(entry) != hashes[at]:
                self._findings.add(
                    f"leaf {index}", f"its entry differs from the hash in {name}"
                )
            self._leaf(index, entry, hashes[at])
        self.joined.grow(hashes)
        if width == WIDTH:
            self._roots.append(perfect_root(hashes))

    def _entries(self, number: int, width: int) -> list[bytes]:
        name = _path("entries", number, width)
        data = _read(self._folder, name, number, width)
        found: list[bytes] = []
        at = 0
        while len(found) < width:
            head = data[at : at + LENGTH_BYTES]
            end = at + LENGTH_BYTES + int.from_bytes(head)
            if len(head) < LENGTH_BYTES or end > len(data):
                raise Refuted(
                    f"leaf {number * WIDTH + len(found)}", f"{name} ends before it does"
                )
            found.append(data[at + LENGTH_BYTES : end])
            at = end
        if at != len(data) and self._folder.has(f"tile/{name}"):
            raise Refuted(f"tile/{name}", f"holds more than {width} entries")
        return found

    def _leaf(self, index: int, entry: bytes, hashed: bytes) -> None:
        where = f"leaf {index}"
        leaf: Leaf | None = None
        try:
            leaf = read_leaf(entry, where) if entry else None
        except Refuted as refuted:
            self._findings.add(refuted.finding.where, refuted.finding.message)
        if self._sealed is not None:
            self.joined.sealed += self._sealed.check(
                index, leaf, self.joined, self._findings
            )
        row = None if self._events is None else self._row(index, hashed)
        if row is None and leaf is not None:
            row = leaf.stream, leaf.version, leaf.topic
        if row is None:
            return
        streams = self.joined.streams
        stream = streams.place(index, *row, self._findings)
        if stream is None or (entry and leaf is None):
            return
        if leaf is None:
            if row[2] != JOURNAL:
                self._findings.add(where, "has no bytes, and is no journal leaf")
            stream.empty(index)
            return
        names = ("stream", "version", "topic")
        for name, found, meant in zip(
            names, row, (leaf.stream, leaf.version, leaf.topic), strict=True
        ):
            if found != meant:
                self._findings.add(
                    where,
                    f"its {name} in {EVENTS} is {shown(found)}, "
                    f"its bytes say {shown(meant)}",
                )
                return
        streams.take(index, stream, leaf.topic, entry, self._findings)

    def _row(self, index: int, hashed: bytes) -> tuple[str, int, str] | None:
        """Return what the table says of a leaf."""
        assert self._events is not None  # noqa: S101 - asked for only where there is one
        where, said = next(self._events, (EVENTS, None))
        if said is None:
            self._findings.add(f"leaf {index}", f"has no line in {EVENTS}")
            self._events = None
            return None
        if said.get("index") != index:
            raise Refuted(where, f"is of leaf {shown(said.get('index'))}, not {index}")
        if said.get("leaf_hash") != base64.b64encode(hashed).decode():
            self._findings.add(f"leaf {index}", f"its leaf_hash in {EVENTS} is another")
        stream, version, topic = (
            said.get(name) for name in ("stream", "version", "topic")
        )
        if not isinstance(version, int) or not isinstance(topic, str):
            raise Refuted(where, "has no version or no topic")
        return fields.hexadecimal(stream), version, topic

    def _upper(self) -> None:
        """Compare the tiles above the leaves' own with what is below them."""
        hashes, level = self._roots, 1
        while hashes:
            above: list[bytes] = []
            for number in range(-(-len(hashes) // WIDTH)):
                nodes = hashes[number * WIDTH : (number + 1) * WIDTH]
                name = _path(str(level), number, len(nodes))
                found = _hashes(
                    _read(self._folder, name, number, len(nodes)), len(nodes), name
                )
                for at, (one, other) in enumerate(zip(nodes, found, strict=True)):
                    if one != other:
                        first = (number * WIDTH + at) << HEIGHT * level
                        last = first + (1 << HEIGHT * level) - 1
                        self._findings.add(
                            f"tile/{name}",
                            f"hash {at} is not that over leaves {first} to {last}",
                        )
                if len(nodes) == WIDTH:
                    above.append(perfect_root(nodes))
            hashes, level = above, level + 1

    def _grants(self) -> Iterator[tuple[object, ...]]:
        for _, said in self._folder.lines(GRANTS):
            yield (
                fields.hexadecimal(said.get("grant_id")),
                *(
                    said.get(name)
                    for name in (
                        "version",
                        "leaf_index",
                        "status",
                        "generation",
                        "provider",
                    )
                ),
            )


class _Sealed:
    """The digests of sealed parts, read beside the leaves in the same order."""

    def __init__(self, folder: Folder) -> None:
        self._lines = folder.lines(SEALED)
        self._next = next(self._lines, None)

    def check(
        self, index: int, leaf: Leaf | None, joined: Joined, findings: Findings
    ) -> int:
        """Compare those of a leaf; return how many there are."""
        refs = {} if leaf is None else {(r.entry, r.field): r for r in leaf.sealed}
        count = 0
        while self._next is not None:
            where, said = self._next
            at = said.get("leaf_index")
            if not isinstance(at, int) or at < index:
                raise Refuted(
                    where, f"is of leaf {shown(at)}: out of order, or no leaf"
                )
            if at > index:
                break
            count += 1
            entry, name = said.get("entry"), said.get("field")
            ref = (
                refs.pop((OF_EVENT if entry is None else entry, name), None)
                if isinstance(name, str) and isinstance(entry, int | None)
                else None
            )
            of = f"leaf {index}, sealed {shown(name)}"
            if ref is None:
                findings.add(of, "the leaf names no such part")
            elif ref.digest != said.get("ct_sha256"):
                findings.add(of, "differs from the digest that the leaf holds")
            self._next = next(self._lines, None)
        for ref in refs.values():
            first, known = joined.missing.get(
                ref.grant, (f"leaf {index}: sealed {shown(ref.field)} is missing", 0)
            )
            joined.missing[ref.grant] = (first, known + 1)
        return count

    def end(self, findings: Findings) -> None:
        """See that nothing is left over."""
        if self._next is not None:
            where, said = self._next
            findings.add(
                f"leaf {shown(said.get('leaf_index'))}",
                f"{where} has a part of it; it is not there",
            )


def _path(level: str, number: int, width: int) -> str:
    """Return a tile's name below `tile/`."""
    parts = [f"{number % 1000:03}"]
    while number := number // 1000:
        parts.append(f"x{number % 1000:03}")
    partial = "" if width == WIDTH else f".p/{width}"
    return f"{level}/{'/'.join(reversed(parts))}{partial}"


def _read(folder: Folder, name: str, number: int, width: int) -> bytes:
    """Return a tile; a full one will do where a partial one would (tlog-tiles)."""
    path = f"tile/{name}"
    if width < WIDTH and not folder.has(path):
        full = f"tile/{_path(name.partition('/')[0], number, WIDTH)}"
        path = full if folder.has(full) else path
    return folder.read(path, MAX_BUNDLE_BYTES)


def _hashes(data: bytes, width: int, name: str) -> list[bytes]:
    if len(data) not in {width * HASH_BYTES, WIDTH * HASH_BYTES}:
        raise Refuted(f"tile/{name}", f"has {len(data)} bytes, not {width} hashes")
    return [
        data[at : at + HASH_BYTES] for at in range(0, width * HASH_BYTES, HASH_BYTES)
    ]
