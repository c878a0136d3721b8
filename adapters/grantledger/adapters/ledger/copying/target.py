"""The schema that is copied into: nobody's until the copy is whole.

From the first portion to the last a row of `meta` says whose copy it is, and the head
is at no size at all: no ledger is opened on it, and one that was open before cannot
append. Whoever copies owns the tables: rows are inserted as they are.
"""

from __future__ import annotations

from collections.abc import Generator, Iterable
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, LiteralString

import psycopg
from psycopg import sql

from grantledger.adapters.ledger.copying.batches import Portion, Row
from grantledger.adapters.ledger.postgres import schema
from grantledger.adapters.ledger.postgres.connections import Connection, Place
from grantledger.adapters.ledger.postgres.faults import STORAGE_ERRORS, translated
from grantledger.adapters.ledger.recorders import EVENTS
from grantledger.domain.errors import IntegrityError, LedgerError
from grantledger.projections.transparency import CompactRange, leaf_hash

NO_SIZE = -1
"""A head that no append fits, whatever size it names."""

# A server that went without a word must not leave the source locked.
PATIENCE = {
    "keepalives_idle": 5,
    "keepalives_interval": 5,
    "keepalives_count": 2,
    "tcp_user_timeout": 15_000,
}

_RECORD = (
    EVENTS,
    "sealed",
    "data_keys",
    "current_grants",
    "journal_index",
    "token_index",
    "grant_states",
    "provider_clients",
)
_EVENT_COLUMNS = (
    "notification_id",
    "originator_id",
    "originator_version",
    "topic",
    "state",
    "leaf_hash",
)


@dataclass(frozen=True, slots=True)
class Claim:
    """What a schema holds of the source.

    Attributes:
        size: how many leaves.
        finished: the copy was whole before.
    """

    size: int
    finished: bool = False


class CopyTarget:
    """A schema made by the migrations.

    Raises:
        LedgerError: there is no ledger of this version (see `schema.check_version`).
        Unavailable: the server cannot be reached.
    """

    def __init__(self, place: Place) -> None:
        self.place = place
        self._source = ""
        try:
            options: dict[str, Any] = {**PATIENCE, **place.options()}
            self._connection: Connection = psycopg.connect(**options)
        except STORAGE_ERRORS as cause:
            raise translated(cause, place.name) from cause
        try:
            with self._told():
                place.prepare(self._connection)
                schema.check_version(self._connection, place)
        except BaseException:
            self._connection.close()
            raise

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def claim(self, source: str, *, moved: bool) -> Claim:
        """Have the schema for the copy of one source, and return what is there.

        Args:
            source: its incarnation.
            moved: it was moved here before, as its log says.

        Raises:
            LedgerError: it holds a ledger, or a part of another one's.
        """
        with self._transaction() as connection:
            head = _one(connection, "SELECT next_index FROM log_head FOR UPDATE")
            owner = schema.copied_from(connection)
            if owner is None:
                if any(self._has_rows(connection, table) for table in _RECORD):
                    if moved and self._incarnation(connection) == source:
                        return Claim(head, finished=True)
                    raise LedgerError(f"{self.place.name} is not empty")
                connection.execute(
                    "INSERT INTO meta VALUES (%s, %s)", (schema.COPIED_FROM, source)
                )
                connection.execute(
                    "UPDATE log_head SET next_index = %s, frontier = ''", (NO_SIZE,)
                )
            elif owner != source:
                raise LedgerError(
                    f"{self.place.name} holds the unfinished copy of another ledger"
                )
            self._source = source
            return Claim(self._size(connection))

    def write(self, portion: Portion, columns: dict[str, list[str]]) -> None:
        """Store a portion behind what is there, durable on return."""
        with self._ours(portion.first) as connection:
            _delete(connection, "current_grants", portion.streams)
            at = columns["data_keys"].index("grant_id")
            fresh = [row[at] for row in portion.rows["data_keys"]]
            _delete(connection, "data_keys", fresh)
            _copy(connection, EVENTS, _EVENT_COLUMNS, portion.events)
            for table, rows in portion.rows.items():
                _copy(connection, table, columns[table], rows)

    def compare(
        self,
        portion: Portion,
        columns: dict[str, list[str]] | None,
        *,
        live: bool = False,
    ) -> list[bytes]:
        """Return the hashes of the leaves as stored; they are those of the portion.

        A leaf may still have the bytes that were pruned at the source meanwhile.

        Args:
            portion: what was sent, now or at an earlier try.
            columns: None: compare the leaves alone.
            live: the target is in use; bytes that it lacks were pruned there.

        Raises:
            IntegrityError: names the first leaf that is another one.
        """
        with self._transaction() as connection:
            events = self._events(connection, portion)
            for mine, theirs in zip(portion.events, events, strict=False):
                pruned = _pruned_since(mine, theirs) or (
                    live and _pruned_since(theirs, mine)
                )
                if mine != theirs and not pruned:
                    raise IntegrityError(
                        f"leaf {mine[0] - 1} of {self.place.name} is not the source's"
                    )
            if len(events) != len(portion.events):
                raise IntegrityError(
                    f"leaf {portion.first + len(events)} of {self.place.name} is gone"
                )
            for table, names in (columns or {}).items():
                self._compare(connection, portion, table, names)
        return [leaf_hash(row[4]) if row[4] else row[5] for row in events]

    def mirror(self, table: str, names: list[str], rows: Iterable[Row]) -> None:
        """Make a table what these rows say, all of it.

        With a data key that is gone go the parts that were sealed under it: its grant
        was erased while it was copied.
        """
        told = {
            "table": sql.Identifier(table),
            "names": _names(names),
            "theirs": sql.SQL(", ").join(sql.Identifier("t", n) for n in names),
            "said": sql.SQL(", ").join(sql.Identifier("i", n) for n in names),
        }
        with self._ours(None) as connection:

            def run(statement: LiteralString) -> int:
                return connection.execute(sql.SQL(statement).format(**told)).rowcount

            run("SET LOCAL statement_timeout = 0")
            # Not a temporary one: a role may have lost the right to make those.
            run("CREATE TABLE incoming (LIKE {table})")
            _copy(connection, "incoming", names, rows)
            gone = run(
                "DELETE FROM {table} t WHERE NOT EXISTS"
                " (SELECT FROM incoming i WHERE ({said}) = ({theirs}))"
            )
            run(
                "INSERT INTO {table} ({names}) SELECT {said} FROM incoming i"
                " WHERE NOT EXISTS"
                " (SELECT FROM {table} t WHERE ({said}) = ({theirs}))"
            )
            run("DROP TABLE incoming")
            if gone and table == "data_keys":
                run(
                    "DELETE FROM sealed s WHERE NOT EXISTS"
                    " (SELECT FROM data_keys k WHERE k.grant_id = s.grant_id)"
                )
                run(
                    "DELETE FROM token_index s WHERE NOT EXISTS"
                    " (SELECT FROM data_keys k WHERE k.grant_id = s.grant_id)"
                )
                run(
                    "DELETE FROM grant_states s WHERE NOT EXISTS"
                    " (SELECT FROM data_keys k WHERE k.grant_id = s.grant_id)"
                )

    def prune(self, journal: Iterable[Row]) -> None:
        """Destroy the bytes and sealed parts of journal leaves that are not named.

        They were pruned at the source after they were copied.
        """
        with self._ours(None) as connection:
            connection.execute("SET LOCAL statement_timeout = 0")
            connection.execute("CREATE TABLE incoming (leaf_index bigint NOT NULL)")
            _copy(connection, "incoming", ("leaf_index",), journal)
            connection.execute(
                "WITH gone AS (DELETE FROM journal_index j WHERE NOT EXISTS"
                " (SELECT FROM incoming i WHERE i.leaf_index = j.leaf_index)"
                " RETURNING j.leaf_index), parts AS (DELETE FROM sealed s USING gone"
                " WHERE s.leaf_index = gone.leaf_index), tokens AS (DELETE FROM"
                " token_index t USING gone WHERE t.leaf_index = gone.leaf_index)"
                " UPDATE stored_events SET state = '' FROM gone"
                " WHERE notification_id = gone.leaf_index + 1"
            )
            connection.execute("DROP TABLE incoming")

    def analyse(self) -> None:
        """Have the planner know the new tables."""
        with self._ours(None) as connection:
            connection.execute("SET LOCAL statement_timeout = 0")
            for table in _RECORD:
                connection.execute(sql.SQL("ANALYZE {}").format(sql.Identifier(table)))

    def finish(self, tree: CompactRange, meta: dict[str, str], unindexed: int) -> None:
        """Make it a ledger: with a head, and what the source said of itself.

        The tokens of leaves from before there was an index are indexed here again:
        some may have been indexed there after their leaves were copied.
        """
        with self._ours(tree.size) as connection:
            for name, value in meta.items():
                connection.execute(
                    "INSERT INTO meta VALUES (%s, %s)"
                    " ON CONFLICT (name) DO UPDATE SET value = excluded.value",
                    (name, value),
                )
            connection.execute(
                "UPDATE log_head SET next_index = %s, frontier = %b",
                (tree.size, tree.to_bytes()),
            )
            connection.execute(
                "UPDATE token_index_missing SET next_index = 0, end_index = %s",
                (unindexed,),
            )
            connection.execute(
                "DELETE FROM meta WHERE name = %s", (schema.COPIED_FROM,)
            )

    # -- inside

    @contextmanager
    def _told(self) -> Generator[None]:
        try:
            yield
        except STORAGE_ERRORS as cause:
            raise translated(cause, self.place.name) from cause

    @contextmanager
    def _transaction(self) -> Generator[Connection]:
        with self._told(), self._connection.transaction():
            yield self._connection

    @contextmanager
    def _ours(self, size: int | None) -> Generator[Connection]:
        """Yield the connection if nobody else copies here, or has written meanwhile."""
        with self._transaction() as connection:
            connection.execute("SELECT FROM log_head FOR UPDATE")
            there = self._size(connection)
            if schema.copied_from(connection) != self._source or (
                size is not None and there != size
            ):
                raise LedgerError(f"another copy writes to {self.place.name}")
            yield connection

    @staticmethod
    def _size(connection: Connection) -> int:
        statement = "SELECT coalesce(max(notification_id), 0) FROM stored_events"
        return _one(connection, statement)

    @staticmethod
    def _has_rows(connection: Connection, table: str) -> bool:
        statement = sql.SQL("SELECT FROM {} LIMIT 1").format(sql.Identifier(table))
        return connection.execute(statement).fetchone() is not None

    @staticmethod
    def _incarnation(connection: Connection) -> object:
        found = connection.execute("SELECT value FROM meta WHERE name = 'incarnation'")
        row = found.fetchone()
        return row and row[0]

    @staticmethod
    def _events(connection: Connection, portion: Portion) -> list[Row]:
        found = connection.execute(
            "SELECT notification_id, replace(originator_id::text, '-', ''),"
            " originator_version, topic, state, leaf_hash FROM stored_events"
            " WHERE notification_id > %s AND notification_id <= %s"
            " ORDER BY notification_id",
            (portion.first, portion.end),
        )
        return found.fetchall()

    def _compare(
        self, connection: Connection, portion: Portion, table: str, names: list[str]
    ) -> None:
        sent = portion.rows[table]
        if "leaf_index" in names and table != "current_grants":
            where = sql.SQL("leaf_index >= {} AND leaf_index < {}").format(
                portion.first, portion.end
            )
        else:
            at = names.index("grant_id")
            where = sql.SQL("grant_id = ANY({})").format([row[at] for row in sent])
        statement = sql.SQL("SELECT {} FROM {} WHERE {}").format(
            _names(names), sql.Identifier(table), where
        )
        # No two rows are alike: each table has a key.
        if set(sent) != set(connection.execute(statement).fetchall()):
            raise IntegrityError(
                f"{table} of {self.place.name} is not the source's at leaves "
                f"{portion.first} to {portion.end - 1}"
            )


def _pruned_since(mine: Row, theirs: Row) -> bool:
    """Tell whether two rows differ only in the bytes that the first has lost."""
    return (
        mine[4] == b""
        and (*mine[:4], mine[5]) == (*theirs[:4], theirs[5])
        and leaf_hash(theirs[4]) == theirs[5]
    )


def _one(connection: Connection, statement: LiteralString) -> int:
    row = connection.execute(statement).fetchone()
    if row is None:
        raise IntegrityError("the log has no head")
    return int(row[0])


def _names(names: Iterable[str]) -> sql.Composed:
    return sql.SQL(", ").join(map(sql.Identifier, names))


def _delete(connection: Connection, table: str, grants: list[str]) -> None:
    connection.execute(
        sql.SQL("DELETE FROM {} WHERE grant_id = ANY(%s)").format(
            sql.Identifier(table)
        ),
        (grants,),
    )


def _copy(
    connection: Connection, table: str, names: Iterable[str], rows: Iterable[Row]
) -> None:
    statement = sql.SQL("COPY {} ({}) FROM STDIN").format(
        sql.Identifier(table), _names(names)
    )
    with connection.cursor() as cursor, cursor.copy(statement) as copy:
        for row in rows:
            copy.write_row(row)
