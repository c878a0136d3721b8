"""The broker: what callers and operators can do with grants.

Each use case stands in a file of its own; this one puts them together.
"""

from __future__ import annotations

from contextlib import suppress
from datetime import datetime
from uuid import UUID

from grantledger.domain import refusals
from grantledger.domain.audit_access import AuditAccess
from grantledger.domain.bulk import Bulk
from grantledger.domain.delegation import ActingParty
from grantledger.domain.endings import Endings
from grantledger.domain.erasing import Applied, Erasing, ErasureReceipt
from grantledger.domain.errors import (
    Denied,
    GrantledgerError,
    InvalidRequest,
    LedgerError,
    NotProvisioned,
)
from grantledger.domain.giving_back import GivenBack, GivingBack
from grantledger.domain.hand_out import HandOuts
from grantledger.domain.held_tokens import asked_scopes
from grantledger.domain.holding import Holding
from grantledger.domain.policy import Operation
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.quarantining import QuarantineReceipt, quarantine
from grantledger.domain.redeem import Ask, Redeemer
from grantledger.domain.requests import (
    Caller,
    HandedOut,
    RevocationReceipt,
    TokenRequest,
    check_key,
)
from grantledger.domain.session_exchange import SessionExchanges
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.upkeep import Upkeep
from grantledger.domain.user_grant import Consent, UserGrant
from grantledger.domain.values import (
    DEFAULT_LABEL,
    AccessToken,
    ErasureReason,
    GrantKey,
    Purpose,
    RefreshToken,
    RevocationReason,
    Scopes,
)


class Broker:
    """Grants and tokens of users, for authenticated callers.

    Attributes:
        upkeep: what a worker does though nobody asks.
        audit_access: records that the audit was read, before anything of it leaves.
    """

    def __init__(self, env: Surroundings) -> None:
        self.env = env
        self._redeemer = Redeemer(env)
        self._hand_outs = HandOuts(env, self._redeemer)
        self._endings = Endings(env, self._redeemer)
        self.upkeep = Upkeep(env, self._redeemer, self._hand_outs)
        self._erasing = Erasing(env, self._endings)
        self._exchanges = SessionExchanges(env, self._hand_outs)
        self._giving_back = GivingBack(env, self._hand_outs, self._endings)
        self.audit_access = AuditAccess(env)
        self.holding = Holding(env)

    @property
    def cached(self) -> int:
        """How many grants are kept in memory."""
        return self._hand_outs.cached

    async def hand_out(self, caller: Caller, request: TokenRequest) -> HandedOut:
        """Return an access token, recorded (see `HandOuts.hand_out`)."""
        return await self._hand_outs.hand_out(caller, request)

    async def exchange_session(
        self,
        caller: Caller,
        provider: str,
        subject_token: AccessToken,
        *,
        scopes: Scopes = (),
        audience: str | None = None,
        actor: ActingParty | None = None,
    ) -> HandedOut:
        """Return an exchanged token, recorded (see `SessionExchanges.exchange`)."""
        return await self._exchanges.exchange(
            caller,
            provider,
            subject_token,
            scopes=scopes,
            audience=audience,
            actor=actor,
        )

    async def give_back(self, caller: Caller, token: AccessToken) -> GivenBack:
        """End a token that was handed out (see `GivingBack.give_back`)."""
        return await self._giving_back.give_back(caller, token)

    async def authorise(
        self,
        caller: Caller,
        operation: Operation,
        provider: str | None = None,
        subject: str | None = None,
        label: str = DEFAULT_LABEL,
    ) -> None:
        """Refuse, recorded, what the policy does not let this caller do.

        Without a provider or subject, see `Policy.permits`.

        Raises:
            Denied: `reason` names the operation.
        """
        if self.env.policy.permits(caller, operation, provider, subject):
            return
        error = Denied(
            f"no rule lets caller {caller.id!r} do this: {operation}",
            f"may_not_{operation}",
        )
        await self.refused(caller, error, provider, subject, label)
        raise error

    async def authorise_all(self, caller: Caller, operation: Operation) -> None:
        """Refuse, recorded, whoever may not do this to every grant.

        Raises:
            Denied: some are not the caller's to see.
        """
        if self.env.policy.permits_all(caller, operation):
            return
        error = Denied(
            f"caller {caller.id!r} may not see every grant, and this is of all",
            "may_not_see_all",
        )
        await self.refused(caller, error)
        raise error

    async def refused(
        self,
        caller: Caller,
        error: GrantledgerError,
        provider: str | None = None,
        subject: str | None = None,
        label: str = DEFAULT_LABEL,
    ) -> None:
        """Record that an authenticated caller was refused, unless that is recorded."""
        await self._hand_outs.denials.of_anything(
            caller, error, provider, subject, label
        )

    async def provision(self, caller: Caller, consent: Consent) -> UserGrant:
        """Store a consent: a new grant, or the next generation of a known one.

        Raises:
            InvalidRequest: unknown provider, or a field out of bounds.
            Unavailable: the ledger cannot be written; nothing was stored.
        """
        env = self.env
        check_key(consent.key)
        if not consent.refresh_token.reveal():
            raise InvalidRequest("the refresh token is empty", "refresh_token")
        provider = env.provider(consent.key.provider)
        ctx = env.context(caller.actor, env.ids.request_id(), env.policy.version)
        fingerprint = env.fingerprints.fingerprint
        while True:
            grant = await env.ledger.find(consent.key)
            if grant is None:
                draft = UserGrant.provision(
                    ctx, provider.rules, env.ids.uuid(), consent, fingerprint
                )
            else:
                draft = grant.fork()
                draft.provision_again(ctx, provider.rules, consent, fingerprint)
            verdict = await env.ledger.append(draft, Lane.OUTCOME)
            if verdict is AppendVerdict.COMMITTED:
                self._hand_outs.forget(consent.key)
                return draft.fork()

    async def store(
        self,
        caller: Caller,
        key: GrantKey,
        token: RefreshToken,
        expires_at: datetime | None,
    ) -> UserGrant:
        """Take a successor that the caller obtained itself, as Rotated.

        Raises:
            InvalidRequest: unknown provider, or a field out of bounds.
            NotProvisioned: there is no usable grant; provision it.
        """
        env = self.env
        check_key(key)
        env.provider(key.provider)
        if not token.reveal():
            raise InvalidRequest("the refresh token is empty", "refresh_token")
        ctx = env.context(caller.actor, env.ids.request_id(), env.policy.version)
        while True:
            grant = await env.ledger.find(key)
            if grant is None or not grant.state.usable:
                raise NotProvisioned(f"no usable grant at {key.provider}")
            draft = grant.fork()
            if not draft.store(ctx, token, expires_at, env.fingerprints.fingerprint):
                return grant
            verdict = await env.ledger.append(draft, Lane.OUTCOME)
            if verdict is AppendVerdict.COMMITTED:
                return draft.fork()

    async def status(self, key: GrantKey) -> UserGrant | None:
        """Return the grant as it stands, None when there is none."""
        check_key(key)
        self.env.provider(key.provider)
        return await self.env.ledger.find(key)

    async def rotate(self, caller: Caller, key: GrantKey) -> UserGrant:
        """Redeem the refresh token now; an unchanged token is success.

        Raises:
            NotProvisioned: there is no such grant.
            Denied: policy refuses this caller.
            ReauthorizationRequired: the refresh token is no longer usable.
            UpstreamRejected: an operator must act.
            Unavailable: nothing is lost; try again.

        Every refusal is recorded before it is raised.
        """
        request = TokenRequest(key)
        request_id = self.env.ids.request_id()
        try:
            return await self._rotate(caller, key, request_id)
        except LedgerError:
            raise
        except GrantledgerError as error:
            await self._hand_outs.refuse(caller, request, request_id, error)
            raise

    async def _rotate(
        self, caller: Caller, key: GrantKey, request_id: str
    ) -> UserGrant:
        env = self.env
        provider = env.provider(key.provider)
        rules = provider.rules
        if not env.policy.permits(caller, Operation.ROTATE, key.provider, key.subject):
            raise Denied(f"no rule lets caller {caller.id!r} rotate", "no_rule")
        grant = await env.ledger.find(key)
        if grant is None:
            raise NotProvisioned(f"no consent is stored at {key.provider}")
        if not grant.state.usable:
            raise refusals.ended(grant.state)
        ask = Ask(
            purpose=Purpose.ROTATE,
            scopes=asked_scopes(rules, grant, rules.default_scopes),
            audience=rules.audience,
            seen=grant.version,
            actor=caller.actor,
            request_id=request_id,
            policy=env.policy.version,
        )
        return await self._redeemer.redeem(provider, grant.id, ask)

    async def revoke(
        self,
        caller: Caller,
        key: GrantKey,
        *,
        reason: RevocationReason = RevocationReason.OPERATOR,
        reason_text: str | None = None,
        ticket: str | None = None,
        settle: bool = True,
    ) -> RevocationReceipt:
        """End a grant (see `Endings.revoke`)."""
        check_key(key)
        return await self._endings.revoke(
            caller,
            key,
            reason=reason,
            reason_text=reason_text,
            ticket=ticket,
            settle=settle,
        )

    async def quarantine(
        self, caller: Caller, key: GrantKey, *, reason: str
    ) -> QuarantineReceipt:
        """Have a grant need consent after a security event (see `quarantine`)."""
        receipt = await quarantine(self.env, caller, key, reason)
        self._hand_outs.forget(key)
        return receipt

    @property
    def bulk(self) -> Bulk:
        """Looks at many grants, and ends them (see `Bulk`)."""
        return Bulk(self.env, self._endings)

    async def erase(
        self,
        caller: Caller,
        key: GrantKey,
        *,
        reason: ErasureReason = ErasureReason.USER_REQUEST,
        abandon: bool = False,
        thorough: bool = False,
    ) -> ErasureReceipt:
        """Destroy what a grant holds (see `Erasing.erase`)."""
        check_key(key)
        receipt = await self._erasing.erase(
            caller, key, reason=reason, abandon=abandon, thorough=thorough
        )
        self._hand_outs.forget(key)
        # An answer on disk may be of this grant. One that cannot be given back now
        # stays there for whoever brings answers home next.
        with suppress(GrantledgerError):
            await self.recover()
        return receipt

    async def forget_erased(self) -> None:
        """Drop from memory what others have erased (see `Maintenance.forget_erased`).

        Called again and again; before the first call nothing is opened.
        """
        maintenance = self.env.maintenance
        if maintenance is not None:
            gone = frozenset(await maintenance.forget_erased())
            self._hand_outs.forget_grants(gone)

    async def resume_erasures(self, *, thorough: bool = False) -> int:
        """Finish erasures that were cut short; return how many there were."""
        return await self._erasing.resume(thorough=thorough)

    async def apply_erasures(self, caller: Caller) -> Applied:
        """Erase again what the list outside names (see `apply_erasures`)."""
        return await self._erasing.apply(caller)

    async def settle(self, grant_id: UUID) -> UserGrant | None:
        """Ask the server once for each obligation that is due."""
        return await self._endings.settle(grant_id)

    async def expire(self, grant_id: UUID) -> bool:
        """Ask for consent if the refresh token's stated life is over; tell if so."""
        return await self.upkeep.expire_grant(grant_id)

    async def recover(self) -> int:
        """Bring spooled answers into the ledger; return how many there were."""
        return await self._redeemer.recover()

    async def tend(self, limit: int = 100) -> int:
        """Look after lost leases, obligations, erasures cut short; return how many."""
        return await self._endings.tend(limit) + await self._erasing.tend()
