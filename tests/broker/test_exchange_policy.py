"""Which rule lets an exchanged token leave, and under which policy."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grantledger.domain.errors import Denied
from grantledger.domain.policy import CallerRule, Policy
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import Source
from tests.broker.between import ServerBetween
from tests.broker.conftest import Start
from tests.broker.scene import CALLER
from tests.broker.test_session_exchange import TABLE, exchange, session


async def test_a_refresh_instead_is_for_the_user_whose_token_is_brought(
    start: Start,
) -> None:
    """The rule lets the user itself; the session token proves who that is."""
    scene = start("B", exchange_strategy="refresh")
    async with scene.open() as opened:
        itself = Policy((CallerRule(CALLER.id, self_only=True),), "v2")
        life = opened.over(policy=itself)
        handed = await exchange(life, session(scene), None)
        assert handed.source is Source.FRESH
        with pytest.raises(Denied):
            await life.broker.hand_out(CALLER, TokenRequest(scene.key))


async def test_a_later_rule_may_cover_what_the_server_granted(start: Start) -> None:
    """As it may for a token that is handed out."""
    scene = start("B", **TABLE)
    narrow = CallerRule(CALLER.id, scopes=frozenset({"openid"}))
    wide = CallerRule(CALLER.id, scopes=frozenset({"openid", "profile"}))
    async with scene.open() as opened:
        life = opened.over(policy=Policy((narrow, wide), "v2"))
        handed = await exchange(life, session(scene))
        assert handed.scopes == ("openid", "profile")
        with pytest.raises(Denied, match="more scopes"):
            await exchange(opened.over(policy=Policy((narrow,), "v3")), session(scene))


async def test_a_token_of_unknown_scopes_goes_to_no_caller_with_a_list_of_them(
    start: Start,
) -> None:
    """Nobody has said what it may do, so that no list of scopes covers it."""
    scene = start("B", **TABLE)
    token = scene.server.issue_session_token("alice", scene.client.client_id, ())
    listed = CallerRule(CALLER.id, scopes=frozenset({"openid"}))
    async with scene.open() as opened:
        life = opened.over(policy=Policy((listed,), "v2"))
        with pytest.raises(Denied) as refused:
            await exchange(life, token)
        assert refused.value.reason == "token_scopes_unknown"
        free = opened.over(policy=Policy((CallerRule(CALLER.id),), "v3"))
        assert (await exchange(free, token)).scopes == ()


async def test_an_exchange_names_the_policy_that_let_it_whatever_comes_meanwhile(
    start: Start,
) -> None:
    scene = start("B", **TABLE)
    async with scene.open() as opened:
        server = ServerBetween(opened.server)
        life = opened.with_server(server)
        before = life.broker.env.policy

        async def reload() -> None:
            life.broker.env.policy = replace(before, version="newer")

        server.exchanged = reload
        await exchange(life, session(scene))
        entries = await life.entries()
        assert [entry.policy for entry in entries] == [before.version] * 2
