"""End grants: here at once, then at the server until it has confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from uuid import UUID

from grantledger.domain.answers import RevocationConfirmed, UpstreamFailure
from grantledger.domain.errors import NotProvisioned
from grantledger.domain.grant_state import Obligation
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.redeem import Redeemer
from grantledger.domain.requests import Caller, LiveHandOut, RevocationReceipt
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    FailureClass,
    GrantKey,
    Outcome,
    RevocationReason,
)


class Endings:
    """Revokes, and settles what is owed to authorization servers."""

    def __init__(self, env: Surroundings, redeemer: Redeemer) -> None:
        self._env = env
        self._redeemer = redeemer

    async def revoke(
        self,
        caller: Caller,
        key: GrantKey,
        *,
        reason: RevocationReason,
        reason_text: str | None = None,
        ticket: str | None = None,
        settle: bool = True,
    ) -> RevocationReceipt:
        """End the grant; from the commit on, no hand-out of it commits.

        Args:
            caller: who ends it.
            key: which grant.
            reason: enumerated; stored in clear.
            reason_text: in words; sealed when stored.
            ticket: of the operator's own system; sealed when stored.
            settle: ask the server at once, one try for each token; the rest is left
                to later tries.

        Raises:
            NotProvisioned: there is no such grant.
            Unavailable: the ledger cannot be written; nothing was revoked.
        """
        env = self._env
        provider = env.provider(key.provider)
        request_id = env.ids.request_id()
        while True:
            grant = await env.ledger.find(key)
            if grant is None:
                raise NotProvisioned(f"no consent is stored at {key.provider}")
            draft = grant.fork()
            draft.revoke(
                env.context(caller.actor, request_id, env.policy.version),
                provider.rules,
                reason=reason,
                reason_text=reason_text,
                ticket=ticket,
            )
            already = not draft.pending_events
            if already or (
                await env.ledger.append(draft, Lane.OUTCOME) is AppendVerdict.COMMITTED
            ):
                break
        after = draft.fork()
        if settle:
            after = await self.settle(grant.id) or after
        live = still_live(await env.ledger.hand_outs(grant.id, env.clock.now()))
        return RevocationReceipt(
            grant=after.state,
            already=already,
            obligations=after.state.obligations,
            live=live,
        )

    async def settle(self, grant_id: UUID) -> UserGrant | None:
        """Ask the server once for each obligation that is due; record its words."""
        env = self._env
        return await env.runner.shared(
            ("settle", grant_id), lambda: self._settle(grant_id)
        )

    async def _settle(self, grant_id: UUID) -> UserGrant | None:
        env = self._env
        tried: set[str] = set()
        while True:
            grant = await env.ledger.get(grant_id)
            if grant is None:
                return None
            provider = env.provider(grant.state.provider)
            due = [
                o for o in grant.due_obligations(env.clock.now()) if o.id not in tried
            ]
            if not due:
                return grant
            tried.add(due[0].id)
            await self._ask(provider, grant_id, due[0])

    async def _ask(
        self, provider: Provider, grant_id: UUID, obligation: Obligation
    ) -> None:
        env = self._env
        answer: RevocationConfirmed | UpstreamFailure
        if not provider.rules.revocation or obligation.token is None:
            answer = UpstreamFailure(
                failure=FailureClass.UNSUPPORTED, sent=False, error="no_endpoint"
            )
        else:
            answer = await provider.server.revoke(
                obligation.token,
                obligation.kind,
                budget_seconds=provider.rules.http_budget_seconds,
            )
        ctx = env.system()
        while True:
            grant = await env.ledger.get(grant_id)
            if grant is None:
                return
            draft = grant.fork()
            if any(o.id == obligation.id for o in draft.due_obligations(ctx.at)):
                draft.revocation_answered(ctx, provider.rules, obligation.id, answer)
            if not draft.pending_events:
                return
            verdict = await env.ledger.append(draft, Lane.OUTCOME)
            if verdict is AppendVerdict.COMMITTED:
                return

    async def tend(self, limit: int = 100) -> int:
        """Look after grants that are due: lost leases, obligations.

        Returns how many were looked at; call it again after a while.
        """
        env = self._env
        due = await env.ledger.due(env.clock.now(), limit)
        for grant_id in due:
            grant = await env.ledger.get(grant_id)
            if grant is None:
                continue
            state = grant.state
            if state.intent is not None or state.displaced:
                await self._redeemer.watch(env.provider(state.provider), grant)
            if state.open_obligations():
                await self.settle(grant_id)
        return len(due)


def still_live(entries: Iterable[AccessEntry]) -> Sequence[LiveHandOut]:
    """Return hand-outs whose tokens have not expired, one line a caller and token."""
    lines: dict[tuple[str, int | None, str], LiveHandOut] = {}
    for entry in entries:
        if entry.outcome is not Outcome.HANDED_OUT or entry.expires_at is None:
            continue
        one = "" if entry.token_ref is not None else entry.request_id
        key = (entry.caller, entry.token_ref, one)
        before = lines.get(key)
        lines[key] = LiveHandOut(
            caller=entry.caller,
            expires_at=entry.expires_at,
            scopes=entry.scopes,
            audience=entry.audience,
            last_at=entry.at,
            count=1 + (before.count if before else 0),
        )
    return list(lines.values())
