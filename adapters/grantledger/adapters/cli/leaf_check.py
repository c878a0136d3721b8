"""Every leaf of a ledger against its hash, its sealed parts and the head.

What the log itself says was erased or pruned may be missing; nothing else may.

Reads the store by itself, in one read transaction, so that it sees one state of a
ledger that others write to.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from contextlib import ExitStack, closing
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from uuid import UUID

import anyio.to_thread
import psycopg
from eventsourcing.persistence import StoredEvent

from grantledger.adapters.ledger.leaves import SealedRef, read_leaf
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.faults import translated
from grantledger.adapters.ledger.postgres.ledger import POSTGRES, PostgresLedger
from grantledger.adapters.ledger.reading import SQLITE, LogSql
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.adapters.ledger.tombstones import Covered
from grantledger.domain.errors import IntegrityError, Unavailable
from grantledger.domain.grant_events import Erased
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.ledger_events import LEDGER_STREAM, Pruned
from grantledger.projections.transparency import (
    HASH_BYTES,
    CompactRange,
    leaf_hash,
)

LOCK_SECONDS = 5.0


@dataclass(slots=True)
class LeafReport:
    """What was recomputed.

    Attributes:
        leaves: how many.
        sealed: parts that stand outside their leaves.
        root: of the Merkle tree over all leaves (RFC 6962 section 2.1).
        root_at: likewise over the first leaves that were asked for; None where there
            are not so many.
        grant_streams: ids of the grants that have events.
        erased: how many of them are erased.
        pruned: journal leaves without bytes.
    """

    leaves: int = 0
    sealed: int = 0
    root: bytes = b""
    root_at: bytes | None = None
    grant_streams: set[UUID] = field(default_factory=set[UUID])
    erased: int = 0
    pruned: int = 0


Query = Callable[[str], Iterable[Any]]
"""Runs a statement and gives its rows one after the other."""


async def check_leaves(ledger: StoredLedger, at: int | None = None) -> LeafReport:
    """Recompute leaf hashes, sealed parts and the root.

    Args:
        ledger: of which the store is read.
        at: tell the root over so many leaves as well.

    Raises:
        IntegrityError: names the leaf that does not prove itself.
        Unavailable: the store cannot be read now.
    """
    if isinstance(ledger, PostgresLedger):
        return await anyio.to_thread.run_sync(_check_schema, ledger.place, at)
    return await anyio.to_thread.run_sync(check_file, Path(ledger.name), at)


def _check_schema(place: Place, at: int | None) -> LeafReport:
    try:
        with (
            place.connect() as connection,
            place.reading(connection),
            ExitStack() as stack,
        ):

            def query(statement: str) -> Iterable[Any]:
                # A cursor on the server: a log does not fit into memory.
                name = f"c{sha256(statement.encode()).hexdigest()[:8]}"
                cursor = stack.enter_context(connection.cursor(name))
                return cursor.execute(statement.encode())

            return _checked(query, POSTGRES, at)
    except psycopg.Error as cause:
        raise translated(cause, place.name, running=True) from cause


def check_file(path: Path, at: int | None = None) -> LeafReport:
    """Do the same for a ledger file that need not be open, such as a copy."""
    uri = f"{path.absolute().as_uri()}?mode=ro"
    try:
        with closing(
            sqlite3.connect(uri, uri=True, timeout=LOCK_SECONDS, isolation_level=None)
        ) as connection:
            connection.execute("BEGIN")
            return _checked(connection.execute, SQLITE, at)
    except sqlite3.Error as cause:
        raise Unavailable(f"cannot read {path}: {cause}") from cause


def _checked(query: Query, log: LogSql, at: int | None) -> LeafReport:
    report = LeafReport()
    tree = CompactRange()
    erased, covered = _gone(query, log)
    report.erased = len(erased)
    report.root_at = tree.root() if at == 0 else None
    parts = _Parts(query, erased)
    pruned: dict[str, int] = {}
    for row in query(
        f"SELECT {log.leaf} FROM stored_events e ORDER BY e.{log.number}"  # noqa: S608 - constants only
    ):
        index = row[0] - 1
        if index != tree.size:
            raise IntegrityError(f"leaf {tree.size} is missing")
        gone = row[4] == b""
        tree.append(
            _pruned(index, row, covered) if gone else _hashed(index, row[4], row[5])
        )
        if tree.size == at:
            report.root_at = tree.root()
        if gone:
            pruned.setdefault(str(row[1]), index)
            parts.check(index, [])
            report.pruned += 1
            continue
        leaf = read_leaf(_stored(index, row))
        report.sealed += parts.check(index, leaf.sealed)
        if leaf.type != AccessRecorded.TOPIC and leaf.stream != LEDGER_STREAM:
            report.grant_streams.add(leaf.stream)
    parts.check_end()
    for grant in report.grant_streams:
        if grant.hex in pruned:
            raise IntegrityError(
                f"leaf {pruned[grant.hex]} is empty, and is of grant {grant}: only "
                "journals are pruned"
            )
    if report.pruned > covered.leaves:
        raise IntegrityError(
            f"{report.pruned} leaves are empty; the Pruned events say {covered.leaves}"
        )
    head = next(iter(query("SELECT next_index, frontier FROM log_head")), None)
    if head is None or tuple(head) != (tree.size, tree.to_bytes()):
        raise IntegrityError("the log's head differs from its leaves")
    report.leaves, report.root = tree.size, tree.root()
    return report


def _pruned(index: int, row: Sequence[Any], covered: Covered) -> bytes:
    """Return the hash of a leaf without bytes, which the log has to say itself."""
    if row[3] != AccessRecorded.TOPIC or index not in covered:
        raise IntegrityError(f"leaf {index} is empty, and no Pruned event covers it")
    return _hash(index, row[5])


def _gone(query: Query, log: LogSql) -> tuple[set[UUID], Covered]:
    """Return the grants that are erased, and the leaves that may be pruned.

    The events that say so are leaves like all others, compared with their hashes in
    their turn.
    """
    erased: set[UUID] = set()
    covered = Covered()
    for row in query(
        f"SELECT {log.leaf} FROM stored_events e"  # noqa: S608 - constants only
        f" WHERE e.topic IN ('{Erased.TOPIC}', '{Pruned.TOPIC}')"
    ):
        index = row[0] - 1
        _hashed(index, row[4], row[5])
        event = _stored(index, row)
        leaf = read_leaf(event)
        if row[3] == Erased.TOPIC:
            erased.add(leaf.stream)
        elif leaf.stream == LEDGER_STREAM:
            covered.add(index, event)
    return erased, covered


def _hash(index: int, said: object) -> bytes:
    if not isinstance(said, bytes) or len(said) != HASH_BYTES:
        raise IntegrityError(f"leaf {index} differs from its hash")
    return said


def _hashed(index: int, state: object, said: object) -> bytes:
    # A file that others can write to may hold text where bytes belong.
    hashed = leaf_hash(state) if isinstance(state, bytes) else b""
    if not hashed or hashed != said:
        raise IntegrityError(f"leaf {index} differs from its hash")
    return hashed


def _stored(index: int, row: tuple[int, str, int, str, bytes, bytes]) -> StoredEvent:
    try:
        return StoredEvent(UUID(hex=row[1]), row[2], row[3], row[4])
    except (ValueError, TypeError, AttributeError) as cause:
        raise IntegrityError(f"leaf {index} names no stream") from cause


class _Parts:
    """The sealed parts, read beside the leaves in the same order.

    Args:
        erased: grants whose parts may be missing.
    """

    def __init__(self, query: Query, erased: Container[UUID]) -> None:
        self._erased = erased
        self._rows: Iterator[tuple[int, int, str, object]] = iter(
            query(
                "SELECT leaf_index, entry, field, ct FROM sealed"
                " ORDER BY leaf_index, entry, field"
            )
        )
        self._next = next(self._rows, None)

    def check(self, index: int, named: list[SealedRef]) -> int:
        """Compare what the leaf names with what is there; return how many."""
        found: dict[tuple[int, str], bytes] = {}
        while self._next is not None and self._next[0] <= index:
            _, entry, name, ciphertext = self._next
            if self._next[0] < index:
                raise IntegrityError(f"leaf {self._next[0]} has unnamed sealed parts")
            if not isinstance(ciphertext, bytes):
                raise IntegrityError(f"leaf {index} differs from its sealed parts")
            found[entry, name] = sha256(ciphertext).digest()
            self._next = next(self._rows, None)
        said = {
            (-1 if ref.entry is None else ref.entry, ref.field): ref.ct_sha256
            for ref in named
        }
        missing = said.keys() - found.keys()
        owners = {
            (-1 if ref.entry is None else ref.entry, ref.field): ref.grant_id
            for ref in named
        }
        if any(owners[part] not in self._erased for part in missing) or any(
            said.get(part) != digest for part, digest in found.items()
        ):
            raise IntegrityError(f"leaf {index} differs from its sealed parts")
        return len(found)

    def check_end(self) -> None:
        """See that nothing is left over."""
        if self._next is not None:
            raise IntegrityError(f"leaf {self._next[0]} is missing")
