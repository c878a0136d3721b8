"""End many grants at once, such as in an incident: look first, then revoke.

What is selected is gone through piece by piece, in bounded memory but for the ids of
the grants found. Each grant ends by itself: one that fails keeps none of the others,
and a run that was cut short is run again, since what has ended stays as it is.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from functools import partial
from uuid import UUID

from grantledger.domain.endings import Endings, still_live
from grantledger.domain.errors import (
    ConfigurationError,
    GrantledgerError,
    InvalidRequest,
)
from grantledger.domain.fleet import (
    Fleet,
    GrantFilter,
    TokenPlace,
    check_text,
    check_window,
)
from grantledger.domain.grant_state import GrantState
from grantledger.domain.policy import Operation
from grantledger.domain.requests import Caller, LiveHandOut
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    MAX_NAME_LENGTH,
    GrantKey,
    GrantStatus,
    RevocationReason,
    Secret,
    TokenFingerprint,
)

AT_ONCE = 16
"""Grants that are looked at, or ended, side by side."""

MAX_FINGERPRINT_LENGTH = 200
MAX_GRANTS = 500
"""Grants that are named one by one."""


@dataclass(frozen=True, slots=True)
class Selection:
    """Which grants; all that is said has to hold, and something has to be said.

    Attributes:
        subject: exactly this user; needs `provider`.
        scope: one that consent granted.
        caller: id of one that was handed a token, in the window if there is one.
        since, until: grants that were consented to, or of which a token was obtained or
            handed out, from (inclusive) until (exclusive); aware UTC.
        fingerprint: of a token that the grant had.
        token: likewise, the token itself.
        grant_ids: these grants alone, `MAX_GRANTS` at most.

    Raises:
        InvalidRequest: names the field and its limit.
    """

    provider: str | None = None
    client_id: str | None = None
    scope: str | None = None
    label: str | None = None
    subject: str | None = None
    caller: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    fingerprint: TokenFingerprint | None = None
    token: Secret | None = None
    grant_ids: tuple[UUID, ...] = ()

    def __post_init__(self) -> None:
        """Refuse what is out of bounds."""
        said = (*self._of_the_grant(), *self._of_the_log(), *self._of_a_token())
        if all(value is None for value in said) and not self.grant_ids:
            raise InvalidRequest("name at least one criterion", "selection")
        if len(self.grant_ids) > MAX_GRANTS:
            raise InvalidRequest(
                f"{len(self.grant_ids)} grant_ids; the limit is {MAX_GRANTS}",
                "grant_ids",
            )
        check_text("caller", self.caller, MAX_NAME_LENGTH)
        check_text("fingerprint", self.fingerprint, MAX_FINGERPRINT_LENGTH)
        check_window("since", self.since, "until", self.until)
        if self.token is not None and not self.token.reveal():
            raise InvalidRequest("the token is empty", "token")
        _ = self.filter

    @property
    def filter(self) -> GrantFilter:
        """What the grant itself says."""
        return GrantFilter(
            provider=self.provider,
            label=self.label,
            subject=self.subject,
            client_id=self.client_id,
            scope=self.scope,
        )

    @property
    def walks(self) -> bool:
        """Whether the log has to be gone through."""
        return any(value is not None for value in self._of_the_log())

    @property
    def by_token(self) -> bool:
        """Whether a token is named."""
        return any(value is not None for value in self._of_a_token())

    def _of_the_grant(self) -> tuple[object, ...]:
        grant = (self.provider, self.client_id, self.scope, self.label)
        return (*grant, self.subject)

    def _of_the_log(self) -> tuple[object, ...]:
        return (self.caller, self.since, self.until)

    def _of_a_token(self) -> tuple[object, ...]:
        return (self.fingerprint, self.token)


@dataclass(frozen=True, slots=True)
class Affected:
    """What a revocation of one grant would do.

    Attributes:
        grant: as it stands.
        ends: it has not ended yet.
        owed: revocations that its server would be, or is, asked for.
        live: tokens handed out that have not expired: an upper bound. Their callers
            break first.
        error: why it could not be revoked, None where it could.
    """

    grant: GrantState
    ends: bool
    owed: int
    live: Sequence[LiveHandOut]
    error: GrantledgerError | None = None


class BulkOutcome(StrEnum):
    """What became of one grant."""

    REVOKED = "revoked"
    ALREADY = "already"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class BulkReceipt:
    """What became of one grant.

    Attributes:
        grant: after it, or as it was found where that failed.
        owed: revocations that its server is still to be asked for.
        live: tokens handed out before that have not expired: an upper bound.
        error: why it failed, None otherwise.
    """

    grant: GrantState
    outcome: BulkOutcome
    owed: int
    live: Sequence[LiveHandOut]
    error: GrantledgerError | None = None


@dataclass(slots=True)
class Totals:
    """What many lines come to.

    Attributes:
        ends: of a preview, grants that would end; of a run, grants that did.
        live: tokens, as many as were handed out and have not expired.
        callers: how many live tokens each of them was handed.
    """

    grants: int = 0
    ends: int = 0
    failed: int = 0
    owed: int = 0
    live: int = 0
    callers: dict[str, int] = field(default_factory=dict[str, int])

    def add(self, line: Affected | BulkReceipt) -> None:
        """Count a line."""
        ended = (
            line.ends
            if isinstance(line, Affected)
            else line.outcome is BulkOutcome.REVOKED
        )
        self.grants += 1
        self.ends += ended
        self.failed += line.error is not None
        self.owed += line.owed
        for one in line.live:
            self.live += one.count
            self.callers[one.caller] = self.callers.get(one.caller, 0) + one.count


class Bulk:
    """The use cases; whoever calls asks the policy for the operation first.

    A caller's rules are then asked for each grant again, and what they do not name is
    left out, as if it were not there. `local` is who may have everything, such as
    who works on the machine itself.

    Raises:
        ConfigurationError: the ledger cannot be asked about many grants.
    """

    def __init__(self, env: Surroundings, endings: Endings) -> None:
        if env.fleet is None:
            raise ConfigurationError(
                "this ledger cannot be asked about many grants", "ledger"
            )
        self._env = env
        self._fleet: Fleet = env.fleet
        self._endings = endings

    async def preview(
        self, caller: Caller, selection: Selection, *, local: bool = False
    ) -> AsyncIterator[Affected]:
        """Yield what a revocation would do to each grant; nothing is changed.

        Raises:
            Unavailable: the ledger cannot be read now.
        """
        may = self._may(caller, Operation.BULK_PREVIEW, local=local)
        async for some in self._selected(selection, may):
            for line in await self._env.runner.together(
                [partial(self._affected, caller, grant) for grant in some]
            ):
                yield line

    async def revoke_all(
        self,
        caller: Caller,
        selection: Selection,
        *,
        reason: RevocationReason = RevocationReason.INCIDENT,
        reason_text: str | None = None,
        ticket: str | None = None,
        local: bool = False,
    ) -> AsyncIterator[BulkReceipt]:
        """End each grant, effective when its receipt comes; yield a receipt for each.

        Servers are asked afterwards, by workers: no slow server keeps the next grant.
        Run again, it tells the same of what has ended, and ends what is left.

        Raises:
            Unavailable: the ledger cannot be read now; what has a receipt has ended.
        """
        may = self._may(caller, Operation.BULK_REVOKE, local=local)

        async def end(grant: UserGrant) -> BulkReceipt:
            return await self._end(caller, grant, reason, reason_text, ticket)

        async for some in self._selected(selection, may):
            for receipt in await self._env.runner.together(
                [partial(end, grant) for grant in some]
            ):
                yield receipt

    # -- one grant

    async def _affected(self, caller: Caller, grant: UserGrant) -> Affected:
        env = self._env
        entries = await env.ledger.hand_outs(grant.id, env.clock.now())
        scopes = {t.version: t.scopes for t in grant.state.access_tokens}
        live = still_live(entries, scopes)
        draft = grant.fork()
        error: GrantledgerError | None = None
        try:
            draft.revoke(
                env.context(caller.actor, env.ids.request_id(), env.policy.version),
                env.provider(grant.state.provider).rules,
                reason=RevocationReason.INCIDENT,
                reason_text=None,
                ticket=None,
            )
        except GrantledgerError as cause:
            error = cause
        return Affected(
            grant=grant.state,
            ends=bool(draft.pending_events),
            owed=len(draft.state.open_obligations()),
            live=live,
            error=error,
        )

    async def _end(
        self,
        caller: Caller,
        grant: UserGrant,
        reason: RevocationReason,
        reason_text: str | None,
        ticket: str | None,
    ) -> BulkReceipt:
        state = grant.state
        try:
            receipt = await self._endings.revoke(
                caller,
                GrantKey(state.provider, state.subject, state.label),
                reason=reason,
                reason_text=reason_text,
                ticket=ticket,
                settle=False,
            )
        except GrantledgerError as error:
            owed = len(state.open_obligations())
            return BulkReceipt(state, BulkOutcome.FAILED, owed, (), error)
        done = BulkOutcome.ALREADY if receipt.already else BulkOutcome.REVOKED
        owed = len(receipt.grant.open_obligations())
        return BulkReceipt(receipt.grant, done, owed, receipt.live)

    # -- which grants

    def _may(
        self, caller: Caller, operation: Operation, *, local: bool
    ) -> Callable[[GrantState], bool]:
        policy = self._env.policy
        return lambda state: (
            local or policy.permits(caller, operation, state.provider, state.subject)
        )

    async def _selected(
        self, selection: Selection, may: Callable[[GrantState], bool]
    ) -> AsyncIterator[list[UserGrant]]:
        """Yield the grants, a bounded number at a time.

        What is erased has nothing left that could be ended.
        """
        some: list[UserGrant] = []
        async for grant in self._found(selection):
            erased = grant.state.status is GrantStatus.ERASED
            if erased or not may(grant.state):
                continue
            some.append(grant)
            if len(some) == AT_ONCE:
                yield some
                some = []
        if some:
            yield some

    async def _found(self, selection: Selection) -> AsyncIterator[UserGrant]:
        wanted = selection.filter
        chosen = selection.grant_ids
        if not selection.by_token and not selection.walks and not chosen:
            async for grant in self._pages(wanted):
                yield grant
            return
        named = await self._named(selection) if selection.by_token else None
        if chosen:
            known = chosen if named is None else named
            named = [one for one in dict.fromkeys(chosen) if one in known]
        ids = self._walked(selection, named) if selection.walks else _each(named or ())
        async for grant_id in ids:
            found = await self._fleet.get(grant_id)
            if found is not None and wanted.matches(found):
                yield found

    async def _pages(self, wanted: GrantFilter) -> AsyncIterator[UserGrant]:
        after: UUID | None = None
        while True:
            page = await self._fleet.page(wanted, after=after)
            for grant in page.grants:
                yield grant
            after = page.after
            if after is None:
                return

    async def _named(self, selection: Selection) -> Sequence[UUID]:
        """Return the grants that had the token."""
        places: list[TokenPlace] = []
        if selection.token is not None:
            for mark in await self._fleet.fingerprints(selection.token.reveal()):
                places += await self._fleet.find_fingerprint(mark)
        if selection.fingerprint is not None:
            known = await self._fleet.find_fingerprint(selection.fingerprint)
            also = {place.grant_id for place in known}
            if selection.token is None:
                places += known
            places = [place for place in places if place.grant_id in also]
        return list(dict.fromkeys(place.grant_id for place in places))

    async def _walked(
        self, selection: Selection, named: Sequence[UUID] | None
    ) -> AsyncIterator[UUID]:
        """Yield each grant that the log speaks of in the window, once."""
        seen: set[UUID] = set()
        caller, since, until = selection.caller, selection.since, selection.until
        after: int | None = 0
        while after is not None:
            some = await self._fleet.touched(caller, since, until, after=after)
            for grant_id in sorted(some.grants - seen):
                seen.add(grant_id)
                if named is None or grant_id in named:
                    yield grant_id
            after = some.after
        if caller is not None:
            return
        # Consent that was given elsewhere, and imported at another time.
        consented = GrantFilter(
            provider=selection.provider, consented_from=since, consented_until=until
        )
        async for grant in self._pages(consented):
            if grant.id not in seen and (named is None or grant.id in named):
                yield grant.id


async def _each(ids: Sequence[UUID]) -> AsyncIterator[UUID]:
    for one in ids:
        yield one
