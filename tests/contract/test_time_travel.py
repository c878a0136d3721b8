"""Grants as they were, at every point, on either store."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from grantledger.adapters.keys.ring import KeyUse
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.errors import IntegrityError, InvalidRequest
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.fleet import GrantFilter
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ErasureReason, GrantStatus, RefreshToken
from grantledger.projections.as_of import as_of
from tests.contract.copy_scene import Move
from tests.contract.stores import PostgresStore, SqliteStore, Store, opened
from tests.ledger.scene import (
    answered,
    ctx,
    hand_out,
    intended,
    mark,
    new_grant,
    revoked,
)

EVERY = 8
"""How many versions lie between two stored states."""

Pairs = Sequence[tuple[int, GrantEvent | AccessRecorded]]


async def grown(
    ledger: StoredLedger, one: UserGrant, events: int, portion: int = 4
) -> UserGrant:
    """Bring so many events more into the record, a portion an append."""
    while events > 0:
        draft = one.fork()
        for number in range(min(portion, events)):
            token = RefreshToken(f"rt-{one.version}-{number}")
            draft.store(ctx(), token, None, mark)
        events -= portion
        await ledger.append(draft)
        one = draft.fork()
    return one


async def redeemed(ledger: StoredLedger, one: UserGrant, events: int) -> UserGrant:
    """Bring a redemption and its answer into the record."""
    draft, intent = intended(one)
    await ledger.append(draft)
    draft = answered(draft.fork(), intent, f"rt-{events}", f"at-{one.version}")
    await ledger.append(draft)
    await ledger.record(hand_out(draft.fork(), token_ref=draft.version))
    return draft.fork()


async def ended(ledger: StoredLedger, one: UserGrant, events: int) -> UserGrant:
    """Bring many events and then a revocation into the record."""
    draft = revoked(await grown(ledger, one, events, portion=40))
    await ledger.append(draft)
    return draft.fork()


Step = Callable[[StoredLedger, UserGrant, int], Awaitable[UserGrant]]
STEPS: Sequence[Step] = (grown, redeemed, ended)


def replayed(pairs: Pairs, size: int) -> UserGrant | None:
    """Return the grant that its events make, from the first one on."""
    events = [(leaf, event) for leaf, event in pairs if isinstance(event, GrantEvent)]
    found = as_of(events, size)
    return found.grant if found else None


async def test_at_every_leaf_it_is_the_replay_cut_there(ledger: StoredLedger) -> None:
    one, other = new_grant(), new_grant("bob")
    await ledger.append(one)
    await ledger.append(other)
    one = await grown(ledger, one.fork(), EVERY + 8)
    await ledger.record(hand_out(one))
    other = await grown(ledger, other.fork(), 5)
    await ledger.append(revoked(one.fork()))
    size = await ledger.size()
    for grant in (one, other):
        pairs = await ledger.history(grant.id)
        for leaf in range(size):
            then = await ledger.as_of(grant.id, position=leaf)
            cut = replayed(pairs, leaf + 1)
            assert (then.grant if then else None) == cut, leaf
        for version in range(1, grant.version + 1):
            then = await ledger.as_of(grant.id, version=version)
            assert then is not None
            assert then.grant.version == version


@settings(
    max_examples=12,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    steps=st.lists(
        st.tuples(st.integers(0, 2), st.sampled_from(STEPS), st.integers(1, 80)),
        max_size=6,
    ),
    points=st.lists(st.floats(0, 1), min_size=3, max_size=6),
)
async def test_as_of_is_a_replay_whatever_was_appended(
    store: Store, steps: list[tuple[int, Step, int]], points: list[float]
) -> None:
    async with opened(store) as ledger:
        grants = [new_grant(f"user-{uuid4()}") for _ in range(3)]
        for one in grants:
            await ledger.append(one)
        grants = [one.fork() for one in grants]
        for which, step, events in steps:
            if grants[which].state.usable:
                grants[which] = await step(ledger, grants[which], events)
        size = await ledger.size()
        for one in grants:
            pairs = await ledger.history(one.id)
            for point in points:
                leaf = min(size - 1, int(point * size))
                then = await ledger.as_of(one.id, position=leaf)
                assert (then.grant if then else None) == replayed(pairs, leaf + 1)


async def test_a_long_history_is_not_replayed_from_its_first_event(
    store: Store, ledger: StoredLedger
) -> None:
    one = new_grant()
    await ledger.append(one)
    one = await grown(ledger, one.fork(), 3 * EVERY)
    states = [r[0] for r in store.sql("SELECT version FROM grant_states")]
    assert len(states) == 3
    first = await ledger.as_of(one.id, version=one.version - 1)
    # What lies before the last state may be unreadable, and nobody notices.
    store.sql(
        "UPDATE stored_events SET leaf_hash = ? WHERE originator_version = 2", b"x"
    )
    assert await ledger.as_of(one.id, version=one.version - 1) == first
    with pytest.raises(IntegrityError, match="leaf 1 differs"):
        await ledger.as_of(one.id, version=3)


async def test_a_stored_state_that_was_changed_is_refused(
    store: Store, ledger: StoredLedger
) -> None:
    one = new_grant()
    await ledger.append(one)
    one = await grown(ledger, one.fork(), EVERY)
    store.sql("UPDATE grant_states SET generation = 9")
    with pytest.raises(IntegrityError, match=f"row of grant {one.id} was changed"):
        await ledger.as_of(one.id)


async def test_stored_states_are_compared_with_a_replay(
    store: Store, ledger: StoredLedger
) -> None:
    one = new_grant()
    await ledger.append(one)
    assert await ledger.check_states(one.id) == 0
    one = await grown(ledger, one.fork(), EVERY)
    assert await ledger.check_states(one.id) == 1
    store.sql("UPDATE grant_states SET version = version - 1")
    with pytest.raises(IntegrityError, match="was changed"):
        await ledger.check_states(one.id)


async def test_a_stored_state_whose_key_was_retired_is_passed_over(
    store: Store, ledger: StoredLedger
) -> None:
    one = new_grant()
    await ledger.append(one)
    one = await grown(ledger, one.fork(), EVERY)
    good = await ledger.as_of(one.id)
    key = store.ring.active_id(KeyUse.MAC)
    other = key[:-1] + ("a" if key[-1] != "a" else "b")
    ((code,),) = store.sql("SELECT code FROM grant_states")
    changed = bytes(code).replace(key.encode(), other.encode())
    assert changed != bytes(code)
    store.sql("UPDATE grant_states SET code = ?", changed)
    assert await ledger.as_of(one.id) == good
    await ledger.check_states(one.id)


async def test_a_stored_state_of_another_log_is_not_used(store: Store) -> None:
    one = new_grant()
    async with opened(store) as ledger:
        await ledger.append(one)
        one = await grown(ledger, one.fork(), EVERY)
        good = await ledger.as_of(one.id)
        store.sql("UPDATE grant_states SET leaf_index = leaf_index - 1")
        assert await ledger.as_of(one.id) == good


async def test_an_erased_grant_has_no_stored_states(
    store: Store, ledger: StoredLedger
) -> None:
    one = new_grant()
    await ledger.append(one)
    one = await grown(ledger, one.fork(), EVERY)
    assert store.sql("SELECT 1 FROM grant_states")
    draft = revoked(one.fork())
    await ledger.append(draft)
    draft = draft.fork()
    draft.erase(ctx(), reason=ErasureReason.USER_REQUEST, receipt="r-1")
    await ledger.append(draft)
    assert store.sql("SELECT 1 FROM grant_states") == []
    then = await ledger.as_of(one.id, version=2)
    assert then is not None
    assert then.state.subject == "(erased)"
    assert then.grant == replayed(await ledger.history(one.id), then.leaf_index + 1)


async def listed(
    ledger: StoredLedger, wanted: GrantFilter, size: int
) -> list[UserGrant]:
    found: list[UserGrant] = []
    after: UUID | None = None
    while True:
        page = await ledger.page_at(wanted, size, after=after, limit=2)
        found += page.grants
        after = page.after
        if after is None:
            return found


async def test_the_fleet_as_it_was_is_every_grant_cut_there(
    ledger: StoredLedger,
) -> None:
    grants = [new_grant(f"user-{number}") for number in range(5)]
    for one in grants:
        await ledger.append(one)
    for one in grants[:3]:
        await grown(ledger, one.fork(), 3, portion=1)
    for one in grants[3:]:
        await ledger.append(revoked(one.fork()))
    size = await ledger.size()
    histories = [await ledger.history(one.id) for one in grants]
    for leaves in range(size + 1):
        cut = [replayed(pairs, leaves) for pairs in histories]
        was = sorted((g for g in cut if g), key=lambda g: g.id.hex)
        assert await listed(ledger, GrantFilter(), leaves) == was
        usable = [g for g in was if g.state.status is GrantStatus.ACTIVE]
        wanted = GrantFilter(status=GrantStatus.ACTIVE)
        assert await listed(ledger, wanted, leaves) == usable
    assert await listed(ledger, GrantFilter(provider="nobody"), size) == []


async def test_a_diff_names_what_changed_between_two_points(
    ledger: StoredLedger,
) -> None:
    one, still, late = new_grant(), new_grant("still"), new_grant("late")
    await ledger.append(one)
    await ledger.append(still)
    first = await ledger.size()
    await ledger.append(revoked(one.fork()))
    middle = await ledger.size()
    await ledger.append(late)
    last = await ledger.size()
    (changed,), after = await ledger.changes((first, middle))
    assert (changed.grant_id, after) == (one.id, None)
    said = {d.field: (d.before, d.after) for d in changed.differences}
    assert said["status"] == ("active", "revoked")
    assert "scopes" not in said
    every, _ = await ledger.changes((first, last))
    assert {c.grant_id for c in every} == {one.id, late.id}
    made = next(c for c in every if c.grant_id == late.id)
    assert made.before is None
    assert await ledger.changes((last, last)) == ([], None)
    assert await ledger.change(still.id, (first, last)) is None


async def test_a_point_that_the_log_never_had_is_refused(ledger: StoredLedger) -> None:
    await ledger.append(new_grant())
    for position in (-1, 1, 10**15):
        with pytest.raises(InvalidRequest, match="the log has 1 leaves"):
            await ledger.as_of(uuid4(), position=position)
    with pytest.raises(InvalidRequest, match="the log has 1 leaves"):
        await ledger.size(2)
    assert await ledger.size(0) == 0
    with pytest.raises(InvalidRequest, match="1 to 500"):
        await ledger.page_at(GrantFilter(), 1, limit=501)


async def test_what_had_happened_and_was_recorded_later_is_told(
    store: Store, ledger: StoredLedger
) -> None:
    one = new_grant()
    await ledger.append(one)
    ((leaf,),) = store.sql("SELECT state FROM stored_events")
    between = datetime.fromisoformat(json.loads(bytes(leaf))["recorded_at"])
    # The answer waited: it came long before it could be recorded.
    draft, intent = intended(one.fork(), between + timedelta(seconds=1))
    await ledger.append(draft)
    await ledger.append(answered(draft.fork(), intent))
    later = await ledger.learned_later(one.id, between)
    assert [one.event for one in later] == ["Rotated", "Exchanged"]
    assert all(one.happened_at <= between < one.recorded_at for one in later)
    assert await ledger.learned_later(one.id, later[-1].recorded_at) == []
    known = await ledger.as_of(one.id, at=between)
    assert known is not None
    assert known.grant.version == 1


async def test_stored_states_are_copied_with_their_leaves(
    tmp_path: Path, postgres: PostgresStore
) -> None:
    source = SqliteStore(tmp_path / "ledger.db", postgres.ring)
    one = new_grant()
    async with opened(source) as ledger:
        await ledger.append(one)
        one = await grown(ledger, one.fork(), EVERY)
        then = await ledger.as_of(one.id, version=EVERY)
    Move(source.scene, postgres).run()
    assert len(postgres.sql("SELECT 1 FROM grant_states")) == 1
    async with opened(postgres) as target:
        assert await target.check_states(one.id) == 1
        here = await target.as_of(one.id, version=EVERY)
    assert then is not None
    assert here is not None
    assert (here.grant, here.leaf_index) == (then.grant, then.leaf_index)
