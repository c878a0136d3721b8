"""What the use cases need from outside, as Protocols; adapters implement them."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable, Sequence
from datetime import datetime
from enum import StrEnum
from typing import NamedTuple, Protocol, TypeVar
from uuid import UUID

from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
    VerifiedSubject,
)
from grantledger.domain.journal import AccessEntry
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    RefreshToken,
    Scopes,
    TokenFingerprint,
    TokenKind,
)

T = TypeVar("T")


class Clock(Protocol):
    """Time, passed in."""

    def now(self) -> datetime:
        """Return the time as aware UTC."""
        ...

    def monotonic(self) -> float:
        """Return seconds that no clock step moves."""
        ...


class Ids(Protocol):
    """Identity and randomness, passed in."""

    def uuid(self) -> UUID:
        """Return a fresh random id."""
        ...

    def request_id(self) -> str:
        """Return a fresh short id for one request, at most 40 characters."""
        ...

    def jitter(self) -> float:
        """Return a number in [0, 1) for spreading retries."""
        ...


class Fingerprinter(Protocol):
    """Keyed fingerprints, so that a stored one is no oracle for guessing."""

    def fingerprint(self, kind: TokenKind, token: str) -> TokenFingerprint:
        """Return the token's fingerprint under the current key."""
        ...


class Signer(Protocol):
    """Signs checkpoints of the log (Ed25519, RFC 8032)."""

    @property
    def public_key(self) -> bytes:
        """The 32 bytes by which others check."""
        ...

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of the message."""
        ...


class AuthorizationServer(Protocol):
    """One provider's authorization server.

    No method raises for what the server or the network does: an
    `UpstreamFailure` says it. Cancellation is the only exception that passes.
    """

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Send the refresh token once (RFC 6749 section 6); never retries itself.

        `scopes` empty means that the parameter is left out.
        """
        ...

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        """Exchange a session token (RFC 8693 section 2.1)."""
        ...

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        """Ask for revocation (RFC 7009); `unsupported` where there is no endpoint."""
        ...


class TokenVerifier(Protocol):
    """Verifies session tokens presented for exchange."""

    async def verify(self, token: AccessToken) -> VerifiedSubject:
        """Return who the token speaks for.

        Raises:
            InvalidSubjectToken: it does not verify.
            Unavailable: the keys could not be fetched.
        """
        ...


class AppendVerdict(StrEnum):
    """What became of one unit of an append."""

    COMMITTED = "committed"
    CONFLICT = "conflict"
    LEASE_HELD = "lease_held"


class RecordVerdict(StrEnum):
    """What became of one journal entry."""

    RECORDED = "recorded"
    STALE = "stale"


class Lane(StrEnum):
    """How an append queues: outcomes and revocations are never refused."""

    ORDINARY = "ordinary"
    OUTCOME = "outcome"


class Recorded(NamedTuple):
    """A verdict and when it was reached, on the monotonic clock."""

    verdict: RecordVerdict
    committed_at: float


class AccessJournal(Protocol):
    """Where it is recorded that somebody read, or was refused."""

    async def record(self, entry: AccessEntry) -> Recorded:
        """Make the entry durable; see `Ledger.record`."""
        ...


class Ledger(Protocol):
    """The store: decisions start from a row, appends prove it was current."""

    async def find(self, key: GrantKey) -> UserGrant | None:
        """Return the grant rebuilt from its row, None when there is none.

        Raises:
            IntegrityError: the row's code does not match, or it is not the newest.
            Unavailable: the store cannot be read now.
        """
        ...

    async def get(self, grant_id: UUID) -> UserGrant | None:
        """Return the grant of this id, as `find` does."""
        ...

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        """Store the grant's pending events and its row in one transaction.

        An ambiguous commit is resolved by writing at that version again.

        Args:
            grant: with its pending events; the ledger does not change it.
            lane: OUTCOME is never refused for a full queue.
            lease_over: refuse (LEASE_HELD) unless the store's own time, read under
                its lock, is past this.
            holds_at: refuse (CONFLICT) unless the ledger's own stream, which says
                what is under legal hold, is still at this version.

        Raises:
            Unavailable: the queue is full, or the store cannot be written.
        """
        ...

    async def record(self, entry: AccessEntry) -> Recorded:
        """Make a journal entry durable, checked against its grant's newest version.

        STALE when `entry.grant_version` is not the stream's newest: nothing was
        recorded, and the caller decides again.

        Raises:
            RateLimited: this caller is over its rate.
            Unavailable: the queue is full, or the store cannot be written.
        """
        ...

    async def is_newest(self, grant_id: UUID, version: int) -> bool:
        """Tell whether `version` is the grant's newest."""
        ...

    async def changed(
        self, grant_id: UUID, version: int, *, timeout_seconds: float
    ) -> None:
        """Return once the grant is past `version`, or after the time-out."""
        ...

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        """Return the grant's journal entries whose tokens live on at `at`."""
        ...

    async def due(self, now: datetime, limit: int) -> Sequence[UUID]:
        """Return grants whose obligations or expired leases are due, oldest first."""
        ...


class Duties(Protocol):
    """What workers look up, and claim so that no two do the same work."""

    async def unused(
        self, provider: str, since: Sequence[datetime], now: datetime, limit: int
    ) -> Sequence[UUID]:
        """Return usable grants whose refresh token was not used since `since[slot]`.

        Those whose last failure forbids another try before `now` are left out.
        """
        ...

    async def unkept(self, provider: str, now: datetime, limit: int) -> Sequence[UUID]:
        """Return usable grants whose refresh token has to be used to live on.

        The soonest to end first; left out are those that `unused` leaves out.
        """
        ...

    async def ended(self, before: datetime, limit: int) -> Sequence[UUID]:
        """Return usable grants whose refresh token's stated life is over by `before`.

        Likewise those of which nobody knows when to look after them.
        """
        ...

    async def reschedule(self, grant: UserGrant) -> None:
        """Find the grant from now on when its state says so."""
        ...

    async def complete(self) -> int:
        """Have every usable grant that no look-up finds looked at; return how many."""
        ...

    async def claim(
        self, grant_id: UUID, holder: UUID, now: datetime, seconds: float
    ) -> bool:
        """Make the grant's obligations the holder's alone; tell whether they are.

        A claim of its own is prolonged. It stands between workers only: that an
        answer is recorded once is decided by the grant's version.

        Args:
            grant_id: whose obligations.
            holder: a worker, the same for as long as it runs.
            now: aware UTC.
            seconds: for how long, unless it is claimed again.
        """
        ...


class Spool(Protocol):
    """Answers that the ledger could not take yet, sealed on local disk."""

    async def put(self, grant_id: UUID, attempt_id: UUID, answer: TokenAnswer) -> None:
        """Make the answer durable (fsync, mode 0600)."""
        ...

    async def remove(self, attempt_id: UUID) -> None:
        """Forget an answer that the ledger now holds."""
        ...

    async def waiting(self) -> Sequence[tuple[UUID, UUID, TokenAnswer]]:
        """Return (grant id, attempt id, answer) of every spooled answer."""
        ...


class Runner(Protocol):
    """Runs work apart from its callers, so that cancelling one stops nothing."""

    async def shared(self, key: Hashable, work: Callable[[], Awaitable[T]]) -> T:
        """Run `work` once for all concurrent callers of `key`; shielded from them."""
        ...

    async def together(self, works: Sequence[Callable[[], Awaitable[T]]]) -> list[T]:
        """Return what each gives, once all have ended; raise what the first raised."""
        ...

    def start(self, work: Callable[[], Awaitable[object]]) -> None:
        """Run `work` with nobody waiting for it."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Wait."""
        ...
