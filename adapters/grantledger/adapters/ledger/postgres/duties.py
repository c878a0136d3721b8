"""The Duties port over one schema of a PostgreSQL database."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from grantledger.adapters.ledger.doing import InThread, Reads
from grantledger.adapters.ledger.duties import StoredDuties
from grantledger.adapters.ledger.postgres.columns import SCHEDULE, only_row
from grantledger.adapters.ledger.postgres.connections import Connection, Place
from grantledger.adapters.ledger.rows import micros
from grantledger.adapters.ledger.schedule_rows import Scheduled
from grantledger.domain.announcing import Owed

# LATERAL, ordered and limited: the planner would take a third of all grants to be due.
UNUSED = (
    "SELECT u.grant_id FROM unnest(?::bigint[], ?::bigint[]) AS s (slot, since)"
    " CROSS JOIN LATERAL (SELECT grant_id FROM upkeep WHERE provider = ?"
    " AND slot = s.slot AND used_at IS NOT NULL AND used_at <= s.since"
    " AND (retry_at IS NULL OR retry_at <= ?) ORDER BY used_at LIMIT ?) u LIMIT ?"
)
COMPLETE = b"SELECT made, last FROM ledger_complete_schedule(%s, %s)"


class PostgresDuties(StoredDuties):
    """Implements ports.Duties; claims are judged by the server's time.

    It writes on a connection of its own, made when it is first needed.
    """

    def __init__(self, place: Place, read: Reads, in_thread: InThread) -> None:
        super().__init__(read, in_thread)
        self._place = place
        self._lock = threading.Lock()
        self._connection: Connection | None = None

    def close(self) -> None:
        """Close the connection."""
        with self._lock:
            self._drop()

    def _unused(
        self, provider: str, since: Sequence[int], now: int, limit: int
    ) -> tuple[str, tuple[object, ...]]:
        return UNUSED, (
            list(range(len(since))),
            list(since),
            provider,
            now,
            limit,
            limit,
        )

    def _claim(
        self,
        grant_id: UUID,
        holder: UUID,
        now: datetime,  # noqa: ARG002 - the server's own time decides
        seconds: float,
    ) -> bool:
        (mine,) = self._call(
            b"SELECT ledger_claim(%s, %s, %s)",
            [grant_id.hex, holder.hex, float(seconds)],
        )
        return bool(mine)

    def _take(
        self,
        kind: str,
        digest: str,
        now: datetime,  # noqa: ARG002 - the server's own time decides
        seconds: float,
    ) -> bool:
        (first,) = self._call(
            b"SELECT ledger_once(%s, %s, %s)", [kind, digest, float(seconds)]
        )
        return bool(first)

    def _look(self, receiver: str, limit: int) -> int:
        (leaves,) = self._call(b"SELECT ledger_outbox_look(%s, %s)", [receiver, limit])
        return int(leaves)

    def _lease(self, owed: Owed, due_at: int, tries: int) -> bool:
        was = micros(owed.due_at)
        (leased,) = self._call(
            b"SELECT ledger_outbox_lease(%s, %s, %s, %s, %s)",
            [owed.receiver, owed.leaf_index, was, due_at, tries],
        )
        return bool(leased)

    def _done(self, owed: Owed) -> None:
        self._call(
            b"SELECT ledger_outbox_done(%s, %s)", [owed.receiver, owed.leaf_index]
        )

    def _schedule(self, row: Scheduled) -> None:
        self._call(SCHEDULE, [[value] for value in row])

    def _complete(self, after: str, limit: int) -> tuple[int, str | None]:
        made, last = self._call(COMPLETE, [after, limit])
        return int(made), last

    def _call(self, statement: bytes, values: list[object]) -> tuple[Any, ...]:
        """Return the row of a call, which may be made twice.

        A connection that has been there may have been cut off since: then another one
        is made at once.
        """
        with self._lock:
            if self._connection is not None:
                try:
                    return self._called(self._connection, statement, values)
                except psycopg.OperationalError:
                    if not self._connection.closed:
                        raise
                    self._drop()
            self._connection = self._place.connect()
            return self._called(self._connection, statement, values)

    def _called(
        self, connection: Connection, statement: bytes, values: list[object]
    ) -> tuple[Any, ...]:
        with self._place.writing(connection):
            return only_row(connection.execute(statement, values).fetchone())

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with suppress(psycopg.Error):
                connection.close()
