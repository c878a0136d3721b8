"""The published log of one SQLite file."""

from __future__ import annotations

from collections.abc import Sequence

from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.doing import InThread, Reads
from grantledger.adapters.ledger.published_log import Published, PublishedLog
from grantledger.adapters.ledger.reading import SQLITE
from grantledger.adapters.ledger.recorders import closed, refuse_closed
from grantledger.adapters.ledger.rows import micros
from grantledger.projections.cosigning import Cosignature


class SqliteLog(PublishedLog):
    """See `PublishedLog`."""

    def __init__(
        self, store: LedgerDatastore, read: Reads, in_thread: InThread
    ) -> None:
        super().__init__(read, in_thread, SQLITE)
        self._store = store

    def _add_nodes(self, level: int, first: int, hashes: Sequence[bytes]) -> None:
        with self._store.transaction(commit=True) as c:
            c.executemany(
                "INSERT INTO log_nodes VALUES (?,?,?) ON CONFLICT DO NOTHING",
                [(level, first + n, hashed) for n, hashed in enumerate(hashes)],
            )

    def _publish(self, new: Published, gap: int, leaves: int) -> bool:
        at = micros(new.at)
        with self._store.transaction(commit=True) as c:
            refuse_closed(closed(c))
            c.execute(
                "INSERT INTO checkpoints SELECT ?,?,?,?,? WHERE NOT EXISTS"
                " (SELECT 1 FROM checkpoints WHERE origin = ? AND (size >= ?"
                " OR (at + ? > ? AND size + ? > ?)))",
                (
                    *(new.origin, new.size, new.root, at, new.note),
                    *(new.origin, new.size, gap, at, leaves, new.size),
                ),
            )
            c.execute("SELECT changes()")
            return int(c.fetchone()[0]) > 0

    def _cosigned(self, of: Published, said: Cosignature) -> None:
        with self._store.transaction(commit=True) as c:
            c.execute(
                "INSERT INTO cosignatures SELECT ?,?,?,?,? FROM checkpoints"
                " WHERE origin = ? AND size = ? ON CONFLICT DO NOTHING",
                (
                    *(of.origin, of.size, said.cosigner.key, said.time, said.line),
                    *(of.origin, of.size),
                ),
            )
