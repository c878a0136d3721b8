"""No token, secret, code or key shows itself anywhere (known-failures F25).

Every path is walked with canaries, against servers that quote back whatever they
were sent, while logging is wide open; then everything that was written is searched.
"""

from __future__ import annotations

import base64
import logging
import traceback
from collections.abc import Awaitable

import pytest

from grantledger.adapters.upstream.consent import ConsentFlow, ConsentStart
from grantledger.adapters.upstream.jwks import KeySet
from grantledger.adapters.upstream.registration import (
    ClientRegistration,
    RegisteredClient,
)
from grantledger.adapters.upstream.verifier import JwksVerifier
from grantledger.domain.errors import GrantledgerError
from grantledger.domain.values import (
    AccessToken,
    ClientSecret,
    RefreshToken,
    TokenKind,
)
from tests.upstream.support import (
    SECRET,
    Answer,
    CannedServer,
    Reply,
    Seen,
    Upstream,
    connected,
    reply,
)

REFRESH = "canary-refresh-sent"
SUBJECT = "canary-subject-sent"
CODE = "canary-code-sent"
MANAGEMENT = "canary-management-sent"
ISSUED = {
    "access_token": "canary-access-issued",
    "refresh_token": "canary-refresh-issued",
    "id_token": "canary.id.issued",
    "client_id": "c1",
    "client_secret": "canary-secret-issued",
    "registration_access_token": "canary-management-issued",
}


async def _quoting(seen: Seen) -> Reply:
    """Refuse, and quote the request, as careless servers do."""
    said = dict(seen.form) if b"=" in seen.body else {}
    words = " ".join([*said.values(), seen.headers.get("authorization", "")])
    return reply({"error": "invalid_grant", "error_description": words}, 400)


async def _quoting_code(seen: Seen) -> Reply:
    """Put what was sent into the error code itself."""
    values = [v for _, v in seen.form if v.startswith("canary")]
    return reply({"error": values[0] if values else "odd"}, 400)


BASIC = base64.b64encode(f"app:{SECRET}".encode()).decode()
ANSWERS: dict[str, Answer] = {
    "good": reply(ISSUED),
    "quoting": _quoting,
    "quoting code": _quoting_code,
    "broken": reply({**ISSUED, "access_token": "canary\r\nbroken", "scope": 7}),
    "cut": b'HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n{"refresh_token": "canary',
    "no json": Reply(200, b"canary-body"),
    "redirect": Reply(307, b"canary-body", {"Location": "http://127.0.0.2:1/"}),
    "outage": Reply(502, b"canary-body"),
}


async def _paths(upstream: Upstream, server: CannedServer) -> list[Awaitable[object]]:
    one = upstream.server
    keys = KeySet(upstream.config, upstream.http, upstream.discovery, upstream.clock)
    flow = ConsentFlow(
        upstream.config,
        one,
        upstream.discovery,
        keys,
        clock=upstream.clock,
        random=lambda size: b"\x01" * size,
    )
    verifier = JwksVerifier(server.url, keys, upstream.clock, audiences=("a",))
    registration = ClientRegistration(upstream.http, upstream.discovery, upstream.clock)
    known = RegisteredClient(
        client_id="c1",
        secret=ClientSecret("canary-known-secret"),
        expires_at=None,
        issued_at=None,
        auth_method=None,
        registration_access_token=ClientSecret(MANAGEMENT),
        registration_client_uri=f"{server.url}/register",
    )
    begun = await flow.start(redirect_uri="https://app.example.org/cb", scopes=())
    assert isinstance(begun, ConsentStart)
    state = begun.session.state.reveal()
    return [
        one.redeem(
            RefreshToken(REFRESH),
            scopes=(),
            audience=None,
            resource=None,
            budget_seconds=5,
        ),
        one.exchange(
            AccessToken(SUBJECT),
            scopes=(),
            audience="a",
            resource=None,
            budget_seconds=5,
        ),
        one.revoke(REFRESH, TokenKind.REFRESH, budget_seconds=5),
        one.introspect(AccessToken(SUBJECT), budget_seconds=5),
        flow.finish(begun.session, {"state": state, "code": CODE}, budget_seconds=5),
        flow.finish(begun.session, {"state": "x", "code": CODE}, budget_seconds=5),
        verifier.verify(AccessToken(SUBJECT)),
        verifier.verify(AccessToken("e30.canary.canary")),
        registration.register({}, budget_seconds=5, initial_access_token=known.secret),
        registration.read(known, budget_seconds=5),
        registration.update(known, {}, budget_seconds=5),
        registration.delete(known, budget_seconds=5),
    ]


@pytest.mark.parametrize("name", ANSWERS)
async def test_no_secret_is_logged_raised_or_shown(
    name: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    written: list[str] = []
    async with CannedServer() as server:
        server.describe(jwks_uri=f"{server.url}/keys")
        for path in ("/token", "/revoke", "/introspect", "/register", "/keys"):
            server.on(path, ANSWERS[name])
        async with connected(server.url) as upstream:
            for call in await _paths(upstream, server):
                try:
                    written.append(repr(await call))
                except GrantledgerError as error:
                    written.append("".join(traceback.format_exception(error)))
                    written.append(repr(error.__context__))
            written.append(repr(upstream))
    written += [record.getMessage() for record in caplog.records]
    assert len(written) > 12
    found = [text for text in written if "canary" in text or BASIC in text]
    assert found == []
