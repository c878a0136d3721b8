"""The worker that runs beside an open broker, and its settings."""

from __future__ import annotations

from collections.abc import Generator
from datetime import timedelta

import anyio
import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.bootstrap.rules import PRESETS
from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.domain.audit import AuditFilter
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.grant_state import GrantState
from grantledger.domain.requests import TokenRequest
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import (
    GrantKey,
    GrantStatus,
    RefreshToken,
    parse_scopes,
)
from tests.bootstrap.scene import (
    CALLER,
    KEY,
    SCOPES,
    Home,
    ShiftedClock,
    imported,
    until,
    until_grant,
)


@pytest.fixture
def server() -> Generator[DevServer]:
    with DevServer("B", DevSettings(refresh_token_seconds=None)) as running:
        yield running


def quick(home: Home, **said: object) -> None:
    home.say("worker", pause_seconds=0.1, **said)


async def ask(opened: OpenBroker, times: int) -> None:
    for _ in range(times):
        await opened.broker.hand_out(CALLER, TokenRequest(KEY))


async def test_what_is_due_is_rotated_by_itself(home: Home, server: DevServer) -> None:
    quick(home)
    client_id = home.static(server, rotation_interval_seconds=600)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock) as opened:
        await imported(opened, server, client_id)
        clock.seconds += 600
        await until_grant(opened, KEY, lambda state: state.rotated_at is not None)
    assert len(server.state.redemptions) == 1


async def test_what_has_expired_is_found_by_itself(
    home: Home, server: DevServer
) -> None:
    quick(home)
    client_id = home.static(server, keep_alive=False)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock) as opened:
        issued = server.issue_grant("alice", client_id, SCOPES)
        await opened.broker.provision(
            CALLER,
            Consent(
                key=KEY,
                client_id=client_id,
                flow="import",
                scopes=parse_scopes(SCOPES),
                refresh_token=RefreshToken(issued.refresh_token or ""),
                refresh_expires_at=clock.now() + timedelta(seconds=900),
            ),
        )
        clock.seconds += 961

        def over(state: GrantState) -> bool:
            return state.status is GrantStatus.REAUTHORIZATION_REQUIRED

        await until_grant(opened, KEY, over)
    assert server.state.redemptions == []


async def test_a_hot_token_is_refreshed_by_itself(
    home: Home, server: DevServer
) -> None:
    quick(home, hot_hand_outs=4)
    client_id = home.static(server)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock) as opened:
        await imported(opened, server, client_id)
        await ask(opened, 2)
        clock.seconds += 200
        await ask(opened, 2)
        clock.seconds += 97
        await until(lambda: len(server.state.redemptions) == 2)


async def test_where_no_number_makes_a_token_hot_none_is_refreshed_ahead(
    home: Home, server: DevServer
) -> None:
    quick(home, hot_hand_outs=0)
    client_id = home.static(server, rotation_interval_seconds=400)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock) as opened:
        other = GrantKey("cloud", "bob")
        await imported(opened, server, client_id, other)
        clock.seconds += 150
        await imported(opened, server, client_id)
        await ask(opened, 20)
        clock.seconds += 250
        await ask(opened, 20)
        # The unused grant is rotated: the worker has had its turns.
        await until_grant(opened, other, lambda state: state.rotated_at is not None)
        clock.seconds += 47
        await anyio.sleep(0.5)
        assert len(server.state.redemptions) == 2


async def test_a_moments_command_rotates_nothing_that_nobody_asks_for(
    home: Home, server: DevServer
) -> None:
    """What it looks after is what is owed: a revocation, for one."""
    quick(home)
    client_id = home.static(server, rotation_interval_seconds=600)
    clock = ShiftedClock()
    async with open_broker(home.settings(), clock=clock, rotate=False) as opened:
        await imported(opened, server, client_id)
        other = GrantKey("cloud", "bob")
        await imported(opened, server, client_id, other)
        clock.seconds += 600
        await opened.broker.revoke(CALLER, other, settle=False)
        await until(lambda: server.state.revocation_requests == 1)
        await anyio.sleep(0.3)
    assert server.state.redemptions == []


def test_the_presets_keep_grants_alive_where_a_quarter_of_an_hour_ends_them(
    home: Home, server: DevServer
) -> None:
    for preset in PRESETS:
        home.static(server, preset.replace(".", "-"), preset=preset)

    async def kept() -> dict[str, bool]:
        async with open_broker(home.settings(), tend=False) as opened:
            providers = opened.broker.env.providers
            return {name: p.rules.keep_alive for name, p in providers.items()}

    assert anyio.run(kept) == {
        "generic": False,
        "nextcloud-2-5": True,
        "nextcloud-2-0": True,
    }


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("pause_seconds", 0.05),
        ("pause_seconds", 61),
        ("hot_hand_outs", -1),
        ("hot_hand_outs", 1.5),
    ],
)
def test_a_setting_out_of_bounds_is_refused_by_name(
    home: Home, name: str, value: float
) -> None:
    home.say("worker", **{name: value})
    with pytest.raises(ConfigurationError, match=f"worker.{name}") as refused:
        home.settings()
    assert refused.value.field == f"worker.{name}"


async def test_a_rate_out_of_bounds_is_refused_by_its_whole_name(
    home: Home, server: DevServer
) -> None:
    home.static(server, rotations_per_minute=0)
    with pytest.raises(ConfigurationError) as refused:
        async with open_broker(home.settings(), tend=False):
            pass
    assert refused.value.field == "providers.cloud.rotations_per_minute"


async def test_the_audit_trail_is_kept_up_by_itself(
    home: Home, server: DevServer
) -> None:
    quick(home)
    client_id = home.static(server)
    async with open_broker(home.settings()) as opened:
        await imported(opened, server, client_id)
        with anyio.fail_after(10):
            while (await opened.ledger.audit_lag()).leaves:  # noqa: ASYNC110 - of the worker, which sets no event
                await anyio.sleep(0.05)
        assert await consents_in_the_trail(opened) == 1


async def test_where_another_process_keeps_the_trail_this_one_does_not(
    home: Home, server: DevServer
) -> None:
    quick(home, audit_trail=False)
    client_id = home.static(server)
    async with open_broker(home.settings()) as opened:
        await imported(opened, server, client_id)
        await anyio.sleep(0.5)
        assert (await opened.ledger.audit_lag()).leaves == 1
        # Who reads it makes what is missing.
        assert await consents_in_the_trail(opened) == 1


async def consents_in_the_trail(opened: OpenBroker) -> int:
    return len((await opened.ledger.audit(AuditFilter(event="Provisioned"))).rows)
