"""The event store library's own cases hold for the PostgreSQL recorders.

They alone let faulty recorders pass: the tailing reader is in `test_postgres_log`.
"""

from __future__ import annotations

from uuid import uuid4

import pytest
from eventsourcing.persistence import ProgrammingError, StoredEvent, Tracking
from eventsourcing.postgres import PostgresDatastore
from eventsourcing.tests import persistence as cases
from psycopg.conninfo import conninfo_to_dict

from grantledger.adapters.ledger.postgres.recorders import (
    PgAggregateRecorder,
    PgApplicationRecorder,
    PgProcessRecorder,
    PgTrackingRecorder,
)
from tests.contract.stores import PostgresStore, proven


def datastore(store: PostgresStore) -> PostgresDatastore:
    said = conninfo_to_dict(store.conninfo)
    return PostgresDatastore(
        dbname=str(said["dbname"]),
        host=str(said["host"]),
        port=str(said.get("port", "5432")),
        user=str(said["user"]),
        password=str(said.get("password", "")),
        schema=store.name,
        pool_size=2,
        max_overflow=20,
        max_waiting=100,
    )


class InASchema:
    """A schema for the case, and at its end the proof of what it wrote."""

    datastore: PostgresDatastore
    store: PostgresStore

    @pytest.fixture(autouse=True)
    def _given(self, dsn: str) -> None:
        self.store = PostgresStore(dsn)

    def setUp(self) -> None:
        self.datastore = datastore(self.store)

    def tearDown(self) -> None:
        self.datastore.close()
        self.store.migrated()
        proven(self.store)


class TestAggregateRecorder(InASchema, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> PgAggregateRecorder:
        recorder = PgAggregateRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestApplicationRecorder(
    InASchema, cases.ApplicationRecorderTestCase[PgApplicationRecorder]
):
    def create_recorder(self) -> PgApplicationRecorder:
        recorder = PgApplicationRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestNonInterleavingNotificationIds(
    InASchema, cases.NonInterleavingNotificationIDsBaseCase
):
    def create_recorder(self) -> PgApplicationRecorder:
        recorder = PgApplicationRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestTrackingRecorder(InASchema, cases.TrackingRecorderTestCase):
    def create_recorder(self) -> PgTrackingRecorder:
        self.store.migrated()
        recorder = PgTrackingRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestProcessRecorder(InASchema, cases.ProcessRecorderTestCase):
    def create_recorder(self) -> PgProcessRecorder:
        recorder = PgProcessRecorder(self.datastore)
        recorder.create_table()
        return recorder


def test_event_and_tracking_are_one_transaction(postgres: PostgresStore) -> None:
    store = datastore(postgres)
    recorder = PgProcessRecorder(store)
    recorder.create_table()
    seen = Tracking("upstream", 1)
    recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")], tracking=seen)
    with pytest.raises(Exception, match="Failed to record tracking"):
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")], tracking=seen)
    assert recorder.max_notification_id() == 1
    store.close()


def test_a_leaf_over_the_limit_is_refused(postgres: PostgresStore) -> None:
    store = datastore(postgres)
    recorder = PgApplicationRecorder(store)
    with pytest.raises(ProgrammingError, match="65536 bytes; the limit is 65535"):
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", bytes(65_536))])
    assert recorder.max_notification_id() is None
    store.close()


def test_a_conflict_leaves_no_gap(postgres: PostgresStore) -> None:
    store = datastore(postgres)
    recorder = PgApplicationRecorder(store)
    event = StoredEvent(uuid4(), 1, "t", b"{}")
    assert recorder.insert_events([event]) == [1]
    with pytest.raises(Exception, match="duplicate key"):
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}"), event])
    assert recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")]) == [2]
    store.close()
    assert proven(postgres) == 2


def test_events_in_a_table_of_another_name_are_refused(
    postgres: PostgresStore,
) -> None:
    store = datastore(postgres)
    with pytest.raises(ProgrammingError, match="in stored_events only"):
        PgApplicationRecorder(store, events_table_name="others")
    store.close()
