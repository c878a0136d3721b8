"""Many grants are looked at, and ended, at once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from uuid import UUID

import pytest

from grantledger.domain.answers import TokenAnswer
from grantledger.domain.broker import Broker
from grantledger.domain.bulk import (
    Affected,
    BulkOutcome,
    BulkReceipt,
    Selection,
    Totals,
)
from grantledger.domain.errors import (
    ConfigurationError,
    GrantRevoked,
    InvalidRequest,
    Unavailable,
)
from grantledger.domain.grant_events import Revoked
from grantledger.domain.policy import CallerRule, Policy, Role
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.requests import Caller, TokenRequest
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    ErasureReason,
    GrantKey,
    GrantStatus,
    RefreshToken,
)
from tests.broker.between import LedgerBetween
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, Life
from tests.broker.stores import both_stores

RESPONDER = Caller("responder")
USERS = tuple(f"user-{number}" for number in range(20))
ALL = Selection(provider="cloud")


async def granted(life: Life, subject: str, **said: object) -> UserGrant:
    """Provision a grant that comes with an access token."""
    key = GrantKey("cloud", subject)
    consent = life.scene.consent(key=key, refresh_token=f"rt-{subject}")
    answer = TokenAnswer(
        sent_at=life.env.clock.now(),
        access_token=AccessToken(f"at-{subject}"),
        expires_in=600,
        scopes=consent.scopes,
    )
    return await life.provision(replace(consent, answer=answer, **said))  # type: ignore[arg-type] # fields of Consent


async def handed(life: Life, subject: str, caller: Caller = CALLER) -> None:
    await life.broker.hand_out(caller, TokenRequest(GrantKey("cloud", subject)))


async def looked(
    life: Life, selection: Selection, caller: Caller = RESPONDER, *, local: bool = True
) -> list[Affected]:
    lines = life.broker.bulk.preview(caller, selection, local=local)
    return [line async for line in lines]


async def ended(
    life: Life, selection: Selection, caller: Caller = RESPONDER, *, local: bool = True
) -> list[BulkReceipt]:
    receipts = life.broker.bulk.revoke_all(
        caller, selection, reason_text="a leak", ticket="SEC-1", local=local
    )
    return [receipt async for receipt in receipts]


def who(lines: Sequence[Affected | BulkReceipt]) -> list[str]:
    return sorted(line.grant.subject for line in lines)


def selections(
    before: datetime, between: datetime, after: datetime, mark: str
) -> list[tuple[Selection, set[str]]]:
    """Which of alice, bob and carol are meant; carol's consent is of long ago."""
    everybody = {"alice", "bob", "carol"}
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    year = timedelta(days=365)
    return [
        (Selection(provider="cloud"), everybody),
        (Selection(label="default"), everybody),
        (Selection(label="other"), set()),
        (Selection(client_id="other"), {"bob"}),
        (Selection(scope="files.read"), everybody),
        (Selection(scope="nothing"), set()),
        (Selection(provider="cloud", subject="alice"), {"alice"}),
        (Selection(caller="scanner"), {"alice"}),
        (Selection(caller="scanner", provider="drive"), set()),
        (Selection(caller="scanner", since=before, until=between), set()),
        (Selection(caller="scanner", since=between), {"alice"}),
        (Selection(since=between), {"alice", "carol"}),
        (Selection(until=before), {"carol"}),
        (Selection(since=long_ago - year, until=long_ago + year), {"carol"}),
        (Selection(since=before, client_id="other"), {"bob"}),
        (Selection(since=after), set()),
        (Selection(token=RefreshToken("rt-bob")), {"bob"}),
        (Selection(token=AccessToken("at-bob")), {"bob"}),
        (Selection(token=AccessToken("at-nobody")), set()),
        (Selection(token=AccessToken("at-bob"), provider="drive"), set()),
        (Selection(token=AccessToken("at-bob"), caller="scanner"), set()),
        (Selection(token=AccessToken("at-alice"), caller="scanner"), {"alice"}),
        (Selection(fingerprint=mark), {"bob"}),  # type: ignore[arg-type] # it is one
        (Selection(fingerprint=mark, token=AccessToken("at-bob")), {"bob"}),  # type: ignore[arg-type] # likewise
        (Selection(fingerprint=mark, token=AccessToken("at-alice")), set()),  # type: ignore[arg-type] # likewise
    ]


@both_stores
async def test_a_selection_is_what_all_that_is_said_holds_for(start: Start) -> None:
    async with start("B").open(provision=False) as life:
        clock = life.env.clock
        before = clock.now()
        await granted(life, "alice")
        bob = await granted(life, "bob", client_id="other")
        assert bob.state.refresh is not None
        between = clock.now()
        await handed(life, "alice")
        long_ago = datetime(2020, 1, 1, tzinfo=UTC)
        await granted(life, "carol", provisioned_at=long_ago)
        after = clock.now() + timedelta(seconds=1)
        mark = bob.state.refresh.fingerprint
        for selection, meant in selections(before, between, after, mark):
            found = await looked(life, selection)
            assert set(who(found)) == meant, selection
            assert len(found) == len(meant), selection


@both_stores
async def test_a_preview_tells_who_would_break_and_changes_nothing(
    start: Start,
) -> None:
    async with start("B").open(provision=False) as life:
        alice, bob = await granted(life, "alice"), await granted(life, "bob")
        await handed(life, "alice")
        await handed(life, "alice", Caller("mailer"))
        await life.broker.revoke(RESPONDER, GrantKey("cloud", "bob"), settle=False)
        size = await life.opened.ledger.size_at(life.env.clock.now())
        first, second = sorted(await looked(life, ALL), key=lambda x: x.grant.subject)
        assert (first.ends, second.ends) == (True, False)
        assert sorted(line.caller for line in first.live) == ["mailer", "scanner"]
        totals = Totals()
        for line in (first, second):
            totals.add(line)
        assert (totals.grants, totals.ends, totals.live) == (2, 1, 2)
        assert totals.callers == {"mailer": 1, "scanner": 1}
        receipts = await ended(life, ALL)
        owed = {r.grant.subject: r.owed for r in receipts}
        # What it said is what it came to.
        assert owed == {"alice": first.owed, "bob": second.owed}
        assert first.owed > 0
        assert size < await life.opened.ledger.size_at(life.env.clock.now())
        assert {alice.id, bob.id} == {r.grant.grant_id for r in receipts}


@both_stores
async def test_all_end_and_a_second_run_tells_the_same(start: Start) -> None:
    async with start("B").open(provision=False) as life:
        for user in USERS:
            await granted(life, user)
        await handed(life, "user-3")
        receipts = await ended(life, ALL)
        assert who(receipts) == sorted(USERS)
        assert {r.outcome for r in receipts} == {BulkOutcome.REVOKED}
        assert [len(r.live) for r in receipts if r.grant.subject == "user-3"] == [1]
        with pytest.raises(GrantRevoked):
            await handed(life, "user-3")
        again = await ended(life, ALL)
        assert who(again) == sorted(USERS)
        assert {r.outcome for r in again} == {BulkOutcome.ALREADY}
        events = [e for _, e in await life.history(receipts[0].grant.grant_id)]
        (event,) = [e for e in events if isinstance(e, Revoked)]
        assert (event.reason_text, event.ticket) == ("a leak", "SEC-1")
        assert event.by.id == "responder"


class Failing(LedgerBetween):
    """Takes no event of some grants."""

    failing: frozenset[UUID] = frozenset()

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        if grant.id in self.failing:
            raise Unavailable("the disk is full")
        return await super().append(
            grant, lane, lease_over=lease_over, holds_at=holds_at
        )


async def test_one_that_fails_keeps_none_of_the_others(start: Start) -> None:
    async with start("B").open(provision=False) as life:
        grants = [await granted(life, user) for user in USERS]
        ledger = Failing(life.env.ledger)
        ledger.failing = frozenset(grant.id for grant in grants[5:7])
        receipts = await ended(life.over(ledger), ALL)
        failed = [r for r in receipts if r.outcome is BulkOutcome.FAILED]
        assert who(failed) == ["user-5", "user-6"]
        assert {str(r.error) for r in failed} == {"the disk is full"}
        assert len(receipts) == len(USERS)
        # Run again, it ends what is left.
        outcomes = {r.grant.subject: r.outcome for r in await ended(life, ALL)}
        assert [u for u in USERS if outcomes[u] is BulkOutcome.REVOKED] == [
            "user-5",
            "user-6",
        ]


async def test_a_run_that_is_cut_short_is_gone_on_with(start: Start) -> None:
    async with start("B").open(provision=False) as life:
        for user in USERS:
            await granted(life, user)
        receipts = life.broker.bulk.revoke_all(RESPONDER, ALL, local=True)
        async for receipt in receipts:
            assert receipt.grant.status is GrantStatus.REVOKED
            break
        outcomes = [r.outcome for r in await ended(life, ALL)]
        assert outcomes.count(BulkOutcome.ALREADY) >= 1
        assert outcomes.count(BulkOutcome.REVOKED) >= 1
        assert len(outcomes) == len(USERS)


async def test_a_provider_that_is_not_configured_any_more_fails_its_own(
    start: Start,
) -> None:
    async with start("B").open(provision=False) as life:
        await granted(life, "alice")
        env = replace(life.env, providers={})
        bare = Life(life.scene, life.opened, Broker(env))
        (line,) = await looked(bare, ALL)
        (receipt,) = await ended(bare, ALL)
        assert (line.ends, receipt.outcome) == (False, BulkOutcome.FAILED)
        for error in (line.error, receipt.error):
            assert isinstance(error, InvalidRequest)


async def test_what_the_policy_does_not_name_is_left_out(start: Start) -> None:
    rules = (
        CallerRule(
            "responder",
            subjects=frozenset({"alice"}),
            roles=frozenset({Role.RESPONDER}),
        ),
        CallerRule("auditor", roles=frozenset({Role.AUDITOR})),
    )
    async with start("B").open(provision=False) as life:
        for user in ("alice", "bob"):
            await granted(life, user)
        life.env.policy = Policy(rules, "p1")
        auditor = Caller("auditor")
        assert who(await looked(life, ALL, auditor, local=False)) == ["alice", "bob"]
        assert who(await looked(life, ALL, local=False)) == ["alice"]
        assert await ended(life, ALL, auditor, local=False) == []
        assert who(await ended(life, ALL, local=False)) == ["alice"]


async def test_an_erased_grant_is_not_among_them(start: Start) -> None:
    async with start("B").open(provision=False) as life:
        await granted(life, "alice")
        await life.broker.erase(
            RESPONDER,
            GrantKey("cloud", "alice"),
            reason=ErasureReason.OPERATOR,
            abandon=True,
        )
        assert await looked(life, ALL) == []


async def test_without_a_fleet_it_is_refused(start: Start) -> None:
    async with start("B").open(provision=False) as life:
        broker = Broker(replace(life.env, fleet=None))
        with pytest.raises(ConfigurationError):
            _ = broker.bulk
