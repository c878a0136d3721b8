"""Many grants at once, on either store."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

import pytest

from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import InvalidRequest
from grantledger.domain.fleet import MAX_PAGE, GrantFilter
from grantledger.domain.grant_events import GrantEvent
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    GrantStatus,
    RefreshToken,
)
from tests.contract.stores import SqliteStore, Store, opened
from tests.ledger.scene import (
    NOW,
    RULES,
    SetClock,
    answered,
    ctx,
    hand_out,
    intended,
    mark,
    revoked,
)


def later(hours: float) -> datetime:
    return NOW + timedelta(hours=hours)


def grant(number: int) -> UserGrant:
    """Return a grant that shares some of its facts with others."""
    rules = replace(RULES, name=("cloud", "drive")[number % 2])
    return UserGrant.provision(
        ctx(later(number)),
        rules,
        uuid4(),
        Consent(
            key=GrantKey(
                rules.name, f"user-{number // 2}", ("default", "work")[number % 3 > 1]
            ),
            client_id=("broker", "other")[number % 5 == 0],
            flow="import",
            scopes=("files.read", "openid") if number % 4 else ("openid",),
            refresh_token=RefreshToken(f"rt-{number}"),
            provisioned_at=later(number - 100),
        ),
        mark,
    )


async def fleet(ledger: StoredLedger, size: int = 12) -> list[UserGrant]:
    grants = [grant(number) for number in range(size)]
    for one in grants:
        await ledger.append(one)
    for one in grants[::3]:
        await ledger.append(revoked(one.fork()))
    return await ledger.grants()


async def pages(
    ledger: StoredLedger, wanted: GrantFilter, limit: int
) -> list[Sequence[UserGrant]]:
    found: list[Sequence[UserGrant]] = []
    after: UUID | None = None
    while True:
        page = await ledger.page(wanted, after=after, limit=limit)
        assert len(page.grants) <= limit
        found.append(page.grants)
        after = page.after
        if after is None:
            return found


FILTERS = [
    GrantFilter(),
    GrantFilter(provider="drive"),
    GrantFilter(provider="nobody"),
    GrantFilter(status=GrantStatus.REVOKED),
    GrantFilter(label="work"),
    GrantFilter(provider="cloud", subject="user-2"),
    GrantFilter(provider="cloud", subject="user-3", label="default"),
    GrantFilter(client_id="other"),
    GrantFilter(scope="files.read", status=GrantStatus.ACTIVE),
    GrantFilter(consented_from=later(-97), consented_until=later(-94)),
    GrantFilter(modified_from=later(1), modified_until=later(5)),
]


async def test_pages_of_any_size_hold_every_grant_that_fits_once(
    ledger: StoredLedger,
) -> None:
    everything = await fleet(ledger)
    for wanted in FILTERS:
        for limit in (1, 5, 100):
            found = [one for page in await pages(ledger, wanted, limit) for one in page]
            fit = sorted(
                (g for g in everything if wanted.matches(g)), key=lambda g: g.id.hex
            )
            assert found == fit, wanted
    assert [one async for one in ledger.each(GrantFilter(label="work"))]


async def test_a_page_costs_a_bounded_number_of_rows_and_says_where_it_ended(
    ledger: StoredLedger,
) -> None:
    everything = await fleet(ledger)
    ledger.scanned, ledger.opened = 4, 2
    for wanted in FILTERS:
        found = await pages(ledger, wanted, 3)
        fit = {g.id for g in everything if wanted.matches(g)}
        assert [one.id for page in found for one in page] == sorted(
            fit, key=lambda i: i.hex
        )
    # Nothing fits, and each page has looked at four rows.
    assert len(await pages(ledger, GrantFilter(provider="nobody"), 3)) >= 3
    # Every page that opens rows opens two.
    assert len(await pages(ledger, GrantFilter(label="nothing"), 3)) >= 6


async def test_a_grant_that_changes_meanwhile_comes_once(ledger: StoredLedger) -> None:
    everything = await fleet(ledger)
    first = await ledger.page(GrantFilter(), limit=6)
    for one in everything:
        if one.state.usable:
            await ledger.append(revoked(one.fork()))
    second = await ledger.page(GrantFilter(), after=first.after, limit=6)
    ids = [one.id for one in (*first.grants, *second.grants)]
    assert sorted(ids) == sorted(one.id for one in everything)
    assert {one.state.status for one in second.grants} == {GrantStatus.REVOKED}


@pytest.mark.parametrize("limit", [0, MAX_PAGE + 1])
async def test_a_page_that_is_too_large_is_refused(
    ledger: StoredLedger, limit: int
) -> None:
    with pytest.raises(InvalidRequest, match=f"1 to {MAX_PAGE}") as refused:
        await ledger.page(GrantFilter(), limit=limit)
    assert refused.value.field == "limit"


async def test_a_grant_as_of_every_point_is_the_replay_up_to_there(
    ledger: StoredLedger, store: Store
) -> None:
    one, other = grant(0), grant(1)
    await ledger.append(one)
    await ledger.append(other)
    draft, intent = intended(one.fork())
    await ledger.append(draft)
    await ledger.record(hand_out(other.fork()))
    await ledger.append(answered(draft.fork(), intent))
    await ledger.append(revoked(other.fork()))
    found = await ledger.get(one.id)
    assert found is not None
    await ledger.append(revoked(found))
    times = [
        datetime.fromisoformat(json.loads(bytes(row[0]))["recorded_at"]).astimezone(UTC)
        for row in store.sql(f"SELECT state FROM stored_events ORDER BY {store.number}")  # noqa: S608 - the test's own text
    ]
    events = [
        (index, event)
        for index, event in await ledger.history(one.id)
        if isinstance(event, GrantEvent)
    ]
    assert await ledger.as_of(one.id, at=times[0] - timedelta(seconds=1)) is None
    for at in times:
        size = next((n for n, t in enumerate(times) if t > at), len(times))
        assert await ledger.size_at(at) == size
        then = await ledger.as_of(one.id, at=at)
        replayed: UserGrant | None = None
        for index, event in events:
            if index < size:
                replayed = event.mutate(replayed)
        assert then is not None
        assert replayed is not None
        assert (then.state, then.grant.version) == (replayed.state, replayed.version)
        assert then.log_size == size
    for version in range(1, len(events) + 1):
        then = await ledger.as_of(one.id, version=version)
        assert then is not None
        assert (then.grant.version, then.leaf_index) == (
            version,
            events[version - 1][0],
        )
    assert await ledger.as_of(one.id, version=len(events) + 1) is None
    now = await ledger.as_of(one.id)
    assert now is not None
    assert now.grant == await ledger.get(one.id)


async def test_what_is_no_time_or_version_is_refused(ledger: StoredLedger) -> None:
    naive = datetime(2026, 1, 1)  # noqa: DTZ001 - without a zone on purpose
    with pytest.raises(InvalidRequest) as refused:
        await ledger.as_of(uuid4(), at=naive)
    assert refused.value.field == "at"
    with pytest.raises(InvalidRequest) as refused:
        await ledger.as_of(uuid4(), version=0)
    assert refused.value.field == "version"


async def touched(
    ledger: StoredLedger,
    caller: str | None,
    start: datetime | None,
    end: datetime | None,
) -> set[UUID]:
    found: set[UUID] = set()
    after: int | None = 0
    while after is not None:
        some = await ledger.touched(caller, start, end, after=after)
        assert some.after is None or some.after > after
        found |= some.grants
        after = some.after
    return found


async def test_the_log_tells_which_grants_a_caller_was_handed_tokens_of(
    ledger: StoredLedger,
) -> None:
    one, two, three = grant(0), grant(1), grant(2)
    for each in (one, two, three):
        await ledger.append(each)
    now = datetime.now(UTC)
    soon = now + timedelta(minutes=5)
    await ledger.record(hand_out(one.fork(), "scanner", at=now))
    await ledger.record(hand_out(two.fork(), "scanner", at=now + timedelta(seconds=40)))
    await ledger.record(hand_out(three.fork(), "mailer", at=now))
    ledger.walked = 1
    assert await touched(ledger, "scanner", None, None) == {one.id, two.id}
    assert await touched(ledger, "mailer", now, soon) == {three.id}
    assert await touched(ledger, "scanner", now + timedelta(seconds=1), soon) == {
        two.id
    }
    assert await touched(ledger, "scanner", None, now) == set()
    assert await touched(ledger, None, now, soon) == {one.id, two.id, three.id}
    assert await touched(ledger, None, None, None) == {one.id, two.id, three.id}


async def test_an_answer_that_was_stored_late_counts_for_when_it_came(
    tmp_path: Path,
) -> None:
    """Nobody could write for an hour: the answer stood in the spool."""
    clock = SetClock()
    async with opened(SqliteStore(tmp_path / "ledger.db"), clock=clock) as ledger:
        late, never = grant(0), grant(1)
        for each in (late, never):
            await ledger.append(each)
        clock.move(7200)
        draft, intent = intended(late.fork(), clock.now())
        await ledger.append(draft)
        await ledger.append(intended(never.fork(), clock.now())[0])
        start, end = clock.now(), clock.now() + timedelta(minutes=1)
        clock.move(3600)
        draft = draft.fork()
        answer = TokenAnswer(
            start, refresh_token=RefreshToken("rt2"), access_token=AccessToken("at2")
        )
        draft.answered(ctx(clock.now()), RULES, intent.attempt_id, answer, mark)
        await ledger.append(draft)
        assert await touched(ledger, None, start, end) == {late.id}
        assert await touched(ledger, None, end, clock.now()) == set()


async def test_an_intent_alone_obtained_nothing(ledger: StoredLedger) -> None:
    now = datetime.now(UTC)
    one = grant(0)
    await ledger.append(one)
    await ledger.append(intended(one.fork(), now)[0])
    soon = now + timedelta(minutes=5)
    assert await touched(ledger, None, now, soon) == set()
