"""Ended here at once, and at the server until it says so."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest

from grantledger.domain.answers import TokenAnswer
from grantledger.domain.errors import (
    GrantRevoked,
    NotProvisioned,
    Unavailable,
)
from grantledger.domain.grant_events import Revoked
from grantledger.domain.journal import AccessRecorded
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    GrantStatus,
    Outcome,
    RevocationReason,
)
from tests.broker.between import LedgerBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, SCOPES, Life
from tests.broker.stores import both_stores

GENERIC = {"preset": "generic"}
FILES = ("files.read",)


def after_revocation(history: list[tuple[int, object]]) -> list[int]:
    """Return the leaf indices of hand-outs behind the grant's revocation."""
    ended = min(index for index, event in history if isinstance(event, Revoked))
    return [
        index
        for index, event in history
        if isinstance(event, AccessRecorded) and index > ended
        for entry in event.entries
        if entry.outcome is Outcome.HANDED_OUT and entry.grant_version
    ]


async def granted(life: Life, key: GrantKey) -> None:
    """Provision a grant that comes with an access token, as a consent does."""
    consent = life.scene.consent(key=key, refresh_token=f"rt-{key.subject}")
    answer = TokenAnswer(
        sent_at=life.env.clock.now(),
        access_token=AccessToken(f"at-{key.subject}"),
        expires_in=600,
        scopes=consent.scopes,
    )
    await life.provision(replace(consent, answer=answer))


@both_stores
async def test_no_hand_out_stands_behind_a_revocation_in_the_log(start: Start) -> None:
    """Thousands of interleavings of revoke and hand-out, on two brokers."""
    scene = start("B")
    users, each = 150, 20
    keys = [GrantKey("cloud", f"user-{n}") for n in range(users)]
    async with (
        scene.open(provision=False) as one,
        scene.open(provision=False) as two,
    ):
        await asyncio.gather(*(granted(one, key) for key in keys))

        async def ask(life: Life, key: GrantKey, turns: int) -> HandedOut | None:
            for _ in range(turns):
                await asyncio.sleep(0)
            try:
                return await life.broker.hand_out(CALLER, TokenRequest(key, SCOPES))
            except GrantRevoked:
                return None

        async def end(key: GrantKey, turns: int) -> None:
            for _ in range(turns):
                await asyncio.sleep(0)
            await two.broker.revoke(CALLER, key, settle=False)

        work: list[asyncio.Task[object]] = []
        for number, key in enumerate(keys):
            for turn in range(each):
                life = (one, two)[turn % 2]
                work.append(asyncio.create_task(ask(life, key, turn * 3)))
            work.append(asyncio.create_task(end(key, number % 60)))
        answers = await asyncio.gather(*work)
        handed = [a for a in answers if isinstance(a, HandedOut)]
        assert 0 < len(handed) < users * each, "some came before, some after"
        recorded = 0
        for key in keys:
            grant = await one.broker.status(key)
            assert grant is not None
            history = await one.opened.ledger.history(grant.id)
            assert after_revocation(list(history)) == []
            recorded += sum(
                entry.outcome is Outcome.HANDED_OUT and entry.grant_id == grant.id
                for _, event in history
                if isinstance(event, AccessRecorded)
                for entry in event.entries
            )
        assert recorded >= len(handed)


@both_stores
async def test_a_revocation_ends_what_every_cache_holds(start: Start) -> None:
    """Scoped tokens, cached by another broker (known-failures F14)."""
    scene = start(**GENERIC)
    wishes = [(), FILES, ("openid",), ("files.read", "profile")]
    async with scene.open() as one, scene.open(provision=False) as two:
        for life in (one, two):
            for wish in wishes:
                await life.token(wish)
        await one.broker.revoke(CALLER, scene.key)
        for life in (one, two):
            for wish in wishes:
                with pytest.raises(GrantRevoked):
                    await life.token(wish)
        assert after_revocation(list(await one.history())) == []


@both_stores
async def test_a_revocation_returns_what_may_still_be_in_use(start: Start) -> None:
    """One line for each caller and token, with its scopes: an upper bound."""
    scene = start(**GENERIC)
    async with scene.open() as life:
        for _ in range(3):
            await life.token(FILES)
        await life.token(FILES, Caller("mail"))
        await life.token(("openid",))
        receipt = await life.broker.revoke(CALLER, scene.key)
        lines = sorted((x.caller, x.count, x.scopes) for x in receipt.live)
        files = ("email", "files.read", "openid", "profile")
        assert lines == [
            ("mail", 1, files),
            ("scanner", 1, ("email", "openid", "profile")),
            ("scanner", 3, files),
        ]


async def test_expired_hand_outs_are_not_returned(start: Start) -> None:
    scene = start("B")
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        await life.token()
        clock.wait(901)
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert receipt.live == []


@both_stores
async def test_a_second_revocation_changes_nothing(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        first = await life.broker.revoke(
            CALLER,
            scene.key,
            reason=RevocationReason.INCIDENT,
            reason_text="laptop stolen",
            ticket="INC-7",
        )
        names = await life.names()
        second = await life.broker.revoke(CALLER, scene.key)
        assert (first.already, second.already) == (False, True)
        assert second.confirmed
        assert await life.names() == names
        revoked = next(e for e in await life.events() if isinstance(e, Revoked))
        assert (revoked.reason, revoked.ticket) == (RevocationReason.INCIDENT, "INC-7")


@both_stores
async def test_what_was_never_there_cannot_be_revoked(start: Start) -> None:
    scene = start("B")
    async with scene.open(provision=False) as life:
        with pytest.raises(NotProvisioned):
            await life.broker.revoke(CALLER, scene.key)


@both_stores
async def test_a_revocation_holds_though_its_upstream_course_cannot_be_stored(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = {"UpstreamRevocationConfirmed"}
        life = opened.over(ledger)
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert receipt.grant.status is GrantStatus.REVOKED
        assert not receipt.confirmed
        ledger.refuses = set()
        await life.broker.tend()
        assert (await life.state()).open_obligations() == ()


@both_stores
async def test_a_revocation_that_cannot_be_stored_is_none(start: Start) -> None:
    scene = start("B")
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        ledger.refuses = {"Revoked"}
        with pytest.raises(Unavailable):
            await opened.over(ledger).broker.revoke(CALLER, scene.key)
        await opened.token()


@both_stores
async def test_another_login_of_the_user_leaves_the_grant_alone(start: Start) -> None:
    """Labels keep them apart (known-failures F17)."""
    scene = start("B")
    browser = GrantKey("cloud", "alice", "browser")
    async with scene.open() as life:
        handed = await life.token()
        await life.provision(scene.consent(key=browser))
        await life.provision(scene.consent(key=browser))
        await life.broker.revoke(CALLER, browser)
        assert (await life.token()).access_token == handed.access_token
        assert (await life.state()).generation == 1
        assert scene.server.state.families["family-1"].ended is None


@both_stores
async def test_consent_after_a_revocation_is_the_next_generation(start: Start) -> None:
    scene = start("B")
    async with scene.open() as life:
        first = await life.token()
        await life.broker.revoke(CALLER, scene.key)
        await life.provision()
        second = await life.token()
        assert second.grant_id == first.grant_id
        assert second.generation == 2
        assert second.access_token != first.access_token
        assert await life.refresh_sha256() == scene.current()


async def test_a_fresh_token_is_not_cleaned_up_with_an_expired_one(
    start: Start,
) -> None:
    """The decision is made on the newest version only (known-failures F11)."""
    scene = start("B", server={"refresh_token_seconds": 60})
    clock = MovableClock()
    async with scene.open(clock=clock) as opened:
        await opened.token()
        clock.wait(61)
        grant = await opened.grant()

        async def renew(names: list[str]) -> None:
            if names == ["ReauthorizationRequired"]:
                life.env.ledger.appending = nothing_more  # type: ignore[attr-defined] # the wrapper's own
                await opened.provision()

        async def nothing_more(_: list[str]) -> None:
            pass

        life = opened.over(appending=renew)
        assert not await life.broker.expire(grant.id)
        assert (await opened.state()).status is GrantStatus.ACTIVE
        assert (await opened.state()).generation == 2


async def test_a_refresh_token_whose_time_is_over_needs_consent(start: Start) -> None:
    scene = start("B", server={"refresh_token_seconds": 60})
    clock = MovableClock()
    async with scene.open(clock=clock) as life:
        await life.token()
        grant = await life.grant()
        assert not await life.broker.expire(grant.id)
        clock.wait(61)
        assert await life.broker.expire(grant.id)
        assert not await life.broker.expire(grant.id)
        assert (await life.state()).status is GrantStatus.REAUTHORIZATION_REQUIRED


@both_stores
async def test_a_revocation_that_loses_a_race_is_decided_again(start: Start) -> None:
    """A rotation came between reading and revoking: its successor is owed as well."""
    scene = start("B")
    async with scene.open() as opened:
        seen: list[str] = []

        async def rotate_first(names: list[str]) -> None:
            if names == ["Revoked"] and not seen:
                seen.extend(names)
                await opened.rotate()

        life = opened.over(appending=rotate_first)
        receipt = await life.broker.revoke(CALLER, scene.key)
        assert receipt.confirmed
        assert (await life.names())[-4:-1] == ["Rotated", "Exchanged", "Revoked"]
        assert scene.current() is None
