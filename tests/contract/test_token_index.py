"""Which token is whose: found by fingerprint, forgotten with its grant."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest

from grantledger.adapters.keys.fingerprints import KeyedFingerprinter
from grantledger.adapters.keys.ring import KeyUse
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import LedgerClosed, Unavailable
from grantledger.domain.fleet import TokenPlace
from grantledger.domain.journal import EntryPrivate
from grantledger.domain.pruning import prune
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    ErasureReason,
    GrantKey,
    Outcome,
    RefreshToken,
    Source,
    TokenFingerprint,
    TokenKind,
)
from tests.contract.stores import PostgresStore, SqliteStore, Store, opened
from tests.ledger.scene import NOW, RULES, ctx, hand_out, intended, revoked

REFRESH, ACCESS = TokenKind.REFRESH, TokenKind.ACCESS


def mark(store: Store, kind: TokenKind, token: str) -> TokenFingerprint:
    """Return a fingerprint as a broker of this ledger makes it."""
    return KeyedFingerprinter(store.ring).fingerprint(kind, token)


def grant(store: Store, subject: str = "alice", refresh: str = "rt1") -> UserGrant:
    consent = Consent(
        key=GrantKey("cloud", subject),
        client_id="broker",
        flow="import",
        scopes=("openid",),
        refresh_token=RefreshToken(refresh),
    )
    return UserGrant.provision(
        ctx(), RULES, uuid4(), consent, lambda kind, token: mark(store, kind, token)
    )


async def answered(
    ledger: StoredLedger, store: Store, one: UserGrant, *, late: bool = False
) -> UserGrant:
    """Store a redemption and its answer; a late one comes after a revocation."""
    draft, intent = intended(one)
    await ledger.append(draft)
    draft = draft.fork()
    if late:
        draft = revoked(draft)
        await ledger.append(draft)
        draft = draft.fork()
    answer = TokenAnswer(
        NOW,
        refresh_token=RefreshToken("rt2"),
        access_token=AccessToken("at2"),
        expires_in=900,
    )
    draft.answered(
        ctx(),
        RULES,
        intent.attempt_id,
        answer,
        lambda kind, token: mark(store, kind, token),
    )
    await ledger.append(draft)
    return draft.fork()


async def exchanged(
    ledger: StoredLedger, store: Store, one: UserGrant, token: str
) -> None:
    """Record a session exchange, whose token no event of the grant holds."""
    entry = hand_out(
        one,
        token_ref=None,
        source=Source.EXCHANGED,
        expires_at=datetime.now(UTC) - timedelta(minutes=1),
        private=EntryPrivate(fingerprint=mark(store, ACCESS, token)),
    )
    await ledger.record(entry)


def rows(store: Store) -> list[Any]:
    found = store.sql(
        "SELECT leaf_index, entry, kind, fingerprint, grant_id, generation"
        " FROM token_index"
    )
    return sorted(tuple(row) for row in found)


async def erased(ledger: StoredLedger, one: UserGrant) -> None:
    draft = one.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    await ledger.append(draft)


async def lived(ledger: StoredLedger, store: Store) -> UserGrant:
    """Store tokens of each way by which one comes into the record."""
    one = grant(store)
    await ledger.append(one)
    one = await answered(ledger, store, one.fork())
    await exchanged(ledger, store, one, "st1")
    return one


async def test_every_token_is_found_where_it_came_into_the_record(
    ledger: StoredLedger, store: Store
) -> None:
    one = await lived(ledger, store)
    found = {
        token: await ledger.find_token(token)
        for token in ("rt1", "rt2", "at2", "st1", "other")
    }
    assert found == {
        "rt1": TokenPlace(one.id, REFRESH, 1, 0),
        "rt2": TokenPlace(one.id, REFRESH, 1, 2),
        "at2": TokenPlace(one.id, ACCESS, 1, 3),
        "st1": TokenPlace(one.id, ACCESS, 1, 4),
        "other": None,
    }
    assert await ledger.find_token("rt1", ACCESS) is None
    assert await ledger.find_token("rt1", REFRESH) == found["rt1"]


async def test_the_tokens_of_a_late_answer_are_found(
    ledger: StoredLedger, store: Store
) -> None:
    one = grant(store)
    await ledger.append(one)
    await answered(ledger, store, one.fork(), late=True)
    for token, kind in (("rt2", REFRESH), ("at2", ACCESS)):
        place = await ledger.find_token(token)
        assert place == TokenPlace(one.id, kind, 1, 3)


async def test_a_token_of_two_grants_is_found_in_both_the_newer_first(
    ledger: StoredLedger, store: Store
) -> None:
    one, two = grant(store), grant(store, "bob")
    await ledger.append(one)
    await ledger.append(two)
    places = await ledger.find_fingerprint(mark(store, REFRESH, "rt1"))
    assert [place.grant_id for place in places] == [two.id, one.id]


async def test_a_token_from_before_a_new_fingerprint_key_is_found(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger, store)
    rotated = store.ring.rotated(KeyUse.FINGERPRINT, NOW)
    async with opened(store, ring=rotated, node="node-2") as later:
        assert len(await later.fingerprints("rt1")) == 4
        assert await later.find_token("rt1") == await ledger.find_token("rt1")


async def test_an_erased_grants_tokens_are_found_no_more(
    ledger: StoredLedger, store: Store
) -> None:
    one, other = await lived(ledger, store), grant(store, "bob", "rt9")
    await ledger.append(other)
    await erased(ledger, one)
    await ledger.destroy(one.id)
    assert {row[4] for row in rows(store)} == {other.id.hex}
    assert await ledger.find_token("rt1") is None
    assert await ledger.find_token("rt9") is not None


async def test_a_token_of_a_pruned_journal_leaf_is_found_no_more(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger, store)
    now = datetime.now(UTC)
    await prune(ledger, ledger, lambda: ctx(now), before=now, outcomes=(), reason="old")
    assert await ledger.find_token("st1") is None
    assert await ledger.find_token("rt1") is not None


def unindexed(store: Store) -> None:
    """Make it a ledger from before there was an index."""
    store.sql("DELETE FROM token_index")
    store.sql(
        "UPDATE token_index_missing SET next_index = 0,"
        " end_index = (SELECT next_index FROM log_head)"
    )


async def test_an_older_ledger_is_completed_in_portions(
    ledger: StoredLedger, store: Store
) -> None:
    """Until then nobody is told that a token is unknown."""
    one = await lived(ledger, store)
    before = rows(store)
    unindexed(store)
    with pytest.raises(Unavailable, match="not all indexed"):
        await ledger.find_token("rt1")
    newer = grant(store, "bob", "rt9")
    await ledger.append(newer)
    assert await ledger.find_token("rt9") is not None
    ledger.completed = 2
    assert await ledger.complete_tokens() == len(before)
    assert [row for row in rows(store) if row[4] == one.id.hex] == before
    assert await ledger.complete_tokens() == 0
    assert await ledger.find_token("unknown") is None


async def test_not_only_the_newer_grants_of_a_token_are_told(
    ledger: StoredLedger, store: Store
) -> None:
    """An incident ends them all: some are not enough, while others are missing."""
    await ledger.append(grant(store))
    unindexed(store)
    await ledger.append(grant(store, "bob"))
    with pytest.raises(Unavailable, match="not all indexed"):
        await ledger.find_fingerprint(mark(store, REFRESH, "rt1"))
    await ledger.complete_tokens()
    assert len(await ledger.find_fingerprint(mark(store, REFRESH, "rt1"))) == 2


async def test_what_was_erased_is_not_indexed_again(
    ledger: StoredLedger, store: Store
) -> None:
    one = await lived(ledger, store)
    await erased(ledger, one)
    unindexed(store)
    await ledger.complete_tokens()
    assert rows(store) == []
    await ledger.destroy(one.id)
    unindexed(store)
    await ledger.complete_tokens()
    assert rows(store) == []


async def test_what_is_being_pruned_is_not_indexed_again(
    postgres: PostgresStore,
) -> None:
    """Whoever prunes has not committed yet when the worker looks."""
    async with opened(postgres) as ledger:
        await lived(ledger, postgres)
        life = await ledger.life()
        life.prune(
            ctx(datetime.now(UTC)),
            below=100,
            leaves=1,
            outcomes=tuple(Outcome),
            reason="old",
        )
        await ledger.append_life(life)
        unindexed(postgres)
        with postgres.place.connect() as pruning:
            pruning.execute("BEGIN")
            pruning.execute("SELECT ledger_prune(1, 0, 100)")
            completing = asyncio.ensure_future(ledger.complete_tokens())
            while not completing.done() and not waits(postgres):
                await asyncio.wait({completing}, timeout=0.01)
            pruning.execute("COMMIT")
            await completing
        assert await ledger.find_token("rt1") is not None
        assert await ledger.find_token("st1") is None


def waits(store: PostgresStore) -> bool:
    """Tell whether a worker of this ledger waits for a lock."""
    found = store.sql(
        "SELECT 1 FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
        " AND datname = current_database()"
        " AND query LIKE ?",
        "%ledger_complete_tokens%",
    )
    return bool(found)


async def test_two_workers_complete_it_once(ledger: StoredLedger, store: Store) -> None:
    await lived(ledger, store)
    before = rows(store)
    unindexed(store)
    async with opened(store, node="node-2") as other:
        ledger.completed = other.completed = 1
        await other.complete_tokens()
        await ledger.complete_tokens()
    assert rows(store) == before


async def test_a_moved_ledger_is_left_as_it_is(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    async with opened(store) as ledger:
        await lived(ledger, store)
        unindexed(store)
        store.sql("UPDATE log_head SET closed = 'it was moved'")
        with pytest.raises(LedgerClosed):
            await ledger.complete_tokens()
