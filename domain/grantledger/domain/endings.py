"""End grants: here at once, then at the server until it has confirmed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import timedelta
from uuid import UUID

from grantledger.domain.answers import RevocationConfirmed, UpstreamFailure
from grantledger.domain.errors import GrantledgerError, NotProvisioned, Unavailable
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
    Scopes,
)

SETTLE_SECONDS = 5.0


class Endings:
    """Revokes, and settles what is owed to authorization servers."""

    def __init__(self, env: Surroundings, redeemer: Redeemer) -> None:
        self._env = env
        self._redeemer = redeemer
        self._stuck = 0
        self._worker = env.ids.uuid()

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
            Unavailable: the ledger cannot be used; call again: a second revocation
                of a grant changes nothing and tells the same.
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
            try:
                after = await self.settle(grant.id) or after
            except Unavailable:
                # Ended here all the same; what is owed is asked for later.
                after = draft.fork()
        entries = await env.ledger.hand_outs(grant.id, env.clock.now())
        scopes = {t.version: t.scopes for t in grant.state.access_tokens}
        live = still_live(entries, scopes)
        return RevocationReceipt(
            grant=after.state,
            already=already,
            obligations=after.state.obligations,
            live=live,
        )

    async def settle(self, grant_id: UUID) -> UserGrant | None:
        """Ask the server once for each obligation that is due; record its words.

        What another worker has claimed is left to it.
        """
        env = self._env
        return await env.runner.shared(
            ("settle", grant_id), lambda: self._settle(grant_id)
        )

    async def _settle(self, grant_id: UUID) -> UserGrant | None:
        env = self._env
        tried: set[str] = set()
        claimed = False
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
            if not claimed:
                # Read again under the claim: whoever had it before may have asked.
                claimed = await self._claim(provider, grant_id)
                if not claimed:
                    return grant
                continue
            tried.add(due[0].id)
            await self._ask(provider, grant_id, due[0])
            claimed = False

    async def _claim(self, provider: Provider, grant_id: UUID) -> bool:
        env = self._env
        return await env.duties.claim(
            grant_id, self._worker, env.clock.now(), provider.rules.lease_seconds
        )

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
        """Look after what is due: spooled answers, lost leases, obligations.

        Leases are looked at before they are over, so that this process has watched
        them when they are. A grant that cannot be looked after, because its provider
        is not configured any more, keeps nobody from the others.

        Returns how many grants were due; call it again after a while.
        """
        env = self._env
        await self._redeemer.recover()
        now = env.clock.now()
        leases = (p.rules.lease_seconds for p in env.providers.values())
        ahead = timedelta(seconds=max(leases, default=0.0))
        found = await env.ledger.due(now + ahead, limit + self._stuck)
        stuck: set[UUID] = set()
        owing: list[UUID] = []
        due = 0
        for grant_id in found:
            try:
                grant = await self._look_after(grant_id)
            except Unavailable:
                raise
            except GrantledgerError:
                stuck.add(grant_id)
                continue
            at = grant.state.next_due() if grant else None
            due += at is not None and at <= now
            if grant and grant.due_obligations(now):
                owing.append(grant_id)
        self._stuck = len(stuck)
        # No lease waits for a slow revocation endpoint: the rest is for next time.
        deadline = env.clock.monotonic() + SETTLE_SECONDS
        for grant_id in turned(owing, self._worker):
            if env.clock.monotonic() >= deadline:
                break
            try:
                await self.settle(grant_id)
            except Unavailable:
                raise
            except GrantledgerError:
                continue
        return due

    async def _look_after(self, grant_id: UUID) -> UserGrant | None:
        grant = await self._env.ledger.get(grant_id)
        if grant is not None:
            provider = self._env.provider(grant.state.provider)
            await self._redeemer.look_after(provider, grant)
        return grant


def turned(grants: Sequence[UUID], worker: UUID) -> Sequence[UUID]:
    """Return the grants in an order of this worker's own, so that few meet at one."""
    start = worker.int % max(1, len(grants))
    return [*grants[start:], *grants[:start]]


def still_live(
    entries: Iterable[AccessEntry], scopes: Mapping[int, Scopes] | None = None
) -> Sequence[LiveHandOut]:
    """Return hand-outs whose tokens have not expired, one line a caller and token.

    Args:
        entries: of the journal.
        scopes: of tokens by the version that recorded them, as far as known.
    """
    known = scopes or {}
    lines: dict[tuple[str, int | None, str], LiveHandOut] = {}
    for entry in entries:
        if entry.outcome is not Outcome.HANDED_OUT or entry.expires_at is None:
            continue
        ref = entry.token_ref
        one = "" if ref is not None else entry.request_id
        key = (entry.caller, ref, one)
        before = lines.get(key)
        lines[key] = LiveHandOut(
            caller=entry.caller,
            expires_at=entry.expires_at,
            scopes=entry.scopes if ref is None else known.get(ref, ()),
            audience=entry.audience,
            last_at=entry.at,
            count=1 + (before.count if before else 0),
        )
    return list(lines.values())
