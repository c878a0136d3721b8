"""Receivers of security events are told of every grant that was revoked.

Each is owed a notice for every `Revoked` event since it was first known here. A notice
is tried until its receiver acknowledges it, with the same id each time; that it did,
or was never told, is an entry of the journal.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import partial
from typing import Protocol
from uuid import UUID

from grantledger.domain.context import backoff_seconds
from grantledger.domain.event_base import GrantEvent
from grantledger.domain.grant_events import Revoked
from grantledger.domain.journal import MAX_REASON_LENGTH, AccessEntry, EntryPrivate
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import ActorKind, GrantStatus, Outcome

GIVE_UP_AFTER = timedelta(days=7)
LEASE_SECONDS = 60.0
"""How long one try may take: nobody else tries before."""
FIRST_WAIT_SECONDS = 5.0
AT_ONCE = 100
ROUND_SECONDS = 30.0
"""After so long no other notice of a receiver is tried in this round."""
LEAVES_AT_ONCE = 2_000
MAX_WAIT_SECONDS = 86_400.0


@dataclass(frozen=True, slots=True)
class Owed:
    """One notice that a receiver is owed.

    Attributes:
        leaf_index: of the Revoked event.
        attempts: tries so far.
        due_at: aware UTC, when it may be tried.
    """

    receiver: str
    leaf_index: int
    grant_id: UUID
    attempts: int
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Notice:
    """What a receiver is told: no token, no fingerprint.

    Attributes:
        id: the same at every try; unique for the receiver.
        subject: the user at its provider, None once erased.
        revoked_at: aware UTC.
        request_id: of the revocation.
        initiator: what sort of principal has revoked it.
        reason: a `RevocationReason`.
    """

    id: str
    receiver: str
    grant_id: UUID
    provider: str
    subject: str | None
    revoked_at: datetime
    request_id: str
    initiator: ActorKind
    reason: str

    def __repr__(self) -> str:
        """Show nothing of its subject."""
        return f"Notice(id={self.id!r}, receiver={self.receiver!r})"


@dataclass(frozen=True, slots=True)
class Told:
    """What came of one try.

    Attributes:
        error: a word for why it was not acknowledged, None where it was.
        detail: the receiver's own words.
        retry_after: seconds that the receiver asks for.
    """

    error: str | None = None
    detail: str | None = None
    retry_after: float | None = None


class Receiver(Protocol):
    """One receiver."""

    @property
    def providers(self) -> frozenset[str]:
        """Whose grants it is told of; empty for all."""
        ...

    @property
    def polls(self) -> bool:
        """Whether it asks by itself (RFC 8936), and nothing is sent to it."""
        ...

    async def push(self, notice: Notice) -> Told:
        """Send the notice once (RFC 8935); never raises for what the receiver does."""
        ...


class Outbox(Protocol):
    """What receivers are owed, kept in the store."""

    async def look(self, receiver: str, limit: int) -> int:
        """Owe the receiver the next leaves' revocations; return how many leaves.

        Exactly once, whoever looks at the same time. A receiver that is not known yet
        is owed what is revoked from now on.
        """
        ...

    async def owed(
        self, receiver: str, due: datetime | None, limit: int, *, after: int = -1
    ) -> Sequence[Owed]:
        """Return what is due by a time, or all; by leaf, those after `after`."""
        ...

    async def lease(self, owed: Owed, until: datetime) -> Owed | None:
        """Count a try, and let nobody else try before a time; None: somebody has."""
        ...

    async def postpone(self, owed: Owed, until: datetime) -> None:
        """Let nobody try before a time, where nobody has tried meanwhile."""
        ...

    async def done(self, owed: Owed) -> None:
        """Owe it no more."""
        ...

    async def waiting(self) -> Mapping[str, int]:
        """Return how many notices are owed, by receiver."""
        ...


class Events(Protocol):
    """The log, as far as it is read here."""

    async def event_at(self, leaf_index: int) -> GrantEvent | None:
        """Return the event of a grant that is this leaf, None where it is none."""
        ...


class Announcing:
    """The use case: looks what was revoked, and tells the receivers.

    Args:
        env: surroundings.
        outbox: of the ledger.
        events: of the same.
        receivers: by name.
    """

    def __init__(
        self,
        env: Surroundings,
        outbox: Outbox,
        events: Events,
        receivers: Mapping[str, Receiver],
    ) -> None:
        self._env = env
        self._outbox = outbox
        self._events = events
        self.receivers = receivers

    async def tend(self) -> int:
        """Look at what is new, and try what is due; return how many were told.

        Raises:
            Unavailable: the ledger cannot be read or written now; what is owed stays.
        """
        counts = await self._env.runner.together(
            [
                partial(self._tend, name, receiver)
                for name, receiver in self.receivers.items()
            ]
        )
        return sum(counts)

    async def _tend(self, name: str, receiver: Receiver) -> int:
        """Do so for one receiver: a slow one holds up no other."""
        await self._look(name)
        told = 0
        now = self._env.clock.now()
        until = now + timedelta(seconds=ROUND_SECONDS)
        for owed in await self._outbox.owed(name, now, AT_ONCE):
            if self._env.clock.now() >= until:
                # The next round of all the others waits for this one.
                break
            if receiver.polls:
                await self._wait_for(receiver, owed)
            else:
                told += await self._tell(receiver, owed)
        return told

    async def _look(self, name: str) -> None:
        """Owe a receiver all that was revoked so far."""
        while await self._outbox.look(name, LEAVES_AT_ONCE) == LEAVES_AT_ONCE:
            pass

    async def notices(
        self, name: str, limit: int, *, after: int = -1
    ) -> list[tuple[Owed, Notice]]:
        """Return the oldest notices that a receiver is owed, for it to take."""
        receiver = self.receivers[name]
        await self._look(name)
        found: list[tuple[Owed, Notice]] = []
        while len(found) < limit:
            some = await self._outbox.owed(name, None, limit - len(found), after=after)
            for owed in some:
                after = owed.leaf_index
                notice = await self._notice(owed)
                if notice is not None and _concerns(receiver, notice):
                    found.append((owed, notice))
                else:
                    await self._outbox.done(owed)
            if not some:
                break
        return found

    async def acknowledged(self, name: str, notice_id: str, told: Told) -> bool:
        """Record a receiver's word on a notice; False where it is not owed that one.

        Args:
            name: of the receiver.
            notice_id: as the notice said it.
            told: acknowledged, or refused: then it is not told again.
        """
        leaf = _leaf_of(notice_id)
        if leaf is None:
            return False
        for owed in await self._outbox.owed(name, None, 1, after=leaf - 1):
            notice = await self._notice(owed)
            if notice is not None and notice.id == notice_id:
                await self._close(owed, notice, told)
                return True
        return False

    # -- one notice

    async def _tell(self, receiver: Receiver, owed: Owed) -> int:
        notice = await self._notice(owed)
        if notice is None or not _concerns(receiver, notice):
            await self._outbox.done(owed)
            return 0
        now = self._env.clock.now()
        wait = backoff_seconds(
            owed.attempts, self._env.ids.jitter(), base=FIRST_WAIT_SECONDS
        )
        # The intent to try: cut short after it, it is tried again after the lease.
        leased = await self._outbox.lease(
            owed, now + timedelta(seconds=max(LEASE_SECONDS, wait))
        )
        if leased is None:
            return 0
        told = await receiver.push(notice)
        if told.error is None:
            await self._close(leased, notice, told)
            return 1
        now = self._env.clock.now()
        if now - notice.revoked_at >= GIVE_UP_AFTER:
            await self._close(leased, notice, told)
            return 0
        wait = max(wait, min(told.retry_after or 0.0, MAX_WAIT_SECONDS))
        await self._outbox.postpone(leased, now + timedelta(seconds=wait))
        return 0

    async def _wait_for(self, receiver: Receiver, owed: Owed) -> None:
        """Give up what a receiver has not asked for in time."""
        notice = await self._notice(owed)
        now = self._env.clock.now()
        if notice is None or not _concerns(receiver, notice):
            await self._outbox.done(owed)
        elif now - notice.revoked_at >= GIVE_UP_AFTER:
            await self._close(owed, notice, Told("not_asked_for"))
        else:
            await self._outbox.postpone(owed, notice.revoked_at + GIVE_UP_AFTER)

    async def _close(self, owed: Owed, notice: Notice, told: Told) -> None:
        """Record how it ended, then owe it no more."""
        env = self._env
        grant = await env.ledger.get(owed.grant_id)
        acknowledged = told.error is None
        await env.ledger.record(
            AccessEntry(
                at=env.clock.now(),
                outcome=(
                    Outcome.EVENT_ACKNOWLEDGED
                    if acknowledged
                    else Outcome.EVENT_ABANDONED
                ),
                caller=notice.receiver,
                request_id=notice.request_id,
                provider=notice.provider,
                grant_id=grant.id if grant else None,
                grant_version=grant.version if grant else 0,
                generation=grant.state.generation if grant else 0,
                reason=told.error or "acknowledged",
                policy=env.policy.version,
                private=EntryPrivate(
                    jti=notice.id,
                    detail=(told.detail or "")[:MAX_REASON_LENGTH] or None,
                ),
            )
        )
        await self._outbox.done(owed)

    async def _notice(self, owed: Owed) -> Notice | None:
        """Return what the receiver is told, None where no grant was revoked there."""
        event = await self._events.event_at(owed.leaf_index)
        grant = await self._env.ledger.get(owed.grant_id)
        if not isinstance(event, Revoked) or grant is None:
            return None
        return Notice(
            id=f"{event.event_id.hex}.{owed.leaf_index}.{owed.receiver}",
            receiver=owed.receiver,
            grant_id=owed.grant_id,
            provider=grant.state.provider,
            subject=_subject(grant),
            revoked_at=event.timestamp,
            request_id=event.request_id,
            initiator=event.actor_kind,
            reason=event.reason,
        )


def _concerns(receiver: Receiver, notice: Notice) -> bool:
    return not receiver.providers or notice.provider in receiver.providers


def _subject(grant: UserGrant) -> str | None:
    ended = grant.state.status is GrantStatus.ERASED
    return None if ended else grant.state.subject


def _leaf_of(notice_id: str) -> int | None:
    """Return which leaf a notice's id names, None where it can be none."""
    _, _, rest = notice_id.partition(".")
    number, _, _ = rest.partition(".")
    return int(number) if number.isascii() and number.isdigit() else None
