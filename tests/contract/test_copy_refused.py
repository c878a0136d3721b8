"""A copy that must not go through: what is wrong is named, nothing is lost."""

from __future__ import annotations

import asyncio
import os
import sqlite3
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import pytest

from grantledger.adapters.keys.ring import KeyRing
from grantledger.adapters.ledger import datastore as files
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.domain.errors import (
    IntegrityError,
    LedgerClosed,
    LedgerError,
    LedgerReadOnly,
    LedgerRestored,
    NotALedger,
    Unavailable,
    WrongKey,
)
from grantledger.projections.transparency import leaf_hash
from tests.contract.copy_scene import Move, append
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import NOW, Scene, hand_out, new_grant

USERS = 4


async def write(source: Scene) -> None:
    async with source.opened() as ledger:
        for number in range(USERS):
            grant = new_grant(f"user{number}")
            await append(ledger, grant)
            await ledger.record(hand_out(grant.fork()))


@pytest.fixture
def move(postgres: PostgresStore, tmp_path: Path) -> Move:
    source = Scene(tmp_path / "source.db").make()
    postgres.ring = source.ring
    asyncio.run(write(source))
    return Move(source, postgres)


def refused(move: Move, kind: type[Exception], words: str) -> None:
    """Run the copy: it fails, and the source is the ledger as before."""
    before = move.source.sql("SELECT * FROM log_head")
    with pytest.raises(kind, match=words):
        move.run()
    assert move.source.sql("SELECT * FROM log_head") == before


def half_there(move: Move) -> None:
    """What is at the target is no ledger: it is not opened, and says what to do."""
    with pytest.raises(LedgerError, match="not finished; `grantledger copy`"):
        move.store.open()


TAMPERED = {
    "a leaf": ("UPDATE stored_events SET state = x'00' WHERE rowid = 4", "leaf 3 diff"),
    "its hash": (
        "UPDATE stored_events SET leaf_hash = x'00' WHERE rowid = 4",
        "leaf 3",
    ),
    "text for bytes": (
        "UPDATE stored_events SET state = 'text' WHERE rowid = 4",
        "leaf 3 differs",
    ),
    "a leaf is gone": (
        "DELETE FROM stored_events WHERE rowid = 4",
        "leaf 3 is missing",
    ),
    "the last is gone": (
        "DELETE FROM stored_events WHERE rowid = 8",
        "leaf 7 is missing",
    ),
    "its topic": (
        "UPDATE stored_events SET topic = 'x' WHERE rowid = 4",
        "leaf 3 contra",
    ),
    "its stream": (
        "UPDATE stored_events SET originator_id = 'x' WHERE rowid = 4",
        "leaf 3 contradicts",
    ),
    "a sealed part": (
        "UPDATE sealed SET ct = x'00' WHERE leaf_index = 3",
        "leaf 3 differs from its sealed parts",
    ),
    "sealed text": (
        "UPDATE sealed SET ct = 'text' WHERE leaf_index = 3",
        "leaf 3 differs from its sealed parts",
    ),
    "a part too many": (
        "INSERT INTO sealed VALUES (3, 7, 'private', 'x', 'x', x'00')",
        "leaf 3 differs from its sealed parts",
    ),
    "the head": ("UPDATE log_head SET frontier = zeroblob(32)", "head differs"),
    "no head": ("DELETE FROM log_head", "no head"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_source_that_was_tampered_with_is_not_moved(move: Move, how: str) -> None:
    statement, words = TAMPERED[how]
    move.source.sql(statement)
    refused(move, IntegrityError, words)
    if how != "no head":
        half_there(move)


def test_a_leaf_changed_with_its_hash_is_seen_by_the_head(move: Move) -> None:
    ((state,),) = move.source.sql("SELECT state FROM stored_events WHERE rowid = 4")
    other = state.replace(b"scanner", b"scammer")
    assert other != state
    move.source.sql(
        "UPDATE stored_events SET state = ?, leaf_hash = ? WHERE rowid = 4",
        other,
        leaf_hash(other),
    )
    refused(move, IntegrityError, "head differs from its leaves")
    half_there(move)


def test_a_target_that_was_tampered_with_is_not_gone_on_with(move: Move) -> None:
    move.source.sql("UPDATE log_head SET frontier = zeroblob(32)")
    with pytest.raises(IntegrityError):
        move.run()
    move.store.sql("UPDATE stored_events SET state = 'x' WHERE notification_id = 3")
    refused(move, IntegrityError, "leaf 2 of .* is not the source's")
    move.store.sql("DELETE FROM stored_events WHERE notification_id = 3")
    refused(move, IntegrityError, "leaf 2 of .* is not the source's")


def test_a_target_that_stores_something_else_is_noticed(move: Move) -> None:
    """What counts is what the server gives back, not what it was given."""
    move.store.sql(
        "CREATE FUNCTION other() RETURNS trigger LANGUAGE plpgsql AS"
        " $$ BEGIN NEW.ct := ''; RETURN NEW; END $$"
    )
    move.store.sql(
        "CREATE TRIGGER other BEFORE INSERT ON sealed FOR EACH ROW"
        " EXECUTE FUNCTION other()"
    )
    refused(move, IntegrityError, "sealed of .* is not the source's at leaves 0 to 7")
    half_there(move)


def test_a_target_without_a_head_is_damaged(move: Move) -> None:
    move.store.sql("DELETE FROM log_head")
    refused(move, IntegrityError, "no head")


async def test_a_wrong_key_ring_changes_nothing(move: Move) -> None:
    before = move.source.files()
    with pytest.raises(WrongKey):
        move.run(ring=KeyRing.generate(os.urandom, NOW))
    assert move.source.files() == before
    async with opened(move.store):
        pass


async def test_a_target_with_a_ledger_in_it_is_refused(move: Move) -> None:
    async with opened(move.store) as ledger:
        await append(ledger, new_grant())
    refused(move, LedgerError, "is not empty")
    assert proven(move.store) == 1


async def test_a_target_with_a_client_in_it_is_refused(move: Move) -> None:
    async with opened(move.store) as ledger:
        await ledger.keep_client("cloud", b"sealed")
    refused(move, LedgerError, "is not empty")


async def test_a_target_that_was_only_opened_is_empty(move: Move) -> None:
    async with opened(move.store):
        pass
    move.run()
    move.same()


async def test_who_had_the_empty_target_open_cannot_append_to_it(move: Move) -> None:
    """Neither in the middle of the copy, nor as if the log were still empty."""
    move.source.sql("UPDATE log_head SET frontier = zeroblob(32)")
    async with opened(move.store) as early:
        with pytest.raises(IntegrityError):
            move.run()
        with pytest.raises(LedgerRestored, match="it has -1 leaves"):
            await append(early, new_grant("early"))
        assert move.store.sql("SELECT count(*) FROM current_grants") == [(USERS,)]


def test_the_target_of_another_source_is_refused(move: Move, tmp_path: Path) -> None:
    other = Move(Scene(tmp_path / "other.db").make(), move.store)
    other.source.sql("UPDATE log_head SET frontier = zeroblob(32)")
    with pytest.raises(IntegrityError):
        other.run()
    refused(move, LedgerError, "unfinished copy of another ledger")


def test_a_source_that_was_set_back_is_not_what_the_target_holds(move: Move) -> None:
    """A backup of the file, put in its place during the copy, lacks what is there."""
    move.source.sql("UPDATE log_head SET frontier = zeroblob(32)")
    with pytest.raises(IntegrityError):
        move.run()
    move.source.sql("UPDATE log_head SET next_index = 3")
    refused(move, IntegrityError, "holds 8 leaves and the source 3")


def test_a_schema_without_a_ledger_is_refused(move: Move, dsn: str) -> None:
    empty = Place(dsn, "nothing_here")
    with pytest.raises(LedgerError, match="`grantledger migrate` makes one"):
        move.run(place=empty)


def test_a_server_that_is_not_there_is_unavailable(move: Move) -> None:
    nowhere = Place("postgresql://127.0.0.1:1/nowhere")
    with pytest.raises(Unavailable):
        move.run(place=nowhere)
    assert move.closed() is None


def test_who_may_only_append_cannot_copy(move: Move) -> None:
    role = f"u_{move.store.name}"
    move.store.sql(f"CREATE ROLE {role} LOGIN")
    move.store.sql(f"GRANT USAGE ON SCHEMA {move.store.name} TO {role}")
    move.store.sql(f"GRANT SELECT ON ALL TABLES IN SCHEMA {move.store.name} TO {role}")
    conninfo = Place(move.store.conninfo).options()
    place = Place(
        f"host={conninfo['host']} dbname={conninfo['dbname']} user={role}",
        move.store.name,
    )
    with pytest.raises(LedgerReadOnly):
        move.run(place=place)
    move.store.sql(f"DROP OWNED BY {role}")
    move.store.sql(f"DROP ROLE {role}")
    assert move.closed() is None


def test_a_source_that_is_none_is_told(move: Move, tmp_path: Path) -> None:
    path = tmp_path / "text"
    path.write_text("no ledger")
    for where, kind in ((path, NotALedger), (tmp_path / "no", LedgerError)):
        with pytest.raises(kind):
            replace(move, source=Scene(where, ring=move.source.ring)).run()


def test_a_source_of_the_first_schema_is_brought_up_to_date(move: Move) -> None:
    path = move.source.path.with_name("old.db")
    files.private_file(path)
    ring = move.source.ring
    with closing(sqlite3.connect(path)) as old:
        for statement in files.statements(files.migrations()[0][1]):
            old.execute(statement)
        old.executemany(
            "INSERT INTO key_checks VALUES (?,?)", ring.check_values().items()
        )
        old.execute(f"PRAGMA application_id={files.APPLICATION_ID}")
        old.execute("PRAGMA user_version=1")
        old.commit()
    older = replace(move, source=Scene(path, ring=ring))
    assert older.run().leaves == 1
    older.same()


def test_what_was_moved_elsewhere_is_not_copied_again(move: Move) -> None:
    first = move.name
    move.run()
    other = replace(move.store, name=f"{move.store.name}_b").migrated()
    again = replace(move, store=other)
    refused(again, LedgerClosed, f"it is {first}")
    assert not other.sql("SELECT 1 FROM meta WHERE name = 'copied_from'")


async def test_what_was_moved_here_is_compared_again_and_left_alone(move: Move) -> None:
    copied = move.run()
    async with opened(move.store) as ledger:
        await append(ledger, new_grant("afterwards"))
    again = move.run()
    assert (again.leaves, again.root) == (copied.leaves, copied.root)
    assert proven(move.store) == copied.leaves + 1
    move.store.sql("UPDATE stored_events SET state = 'x' WHERE notification_id = 3")
    with pytest.raises(IntegrityError, match="leaf 2 of"):
        move.run()


def test_what_was_moved_here_and_is_not_there_any_more_is_missed(move: Move) -> None:
    """Such as after a failover to a server that lacks the newest leaves."""
    size = move.run().leaves
    move.store.sql("DELETE FROM stored_events WHERE notification_id = ?", size)
    with pytest.raises(IntegrityError, match=f"leaf {size - 1} of .* is gone"):
        move.run()


def test_a_source_closed_for_another_reason_is_not_moved(move: Move) -> None:
    move.source.sql("UPDATE log_head SET closed = 'an operator said so'")
    refused(move, LedgerClosed, "an operator said so")
