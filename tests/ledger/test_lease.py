"""A lease is over by the file's own clock; on PostgreSQL it is the server's."""

from __future__ import annotations

from datetime import timedelta

from grantledger.adapters.ledger.units import AppendUnit
from grantledger.domain.ports import AppendVerdict
from tests.ledger.parts import batch, parts
from tests.ledger.scene import NOW, Scene, SetClock, answered, intended, new_grant

COMMITTED = AppendVerdict.COMMITTED


def test_a_lease_is_over_when_the_stores_own_time_says_so(
    scene: Scene, set_clock: SetClock
) -> None:
    """Takeover: by time read under the lock, not by the taker's word."""
    with parts(scene, clock=set_clock) as p:
        grant = new_grant()
        p.transaction.apply(batch(grant))
        draft, intent = intended(grant.fork())
        p.transaction.apply(batch(draft))
        taker = AppendUnit(
            answered(draft.fork(), intent), lease_over=intent.lease_expires_at
        )
        held = (intent.lease_expires_at - NOW) / timedelta(seconds=1)
        set_clock.move(held - 1)
        assert p.transaction.apply(batch(taker)).appends == [AppendVerdict.LEASE_HELD]
        set_clock.move(1)
        assert p.transaction.apply(batch(taker)).appends == [COMMITTED]
