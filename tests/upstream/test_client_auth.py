"""The client proves itself on every path, by exactly one method."""

from __future__ import annotations

import base64
from urllib.parse import parse_qs, unquote_plus

import jwt
import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from grantledger.adapters.upstream.client_auth import ClientAuthenticator
from grantledger.adapters.upstream.config import AuthMethod, UpstreamConfig
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.values import (
    AccessToken,
    ClientSecret,
    RefreshToken,
    TokenKind,
)
from tests.upstream.support import (
    SECRET,
    START,
    CannedServer,
    FakeClock,
    FakeIds,
    connected,
    reply,
)

PrivateKey = rsa.RSAPrivateKey | ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey
ISSUER = "https://as.example.org"
RSA = rsa.generate_private_key(public_exponent=65537, key_size=2048)
P256 = ec.generate_private_key(ec.SECP256R1())


def _pem(key: PrivateKey) -> ClientSecret:
    return ClientSecret(
        key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
    )


def _authenticator(config: UpstreamConfig) -> ClientAuthenticator:
    return ClientAuthenticator(config, FakeClock(), FakeIds())


def test_basic_encodes_each_half_before_joining_them() -> None:
    """RFC 6749 section 2.3.1: a colon in the id does not split the pair."""
    client_id, secret = "a:b c", "s%e:c+r€t"
    config = UpstreamConfig(
        issuer=ISSUER, client_id=client_id, client_secret=ClientSecret(secret)
    )
    form = _authenticator(config).sign([("grant_type", "x")])
    kind, _, encoded = form.headers["Authorization"].partition(" ")
    left, right = base64.b64decode(encoded).decode().split(":")
    assert kind == "Basic"
    assert (unquote_plus(left), unquote_plus(right)) == (client_id, secret)
    assert form.content == b"grant_type=x"


def test_post_puts_the_credentials_last_in_the_form() -> None:
    config = UpstreamConfig(
        issuer=ISSUER,
        client_id="app",
        client_secret=ClientSecret("s&t"),
        auth_method=AuthMethod.POST,
    )
    form = _authenticator(config).sign([("grant_type", "x")])
    assert form.content == b"grant_type=x&client_id=app&client_secret=s%26t"
    assert "Authorization" not in form.headers


def test_a_public_client_sends_its_id_alone() -> None:
    config = UpstreamConfig(issuer=ISSUER, client_id="app", auth_method=AuthMethod.NONE)
    assert _authenticator(config).sign([]).content == b"client_id=app"


@pytest.mark.parametrize(
    ("key", "algorithm"), [(RSA, "RS256"), (RSA, "PS256"), (P256, "ES256")]
)
def test_a_signed_assertion_is_fresh_each_time(key: PrivateKey, algorithm: str) -> None:
    """RFC 7523 section 3: iss, sub, aud, exp, and a jti used once."""
    config = UpstreamConfig(
        issuer=ISSUER,
        client_id="app",
        auth_method=AuthMethod.PRIVATE_KEY_JWT,
        private_key_pem=_pem(key),
        private_key_id="key-1",
        private_key_algorithm=algorithm,
    )
    authenticator = _authenticator(config)
    seen = set[str]()
    for _ in range(2):
        form = parse_qs(authenticator.sign([]).content.decode())
        assert "client_secret" not in form
        assert form["client_assertion_type"] == [
            "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
        ]
        assertion = form["client_assertion"][0]
        assert jwt.get_unverified_header(assertion)["kid"] == "key-1"
        claims = jwt.decode(
            assertion,
            key.public_key(),  # type: ignore[arg-type,unused-ignore] # a wider union
            algorithms=[algorithm],
            audience=ISSUER,
            options={"verify_exp": False, "verify_iat": False},
        )
        assert claims["iss"] == claims["sub"] == "app"
        assert claims["iat"] == START.timestamp()
        assert claims["exp"] == claims["iat"] + 60
        seen.add(claims["jti"])
    assert len(seen) == 2


def test_an_assertion_may_have_another_audience_and_no_kid() -> None:
    config = UpstreamConfig(
        issuer=ISSUER,
        client_id="app",
        auth_method=AuthMethod.PRIVATE_KEY_JWT,
        private_key_pem=_pem(RSA),
        assertion_audience="https://as.example.org/token",
    )
    form = parse_qs(_authenticator(config).sign([]).content.decode())
    assertion = form["client_assertion"][0]
    assert "kid" not in jwt.get_unverified_header(assertion)
    claims = jwt.decode(assertion, options={"verify_signature": False})
    assert claims["aud"] == "https://as.example.org/token"


@pytest.mark.parametrize(
    ("pem", "algorithm"),
    [
        (ClientSecret("canary-no-key"), "RS256"),
        (_pem(RSA), "ES256"),
        (_pem(P256), "RS256"),
        (_pem(ec.generate_private_key(ec.SECP384R1())), "ES256"),
        (_pem(ed25519.Ed25519PrivateKey.generate()), "RS256"),
    ],
)
def test_a_key_that_does_not_fit_is_refused_without_being_quoted(
    pem: ClientSecret, algorithm: str
) -> None:
    config = UpstreamConfig(
        issuer=ISSUER,
        client_id="app",
        auth_method=AuthMethod.PRIVATE_KEY_JWT,
        private_key_pem=pem,
        private_key_algorithm=algorithm,
    )
    with pytest.raises(ConfigurationError) as caught:
        _authenticator(config)
    assert caught.value.field == "private_key_pem"
    assert caught.value.__context__ is None
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize("method", [AuthMethod.BASIC, AuthMethod.POST])
async def test_every_path_authenticates_the_client(method: AuthMethod) -> None:
    """F15, F18: token, exchange, revocation and introspection alike."""
    async with CannedServer() as server:
        server.describe()
        server.on("/token", reply({"access_token": "a"}))
        server.on("/revoke", reply({}))
        server.on("/introspect", reply({"active": False}))
        async with connected(server.url, auth_method=method) as upstream:
            one = upstream.server
            await one.redeem(
                RefreshToken("r"),
                scopes=(),
                audience=None,
                resource=None,
                budget_seconds=5,
            )
            await one.exchange(
                AccessToken("s"),
                scopes=(),
                audience=None,
                resource=None,
                budget_seconds=5,
            )
            await one.redeem_code(
                "c",
                redirect_uri="https://app.example.org/cb",
                code_verifier="v",
                resource=None,
                budget_seconds=5,
            )
            await one.revoke("r", TokenKind.REFRESH, budget_seconds=5)
            await one.introspect(AccessToken("a"), budget_seconds=5)
        sent = [one for one in server.seen if one.method == "POST"]
        assert len(sent) == 5
        for request in sent:
            basic = "authorization" in request.headers
            in_form = ("client_secret", SECRET) in request.form
            assert basic is (method is AuthMethod.BASIC)
            assert in_form is (method is AuthMethod.POST)


def test_a_signed_form_shows_nothing() -> None:
    config = UpstreamConfig(
        issuer=ISSUER, client_id="app", client_secret=ClientSecret(SECRET)
    )
    form = _authenticator(config).sign([("refresh_token", "canary-refresh")])
    assert "canary" not in repr(form)
    assert "canary" not in repr(config)
