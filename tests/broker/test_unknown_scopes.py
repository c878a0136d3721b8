"""Grants whose scopes nobody knows, and refusals in the history they belong to."""

from __future__ import annotations

from dataclasses import replace

import pytest

from grantledger.domain.errors import Denied, InvalidScope
from grantledger.domain.requests import Caller
from grantledger.domain.values import Outcome
from tests.broker.conftest import Start
from tests.broker.scene import CALLER, TOKEN

MAIL = Caller("mail")
CALLERS = '[[callers]]\nid = "scanner"\n[[callers]]\nid = "mail"\nscopes = ["email"]\n'


async def test_a_token_of_unknown_scopes_goes_only_to_callers_of_any_scope(
    start: Start,
) -> None:
    """A server that ignores `scope` yields no token recorded as narrow."""
    scene = start("A")
    scene.home.callers = CALLERS
    async with scene.open(provision=False) as life:
        await life.provision(replace(scene.consent(), scopes=()))
        handed = await life.token()
        assert handed.scopes == ()
        assert "scope" not in scene.proxy.forms(TOKEN)[-1]
        with pytest.raises(Denied) as refused:
            await life.token(("email",), MAIL)
        assert refused.value.reason == "token_scopes_unknown"


async def test_a_scope_beyond_the_grant_is_called_so_with_a_token_at_hand(
    start: Start,
) -> None:
    """The server was not asked, so that it did not refuse."""
    scene = start("B")
    async with scene.open() as life:
        await life.token()
        with pytest.raises(InvalidScope, match="beyond the grant: admin"):
            await life.token(("admin",))
        assert scene.proxy.count(TOKEN) == 1


async def test_a_refusal_by_a_fresh_process_stands_in_the_grants_history(
    start: Start,
) -> None:
    scene = start("B")
    scene.home.callers = CALLERS
    async with scene.open() as life:
        await life.broker.revoke(CALLER, scene.key)
    async with scene.open(provision=False) as life:
        with pytest.raises(Denied):
            await life.token(("profile",), MAIL)
        *_, last = await life.entries()
        assert (last.outcome, last.reason) == (Outcome.DENIED, "no_rule")
