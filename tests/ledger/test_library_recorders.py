"""The event store library's own cases hold for the ledger's recorders.

They alone let faulty recorders pass; `test_tailing_reader` and `test_atomicity` have
what they leave out. The library's transcoder cases have nothing to hold for: leaves
are written by `LeafMapper`, which has none; `test_codec` stands in their place.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from uuid import uuid4

import pytest
from eventsourcing.persistence import (
    InfrastructureFactory,
    InterfaceError,
    ProgrammingError,
    StoredEvent,
    Tracking,
)
from eventsourcing.sqlite import SQLiteDatastore
from eventsourcing.tests import application as example
from eventsourcing.tests import persistence as cases
from eventsourcing.utils import Environment, get_topic

from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.recorders import (
    LedgerAggregateRecorder,
    LedgerApplicationRecorder,
    LedgerFactory,
    LedgerProcessRecorder,
    LedgerTrackingRecorder,
)
from tests.ledger.merkle import naive_root, recomputed


class OnAFile:
    """A ledger file for the case, and at its end the proof of what it wrote."""

    path: Path
    datastore: LedgerDatastore

    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "ledger.db"
        files.private_file(self.path)
        self.datastore = LedgerDatastore(str(self.path))

    def tearDown(self) -> None:
        self.datastore.close()
        head, hashes = recomputed(self.path)
        assert head.root() == naive_root(hashes)
        self.folder.cleanup()


class TestAggregateRecorder(OnAFile, cases.AggregateRecorderTestCase):
    def create_recorder(self) -> LedgerAggregateRecorder:
        recorder = LedgerAggregateRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestApplicationRecorder(
    OnAFile, cases.ApplicationRecorderTestCase[LedgerApplicationRecorder]
):
    def create_recorder(self) -> LedgerApplicationRecorder:
        recorder = LedgerApplicationRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestNonInterleavingNotificationIds(
    OnAFile, cases.NonInterleavingNotificationIDsBaseCase
):
    def create_recorder(self) -> LedgerApplicationRecorder:
        recorder = LedgerApplicationRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestTrackingRecorder(OnAFile, cases.TrackingRecorderTestCase):
    def tearDown(self) -> None:
        self.datastore.close()
        self.folder.cleanup()

    def create_recorder(self) -> LedgerTrackingRecorder:
        recorder = LedgerTrackingRecorder(self.datastore)
        recorder.create_table()
        return recorder


class TestProcessRecorder(OnAFile, cases.ProcessRecorderTestCase):
    def create_recorder(self) -> LedgerProcessRecorder:
        recorder = LedgerProcessRecorder(self.datastore)
        recorder.create_table()
        return recorder


class SpecialTracking(LedgerTrackingRecorder):
    """For the case that names a recorder by its topic."""


class TestFactory(cases.InfrastructureFactoryTestCase[LedgerFactory]):
    def setUp(self) -> None:
        self.folder = tempfile.TemporaryDirectory()
        path = Path(self.folder.name) / "ledger.db"
        self.env = Environment(
            "TestCase",
            {
                InfrastructureFactory.PERSISTENCE_MODULE: get_topic(LedgerFactory),
                LedgerFactory.SQLITE_DBNAME: str(path),
            },
        )
        super().setUp()

    def tearDown(self) -> None:
        super().tearDown()
        self.folder.cleanup()

    def expected_factory_class(self) -> type[LedgerFactory]:
        return LedgerFactory

    def expected_aggregate_recorder_class(self) -> type[LedgerAggregateRecorder]:
        return LedgerAggregateRecorder

    def expected_application_recorder_class(self) -> type[LedgerApplicationRecorder]:
        return LedgerApplicationRecorder

    def expected_tracking_recorder_class(self) -> type[LedgerTrackingRecorder]:
        return LedgerTrackingRecorder

    def tracking_recorder_subclass(self) -> type[LedgerTrackingRecorder]:
        return SpecialTracking

    def expected_process_recorder_class(self) -> type[LedgerProcessRecorder]:
        return LedgerProcessRecorder


class TestExampleApplication(example.ExampleApplicationTestCase):
    expected_factory_topic = get_topic(LedgerFactory)

    def setUp(self) -> None:
        super().setUp()
        folder = tempfile.TemporaryDirectory()
        self.addCleanup(folder.cleanup)
        # The case makes its application itself; the environment is its only way in.
        said = {
            "PERSISTENCE_MODULE": self.expected_factory_topic,
            "SQLITE_DBNAME": f"{folder.name}/ledger.db",
        }
        os.environ.update(said)
        for name in said:
            self.addCleanup(os.environ.pop, name)


def test_a_plain_datastore_is_refused(tmp_path: Path) -> None:
    """It would neither sync each commit nor lock before it reads."""
    plain = SQLiteDatastore(str(tmp_path / "plain.db"))
    with pytest.raises(ProgrammingError, match="LedgerDatastore"):
        LedgerApplicationRecorder(plain)
    plain.close()


def test_memory_is_no_ledger() -> None:
    with pytest.raises(InterfaceError, match="a ledger is a file"):
        LedgerDatastore(":memory:")


def test_a_leaf_over_the_limit_is_refused(tmp_path: Path) -> None:
    files.create(tmp_path / "ledger.db")
    store = LedgerDatastore(str(tmp_path / "ledger.db"))
    recorder = LedgerApplicationRecorder(store)
    with pytest.raises(ProgrammingError, match="65536 bytes; the limit is 65535"):
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", bytes(65_536))])
    assert recorder.max_notification_id() is None
    store.close()


def test_event_and_tracking_are_one_transaction(tmp_path: Path) -> None:
    files.create(tmp_path / "ledger.db")
    store = LedgerDatastore(str(tmp_path / "ledger.db"))
    recorder = LedgerProcessRecorder(store)
    recorder.create_table()
    seen = Tracking("upstream", 1)
    recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")], tracking=seen)
    with pytest.raises(Exception, match="Failed to record tracking"):
        recorder.insert_events([StoredEvent(uuid4(), 1, "t", b"{}")], tracking=seen)
    assert recorder.max_notification_id() == 1
    store.close()
