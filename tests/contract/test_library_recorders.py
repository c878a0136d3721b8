"""The event store library's own cases hold for the ledger's recorders, on every store.

They alone let faulty recorders pass; `test_tailing_reader` and `test_atomicity` have
what they leave out. The library's transcoder cases have nothing to hold for: leaves
are written by `LeafMapper`, which has none; `tests/ledger/test_codec` stands in their
place.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    InfrastructureFactory,
    InterfaceError,
    ProcessRecorder,
    ProgrammingError,
    StoredEvent,
    Tracking,
    TrackingRecorder,
)
from eventsourcing.sqlite import SQLiteDatastore
from eventsourcing.tests import application as example
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment, get_topic
from psycopg.conninfo import make_conninfo

from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.postgres.recorders import (
    PgApplicationRecorder,
    PgLedgerFactory,
    PgProcessRecorder,
    PgTrackingRecorder,
)
from grantledger.adapters.ledger.recorders import (
    LedgerApplicationRecorder,
    LedgerFactory,
    LedgerTrackingRecorder,
)
from tests.contract.stores import PostgresStore, SqliteStore, Store, proven


class OnAStore:
    """A ledger for the case, and at its end the proof of what it wrote."""

    store: Store
    factory_class: type[InfrastructureFactory[Any]]
    special_tracking: type[TrackingRecorder]

    def setUp(self) -> None:
        self.stack = ExitStack()
        self.store = self.made()
        self.datastore = self.stack.enter_context(self.store.datastore())

    def tearDown(self) -> None:
        self.stack.close()
        proven(self.store)

    def made(self) -> Store:
        raise NotImplementedError

    def said(self) -> Mapping[str, str]:
        """Return the environment that the library's factory reads."""
        raise NotImplementedError

    def recorder(self, kind: Callable[..., Any]) -> Any:  # noqa: ANN401 - of that kind
        made = kind(self.datastore)
        made.create_table()
        return made


class SpecialTracking(LedgerTrackingRecorder):
    """For the case that names a recorder by its topic."""


class OnSqlite(OnAStore):
    factory_class = LedgerFactory
    special_tracking = SpecialTracking

    def made(self) -> SqliteStore:
        # Not closed with the rest: it is looked at once more.
        self.folder = tempfile.TemporaryDirectory()
        return SqliteStore(Path(self.folder.name) / "ledger.db")

    def tearDown(self) -> None:
        super().tearDown()
        self.folder.cleanup()

    def said(self) -> Mapping[str, str]:
        return {LedgerFactory.SQLITE_DBNAME: f"{self.folder.name}/ledger.db"}


class SpecialPgTracking(PgTrackingRecorder):
    """For the case that names a recorder by its topic."""


class SpecialApplication(PgApplicationRecorder):
    """For the case that names a recorder by its topic."""


class SpecialProcess(PgProcessRecorder):
    """For the case that names a recorder by its topic."""


class OnPostgres(OnAStore):
    factory_class = PgLedgerFactory
    special_tracking = SpecialPgTracking

    @pytest.fixture(autouse=True)
    def _given(self, dsn: str) -> None:
        self.dsn = dsn

    def made(self) -> PostgresStore:
        # Not migrated: the recorders make their tables.
        return PostgresStore(self.dsn)

    def tearDown(self) -> None:
        assert isinstance(self.store, PostgresStore)
        self.store.migrated()
        super().tearDown()

    def said(self) -> Mapping[str, str]:
        assert isinstance(self.store, PostgresStore)
        options = self.store.library_options()
        names = ("dbname", "host", "port", "user", "password", "schema")
        return {f"POSTGRES_{name.upper()}": str(options[name]) for name in names}


class Aggregates(OnAStore):
    def create_recorder(self) -> Any:  # noqa: ANN401 - the store's
        return self.recorder(self.store.recorders.aggregate)


class Applications(OnAStore):
    def create_recorder(self) -> Any:  # noqa: ANN401 - the store's
        return self.recorder(self.store.recorders.application)


class Trackings(OnAStore):
    def create_recorder(self) -> Any:  # noqa: ANN401 - the store's
        return self.recorder(self.store.recorders.tracking)


class Processes(OnAStore):
    def create_recorder(self) -> Any:  # noqa: ANN401 - the store's
        return self.recorder(self.store.recorders.process)


class Factories(OnAStore):
    env: Environment

    def setUp(self) -> None:
        super().setUp()
        topic = get_topic(self.factory_class)
        said = {InfrastructureFactory.PERSISTENCE_MODULE: topic, **self.said()}
        self.env = Environment("TestCase", said)
        cases.InfrastructureFactoryTestCase.setUp(self)  # type: ignore[arg-type] # mixed in before it

    def tearDown(self) -> None:
        cases.InfrastructureFactoryTestCase.tearDown(self)  # type: ignore[arg-type] # mixed in before it
        super().tearDown()

    def expected_factory_class(self) -> type[Any]:
        return self.factory_class

    def expected_aggregate_recorder_class(self) -> type[Any]:
        return self.store.recorders.aggregate

    def expected_application_recorder_class(self) -> type[Any]:
        return self.store.recorders.application

    def expected_tracking_recorder_class(self) -> type[Any]:
        return self.store.recorders.tracking

    def tracking_recorder_subclass(self) -> type[Any]:
        return self.special_tracking

    def expected_process_recorder_class(self) -> type[Any]:
        return self.store.recorders.process


class Examples(OnAStore):
    expected_factory_topic: str

    def setUp(self) -> None:
        super().setUp()
        self.expected_factory_topic = get_topic(self.factory_class)
        # The case makes its application itself; the environment is its only way in.
        said = {"PERSISTENCE_MODULE": self.expected_factory_topic, **self.said()}
        os.environ.update(said)
        for name in said:
            self.stack.callback(os.environ.pop, name)


class TestAggregateRecorderOnSqlite(
    OnSqlite, Aggregates, cases.AggregateRecorderTestCase
): ...


class TestAggregateRecorderOnPostgres(
    OnPostgres, Aggregates, cases.AggregateRecorderTestCase
): ...


class TestApplicationRecorderOnSqlite(
    OnSqlite, Applications, cases.ApplicationRecorderTestCase[Any]
): ...


class TestApplicationRecorderOnPostgres(
    OnPostgres, Applications, cases.ApplicationRecorderTestCase[Any]
): ...


class TestNonInterleavingNotificationIdsOnSqlite(
    OnSqlite, Applications, cases.NonInterleavingNotificationIDsBaseCase
): ...


class TestNonInterleavingNotificationIdsOnPostgres(
    OnPostgres, Applications, cases.NonInterleavingNotificationIDsBaseCase
): ...


class TestTrackingRecorderOnSqlite(
    OnSqlite, Trackings, cases.TrackingRecorderTestCase
): ...


class TestTrackingRecorderOnPostgres(
    OnPostgres, Trackings, cases.TrackingRecorderTestCase
): ...


class TestProcessRecorderOnSqlite(
    OnSqlite, Processes, cases.ProcessRecorderTestCase
): ...


class TestProcessRecorderOnPostgres(
    OnPostgres, Processes, cases.ProcessRecorderTestCase
): ...


class TestFactoryOnSqlite(
    OnSqlite, Factories, cases.InfrastructureFactoryTestCase[Any]
): ...


class TestFactoryOnPostgres(
    OnPostgres, Factories, cases.InfrastructureFactoryTestCase[Any]
): ...


class TestExampleApplicationOnSqlite(
    OnSqlite, Examples, example.ExampleApplicationTestCase
): ...


class TestExampleApplicationOnPostgres(
    OnPostgres, Examples, example.ExampleApplicationTestCase
): ...


def test_event_and_tracking_are_one_transaction(store: Store) -> None:
    with store.datastore() as datastore:
        recorder: ProcessRecorder = store.recorders.process(datastore)
        recorder.create_table()  # type: ignore[attr-defined] # both stores' have it
        seen = Tracking("upstream", 1)
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")], tracking=seen)
        with pytest.raises(Exception, match="Failed to record tracking"):
            recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")], tracking=seen)
        assert recorder.max_notification_id() == 1
    assert proven(store) == 1


def test_a_leaf_over_the_limit_is_refused(store: Store) -> None:
    with store.datastore() as datastore:
        recorder = store.recorders.application(datastore)
        with pytest.raises(ProgrammingError, match="65536 bytes; the limit is 65535"):
            recorder.insert_events([StoredEvent(uuid4(), 1, "t", bytes(65_536))])
        assert recorder.max_notification_id() is None


def test_a_conflict_leaves_no_gap(store: Store) -> None:
    with store.datastore() as datastore:
        recorder = store.recorders.application(datastore)
        event = StoredEvent(uuid4(), 1, "t", b"{}")
        assert recorder.insert_events([event]) == [1]
        with pytest.raises(Exception, match=r"duplicate key|UNIQUE constraint"):
            recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}"), event])
        assert recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")]) == [2]
    assert proven(store) == 2


def test_snapshots_are_no_leaves(store: Store) -> None:
    """The library's snapshots have a table of their own."""
    with store.datastore() as datastore:
        recorder = store.recorders.aggregate(datastore, events_table_name="snapshots")
        recorder.create_table()
        event = StoredEvent(uuid4(), 1, "t", b"{}")
        recorder.insert_events([event])
        assert recorder.select_events(event.originator_id) == [event]
    assert proven(store) == 0


def test_events_of_an_application_in_another_table_are_refused(
    postgres: PostgresStore,
) -> None:
    with (
        postgres.datastore() as datastore,
        pytest.raises(ProgrammingError, match="in stored_events only"),
    ):
        postgres.recorders.application(datastore, events_table_name="others")


def test_an_append_is_durable_though_the_database_would_not_wait(
    postgres: PostgresStore,
) -> None:
    """A setting of the database or the role does not weaken the recorders' commits."""
    role = f"u_{uuid4().hex[:12]}"
    postgres.sql(f"CREATE ROLE {role} LOGIN SUPERUSER")
    postgres.sql(f"ALTER ROLE {role} SET synchronous_commit = off")
    postgres.sql("CREATE TABLE seen (value text)")
    postgres.sql(
        "CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN INSERT INTO"
        " seen VALUES (current_setting('synchronous_commit')); RETURN NULL; END $$"
    )
    postgres.sql(
        "CREATE TRIGGER see AFTER INSERT ON stored_events EXECUTE FUNCTION see()"
    )
    weak = replace(postgres, conninfo=make_conninfo(postgres.conninfo, user=role))
    assert weak.sql("SHOW synchronous_commit") == [("on",)], "a ledger's connection"
    with weak.datastore() as datastore:
        recorder = weak.recorders.application(datastore)
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")])
    assert postgres.sql("SELECT DISTINCT value FROM seen") == [("on",)]
    postgres.sql(f"DROP ROLE {role}")


@pytest.mark.parametrize("kind", ["application", "process"])
def test_a_factory_makes_the_recorder_that_a_topic_names(
    postgres: PostgresStore, kind: str
) -> None:
    options = postgres.library_options()
    names = ("dbname", "host", "port", "user", "password", "schema")
    said = {f"POSTGRES_{name.upper()}": str(options[name]) for name in names}
    topic = f"{kind.upper()}_RECORDER_TOPIC"
    named: type[Any] = {
        "application": SpecialApplication,
        "process": SpecialProcess,
    }[kind]
    with PgLedgerFactory({**said, topic: get_topic(named)}) as factory:
        made = getattr(factory, f"{kind}_recorder")()
        assert type(made) is named
        made.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")])
    assert proven(postgres) == 1


def test_a_plain_datastore_is_refused(tmp_path: Path) -> None:
    """It would neither sync each commit nor lock before it reads."""
    plain = SQLiteDatastore(str(tmp_path / "plain.db"))
    with pytest.raises(ProgrammingError, match="LedgerDatastore"):
        LedgerApplicationRecorder(plain)
    plain.close()


def test_memory_is_no_ledger() -> None:
    with pytest.raises(InterfaceError, match="a ledger is a file"):
        LedgerDatastore(":memory:")
