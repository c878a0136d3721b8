"""A caller gives back an access token: it is ended, and its grant lives on.

RFC 7009, with the broker in the server's place: the token leaves no more from any
replica, and the server that issued it is asked to end it where it can end it alone.
Whatever becomes of it is recorded before the answer.
"""

from __future__ import annotations

from collections.abc import Sequence
from enum import StrEnum

from grantledger.domain.answers import RevocationConfirmed
from grantledger.domain.endings import Endings
from grantledger.domain.errors import ConfigurationError, Denied, Unavailable
from grantledger.domain.fleet import Fleet
from grantledger.domain.grant_state import GrantState
from grantledger.domain.hand_out import HandOuts
from grantledger.domain.journal import AccessEntry, EntryPrivate
from grantledger.domain.policy import Operation
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.requests import Caller
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    AccessTokenEndReason,
    FailureClass,
    GrantKey,
    GrantStatus,
    Outcome,
    TokenFingerprint,
    TokenKind,
)

MAX_ROUNDS = 16
Marks = frozenset[TokenFingerprint]


class GivenBack(StrEnum):
    """What is known of the token now."""

    ENDED = "ended"
    LIVES_ON = "lives_on"


class GivingBack:
    """The use case."""

    def __init__(
        self, env: Surroundings, hand_outs: HandOuts, endings: Endings
    ) -> None:
        self._env = env
        self._hand_outs = hand_outs
        self._endings = endings

    async def give_back(self, caller: Caller, token: AccessToken) -> GivenBack:
        """Hand the token out no more; tell what its server said.

        A token that nobody knows, or that has ended, counts as ended (RFC 7009
        section 2.2), and so does a refresh token, which no caller ever had: neither
        tells whoever guesses that it is one.

        Returns:
            `LIVES_ON` where the server cannot end it, or not it alone.

        Raises:
            Denied: by the policy, or the token was handed to others only (RFC 7009
                section 2.1).
            Unavailable: the server has not confirmed yet; it is asked again, and so
                may the caller.
        """
        fleet = self._fleet
        place = await fleet.find_token(token.reveal())
        grant = None if place is None else await self._env.ledger.get(place.grant_id)
        if place is None or grant is None or grant.state.status is GrantStatus.ERASED:
            await self._noted(caller, Denied("the token is not known", "unknown_token"))
            return GivenBack.ENDED
        if place.kind is TokenKind.REFRESH:
            error = Denied("a caller holds no refresh token", "refresh_token")
            await self._noted(caller, error, grant.state)
            return GivenBack.ENDED
        await self._authorise(caller, grant.state)
        marks = frozenset(await fleet.fingerprints(token.reveal()))
        entries = await self._env.ledger.hand_outs(grant.id, self._env.clock.now())
        exchanged = [e for e in entries if e.private and e.private.fingerprint in marks]
        if exchanged:
            return await self._end_exchanged(caller, token, grant, exchanged)
        return await self._end_held(caller, grant, marks, entries)

    @property
    def _fleet(self) -> Fleet:
        if self._env.fleet is None:
            raise ConfigurationError("no ledger finds grants by token", "ledger")
        return self._env.fleet

    async def _noted(
        self, caller: Caller, error: Denied, state: GrantState | None = None
    ) -> None:
        denials = self._hand_outs.denials
        if state is None:
            await denials.of_anything(caller, error, None, None)
            return
        await denials.of_anything(
            caller, error, state.provider, state.subject, state.label
        )

    async def _authorise(self, caller: Caller, state: GrantState) -> None:
        wanted = Operation.RETURN_TOKEN
        policy = self._env.policy
        if not policy.permits(caller, wanted, state.provider, state.subject):
            error = Denied(
                f"no rule lets caller {caller.id!r} do this: {wanted}",
                f"may_not_{wanted}",
            )
            await self._noted(caller, error, state)
            raise error

    async def _had(
        self, caller: Caller, state: GrantState, handed: Sequence[AccessEntry]
    ) -> None:
        """Refuse, recorded, whoever was not handed the token itself."""
        if all(entry.caller != caller.id for entry in handed):
            error = Denied(
                f"the token was not handed to caller {caller.id!r}", "not_handed_out"
            )
            await self._noted(caller, error, state)
            raise error

    # -- tokens that the grant holds

    async def _end_held(
        self,
        caller: Caller,
        grant: UserGrant,
        marks: Marks,
        entries: Sequence[AccessEntry],
    ) -> GivenBack:
        env = self._env
        state = grant.state
        provider = env.provider(state.provider)
        request_id = env.ids.request_id()
        for _ in range(MAX_ROUNDS):
            now = env.clock.now()
            held = next(
                (
                    t
                    for t in grant.state.access_tokens
                    if t.fingerprint in marks and t.expires_at > now
                ),
                None,
            )
            if held is None:
                await self._told(caller, grant, request_id, "already_ended")
                break
            mine = [e for e in entries if e.token_ref == held.version]
            await self._had(caller, state, mine)
            draft = grant.fork()
            ctx = env.context(caller.actor, request_id, env.policy.version)
            reason = AccessTokenEndReason.GIVEN_BACK
            draft.end_access(ctx, provider.rules, held, reason=reason)
            verdict = await env.ledger.append(draft, Lane.OUTCOME)
            if verdict is AppendVerdict.COMMITTED:
                break
            grant = await env.ledger.get(grant.id) or grant
        else:
            raise Unavailable(f"grant {grant.id} keeps changing")
        self._hand_outs.forget(GrantKey(state.provider, state.subject, state.label))
        after = await self._endings.settle(grant.id)
        return self._known(after.state if after else state, marks)

    def _known(self, state: GrantState, marks: Marks) -> GivenBack:
        """Return what is known of a token that leaves no more.

        Raises:
            Unavailable: the server has not confirmed yet.
        """
        now = self._env.clock.now()
        aside = [t for t in state.late_access if t.fingerprint in marks]
        owed = [o for o in state.obligations if o.fingerprint in marks]
        ends = [t.expires_at for t in aside] + [o.expires_at for o in owed[-1:]]
        if all(at is not None and at <= now for at in ends):
            return GivenBack.ENDED
        if aside or owed[-1].confirmed is False:
            return GivenBack.LIVES_ON
        if owed[-1].confirmed:
            return GivenBack.ENDED
        at = owed[-1].next_try_at or now
        raise Unavailable(
            "the token leaves no more; its server has not confirmed its end yet",
            max(1.0, (at - now).total_seconds()),
        )

    # -- tokens of session exchanges, which no grant holds

    async def _end_exchanged(
        self,
        caller: Caller,
        token: AccessToken,
        grant: UserGrant,
        handed: Sequence[AccessEntry],
    ) -> GivenBack:
        """Ask the server once; where it does not confirm, the caller asks again."""
        provider = self._env.provider(grant.state.provider)
        await self._had(caller, grant.state, handed)
        request_id = self._env.ids.request_id()
        private = handed[-1].private
        mark = private.fingerprint if private else None
        if not provider.rules.revocation:
            await self._told(caller, grant, request_id, "unsupported", mark)
            return GivenBack.LIVES_ON
        await self._told(caller, grant, request_id, "to_be_ended", mark)
        answer = await provider.server.revoke(
            token.reveal(),
            TokenKind.ACCESS,
            budget_seconds=provider.rules.http_budget_seconds,
        )
        if isinstance(answer, RevocationConfirmed):
            await self._told(caller, grant, request_id, "confirmed", mark)
            return GivenBack.ENDED
        await self._told(caller, grant, request_id, answer.failure, mark)
        if answer.failure is FailureClass.UNSUPPORTED:
            return GivenBack.LIVES_ON
        raise Unavailable(
            "the server has not confirmed the token's end", answer.retry_after or 1.0
        )

    async def _told(
        self,
        caller: Caller,
        grant: UserGrant,
        request_id: str,
        reason: str,
        mark: TokenFingerprint | None = None,
    ) -> None:
        """Record what a token that was given back came to."""
        env = self._env
        private = None
        if mark is not None or caller.private is not None:
            private = EntryPrivate(actor=caller.private, fingerprint=mark)
        await env.ledger.record(
            AccessEntry(
                at=env.clock.now(),
                outcome=Outcome.GIVEN_BACK,
                caller=caller.id,
                request_id=request_id,
                provider=grant.state.provider,
                grant_id=grant.id,
                grant_version=grant.version,
                generation=grant.state.generation,
                reason=reason,
                policy=env.policy.version,
                private=private,
            )
        )
