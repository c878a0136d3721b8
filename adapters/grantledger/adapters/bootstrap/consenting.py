"""From a code that a browser brought back to a consent that can be stored."""

from __future__ import annotations

import logging
from datetime import timedelta

import anyio

from grantledger.adapters.bootstrap.providers import WiredProvider
from grantledger.adapters.upstream.client import CodeAnswer
from grantledger.adapters.upstream.consent import ConsentSession
from grantledger.domain.answers import TokenAnswer, UpstreamFailure
from grantledger.domain.errors import (
    ClientExpired,
    InvalidRequest,
    RateLimited,
    Unavailable,
    Unsupported,
    UpstreamRejected,
)
from grantledger.domain.user_grant import Consent
from grantledger.domain.values import FailureClass, GrantKey, Secret, TokenKind

KEY_PAUSES_SECONDS = (0.2, 1.0)

_log = logging.getLogger("grantledger.bootstrap")


async def consent_of(
    wired: WiredProvider,
    session: ConsentSession,
    code: CodeAnswer,
    label: str,
) -> Consent:
    """Return what a code gave as a consent, of the verified `sub`.

    Raises:
        InvalidRequest: the server gave no refresh token.
        InvalidSubjectToken: the ID token does not verify.
        Unavailable: the server's keys cannot be fetched.
    """
    rules = wired.provider.rules
    answer = code.answer
    if answer.refresh_token is None:
        raise InvalidRequest(
            "the server gave no refresh token: nothing was provisioned; "
            "does the client have offline_access?",
            "refresh_token",
        )
    subject = await _identified(wired, session, code)
    expires_at = None
    if answer.refresh_expires_in is not None:
        expires_at = answer.sent_at + timedelta(seconds=answer.refresh_expires_in)
    return Consent(
        key=GrantKey(rules.name, subject, label),
        client_id=wired.config.client_id,
        flow="authorization_code",
        scopes=session.scopes if answer.scopes is None else answer.scopes,
        refresh_token=answer.refresh_token,
        refresh_expires_at=expires_at,
        upstream_subject=subject,
        audience=rules.audience,
        resource=session.resource,
        answer=answer,
    )


async def _identified(
    wired: WiredProvider, session: ConsentSession, code: CodeAnswer
) -> str:
    """Return the verified `sub`.

    Keys that cannot be fetched are asked for again a few times: the code is
    spent, and giving up means another consent.
    """
    for pause in KEY_PAUSES_SECONDS:
        try:
            return (await wired.consent.identify(session, code)).subject
        except Unavailable:
            await anyio.sleep(pause)
    return (await wired.consent.identify(session, code)).subject


async def give_back(
    wired: WiredProvider, answer: TokenAnswer, budget_seconds: float
) -> None:
    """Revoke tokens that nobody keeps, as far as the server lets us."""
    rules = wired.provider.rules
    tokens: list[tuple[TokenKind, Secret]] = []
    if answer.refresh_token is not None:
        tokens.append((TokenKind.REFRESH, answer.refresh_token))
    if answer.access_token is not None and not (tokens and rules.family_revocation):
        tokens.append((TokenKind.ACCESS, answer.access_token))
    for kind, token in tokens:
        outcome = await wired.server.revoke(
            token.reveal(), kind, budget_seconds=budget_seconds
        )
        if isinstance(outcome, UpstreamFailure):
            _log.warning(
                "provider %s: the %s of an unfinished consent lives on: %s",
                rules.name,
                kind.value,
                outcome.error,
            )


def failed(failure: UpstreamFailure) -> Exception:
    """Return a server's refusal in the domain's words."""
    said = f"the server: {failure.error}"
    match failure.failure:
        case FailureClass.RATE_LIMITED:
            return RateLimited(said, failure.retry_after or 1.0)
        case FailureClass.TRANSIENT:
            return Unavailable(said, failure.retry_after or 1.0)
        case FailureClass.AMBIGUOUS:
            return Unavailable(f"{said}; start again")
        case FailureClass.EXPIRED_CLIENT:
            return ClientExpired(f"{said}: the registered client has expired")
        case FailureClass.UNSUPPORTED:
            return Unsupported(said, failure.error)
        case _:
            return UpstreamRejected(said, failure.error)
