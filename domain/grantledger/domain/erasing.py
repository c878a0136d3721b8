"""Forget a grant: ended, erased in the log, on the list outside, then destroyed.

The order is the promise. What the log says is erased and is not destroyed yet is due
work for whoever comes next; what is destroyed is on the list, so that an older state
that is restored can be made to forget it again.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime, timedelta

from grantledger.domain.context import Context
from grantledger.domain.endings import Endings, still_live
from grantledger.domain.errors import (
    ConfigurationError,
    LedgerReadOnly,
    LegalHoldInForce,
    NotProvisioned,
    StillOwed,
)
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Erased
from grantledger.domain.grant_state import GrantState, Obligation
from grantledger.domain.holding import check_free
from grantledger.domain.maintenance import Erasure, ErasureList, Maintenance
from grantledger.domain.ports import AppendVerdict, Lane, Ledger
from grantledger.domain.requests import Caller, LiveHandOut
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.values import (
    AbandonReason,
    ErasureReason,
    GrantKey,
    GrantStatus,
    RevocationReason,
)

LOOK_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class ErasureReceipt:
    """What is known after an erasure.

    Attributes:
        parts: sealed fields that were destroyed with the data key.
        abandoned: what the server was still owed, given up.
        live: tokens handed out before that have not expired: an upper bound.
        freed: whether the store has freed the destroyed bytes on its disk.
    """

    erasure: Erasure
    parts: int
    abandoned: tuple[Obligation, ...]
    live: tuple[LiveHandOut, ...]
    freed: bool


@dataclass(frozen=True, slots=True)
class Applied:
    """What applying an erasure list has done, by number of lines.

    Attributes:
        again: grants that were alive, erased again.
        finished: grants that the log says are erased, destroyed now.
        done: nothing was left to do.
        unknown: the ledger holds no such grant.
        held: a legal hold covers it; nothing is destroyed.
    """

    again: int = 0
    finished: int = 0
    done: int = 0
    unknown: int = 0
    held: int = 0

    @property
    def erased(self) -> int:
        """How many grants this has erased, or finished erasing."""
        return self.again + self.finished


class Erasing:
    """The use case; needs a store's maintenance and a list outside of it."""

    def __init__(self, env: Surroundings, endings: Endings) -> None:
        self._env = env
        self._endings = endings
        self._look_at = float("-inf")

    async def erase(
        self,
        caller: Caller,
        key: GrantKey,
        *,
        reason: ErasureReason,
        abandon: bool = False,
        thorough: bool = False,
    ) -> ErasureReceipt:
        """Destroy what a grant holds; nothing here can open its secrets afterwards.

        A living grant is revoked first, and the server asked once for each token.
        Consent after this makes a new grant with an id of its own.

        Args:
            caller: who erases it.
            key: which grant.
            reason: enumerated; stored in clear.
            abandon: erase even though the server is still owed revocations, an answer
                is still out, or the provider is not configured any more; what stays
                exposed is recorded.
            thorough: see `Maintenance.scrub`.

        Raises:
            NotProvisioned: there is no such grant, or it is erased already.
            LegalHoldInForce: a legal hold covers it; nothing was changed, unless the
                hold came meanwhile: then it may be revoked, and is not erased; or it is
                erased by the log, and destroyed after the release.
            StillOwed: the server has not confirmed everything; nothing is erased.
            ConfigurationError: no erasure list is configured.
            LedgerReadOnly: this process may not erase; nothing was changed.
            Unavailable: try again; what the log says is erased is finished by
                whoever comes next.
        """
        env = self._env
        maintenance, erasures = self._means()
        await maintenance.ready()
        await erasures.read()
        request_id = env.ids.request_id()
        receipt = str(env.ids.uuid())
        asks = key.provider in env.providers or not abandon
        while True:
            life = await maintenance.life()
            held = await env.ledger.find(key)
            if held is not None:
                user = maintenance.user_digest(key.provider, key.subject)
                check_free(life.state.holds, held.id, user)
            if asks:
                await self._endings.revoke(
                    caller, key, reason=RevocationReason.OPERATOR
                )
            grant = await env.ledger.find(key)
            if grant is None:
                raise NotProvisioned(f"no consent is stored at {key.provider}")
            state = grant.state
            if asks and state.status is not GrantStatus.REVOKED:
                continue  # consented again meanwhile
            if not abandon:
                _check_owed(state, env.clock.now())
            draft = grant.fork()
            ctx = env.context(caller.actor, request_id, env.policy.version)
            draft.erase(ctx, reason=reason, receipt=receipt)
            verdict = await env.ledger.append(
                draft, Lane.OUTCOME, holds_at=life.version
            )
            if verdict is AppendVerdict.COMMITTED:
                break
        erasure = Erasure(
            grant.id,
            receipt,
            ctx.at,
            str(reason),
            _after(ctx.at, env.backup_days),
            _after(ctx.at, env.archive_days),
        )
        live = still_live(await env.ledger.hand_outs(grant.id, ctx.at))
        parts = await _carry_out(maintenance, erasures, erasure)
        return ErasureReceipt(
            erasure=erasure,
            parts=parts,
            abandoned=_given_up(draft.pending_events, state),
            live=tuple(live),
            freed=await maintenance.scrub(thorough=thorough),
        )

    async def resume(self, *, thorough: bool = False) -> int:
        """Finish every erasure that the log knows; return how many were left over.

        What the list lacks is added to it, such as where another machine has erased.

        Raises:
            ConfigurationError: no erasure list is configured.
            LedgerReadOnly: this process may not erase.
            LegalHoldInForce: some wait for a hold to end; the others are finished.
        """
        maintenance, erasures = self._means()
        await maintenance.ready()
        listed = {erasure.grant_id for erasure in await erasures.read()}
        for erasure in await maintenance.erased():
            if erasure.grant_id not in listed:
                await erasures.add(erasure)
        left = await maintenance.unfinished()
        held: list[str] = []
        for erasure in left:
            try:
                await maintenance.destroy(erasure.grant_id)
            except LegalHoldInForce as hold:
                held.append(str(hold))
        await maintenance.scrub(thorough=thorough)
        if held:
            raise LegalHoldInForce(
                f"{len(held)} erasures wait for a legal hold to end: {held[0]}"
            )
        return len(left)

    async def tend(self) -> int:
        """Finish what was left over, where this process may; return how many.

        Looks at once, and then every `LOOK_SECONDS`: it goes through all that was
        ever erased.
        """
        maintenance, erasures = self._env.maintenance, self._env.erasures
        now = self._env.clock.monotonic()
        if maintenance is None or erasures is None or now < self._look_at:
            return 0
        self._look_at = now + LOOK_SECONDS
        left = await maintenance.unfinished()
        if not left:
            return 0
        try:
            await maintenance.ready()
        except LedgerReadOnly:
            return 0  # left to the maintenance role
        done = 0
        for erasure in left:
            with suppress(LegalHoldInForce):  # it waits for the hold to end
                await _carry_out(maintenance, erasures, erasure)
                done += 1
        if done:
            await maintenance.scrub()
        return done

    async def apply(self, caller: Caller) -> Applied:
        """Erase again what the list names and the ledger still, or again, holds.

        Raises:
            ConfigurationError: no erasure list is configured.
            IntegrityError: a line of the list was changed; what stands before it is
                not applied either.
            LedgerReadOnly: this process may not erase.
        """
        env = self._env
        maintenance, erasures = self._means()
        request_id = env.ids.request_id()
        return await apply_erasures(
            env.ledger,
            maintenance,
            erasures,
            lambda: env.context(caller.actor, request_id, env.policy.version),
        )

    def _means(self) -> tuple[Maintenance, ErasureList]:
        maintenance, erasures = self._env.maintenance, self._env.erasures
        if maintenance is None or erasures is None:
            raise ConfigurationError("no erasure list is configured", "ledger.erasures")
        return maintenance, erasures


async def apply_erasures(
    ledger: Ledger,
    maintenance: Maintenance,
    erasures: ErasureList,
    context: Callable[[], Context],
) -> Applied:
    """Erase again what the list names and the ledger holds, such as after a restore.

    Each grant gets its own receipt again. May be ended at any moment and called again.

    Args:
        ledger: the one that was restored; it takes writes.
        maintenance: of this ledger.
        erasures: kept outside of it.
        context: who does it, and when; called for every grant.

    Raises:
        IntegrityError: a line of the list was changed; nothing was applied.
        LedgerReadOnly: this process may not erase; nothing was applied.
    """
    listed = await erasures.read()
    if not listed:
        return Applied()
    await maintenance.ready()
    unfinished = {e.grant_id for e in await maintenance.unfinished()}
    counts: dict[str, int] = dict.fromkeys(
        ("again", "finished", "done", "unknown", "held"), 0
    )
    for erasure in listed:
        word: str
        try:
            word = await _erased_again(ledger, maintenance, erasure, context)
            if word == "done" and erasure.grant_id in unfinished:
                word = "finished"
            if word in ("again", "finished"):
                await maintenance.destroy(erasure.grant_id)
        except LegalHoldInForce:
            word = "held"
        counts[word] += 1
    await maintenance.scrub()
    return Applied(**counts)


async def _erased_again(
    ledger: Ledger,
    maintenance: Maintenance,
    erasure: Erasure,
    context: Callable[[], Context],
) -> str:
    """See that the log says it; return what was to be done.

    Raises:
        LegalHoldInForce: it lives, and a hold covers it.
    """
    while True:
        life = await maintenance.life()
        grant = await ledger.get(erasure.grant_id)
        if grant is None:
            return "unknown"
        if grant.state.status is GrantStatus.ERASED:
            return "done"
        state = grant.state
        user = maintenance.user_digest(state.provider, state.subject)
        check_free(life.state.holds, grant.id, user)
        draft = grant.fork()
        draft.erase(context(), reason=erasure.reason, receipt=erasure.receipt)
        verdict = await ledger.append(draft, Lane.OUTCOME, holds_at=life.version)
        if verdict is AppendVerdict.COMMITTED:
            return "again"


async def _carry_out(
    maintenance: Maintenance, erasures: ErasureList, erasure: Erasure
) -> int:
    """List it outside, then destroy it; return how many sealed parts there were."""
    await erasures.add(erasure)
    return await maintenance.destroy(erasure.grant_id)


def _after(at: datetime, days: int | None) -> datetime | None:
    return None if days is None else at + timedelta(days=days)


def _given_up(events: Sequence[object], before: GrantState) -> tuple[Obligation, ...]:
    """Return the obligations that these events end without the server's word."""
    state = before
    for event in events:
        if isinstance(event, Erased) or not isinstance(event, GrantEvent):
            break
        state = event.evolve(state)
    return tuple(o for o in state.obligations if o.abandoned is AbandonReason.ERASED)


def _check_owed(state: GrantState, now: datetime) -> None:
    """Refuse while a token may live that could still be revoked.

    Raises:
        StillOwed: says how much, and when it is tried next.
    """
    owed = state.open_obligations()
    if not owed and not state.displaced:
        return
    due = state.next_due()
    wait = max(1.0, (due - now).total_seconds()) if due else 1.0
    raise StillOwed(
        f"grant {state.grant_id} is ended, not erased: its server has not confirmed "
        f"{len(owed)} revocations and {len(state.displaced)} answers are out; "
        "erasing would leave no token to ask with",
        wait,
    )
