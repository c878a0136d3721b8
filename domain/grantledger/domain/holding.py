"""Legal holds: set, released and asked about; each is an event of the ledger.

A hold is in the log before it holds, and what destroys asks the log: nothing that a
hold covers is destroyed after the hold's leaf, until another leaf releases it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from uuid import UUID

from grantledger.domain.context import Context
from grantledger.domain.errors import (
    ConfigurationError,
    InvalidRequest,
    LegalHoldInForce,
    NotProvisioned,
)
from grantledger.domain.fleet import MAX_PAGE, GrantFilter, check_text
from grantledger.domain.legal_hold import MAX_HELD_GRANTS, HoldTarget, LegalHold
from grantledger.domain.maintenance import HeldStore
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.requests import Caller
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.values import GrantStatus, HoldScope

MAX_TEXT_LENGTH = 500
"""Of a reason or a ticket, in characters."""
NAMED = 3
"""How many holds an error names."""


class Holding:
    """The use cases of legal holds."""

    def __init__(self, env: Surroundings) -> None:
        self._env = env

    @property
    def _store(self) -> HeldStore:
        store = self._env.lives
        if store is None:
            raise ConfigurationError("this broker cannot hold", "lives")
        return store

    async def hold(
        self,
        caller: Caller,
        *,
        grant_id: UUID | None = None,
        user: tuple[str, str] | None = None,
        everything: bool = False,
        reason: str,
        ticket: str | None = None,
    ) -> LegalHold:
        """Put a hold on one grant, on a user's grants of now and later, or on all.

        Args:
            caller: who sets it.
            grant_id: of the one grant.
            user: (provider, subject).
            everything: every grant and the whole journal.
            reason: in words; sealed when stored.
            ticket: of the operator's own system; likewise.

        Raises:
            InvalidRequest: not exactly one is named, or a field is out of bounds.
            NotProvisioned: there is no such grant, or it is erased.
            Unavailable: nothing is held.
        """
        if (grant_id is not None) + (user is not None) + everything != 1:
            raise InvalidRequest(
                "a hold names one grant, or one user, or everything", "target"
            )
        check_text("reason", reason, MAX_TEXT_LENGTH)
        check_text("ticket", ticket, MAX_TEXT_LENGTH)
        env = self._env
        request_id = env.ids.request_id()
        hold_id = env.ids.uuid()
        while True:
            life = await self._store.life()
            target = await self._target(grant_id, user)
            ctx = env.context(caller.actor, request_id, env.policy.version)
            life.hold(ctx, hold_id=hold_id, target=target, why=(reason, ticket))
            if await self._store.append_life(life) is AppendVerdict.COMMITTED:
                return life.state.holds[-1]

    async def release(
        self, caller: Caller, hold_id: UUID, *, reason: str, ticket: str | None = None
    ) -> LegalHold:
        """End a hold; return what it was.

        Raises:
            InvalidRequest: there is no such hold in force, or a field is out of bounds.
            Unavailable: it holds on.
        """
        check_text("reason", reason, MAX_TEXT_LENGTH)
        check_text("ticket", ticket, MAX_TEXT_LENGTH)
        env = self._env
        request_id = env.ids.request_id()
        while True:
            life = await self._store.life()
            found = [hold for hold in life.state.holds if hold.id == hold_id]
            if not found:
                raise InvalidRequest(
                    f"no hold {hold_id} is in force", "hold_id", missing=True
                )
            ctx = env.context(caller.actor, request_id, env.policy.version)
            life.release(ctx, hold_id=hold_id, why=(reason, ticket))
            if await self._store.append_life(life) is AppendVerdict.COMMITTED:
                return found[0]

    async def in_force(self) -> Sequence[LegalHold]:
        """Return the holds in force, oldest first."""
        return (await self._store.life()).state.holds

    async def _target(
        self, grant_id: UUID | None, user: tuple[str, str] | None
    ) -> HoldTarget:
        if grant_id is not None:
            grant = await self._env.ledger.get(grant_id)
            if grant is None or grant.state.status is GrantStatus.ERASED:
                raise NotProvisioned(f"there is no grant {grant_id} to hold")
            return HoldTarget(HoldScope.GRANT, (grant_id,))
        if user is None:
            return HoldTarget(HoldScope.EVERYTHING)
        digest = self._store.user_digest(*user)
        grants = await grants_of(self._store, user[0], digest)
        return HoldTarget(HoldScope.SUBJECT, grants, user[0], digest)


async def grants_of(store: HeldStore, provider: str, user: str) -> tuple[UUID, ...]:
    """Return the ids of a user's grants, whatever their labels.

    Args:
        store: whose.
        provider: of the grants.
        user: by digest.

    Raises:
        InvalidRequest: a field is out of bounds, or they are more than one hold names.
    """
    wanted = GrantFilter(provider=provider)
    found: list[UUID] = []
    after: UUID | None = None
    while True:
        page = await store.page(wanted, after=after, limit=MAX_PAGE)
        found += [
            grant.id
            for grant in page.grants
            if grant.state.subject
            and store.user_digest(provider, grant.state.subject) == user
        ]
        after = page.after
        if after is None or len(found) > MAX_HELD_GRANTS:
            break
    if len(found) > MAX_HELD_GRANTS:
        raise InvalidRequest(
            f"the user has more grants than a hold may name: {MAX_HELD_GRANTS}",
            "subject",
        )
    return tuple(found)


async def extend_holds(store: HeldStore, context: Callable[[], Context]) -> None:
    """Have every hold on a user name the grants that were made after it.

    What destroys goes by the ids that the log names in clear.
    """
    while True:
        life = await store.life()
        ctx = context()
        for hold in life.state.holds:
            provider, user = hold.target.provider, hold.target.user
            if provider is None or user is None:
                continue
            known = set(hold.target.grants)
            found = await grants_of(store, provider, user)
            new = tuple(grant for grant in found if grant not in known)
            if new:
                life.extend_hold(ctx, hold.id, new)
        if not life.pending_events:
            return
        if await store.append_life(life) is AppendVerdict.COMMITTED:
            return


def check_free(
    holds: Sequence[LegalHold], grant_id: UUID, user: str | None = None
) -> None:
    """Refuse where a hold covers the grant.

    Raises:
        LegalHoldInForce: names the holds.
    """
    found = [hold.id for hold in holds if hold.covers(grant_id, user)]
    if found:
        raise held(f"grant {grant_id}", found)


def held(what: str, holds: Sequence[UUID]) -> LegalHoldInForce:
    """Return the error that says what is held, and by which holds."""
    names = ", ".join(str(hold) for hold in holds[:NAMED])
    left = len(holds) - NAMED
    more = f" and {left} more" if left > 0 else ""
    return LegalHoldInForce(f"{what} is under legal hold {names}{more}")
