"""A caller gives an access token back; it ends, and the grant lives on (RFC 7009)."""

from __future__ import annotations

import json
import sqlite3
from contextlib import closing
from dataclasses import replace

import pytest

from grantledger.adapters.devserver import Profile
from grantledger.adapters.devserver.tokens import sha256
from grantledger.domain.answers import RevocationConfirmed, UpstreamFailure
from grantledger.domain.errors import Denied, Unavailable
from grantledger.domain.giving_back import GivenBack
from grantledger.domain.policy import CallerRule, Policy, Role
from grantledger.domain.requests import Caller
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    Outcome,
    TokenKind,
)
from tests.broker.between import LedgerBetween, ServerBetween
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, RESOURCE, Life
from tests.broker.stores import both_stores

REVOKE = "/revoke"
OTHER = Caller("other")
ALONE = {"access_token_revocation": True}


class EndsAlone(ServerBetween):
    """A server that ends an access token and nothing with it; or is down."""

    def __init__(self, life: Life) -> None:
        super().__init__(life.server)
        self.down = False
        self.asked: list[tuple[str, TokenKind]] = []

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        del budget_seconds
        self.asked.append((token, kind))
        if self.down:
            return UpstreamFailure(FailureClass.TRANSIENT, sent=True, error="503")
        return RevocationConfirmed()


async def reasons(life: Life) -> list[str | None]:
    """Why, of every entry that is no hand-out."""
    return [
        e.reason for e in await life.entries() if e.outcome is not Outcome.HANDED_OUT
    ]


def denials(life: Life) -> list[str]:
    """Why, of every refusal, those that name no grant too."""
    with closing(sqlite3.connect(life.scene.home.ledger_path)) as ledger:
        leaves = ledger.execute("SELECT state FROM stored_events ORDER BY rowid")
        return [
            entry["reason"]
            for (state,) in leaves.fetchall()
            for entry in json.loads(state).get("entries", [])
            if entry["outcome"] == Outcome.DENIED
        ]


@both_stores
async def test_the_token_ends_at_its_server_and_the_next_is_another(
    start: Start,
) -> None:
    async with start("B").open() as life:
        server = EndsAlone(life)
        here = life.with_server(server, **ALONE)
        first = (await here.token()).access_token
        assert await here.broker.give_back(CALLER, first) is GivenBack.ENDED
        assert server.asked == [(first.reveal(), TokenKind.ACCESS)]
        second = await here.token()
        assert second.access_token != first
        assert second.generation == 1
        ended = (await here.names()).index("AccessTokenEnded")
        assert (await here.names())[ended + 1] == "UpstreamRevocationConfirmed"
        await here.check()


async def test_no_replica_hands_it_out_again(start: Start) -> None:
    """The other one has it in its cache, and learns of its end by the version."""
    scene = start("B")
    async with scene.open() as one, scene.open(provision=False) as two:
        here, there = (
            life.with_server(EndsAlone(life), **ALONE) for life in (one, two)
        )
        first = (await here.token()).access_token
        assert (await there.token()).access_token == first
        await there.broker.give_back(CALLER, first)
        assert (await here.token()).access_token != first
        assert (await there.token()).access_token != first
        await here.check()


async def test_a_server_that_does_not_confirm_is_asked_again(start: Start) -> None:
    clock = MovableClock()
    async with start("B").open(clock=clock) as life:
        server = EndsAlone(life)
        server.down = True
        here = life.with_server(server, **ALONE)
        first = (await here.token()).access_token
        with pytest.raises(Unavailable, match="not confirmed"):
            await here.broker.give_back(CALLER, first)
        assert (await here.token()).access_token != first
        (owed,) = (await here.state()).obligations
        assert owed.token == first.reveal(), "kept to be asked with"
        clock.wait(10)
        server.down = False
        await here.broker.tend()
        (owed,) = (await here.state()).obligations
        assert (owed.confirmed, owed.token) == (True, None)
        assert await here.broker.give_back(CALLER, first) is GivenBack.ENDED
        assert (await reasons(here))[-1] == "already_ended"


@pytest.mark.parametrize("profile", ["A", "B", "G"])
async def test_a_server_that_cannot_end_it_alone_is_not_asked(
    start: Start, profile: Profile
) -> None:
    """It leaves no more from here, and the grant is not risked for it."""
    scene = start(profile)
    async with scene.open() as life:
        first = (await life.token()).access_token
        for _ in range(2):
            said = await life.broker.give_back(CALLER, first)
            assert said is GivenBack.LIVES_ON
        assert scene.proxy.count(REVOKE) == 0
        assert (await life.token()).access_token != first
        assert (await life.names()).count("AccessTokenEnded") == 1
        await life.check()


async def test_a_token_that_nobody_knows_counts_as_ended(start: Start) -> None:
    """RFC 7009 section 2.2; that somebody tried is on record."""
    async with start("B").open() as life:
        said = await life.broker.give_back(CALLER, AccessToken("unheard-of"))
        assert said is GivenBack.ENDED
        assert denials(life) == ["unknown_token"]


async def test_a_refresh_token_is_answered_as_if_unknown_and_kept(
    start: Start,
) -> None:
    scene = start("B")
    async with scene.open() as life:
        (refresh,) = scene.tokens
        said = await life.broker.give_back(CALLER, AccessToken(refresh))
        assert said is GivenBack.ENDED
        assert scene.proxy.count(REVOKE) == 0
        assert denials(life) == ["refresh_token"]
        await life.token()
        await life.check()


async def test_who_was_not_handed_the_token_is_refused(start: Start) -> None:
    """RFC 7009 section 2.1: the client is told that it may not."""
    async with start("B").open() as life:
        first = (await life.token()).access_token
        with pytest.raises(Denied) as refused:
            await life.broker.give_back(OTHER, first)
        assert refused.value.reason == "not_handed_out"
        assert denials(life) == ["not_handed_out"]
        assert (await life.token()).access_token == first


async def test_who_may_not_by_the_policy_is_refused(start: Start) -> None:
    rule = CallerRule(CALLER.id, roles=frozenset({Role.AUDITOR}))
    async with start("B").open() as life:
        first = (await life.token()).access_token
        life.env.policy = Policy((rule,), "v2")
        with pytest.raises(Denied) as refused:
            await life.broker.give_back(CALLER, first)
        assert refused.value.reason == "may_not_return_token"
        assert denials(life) == ["may_not_return_token"]


async def test_a_grant_that_has_ended_has_ended_its_tokens(start: Start) -> None:
    async with start("B").open() as life:
        first = (await life.token()).access_token
        await life.broker.revoke(CALLER, life.scene.key)
        assert await life.broker.give_back(CALLER, first) is GivenBack.ENDED
        assert "AccessTokenEnded" not in await life.names()
        assert await reasons(life) == ["already_ended"]


async def test_a_race_with_a_rotation_is_decided_again(start: Start) -> None:
    async with start("B").open() as life:
        first = (await life.token()).access_token
        rotated: list[bool] = []

        async def rotate_first(names: list[str]) -> None:
            if names[0] == "AccessTokenEnded" and not rotated:
                rotated.append(True)
                await life.rotate()

        ledger = LedgerBetween(life.env.ledger)
        ledger.appending = rotate_first
        await life.over(ledger).broker.give_back(CALLER, first)
        assert rotated
        assert (await life.token()).access_token != first
        await life.check()


async def test_an_exchanged_token_is_ended_at_its_server_and_journalled(
    start: Start,
) -> None:
    scene = start("B", resources={"files": RESOURCE})
    async with scene.open() as life:
        session = scene.server.issue_session_token(
            "alice", scene.client.client_id, ("openid", "profile")
        )
        token = (
            await life.broker.exchange_session(
                CALLER, "cloud", AccessToken(session), audience="files"
            )
        ).access_token
        with pytest.raises(Denied):
            await life.broker.give_back(OTHER, token)
        assert await life.broker.give_back(CALLER, token) is GivenBack.ENDED
        assert scene.server.state.access_tokens[sha256(token.reveal())].ended
        assert (await reasons(life))[-2:] == ["to_be_ended", "confirmed"]
        assert await life.names() == ["Provisioned"], "the grant is not touched"
        server = EndsAlone(life)
        server.down = True
        with pytest.raises(Unavailable):
            await life.with_server(server).broker.give_back(CALLER, token)
        none = life.with_server(server, revocation=False)
        assert await none.broker.give_back(CALLER, token) is GivenBack.LIVES_ON
        assert (await reasons(life))[-2:] == ["transient", "unsupported"]


async def test_two_callers_share_a_token_and_either_ends_it(start: Start) -> None:
    async with start("B").open() as life:
        first = (await life.token()).access_token
        again = (await life.token(caller=replace(CALLER, id="other"))).access_token
        assert again == first
        await life.broker.give_back(OTHER, first)
        assert (await life.token()).access_token != first
