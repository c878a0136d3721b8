"""What is derived from the log is made again from it, and is the same."""

from __future__ import annotations

import asyncio
import random
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from grantledger.adapters.ledger.rebuilding import Difference, Rebuilt
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.audit import AuditFilter
from grantledger.domain.errors import IntegrityError, LedgerError
from grantledger.domain.journal import EntryPrivate
from grantledger.domain.pruning import prune
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import Actor, ErasureReason, Outcome
from tests.contract.stores import SqliteStore, Store, opened
from tests.ledger.scene import (
    answered,
    ctx,
    denial,
    hand_out,
    intended,
    new_grant,
    revoked,
)


def silent(done: int, of: int) -> None:
    """Show nothing."""
    assert done <= of


class Living:
    """A history of several grants, a step at a time."""

    def __init__(self, ledger: StoredLedger) -> None:
        self.ledger = ledger
        self.grants: dict[int, UserGrant] = {}

    async def step(self, what: str, which: int) -> None:
        await getattr(self, what)(which)

    async def consent(self, which: int) -> None:
        if which not in self.grants:
            grant = new_grant(f"user-{which}", f"rt-{which}")
            await self.ledger.append(grant)
            self.grants[which] = grant.fork()

    async def redeem(self, which: int) -> None:
        grant = self.grants.get(which)
        if grant is None or not grant.state.usable:
            return
        draft, intent = intended(grant)
        await self.ledger.append(draft)
        name = f"{which}-{grant.version}"
        draft = answered(draft.fork(), intent, f"rt-{name}", f"at-{name}")
        await self.ledger.append(draft)
        self.grants[which] = draft.fork()

    async def use(self, which: int) -> None:
        grant = self.grants.get(which)
        tokens = grant.state.access_tokens if grant else ()
        if grant is not None and tokens:
            actor = Actor(f"agent-{which}", peer_ip="198.51.100.4")
            private = EntryPrivate(actor=actor)
            ref = tokens[-1].version
            ends = datetime.now(UTC) - timedelta(minutes=1)
            await self.ledger.record(
                hand_out(grant, token_ref=ref, private=private, expires_at=ends)
            )

    async def deny(self, which: int) -> None:
        asked = EntryPrivate(subject=f"user-{which}", scopes_asked=("some",))
        await self.ledger.record(denial(private=asked))

    async def revoke(self, which: int) -> None:
        grant = self.grants.get(which)
        if grant is not None and grant.state.usable:
            draft = revoked(grant)
            await self.ledger.append(draft)
            self.grants[which] = draft.fork()

    async def erase(self, which: int) -> None:
        grant = self.grants.get(which)
        if grant is not None and grant.state.subject:
            draft = grant.fork()
            draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r")
            await self.ledger.append(draft)
            await self.ledger.destroy(grant.id)
            self.grants[which] = draft.fork()

    async def forget(self, which: int) -> None:
        _ = which
        now = datetime.now(UTC)
        await prune(
            self.ledger,
            self.ledger,
            lambda: ctx(datetime.now(UTC)),
            before=now,
            outcomes=(Outcome.HANDED_OUT, Outcome.DENIED),
            reason="old",
        )

    async def look(self, which: int) -> None:
        self.ledger.audited = 1 + which
        await self.ledger.audit(AuditFilter(), limit=1)


STEPS = ["consent", "redeem", "use", "deny", "revoke", "erase", "look", "forget"]


async def lived(ledger: StoredLedger) -> Living:
    living = Living(ledger)
    for what in ("consent", "redeem", "use", "deny"):
        await living.step(what, 0)
    return living


async def live_side(store: Store) -> int:
    return int(store.sql("SELECT side FROM audit_position WHERE live")[0][0])


def counted(store: Store, side: int) -> tuple[int, int]:
    return (
        store.sql("SELECT count(*) FROM audit_rows WHERE side = ?", side)[0][0],
        store.sql("SELECT count(*) FROM audit_terms WHERE side = ?", side)[0][0],
    )


async def test_the_new_trail_takes_the_old_ones_place(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    before = (await ledger.audit(AuditFilter())).rows
    kept = counted(store, 0)
    done = await ledger.rebuild_audit(silent)
    assert (done.leaves, done.rows, done.differing) == (6, 6, 0)
    assert await live_side(store) == 1
    assert (counted(store, 0), counted(store, 1)) == ((0, 0), kept)
    assert (await ledger.audit(AuditFilter())).rows == before


async def test_what_was_tampered_with_is_named_and_made_good(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    await ledger.complete_audit()
    store.sql("UPDATE audit_rows SET outcome = 'success' WHERE event = 'Denied'")
    store.sql("DELETE FROM audit_rows WHERE leaf_index = 1")
    store.sql("DELETE FROM audit_terms WHERE leaf_index = 3")
    store.sql("UPDATE audit_rows SET entry = 7 WHERE event = 'HandedOut'")
    found = await ledger.compare_audit(silent)
    assert found.differences == [
        Difference(1, -1, "missing"),
        Difference(3, -1, "terms"),
        Difference(4, 0, "missing"),
        Difference(4, 7, "extra"),
        Difference(5, 0, "changed"),
    ]
    assert await live_side(store) == 0, "only compared"
    again = await ledger.rebuild_audit(silent)
    assert again.differences == found.differences
    assert (await ledger.rebuild_audit(silent)).differing == 0


async def test_a_rebuild_that_is_cut_short_changes_nothing(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    before = (await ledger.audit(AuditFilter())).rows
    ledger.audited = 2

    def cut(done: int, of: int) -> None:
        if done > of // 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        await ledger.rebuild_audit(cut)
    assert await live_side(store) == 0
    assert (await ledger.audit(AuditFilter())).rows == before
    assert (await ledger.rebuild_audit(silent)).differing == 0


async def test_what_happens_meanwhile_is_in_the_new_trail(
    ledger: StoredLedger,
) -> None:
    living = await lived(ledger)
    ledger.audited = 1
    happened: list[asyncio.Task[None]] = []

    def tell(done: int, of: int) -> None:
        assert done <= of
        if len(happened) < 3:
            step = living.step("consent", 10 + len(happened))
            happened.append(asyncio.ensure_future(step))

    done = await ledger.rebuild_audit(tell)
    await asyncio.gather(*happened)
    assert done.differing == 0
    page = await ledger.audit(AuditFilter())
    assert (len(page.rows), page.after) == (9, None)


async def test_what_is_erased_meanwhile_is_in_neither(
    ledger: StoredLedger, store: Store
) -> None:
    living = await lived(ledger)
    await ledger.complete_audit()
    ledger.audited = 1

    async def fill(side: int, ranges: object) -> None:
        _ = ranges
        await ledger.fill_audit(side, 0, 6)
        await living.step("erase", 0)

    await ledger.rebuild_audit(silent, fill=fill)
    left = store.sql("SELECT DISTINCT leaf_index FROM audit_terms ORDER BY 1")
    assert {row[0] for row in left} & set(range(5)) == set()


async def test_of_two_rebuilds_at_once_none_spoils_the_trail(
    ledger: StoredLedger,
) -> None:
    await lived(ledger)
    ledger.audited = 1
    said = await asyncio.gather(
        *(ledger.rebuild_audit(silent) for _ in range(2)), return_exceptions=True
    )
    assert {type(one) for one in said if isinstance(one, BaseException)} <= {
        LedgerError
    }
    assert (await ledger.compare_audit(silent)).differing == 0


async def test_a_rebuild_that_fills_notices_another(
    ledger: StoredLedger, store: Store
) -> None:
    """It would put in place what the other one has emptied."""
    await lived(ledger)
    other: list[Rebuilt] = []

    async def fill(side: int, ranges: object) -> None:
        _ = ranges
        await ledger.fill_audit(side, 0, 6)
        other.append(await ledger.rebuild_audit(silent))

    with pytest.raises(LedgerError, match="another rebuild"):
        await ledger.rebuild_audit(silent, fill=fill, run=7)
    assert other[0].differing == 0
    await ledger.complete_audit()
    assert (await ledger.compare_audit(silent)).differing == 0
    assert await live_side(store) == 1


async def test_ranges_are_made_side_by_side(ledger: StoredLedger) -> None:
    living = await lived(ledger)
    for number in range(8):
        await living.step("consent", 20 + number)

    async def fill(side: int, ranges: object) -> None:
        _ = ranges
        await asyncio.gather(
            *(ledger.fill_audit(side, a, a + 2) for a in range(0, 14, 2))
        )

    assert (await ledger.rebuild_audit(silent, fill=fill)).differing == 0


async def test_the_index_of_tokens_is_compared_and_mended(
    ledger: StoredLedger, store: Store
) -> None:
    living = await lived(ledger)
    await living.step("consent", 1)
    await living.step("erase", 1)
    assert (await ledger.rebuild_tokens(silent)).differing == 0
    kept = store.sql("SELECT * FROM token_index ORDER BY leaf_index, kind")
    store.sql("DELETE FROM token_index WHERE leaf_index = 2")
    store.sql("UPDATE token_index SET generation = 9 WHERE leaf_index = 0")
    store.sql("UPDATE token_index SET entry = 3 WHERE leaf_index = 3")
    named = [
        Difference(0, -1, "changed"),
        Difference(2, -1, "missing"),
        Difference(3, -1, "missing"),
        Difference(3, 3, "extra"),
    ]
    found = await ledger.rebuild_tokens(silent, swap=False)
    assert found.differences == named
    assert (await ledger.rebuild_tokens(silent)).differences == named
    assert (await ledger.rebuild_tokens(silent)).differing == 0
    again = store.sql("SELECT * FROM token_index ORDER BY leaf_index, kind")
    assert [tuple(row) for row in again] == [tuple(row) for row in kept]


class Step(NamedTuple):
    what: str
    which: int


async def _same_after(ledger: StoredLedger, steps: list[Step]) -> None:
    living = Living(ledger)
    for step in steps:
        await living.step(*step)
    await ledger.complete_audit()
    assert (await ledger.compare_audit(silent)).differing == 0
    assert (await ledger.rebuild_audit(silent)).differing == 0
    assert (await ledger.rebuild_tokens(silent, swap=False)).differing == 0
    # Every row of the new trail proves itself.
    await ledger.audit(AuditFilter(), limit=1_000)


async def test_after_a_long_history_the_trail_made_again_is_the_same(
    ledger: StoredLedger,
) -> None:
    chosen = random.Random(7)  # noqa: S311 - no secret
    steps = [Step(chosen.choice(STEPS), chosen.randrange(3)) for _ in range(60)]
    await _same_after(ledger, steps)


@settings(max_examples=12, deadline=None)
@given(
    st.lists(
        st.builds(Step, st.sampled_from(STEPS), st.integers(0, 2)),
        min_size=4,
        max_size=16,
    )
)
def test_after_any_history_the_trail_made_again_is_the_same(
    tmp_path_factory: pytest.TempPathFactory, steps: list[Step]
) -> None:
    path: Path = tmp_path_factory.mktemp("any") / "ledger.db"

    async def go() -> None:
        async with opened(SqliteStore(path)) as ledger:
            await _same_after(ledger, steps)

    asyncio.run(go())


async def test_an_erasure_that_goes_on_is_no_difference(ledger: StoredLedger) -> None:
    living = await lived(ledger)
    await ledger.complete_audit()
    draft = living.grants[0].fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r")
    await ledger.append(draft)
    await ledger.complete_audit()
    assert (await ledger.compare_audit(silent)).differing == 0
    await ledger.destroy(draft.id)
    assert (await ledger.compare_audit(silent)).differing == 0


async def test_rows_of_leaves_that_are_not_there_are_named(
    ledger: StoredLedger, store: Store
) -> None:
    await lived(ledger)
    await ledger.complete_audit()
    store.sql("UPDATE audit_rows SET leaf_index = 99 WHERE leaf_index = 5")
    found = await ledger.compare_audit(silent)
    assert found.differences[-1] == Difference(99, 0, "extra")


async def test_a_position_beyond_the_log_is_refused(
    ledger: StoredLedger, store: Store
) -> None:
    """Otherwise no row would be made of what is to come."""
    await lived(ledger)
    store.sql("UPDATE audit_position SET next_index = 99 WHERE live")
    with pytest.raises(IntegrityError, match="99 leaves; there are 6"):
        await ledger.audit(AuditFilter())


async def test_the_trail_of_a_ledger_that_was_moved_is_still_read(
    tmp_path: Path,
) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    async with opened(store) as ledger:
        await lived(ledger)
    store.sql("UPDATE log_head SET closed = 'it was moved'")
    async with opened(store) as ledger:
        page = await ledger.audit(AuditFilter())
    assert (len(page.rows), page.size) == (6, 6)
