"""The index of tokens is compared with the log, on each store."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from grantledger.adapters.cli.token_check import check_tokens
from grantledger.adapters.keys.ring import KeyUse
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.context import Context
from grantledger.domain.errors import IntegrityError
from grantledger.domain.journal import EntryPrivate
from grantledger.domain.pruning import prune
from tests.contract.stores import Store, opened
from tests.contract.test_token_index import erased, grant, lived
from tests.ledger.scene import ctx, hand_out


def now() -> Context:
    return ctx(datetime.now(UTC))


async def test_an_index_that_says_what_the_log_says_holds(
    store: Store, ledger: StoredLedger
) -> None:
    """Erased grants and pruned leaves have no rows, and that is right."""
    one = await lived(ledger, store)
    await ledger.append(grant(store, "bob", "rt-bob"))
    before = await check_tokens(ledger)
    assert before == 5
    await prune(
        ledger, ledger, now, before=datetime.now(UTC), outcomes=(), reason="over"
    )
    assert await check_tokens(ledger) == before - 1
    await erased(ledger, one)
    await ledger.destroy(one.id)
    assert await check_tokens(ledger) == 1


async def test_an_index_holds_after_a_new_fingerprint_key(
    store: Store, ledger: StoredLedger
) -> None:
    """The log has a `jti` itself, and the index a digest under the key of then."""
    one = await lived(ledger, store)
    session = EntryPrivate(jti="session-1")
    await ledger.record(hand_out(one, token_ref=None, private=session))
    before = await check_tokens(ledger)
    rotated = store.ring.rotated(KeyUse.FINGERPRINT, datetime.now(UTC))
    async with opened(store, ring=rotated, node="node-2") as later:
        again = EntryPrivate(jti="session-2")
        await later.record(hand_out(one, token_ref=None, private=again))
        assert await check_tokens(later) == before + 1
        store.sql("UPDATE token_index SET fingerprint = 'x' WHERE kind = 'jti'")
        with pytest.raises(IntegrityError, match="kind jti"):
            await check_tokens(later)


@pytest.mark.parametrize(
    ("statement", "found"),
    [
        ("DELETE FROM token_index WHERE leaf_index = 0", "lacks a row of leaf 0"),
        ("UPDATE token_index SET generation = 7 WHERE leaf_index = 0", "leaf 0"),
        ("UPDATE token_index SET kind = 'x' WHERE leaf_index = 0", "leaf 0"),
        ("UPDATE token_index SET fingerprint = 'x' WHERE leaf_index = 0", "leaf 0"),
        ("UPDATE token_index SET leaf_index = 1 WHERE leaf_index = 0", "leaf [01]"),
        ("UPDATE token_index SET leaf_index = 99 WHERE leaf_index = 0", "leaf 0"),
        (
            "INSERT INTO token_index VALUES (99, -1, 'refresh_token', 'x', 'y', 1)",
            "names leaf 99",
        ),
    ],
)
async def test_a_row_that_the_log_does_not_say_is_found_with_its_leaf(
    store: Store, ledger: StoredLedger, statement: str, found: str
) -> None:
    await lived(ledger, store)
    store.sql(statement)
    with pytest.raises(IntegrityError, match=found) as refused:
        await check_tokens(ledger)
    assert "hmac" not in str(refused.value)
