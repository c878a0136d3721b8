"""A ledger moved from a file to PostgreSQL: the same bytes, and only one goes on."""

from __future__ import annotations

import os
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from uuid import uuid4

import pytest
from eventsourcing.persistence import StoredEvent
from psycopg.conninfo import make_conninfo

from grantledger.adapters.keys.ringtext import KeyUse
from grantledger.adapters.ledger.codec import LeafMapper
from grantledger.adapters.ledger.copying.batches import (
    AS_A_WHOLE,
    BY_ITSELF,
    MADE_ANEW,
    MAX_BYTES,
    MAX_LEAVES,
    WITH_LEAVES,
)
from grantledger.adapters.ledger.copying.source import CopySource
from grantledger.adapters.ledger.postgres.connections import Place
from grantledger.adapters.ledger.postgres.schema import ROLES
from grantledger.adapters.ledger.recorders import (
    EVENTS,
    insert_leaves,
    read_head,
    write_head,
)
from grantledger.domain.errors import LedgerClosed
from grantledger.domain.ledger_events import LEDGER_STREAM
from grantledger.domain.ports import RecordVerdict
from grantledger.projections.transparency import MAX_LEAF_BYTES
from tests.contract.copy_scene import (
    USERS,
    Move,
    append,
    copied_scene,
    live,
    verified,
)
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.parts import parts
from tests.ledger.samples import GRANT, JOURNAL, TOPICS, sample
from tests.ledger.scene import (
    NOW,
    Scene,
    answered,
    ctx,
    hand_out,
    intended,
    new_grant,
    stored,
)


@pytest.fixture(scope="module")
def full(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    scene = Scene(tmp_path_factory.mktemp("full") / "full.db").make()
    live(scene)
    return scene


@pytest.fixture
def move(full: Scene, postgres: PostgresStore, tmp_path: Path) -> Move:
    postgres.ring = full.ring
    return Move(copied_scene(full, tmp_path), postgres)


def test_an_event_of_every_topic_is_copied(
    postgres: PostgresStore, tmp_path: Path
) -> None:
    """Every kind of leaf and sealed part, the earliest forms among them."""
    source = Scene(tmp_path / "source.db").make()
    source.open_once()
    with parts(source) as made, made.store.transaction(commit=True) as c:
        head = read_head(c)
        mapper = LeafMapper(made.keys.cached, os.urandom)
        for stream in (GRANT, JOURNAL):
            made.keys.store(c, *made.keys.make(stream))
        for version, topic in enumerate(TOPICS, start=1):
            event = sample(topic)
            vars(event).update(originator_version=version, event_id=uuid4())
            insert_leaves(c, [mapper.to_stored_event(event)], head)
        write_head(c, head)
    move = Move(source, postgres)
    assert move.run().leaves == len(TOPICS) + 1
    move.same()
    topics = postgres.sql("SELECT topic FROM stored_events")
    assert {topic for (topic,) in topics} == set(TOPICS)


def test_an_empty_ledger_is_moved_too(postgres: PostgresStore, tmp_path: Path) -> None:
    source = Scene(tmp_path / "source.db").make()
    move = Move(source, postgres)
    assert move.run().leaves == 1
    move.same()


def test_a_portion_is_bounded_however_long_the_log_is(tmp_path: Path) -> None:
    """Memory does not grow with the log; neither with many leaves nor with big ones."""
    scene = Scene(tmp_path / "source.db").make()
    big = [StoredEvent(uuid4(), 1, "t", bytes(60_000)) for _ in range(200)]
    small = [StoredEvent(uuid4(), 1, "t", b"x") for _ in range(MAX_LEAVES + 1)]
    with parts(scene) as made, made.store.transaction(commit=True) as c:
        head = read_head(c)
        insert_leaves(c, [*big, *small], head)
        write_head(c, head)
    with (
        closing(CopySource(scene.path, scene.ring, os.urandom)) as source,
        source.reading() as c,
    ):
        first = source.events(c, 0, head.size)
        assert sum(len(row[4]) for row in first) < MAX_BYTES + MAX_LEAF_BYTES
        assert len(first) < len(big)
        assert len(source.events(c, len(big), head.size)) == MAX_LEAVES
        assert len(source.events(c, len(big), len(big) + 3)) == 3


async def test_every_byte_is_the_same_and_both_logs_verify(move: Move) -> None:
    before = move.leaves()
    copied = move.run()
    assert before > 1200
    assert (copied.leaves, copied.resumed_at) == (before + 1, 0)
    move.same()
    assert proven(move.store) == before + 1
    async with move.source.opened() as source, opened(move.store) as target:
        mine, theirs = await verified(source), await verified(target)
        assert mine == theirs
        assert mine[0].root == copied.root
        assert mine[1].grants == USERS
        for grant in (await source.grants())[:5]:
            assert await source.history(grant.id) == await target.history(grant.id)
            assert await stored(target, grant.id) == grant
        assert await target.client("cloud") == b"sealed registration"


def test_every_table_is_copied_or_made_anew(move: Move) -> None:
    """A table that a migration adds must not be forgotten here."""
    known = {EVENTS, *BY_ITSELF, *AS_A_WHOLE, *(t.name for t in WITH_LEAVES)}
    tables = {
        name
        for (name,) in move.source.sql(
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        )
    }
    assert tables - {*MADE_ANEW} == known


async def test_the_source_says_where_it_went_and_refuses_writes(move: Move) -> None:
    grant = new_grant("late")
    async with move.source.opened() as running:
        await append(running, grant)
        size = move.leaves()
        copied = move.run()
        with pytest.raises(LedgerClosed, match=f"moved to {move.name}"):
            await append(running, new_grant("later"))
        with pytest.raises(LedgerClosed):
            await running.record(hand_out(grant.fork()))
        with pytest.raises(LedgerClosed):
            await running.keep_client("cloud", b"another registration")
        assert await stored(running, grant.id) == grant.fork()
        life = await running.life()
        assert life.state.moved_to == move.name
    ((stream, number),) = move.source.sql(
        "SELECT originator_id, rowid FROM stored_events ORDER BY rowid DESC LIMIT 1"
    )
    assert (stream, number) == (LEDGER_STREAM.hex, size + 1)
    assert copied.leaves == size + 1
    async with move.source.opened() as again:
        with pytest.raises(LedgerClosed):
            await append(again, new_grant("last"))


async def test_a_closed_source_is_read_with_a_ring_that_has_newer_keys(
    move: Move,
) -> None:
    """Which it does not learn: nothing is written to it any more."""
    move.run()
    before = move.source.sql("SELECT * FROM key_checks")
    ring = move.source.ring.rotated(KeyUse.KEK, NOW)
    async with move.source.opened(ring=ring) as ledger:
        assert len(await ledger.grants()) == USERS
    assert move.source.sql("SELECT * FROM key_checks") == before


async def test_a_ledger_with_a_life_behind_it_is_moved_too(move: Move) -> None:
    """One that was moved, and opened again by hand since its new place was lost."""
    async with move.source.opened() as ledger:
        life = await ledger.life()
        life.move(ctx(), destination="lost", size=0, root=bytes(32))
        await ledger.append_life(life)
    move.run()
    move.same()
    async with opened(move.store) as target:
        life = await target.life()
    assert (life.version, life.state.moved_to) == (2, move.name)


async def test_the_target_goes_on_where_the_source_ended(move: Move) -> None:
    grant = new_grant("goes on")
    async with move.source.opened() as source:
        await append(source, grant)
    size = move.run().leaves
    async with opened(move.store) as ledger:
        draft, intent = intended(await stored(ledger, grant.id))
        await append(ledger, draft)
        after = answered(draft.fork(), intent, "rt-next", uuid4().hex)
        await append(ledger, after)
        said = await ledger.record(hand_out(after.fork()))
        assert said.verdict is RecordVerdict.RECORDED
        await append(ledger, new_grant("new"))
    assert proven(move.store) == size + 5


async def test_the_owner_copies_and_the_application_goes_on(move: Move) -> None:
    """With the roles set up first; neither needs a right that the roles lack."""
    move.store.sql(ROLES.read_text(encoding="utf-8").replace("%", "%%"))
    owner, app = f"o_{move.store.name}", f"a_{move.store.name}"
    for login, role in ((owner, "owner"), (app, "app")):
        move.store.sql(f"CREATE ROLE {login} LOGIN IN ROLE grantledger_{role}")
    try:
        where = make_conninfo(move.store.conninfo, user=owner)
        move.run(place=Place(where, move.store.name))
        where = make_conninfo(move.store.conninfo, user=app)
        async with opened(replace(move.store, conninfo=where)) as ledger:
            await append(ledger, new_grant("afterwards"))
    finally:
        for login in (owner, app):
            move.store.sql(f"DROP ROLE {login}")
    assert proven(move.store) == move.leaves() + 1
