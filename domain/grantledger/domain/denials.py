"""The record of what authenticated callers were refused."""

from __future__ import annotations

from grantledger.domain.errors import Denied, GrantledgerError, LedgerError
from grantledger.domain.journal import MAX_REASON_LENGTH, AccessEntry, EntryPrivate
from grantledger.domain.requests import Caller, TokenRequest, check_key
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    DEFAULT_LABEL,
    MAX_NAME_LENGTH,
    MAX_SUBJECT_LENGTH,
    GrantKey,
    Outcome,
)


class Denials:
    """Writes it; over a caller's rate, refusals are counted instead."""

    def __init__(self, env: Surroundings) -> None:
        self._env = env

    async def of_token(
        self,
        caller: Caller,
        request: TokenRequest,
        request_id: str,
        error: GrantledgerError,
        grant: UserGrant | None,
    ) -> None:
        """Record that a token was refused.

        Callers of one redemption may share the error; each has an entry of its own.
        """
        error.recorded = True
        private = EntryPrivate(
            actor=caller.private,
            scopes_asked=request.scopes,
            audience_asked=request.audience,
            subject=request.key.subject,
            detail=request.reason,
        )
        place = (request_id, request.key.provider)
        await self._record(caller, error, grant, place, private)

    async def of_anything(
        self,
        caller: Caller,
        error: GrantledgerError,
        provider: str | None,
        subject: str | None,
        label: str = DEFAULT_LABEL,
    ) -> None:
        """Record a refusal of what was no request for a token, or not yet one.

        One that is recorded already is not recorded twice, and one whose cause is the
        ledger itself not at all.
        """
        if error.recorded or isinstance(error, LedgerError):
            return
        error.recorded = True
        grant = await self._known(provider, subject, label)
        private = EntryPrivate(
            actor=caller.private,
            subject=(subject or "")[:MAX_SUBJECT_LENGTH] or None,
            detail=str(error)[:MAX_REASON_LENGTH],
        )
        place = (self._env.ids.request_id(), (provider or "")[:MAX_NAME_LENGTH])
        await self._record(caller, error, grant, place, private)

    async def _record(
        self,
        caller: Caller,
        error: GrantledgerError,
        grant: UserGrant | None,
        place: tuple[str, str],
        private: EntryPrivate,
    ) -> None:
        """Record it; `place` is the request's id, and the provider that it named."""
        request_id, provider = place
        await self._env.journal.record(
            AccessEntry(
                at=self._env.clock.now(),
                outcome=Outcome.DENIED,
                caller=caller.id,
                request_id=request_id,
                provider=provider,
                grant_id=grant.id if grant else None,
                grant_version=grant.version if grant else 0,
                generation=grant.state.generation if grant else 0,
                reason=error.reason if isinstance(error, Denied) else error.code,
                policy=self._env.policy.version,
                private=private,
            )
        )

    async def _known(
        self, provider: str | None, subject: str | None, label: str
    ) -> UserGrant | None:
        """Return the grant that it is about: erasing that shall erase this as well."""
        if not provider or not subject:
            return None
        try:
            key = GrantKey(provider, subject, label)
            check_key(key)
            return await self._env.ledger.find(key)
        except GrantledgerError:
            return None
