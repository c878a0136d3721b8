"""Exchange a user's session token for one of another audience (RFC 8693).

Never takes the intent: the stored refresh token is not touched, so exchanges may
run side by side. Each is two journal entries, the intention and the outcome.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

from grantledger.domain import refusals
from grantledger.domain.answers import TokenAnswer, UpstreamFailure, VerifiedSubject
from grantledger.domain.delegation import ActingParty
from grantledger.domain.errors import (
    Denied,
    GrantledgerError,
    InvalidScope,
    InvalidSubjectToken,
    LedgerError,
    NotProvisioned,
    Unavailable,
    Unsupported,
    UpstreamRejected,
)
from grantledger.domain.hand_out import HandOuts
from grantledger.domain.journal import AccessEntry, EntryPrivate
from grantledger.domain.policy import CallerRule
from grantledger.domain.ports import RecordVerdict
from grantledger.domain.provider import (
    ExchangeStrategy,
    ExchangeTarget,
    ProviderRules,
)
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    GrantKey,
    Outcome,
    Scopes,
    Source,
    TokenKind,
)

MAX_ROUNDS = 8


class SessionExchanges:
    """The use case; nothing of it is stored but its journal entries."""

    def __init__(self, env: Surroundings, hand_outs: HandOuts) -> None:
        self._env = env
        self._hand_outs = hand_outs

    async def exchange(
        self,
        caller: Caller,
        provider_name: str,
        subject_token: AccessToken,
        *,
        scopes: Scopes = (),
        audience: str | None = None,
        actor: ActingParty | None = None,
    ) -> HandedOut:
        """Return a token for `audience` on behalf of the session's user.

        The subject comes from the verified `sub` alone. Its user must hold a grant
        here: what consent allows is what exchange may do, and ending the grant ends
        it. Where the provider's strategy is `refresh`, or the server says that it has
        no exchange and the strategy falls back, a narrowed background token is
        handed out instead.

        Args:
            caller: authenticated.
            provider_name: whose user it is.
            subject_token: the user's session token.
            scopes: what the token shall carry; empty for what the session has.
            audience: None for the provider's default.
            actor: proven by an actor token, None where the caller acts itself. Where
                the subject token says who may act (RFC 8693 section 4.4), it has to
                be this party.

        Raises:
            Denied: policy refuses, or the subject token lets another party act.
            InvalidSubjectToken: the session token does not verify, or the server
                refuses it.
            NotProvisioned: its user holds no grant here.
            InvalidTarget: the provider has no such audience.
            Unsupported: the server has no token exchange.
        """
        env = self._env
        request_id = env.ids.request_id()
        key = GrantKey(provider_name, "unverified")
        request = TokenRequest(key=key, scopes=scopes, audience=audience)
        try:
            provider = env.provider(provider_name)
            subject = await self._verified(provider, subject_token)
            key = GrantKey(provider_name, subject.subject)
            request = TokenRequest(key=key, scopes=scopes, audience=audience)
            acting = actor or caller.party
            chain = subject.actors if actor is None else actor.chain + subject.actors
            caller = replace(
                caller.on_behalf(chain),
                user=subject.subject,
                user_providers=frozenset({provider_name}),
            )
            if subject.may_act is not None and (
                acting is None or not subject.may_act.names(acting)
            ):
                raise Denied("the subject token lets another party act", "may_not_act")
            strategy = provider.rules.exchange_strategy
            answer: HandedOut | GrantledgerError | None = None
            if strategy is not ExchangeStrategy.REFRESH:
                answer = await self._exchange(
                    caller, provider, subject_token, subject, request, request_id
                )
        except LedgerError:
            raise
        except GrantledgerError as error:
            await self._hand_outs.refuse(caller, request, request_id, error)
            raise
        if isinstance(answer, HandedOut):
            return answer
        falls_back = strategy is ExchangeStrategy.EXCHANGE_THEN_REFRESH
        if answer is None or (falls_back and isinstance(answer, Unsupported)):
            return await self._hand_outs.hand_out(caller, request)
        raise answer

    @staticmethod
    async def _verified(provider: Provider, token: AccessToken) -> VerifiedSubject:
        if provider.verifier is None:
            raise Unsupported(
                f"provider {provider.rules.name} verifies no session token"
            )
        return await provider.verifier.verify(token)

    async def _exchange(
        self,
        caller: Caller,
        provider: Provider,
        subject_token: AccessToken,
        subject: VerifiedSubject,
        request: TokenRequest,
        request_id: str,
    ) -> HandedOut | GrantledgerError:
        """Return the token, or why there is none; that is then recorded already."""
        env = self._env
        rules = provider.rules
        key = request.key
        audience = request.audience or rules.audience
        # One policy, whatever is read in meanwhile.
        policy = env.policy
        rule = policy.rule_for(
            caller, key.provider, key.subject, request.scopes, audience
        )
        if rule is None:
            raise Denied(f"no rule lets caller {caller.id!r} exchange this", "no_rule")
        by_resource = rules.exchange_target is ExchangeTarget.RESOURCE
        resource = rules.resource_for(audience) if by_resource else None
        intended = AccessEntry(
            at=env.clock.now(),
            outcome=Outcome.EXCHANGE_INTENDED,
            caller=caller.id,
            request_id=request_id,
            provider=key.provider,
            audience=audience,
            policy=policy.version,
            private=EntryPrivate(
                actor=caller.private,
                jti=subject.jti,
                scopes_asked=request.scopes,
                subject=key.subject,
            ),
        )
        grant = await self._record(key, intended, request.scopes)
        answer = await provider.server.exchange(
            subject_token,
            scopes=request.scopes,
            audience=None if by_resource else audience,
            resource=resource,
            budget_seconds=rules.http_budget_seconds,
        )
        # RFC 8693 section 2.2.1: what is not said is what was asked, or all there is.
        granted = request.scopes or subject.scopes
        if isinstance(answer, TokenAnswer) and answer.scopes is not None:
            granted = answer.scopes
        if not rule.covers(granted):
            # A later rule may cover the token, where the first covers the request.
            rule = policy.rule_for(caller, key.provider, key.subject, granted, audience)
        refusal = self._refusal(answer, rule, request.scopes, granted, grant)
        if refusal is not None:
            await self._failed(intended, answer)
            refusal.recorded = True
            await self._discard(provider, answer)
            return refusal
        if isinstance(answer, UpstreamFailure) or answer.access_token is None:
            raise Unavailable("no answer")  # pragma: no cover - _refusal has looked
        token = answer.access_token
        expires_at = self._expiry(rules, answer, subject)
        done = AccessEntry(
            at=env.clock.now(),
            outcome=Outcome.HANDED_OUT,
            caller=caller.id,
            request_id=request_id,
            provider=key.provider,
            source=Source.EXCHANGED,
            expires_at=expires_at,
            audience=audience,
            scopes=granted,
            policy=policy.version,
            private=EntryPrivate(
                actor=caller.private,
                fingerprint=env.fingerprints.fingerprint(
                    TokenKind.ACCESS, token.reveal()
                ),
                jti=answer.jti,
            ),
        )
        try:
            grant = await self._record(key, done, granted)
        except GrantledgerError:
            await self._discard(provider, answer)
            raise
        return HandedOut(
            access_token=token,
            token_type=answer.token_type,
            expires_at=expires_at,
            scopes=granted,
            audience=audience,
            source=Source.EXCHANGED,
            grant_id=grant.id,
            generation=grant.state.generation,
            request_id=request_id,
        )

    async def _record(
        self, key: GrantKey, entry: AccessEntry, scopes: Scopes
    ) -> UserGrant:
        """Record the entry against the grant's newest version, which must be usable."""
        env = self._env
        for _ in range(MAX_ROUNDS):
            grant = await env.ledger.find(key)
            if grant is None:
                raise NotProvisioned(f"no consent is stored at {key.provider}")
            if not grant.state.usable:
                raise refusals.ended(grant.state)
            beyond = _beyond(scopes, grant)
            if beyond is not None:
                raise beyond
            entry.grant_id = grant.id
            entry.grant_version = grant.version
            entry.generation = grant.state.generation
            recorded = await env.ledger.record(entry)
            if recorded.verdict is RecordVerdict.RECORDED:
                late = env.clock.monotonic() - recorded.committed_at
                if late <= env.release_limit_seconds or await env.ledger.is_newest(
                    grant.id, grant.version
                ):
                    return grant
        raise Unavailable(f"the grant at {key.provider} keeps changing")

    @staticmethod
    async def _discard(
        provider: Provider, answer: TokenAnswer | UpstreamFailure
    ) -> None:
        """Ask once for the end of a token that does not leave."""
        if isinstance(answer, TokenAnswer) and answer.access_token is not None:
            await provider.server.revoke(
                answer.access_token.reveal(),
                TokenKind.ACCESS,
                budget_seconds=provider.rules.http_budget_seconds,
            )

    async def _failed(
        self, intended: AccessEntry, answer: TokenAnswer | UpstreamFailure
    ) -> None:
        if isinstance(answer, UpstreamFailure):
            reason: str = answer.failure
            detail = f"{answer.error}: {answer.description}".strip(": ")
        else:
            reason, detail = "unacceptable_answer", answer.defect or "scopes"
        await self._env.ledger.record(
            AccessEntry(
                at=self._env.clock.now(),
                outcome=Outcome.EXCHANGE_FAILED,
                caller=intended.caller,
                request_id=intended.request_id,
                provider=intended.provider,
                grant_id=intended.grant_id,
                generation=intended.generation,
                audience=intended.audience,
                reason=reason,
                policy=intended.policy,
                private=EntryPrivate(detail=detail[:500]),
            )
        )

    @staticmethod
    def _refusal(
        answer: TokenAnswer | UpstreamFailure,
        rule: CallerRule | None,
        asked: Scopes,
        granted: Scopes,
        grant: UserGrant,
    ) -> GrantledgerError | None:
        """Return why the answer cannot be used, None when it can."""
        if isinstance(answer, UpstreamFailure):
            if answer.failure is FailureClass.INVALID_GRANT:
                return InvalidSubjectToken("the server refuses the session token")
            return refusals.upstream(answer, grant.state)
        if answer.access_token is None or answer.defect is not None:
            return UpstreamRejected(
                f"token exchange: {answer.defect or 'no access token'}",
                "malformed_answer",
            )
        missing = sorted(set(asked) - set(granted))
        if missing:
            return InvalidScope(f"the server did not grant: {' '.join(missing)}")
        return _beyond(granted, grant) or _uncovered(granted, rule)

    @staticmethod
    def _expiry(
        rules: ProviderRules, answer: TokenAnswer, subject: VerifiedSubject
    ) -> datetime:
        """Return when the token ends: never after its session, or the cap."""
        seconds = min(
            answer.expires_in or rules.exchange_default_expires_in_seconds,
            rules.exchange_cap_seconds,
        )
        return min(answer.sent_at + timedelta(seconds=seconds), subject.expires_at)


def _beyond(scopes: Scopes, grant: UserGrant) -> InvalidScope | None:
    """Return the refusal of scopes that the grant lacks, None when it has them."""
    granted = grant.state.provisioning.scopes
    beyond = sorted(set(scopes) - set(granted)) if granted else []
    if not beyond:
        return None
    return InvalidScope(f"scopes beyond the grant: {' '.join(beyond)}")


def _uncovered(scopes: Scopes, rule: CallerRule | None) -> Denied | None:
    if rule is None:
        return Denied(
            "the token has more scopes than the caller's rule covers",
            "token_wider_than_rule",
        )
    if not scopes and rule.scopes is not None:
        # Nobody has said what it may do, so that no list of scopes covers it.
        return Denied("the token's scopes are unknown", "token_scopes_unknown")
    return None
