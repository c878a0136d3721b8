"""Ports between the use cases and the real thing that name each call as a step."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime
from uuid import UUID

from grantledger.domain.answers import (
    RevocationConfirmed,
    TokenAnswer,
    UpstreamFailure,
    VerifiedSubject,
)
from grantledger.domain.errors import Unavailable
from grantledger.domain.journal import AccessEntry
from grantledger.domain.ports import (
    AppendVerdict,
    AuthorizationServer,
    Duties,
    Lane,
    Ledger,
    Recorded,
    Spool,
    TokenVerifier,
)
from grantledger.domain.surroundings import Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    GrantKey,
    RefreshToken,
    Scopes,
    TokenKind,
)
from tests.broker.clocks import MovableClock
from tests.crash import faults
from tests.crash.passing import Passing


class LedgerSteps:
    """A ledger whose calls are steps.

    Attributes:
        refuses: names of events; an append with one of them is refused.
        waiting: moved on by `wait_seconds` whenever somebody waits for a change.
    """

    def __init__(self, inner: Ledger, passing: Passing) -> None:
        self._inner = inner
        self._passing = passing
        self.refuses: set[str] = set()
        self.waiting: MovableClock | None = None
        self.wait_seconds = 0.0

    async def find(self, key: GrantKey) -> UserGrant | None:
        self._passing.step("find")
        return await self._inner.find(key)

    async def get(self, grant_id: UUID) -> UserGrant | None:
        self._passing.step("get")
        return await self._inner.get(grant_id)

    async def append(
        self,
        grant: UserGrant,
        lane: Lane = Lane.ORDINARY,
        *,
        lease_over: datetime | None = None,
        holds_at: int | None = None,
    ) -> AppendVerdict:
        names = [type(event).__name__ for event in grant.pending_events]
        refused = self.refuses.intersection(names)
        kind = "refused" if refused else "append"
        step = self._passing.step(f"{kind} {'+'.join(names)}", writes=not refused)
        if refused:
            raise Unavailable("the ledger takes nothing")
        verdict = await self._inner.append(
            grant, lane, lease_over=lease_over, holds_at=holds_at
        )
        self._passing.at(step, "returned")
        return verdict

    async def record(self, entry: AccessEntry) -> Recorded:
        step = self._passing.step(f"record {entry.outcome}", writes=True)
        recorded = await self._inner.record(entry)
        self._passing.at(step, "returned")
        return recorded

    async def is_newest(self, grant_id: UUID, version: int) -> bool:
        self._passing.step("is_newest")
        return await self._inner.is_newest(grant_id, version)

    async def changed(
        self, grant_id: UUID, version: int, *, timeout_seconds: float
    ) -> None:
        self._passing.step("changed")
        if self.waiting is not None:
            self.waiting.wait(self.wait_seconds)
            return
        await self._inner.changed(grant_id, version, timeout_seconds=timeout_seconds)

    async def hand_outs(self, grant_id: UUID, at: datetime) -> Sequence[AccessEntry]:
        self._passing.step("hand_outs")
        return await self._inner.hand_outs(grant_id, at)

    async def due(self, now: datetime, limit: int) -> Sequence[UUID]:
        self._passing.step("due")
        return await self._inner.due(now, limit)


class ServerSteps:
    """An authorization server whose calls are steps."""

    def __init__(self, inner: AuthorizationServer, passing: Passing) -> None:
        self._inner = inner
        self._passing = passing

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        step = self._passing.step("redeem")
        answer = await self._inner.redeem(
            refresh_token,
            scopes=scopes,
            audience=audience,
            resource=resource,
            budget_seconds=budget_seconds,
        )
        self._passing.at(step, "returned")
        return answer

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        step = self._passing.step("exchange")
        answer = await self._inner.exchange(
            subject_token,
            scopes=scopes,
            audience=audience,
            resource=resource,
            budget_seconds=budget_seconds,
        )
        self._passing.at(step, "returned")
        return answer

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        step = self._passing.step("revoke")
        answer = await self._inner.revoke(token, kind, budget_seconds=budget_seconds)
        self._passing.at(step, "returned")
        return answer


class VerifierSteps:
    """A verifier whose calls are steps."""

    def __init__(self, inner: TokenVerifier, passing: Passing) -> None:
        self._inner = inner
        self._passing = passing

    async def verify(self, token: AccessToken) -> VerifiedSubject:
        self._passing.step("verify")
        return await self._inner.verify(token)


class SpoolSteps:
    """A spool whose calls are steps; `taken` lets the ledger take everything again."""

    def __init__(self, inner: Spool, passing: Passing, ledger: LedgerSteps) -> None:
        self._inner = inner
        self._passing = passing
        self._ledger = ledger

    async def put(self, grant_id: UUID, attempt_id: UUID, answer: TokenAnswer) -> None:
        step = self._passing.step("spool")
        await self._inner.put(grant_id, attempt_id, answer)
        self._passing.at(step, "returned")
        self._ledger.refuses = set()

    async def remove(self, attempt_id: UUID) -> None:
        step = self._passing.step("unspool")
        await self._inner.remove(attempt_id)
        self._passing.at(step, "returned")

    async def waiting(self) -> Sequence[tuple[UUID, UUID, TokenAnswer]]:
        self._passing.step("spooled")
        return await self._inner.waiting()


class DutiesSteps:
    """Duties whose claims are steps."""

    def __init__(self, inner: Duties, passing: Passing) -> None:
        self._inner = inner
        self._passing = passing

    async def unused(
        self, provider: str, since: Sequence[datetime], now: datetime, limit: int
    ) -> Sequence[UUID]:
        return await self._inner.unused(provider, since, now, limit)

    async def unkept(self, provider: str, now: datetime, limit: int) -> Sequence[UUID]:
        return await self._inner.unkept(provider, now, limit)

    async def ended(self, before: datetime, limit: int) -> Sequence[UUID]:
        return await self._inner.ended(before, limit)

    async def reschedule(self, grant: UserGrant) -> None:
        await self._inner.reschedule(grant)

    async def complete(self) -> int:
        return await self._inner.complete()

    async def claim(
        self, grant_id: UUID, holder: UUID, now: datetime, seconds: float
    ) -> bool:
        step = self._passing.step("claim", apart=True)
        mine = await self._inner.claim(grant_id, holder, now, seconds)
        self._passing.at(step, "returned")
        return mine


def in_steps(
    env: Surroundings, passing: Passing, fault: str = ""
) -> tuple[Surroundings, LedgerSteps]:
    """Return the surroundings with every durable port in steps, and the ledger.

    `fault` is what is wrong with them (see `faults`).
    """
    ledger = LedgerSteps(faults.ledger(env.ledger, fault), passing)
    providers = {
        name: replace(
            one,
            server=ServerSteps(faults.server(one.server, fault), passing),
            verifier=one.verifier and VerifierSteps(one.verifier, passing),
        )
        for name, one in env.providers.items()
    }
    spool = SpoolSteps(faults.spool(env.spool, fault), passing, ledger)
    duties = DutiesSteps(env.duties, passing)
    made = replace(env, ledger=ledger, duties=duties, spool=spool, providers=providers)
    return made, ledger
