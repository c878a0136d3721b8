"""The library's PostgreSQL recorders, with every event a leaf of the Merkle log.

They keep the library's reads and subscriptions; what they insert goes through the
append function, under the head's lock instead of a table lock. For the library's own
cases and for projections; the broker writes through `transaction`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar, cast

from eventsourcing.persistence import (
    AggregateRecorder,
    ApplicationRecorder,
    InterfaceError,
    OperationalError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.postgres import (
    PostgresAggregateRecorder,
    PostgresApplicationRecorder,
    PostgresDatastore,
    PostgresFactory,
    PostgresProcessRecorder,
    PostgresRecorder,
    PostgresTrackingRecorder,
)
from eventsourcing.utils import resolve_topic, retry
from psycopg import Cursor, sql
from psycopg.conninfo import make_conninfo
from psycopg.rows import DictRow, tuple_row

from grantledger.adapters.ledger.postgres.columns import (
    APPEND,
    LOCK,
    Appended,
    Columns,
    only_row,
)
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.schema import migrate
from grantledger.adapters.ledger.recorders import EVENTS

R = TypeVar("R", bound=PostgresRecorder)
EVENT_TYPE = "stored_event"
"""In every statement about the library's own table, its type and its function."""

DURABLE_HERE = (
    b"SELECT set_config('synchronous_commit', 'on', true)"
    b" WHERE current_setting('synchronous_commit') NOT IN ('on', 'remote_apply')"
)

TRIES = 10
PAUSE_SECONDS = 0.2


class _InSchema(PostgresRecorder):
    """What every recorder over a ledger's schema keeps to."""

    def create_table(self) -> None:
        """Bring the schema to the ledger's newest version, then make what is left."""
        options = cast("dict[str, Any]", self.datastore.pool.kwargs)
        names = ("dbname", "host", "port", "user", "password")
        known: dict[str, Any] = {n: options[n] for n in names if options.get(n)}
        migrate(Place(make_conninfo(**known), self.datastore.schema))
        super().create_table()


class _Leaves(_InSchema, PostgresAggregateRecorder):
    """What the recorders of events share: each event is a leaf."""

    def __init__(
        self,
        datastore: PostgresDatastore,
        *,
        events_table_name: str = EVENTS,
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> None:
        super().__init__(datastore, events_table_name=events_table_name, **kwargs)
        if events_table_name == EVENTS:
            # The migrations make the table; the append function needs no type of rows.
            self.sql_create_statements[:] = [
                statement
                for statement in self.sql_create_statements
                if EVENT_TYPE not in statement.as_string()
            ]

    def _append(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> list[int]:
        """Insert at the head; return notification ids."""
        with self.datastore.transaction(commit=True) as curs:
            self._beside(curs, **kwargs)
            if not stored_events:
                return []
            # Not for longer than this transaction: the library names its schema.
            schema = sql.Identifier(self.datastore.schema)
            curs.execute(sql.SQL("SET LOCAL search_path = {}").format(schema))
            curs.execute(DURABLE_HERE)
            with curs.connection.cursor(row_factory=tuple_row) as c:
                size = int(only_row(c.execute(LOCK).fetchone())[0])
                columns = Columns(size, None)
                columns.insert(stored_events)
                said = Appended(
                    *only_row(c.execute(APPEND, columns.arguments(None)).fetchone())
                )
            return list(range(size + 1, said.size + 1))

    def _beside(
        self,
        curs: Cursor[DictRow],
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> None:
        """Write what a subclass has beside the events."""


class PgAggregateRecorder(_Leaves):
    """Aggregate recorder over the ledger's events.

    Another table, such as the library's snapshots, is as the library has it: it
    holds no leaves. The ledger itself takes no snapshots; its rows are that.
    """

    @retry((InterfaceError, OperationalError), max_attempts=TRIES, wait=PAUSE_SECONDS)
    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> Sequence[int] | None:
        """Insert at the head; an aggregate recorder knows no notifications."""
        if self.events_table_name == EVENTS:
            self._append(stored_events, **kwargs)
        else:
            PostgresAggregateRecorder.insert_events(self, stored_events, **kwargs)
        return None


class PgApplicationRecorder(_Leaves, PostgresApplicationRecorder):
    """Application recorder over the ledger's events."""

    def __init__(
        self,
        datastore: PostgresDatastore,
        *,
        events_table_name: str = EVENTS,
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> None:
        if events_table_name != EVENTS:
            raise ProgrammingError(f"the ledger's events are in {EVENTS} only")
        super().__init__(datastore, events_table_name=events_table_name, **kwargs)
        self.channel_name = f"grantledger_{datastore.schema}"

    @retry((InterfaceError, OperationalError), max_attempts=TRIES, wait=PAUSE_SECONDS)
    def insert_events(
        self,
        stored_events: Sequence[StoredEvent],
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> Sequence[int] | None:
        """Insert at the head; return notification ids."""
        return self._append(stored_events, **kwargs)


class PgTrackingRecorder(_InSchema, PostgresTrackingRecorder):
    """Tracking recorder: the library's own, in the ledger's schema."""


class PgProcessRecorder(
    PgTrackingRecorder, PgApplicationRecorder, PostgresProcessRecorder
):
    """Process recorder: events and tracking in one transaction."""

    def _beside(
        self,
        curs: Cursor[DictRow],
        **kwargs: Any,  # noqa: ANN401 - the library's
    ) -> None:
        tracking: Tracking | None = kwargs.get("tracking")
        if tracking is not None:
            self._insert_tracking(curs, tracking)


class PgLedgerFactory(PostgresFactory):
    """The library's factory, making the ledger's recorders in the ledger's schema.

    The events of every application are the ledger's; tracking and snapshots have the
    tables that the library names after the application.
    """

    aggregate_recorder_class: type[PostgresAggregateRecorder] = PgAggregateRecorder
    application_recorder_class: type[PostgresApplicationRecorder] = (
        PgApplicationRecorder
    )
    tracking_recorder_class = PgTrackingRecorder
    process_recorder_class: type[PostgresProcessRecorder] = PgProcessRecorder

    def aggregate_recorder(self, purpose: str = "events") -> AggregateRecorder:
        """Return one over the ledger's events, or over a table for snapshots."""
        if purpose == "events":
            return self._made(self.aggregate_recorder_class(self.datastore))
        return super().aggregate_recorder(purpose)

    def application_recorder(self) -> ApplicationRecorder:
        """Return one over the ledger's events."""
        topic = self.env.get(self.APPLICATION_RECORDER_TOPIC)
        made: type[PostgresApplicationRecorder] = (
            resolve_topic(topic) if topic else self.application_recorder_class
        )
        return self._made(made(self.datastore))

    def process_recorder(self) -> ProcessRecorder:
        """Return one over the ledger's events, with the application's tracking."""
        topic = self.env.get(self.PROCESS_RECORDER_TOPIC)
        made: type[PostgresProcessRecorder] = (
            resolve_topic(topic) if topic else self.process_recorder_class
        )
        name = self.env.name.lower() or "notification"
        return self._made(made(self.datastore, tracking_table_name=f"{name}_tracking"))

    def _made(self, recorder: R) -> R:
        if self.env_create_table():
            recorder.create_table()
        return recorder
