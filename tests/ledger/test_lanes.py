"""Who may join which queue, and who is taken first."""

from __future__ import annotations

import asyncio

import pytest

from grantledger.adapters.ledger.lanes import (
    MAX_APPENDS_PER_BATCH,
    MAX_ENTRIES_PER_BATCH,
    Append,
    Lanes,
)
from grantledger.adapters.ledger.units import AppendUnit
from grantledger.domain.errors import Unavailable
from grantledger.domain.grant_state import Intent
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.user_grant import UserGrant
from tests.ledger.scene import RULES, answered, denial, intended, new_grant, revoked


def _future() -> asyncio.Future[AppendVerdict]:
    return asyncio.get_running_loop().create_future()


def _add(
    lanes: Lanes, grant: UserGrant, lane: Lane = Lane.ORDINARY, now: float = 0.0
) -> Append:
    unit, future = AppendUnit(grant), _future()
    lanes.append(unit, future, lane, now)
    return unit, future


def _record(lanes: Lanes, caller: str = "scanner") -> asyncio.Future[object]:
    future = asyncio.get_running_loop().create_future()
    lanes.record(denial(caller), future)
    return future


def _intent(lanes: Lanes, now: float = 0.0) -> tuple[Append, UserGrant, Intent]:
    draft, intent = intended(new_grant().fork())
    return _add(lanes, draft, now=now), draft, intent


async def test_outcomes_are_taken_before_everything_else() -> None:
    lanes = Lanes(10_000)
    for _ in range(MAX_APPENDS_PER_BATCH):
        _add(lanes, new_grant())
    for _ in range(2000):
        _record(lanes)
    outcome = _add(lanes, revoked(new_grant().fork()), Lane.OUTCOME)
    appends, accesses = lanes.take()
    assert appends[0] is outcome or appends[0] == outcome
    assert len(appends) == MAX_APPENDS_PER_BATCH
    assert len(accesses) == MAX_ENTRIES_PER_BATCH
    assert [len(part) for part in lanes.take()] == [1, MAX_ENTRIES_PER_BATCH]


async def test_a_full_queue_refuses_ordinary_appends_and_no_outcome() -> None:
    lanes = Lanes(3)
    for _ in range(3):
        _add(lanes, new_grant())
    with pytest.raises(Unavailable, match="limit is 3"):
        _add(lanes, new_grant())
    for _ in range(50):
        _add(lanes, revoked(new_grant().fork()), Lane.OUTCOME)
    assert len(lanes.take()[0]) == 53


async def test_an_admitted_intent_keeps_the_place_of_its_outcome() -> None:
    """Until its outcome is stored, no other intent may have that place."""
    lanes = Lanes(2)
    taken, draft, intent = _intent(lanes)
    with pytest.raises(Unavailable, match="2 appends are waiting or under way"):
        _intent(lanes)
    lanes.take()
    lanes.settle([taken], [AppendVerdict.COMMITTED])
    assert lanes.reserved == 1, "it was stored: its outcome is to come"
    second, _, _ = _intent(lanes)
    with pytest.raises(Unavailable):
        _intent(lanes)
    lanes.take()
    lanes.settle([second], [AppendVerdict.CONFLICT])
    assert lanes.reserved == 1, "a lost race brings no outcome"
    outcome = _add(lanes, answered(draft.fork(), intent), Lane.OUTCOME)
    lanes.take()
    lanes.settle([outcome], [Unavailable("disk full")])
    assert lanes.reserved == 1, "it will be written again"
    lanes.settle([outcome], [AppendVerdict.COMMITTED])
    assert lanes.reserved == 0


async def test_a_place_is_free_again_when_its_lease_is_over() -> None:
    """Its owner is gone, or another process has taken over."""
    lanes = Lanes(2)
    taken, _, _ = _intent(lanes, now=100.0)
    lanes.take()
    lanes.settle([taken], [AppendVerdict.COMMITTED])
    _add(lanes, new_grant())
    with pytest.raises(Unavailable):
        _intent(lanes, now=100.0 + RULES.lease_seconds - 1)
    _intent(lanes, now=100.0 + RULES.lease_seconds)
    assert lanes.reserved == 1


async def test_one_caller_has_half_of_the_entries_at_most() -> None:
    lanes = Lanes(8)
    for _ in range(4):
        _record(lanes, "greedy")
    with pytest.raises(Unavailable, match="4 of caller 'greedy'"):
        _record(lanes, "greedy")
    for number in range(4):
        _record(lanes, f"caller{number}")
    with pytest.raises(Unavailable, match="8 entries"):
        _record(lanes, "another")
    lanes.take()
    _record(lanes, "greedy")


async def test_the_smallest_queue_still_takes_one() -> None:
    lanes = Lanes(1)
    _record(lanes)
    with pytest.raises(Unavailable):
        _record(lanes)


async def test_a_waiter_that_went_away_gives_its_place_back() -> None:
    lanes = Lanes(4)
    gone = [_record(lanes) for _ in range(2)]
    for future in gone:
        future.cancel()
    assert lanes.take() == ([], [])
    for _ in range(2):
        _record(lanes)


async def test_an_intent_nobody_waits_for_is_not_written_but_an_outcome_is() -> None:
    lanes = Lanes(4)
    (_, intent), draft, held = _intent(lanes)
    outcome = _add(lanes, answered(draft.fork(), held), Lane.OUTCOME)
    intent.cancel()
    outcome[1].cancel()
    appends, _ = lanes.take()
    assert appends == [outcome]
    assert lanes.reserved == 0


async def test_closed_lanes_refuse_everybody() -> None:
    lanes = Lanes(4)
    lanes.close()
    with pytest.raises(Unavailable, match="closed"):
        _record(lanes)
    for lane in Lane:
        with pytest.raises(Unavailable, match="closed"):
            _add(lanes, new_grant(), lane)
    assert not lanes
