"""What a legal hold covers is not destroyed on any store, until it is released."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from uuid import UUID, uuid4

import pytest

from grantledger.adapters.cli.leaf_check import check_leaves
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.context import Context
from grantledger.domain.errors import LegalHoldInForce
from grantledger.domain.holding import extend_holds, grants_of
from grantledger.domain.legal_hold import HoldTarget
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.pruning import Pruning, prune
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ErasureReason, HoldScope
from tests.contract.stores import Store
from tests.ledger.scene import CANARY, ctx, hand_out, new_grant

EARLIER = datetime.now(UTC) - timedelta(hours=1)
WHY = (f"matter 7 {CANARY}", "T-7")


def later() -> Context:
    return ctx(datetime.now(UTC))


async def lived(ledger: StoredLedger, subject: str = "alice") -> UserGrant:
    grant = new_grant(subject)
    await ledger.append(grant)
    await ledger.record(hand_out(grant.fork(), expires_at=EARLIER))
    return grant.fork()


async def erased(ledger: StoredLedger, grant: UserGrant) -> None:
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    assert await ledger.append(draft) is AppendVerdict.COMMITTED


async def held(ledger: StoredLedger, target: HoldTarget) -> UUID:
    life = await ledger.life()
    hold_id = uuid4()
    life.hold(ctx(), hold_id=hold_id, target=target, why=WHY)
    assert await ledger.append_life(life) is AppendVerdict.COMMITTED
    return hold_id


async def released(ledger: StoredLedger, hold_id: UUID) -> None:
    life = await ledger.life()
    life.release(ctx(), hold_id=hold_id, why=("over", None))
    assert await ledger.append_life(life) is AppendVerdict.COMMITTED


async def pruned(ledger: StoredLedger) -> Pruning:
    return await prune(
        ledger,
        ledger,
        later,
        before=datetime.now(UTC),
        outcomes=(),
        reason="old enough",
    )


def target_of(scope: HoldScope, grant: UserGrant) -> HoldTarget:
    match scope:
        case HoldScope.GRANT:
            return HoldTarget(scope, (grant.id,))
        case HoldScope.SUBJECT:
            return HoldTarget(scope, (grant.id,), "cloud", "digest")
        case HoldScope.EVERYTHING:
            return HoldTarget(scope)


@pytest.mark.parametrize("scope", list(HoldScope))
async def test_the_key_of_a_held_grant_is_not_destroyed_until_its_release(
    store: Store, ledger: StoredLedger, scope: HoldScope
) -> None:
    """Though the log says that it is erased: whoever destroys asks the log."""
    grant = await lived(ledger)
    hold_id = await held(ledger, target_of(scope, grant))
    await erased(ledger, grant)
    with pytest.raises(LegalHoldInForce, match="under legal hold"):
        await ledger.destroy(grant.id)
    key = "SELECT 1 FROM data_keys WHERE grant_id=?"
    assert store.sql(key, grant.id.hex)
    assert store.sql("SELECT 1 FROM sealed WHERE grant_id=?", grant.id.hex)
    await released(ledger, hold_id)
    assert await ledger.destroy(grant.id) > 0
    assert not store.sql(key, grant.id.hex)


async def test_a_hold_on_one_grant_lets_others_be_destroyed(
    ledger: StoredLedger,
) -> None:
    grant, other = await lived(ledger), await lived(ledger, "bob")
    await held(ledger, HoldTarget(HoldScope.GRANT, (grant.id,)))
    await erased(ledger, other)
    assert await ledger.destroy(other.id) > 0


async def test_one_release_leaves_another_hold_in_force(ledger: StoredLedger) -> None:
    grant = await lived(ledger)
    target = HoldTarget(HoldScope.GRANT, (grant.id,))
    first, second = await held(ledger, target), await held(ledger, target)
    await released(ledger, first)
    (left,) = (await ledger.life()).state.holds
    assert (left.id, left.reason, left.ticket) == (second, *WHY)
    await erased(ledger, grant)
    with pytest.raises(LegalHoldInForce):
        await ledger.destroy(grant.id)


async def test_journal_leaves_of_a_held_grant_stay_when_others_are_pruned(
    store: Store, ledger: StoredLedger
) -> None:
    await lived(ledger, "before")
    grant = await lived(ledger)
    await lived(ledger, "bob")
    hold_id = await held(ledger, HoldTarget(HoldScope.GRANT, (grant.id,)))
    done = await pruned(ledger)
    assert (done.leaves, done.plan.kept) == (2, 1)
    assert len([e for _, e in await ledger.history(grant.id)]) == 2
    await released(ledger, hold_id)
    assert (await pruned(ledger)).leaves == 1
    empty = "SELECT count(*) FROM stored_events WHERE length(state) = 0"
    assert store.sql(empty) == [(3,)]
    # The log has said of each that it goes: nothing here looks like tampering.
    assert (await check_leaves(ledger)).pruned == 3


async def test_a_pruning_never_takes_what_was_held_when_it_was_said(
    ledger: StoredLedger,
) -> None:
    """Not after the release either: that takes a pruning that says so."""
    grant = await lived(ledger)
    await lived(ledger, "bob")
    hold_id = await held(ledger, HoldTarget(HoldScope.GRANT, (grant.id,)))
    assert (await pruned(ledger)).leaves == 1
    said = (await ledger.life()).state.pruned_by
    assert said
    await released(ledger, hold_id)
    assert await ledger.prune(said) == 0
    assert len([e for _, e in await ledger.history(grant.id)]) == 2


async def test_nothing_is_pruned_while_everything_is_held(
    store: Store, ledger: StoredLedger
) -> None:
    """Nor by whoever passes by the use case, with a Pruned event that is there."""
    await lived(ledger)
    await held(ledger, HoldTarget(HoldScope.EVERYTHING))
    with pytest.raises(LegalHoldInForce, match="the journal is under legal hold"):
        await pruned(ledger)
    life = await ledger.life()
    life.prune(later(), below=99, leaves=1, outcomes=(), reason="anyway")
    await ledger.append_life(life)
    with pytest.raises(LegalHoldInForce, match="the journal is under legal hold"):
        await ledger.prune(life.version)
    assert not store.sql("SELECT 1 FROM stored_events WHERE length(state) = 0")


async def test_a_hold_on_a_user_covers_the_grants_that_come_later(
    ledger: StoredLedger,
) -> None:
    """They are named in the log before anything is pruned."""
    user = ledger.user_digest("cloud", "alice")
    assert "alice" not in user
    grants = await grants_of(ledger, "cloud", user)
    assert grants == ()
    await held(ledger, HoldTarget(HoldScope.SUBJECT, grants, "cloud", user))
    grant = await lived(ledger)
    other = await lived(ledger, "bob")
    await extend_holds(ledger, later)
    await extend_holds(ledger, later)
    (hold,) = (await ledger.life()).state.holds
    assert hold.target.grants == (grant.id,)
    assert hold.covers(grant.id)
    assert hold.covers(uuid4(), user)
    assert not hold.covers(other.id, ledger.user_digest("cloud", "bob"))
    assert (await pruned(ledger)).leaves == 1


async def test_the_words_of_a_hold_are_in_no_leaf(
    store: Store, ledger: StoredLedger
) -> None:
    await held(ledger, HoldTarget(HoldScope.SUBJECT, (), "cloud", f"alice {CANARY}"))
    ((leaf,),) = store.sql(
        "SELECT state FROM stored_events WHERE topic=?",
        "grantledger.ledger.legal-hold-set.v1",
    )
    assert CANARY.encode() not in bytes(leaf)
    assert b'"provider":"cloud"' in bytes(leaf)
