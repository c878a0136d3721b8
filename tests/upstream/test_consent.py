"""Consent out and back: PKCE, state, nonce, iss; tokens before identity (F7)."""

from __future__ import annotations

import base64
import hashlib
import os
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import httpx
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import rsa

from grantledger.adapters.devserver import DevServer, DevSettings
from grantledger.adapters.upstream.client import CodeAnswer
from grantledger.adapters.upstream.consent import (
    SESSION_SECONDS,
    ConsentFlow,
    ConsentRefused,
    ConsentStart,
)
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.domain.answers import UpstreamFailure
from grantledger.domain.errors import (
    InvalidRequest,
    InvalidSubjectToken,
    InvalidTarget,
    Unavailable,
)
from grantledger.domain.values import ClientSecret, FailureClass, IdToken
from tests.upstream.signing import JWKS, RSA, jwk
from tests.upstream.support import (
    RFC8414,
    START,
    CannedServer,
    FakeClock,
    Reply,
    connected,
    reply,
)

REDIRECT = "http://127.0.0.1:8000/cb"
NOW = int(START.timestamp())


class Visit:
    """One flow at one server."""

    def __init__(self, flow: ConsentFlow, server: CannedServer) -> None:
        self.flow = flow
        self.server = server

    async def start(
        self, *, scopes: tuple[str, ...] = ("openid",), resource: str | None = None
    ) -> ConsentStart:
        begun = await self.flow.start(
            redirect_uri=REDIRECT, scopes=scopes, resource=resource
        )
        assert isinstance(begun, ConsentStart)
        return begun

    async def finish(
        self, begun: ConsentStart, **parameters: str
    ) -> CodeAnswer | ConsentRefused | UpstreamFailure:
        state = begun.session.state.reveal()
        return await self.flow.finish(
            begun.session, {"state": state, **parameters}, budget_seconds=5
        )

    def id_token(
        self,
        begun: ConsentStart,
        key: rsa.RSAPrivateKey = RSA,
        *,
        typ: str = "JWT",
        **claims: object,
    ) -> str:
        body = {
            "iss": self.server.url,
            "sub": "alice",
            "aud": "app",
            "iat": NOW,
            "exp": NOW + 900,
            "nonce": begun.session.nonce.reveal(),
            **claims,
        }
        body = {name: value for name, value in body.items() if value is not None}
        return jwt.encode(body, key, "RS256", headers={"kid": "k1", "typ": typ})


@asynccontextmanager
async def visit(
    clock: FakeClock | None = None, **metadata: object
) -> AsyncGenerator[Visit, None]:
    async with CannedServer() as server:
        server.describe(**metadata)
        server.on(JWKS, reply({"keys": [jwk(RSA)]}))
        server.on("/token", reply({"access_token": "a", "refresh_token": "r"}))
        async with connected(server.url, clock) as upstream:
            keys = KeySet(
                upstream.config, upstream.http, upstream.discovery, upstream.clock
            )
            flow = ConsentFlow(
                upstream.config,
                upstream.server,
                upstream.discovery,
                keys,
                clock=upstream.clock,
                random=os.urandom,
            )
            yield Visit(flow, server)


def _query(url: str) -> list[tuple[str, str]]:
    return parse_qsl(urlsplit(url).query, keep_blank_values=True)


async def test_a_consent_at_a_real_server_brings_a_grant_and_an_identity() -> None:
    """Rows 19 and 24, end to end over HTTP."""
    resource = "https://files.example.org"
    with DevServer("B", DevSettings(resources=(resource,))) as up:
        client = up.state.register_client(
            redirect_uris=(REDIRECT,),
            auth_method="client_secret_basic",
            client_secret="canary-client-secret",
        )
        clock = FakeClock(datetime.now(UTC))
        async with connected(up.issuer, clock, client_id=client.client_id) as upstream:
            keys = KeySet(upstream.config, upstream.http, upstream.discovery, clock)
            flow = ConsentFlow(
                upstream.config,
                upstream.server,
                upstream.discovery,
                keys,
                clock=clock,
                random=os.urandom,
            )
            begun = await flow.start(
                redirect_uri=REDIRECT, scopes=("openid", "email"), resource=resource
            )
            assert isinstance(begun, ConsentStart)
            async with httpx.AsyncClient(trust_env=False) as browser:
                page = await browser.get(f"{begun.url}&login_hint=alice")
            back = dict(_query(page.headers["location"]))
            assert back["iss"] == up.issuer
            answer = await flow.finish(begun.session, back, budget_seconds=5)
            assert isinstance(answer, CodeAnswer)
            assert answer.answer.refresh_token is not None
            assert answer.answer.scopes == ("email", "offline_access", "openid")
            identity = await flow.identify(begun.session, answer)
            again = await flow.finish(begun.session, back, budget_seconds=5)
    assert identity.subject == "alice"
    assert isinstance(again, UpstreamFailure)
    assert again.failure is FailureClass.INVALID_GRANT


async def test_the_request_carries_pkce_state_nonce_and_resource() -> None:
    """RFC 7636 section 4.2; the endpoint's own query is kept."""
    async with visit() as here:
        begun = await here.start(scopes=("openid", "b"), resource="https://files")
        session = begun.session
    digest = hashlib.sha256(session.code_verifier.reveal().encode()).digest()
    challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
    assert len(session.code_verifier.reveal()) == 43
    assert _query(begun.url) == [
        ("tenant", "1"),
        ("response_type", "code"),
        ("client_id", "app"),
        ("redirect_uri", REDIRECT),
        ("scope", "b offline_access openid"),
        ("state", session.state.reveal()),
        ("nonce", session.nonce.reveal()),
        ("code_challenge", challenge),
        ("code_challenge_method", "S256"),
        ("prompt", "consent"),
        ("resource", "https://files"),
    ]


async def test_two_sessions_share_nothing() -> None:
    async with visit(authorization_endpoint=None) as here:
        failed = await here.flow.start(redirect_uri=REDIRECT, scopes=())
        assert isinstance(failed, UpstreamFailure)
        assert failed.error == "no_endpoint"
    async with visit() as here:
        one, two = (await here.start()).session, (await here.start()).session
    assert {one.state, one.nonce, one.code_verifier}.isdisjoint(
        {two.state, two.nonce, two.code_verifier}
    )
    assert len({one.state, one.nonce, one.code_verifier}) == 3


@pytest.mark.parametrize(
    ("listed", "asked"),
    [
        (None, "offline_access openid"),
        (["openid", "offline_access"], "offline_access openid"),
        (["openid"], "openid"),
        ([], "openid"),
    ],
    ids=repr,
)
async def test_offline_access_is_asked_for_where_it_is_known(
    listed: list[str] | None, asked: str
) -> None:
    """Row 7."""
    async with visit(scopes_supported=listed) as here:
        begun = await here.start(scopes=("openid", "offline_access"))
        assert dict(_query(begun.url))["scope"] == asked


@pytest.mark.parametrize(
    ("methods", "fine"), [(["S256"], True), (None, True), (["plain"], False)]
)
async def test_a_server_without_s256_is_not_used(
    methods: list[str] | None,
    fine: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    async with visit(code_challenge_methods_supported=methods) as here:
        begun = await here.flow.start(redirect_uri=REDIRECT, scopes=())
    assert isinstance(begun, ConsentStart) is fine


@pytest.mark.parametrize(
    "uri", ["http://app.example.org/cb", "app://cb", "/cb", "https://app/cb#x"]
)
async def test_an_insecure_redirect_uri_is_refused(uri: str) -> None:
    """RFC 9700 section 2.6."""
    async with visit() as here:
        with pytest.raises(InvalidRequest) as caught:
            await here.flow.start(redirect_uri=uri, scopes=())
        assert caught.value.field == "redirect_uri"
        assert here.server.seen == []


@pytest.mark.parametrize("resource", ["files", "https://files#part", ""])
async def test_a_resource_is_an_absolute_uri(resource: str) -> None:
    """RFC 8707 section 2."""
    async with visit() as here:
        with pytest.raises(InvalidTarget):
            await here.flow.start(redirect_uri=REDIRECT, scopes=(), resource=resource)


async def test_a_server_without_metadata_starts_nothing() -> None:
    async with visit() as here:
        here.server.on(RFC8414, Reply(503))
        begun = await here.flow.start(redirect_uri=REDIRECT, scopes=())
    assert isinstance(begun, UpstreamFailure)


async def test_the_code_is_redeemed_with_its_verifier() -> None:
    async with visit() as here:
        begun = await here.start(resource="https://files")
        answer = await here.finish(begun, code="c", iss=here.server.url)
        assert isinstance(answer, CodeAnswer)
        form = here.server.last("/token").form
    assert form == [
        ("grant_type", "authorization_code"),
        ("code", "c"),
        ("redirect_uri", REDIRECT),
        ("code_verifier", begun.session.code_verifier.reveal()),
        ("resource", "https://files"),
    ]


async def test_an_answer_without_a_refresh_token_is_seen() -> None:
    """F32: it is never "provisioned"."""
    async with visit() as here:
        here.server.on("/token", reply({"access_token": "a"}))
        answer = await here.finish(await here.start(), code="c")
    assert isinstance(answer, CodeAnswer)
    assert answer.answer.refresh_token is None


@pytest.mark.parametrize(
    ("parameters", "field"),
    [
        ({"state": "other", "code": "c"}, "state"),
        ({"state": "", "code": "c"}, "state"),
        ({"state": "\ud800", "code": "c"}, "state"),
        ({"code": "c", "iss": "https://evil.example"}, "iss"),
        ({"error": "access_denied", "iss": "https://evil.example"}, "iss"),
        ({"code": ""}, "code"),
        ({}, "code"),
    ],
    ids=repr,
)
async def test_an_answer_that_is_not_ours_sends_nothing(
    parameters: Mapping[str, str], field: str
) -> None:
    """RFC 6749 section 10.12, RFC 9207 section 2.4."""
    async with visit() as here:
        begun = await here.start()
        with pytest.raises(InvalidRequest) as caught:
            await here.finish(begun, **parameters)
        assert caught.value.field == field
        assert here.server.count("/token") == 0


async def test_a_missing_state_is_refused() -> None:
    async with visit() as here:
        begun = await here.start()
        with pytest.raises(InvalidRequest):
            await here.flow.finish(begun.session, {"code": "c"}, budget_seconds=5)


async def test_iss_is_required_where_the_server_says_that_it_sends_it() -> None:
    """RFC 9207 section 2.4."""
    async with visit(authorization_response_iss_parameter_supported=True) as here:
        begun = await here.start()
        with pytest.raises(InvalidRequest) as caught:
            await here.finish(begun, code="c")
        assert caught.value.field == "iss"
        assert isinstance(
            await here.finish(begun, code="c", iss=here.server.url), CodeAnswer
        )


async def test_a_session_lives_ten_minutes() -> None:
    """Row 19."""
    clock = FakeClock()
    async with visit(clock) as here:
        begun = await here.start()
        clock.advance(SESSION_SECONDS)
        with pytest.raises(InvalidRequest):
            await here.finish(begun, code="c")


async def test_a_refusal_is_passed_on_in_bounded_words() -> None:
    async with visit() as here:
        refused = await here.finish(
            await here.start(), error="access_denied", error_description="no\r\n" * 999
        )
    assert isinstance(refused, ConsentRefused)
    assert refused.error == "access_denied"
    assert len(refused.description) == 500


async def test_a_failed_redemption_and_absent_metadata_are_failures() -> None:
    clock = FakeClock()
    async with visit(clock) as here:
        begun = await here.start()
        here.server.on("/token", reply({"error": "invalid_grant"}, 400))
        outcome = await here.finish(begun, code="c")
        assert isinstance(outcome, UpstreamFailure)
        assert outcome.failure is FailureClass.INVALID_GRANT
    async with visit(clock) as here:
        begun = await here.start()
        other = ConsentStart(begun.url, begun.session)
    async with visit(clock) as here:
        here.server.on(RFC8414, Reply(503))
        outcome = await here.finish(other, code="c")
        assert isinstance(outcome, UpstreamFailure)
        assert not outcome.sent


async def test_a_key_outage_does_not_cost_the_tokens() -> None:
    """F7: the answer is in hand before the keys are asked for, and stays good."""
    async with visit() as here:
        begun = await here.start()
        token = here.id_token(begun)
        here.server.on(
            "/token",
            reply({"access_token": "a", "refresh_token": "r", "id_token": token}),
        )
        here.server.on(JWKS, Reply(503), reply({"keys": [jwk(RSA)]}))
        answer = await here.finish(begun, code="c")
        assert isinstance(answer, CodeAnswer)
        assert answer.answer.refresh_token is not None
        assert answer.answer.id_token_subject == "alice"
        with pytest.raises(Unavailable):
            await here.flow.identify(begun.session, answer)
        identity = await here.flow.identify(begun.session, answer)
        assert identity.subject == "alice"
        assert here.server.count("/token") == 1


@pytest.mark.parametrize(
    ("claims", "fine"),
    [
        ({}, True),
        ({"azp": "app"}, True),
        ({"aud": ["app"]}, True),
        ({"aud": ["app", "other"], "azp": "app"}, True),
        ({"aud": ["app", "other"]}, False),
        ({"azp": "other"}, False),
        ({"azp": None, "aud": "other"}, False),
        ({"nonce": "other"}, False),
        ({"nonce": None}, False),
        ({"iss": "https://evil.example"}, False),
        ({"exp": NOW - 60}, False),
        ({"sub": None, "email": "alice@example.org"}, False),
        ({"typ": "at+jwt"}, False),
    ],
    ids=repr,
)
async def test_the_id_token_belongs_to_this_session_and_client(
    claims: dict[str, Any],
    fine: bool,  # noqa: FBT001 - a test's parameter
) -> None:
    """OpenID Connect Core section 3.1.3.7."""
    async with visit() as here:
        begun = await here.start()
        token = here.id_token(begun, **claims)
        answer = await here.finish(begun, code="c")
        assert isinstance(answer, CodeAnswer)
        answer = CodeAnswer(answer.answer, IdToken(token))
        if fine:
            found = await here.flow.identify(begun.session, answer)
            assert (found.subject, found.client_id) == ("alice", "app")
            return
        with pytest.raises(InvalidSubjectToken):
            await here.flow.identify(begun.session, answer)


async def test_an_answer_without_an_id_token_names_nobody() -> None:
    async with visit() as here:
        begun = await here.start()
        answer = await here.finish(begun, code="c")
        assert isinstance(answer, CodeAnswer)
        with pytest.raises(InvalidSubjectToken) as caught:
            await here.flow.identify(begun.session, answer)
    assert caught.value.field == "id_token"


async def test_a_session_shows_no_secret() -> None:
    async with visit() as here:
        session = (await here.start()).session
    for secret in (session.state, session.nonce, session.code_verifier):
        assert secret.reveal() not in repr(session)
    assert repr(ClientSecret("x")) == "ClientSecret(***)"
