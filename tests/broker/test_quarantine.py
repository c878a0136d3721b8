"""A warning from outside stops hand-outs at once, and says what still lives."""

from __future__ import annotations

import pytest

from grantledger.domain.errors import (
    InvalidRequest,
    NotProvisioned,
    ReauthorizationRequired,
)
from grantledger.domain.requests import Caller
from grantledger.domain.values import GrantKey, GrantStatus, ReauthorizationReason
from tests.broker.conftest import Start
from tests.broker.stores import both_stores

TRANSMITTER = Caller("signals.example")


@both_stores
async def test_no_token_leaves_after_a_security_event(start: Start) -> None:
    async with start("B").open() as life:
        await life.token()
        key = life.scene.key
        said = await life.broker.quarantine(TRANSMITTER, key, reason="session revoked")
        assert not said.already
        assert said.grant.status is GrantStatus.REAUTHORIZATION_REQUIRED
        assert [line.caller for line in said.live] == ["scanner"]
        with pytest.raises(ReauthorizationRequired) as refused:
            await life.token()
        assert refused.value.reason is ReauthorizationReason.SECURITY_EVENT
        again = await life.broker.quarantine(TRANSMITTER, key, reason="again")
        assert again.already
        assert again.grant == said.grant


async def test_what_cannot_be_quarantined_is_named(start: Start) -> None:
    async with start("B").open() as life:
        broker, key = life.broker, life.scene.key
        with pytest.raises(NotProvisioned):
            await broker.quarantine(
                TRANSMITTER, GrantKey(key.provider, "nobody"), reason="x"
            )
        for words in ("", "x" * 501):
            with pytest.raises(InvalidRequest, match="1 to 500") as refused:
                await broker.quarantine(TRANSMITTER, key, reason=words)
            assert refused.value.field == "reason"
