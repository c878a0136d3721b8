"""Redeem a grant's refresh token once, whoever asks and however often.

The order is always: record the intent, act, record the outcome, answer. Between
two callers of one replica a shared flight saves the race; between replicas the
intent decides it. Nothing here is undone by a caller that goes away.
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass
from uuid import UUID

from grantledger.domain import orphans, refusals
from grantledger.domain.answers import TokenAnswer, UpstreamFailure
from grantledger.domain.context import Context
from grantledger.domain.errors import (
    GrantledgerError,
    InvalidRequest,
    NotProvisioned,
    Unavailable,
)
from grantledger.domain.grant_state import Intent
from grantledger.domain.ports import AppendVerdict, Lane
from grantledger.domain.provider import RetryWithinGrace
from grantledger.domain.redemption import Readiness
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    Actor,
    FailureClass,
    GrantStatus,
    Purpose,
    Scopes,
)

MAX_WATCHED = 10_000
POLL_SECONDS = 0.25
FIRST_RETRY_SECONDS = 0.05
LAST_RETRY_SECONDS = 2.0
NOT_SENT = UpstreamFailure(failure=FailureClass.TRANSIENT, sent=False, error="not_sent")


@dataclass(frozen=True, slots=True)
class Ask:
    """What one redemption asks for.

    Attributes:
        seen: version that the caller decided on; a newer token than this will do.
    """

    purpose: Purpose
    scopes: Scopes
    audience: str | None
    seen: int
    actor: Actor
    request_id: str
    policy: str = ""


class Redeemer:
    """Runs redemptions, takes over lost ones, and stores every outcome."""

    def __init__(self, env: Surroundings) -> None:
        self._env = env
        self._watched: OrderedDict[UUID, float] = OrderedDict()
        self._own: set[UUID] = set()

    async def redeem(self, provider: Provider, grant_id: UUID, ask: Ask) -> UserGrant:
        """Return the grant after a redemption, by this caller or a faster one.

        Raises:
            InvalidScope: the server refused these scopes; InvalidTarget likewise.
            ReauthorizationRequired: the refresh token is no longer usable.
            UpstreamRejected: an operator must act.
            Unavailable: nothing is lost; try again.
        """
        env = self._env
        deadline = env.clock.monotonic() + env.wait_seconds
        own = False

        async def flight() -> UserGrant:
            nonlocal own
            own = True
            return await self._flight(provider, grant_id, ask, deadline)

        while True:
            try:
                after = await env.runner.shared(("redeem", grant_id), flight)
            except InvalidRequest:
                # Of the wishes of the caller whose flight it was: ours may be granted.
                if own:
                    raise
            else:
                if own or self._serves(after, ask):
                    return after
            if env.clock.monotonic() >= deadline:
                raise Unavailable(f"grant {grant_id} is being refreshed for others")

    async def _flight(
        self, provider: Provider, grant_id: UUID, ask: Ask, deadline: float
    ) -> UserGrant:
        env = self._env
        while True:
            grant = await env.ledger.get(grant_id)
            if grant is None:
                raise NotProvisioned(f"no grant {grant_id}")
            if self._serves(grant, ask):
                return grant
            at = env.clock.now()
            ready = grant.readiness(at, provider.rules)
            if ready is Readiness.ENDED:
                raise refusals.ended(grant.state)
            if ready is Readiness.RULE_EXHAUSTED:
                await self._exhaust(provider, grant, ask)
                continue
            if ready is Readiness.BACKING_OFF:
                raise refusals.backing_off(grant.state, at)
            if ready is Readiness.LEASED:
                if env.clock.monotonic() >= deadline:
                    raise Unavailable(f"grant {grant_id} is being refreshed")
                await self.watch(provider, grant)
                continue
            outcome = await self._attempt(provider, grant, ask)
            if outcome is not None:
                return outcome

    async def _exhaust(self, provider: Provider, grant: UserGrant, ask: Ask) -> None:
        draft = grant.fork()
        draft.exhaust(self._context(ask), provider.rules)
        # Nothing, where a clock step back has just given the rule more time.
        if draft.pending_events:
            await self._env.ledger.append(draft, Lane.OUTCOME)

    @staticmethod
    def _serves(grant: UserGrant, ask: Ask) -> bool:
        """Tell whether somebody else's redemption has brought what is asked."""
        newer = [t for t in grant.state.access_tokens if t.version > ask.seen]
        if ask.purpose is Purpose.ROTATE:
            refresh = grant.state.refresh
            # A server that keeps the refresh token shows its use by a token alone.
            return refresh is not None and (refresh.version > ask.seen or bool(newer))
        return any(t.asked == ask.scopes and t.audience == ask.audience for t in newer)

    async def _attempt(
        self, provider: Provider, grant: UserGrant, ask: Ask
    ) -> UserGrant | None:
        """Intend, send, conclude; None: look again (lost the race, or may retry)."""
        env = self._env
        rules = provider.rules
        draft = grant.fork()
        resource = rules.resource_for(ask.audience)
        intent = draft.intend(
            self._context(ask),
            rules,
            purpose=ask.purpose,
            scopes=ask.scopes,
            audience=ask.audience,
            resource=resource,
        )
        refresh = draft.state.refresh
        if refresh is None:  # pragma: no cover - intend has just checked it
            return None
        started = env.clock.monotonic()
        self._own.add(intent.attempt_id)
        try:
            if not await self._intended(provider, draft, intent, ask):
                return None
            answer: TokenAnswer | UpstreamFailure
            if self._too_late(provider, intent, draft, started):
                answer = NOT_SENT
            else:
                answer = await provider.server.redeem(
                    refresh.token,
                    scopes=ask.scopes,
                    audience=ask.audience,
                    resource=resource,
                    budget_seconds=rules.http_budget_seconds,
                )
            after = await self.conclude(
                provider, grant.id, intent.attempt_id, answer, self._context(ask)
            )
        finally:
            self._own.discard(intent.attempt_id)
        if isinstance(answer, UpstreamFailure):
            unknown = answer.failure is FailureClass.AMBIGUOUS
            if unknown and after.state.usable and after.state.retry_at is None:
                return None
            if self._urgent(provider, after):
                env.runner.start(lambda: self._mend(provider, grant.id))
            raise refusals.upstream(answer, after.state)
        if not after.state.usable:
            raise refusals.ended(after.state)
        if answer.access_token is None:
            malformed = UpstreamFailure(
                failure=FailureClass.MISCONFIGURED,
                sent=True,
                error=answer.defect or "malformed_answer",
            )
            raise refusals.upstream(malformed, after.state)
        return after

    async def _intended(
        self, provider: Provider, draft: UserGrant, intent: Intent, ask: Ask
    ) -> bool:
        """Append the intent; tell whether this caller may send.

        When nobody knows whether it was stored, nothing is sent, and an intent that
        was stored after all is closed as not sent, as soon as the ledger answers.
        """
        env = self._env
        try:
            return await env.ledger.append(draft) is AppendVerdict.COMMITTED
        except Unavailable:
            ctx = self._context(ask)
            env.runner.start(
                lambda: self.conclude(
                    provider, draft.id, intent.attempt_id, NOT_SENT, ctx
                )
            )
            raise

    def _too_late(
        self, provider: Provider, intent: Intent, draft: UserGrant, started: float
    ) -> bool:
        """Tell whether the lease, or the server's grace, no longer covers a request."""
        rules = provider.rules
        waited = self._env.clock.monotonic() - started
        if waited > rules.takeover_margin_seconds:
            return True
        rule = rules.unknown_outcome
        ambiguity = draft.state.ambiguity
        if isinstance(rule, RetryWithinGrace) and ambiguity is not None:
            since = (intent.intended_at - ambiguity.first_intended_at).total_seconds()
            return since + waited >= rule.seconds
        return False

    async def conclude(
        self,
        provider: Provider,
        grant_id: UUID,
        attempt_id: UUID,
        answer: TokenAnswer | UpstreamFailure,
        ctx: Context,
    ) -> UserGrant:
        """Store what became of an attempt, however long the ledger needs.

        An answer that the ledger does not take for `spool_after_seconds` is spooled
        as well, so that a crash of this process does not lose it.
        """
        env = self._env
        started = env.clock.monotonic()
        wait = FIRST_RETRY_SECONDS
        spooled = False
        while True:
            try:
                grant = await self._store(provider, grant_id, attempt_id, answer, ctx)
            except Unavailable:
                late = env.clock.monotonic() - started >= env.spool_after_seconds
                if late and not spooled:
                    spooled = await self._spool(grant_id, attempt_id, answer)
                await env.runner.sleep(wait)
                wait = min(wait * 2, LAST_RETRY_SECONDS)
                continue
            except Exception:
                # The store has gone elsewhere, contradicts itself, or worse: somebody
                # has to look, and the answer must be there when they have.
                while not await self._spool(grant_id, attempt_id, answer):
                    await env.runner.sleep(wait)
                    wait = min(wait * 2, LAST_RETRY_SECONDS)
                raise
            if spooled:
                await env.spool.remove(attempt_id)
            return grant

    async def _spool(
        self, grant_id: UUID, attempt_id: UUID, answer: TokenAnswer | UpstreamFailure
    ) -> bool:
        if isinstance(answer, TokenAnswer):
            try:
                await self._env.spool.put(grant_id, attempt_id, answer)
            except Unavailable:
                return False
        return True

    async def _store(
        self,
        provider: Provider,
        grant_id: UUID,
        attempt_id: UUID,
        answer: TokenAnswer | UpstreamFailure,
        ctx: Context,
    ) -> UserGrant:
        env = self._env
        while True:
            grant = await env.ledger.get(grant_id)
            if grant is None:
                raise NotProvisioned(f"no grant {grant_id}")
            if grant.state.status is GrantStatus.ERASED:
                await orphans.give_back(env, provider, grant, answer)
                return grant
            draft = grant.fork()
            if isinstance(answer, TokenAnswer):
                draft.answered(
                    ctx,
                    provider.rules,
                    attempt_id,
                    answer,
                    env.fingerprints.fingerprint,
                )
            else:
                draft.failed(ctx, provider.rules, attempt_id, answer)
            if not draft.pending_events:
                return grant
            verdict = await env.ledger.append(draft, Lane.OUTCOME)
            if verdict is AppendVerdict.COMMITTED:
                return draft.fork()

    async def watch(self, provider: Provider, grant: UserGrant) -> None:
        """Wait a moment for another holder's outcome; take over a lost lease."""
        left = await self.look_after(provider, grant)
        if left > 0:
            await self._env.ledger.changed(
                grant.id, grant.version, timeout_seconds=min(left, POLL_SECONDS)
            )

    async def look_after(self, provider: Provider, grant: UserGrant) -> float:
        """Take over an attempt whose lease is over; return seconds to look again.

        Over means: by the store's own time, read under its lock, and by this
        process having watched the intent for the whole lease on its own clock.
        What that makes urgent is retried at once; 0 says that the grant has changed.
        """
        env = self._env
        now = env.clock.monotonic()
        state = grant.state
        left = POLL_SECONDS
        for intent in (state.intent, *state.displaced):
            if intent is None or intent.attempt_id in self._own:
                continue
            seen = self._watched.setdefault(intent.attempt_id, now)
            rest = intent.lease_seconds - (now - seen)
            if rest > 0:
                left = min(left, rest)
                continue
            draft = grant.fork()
            draft.take_over(env.system(), provider.rules, intent.attempt_id)
            verdict = await env.ledger.append(
                draft, Lane.OUTCOME, lease_over=intent.lease_expires_at
            )
            if verdict is not AppendVerdict.LEASE_HELD:
                self._watched.pop(intent.attempt_id, None)
                if verdict is AppendVerdict.COMMITTED and self._urgent(provider, draft):
                    env.runner.start(lambda: self._mend(provider, grant.id))
                return 0.0
        while len(self._watched) > MAX_WATCHED:
            self._watched.popitem(last=False)
        return left

    @staticmethod
    def _urgent(provider: Provider, grant: UserGrant) -> bool:
        """Tell whether the server's grace for a lost answer is running out."""
        state = grant.state
        grace = isinstance(provider.rules.unknown_outcome, RetryWithinGrace)
        return grace and state.usable and state.ambiguity is not None

    async def _mend(self, provider: Provider, grant_id: UUID) -> None:
        """Retry within the server's grace, though no caller may come in that time.

        Ends when an answer is known, or the rule allows no further try.
        """
        env = self._env
        while True:
            grant = await env.ledger.get(grant_id)
            if grant is None or not self._urgent(provider, grant):
                return
            lost = grant.state.lost[-1:]
            actor = env.system().actor
            ask = Ask(
                purpose=Purpose.ROTATE,
                scopes=lost[0].scopes if lost else (),
                audience=lost[0].audience if lost else None,
                seen=grant.version,
                actor=actor,
                request_id=env.ids.request_id(),
            )
            try:
                await self.redeem(provider, grant_id, ask)
            except Unavailable as error:
                await env.runner.sleep(error.retry_after)
            except GrantledgerError:
                return

    async def recover(self) -> int:
        """Bring spooled answers into the ledger; return how many it has taken.

        One that cannot be taken now stays where it is; the others go on.

        Raises:
            LedgerError: the spool itself cannot be read: another key, or changed.
        """
        env = self._env
        taken = 0
        for grant_id, attempt_id, answer in await env.spool.waiting():
            try:
                grant = await env.ledger.get(grant_id)
                if grant is None:
                    # Of another ledger, or of one that was restored: what it holds
                    # may be nowhere else, so it is not ours to forget.
                    continue
                if orphans.nobody_to_ask(env, grant):
                    await orphans.give_back(env, None, grant, answer)
                else:
                    provider = env.provider(grant.state.provider)
                    ctx = env.system()
                    await self._store(provider, grant_id, attempt_id, answer, ctx)
            except GrantledgerError:
                continue
            await env.spool.remove(attempt_id)
            taken += 1
        return taken

    def _context(self, ask: Ask) -> Context:
        return self._env.context(ask.actor, ask.request_id, ask.policy)
