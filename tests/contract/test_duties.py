"""What workers look up and claim, on either store."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Sequence
from contextlib import AsyncExitStack, closing
from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from uuid import UUID, uuid4

from grantledger.adapters.ledger.duties import ENDED, UNKEPT
from grantledger.adapters.ledger.postgres.duties import UNUSED
from grantledger.adapters.ledger.stored_ledger import StoredLedger
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.provider import ProviderRules
from grantledger.domain.schedule import SLOTS, Times, times_of, unused_since
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import FailureClass, GrantKey, RefreshToken
from tests.contract.stores import PostgresStore, SqliteStore, Store, opened
from tests.ledger.scene import NOW, RULES, ctx, intended, mark, revoked

LIFE = 900.0
HOURLY: ProviderRules = replace(RULES, rotation_interval_seconds=3600.0)


def later(seconds: float) -> datetime:
    return NOW + timedelta(seconds=seconds)


def grant(
    subject: str, life: float | None = LIFE, provider: str = "cloud"
) -> UserGrant:
    return UserGrant.provision(
        ctx(),
        RULES,
        uuid4(),
        Consent(
            key=GrantKey(provider, subject),
            client_id="broker",
            flow="import",
            scopes=("openid",),
            refresh_token=RefreshToken(f"rt-{subject}"),
            refresh_expires_at=None if life is None else later(life),
        ),
        mark,
    )


async def stored(ledger: StoredLedger, *grants: UserGrant) -> list[UUID]:
    for one in grants:
        await ledger.append(one)
    return [one.id for one in grants]


def times(one: UserGrant) -> Times:
    found = times_of(one.state)
    assert found is not None
    return found


async def unused_at(
    ledger: StoredLedger, seconds: float, limit: int = 100
) -> Sequence[UUID]:
    at = later(seconds)
    return await ledger.duties.unused("cloud", unused_since(HOURLY, at), at, limit)


async def test_what_has_to_be_kept_comes_the_soonest_to_end_first(
    ledger: StoredLedger,
) -> None:
    grants = [grant(f"user-{n}") for n in range(8)]
    await stored(ledger, *grants, grant("for ever", None), grant("a", 900, "other"))
    keep_at = {one.id: times(one).keep_at for one in grants}
    in_order = sorted(keep_at, key=lambda i: keep_at[i] or NOW)
    third = keep_at[in_order[2]]
    assert third is not None
    duties = ledger.duties
    assert await duties.unkept("cloud", later(449), 100) == []
    assert await duties.unkept("cloud", third, 100) == in_order[:3]
    assert await duties.unkept("cloud", later(600), 100) == in_order
    assert await duties.unkept("cloud", later(600), 2) == in_order[:2]


async def test_what_was_not_used_is_found_when_its_slot_is_due(
    ledger: StoredLedger,
) -> None:
    grants = [grant(f"user-{n}", None) for n in range(8)]
    ids = await stored(ledger, *grants, grant("alice", None, "other"))
    assert await unused_at(ledger, 2700) == []
    for one in grants:
        due = 3600 * (1 - times(one).slot / SLOTS / 4)
        assert one.id not in await unused_at(ledger, due - 0.001)
        assert one.id in await unused_at(ledger, due)
    assert set(await unused_at(ledger, 3600)) == set(ids) - {ids[-1]}
    assert len(await unused_at(ledger, 3600, 3)) == 3


async def test_what_has_ended_is_found_whatever_its_provider(
    ledger: StoredLedger,
) -> None:
    one, other = grant("alice", 100), grant("bob", 200, "other")
    await stored(ledger, one, other, grant("carol", None))
    assert await ledger.duties.ended(later(99), 10) == []
    assert await ledger.duties.ended(later(200), 10) == [one.id, other.id]
    assert await ledger.duties.ended(later(200), 1) == [one.id]


async def test_a_grant_that_backs_off_is_left_out_until_its_time(
    ledger: StoredLedger,
) -> None:
    one = grant("alice")
    await stored(ledger, one)
    draft, intent = intended(one.fork(), later(600))
    await ledger.append(draft)
    draft = draft.fork()
    busy = UpstreamFailure(FailureClass.RATE_LIMITED, True, "busy", retry_after=120.0)
    draft.failed(replace(ctx(later(600)), jitter=0.0), RULES, intent.attempt_id, busy)
    await ledger.append(draft)
    for seconds, found in ((719, []), (720, [one.id])):
        assert await ledger.duties.unkept("cloud", later(seconds), 10) == found
    at = later(3600 + 700)
    since = unused_since(HOURLY, at)
    assert await ledger.duties.unused("cloud", since, later(719), 10) == []
    assert await ledger.duties.unused("cloud", since, later(720), 10) == [one.id]


async def test_a_grant_that_has_ended_is_found_no_more(ledger: StoredLedger) -> None:
    one = grant("alice")
    await stored(ledger, one)
    await ledger.append(revoked(one.fork()))
    assert await ledger.duties.unkept("cloud", later(9999), 10) == []
    assert await ledger.duties.ended(later(9999), 10) == []
    assert await unused_at(ledger, 99_999) == []


async def test_a_grant_without_a_row_is_looked_at_and_sorted_in(
    ledger: StoredLedger, store: Store
) -> None:
    """As after an upgrade: the state tells, and it is sealed."""
    one, other, over = grant("alice"), grant("bob"), grant("carol")
    await stored(ledger, one, other, over)
    await ledger.append(revoked(over.fork()))
    duties = ledger.duties
    assert await duties.complete() == 0
    store.sql("DELETE FROM upkeep")
    assert await duties.complete() == 2
    assert set(await duties.ended(NOW, 10)) == {one.id, other.id}
    for known in (one, other):
        await duties.reschedule(known.fork())
    assert await duties.ended(NOW, 10) == []
    assert len(await duties.unkept("cloud", later(600), 10)) == 2
    assert await duties.complete() == 0


async def test_an_older_state_does_not_replace_a_newer_ones_times(
    ledger: StoredLedger,
) -> None:
    one = grant("alice")
    await stored(ledger, one)
    before = one.fork()
    await ledger.append(revoked(one.fork()))
    await ledger.duties.reschedule(before)
    assert await ledger.duties.unkept("cloud", later(9999), 10) == []


async def test_a_claim_is_one_holders(ledger: StoredLedger) -> None:
    duties = ledger.duties
    grant_id, holders = uuid4(), [uuid4() for _ in range(16)]
    now = datetime.now(NOW.tzinfo)
    said = await asyncio.gather(
        *(duties.claim(grant_id, holder, now, 60) for holder in holders)
    )
    assert said.count(True) == 1
    winner = holders[said.index(True)]
    assert await duties.claim(grant_id, winner, now, 60), "its own is prolonged"
    loser = next(holder for holder in holders if holder != winner)
    assert not await duties.claim(grant_id, loser, now, 60)
    assert await duties.claim(uuid4(), loser, now, 60), "another grant is free"


async def test_a_claim_that_ran_out_is_anybodys_and_forgotten(
    ledger: StoredLedger, store: Store
) -> None:
    duties = ledger.duties
    one, other, mine, theirs = (uuid4() for _ in range(4))
    now = datetime.now(NOW.tzinfo)
    assert await duties.claim(one, mine, now, 0)
    assert await duties.claim(other, mine, now, 0)
    after = now + timedelta(seconds=1)
    assert await duties.claim(one, theirs, after, 60)
    assert store.sql("SELECT grant_id, holder FROM claims") == [(one.hex, theirs.hex)]


async def test_claims_of_two_processes_meet_in_the_store(store: Store) -> None:
    grant_id, mine, theirs = uuid4(), uuid4(), uuid4()
    now = datetime.now(NOW.tzinfo)
    async with opened(store) as one, opened(store) as two:
        assert await one.duties.claim(grant_id, mine, now, 60)
        assert not await two.duties.claim(grant_id, theirs, now, 60)


async def test_a_file_that_takes_no_more_writes_has_nothing_to_claim(
    tmp_path: Path,
) -> None:
    """Else a server would be asked, and its answer could not be kept."""
    store = SqliteStore(tmp_path / "ledger.db")
    async with opened(store) as ledger:
        store.sql("UPDATE log_head SET closed = 'moved'")
        now = datetime.now(NOW.tzinfo)
        assert not await ledger.duties.claim(uuid4(), uuid4(), now, 60)


async def test_a_connection_that_was_cut_off_is_made_anew(
    postgres: PostgresStore,
) -> None:
    async with opened(postgres) as ledger:
        one, holder, now = uuid4(), uuid4(), datetime.now(NOW.tzinfo)
        assert await ledger.duties.claim(one, holder, now, 60)
        postgres.sql(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
            " WHERE state = 'idle' AND pid <> pg_backend_pid()"
        )
        assert await ledger.duties.claim(one, holder, now, 60)


async def test_no_look_up_reads_the_whole_table_on_postgresql(
    postgres: PostgresStore,
) -> None:
    postgres.sql(
        "INSERT INTO upkeep SELECT md5(n::text), 1, 'cloud', mod(n, 60),"
        " 9000000 + n, 9000000 + n, 9000000 + n, NULL"
        " FROM generate_series(1, 20000) n"
    )
    postgres.sql("ANALYZE upkeep")
    slots = list(range(SLOTS)), [9_000_100] * SLOTS
    for query, values in (
        (ENDED, (9_000_100, 100)),
        (UNKEPT, ("cloud", 9_000_100, 9_000_100, 100)),
        (UNUSED, (*slots, "cloud", 9_000_100, 100, 100)),
    ):
        plan = [row[0] for row in postgres.sql(f"EXPLAIN {query}", *values)]
        assert not [line for line in plan if "Seq Scan" in line], plan
        assert [line for line in plan if "upkeep_" in line], plan


async def test_rows_are_completed_in_portions(
    store: Store, ledger: StoredLedger
) -> None:
    """So that no transaction holds up the appends for long."""
    await stored(ledger, *(grant(f"u{n}") for n in range(5)))
    store.sql("DELETE FROM upkeep")
    assert await ledger.duties.complete(2) == 5
    assert await ledger.duties.complete(2) == 0
    assert store.sql("SELECT count(*) FROM upkeep WHERE ends_at = 0") == [(5,)]


async def test_claims_that_wait_keep_no_reader_waiting(tmp_path: Path) -> None:
    store = SqliteStore(tmp_path / "ledger.db")
    async with opened(store) as ledger:
        (one,) = await stored(ledger, grant("alice"))
        with closing(sqlite3.connect(store.path, isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            now = datetime.now(NOW.tzinfo)
            claims = [
                asyncio.ensure_future(ledger.duties.claim(one, uuid4(), now, 60))
                for _ in range(4)
            ]
            await asyncio.sleep(0.1)
            assert await ledger.get(one) is not None
            assert not any(claim.done() for claim in claims)
            other.execute("ROLLBACK")
            assert sorted(await asyncio.gather(*claims)) == [False] * 3 + [True]


async def test_claims_that_run_out_make_nobody_wait_for_ever(
    postgres: PostgresStore,
) -> None:
    """Each forgets the other's, and takes its own: in one order, never in two."""
    grants, now = [uuid4(), uuid4()], datetime.now(NOW.tzinfo)
    async with AsyncExitStack() as stack:
        ledgers = [
            await stack.enter_async_context(opened(postgres, listen=False))
            for _ in range(4)
        ]

        async def often(ledger: StoredLedger, number: int) -> None:
            for turn in range(400):
                await ledger.duties.claim(grants[(turn + number) % 2], uuid4(), now, 0)

        await asyncio.gather(*(often(one, n) for n, one in enumerate(ledgers)))
