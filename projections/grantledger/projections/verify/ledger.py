"""A whole SQLite ledger file against itself, and against checkpoints kept elsewhere.

Read only, in one read transaction, so that a ledger that is being written may be
checked. A large one is read by two processes; both have to see the same head.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from grantledger.projections.verify.findings import (
    Findings,
    TooMany,
    Unreadable,
    shown,
)
from grantledger.projections.verify.merkle import (
    BLOCK_LEAVES,
    BLOCK_LEVEL,
    Tree,
)
from grantledger.projections.verify.notes import Note
from grantledger.projections.verify.scan import Scan, Scanner
from grantledger.projections.verify.streams import Stream, Streams

LOCK_SECONDS = 10.0
SHARED_LEAVES = 64 * BLOCK_LEAVES
"""From so many leaves on, two processes share the work."""

_TABLES = ("log_head", "stored_events", "sealed", "data_keys", "current_grants")
_MAX_LEAVES = 1 << 40

Head = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a scan.

    Attributes:
        wanted: sizes at which the root is asked for.
        sealed: whether what is sealed is compared.
    """

    wanted: frozenset[int]
    sealed: bool


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What was checked of a ledger; the findings stand apart.

    Attributes:
        root: over all leaves, None where leaves are missing.
        unknown: topics that are not known here.
        shared: whether two processes did it.
    """

    leaves: int
    root: bytes | None
    sealed: int
    grants: int
    erased: int
    pruned: int
    unknown: tuple[str, ...]
    shared: bool


def check_ledger(
    path: Path,
    older: Sequence[Note],
    findings: Findings,
    *,
    sealed: bool = True,
    shared_from: int | None = SHARED_LEAVES,
) -> LedgerReport:
    """Check a ledger file.

    Args:
        path: of the file.
        older: checkpoints that it has to begin with; their signatures were checked.
        findings: what does not hold is added here.
        sealed: compare the sealed parts with their leaves.
        shared_from: leaves from which on two processes share it; None for never.

    Raises:
        Unreadable: it is no ledger, or cannot be opened.
    """
    asked = Question(frozenset(note.size for note in older), sealed)
    # Nobody has a ledger open that has no write-ahead log: it is read as it stands, and
    # nothing is left beside it. Whether that stayed so is seen afterwards.
    still = _unchanged(path)
    at_rest = still is not None
    while True:
        found = Findings()
        try:
            with _opened(path, at_rest=at_rest) as connection:
                report = _checked(
                    path, connection, older, found, asked, shared_from, at_rest=at_rest
                )
        except sqlite3.Error as cause:
            raise Unreadable(f"cannot read {path}: {cause}") from cause
        if not at_rest or _unchanged(path) == still:
            findings.extend(found)
            return report
        at_rest = False


def _unchanged(path: Path) -> tuple[int, ...] | None:
    """Return what changes with the file; None while others may write to it."""
    try:
        there = path.stat()
    except OSError:
        return None
    if path.with_name(f"{path.name}-wal").exists():
        return None
    return there.st_ino, there.st_size, there.st_mtime_ns


@contextmanager
def _opened(path: Path, *, at_rest: bool) -> Generator[sqlite3.Connection]:
    """Yield a connection that reads only, in one transaction."""
    if not path.is_file():
        raise Unreadable(f"there is no file {path}")
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if at_rest else 'mode=ro'}"
    with closing(
        sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
    ) as connection:
        # What the file's own schema might run is not trusted.
        connection.execute("PRAGMA trusted_schema=OFF")
        connection.execute("PRAGMA query_only=ON")
        connection.execute("BEGIN")
        kinds = dict(
            connection.execute(
                "SELECT name, type FROM sqlite_schema WHERE type IN ('table', 'view')"
            )
        )
        lacking = [name for name in _TABLES if kinds.get(name) != "table"]
        if lacking:
            raise Unreadable(f"{path} is no ledger: it has no table {lacking[0]}")
        yield connection


def _checked(
    path: Path,
    connection: sqlite3.Connection,
    older: Sequence[Note],
    findings: Findings,
    asked: Question,
    shared_from: int | None,
    *,
    at_rest: bool,
) -> LedgerReport:
    head = _head(connection)
    newest = _one(connection, "SELECT max(rowid) FROM stored_events") or 0
    lowest = _one(connection, "SELECT min(rowid) FROM stored_events")
    if not isinstance(newest, int) or newest > _MAX_LEAVES:
        raise Unreadable(f"{path} has a leaf {shown(newest)}")
    if lowest is not None and lowest < 1:
        findings.add(f"leaf {lowest - 1}", "there is no such leaf in a log")
    size = max(newest, head[0] if head and head[0] <= _MAX_LEAVES else 0)
    scans: list[Scan] = []
    known = size if head is None else min(size, head[0])
    shared = shared_from is not None and known >= shared_from
    if shared:
        scans = _shared(path, connection, head, size, asked, at_rest=at_rest)
    if not scans:
        shared = False
        scans = [_scan(connection, (0, size), asked)]
    found = _Joined(asked.wanted, findings)
    try:
        for scan in scans:
            found.add(scan)
        found.finish(head)
        _check_sealed_ends(connection, size, findings)
        _check_grants(connection, found.streams, findings)
        _check_older(found, size, older, findings)
    except TooMany:
        pass
    streams = found.streams
    grants = streams.grants()
    return LedgerReport(
        leaves=size,
        root=found.tree.root() if found.whole else None,
        sealed=found.sealed,
        grants=len(grants),
        erased=sum(streams.erased(grant) for grant in grants),
        pruned=found.pruned,
        unknown=tuple(sorted(streams.unknown)),
        shared=shared,
    )


def _one(connection: sqlite3.Connection, query: str) -> Any:  # noqa: ANN401 - whatever stands there
    row = connection.execute(query).fetchone()
    return None if row is None else row[0]


def _head(connection: sqlite3.Connection) -> Head | None:
    """Return the head that the ledger names, None where it is none."""
    row = connection.execute("SELECT next_index, frontier FROM log_head").fetchone()
    if row is None or not isinstance(row[0], int) or not isinstance(row[1], bytes):
        return None
    return row[0], row[1]


def _scan(
    connection: sqlite3.Connection,
    part: tuple[int, int],
    asked: Question,
) -> Scan:
    keys = set(connection.execute("SELECT dek_id, grant_id FROM data_keys"))
    return Scanner(connection, asked.wanted, keys, sealed=asked.sealed).scan(*part)


def _scan_apart(
    path: Path,
    head: Head | None,
    part: tuple[int, int],
    asked: Question,
    *,
    at_rest: bool,
) -> Scan | None:
    """Scan a part in a process of its own; None where the log has moved on."""
    with _opened(path, at_rest=at_rest) as connection:
        if _head(connection) != head:
            return None
        return _scan(connection, part, asked)


def _shared(
    path: Path,
    connection: sqlite3.Connection,
    head: Head | None,
    size: int,
    asked: Question,
    *,
    at_rest: bool,
) -> list[Scan]:
    """Return both halves, or none where they would be of different moments."""
    middle = size // 2 // BLOCK_LEAVES * BLOCK_LEAVES
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        other = pool.submit(
            _scan_apart, path, head, (middle, size), asked, at_rest=at_rest
        )
        first = _scan(connection, (0, middle), asked)
        second = other.result()
    return [] if second is None else [first, second]


class _Joined:
    """The parts of a log, put together."""

    def __init__(self, wanted: frozenset[int], findings: Findings) -> None:
        self.tree = Tree()
        self.streams = Streams()
        self.roots: dict[int, bytes] = {}
        self.whole = True
        self.sealed = self.pruned = 0
        self._wanted = wanted
        self._findings = findings
        self._missing: dict[str, tuple[str, int]] = {}
        self._gone: list[Scan] = []
        self._remember()

    def add(self, scan: Scan) -> None:
        """Add the next part."""
        self.whole = self.whole and scan.whole
        self.sealed += scan.sealed
        self.pruned += len(scan.pruned)
        self._gone.append(scan)
        if self.whole:
            for block in scan.blocks:
                if isinstance(block, bytes):
                    self.tree.append(block, BLOCK_LEVEL)
                    self._remember()
                    continue
                for hashed in block:
                    self.tree.append(hashed)
                    self._remember()
        self._findings.extend(scan.findings)
        self.streams.join(scan.streams, self._findings)
        for grant, (where, count) in scan.missing.items():
            first, before = self._missing.get(grant, (where, 0))
            self._missing[grant] = (first, before + count)

    def _remember(self) -> None:
        if self.tree.size in self._wanted:
            self.roots[self.tree.size] = self.tree.root()

    def finish(self, head: Head | None) -> None:
        """Check what only the whole log tells."""
        findings, streams = self._findings, self.streams
        streams.check_first(findings)
        for scan in self._gone:
            for index in scan.pruned:
                if not streams.covered(index):
                    findings.add(
                        f"leaf {index}", "has no bytes, and no Pruned event covers it"
                    )
        told = sum(pruning.leaves for pruning in streams.prunings)
        if self.pruned > told:
            findings.add(
                "stored_events",
                f"{self.pruned} leaves have no bytes; the Pruned events say {told}",
            )
        for grant, (where, count) in self._missing.items():
            if not streams.erased(grant):
                at, _, what = where.partition(": ")
                more = f", and {count - 1} more of it" if count > 1 else ""
                findings.add(
                    at, f"{what}; no event says that grant {grant} is erased{more}"
                )
        if head is None:
            findings.add("log_head", "there is none")
        elif self.whole and head != (self.tree.size, b"".join(self.tree.nodes)):
            findings.add(
                "log_head",
                f"differs from the leaves: it names {head[0]} leaves, "
                f"there are {self.tree.size}, with root {self.tree.root().hex()}"
                if head[0] != self.tree.size
                else f"its hashes differ from those of the {head[0]} leaves",
            )


def _check_sealed_ends(
    connection: sqlite3.Connection, size: int, findings: Findings
) -> None:
    """See that no part is sealed for leaves that there are not."""
    for (index,) in connection.execute(
        "SELECT DISTINCT leaf_index FROM sealed"
        " WHERE leaf_index < 0 OR leaf_index >= ? ORDER BY leaf_index LIMIT 100",
        (size,),
    ):
        findings.add(f"leaf {shown(index)}", "sealed has parts of it; it is not there")


def _check_grants(
    connection: sqlite3.Connection, streams: Streams, findings: Findings
) -> None:
    """See that each row of the current grants is what its stream has come to."""
    waiting = streams.grants()
    for row in connection.execute(
        "SELECT grant_id, version, leaf_index, status, generation, provider"
        " FROM current_grants"
    ):
        check_grant(row, waiting.pop(row[0], None), findings)
    for grant, stream in waiting.items():
        findings.add(
            f"current_grants {grant}",
            f"there is no row; its newest event is leaf {stream.leaf}",
        )


def check_grant(row: Sequence[Any], stream: Stream | None, findings: Findings) -> None:
    """Compare a row with its stream."""
    grant, said = row[0], row[1:]
    where = f"current_grants {grant}"
    if stream is None:
        findings.add(where, "no event speaks of this grant")
        return
    meant = (
        stream.last,
        stream.leaf,
        said[2] if stream.unknown else stream.status,
        stream.generation,
        stream.provider,
    )
    names = ("version", "leaf_index", "status", "generation", "provider")
    for name, found, right in zip(names, said, meant, strict=True):
        if found != right:
            findings.add(
                where,
                f"its {name} is {shown(found)}; its events, the newest of them "
                f"leaf {stream.leaf}, say {shown(right)}",
            )


def _check_older(
    found: _Joined, size: int, older: Sequence[Note], findings: Findings
) -> None:
    """See that the log begins with what each checkpoint covers."""
    for note in older:
        where = f"checkpoint of {note.size} leaves"
        lost = _lost(found.streams, note)
        if lost is not None:
            findings.add(
                where,
                f"the log was continued from {lost} leaves at another origin: "
                f"leaves {lost} to {note.size - 1} are lost",
            )
        elif note.size > size:
            findings.add(
                where,
                f"the ledger has {size}: it is an older copy, or has lost "
                f"leaves {size} to {note.size - 1}",
            )
        elif note.size not in found.roots:
            findings.add(where, "cannot be compared while leaves are missing")
        elif found.roots[note.size] != note.root:
            findings.add(
                where,
                f"leaves 0 to {note.size - 1} are not those it covers: their root is "
                f"{found.roots[note.size].hex()}, not {note.root.hex()}; the log is a "
                "fork or was rewritten",
            )


def _lost(streams: Streams, note: Note) -> int | None:
    """Return at how many leaves the checkpoint's origin was left, if before its."""
    for continuation in streams.continuations:
        if continuation.previous == note.origin and note.size > continuation.found_size:
            return continuation.found_size
    return None
