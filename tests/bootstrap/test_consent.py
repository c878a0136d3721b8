"""Consent, from the browser's first request to the grant, and what prevents it."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from contextlib import closing

import pytest

from grantledger.adapters.bootstrap import OpenBroker, open_broker
from grantledger.adapters.devserver import DevServer, DevSettings, Profile
from grantledger.domain.errors import (
    InvalidRequest,
    InvalidSubjectToken,
    RateLimited,
    Unavailable,
    Unsupported,
    UpstreamRejected,
)
from grantledger.domain.requests import TokenRequest
from grantledger.domain.values import AccessToken, GrantKey, GrantStatus, RefreshToken
from tests.bootstrap.scene import (
    CALLBACK,
    CALLER,
    KEY,
    SCOPES,
    Home,
    ShiftedClock,
    browse,
    consent,
    query_of,
    refuse,
    until,
)
from tests.support.fault_proxy import FaultProxy
from tests.support.faults import Answer, Fault, json_answer

PROFILES: tuple[Profile, ...] = ("A", "B")
TOKEN, JWKS, METADATA = "/token", "/jwks", "/.well-known/openid-configuration"


def live_refresh_tokens(server: DevServer) -> int:
    return sum(f.ended is None for f in server.state.families.values())


async def nobody_is_provisioned(opened: OpenBroker) -> bool:
    return await opened.ledger.grants() == []


@pytest.mark.parametrize("profile", PROFILES)
async def test_a_user_consents_and_callers_get_tokens(
    home: Home, profile: Profile
) -> None:
    """Rows 19, 22, 23: PKCE, state, nonce; the subject is the verified `sub`."""
    with DevServer(profile) as server:
        client_id = home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            sent = query_of(start)
            assert sent["code_challenge_method"] == "S256"
            assert sent["scope"].split() == list(SCOPES)
            for name in ("state", "nonce", "code_challenge"):
                assert len(sent[name]) >= 43
            answer = await browse(start.url)
            assert answer["iss"] == server.issuer
            grant = await opened.finish_consent(CALLER, "cloud", start.session, answer)
            state = grant.state
            assert (state.subject, state.label) == ("alice", "default")
            assert state.status is GrantStatus.ACTIVE
            assert state.upstream_subject == "alice"
            assert state.provisioning.flow == "authorization_code"
            assert state.provisioning.client_id == client_id
            assert state.provisioning.scopes == SCOPES
            assert state.refresh is not None
            assert state.refresh.expires_at is not None
            handed = await opened.broker.hand_out(CALLER, TokenRequest(KEY))
            rotated = await opened.broker.rotate(CALLER, KEY)
            assert rotated.state.provisioning == state.provisioning
            assert server.state.live_access(handed.access_token.reveal()) is None


async def test_another_label_keeps_a_second_grant_of_the_same_user(home: Home) -> None:
    """F17: a browser login leaves the background grant alone."""
    with DevServer() as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            first = await consent(opened)
            start = await opened.start_consent("cloud", CALLBACK)
            second = await opened.finish_consent(
                CALLER,
                "cloud",
                start.session,
                await browse(start.url),
                label="browser",
            )
            assert first.id != second.id
            found = await opened.broker.status(KEY)
            assert found is not None
            assert found.state == first.state


@pytest.mark.parametrize("profile", PROFILES)
async def test_consent_again_starts_the_next_generation(
    home: Home, profile: Profile
) -> None:
    with DevServer(profile) as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            first = await consent(opened)
            second = await consent(opened)
            assert second.id == first.id
            assert second.state.generation == 2
            assert second.state.status is GrantStatus.ACTIVE
            assert first.state.refresh is not None
            assert second.state.refresh is not None
            assert second.state.refresh.token != first.state.refresh.token
            await opened.broker.rotate(CALLER, KEY)
            replayed = await opened.ledger.replay(first.id)
            current = await opened.broker.status(KEY)
            assert replayed is not None
            assert current is not None
            assert replayed.state == current.state


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"state": "another"}, "state"),
        ({"state": ""}, "state"),
        ({"iss": "https://evil.example"}, "iss"),
        ({"iss": None}, "iss"),
        ({"code": None}, "code"),
        ({"error": "access_denied"}, "consent"),
        ({"error": "access_denied", "iss": "https://evil.example"}, "iss"),
    ],
)
async def test_an_answer_that_is_not_ours_sends_nothing(
    home: Home, change: dict[str, str | None], field: str
) -> None:
    """RFC 6749 section 10.12, RFC 9207: nothing is sent, and nothing stored."""
    with DevServer() as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            brought = {**await browse(start.url), **change}
            answer = {k: v for k, v in brought.items() if v is not None}
            with pytest.raises(InvalidRequest) as caught:
                await opened.finish_consent(CALLER, "cloud", start.session, answer)
            assert caught.value.field == field
            assert server.state.token_requests == []
            assert await nobody_is_provisioned(opened)


async def test_a_session_is_over_after_ten_minutes(home: Home) -> None:
    """Row 19."""
    clock = ShiftedClock()
    with DevServer() as server:
        home.static(server)
        async with open_broker(home.settings(), clock=clock, tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            answer = await browse(start.url)
            clock.seconds = 600
            with pytest.raises(InvalidRequest, match="over") as caught:
                await opened.finish_consent(CALLER, "cloud", start.session, answer)
            assert caught.value.field == "state"
            assert server.state.token_requests == []


async def test_an_id_token_of_another_session_is_refused_and_given_back(
    home: Home,
) -> None:
    """The code of one login with the session of another: the nonce tells."""
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url)
        async with open_broker(home.settings(), tend=False) as opened:
            one = await opened.start_consent("cloud", CALLBACK)
            await browse(one.url)
            two = await opened.start_consent("cloud", CALLBACK)
            answer = await browse(two.url.replace(query_of(two)["nonce"], "n" * 43))
            with pytest.raises(InvalidSubjectToken, match="nonce"):
                await opened.finish_consent(CALLER, "cloud", two.session, answer)
            assert await nobody_is_provisioned(opened)
            assert live_refresh_tokens(server) == 0


async def test_a_user_who_refuses_provisions_nothing(home: Home) -> None:
    with DevServer("B", DevSettings(auto_consent=False)) as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            answer = await refuse(start.url)
            with pytest.raises(InvalidRequest, match="access_denied") as caught:
                await opened.finish_consent(CALLER, "cloud", start.session, answer)
            assert caught.value.field == "consent"
            assert await nobody_is_provisioned(opened)


async def test_a_callback_without_a_refresh_token_is_not_provisioned(
    home: Home,
) -> None:
    """F32: 2.0.9 gives none without offline_access; the access token is given up."""
    settings = DevSettings(scopes_supported=("openid", "profile", "email"))
    with DevServer("A", settings) as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            assert "offline_access" not in query_of(start)["scope"].split()
            answer = await browse(start.url)
            with pytest.raises(InvalidRequest, match="nothing was provisioned") as told:
                await opened.finish_consent(CALLER, "cloud", start.session, answer)
            assert told.value.field == "refresh_token"
            assert await nobody_is_provisioned(opened)


async def test_an_access_token_that_came_alone_is_given_back(home: Home) -> None:
    """F16, F32: nobody will hand it out, so it shall not live on."""
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url, preset="generic")
        proxy.plan(TOKEN, Fault.NO_REFRESH_TOKEN)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(InvalidRequest, match="nothing was provisioned"):
                await consent(opened)
            assert server.state.live_access_tokens == []
            hints = [form["token_type_hint"] for form in proxy.forms("/revoke")]
            assert hints == ["access_token"]


@pytest.mark.parametrize(
    ("preset", "hints"),
    [
        ("generic", ["refresh_token", "access_token"]),
        ("nextcloud-2.5", ["refresh_token"]),
    ],
)
async def test_keys_that_stay_away_cost_the_consent_but_leave_no_token_behind(
    home: Home, preset: str, hints: list[str]
) -> None:
    """Nobody can say whose the tokens are, so nobody keeps them."""
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url, preset=preset)
        proxy.plan(JWKS, Fault.RESET_BEFORE, times=9)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(Unavailable, match="keys"):
                await consent(opened)
            assert await nobody_is_provisioned(opened)
        assert proxy.count(JWKS) == 3
        assert [form["token_type_hint"] for form in proxy.forms("/revoke")] == hints
        assert live_refresh_tokens(server) == 0
        assert server.state.live_access_tokens == []


async def test_keys_that_come_late_cost_nothing(home: Home) -> None:
    """F7: the code is spent; the answer is kept while the keys are asked for again."""
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url)
        proxy.plan(JWKS, Fault.RESET_BEFORE, times=2)
        async with open_broker(home.settings(), tend=False) as opened:
            grant = await consent(opened)
            assert grant.state.status is GrantStatus.ACTIVE
            assert proxy.count(TOKEN) == 1
            assert proxy.count("/revoke") == 0


async def test_tokens_that_cannot_be_given_back_are_told_of(
    home: Home, caplog: pytest.LogCaptureFixture
) -> None:
    """Profile A has no revocation: they live on, and that is said without them."""
    with DevServer("A") as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url)
        proxy.plan(JWKS, Fault.RESET_BEFORE, times=9)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(Unavailable):
                await consent(opened)
        assert "refresh_token of an unfinished consent lives on" in caplog.text
        tokens = [*server.state.refresh_tokens, *server.state.access_tokens]
        assert not any(token in caplog.text for token in tokens)


async def test_tokens_that_the_ledger_does_not_take_are_given_back(
    home: Home,
) -> None:
    """A name out of bounds is found out only after the code is spent."""
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            answer = await browse(start.url)
            with pytest.raises(InvalidRequest) as caught:
                await opened.finish_consent(
                    CALLER, "cloud", start.session, answer, label="l" * 129
                )
            assert caught.value.field == "label"
            assert live_refresh_tokens(server) == 0


async def test_a_browser_that_goes_away_does_not_lose_the_grant(home: Home) -> None:
    """F4: the code is being redeemed; its tokens are stored whoever still waits."""
    release = threading.Event()
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url)
        proxy.plan(TOKEN, Fault.held_after(release))
        async with open_broker(home.settings(), tend=False) as opened:
            task = asyncio.create_task(consent(opened))
            await until(lambda: bool(server.state.families))
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            release.set()
        async with open_broker(home.settings(), tend=False) as opened:
            grant = await opened.broker.status(KEY)
            assert grant is not None
            assert grant.state.status is GrantStatus.ACTIVE


async def test_a_ledger_that_takes_nothing_leaves_no_token_behind(home: Home) -> None:
    with DevServer() as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            answer = await browse(start.url)
            with closing(sqlite3.connect(home.ledger, isolation_level=None)) as other:
                other.execute("BEGIN IMMEDIATE")
                with pytest.raises(Unavailable):
                    await opened.finish_consent(CALLER, "cloud", start.session, answer)
        assert len(server.state.families) == 1
        assert live_refresh_tokens(server) == 0


def refusing(status: int, error: str) -> Fault:
    answer: Answer = json_answer(status, {"error": error})
    return Fault(f"{status} {error}", lambda hold: hold.send(answer))


@pytest.mark.parametrize(
    ("fault", "kind", "words"),
    [
        (refusing(400, "invalid_grant"), UpstreamRejected, "invalid_grant"),
        (refusing(400, "invalid_client"), UpstreamRejected, "invalid_client"),
        (refusing(400, "expired_client"), UpstreamRejected, "has expired"),
        (refusing(400, "unsupported_grant_type"), Unsupported, "unsupported"),
        (refusing(429, "slow_down"), RateLimited, "slow_down"),
        (refusing(503, "busy"), Unavailable, "busy"),
        (Fault.RESET_AFTER, Unavailable, "start again"),
        (Fault.REDIRECT_302, UpstreamRejected, "redirected"),
    ],
    ids=lambda value: getattr(value, "name", None),
)
async def test_each_way_to_refuse_a_code_has_its_own_error(
    home: Home, fault: Fault, kind: type[Exception], words: str
) -> None:
    """F26."""
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url)
        proxy.plan(TOKEN, fault)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(kind, match=words):
                await consent(opened)
            assert await nobody_is_provisioned(opened)


async def test_a_server_that_cannot_be_reached_starts_no_consent(home: Home) -> None:
    with DevServer() as server, FaultProxy(server.issuer) as proxy:
        home.static(server, issuer=proxy.url)
        proxy.plan(METADATA, Fault.RESET_BEFORE)
        async with open_broker(home.settings(), tend=False) as opened:
            with pytest.raises(Unavailable):
                await opened.start_consent("cloud", CALLBACK)


async def test_a_consent_at_an_unknown_provider_is_refused(home: Home) -> None:
    with DevServer() as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            start = await opened.start_consent("cloud", CALLBACK)
            with pytest.raises(InvalidRequest, match="known: cloud") as caught:
                await opened.start_consent("clod", CALLBACK)
            assert caught.value.field == "provider"
            with pytest.raises(InvalidRequest, match="known: cloud"):
                await opened.finish_consent(CALLER, "clod", start.session, {})


async def test_nothing_of_a_consent_is_stored_in_the_clear(home: Home) -> None:
    with DevServer() as server:
        home.static(server)
        async with open_broker(home.settings(), tend=False) as opened:
            grant = await consent(opened)
            handed = await opened.broker.hand_out(CALLER, TokenRequest(KEY))
            refresh = grant.state.refresh
            assert refresh is not None
            secrets: list[RefreshToken | AccessToken] = [
                refresh.token,
                handed.access_token,
            ]
        stored = home.stored()
        assert not any(s.reveal().encode() in stored for s in secrets)
        assert b"alice" not in stored
        assert GrantKey("cloud", "alice") == KEY
