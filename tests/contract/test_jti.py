"""A JWT is found by its `jti`, whatever its encoding, on either store."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from grantledger.adapters.keys.fingerprints import JTI, KeyedFingerprinter
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import EntryPrivate
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import AccessToken, Outcome, RefreshToken, TokenKind
from tests.contract.stores import Store
from tests.ledger.scene import NOW, RULES, ctx, hand_out, intended, mark, new_grant


async def obtained(ledger: StoredLedger, jti: str = "jwt-1") -> UserGrant:
    """Store a redemption that brought a JWT."""
    one = new_grant()
    await ledger.append(one)
    draft, intent = intended(one.fork())
    await ledger.append(draft)
    draft = draft.fork()
    answer = TokenAnswer(
        NOW,
        refresh_token=RefreshToken("rt2"),
        access_token=AccessToken("at2"),
        expires_in=900,
        jti=jti,
    )
    draft.answered(ctx(), RULES, intent.attempt_id, answer, mark)
    await ledger.append(draft)
    return draft.fork()


async def test_a_token_is_found_by_its_jti(ledger: StoredLedger) -> None:
    one = await obtained(ledger)
    (place,) = await ledger.find_jti("jwt-1")
    assert (place.grant_id, place.kind) == (one.id, TokenKind.ACCESS)
    assert await ledger.find_jti("jwt-2") == []


async def test_an_exchange_is_found_by_the_jti_of_either_token(
    ledger: StoredLedger,
) -> None:
    one = await obtained(ledger)
    for outcome, jti in (
        (Outcome.EXCHANGE_INTENDED, "session"),
        (Outcome.HANDED_OUT, "issued"),
    ):
        private = EntryPrivate(jti=jti)
        ends = datetime.now(UTC) + timedelta(minutes=5)
        entry = hand_out(
            one, outcome=outcome, token_ref=None, expires_at=ends, private=private
        )
        await ledger.record(entry)
        (place,) = await ledger.find_jti(jti)
        assert place.grant_id == one.id


async def test_the_index_holds_a_keyed_digest_and_no_jti(
    store: Store, ledger: StoredLedger
) -> None:
    await obtained(ledger, "canary-jti")
    rows = store.sql("SELECT fingerprint FROM token_index WHERE kind = ?", JTI)
    ring = KeyedFingerprinter(store.ring)
    assert [row[0] for row in rows] == [ring.jti("canary-jti")]
    assert ring.jti("x") != replaced(ring)


def replaced(ring: KeyedFingerprinter) -> str:
    """The same text as a token: another kind, another digest."""
    return ring.fingerprint(TokenKind.ACCESS, "x")


async def test_the_leaves_of_an_older_ledger_are_indexed_by_jti(
    store: Store, ledger: StoredLedger
) -> None:
    one = await obtained(ledger)
    store.sql("DELETE FROM token_index WHERE kind = ?", JTI)
    store.sql(
        "UPDATE token_index_missing SET next_index = 0, end_index ="
        " (SELECT next_index FROM log_head)"
    )
    with pytest.raises(Unavailable, match="not all indexed yet"):
        await ledger.find_jti("jwt-1")
    await ledger.complete_tokens()
    (place,) = await ledger.find_jti("jwt-1")
    assert place.grant_id == one.id
