"""After the key of fingerprints was rotated, a token is the same token still."""

from __future__ import annotations

from grantledger.domain.answers import TokenAnswer
from grantledger.domain.grant_events import Rotated
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    RefreshToken,
    TokenFingerprint,
    TokenKind,
)
from tests.ledger.scene import NOW, RULES, ctx, intended, new_grant


def newer(kind: TokenKind, token: str) -> TokenFingerprint:
    """Return a fingerprint under a key that no token of the grant was marked with."""
    return TokenFingerprint(f"hmac-sha256:k-newer:{kind}-{token}")


def consent(refresh: str) -> Consent:
    return Consent(
        key=GrantKey("cloud", "alice"),
        client_id="broker",
        flow="import",
        scopes=("files.read", "openid"),
        refresh_token=RefreshToken(refresh),
        audience="cloud",
    )


def first() -> UserGrant:
    return new_grant().fork()


def test_a_refresh_token_that_the_server_did_not_change_is_no_new_one() -> None:
    draft, intent = intended(first())
    draft = draft.fork()
    answer = TokenAnswer(
        NOW,
        refresh_token=RefreshToken("rt1"),
        access_token=AccessToken("at1"),
        expires_in=900,
    )
    draft.answered(ctx(), RULES, intent.attempt_id, answer, newer)
    assert not any(isinstance(event, Rotated) for event in draft.pending_events)


def test_a_token_that_is_imported_again_is_not_owed_to_the_server() -> None:
    grant = first()
    assert grant.state.refresh is not None
    before = grant.state.refresh.fingerprint
    grant.provision_again(ctx(), RULES, consent("rt1"), newer)
    assert grant.state.refresh is not None
    assert grant.state.refresh.fingerprint == before
    assert grant.state.obligations == ()


def test_a_token_that_was_stored_elsewhere_again_is_no_successor() -> None:
    grant = first()
    assert not grant.store(ctx(), RefreshToken("rt1"), None, newer)
    assert grant.store(ctx(), RefreshToken("rt2"), None, newer)
    assert grant.state.refresh is not None
    assert grant.state.refresh.fingerprint == newer(TokenKind.REFRESH, "rt2")
