"""After an erasure no byte that opened the grant, or was opened, is in the files."""

from __future__ import annotations

from pathlib import Path
from uuid import UUID

import pytest

from grantledger.adapters.ledger.connections import LedgerDatastore
from grantledger.adapters.ledger.destroying import scrub
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ErasureReason
from tests.ledger.scene import Scene, answered, ctx, denial, hand_out, intended
from tests.ledger.scene import new_grant as consent

NEIGHBOURS = 5
ROUNDS = 6
WINDOW = 24


async def grown(ledger: StoredLedger, subject: str, size: int) -> UserGrant:
    """Store a grant with so long tokens, and hand them out again and again."""
    grant = consent(subject, refresh=f"{subject}-0-" + "x" * size)
    await ledger.append(grant)
    grant = grant.fork()
    for number in range(1, ROUNDS):
        draft, intent = intended(grant)
        await ledger.append(draft)
        after = answered(
            draft.fork(),
            intent,
            refresh=f"{subject}-{number}-" + "x" * size,
            access=f"{subject}-a{number}-" + "y" * size,
        )
        await ledger.append(after)
        grant = after.fork()
        await ledger.record(hand_out(grant))
        await ledger.record(denial(grant_id=grant.id, grant_version=grant.version))
    return grant


def secrets_of(scene: Scene, grant_id: UUID) -> list[bytes]:
    """What must not be found: the wrapped key, each ciphertext, state and digest."""
    found: list[bytes] = []
    for query in (
        "SELECT wrapped FROM data_keys WHERE grant_id=?",
        "SELECT ct FROM sealed WHERE grant_id=?",
        "SELECT state FROM current_grants WHERE grant_id=?",
        "SELECT subject_digest FROM current_grants WHERE grant_id=?",
    ):
        found += [bytes(row[0]) for row in scene.sql(query, grant_id.hex)]
    return found


def all_bytes(path: Path) -> bytes:
    """The file, its write-ahead log and its shared memory."""
    return b"".join(p.read_bytes() for p in sorted(path.parent.glob(f"{path.name}*")))


def traces(secrets: list[bytes], data: bytes) -> set[int]:
    """Which secrets the data holds a run of 47 bytes of, or all of a shorter one."""
    windows = {
        secret[at : at + WINDOW]: number
        for number, secret in enumerate(secrets)
        for at in range(len(secret) - WINDOW + 1)
    }
    found = {
        windows[data[at : at + WINDOW]]
        for at in range(0, len(data), WINDOW)
        if data[at : at + WINDOW] in windows
    }
    short = {n for n, s in enumerate(secrets) if len(s) < 2 * WINDOW and s in data}
    return found | short


@pytest.mark.parametrize("size", [40, 3_000, 9_000])
async def test_the_files_hold_nothing_that_opened_or_was_opened(
    scene: Scene, size: int
) -> None:
    """Of tokens that fit a page, nearly fill one, and overflow it."""
    async with scene.opened() as ledger:
        for number in range(NEIGHBOURS):
            await grown(ledger, f"n{number}", size)
        grant = await grown(ledger, "alice", size)
        for number in range(NEIGHBOURS):
            await grown(ledger, f"m{number}", size)
        secrets = secrets_of(scene, grant.id)
        assert len(secrets) > 2 * ROUNDS
        assert len(traces(secrets, all_bytes(scene.path))) == len(secrets)
        draft = grant.fork()
        draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
        await ledger.append(draft)
        await ledger.destroy(grant.id)
        assert await ledger.scrub()
        assert traces(secrets, all_bytes(scene.path)) == set()
        # What came later does not bring it back.
        await grown(ledger, "bob", size)
        assert traces(secrets, all_bytes(scene.path)) == set()


async def test_a_reader_of_an_older_state_keeps_the_log_and_that_is_said(
    scene: Scene,
) -> None:
    store = LedgerDatastore(str(scene.path), lock_timeout=1)
    async with scene.opened(store=store) as ledger:
        grant = await grown(ledger, "alice", 40)
        reader = store.dedicated()
        with reader.transaction(commit=False) as c:
            c.execute("SELECT count(*) FROM sealed")
            draft = grant.fork()
            draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
            await ledger.append(draft)
            await ledger.destroy(grant.id)
            assert not await ledger.scrub()
        reader.close()
        assert await ledger.scrub()


async def test_of_a_large_file_the_keys_alone_are_written_anew(scene: Scene) -> None:
    """What is left of the grant cannot be opened; that is not all, and it is said."""
    async with scene.opened() as ledger:
        grants = [await grown(ledger, f"n{number}", 40) for number in range(4)]
        wrapped = secrets_of(scene, grants[1].id)[:1]
        draft = grants[1].fork()
        draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
        await ledger.append(draft)
        await ledger.destroy(grants[1].id)
    store = LedgerDatastore(str(scene.path))
    assert not scrub(store, scene.path, thorough=False, limit=0)
    assert traces(wrapped, all_bytes(scene.path)) == set()
    assert scrub(store, scene.path, thorough=True, limit=0)
    store.close()
    async with scene.opened() as ledger:
        for grant in (grants[0], grants[2], grants[3]):
            assert await ledger.replay(grant.id) is not None


async def test_a_file_that_others_write_to_is_freed_later(scene: Scene) -> None:
    """The grant is erased; only its traces stay, and that is said."""
    store = LedgerDatastore(str(scene.path), lock_timeout=1)
    writer = store.dedicated()
    with writer.transaction(commit=True) as c:
        c.execute("UPDATE log_head SET closed=NULL")
        for thorough in (False, True):
            limit = 0 if not thorough else 1
            assert not scrub(store, scene.path, thorough=thorough, limit=limit)
    writer.close()
    assert scrub(store, scene.path, thorough=False)
    store.close()
