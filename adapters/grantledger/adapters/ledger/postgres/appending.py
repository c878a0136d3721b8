"""What one run on PostgreSQL reads, and the call that writes what it collected."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import ExitStack
from datetime import datetime
from typing import Any
from uuid import UUID

from grantledger.adapters.keys.envelope import DataKey
from grantledger.adapters.ledger.data_keys import DataKeys, WrappedKey
from grantledger.adapters.ledger.postgres.columns import (
    LEAVES,
    LOCK,
    Appended,
    Columns,
    Locked,
    only_row,
)
from grantledger.adapters.ledger.postgres.connections import Connection, PgCursor
from grantledger.adapters.ledger.recorders import SealedStoredEvent
from grantledger.adapters.ledger.stored_ledger import newest
from grantledger.adapters.ledger.tombstones import is_erased
from grantledger.domain.grant_events import Erased


def lock(connection: Connection, seen: int) -> Locked:
    """Lock the head until the transaction that is open ends.

    Args:
        connection: with a transaction open.
        seen: a size whose last leaf is to be told as well.
    """
    both = f"{LOCK}; {LEAVES.format(seen=int(seen))}"
    # Two statements are one exchange, but cannot be prepared.
    cursor = connection.execute(both.encode(), prepare=False)
    size, at = only_row(cursor.fetchone())
    cursor.nextset()
    return Locked(size, at, {row[0]: bytes(row[1]) for row in cursor.fetchall()})


class Appending(Columns):
    """Reads for one run, and collects what it writes.

    Args:
        size: how many leaves the log has, as far as the caller knows.
        leaf: hash of the last of them, None for an empty log.
        alone: holds the pipeline of a transaction that the append ends; None where
            it is one by itself, or where others end it.

    Attributes:
        ended: whether the append has ended the transaction.
    """

    def __init__(
        self,
        connection: Connection,
        keys: DataKeys,
        size: int,
        leaf: bytes | None,
        alone: ExitStack | None = None,
    ) -> None:
        super().__init__(size, leaf)
        self._alone = alone
        self.ended = False
        self._connection = connection
        self._cursor = PgCursor(connection)
        self._keys = keys

    def newest(self, stream: UUID) -> int:
        """Return the newest version stored of a stream."""
        return newest(self._cursor, stream)

    def newest_of(self, streams: Iterable[UUID]) -> dict[UUID, int]:
        """Return the newest versions of many streams at once."""
        found = self._connection.execute(
            "SELECT s, (SELECT max(e.originator_version) FROM stored_events e"
            " WHERE e.originator_id = s) FROM unnest(%s::uuid[]) AS s",
            (list(streams),),
        )
        return {stream: int(version or 0) for stream, version in found.fetchall()}

    def known(self, provider: str, digest: bytes) -> bool:
        """Tell whether a grant with this digest is there."""
        self._cursor.execute(
            "SELECT 1 FROM current_grants WHERE provider=? AND subject_digest=?",
            (provider, digest),
        )
        return self._cursor.fetchone() is not None or any(
            (row[3], row[4]) == (provider, digest) for row in self._rows.values()
        )

    def event(self, stream: UUID, version: int) -> SealedStoredEvent | None:
        """Return a stored event without its sealed parts."""
        found = self._connection.execute(
            "SELECT originator_id, originator_version, topic, state"
            " FROM stored_events WHERE originator_id=%s AND originator_version=%s",
            (stream, version),
        ).fetchone()
        if found is not None:
            return SealedStoredEvent(*found)
        # Another unit of this run may have it.
        for row in self._leaves:
            values: tuple[Any, ...] = row
            if values[:2] == (stream, version):
                return SealedStoredEvent(*values)
        return None

    def key(self, grant_id: UUID) -> DataKey:
        """Return a stored data key, or one made in this run."""
        return self._keys.load(self._cursor, grant_id)

    def erased(self, grant_id: UUID) -> bool:
        """Tell whether the grant's stream ends with Erased, in this run or before."""
        now = any(row[0] == grant_id and row[2] == Erased.TOPIC for row in self._leaves)
        return now or is_erased(self._cursor, grant_id)

    def keep(self, key: DataKey, wrapped: WrappedKey) -> None:
        """Write a fresh data key, and have it at hand."""
        self.fresh(key, wrapped)
        self._keys.keep(key)

    def append(self, recorded_at: datetime | None) -> Appended:
        """Write everything in one call, if nobody has written since `size`.

        Args:
            recorded_at: the time that stands in the leaves; None where none does.
        """
        found = self._connection.execute(*self.call(recorded_at))
        if self._alone is not None:
            # Sent with it: the lock waits for no further exchange. The end of the
            # pipeline is the one answer to all; nothing may follow that could fail.
            self._connection.execute("COMMIT")
            self._alone.close()
            self.ended = True
        return Appended(*only_row(found.fetchone())[:3])

    def hash_at(self, number: int) -> bytes | None:
        """Return the hash of the leaf with this number, counted from 1."""
        row = self._connection.execute(
            "SELECT leaf_hash FROM stored_events WHERE notification_id=%s", (number,)
        ).fetchone()
        return None if row is None else bytes(row[0])
