"""A client that registers itself at a real server (row 18, F33; RFC 7591, RFC 7592)."""

from __future__ import annotations

import asyncio
import time

import pytest

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.devserver import Client, DevServer, DevSettings, Profile
from grantledger.adapters.ledger.sqlite_ledger import SqliteLedger
from grantledger.domain.errors import (
    ClientExpired,
    IntegrityError,
    InvalidRequest,
    ReauthorizationRequired,
    Unavailable,
    UpstreamRejected,
    WrongKey,
)
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import GrantKey, GrantStatus
from tests.bootstrap.scene import (
    CALLBACK,
    CALLER,
    KEY,
    Home,
    ShiftedClock,
    consent,
    query_of,
)
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Fault

OTHER_CALLBACK = "http://127.0.0.1:9/callback?again=1"
REGISTER = "/register"
LIFE_SECONDS = 1000
BOB = GrantKey("cloud", "bob")


def dev_server(profile: Profile = "B", clock: ShiftedClock | None = None) -> DevServer:
    shift = clock or ShiftedClock()
    settings = DevSettings(
        client_expire_seconds=LIFE_SECONDS,
        refresh_token_seconds=86_400,
        clock=lambda: time.time() + shift.seconds,
    )
    return DevServer(profile, settings)


def only_client(server: DevServer) -> Client:
    (client,) = server.state.clients.values()
    return client


@pytest.mark.parametrize("profile", ["A", "B"])
async def test_the_first_consent_registers_a_client(
    home: Home, profile: Profile
) -> None:
    with dev_server(profile) as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), tend=False) as opened:
            assert server.state.clients == {}
            grant = await consent(opened)
            client = only_client(server)
            assert client.redirect_uris == (CALLBACK,)
            assert client.auth_method == "client_secret_post"
            assert client.name == "grantledger"
            assert grant.state.provisioning.client_id == client.client_id
            await opened.broker.hand_out(CALLER, TokenRequest(KEY))
            assert opened.broker.env.provider("cloud").rules.client_id == (
                client.client_id
            )
            await consent(opened)
            assert only_client(server) == client


async def test_its_credentials_are_sealed_and_serve_the_next_process(
    home: Home,
) -> None:
    with dev_server() as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), tend=False) as opened:
            await consent(opened)
            shown = repr(opened.wiring.wired) + repr(opened.wiring.providers)
        client = only_client(server)
        assert client.client_secret is not None
        assert client.registration_token is not None
        stored = home.stored()
        for secret in (client.client_secret, client.registration_token):
            assert secret.encode() not in stored
            assert secret not in shown
        async with open_broker(home.settings(), tend=False) as opened:
            rules = opened.broker.env.provider("cloud").rules
            assert rules.client_id == client.client_id
            rotated = await opened.broker.rotate(CALLER, KEY)
            assert rotated.state.status is GrantStatus.ACTIVE
        assert only_client(server) == client


async def test_before_the_first_consent_nothing_is_registered_or_sent(
    home: Home,
) -> None:
    with dev_server() as server, FaultProxy(server.issuer) as proxy:
        home.dynamic(proxy.url)
        async with open_broker(home.settings(), tend=False) as opened:
            assert opened.broker.env.provider("cloud").rules.client_id == "unregistered"
            assert proxy.requests == []


async def test_many_first_consents_at_once_register_one_client(home: Home) -> None:
    with dev_server() as server, FaultProxy(server.issuer) as proxy:
        home.dynamic(proxy.url)
        async with open_broker(home.settings(), tend=False) as opened:
            starts = await asyncio.gather(
                *(opened.start_consent("cloud", CALLBACK) for _ in range(8))
            )
            assert proxy.count(REGISTER) == 1
            client_id = only_client(server).client_id
            assert {query_of(start)["client_id"] for start in starts} == {client_id}


async def test_a_caller_that_goes_away_does_not_lose_the_client(home: Home) -> None:
    """The server's answer is the only word of the secret."""
    with dev_server() as server, FaultProxy(server.issuer) as proxy:
        home.dynamic(proxy.url)
        async with open_broker(home.settings(), tend=False) as opened:
            proxy.plan(REGISTER, Fault.slow_drip(0.2))
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.1):
                    await opened.start_consent("cloud", CALLBACK)
            await consent(opened)
        assert proxy.count(REGISTER) == 1


async def test_a_further_redirect_uri_is_added_to_the_same_client(home: Home) -> None:
    with dev_server() as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), tend=False) as opened:
            await consent(opened)
            before = only_client(server)
            await consent(opened, redirect_uri=OTHER_CALLBACK)
            after = only_client(server)
            assert after.client_id == before.client_id
            assert after.redirect_uris == (CALLBACK, OTHER_CALLBACK)
            await consent(opened, redirect_uri=CALLBACK)


async def test_redirect_uris_do_not_pile_up(home: Home) -> None:
    """F12: a callback on a free port is another one every time."""
    with dev_server() as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), tend=False) as opened:
            for number in range(25):
                await opened.start_consent("cloud", f"{CALLBACK}?n={number}")
            kept = only_client(server).redirect_uris
            assert len(kept) == 20
            assert kept[-1] == f"{CALLBACK}?n=24"


@pytest.mark.parametrize("uri", ["http://elsewhere.example/cb", "cb", ""])
async def test_an_unsafe_redirect_uri_is_not_registered(home: Home, uri: str) -> None:
    with dev_server() as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(InvalidRequest) as caught:
                await opened.start_consent("cloud", uri)
            assert caught.value.field == "redirect_uri"
        assert server.state.clients == {}


async def test_an_expired_client_is_its_own_error_and_costs_no_grant(
    home: Home,
) -> None:
    """F33: nothing is sent, nobody is asked for consent in vain, nothing is lost."""
    clock = ShiftedClock()
    with dev_server(clock=clock) as server, FaultProxy(server.issuer) as proxy:
        home.dynamic(proxy.url)
        async with open_broker(home.settings(), clock=clock, tend=False) as opened:
            before = await consent(opened)
            sent = proxy.count("/token")
            clock.seconds = LIFE_SECONDS
            with pytest.raises(ClientExpired, match="expired"):
                await opened.broker.rotate(CALLER, KEY)
            with pytest.raises(ClientExpired, match="expired"):
                await opened.broker.hand_out(CALLER, TokenRequest(KEY))
            assert proxy.count("/token") == sent
            assert server.state.redemptions == []
            grant = await opened.broker.status(KEY)
            assert grant is not None
            assert grant.state.status is GrantStatus.ACTIVE
            assert grant.state.refresh == before.state.refresh
            assert grant.state.reauthorization is None


async def test_the_next_consent_registers_anew_after_the_end(home: Home) -> None:
    clock = ShiftedClock()
    with dev_server(clock=clock) as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), clock=clock, tend=False) as opened:
            await consent(opened)
            old = only_client(server)
            clock.seconds = LIFE_SECONDS + 1
            with pytest.raises(ClientExpired):
                await opened.broker.rotate(CALLER, KEY)
            grant = await consent(opened)
            assert grant.state.generation == 2
            assert grant.state.provisioning.client_id != old.client_id
            rotated = await opened.broker.rotate(CALLER, KEY)
            assert rotated.state.status is GrantStatus.ACTIVE


async def test_a_client_that_ends_soon_still_serves_but_gets_no_new_consent(
    home: Home,
) -> None:
    """This server's update keeps the life: what is consented now shall outlast it."""
    clock = ShiftedClock()
    with dev_server(clock=clock) as server, FaultProxy(server.issuer) as proxy:
        home.dynamic(proxy.url)
        async with open_broker(home.settings(), clock=clock, tend=False) as opened:
            await consent(opened)
            old = only_client(server)
            clock.seconds = LIFE_SECONDS - 60
            for _ in range(5):
                await opened.broker.rotate(CALLER, KEY)
            assert proxy.count(f"{REGISTER}/{old.client_id}") == 1
            grant = await consent(opened)
            assert grant.state.provisioning.client_id != old.client_id
            assert len(server.state.clients) == 2


@pytest.mark.parametrize(
    ("end", "error"),
    [("expire_client", ClientExpired), ("prune_client", UpstreamRejected)],
)
async def test_a_client_that_the_server_has_ended_early_is_registered_anew(
    home: Home, end: str, error: type[Exception]
) -> None:
    """F33: no permanent refusal, whatever the registration's own end was."""
    with dev_server() as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), tend=False) as opened:
            before = await consent(opened)
            client_id = only_client(server).client_id
            getattr(server.state, end)(client_id)
            with pytest.raises(error):
                await opened.broker.rotate(CALLER, KEY)
            grant = await opened.broker.status(KEY)
            assert grant is not None
            assert grant.state.refresh == before.state.refresh
            assert grant.state.status is GrantStatus.ACTIVE
            again = await consent(opened)
            assert again.state.provisioning.client_id != client_id
            assert (await opened.broker.rotate(CALLER, KEY)).state.usable


async def test_a_grant_of_the_old_client_asks_for_consent_again(home: Home) -> None:
    """A refresh token is its client's alone; its user is told so, no operator."""
    clock = ShiftedClock()
    with dev_server(clock=clock) as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), clock=clock, tend=False) as opened:
            await consent(opened)
            clock.seconds = LIFE_SECONDS + 1
            start = await opened.start_consent("cloud", CALLBACK)
            assert query_of(start)["client_id"] in server.state.clients
            with pytest.raises(ReauthorizationRequired):
                await opened.broker.rotate(CALLER, KEY)


async def test_another_process_takes_up_what_one_has_registered(home: Home) -> None:
    clock = ShiftedClock()
    with dev_server(clock=clock) as server:
        home.dynamic(server.issuer)
        async with (
            open_broker(home.settings(), clock=clock, tend=False) as one,
            open_broker(home.settings(), clock=clock, tend=False) as two,
        ):
            start = await one.start_consent("cloud", CALLBACK)
            await two.start_consent("cloud", CALLBACK)
            assert len(server.state.clients) == 1
            # A replica behind the same address may get the browser's answer.
            from_browser = await asyncio.gather(consent(two))
            assert from_browser[0].state.usable
            assert query_of(start)["client_id"] == only_client(server).client_id
            clock.seconds = LIFE_SECONDS + 1
            await consent(one)
            assert (await two.broker.rotate(CALLER, KEY)).state.usable


async def test_a_server_that_registers_nobody_is_the_operators_business(
    home: Home,
) -> None:
    with dev_server() as server, FaultProxy(server.issuer) as proxy:
        home.dynamic(proxy.url)
        async with open_broker(home.settings(), tend=False) as opened:
            proxy.plan(REGISTER, Fault.REDIRECT_302)
            with pytest.raises(UpstreamRejected, match="registers no client"):
                await opened.start_consent("cloud", CALLBACK)
            proxy.plan(REGISTER, Fault.THROTTLED)
            with pytest.raises(Unavailable, match="registration at cloud"):
                await opened.start_consent("cloud", CALLBACK)
            assert (await consent(opened)).state.usable


async def keep(home: Home, sealed: bytes) -> None:
    async with open_broker(home.settings(), tend=False) as opened:
        await opened.ledger.keep_client("cloud", sealed)


async def test_a_registration_under_another_key_is_the_wrong_key(home: Home) -> None:
    """Row 17, row 18: found at the start, before anything is asked of the server."""
    with dev_server() as server:
        home.dynamic(server.issuer)
        ring = home.ring
        home.new_ring()
        foreign = home.ring.seal_spool(b"{}", b"provider-client\0cloud")
        ring.save(home.ring_file, overwrite=True)
        await keep(home, foreign)
        with pytest.raises(WrongKey, match="lacks the spool key"):
            await keep(home, b"")


@pytest.mark.parametrize("name", [b"cloud", b"other"])
async def test_a_registration_that_was_changed_is_an_integrity_error(
    home: Home, name: bytes
) -> None:
    with dev_server() as server:
        home.dynamic(server.issuer)
        await keep(home, home.ring.seal_spool(b"{}", b"provider-client\0" + name))
        with pytest.raises(IntegrityError):
            await keep(home, b"")


async def test_the_ledger_alone_opens_without_its_provider(home: Home) -> None:
    with dev_server() as server:
        home.dynamic(server.issuer)
        async with open_broker(home.settings(), tend=False) as opened:
            await consent(opened)
            assert isinstance(opened.ledger, SqliteLedger)
        home.tables.clear()
        async with open_broker(home.settings()) as opened:
            assert [g.state.subject for g in await opened.ledger.grants()] == ["alice"]
