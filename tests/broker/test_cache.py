"""What a broker keeps of grants in memory is bounded, and never what decides."""

from __future__ import annotations

import pytest

from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import GrantKey, Source
from tests.broker.between import LedgerBetween
from tests.broker.conftest import Start
from tests.broker.scene import CALLER


async def test_the_cache_is_bounded(start: Start) -> None:
    """What fell out is read again, and nothing else changes (known-failures F12)."""
    scene = start("B")
    scene.home.broker["cache_grants"] = 2
    async with scene.open() as opened:
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger)
        keys = [GrantKey("cloud", f"user-{n}") for n in range(3)]
        for key in keys:
            await life.provision(scene.consent(key=key))
            await life.broker.hand_out(CALLER, TokenRequest(key))
        before = ledger.found
        for key in keys[1:]:
            await life.broker.hand_out(CALLER, TokenRequest(key))
        assert ledger.found == before, "both are cached"
        handed = await life.broker.hand_out(CALLER, TokenRequest(keys[0]))
        assert ledger.found == before + 1
        assert handed.source is Source.CACHED


@pytest.mark.parametrize(("most_bytes", "kept"), [(10**6, 2), (6_000, 1), (500, 0)])
async def test_the_cache_is_bounded_by_what_it_takes(
    start: Start, most_bytes: int, kept: int
) -> None:
    """What is too large to be kept is handed out all the same."""
    scene = start("B")
    async with scene.open(cache_bytes=most_bytes) as opened:
        ledger = LedgerBetween(opened.env.ledger)
        life = opened.over(ledger)
        keys = [GrantKey("cloud", f"user-{n}") for n in range(2)]
        for key in keys:
            await life.provision(scene.consent(key=key))
            await life.broker.hand_out(CALLER, TokenRequest(key))
        before = ledger.found
        for key in reversed(keys):
            handed = await life.broker.hand_out(CALLER, TokenRequest(key))
            assert handed.source is Source.CACHED
        assert ledger.found == before + 2 - kept
