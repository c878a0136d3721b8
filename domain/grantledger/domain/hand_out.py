"""Hand out an access token: the call that everything else exists for.

Cached or fresh, a token leaves only after its journal entry is durable, checked
in the same transaction against the grant's newest version.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import datetime
from uuid import UUID

from grantledger.domain import refusals
from grantledger.domain.cached_grants import CachedGrants
from grantledger.domain.denials import Denials
from grantledger.domain.errors import (
    Denied,
    GrantledgerError,
    InvalidScope,
    LedgerError,
    NotProvisioned,
    Unavailable,
)
from grantledger.domain.held_tokens import Pick, View, asked_scopes, lasts, pick_of
from grantledger.domain.hot import HotTokens
from grantledger.domain.journal import AccessEntry
from grantledger.domain.policy import CallerRule, Policy
from grantledger.domain.ports import RecordVerdict
from grantledger.domain.redeem import Ask, Redeemer
from grantledger.domain.requests import Caller, HandedOut, TokenRequest
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    GrantKey,
    Outcome,
    Purpose,
    Scopes,
    Source,
)

MAX_ROUNDS = 16

# Looked up once: an enumeration's members are found in Python, each time.
HANDED_OUT, RECORDED = Outcome.HANDED_OUT, RecordVerdict.RECORDED
CACHED, FRESH = Source.CACHED, Source.FRESH

Allowed = tuple[Policy, CallerRule]
"""What a request is decided on: one policy, whatever is read in meanwhile."""


class HandOuts:
    """The use case; holds a bounded cache of grants, each proven at every use."""

    def __init__(self, env: Surroundings, redeemer: Redeemer) -> None:
        self._env = env
        self._redeemer = redeemer
        self._views = CachedGrants(env.cache_grants, env.cache_bytes)
        self.hot = HotTokens()
        self.denials = Denials(env)

    @property
    def cached(self) -> int:
        """How many grants are kept in memory."""
        return len(self._views)

    async def hand_out(self, caller: Caller, request: TokenRequest) -> HandedOut:
        """Return an access token; its journal entry is durable.

        Raises:
            NotProvisioned: no consent; nothing was sent anywhere.
            ReauthorizationRequired: consent is needed again, or the grant has ended.
            Denied: policy refuses this caller.
            InvalidRequest: unknown provider, scope beyond the grant, unknown target.
            UpstreamRejected: an operator must act.
            Unavailable: the ledger or the server cannot now; nothing left.

        Every refusal is recorded before it is raised.
        """
        request_id = self._env.ids.request_id()
        try:
            return await self._hand_out(caller, request, request_id)
        except LedgerError:
            raise
        except GrantledgerError as error:
            await self.refuse(caller, request, request_id, error)
            raise

    async def _hand_out(
        self, caller: Caller, request: TokenRequest, request_id: str
    ) -> HandedOut:
        env = self._env
        key = request.key
        provider = env.provider(key.provider)
        rules = provider.rules
        needed = request.scopes or rules.default_scopes
        audience = request.audience or rules.audience
        policy = env.policy
        rule = policy.rule_for(caller, key.provider, key.subject, needed, audience)
        if rule is None:
            raise Denied(
                f"no rule lets caller {caller.id!r} have this token", "no_rule"
            )
        seen = self._cached(request)
        view = seen or await self._load(key)
        source = CACHED
        spent = 0
        for _ in range(MAX_ROUNDS):
            grant = view.grant
            now = env.clock.now()
            pick: Pick | None = None
            refusal: GrantledgerError | None = None
            try:
                pick = self._choose(view, (policy, rule), caller, request, now, spent)
            except GrantledgerError as error:
                refusal = error
            if pick is None and view is seen:
                # Only on a state read now is a caller refused or a token redeemed:
                # another replica may have mended it, or been here before.
                view = await self._load(key)
                continue
            if refusal is not None:
                raise refusal
            if pick is None:
                source, spent = FRESH, grant.version
                view = await self._refresh(
                    provider, view, caller, request_id, policy, needed, audience
                )
                continue
            token = pick.token
            # In the order of its fields, for one is made at each call.
            entry = AccessEntry(
                now,
                HANDED_OUT,
                caller.id,
                request_id,
                key.provider,
                grant.id,
                grant.version,
                token.generation,
                token.version,
                source,
                token.expires_at,
                token.audience,
                policy=policy.version,
                private=caller.private_for(request.reason),
            )
            recorded = await env.ledger.record(entry)
            if recorded.verdict is not RECORDED:
                view = await self._load(key)
                continue
            late = env.clock.monotonic() - recorded.committed_at
            if late > env.release_limit_seconds and not await env.ledger.is_newest(
                grant.id, grant.version
            ):
                view = await self._load(key)
                continue
            if token.token is None:  # pragma: no cover - _pick leaves such out
                raise NotProvisioned("the token is not shared")
            self.hot.note(grant.id, key.provider, pick, now)
            return HandedOut(
                access_token=token.token,
                token_type="Bearer",  # noqa: S106 - a type's name
                expires_at=token.expires_at,
                scopes=token.scopes,
                audience=token.audience,
                source=source,
                grant_id=grant.id,
                generation=token.generation,
                request_id=request_id,
                token_ref=token.version,
            )
        raise Unavailable(f"grant {view.grant.id} keeps changing")

    async def refuse(
        self,
        caller: Caller,
        request: TokenRequest,
        request_id: str,
        error: GrantledgerError,
    ) -> None:
        """Record a refusal; over the caller's rate it is counted instead."""
        view = self._views.get(request.key) or await self._known(request.key)
        grant = None if view is None else view.grant
        await self.denials.of_token(caller, request, request_id, error, grant)

    async def _known(self, key: GrantKey) -> View | None:
        """Return the grant that a refusal is about, None where there is none."""
        try:
            return await self._load(key)
        except GrantledgerError:
            return None

    def forget(self, key: GrantKey) -> None:
        """Drop what is cached of a grant; correctness never needs it."""
        self._views.drop(key)

    def forget_grants(self, grants: Collection[UUID]) -> None:
        """Drop what is cached of these, such as tokens of what was erased."""
        self._views.drop_grants(grants)

    def renewed(self, grant: UserGrant) -> View:
        """Hand out from this state of the grant on; return it as it is kept."""
        state = grant.state
        key = GrantKey(state.provider, state.subject, state.label)
        return self._views.keep(key, grant)

    def _cached(self, request: TokenRequest) -> View | None:
        """Return the view that is kept; one older than the refused token is none."""
        view = self._views.get(request.key)
        old = view is not None and view.grant.version < request.newer_than
        return None if old else view

    async def _load(self, key: GrantKey) -> View:
        grant = await self._env.ledger.find(key)
        if grant is None:
            self._views.drop(key)
            raise NotProvisioned(f"no consent is stored at provider {key.provider}")
        return self._views.keep(key, grant)

    async def _refresh(
        self,
        provider: Provider,
        view: View,
        caller: Caller,
        request_id: str,
        policy: Policy,
        needed: Scopes,
        audience: str | None,
    ) -> View:
        grant = view.grant
        ask = Ask(
            purpose=Purpose.EXCHANGE,
            scopes=asked_scopes(provider.rules, grant, needed),
            audience=audience,
            seen=grant.version,
            actor=caller.actor,
            request_id=request_id,
            policy=policy.version,
        )
        return self.renewed(await self._redeemer.redeem(provider, grant.id, ask))

    def _choose(
        self,
        view: View,
        allowed: Allowed,
        caller: Caller,
        request: TokenRequest,
        now: datetime,
        spent: int,
    ) -> Pick | None:
        """Return what answers the request, None where a redemption may bring it.

        Args:
            view: what is decided on.
            allowed: the rule that lets the caller have it, with its policy.
            caller: who asks.
            request: for what.
            now: aware UTC.
            spent: version that this call has redeemed on, 0 when it has not.

        Raises:
            GrantledgerError: neither this state nor a redemption of it can.
        """
        grant = view.grant
        if not grant.state.usable:
            raise refusals.ended(grant.state)
        rules = self._env.provider(grant.state.provider).rules
        needed = request.scopes or rules.default_scopes
        pick = pick_of(view, rules, needed, request.audience or rules.audience)
        if pick is None or not lasts(view, pick, now, request, spent):
            self._check_scopes(grant, needed)
            return None
        if pick.covered_by is not allowed[1]:
            self._check_token(grant, allowed, pick, caller, request)
        return pick

    @staticmethod
    def _check_scopes(grant: UserGrant, needed: Scopes) -> None:
        granted = grant.state.provisioning.scopes
        beyond = sorted(set(needed) - set(granted)) if granted else []
        if beyond:
            raise InvalidScope(
                f"scopes beyond the grant: {' '.join(beyond)}; "
                f"granted: {' '.join(granted)}"
            )

    @staticmethod
    def _check_token(
        grant: UserGrant,
        allowed: Allowed,
        pick: Pick,
        caller: Caller,
        request: TokenRequest,
    ) -> None:
        """Refuse a token that is narrower than needed or wider than allowed."""
        policy, rule = allowed
        token = pick.token
        if not token.scopes:
            if rule.scopes is None:
                return
            # Nobody has said what it may do, so that no list of scopes covers it.
            raise Denied("the token's scopes are unknown", "token_scopes_unknown")
        if pick.missing:
            HandOuts._check_scopes(grant, pick.missing)
            raise InvalidScope(f"the server did not grant: {' '.join(pick.missing)}")
        if rule.covers(token.scopes):
            pick.covered_by = rule
            return
        key = request.key
        # A later rule may cover the whole token, where the first covers the request.
        wider = policy.rule_for(
            caller, key.provider, key.subject, token.scopes, token.audience
        )
        if wider is None:
            raise Denied(
                "the token has more scopes than the caller's rule covers",
                "token_wider_than_rule",
            )
