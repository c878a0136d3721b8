"""Quarantine grants on somebody's warning: a security event, not the server's word.

Nothing is handed out until consent is given again. Unlike a revocation it leaves the
refresh token alone, so that a false alarm costs the user one consent.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from grantledger.domain.endings import still_live
from grantledger.domain.errors import InvalidRequest, NotProvisioned
from grantledger.domain.grant_state import GrantState
from grantledger.domain.journal import MAX_REASON_LENGTH
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.requests import Caller, LiveHandOut, check_key
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.values import GrantKey, ReauthorizationReason


@dataclass(frozen=True, slots=True)
class QuarantineReceipt:
    """What is known after a quarantine.

    Attributes:
        grant: as it stands now.
        already: nothing was recorded: it has ended, or was quarantined by a security
            event before.
        live: tokens handed out that have not expired: an upper bound.
    """

    grant: GrantState
    already: bool
    live: Sequence[LiveHandOut]


async def quarantine(
    env: Surroundings, caller: Caller, key: GrantKey, reason: str
) -> QuarantineReceipt:
    """Have the grant need consent; from the commit on, no hand-out of it commits.

    Whoever calls asks the policy first. A second call changes nothing.

    Args:
        env: what the use cases work with.
        caller: who warns; recorded.
        key: which grant.
        reason: in words, at most 500 characters; sealed when stored.

    Raises:
        InvalidRequest: unknown provider, or a field out of bounds.
        NotProvisioned: there is no such grant.
        Unavailable: the ledger cannot be used; call again.
    """
    check_key(key)
    if not 0 < len(reason) <= MAX_REASON_LENGTH:
        raise InvalidRequest(
            f"reason has {len(reason)} characters; "
            f"the limit is 1 to {MAX_REASON_LENGTH}",
            "reason",
        )
    env.provider(key.provider)
    request_id = env.ids.request_id()
    while True:
        grant = await env.ledger.find(key)
        if grant is None:
            raise NotProvisioned(f"no consent is stored at {key.provider}")
        draft = grant.fork()
        done = draft.quarantine(
            env.context(caller.actor, request_id, env.policy.version),
            reason,
            ReauthorizationReason.SECURITY_EVENT,
        )
        if not done or (
            await env.ledger.append(draft, Lane.OUTCOME) is AppendVerdict.COMMITTED
        ):
            break
    entries = await env.ledger.hand_outs(grant.id, env.clock.now())
    scopes = {t.version: t.scopes for t in grant.state.access_tokens}
    return QuarantineReceipt(draft.state, not done, still_live(entries, scopes))
