"""Holds that come while grants are erased or pruned: the log never says both."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Sequence
from datetime import UTC, datetime
from uuid import UUID, uuid4

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.erasing import apply_erasures
from grantledger.domain.errors import LegalHoldInForce
from grantledger.domain.grant_events import Erased
from grantledger.domain.ledger_events import LegalHoldSet, Pruned
from grantledger.domain.legal_hold import HoldTarget
from grantledger.domain.maintenance import Erasure
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.pruning import prune
from grantledger.domain.values import ErasureReason, GrantStatus, HoldScope
from tests.contract.stores import Store, opened
from tests.contract.test_legal_hold import WHY, held, later, lived
from tests.ledger.scene import ctx, stored
from tests.support.maintenance_between import MaintenanceBetween

GRANTS = 16


class Listed:
    """An erasure list that is read, and nothing more."""

    def __init__(self, grants: Sequence[UUID]) -> None:
        now = datetime.now(UTC)
        self._lines = [Erasure(g, str(uuid4()), now, "user_request") for g in grants]

    async def add(self, erasure: Erasure) -> None:
        raise AssertionError(erasure)

    async def read(self) -> Sequence[Erasure]:
        return self._lines


async def hold(ledger: StoredLedger, grant_id: UUID) -> None:
    """Hold a grant, whoever else writes to the ledger's own stream."""
    while True:
        life = await ledger.life()
        target = HoldTarget(HoldScope.GRANT, (grant_id,))
        life.hold(ctx(), hold_id=uuid4(), target=target, why=WHY)
        if await ledger.append_life(life) is AppendVerdict.COMMITTED:
            return


def positions(store: Store, topic: str) -> dict[UUID, int]:
    """Return the leaf of each grant's event, or of the event that names it."""
    found: dict[UUID, int] = {}
    for number, stream, state in store.sql(
        f"SELECT {store.number}, originator_id, state FROM stored_events"  # noqa: S608 - the test's own text
        " WHERE topic = ?",
        topic,
    ):
        named = json.loads(bytes(state))["fields"].get("grants")
        for grant in named if named is not None else [str(stream)]:
            found[UUID(grant)] = number
    return found


async def test_no_grant_is_erased_after_it_was_held(
    store: Store, ledger: StoredLedger
) -> None:
    """Two processes: one erases grant after grant, one holds them."""
    grants = [(await lived(ledger, f"u{n}")).id for n in range(GRANTS)]

    async with opened(store, node="node-2") as other:

        async def hold_all() -> None:
            for grant_id in grants:
                await hold(other, grant_id)

        erasing = apply_erasures(ledger, ledger, Listed(grants), later)
        done, _ = await asyncio.gather(erasing, hold_all())
    erased = positions(store, Erased.TOPIC)
    holds = positions(store, LegalHoldSet.TOPIC)
    assert set(holds) == set(grants)
    assert [g for g in erased if erased[g] > holds[g]] == []
    assert done.erased + done.held == GRANTS


async def test_an_event_is_refused_where_the_holds_are_not_as_they_were(
    ledger: StoredLedger,
) -> None:
    grant = await lived(ledger)
    before = await ledger.life()
    await held(ledger, HoldTarget(HoldScope.EVERYTHING))
    draft = grant.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    conflict = await ledger.append(draft, holds_at=before.version)
    assert conflict is AppendVerdict.CONFLICT
    assert (await stored(ledger, grant.id)).state.status is GrantStatus.ACTIVE
    now = await ledger.life()
    done = await ledger.append(draft, holds_at=now.version)
    assert done is AppendVerdict.COMMITTED


async def test_nothing_is_said_to_be_pruned_after_everything_was_held(
    store: Store, ledger: StoredLedger
) -> None:
    await lived(ledger)

    async def before(step: str) -> None:
        if step == "plan":
            await held(ledger, HoldTarget(HoldScope.EVERYTHING))

    with pytest.raises(LegalHoldInForce, match="the journal is under legal hold"):
        await prune(
            ledger,
            MaintenanceBetween(ledger, before),
            later,
            before=datetime.now(UTC),
            outcomes=(),
            reason="old enough",
        )
    assert positions(store, Pruned.TOPIC) == {}
