"""The Duties port over one SQLite file."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta
from uuid import UUID

from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.doing import InThread, Reads
from grantledger.adapters.ledger.duties import StoredDuties
from grantledger.adapters.ledger.recorders import closed, refuse_closed
from grantledger.adapters.ledger.rows import micros
from grantledger.adapters.ledger.schedule_rows import (
    COMPLETE,
    Scheduled,
    write_schedule,
)
from grantledger.domain.announcing import Owed
from grantledger.domain.grant_events import Revoked

LOOKED = (
    "SELECT o.next_index, h.next_index FROM outbox_heads o, log_head h"
    " WHERE o.receiver = ?"
)


class SqliteDuties(StoredDuties):
    """Implements ports.Duties; claims are judged by the worker's own time."""

    _open = " AND h.closed IS NULL"

    def __init__(
        self, store: LedgerDatastore, read: Reads, in_thread: InThread
    ) -> None:
        super().__init__(read, in_thread)
        self._store = store

    def _unused(
        self, provider: str, since: Sequence[int], now: int, limit: int
    ) -> tuple[str, tuple[object, ...]]:
        values = ",".join("(?,?)" for _ in since)
        pairs = [value for pair in enumerate(since) for value in pair]
        # CROSS JOIN: from the slots to the index, whatever the statistics say.
        query = (
            f"WITH s (slot, since) AS (VALUES {values})"  # noqa: S608 - question marks only
            " SELECT u.grant_id FROM s CROSS JOIN upkeep u WHERE u.provider = ?"
            " AND u.slot = s.slot AND u.used_at IS NOT NULL AND u.used_at <= s.since"
            " AND (u.retry_at IS NULL OR u.retry_at <= ?) LIMIT ?"
        )
        return query, (*pairs, provider, now, limit)

    def _claim(
        self, grant_id: UUID, holder: UUID, now: datetime, seconds: float
    ) -> bool:
        at, until = micros(now), micros(now + timedelta(seconds=seconds))
        with self._store.transaction(commit=True) as c:
            c.execute(
                "DELETE FROM claims WHERE until <= ? AND grant_id <> ?",
                (at, grant_id.hex),
            )
            # A ledger that takes no more writes could not keep the server's answer.
            c.execute(
                "INSERT INTO claims SELECT ?, ?, ? FROM log_head WHERE closed IS NULL"
                " ON CONFLICT (grant_id) DO UPDATE"
                " SET holder=excluded.holder, until=excluded.until"
                " WHERE holder=excluded.holder OR until <= ?",
                (grant_id.hex, holder.hex, until, at),
            )
            c.execute("SELECT changes()")
            return int(c.fetchone()[0]) > 0

    def _take(self, kind: str, digest: str, now: datetime, seconds: float) -> bool:
        at, until = micros(now), micros(now + timedelta(seconds=seconds))
        with self._store.transaction(commit=True) as c:
            refuse_closed(closed(c))
            c.execute("DELETE FROM once WHERE until <= ?", (at,))
            c.execute(
                "INSERT INTO once VALUES (?,?,?) ON CONFLICT DO NOTHING",
                (kind, digest, until),
            )
            c.execute("SELECT changes()")
            return int(c.fetchone()[0]) > 0

    def _look(self, receiver: str, limit: int) -> int:
        with self._store.transaction(commit=True) as c:
            refuse_closed(closed(c))
            c.execute(
                "INSERT INTO outbox_heads SELECT ?, next_index FROM log_head"
                " WHERE true ON CONFLICT DO NOTHING",
                (receiver,),
            )
            c.execute(LOOKED, (receiver,))
            start, end = c.fetchone()
            till = min(end, start + limit)
            if till <= start:
                return 0
            c.execute(
                "INSERT INTO outbox SELECT ?, rowid - 1, originator_id, 0, 0"
                " FROM stored_events WHERE rowid > ? AND rowid <= ? AND topic = ?"
                " ON CONFLICT DO NOTHING",
                (receiver, start, till, Revoked.TOPIC),
            )
            c.execute(
                "UPDATE outbox_heads SET next_index = ? WHERE receiver = ?",
                (till, receiver),
            )
            return int(till - start)

    def _lease(self, owed: Owed, due_at: int, tries: int) -> bool:
        with self._store.transaction(commit=True) as c:
            refuse_closed(closed(c))
            c.execute(
                "UPDATE outbox SET attempts = attempts + ?, due_at = ?"
                " WHERE receiver = ? AND leaf_index = ? AND due_at = ?",
                (tries, due_at, owed.receiver, owed.leaf_index, micros(owed.due_at)),
            )
            c.execute("SELECT changes()")
            return int(c.fetchone()[0]) > 0

    def _done(self, owed: Owed) -> None:
        with self._store.transaction(commit=True) as c:
            refuse_closed(closed(c))
            c.execute(
                "DELETE FROM outbox WHERE receiver = ? AND leaf_index = ?",
                (owed.receiver, owed.leaf_index),
            )

    def _schedule(self, row: Scheduled) -> None:
        with self._store.transaction(commit=True) as c:
            write_schedule(c, row)

    def _complete(self, after: str, limit: int) -> tuple[int, str | None]:
        with self._store.transaction(commit=True) as c:
            c.execute(
                "SELECT max(grant_id) FROM (SELECT grant_id FROM current_grants"
                " WHERE grant_id > ? ORDER BY grant_id LIMIT ?)",
                (after, limit),
            )
            last: str | None = c.fetchone()[0]
            c.execute(COMPLETE, (after, last))
            c.execute("SELECT changes()")
            return int(c.fetchone()[0]), last
