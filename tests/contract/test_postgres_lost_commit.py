"""A commit whose answer is lost: only writing again tells, and nothing is doubled."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace

import pytest

from grantledger.adapters.ledger.postgres.ledger import PostgresLedger
from grantledger.domain.errors import Unavailable
from grantledger.domain.ports import AppendVerdict, RecordVerdict
from grantledger.domain.user_grant import UserGrant
from tests.contract.cut import ANSWERED, ASKED, PASSED, Cut
from tests.contract.stores import PostgresStore, opened, proven
from tests.ledger.scene import (
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
    stored,
)
from tests.support.pg_bouncer import PgBouncer

COMMITTED, CONFLICT = AppendVerdict.COMMITTED, AppendVerdict.CONFLICT
RECORDED = RecordVerdict.RECORDED


async def _warm(ledger: PostgresLedger) -> UserGrant:
    """Return a stored grant; the ledger then appends in one exchange."""
    grant = new_grant()
    await ledger.append(grant)
    await ledger.record(hand_out(grant.fork()))
    await ledger.append(intended(grant.fork())[0])
    assert await ledger.append(revoked(await stored(ledger, grant.id))) is COMMITTED
    other = new_grant("bob")
    assert await ledger.append(other) is COMMITTED
    assert (await ledger.record(hand_out(other.fork()))).verdict is RECORDED
    return other.fork()


def _directly(store: PostgresStore, stack: ExitStack) -> tuple[Cut, PostgresStore]:
    cut = stack.enter_context(Cut(store.conninfo))
    return cut, replace(store, conninfo=cut.conninfo)


def _before_the_pooler(
    store: PostgresStore, stack: ExitStack
) -> tuple[Cut, PostgresStore]:
    bouncer = stack.enter_context(PgBouncer(store.conninfo))
    cut = stack.enter_context(Cut(bouncer.conninfo))
    return cut, replace(store, through=cut.conninfo, pooled=True)


def _behind_the_pooler(
    store: PostgresStore, stack: ExitStack
) -> tuple[Cut, PostgresStore]:
    cut = stack.enter_context(Cut(store.conninfo))
    bouncer = stack.enter_context(PgBouncer(cut.conninfo))
    return cut, replace(store, through=bouncer.conninfo, pooled=True)


WAYS = [_directly, _before_the_pooler, _behind_the_pooler]


@pytest.mark.parametrize("order", [ASKED, ANSWERED, PASSED])
@pytest.mark.parametrize("way", WAYS)
async def test_callers_see_nothing_of_a_lost_answer(
    postgres: PostgresStore,
    way: Callable[[PostgresStore, ExitStack], tuple[Cut, PostgresStore]],
    order: str,
) -> None:
    with ExitStack() as stack:
        cut, through = way(postgres, stack)
        async with opened(through, listen=False) as ledger:
            assert isinstance(ledger, PostgresLedger)
            grant = await _warm(ledger)
            before = proven(postgres)
            cut.order(order)
            entry = hand_out(grant)
            assert (await ledger.record(entry)).verdict is RECORDED
            if order == ANSWERED:
                # Ready again, and in no transaction: the commit was done.
                assert cut.lost.endswith(b"Z\x00\x00\x00\x05I")
                assert b"appended" in cut.lost
            assert proven(postgres) == before + 1
            cut.order(order)
            draft = intended(grant)[0]
            assert await ledger.append(draft) is COMMITTED
            assert proven(postgres) == before + 2
            cut.order(order)
            first = new_grant("carol")
            assert await ledger.append(first) is COMMITTED
            assert await ledger.replay(first.id) == first.fork()
            assert (await ledger.record(denial())).verdict is RECORDED
            held = await ledger.hand_outs(grant.id, entry.at)
            assert [e.request_id for e in held].count(entry.request_id) == 1
    assert proven(postgres) == before + 4


@pytest.mark.parametrize("way", WAYS)
async def test_the_usual_append_is_one_exchange(
    postgres: PostgresStore,
    way: Callable[[PostgresStore, ExitStack], tuple[Cut, PostgresStore]],
) -> None:
    with ExitStack() as stack:
        cut, through = way(postgres, stack)
        async with opened(through, listen=False) as ledger:
            assert isinstance(ledger, PostgresLedger)
            grant = await _warm(ledger)
            before = cut.answers
            await ledger.record(hand_out(grant))
            await ledger.append(intended(grant)[0])
            assert cut.answers == before + 2


async def test_an_intent_whose_answer_was_lost_is_the_only_one(
    postgres: PostgresStore,
) -> None:
    """Another replica that tries meanwhile loses, whoever is answered first."""
    with Cut(postgres.conninfo) as cut:
        through = replace(postgres, conninfo=cut.conninfo)
        async with (
            opened(through, listen=False) as one,
            opened(postgres, node="node-2") as two,
        ):
            assert isinstance(one, PostgresLedger)
            grant = await _warm(one)
            cut.order(ANSWERED)
            mine, theirs = intended(grant)[0], intended(grant)[0]
            said = await asyncio.gather(one.append(mine), two.append(theirs))
            assert sorted(said) == [COMMITTED, CONFLICT]
            winner = (mine, theirs)[said.index(COMMITTED)]
            assert await stored(two, grant.id) == winner.fork()
    proven(postgres)


async def test_a_server_that_is_away_is_unavailable_and_then_back(
    postgres: PostgresStore,
) -> None:
    with Cut(postgres.conninfo) as cut:
        through = replace(postgres, conninfo=cut.conninfo)
        async with opened(through) as ledger:
            assert isinstance(ledger, PostgresLedger)
            grant = await _warm(ledger)
            cut.refusing = True
            cut.cut_all()
            with pytest.raises(Unavailable):
                await ledger.append(intended(grant)[0])
            cut.refusing = False
            assert await ledger.append(intended(grant)[0]) is COMMITTED
            assert (await stored(ledger, grant.id)).version == 2
    proven(postgres)


async def test_waiters_poll_while_nobody_listens(postgres: PostgresStore) -> None:
    with Cut(postgres.conninfo) as cut:
        through = replace(postgres, conninfo=cut.conninfo)
        async with opened(through) as one, opened(postgres) as two:
            assert isinstance(one, PostgresLedger)
            grant = await _warm(one)
            cut.cut_all()
            waiting = asyncio.create_task(
                one.changed(grant.id, grant.version, timeout_seconds=20)
            )
            await two.append(intended(grant)[0])
            async with asyncio.timeout(3):
                await waiting
