"""A whole SQLite ledger file against itself, and against checkpoints kept elsewhere.

Read only, in one read transaction, so that a ledger that is being written may be
checked. A large one is read by two processes; both have to see the same head.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Generator, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from grantledger.projections.verify.findings import (
    Findings,
    TooMany,
    Unreadable,
    shown,
)
from grantledger.projections.verify.joined import Joined
from grantledger.projections.verify.merkle import (
    BLOCK_LEAVES,
)
from grantledger.projections.verify.notes import NOBODY, Note, Trust
from grantledger.projections.verify.published import published
from grantledger.projections.verify.scan import Scan, Scanner

LOCK_SECONDS = 10.0
SHARED_LEAVES = 64 * BLOCK_LEAVES
"""From so many leaves on, two processes share the work."""

_TABLES = ("log_head", "stored_events", "sealed", "data_keys", "current_grants")
_GRANTS = (
    "SELECT grant_id, version, leaf_index, status, generation, provider"
    " FROM current_grants"
)

Head = tuple[int, bytes]


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked of a ledger; see `check_ledger`."""

    older: tuple[Note, ...]
    trust: Trust
    sealed: bool


@dataclass(frozen=True, slots=True)
class Way:
    """How a file is read.

    Attributes:
        at_rest: nobody else has it open.
        lenient: a text that is no UTF-8 is read all the same, and more slowly.
    """

    at_rest: bool
    lenient: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What is asked of a part: sizes whose roots are wanted, and `Question.sealed`."""

    wanted: frozenset[int]
    sealed: bool


@dataclass(frozen=True, slots=True)
class LedgerReport:
    """What was checked of a ledger; the findings stand apart.

    Attributes:
        root: over all leaves, None where leaves are missing.
        published: checkpoints that it keeps itself and that were compared.
        unfinished: grants that are erased, and whose data key is there all the same.
        unsigned: origins of those whose signatures no known key can tell of.
        unknown: topics that are not known here.
        shared: whether two processes did it.
    """

    leaves: int
    root: bytes | None
    sealed: int
    grants: int
    erased: int
    pruned: int
    published: int
    unfinished: tuple[str, ...]
    unsigned: tuple[str, ...]
    unknown: tuple[str, ...]
    shared: bool


def check_ledger(
    path: Path,
    older: Sequence[Note],
    findings: Findings,
    *,
    trust: Trust = NOBODY,
    sealed: bool = True,
    shared_from: int | None = SHARED_LEAVES,
) -> LedgerReport:
    """Check a ledger file.

    Args:
        path: of the file.
        older: checkpoints that it has to begin with; their signatures were checked.
        findings: what does not hold is added here.
        trust: who has to have signed what the ledger published itself.
        sealed: compare the sealed parts with their leaves.
        shared_from: leaves from which on two processes share it; None for never.

    Raises:
        Unreadable: it is no ledger, or cannot be opened.
    """
    asked = Question(tuple(older), trust, sealed)
    # Nobody has a ledger open that has no write-ahead log: it is read as it stands, and
    # nothing is left beside it. Whether that stayed so is seen afterwards.
    still = _unchanged(path)
    way = Way(at_rest=still is not None)
    while True:
        found = Findings()
        try:
            with _opened(path, way) as connection:
                report = _checked(path, connection, asked, found, shared_from, way)
        except (sqlite3.Error, UnicodeDecodeError) as cause:
            if way.lenient or not _is_text(cause):
                raise Unreadable(f"cannot read {path}: {shown(str(cause))}") from cause
            way = replace(way, lenient=True)
            continue
        if not way.at_rest or _unchanged(path) == still:
            findings.extend(found)
            return report
        way = replace(way, at_rest=False)


def _is_text(cause: Exception) -> bool:
    """Tell whether a text somewhere is no UTF-8: then all are read with care."""
    return isinstance(cause, UnicodeDecodeError) or "decode" in str(cause)


def _with_care(data: bytes) -> str:
    return data.decode(errors="backslashreplace")


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
def _opened(path: Path, way: Way) -> Generator[sqlite3.Connection]:
    """Yield a connection that reads only, in one transaction."""
    if not path.is_file():
        raise Unreadable(f"there is no file {path}")
    uri = f"{path.absolute().as_uri()}?{'immutable=1' if way.at_rest else 'mode=ro'}"
    with closing(
        sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
    ) as connection:
        if way.lenient:
            connection.text_factory = _with_care
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
    asked: Question,
    findings: Findings,
    shared_from: int | None,
    way: Way,
) -> LedgerReport:
    head = _head(connection)
    newest = _one(connection, "SELECT max(rowid) FROM stored_events") or 0
    lowest = _one(connection, "SELECT min(rowid) FROM stored_events")
    own = published(connection, asked.trust, findings)
    kept = (*asked.older, *own)
    part = Part(frozenset(note.size for note in kept), asked.sealed)
    if lowest is not None and lowest < 1:
        findings.add(f"leaf {lowest - 1}", "there is no such leaf in a log")
    size = max(newest, head[0] if head else 0)
    scans: list[Scan] = []
    known = size if head is None else min(size, head[0])
    shared = shared_from is not None and known >= shared_from
    if shared:
        scans = _shared(path, connection, head, size, part, way)
    if not scans:
        shared = False
        scans = [_scan(connection, (0, size), part)]
    found = Joined(part.wanted, findings)
    try:
        for scan in scans:
            found.add(scan)
        found.finish()
        _check_head(found, head, findings)
        _check_sealed_ends(connection, size, findings)
        found.check_grants(connection.execute(_GRANTS))
        found.check_older(size, kept)
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
        pruned=len(found.pruned),
        published=len(own),
        unfinished=tuple(
            sorted(grant for grant in _with_keys(connection) if streams.erased(grant))
        ),
        unsigned=tuple(
            sorted({n.origin for n in own} - {k.name for k in asked.trust.keys})
        ),
        unknown=tuple(sorted(streams.unknown)),
        shared=shared,
    )


def _with_keys(connection: sqlite3.Connection) -> set[str]:
    rows = connection.execute("SELECT grant_id FROM data_keys")
    return {row[0] for row in rows if isinstance(row[0], str)}


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
    span: tuple[int, int],
    part: Part,
) -> Scan:
    keys: set[tuple[str, str]] = set()
    if part.sealed:
        keys.update(connection.execute("SELECT dek_id, grant_id FROM data_keys"))
    return Scanner(connection, part.wanted, keys, sealed=part.sealed).scan(*span)


def _scan_apart(
    path: Path,
    head: Head | None,
    span: tuple[int, int],
    part: Part,
    way: Way,
) -> Scan | None:
    """Scan a part in a process of its own; None where the log has moved on."""
    with _opened(path, way) as connection:
        if _head(connection) != head:
            return None
        return _scan(connection, span, part)


def _shared(
    path: Path,
    connection: sqlite3.Connection,
    head: Head | None,
    size: int,
    part: Part,
    way: Way,
) -> list[Scan]:
    """Return both halves, or none where they would be of different moments.

    None as well where the other process was killed: one checks all of it then.
    """
    middle = size // 2 // BLOCK_LEAVES * BLOCK_LEAVES
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        other = pool.submit(_scan_apart, path, head, (middle, size), part, way)
        first = _scan(connection, (0, middle), part)
        try:
            second = other.result()
        except BrokenProcessPool:
            return []
    return [] if second is None else [first, second]


def _check_sealed_ends(
    connection: sqlite3.Connection, size: int, findings: Findings
) -> None:
    """See that no part is sealed for leaves that there are not."""
    # Two queries: each walks its end of the index, and no more of it.
    for where, limit in (("<", 0), (">=", size)):
        for (index,) in connection.execute(
            f"SELECT leaf_index FROM sealed WHERE leaf_index {where} ?"  # noqa: S608 - constants only
            " GROUP BY leaf_index ORDER BY leaf_index LIMIT 100",
            (limit,),
        ):
            findings.add(
                f"leaf {shown(index)}", "sealed has parts of it; it is not there"
            )


def _check_head(found: Joined, head: Head | None, findings: Findings) -> None:
    """See that the head is the right edge of the tree."""
    tree = found.tree
    if head is None:
        findings.add("log_head", "there is none")
    elif found.whole and head != (tree.size, b"".join(tree.nodes)):
        findings.add(
            "log_head",
            f"differs from the leaves: it names {head[0]} leaves, "
            f"there are {tree.size}, with root {tree.root().hex()}"
            if head[0] != tree.size
            else f"its hashes differ from those of the {head[0]} leaves",
        )
