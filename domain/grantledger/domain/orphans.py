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
from grantledger.domain.values import FailureClass, Outcome, TokenKind

TRIES = 3
ARRIVED = "answer_after_erasure"
ENDED = "answer_after_erasure_revoked"
EXPOSED = "answer_after_erasure_exposed"


async def give_back(
    env: Surroundings,
    provider: Provider,
    grant: UserGrant,
    answer: TokenAnswer | UpstreamFailure,
) -> None:
    """Have the server end the tokens of an answer; its course is in the journal.

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
    ended = [await _ended(env, provider, kind, token) for kind, token in tokens]
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
    provider: Provider,
    grant: UserGrant,
    answer: TokenAnswer,
    reason: str,
) -> None:
    lifetime = answer.expires_in or provider.rules.default_expires_in_seconds
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
