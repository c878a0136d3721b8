"""The library's own `ProjectionRunner` on the same task, for `benchmarks.projection`.

An event a hand-out, in the clear, saved through the library's `Application`. The
runner takes one after the other, and stores a row of the audit trail, its digests and
its position in one transaction, as the library's projections do. Its tables have the
columns and the indexes of the ledger's.
"""

from __future__ import annotations

import hmac
import os
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from eventsourcing.application import Application
from eventsourcing.dispatch import singledispatchmethod
from eventsourcing.domain import Aggregate, event
from eventsourcing.persistence import (
    ApplicationRecorder,
    ListenNotifySubscription,
    Subscription,
    Tracking,
)
from eventsourcing.postgres import PostgresDatastore, PostgresTrackingRecorder
from eventsourcing.projection import Projection, ProjectionRunner
from eventsourcing.sqlite import (
    SQLiteApplicationRecorder,
    SQLiteDatastore,
    SQLiteTrackingRecorder,
)
from eventsourcing.utils import get_topic
from psycopg import sql

from benchmarks.append_sides import stock_options
from grantledger.adapters.keys.clock import RandomIds

PER_GRANT = 100
_KEY = os.urandom(32)
_TABLES = (
    (
        "CREATE TABLE IF NOT EXISTS {0}trail ("
        " side integer NOT NULL, leaf_index bigint NOT NULL, entry integer NOT NULL,"
        " recorded_at bigint NOT NULL, occurred_at bigint NOT NULL, grant_id text,"
        " stream text NOT NULL, stream_seq bigint NOT NULL, event text NOT NULL,"
        " outcome text NOT NULL, provider text NOT NULL, caller text, actor_kind text,"
        " generation bigint NOT NULL, request_id text NOT NULL, node text NOT NULL,"
        " policy text NOT NULL, reason text, audience text, scopes text NOT NULL,"
        " expires_at bigint, PRIMARY KEY (side, leaf_index, entry)){1}"
    ),
    (
        "CREATE TABLE IF NOT EXISTS {0}trail_terms (side integer NOT NULL,"
        " leaf_index bigint NOT NULL, entry integer NOT NULL, term {2} NOT NULL,"
        " PRIMARY KEY (side, leaf_index, entry, term)){1}"
    ),
    (
        "CREATE INDEX IF NOT EXISTS trail_grant ON {0}trail"
        " (side, grant_id, leaf_index, entry)"
    ),
    (
        "CREATE INDEX IF NOT EXISTS trail_request ON {0}trail"
        " (side, request_id, leaf_index, entry)"
    ),
    (
        "CREATE INDEX IF NOT EXISTS trail_event ON {0}trail"
        " (side, event, leaf_index, entry)"
    ),
    (
        "CREATE INDEX IF NOT EXISTS trail_caller ON {0}trail"
        " (side, caller, leaf_index, entry)"
    ),
    (
        "CREATE INDEX IF NOT EXISTS trail_term ON {0}trail_terms"
        " (side, term, leaf_index, entry)"
    ),
)
_ROW = ", ".join(["{0}"] * 21)
_TERM = ", ".join(["{0}"] * 4)
Row = tuple[object, ...]


class Grant(Aggregate):
    """Remembers what was handed out for it."""

    @event("HandedOut")
    def hand_out(
        self, caller: str, request: str, actors: list[str], address: str, mark: str
    ) -> None:
        """Remember the last one."""
        self.last = (caller, request, actors, address, mark)


class SqliteEvents(SQLiteApplicationRecorder):
    """With the library's own subscription, which its recorder for SQLite lacks."""

    def subscribe(
        self, gt: int | None = None, topics: Sequence[str] = ()
    ) -> Subscription[ApplicationRecorder]:
        """Return the events after a position."""
        return ListenNotifySubscription(recorder=self, gt=gt, topics=topics)


class SqliteTrail(SQLiteTrackingRecorder):
    """The tables in a file."""

    def __init__(self, datastore: SQLiteDatastore) -> None:
        super().__init__(datastore)
        said = [each.format("", " WITHOUT ROWID", "BLOB") for each in _TABLES]
        self.create_table_statements += said
        self._row = f"INSERT INTO trail VALUES ({_ROW.format('?')})"  # noqa: S608 - question marks only
        self._term = f"INSERT INTO trail_terms VALUES ({_TERM.format('?')})"  # noqa: S608 - likewise

    def store(self, row: Row, terms: Sequence[Row], tracking: Tracking) -> None:
        """Store what was made of an event, and that it was."""
        with self.datastore.transaction(commit=True) as c:
            self._insert_tracking(c, tracking)
            c.execute(self._row, row)
            c.executemany(self._term, terms)


class PostgresTrail(PostgresTrackingRecorder):
    """The tables in a schema."""

    def __init__(
        self, datastore: PostgresDatastore, *, tracking_table_name: str
    ) -> None:
        super().__init__(datastore, tracking_table_name=tracking_table_name)
        into = f"{datastore.schema}."
        for each in _TABLES:
            said: Any = each.format(into, "", "bytea")
            self.sql_create_statements.append(sql.SQL(said).format())
        self._row = f"INSERT INTO {into}trail VALUES ({_ROW.format('%s')})".encode()  # noqa: S608 - marks only
        self._term = (
            f"INSERT INTO {into}trail_terms VALUES ({_TERM.format('%s')})".encode()  # noqa: S608 - likewise
        )

    def store(self, row: Row, terms: Sequence[Row], tracking: Tracking) -> None:
        """Store what was made of an event, and that it was."""
        with self.datastore.transaction(commit=True) as c:
            self._insert_tracking(c, tracking)
            c.execute(self._row, row, prepare=True)
            for term in terms:
                c.execute(self._term, term, prepare=True)


class TrailProjection(Projection[Any]):
    """Makes the rows."""

    name = "trail"

    @singledispatchmethod
    def process_event(self, domain_event: Any, tracking: Tracking) -> None:  # noqa: ANN401 - the library's
        """Store the row of an event."""
        said = domain_event
        number = tracking.notification_id
        said_of: dict[str, Any] = said.__dict__
        at = int(said.timestamp.timestamp() * 1_000_000)
        found = [("token", said_of.get("mark", ""))]
        found += [("actor", actor) for actor in said_of.get("actors", ())]
        found.append(("address", said_of.get("address", "")))
        grant: UUID = said.originator_id
        row = (
            *(0, number, 0, at, at, grant.hex, grant.hex, said.originator_version),
            *(type(said).__name__, "success", "bench", said_of.get("caller", "")),
            *(None, 1, said_of.get("request", ""), "bench", "", None, None, "a", at),
        )
        terms = [(0, number, 0, _digest(each)) for each in found]
        self.view.store(row, terms, tracking)


def _digest(said: tuple[str, str]) -> bytes:
    return hmac.digest(_KEY, "\0".join(said).encode(), "sha256")[:16]


class Stock:
    """An application with a history, and its projection.

    Args:
        folder: for the files.
        conninfo: of the server; None: in SQLite.
        entries: hand-outs.

    Attributes:
        events: how many there are.
    """

    def __init__(self, folder: Path, conninfo: str | None, entries: int) -> None:
        self._configure(folder, conninfo)
        self.events = self._fill(entries)

    def _configure(self, folder: Path, conninfo: str | None) -> None:
        if conninfo is None:
            self._view: type[Any] = SqliteTrail
            self._env = {
                "PERSISTENCE_MODULE": "eventsourcing.sqlite",
                "APPLICATION_RECORDER_TOPIC": get_topic(SqliteEvents),
                "SQLITE_DBNAME": str(folder / "stock.db"),
                "TRAIL_SQLITE_DBNAME": str(folder / "stock-trail.db"),
            }
            return
        self._view = PostgresTrail
        said = {f"POSTGRES_{n.upper()}": v for n, v in stock_options(conninfo).items()}
        self._env = {"PERSISTENCE_MODULE": "eventsourcing.postgres", **said}

    def _fill(self, entries: int) -> int:
        application: Application[UUID] = Application(self._env)
        ids = RandomIds()
        events = 0
        for start in range(0, entries, PER_GRANT):
            grant = Grant()
            for number in range(start, min(start + PER_GRANT, entries)):
                grant.hand_out(
                    f"caller-{number % 40}",
                    ids.request_id(),
                    ["agent-7", "agent-8"],
                    "198.51.100.4",
                    f"hmac-sha256:k:{grant.id.hex * 2}",
                )
            events += len(grant.pending_events)
            application.save(grant)
        application.close()
        return events

    @contextmanager
    def caught_up(self) -> Generator[None]:
        """Run the projection until it has every event; then end it."""
        with ProjectionRunner(
            application_class=Application[UUID],
            projection_class=TrailProjection,
            view_class=self._view,
            env=self._env,
        ) as runner:
            runner.wait(self.events, timeout=600)
            yield
