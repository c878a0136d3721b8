"""Tokens that arrive for a grant that was erased meanwhile.

There is no data key to keep them under, and nobody to keep them for. They are given
back to the server at once, from memory; that they came, and whether the server has
ended them, is in the journal, without the tokens.
"""

from __future__ import annotations

from datetime import timedelta

from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
)
from grantledger.domain.context import backoff_seconds
from grantledger.domain.journal import AccessEntry
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import FailureClass, GrantStatus, Outcome, TokenKind

TRIES = 3
UNKNOWN_SECONDS = 3600.0
"""How long a token is taken to live where neither its server nor a setting says."""
ARRIVED = "answer_after_erasure"
ENDED = "answer_after_erasure_revoked"
EXPOSED = "answer_after_erasure_exposed"


def nobody_to_ask(env: Surroundings, grant: UserGrant) -> bool:
    """Tell whether the grant is erased and its provider not configured any more.

    What that server was owed was given up with the erasure.
    """
    is_known = grant.state.provider in env.providers
    return grant.state.status is GrantStatus.ERASED and not is_known


async def give_back(
    env: Surroundings,
    provider: Provider | None,
    grant: UserGrant,
    answer: TokenAnswer | UpstreamFailure,
) -> None:
    """Have the server end the tokens of an answer; its course is in the journal.

    Args:
        env: surroundings.
        provider: None where it is not configured any more: nobody is asked.
        grant: an erased one.
        answer: what came for it.

    Raises:
        Unavailable: the journal cannot be written; call again.
    """
    if isinstance(answer, UpstreamFailure):
        return
    tokens = [
        (kind, token.reveal())
        for kind, token in (
            (TokenKind.REFRESH, answer.refresh_token),
            (TokenKind.ACCESS, answer.access_token),
        )
        if token is not None
    ]
    if not tokens:
        return
    await _say(env, provider, grant, answer, ARRIVED)
    ended = [
        provider is not None and await _ended(env, provider, kind, token)
        for kind, token in tokens
    ]
    await _say(env, provider, grant, answer, ENDED if all(ended) else EXPOSED)


async def _ended(
    env: Surroundings, provider: Provider, kind: TokenKind, token: str
) -> bool:
    """Ask the server, a few times where that may help; tell whether it confirmed."""
    if not provider.rules.revocation:
        return False
    for tries in range(TRIES):
        answer = await provider.server.revoke(
            token, kind, budget_seconds=provider.rules.http_budget_seconds
        )
        if isinstance(answer, RevocationConfirmed):
            return True
        if answer.failure is FailureClass.UNSUPPORTED:
            return False
        if tries + 1 < TRIES:
            await env.runner.sleep(backoff_seconds(tries, env.ids.jitter()))
    return False


async def _say(
    env: Surroundings,
    provider: Provider | None,
    grant: UserGrant,
    answer: TokenAnswer,
    reason: str,
) -> None:
    usual = provider.rules.default_expires_in_seconds if provider else UNKNOWN_SECONDS
    lifetime = answer.expires_in or usual
    held = answer.access_token is not None
    await env.ledger.record(
        AccessEntry(
            at=env.clock.now(),
            outcome=Outcome.WITHHELD,
            caller=env.node,
            request_id=env.ids.request_id(),
            provider=grant.state.provider,
            grant_id=grant.id,
            grant_version=grant.version,
            generation=grant.state.generation,
            expires_at=answer.sent_at + timedelta(seconds=lifetime) if held else None,
            reason=reason,
        )
    )
