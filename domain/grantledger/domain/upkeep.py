"""What a worker does for grants though nobody asks: expiry, rotation, hot tokens.

Several workers share it without a leader: the intent decides who redeems, and each
takes what is due in an order of its own, so that few of them meet.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from uuid import UUID

from grantledger.domain.endings import turned
from grantledger.domain.errors import GrantledgerError, LedgerError, Unavailable
from grantledger.domain.hand_out import HandOuts
from grantledger.domain.held_tokens import asked_scopes
from grantledger.domain.hot import HotToken
from grantledger.domain.pace import Pace
from grantledger.domain.ports import AppendVerdict
from grantledger.domain.redeem import Ask, Redeemer
from grantledger.domain.redemption import Readiness
from grantledger.domain.schedule import (
    EXPIRY_SLACK_SECONDS,
    rotation_due,
    times_of,
    unused_since,
)
from grantledger.domain.surroundings import Provider, Surroundings
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import FailureClass, GrantStatus, Purpose

AT_ONCE = 4
LOOK_AHEAD = 8
EXPIRED_AT_ONCE = 1000
ROUND_SECONDS = 5.0
SILENCE_SECONDS = 60.0
REST_SECONDS = 300.0

_OF_THE_PROVIDER = frozenset(
    {
        FailureClass.RATE_LIMITED,
        FailureClass.TRANSIENT,
        FailureClass.INVALID_CLIENT,
        FailureClass.EXPIRED_CLIENT,
        FailureClass.MISCONFIGURED,
        FailureClass.INVALID_TARGET,
        FailureClass.AMBIGUOUS,
    }
)


@dataclass(frozen=True, slots=True)
class Kept:
    """What one round of rotations did.

    Attributes:
        rotated: grants whose refresh token was used.
        failed: grants where that failed; each is tried again at its own time.
        paused: providers that have failed, with more left to do.
        more_in: seconds until more may be done elsewhere, None where nothing is left.
    """

    rotated: int = 0
    failed: int = 0
    paused: tuple[str, ...] = ()
    more_in: float | None = None


@dataclass(frozen=True, slots=True)
class Expired:
    """What one look for expired grants did.

    Attributes:
        grants: how many need consent now.
        more: others may be over as well; look again.
    """

    grants: int
    more: bool


class Upkeep:
    """Rotates in time, says what has expired, and renews what is asked for most."""

    def __init__(
        self, env: Surroundings, redeemer: Redeemer, hand_outs: HandOuts
    ) -> None:
        self._env = env
        self._redeemer = redeemer
        self._hand_outs = hand_outs
        self._worker = env.ids.uuid()
        self._paces: dict[str, Pace] = {}
        self._stuck: dict[str, int] = {}
        self._resting: dict[UUID, float] = {}
        self._unexpired = 0
        self._complete = False

    # -- expiry

    async def expire(self, limit: int = EXPIRED_AT_ONCE) -> Expired:
        """Ask for consent where a refresh token's stated life is over.

        Only a minute later: until then a caller may still find out from the server
        that it lives on. Grants that nobody knew when to look at are sorted in.
        """
        env = self._env
        if not self._complete:
            await env.duties.complete()
            self._complete = True
        before = env.clock.now() - timedelta(seconds=EXPIRY_SLACK_SECONDS)
        found = await env.duties.ended(before, limit + self._unexpired)
        stuck = expired = 0
        for grant_id in found:
            try:
                over = await self._expire(grant_id)
            except Unavailable:
                raise
            except GrantledgerError:
                over = None
            expired += over is True
            stuck += over is None
        more = len(found) - stuck >= limit
        self._unexpired = stuck
        return Expired(expired, more)

    async def expire_grant(self, grant_id: UUID) -> bool:
        """Ask for consent if the refresh token's stated life is over; tell if so."""
        env = self._env
        while True:
            grant = await env.ledger.get(grant_id)
            if grant is None or grant.state.status is not GrantStatus.ACTIVE:
                return False
            draft = grant.fork()
            if not draft.expire(env.system()):
                return False
            if await env.ledger.append(draft) is AppendVerdict.COMMITTED:
                return True

    async def _expire(self, grant_id: UUID) -> bool | None:
        """Tell whether it was over; None: it is, and a redemption decides first."""
        env = self._env
        if await self.expire_grant(grant_id):
            return True
        grant = await env.ledger.get(grant_id)
        times = times_of(grant.state) if grant else None
        if times and times.ends_at and times.ends_at <= env.clock.now():
            return None
        if grant:
            await env.duties.reschedule(grant)
        return False

    # -- rotation

    async def rotate(self) -> Kept:
        """Rotate what is due and may be, at each provider; return what was done.

        A provider that fails, or asks for patience, is left alone for a while; it
        keeps nobody from the others.
        """
        env = self._env
        works = [
            self._rotations(name, provider)
            for name, provider in env.providers.items()
            if provider.rules.rotates
        ]
        return _sum(await env.runner.together(works))

    def _rotations(
        self, name: str, provider: Provider
    ) -> Callable[[], Awaitable[Kept]]:
        return lambda: self._rotate_at(name, provider)

    async def _rotate_at(self, name: str, provider: Provider) -> Kept:
        env = self._env
        pace = self._pace(name, provider)
        rotated = failed = 0
        until = env.clock.monotonic() + ROUND_SECONDS
        while True:
            now = env.clock.monotonic()
            # A slow server keeps the others waiting for no longer than this.
            free = pace.free(now) if now < until else 0
            due = await self._due(name, provider, max(free, 1))
            if not due:
                return Kept(rotated, failed)
            if now < pace.paused_until:
                return Kept(rotated, failed, paused=(name,))
            if free < 1:
                return Kept(rotated, failed, more_in=pace.wait(now))
            some = due[: min(free, AT_ONCE)]
            for _ in some:
                pace.take(now)
            said = await env.runner.together(
                [self._rotation(provider, grant) for grant in some]
            )
            rotated += said.count(True)
            failed += said.count(False)

    async def _due(
        self, name: str, provider: Provider, wanted: int
    ) -> Sequence[UserGrant]:
        """Return grants to rotate now, those about to expire first."""
        env = self._env
        rules = provider.rules
        now = env.clock.now()
        skip = self._stuck.get(name, 0)
        limit = min(wanted, AT_ONCE) * LOOK_AHEAD + skip
        found: list[UUID] = []
        if rules.keep_alive:
            found += turned(await env.duties.unkept(name, now, limit), self._worker)
        since = unused_since(rules, now)
        if since and len(found) < limit:
            more = await env.duties.unused(name, since, now, limit)
            found += [one for one in turned(more, self._worker) if one not in found]
        due: list[UserGrant] = []
        stuck = 0
        at = env.clock.monotonic()
        for grant_id in found:
            if self._resting.get(grant_id, at) > at:
                stuck += 1
                continue
            try:
                grant = await env.ledger.get(grant_id)
            except Unavailable:
                raise
            except GrantledgerError:
                stuck += 1
                continue
            if grant is None or not await self._ready(provider, grant):
                stuck += 1
                continue
            due.append(grant)
            if len(due) >= min(wanted, AT_ONCE):
                break
        self._stuck[name] = stuck
        return due

    async def _ready(self, provider: Provider, grant: UserGrant) -> bool:
        """Tell whether to rotate the grant; sort it in anew where it was not due."""
        env = self._env
        now = env.clock.now()
        if not rotation_due(grant.state, provider.rules, now):
            await env.duties.reschedule(grant)
            return False
        ready = grant.readiness(now, provider.rules)
        return ready in (Readiness.READY, Readiness.RULE_EXHAUSTED)

    def _rotation(
        self, provider: Provider, grant: UserGrant
    ) -> Callable[[], Awaitable[bool]]:
        rules = provider.rules
        env = self._env
        ask = Ask(
            purpose=Purpose.ROTATE,
            scopes=asked_scopes(rules, grant, rules.default_scopes),
            audience=rules.audience,
            seen=grant.version,
            actor=env.system().actor,
            request_id=env.ids.request_id(),
        )

        async def work() -> bool:
            failed = await self._redeem(provider, grant.id, ask)
            if failed is FailureClass.INVALID_SCOPE and ask.scopes:
                # The grant was narrowed at the server; without the parameter it says
                # what is left (RFC 6749 section 6).
                failed = await self._redeem(provider, grant.id, replace(ask, scopes=()))
            if failed is not None and failed not in _OF_THE_PROVIDER:
                # Some failures leave no time in the grant: not again at once.
                now = env.clock.monotonic()
                resting = self._resting.items()
                self._resting = {one: until for one, until in resting if until > now}
                self._resting[grant.id] = now + REST_SECONDS
            return failed is None

        return work

    # -- hot tokens

    async def refresh_hot(self, hand_outs: int) -> int:
        """Refresh tokens that are asked for often, before they count as missing.

        Only what this replica hands out. What another one has refreshed is taken
        over from it. Returns how many grants have a fresh token.

        Args:
            hand_outs: of one token that make it hot.
        """
        env = self._env
        works = [
            self._refresh(token)
            for token in self._hand_outs.hot.due(env.clock.now(), hand_outs)
        ]
        fresh = 0
        while works:
            some, works = works[:AT_ONCE], works[AT_ONCE:]
            fresh += (await env.runner.together(some)).count(True)
        return fresh

    def _refresh(self, token: HotToken) -> Callable[[], Awaitable[bool]]:
        env = self._env
        ask = Ask(
            purpose=Purpose.EXCHANGE,
            scopes=token.asked,
            audience=token.audience,
            seen=token.version,
            actor=env.system().actor,
            request_id=env.ids.request_id(),
        )

        async def work() -> bool:
            provider = env.providers.get(token.provider)
            if provider is None:
                return False
            pace = self._pace(token.provider, provider)
            if env.clock.monotonic() < pace.paused_until:
                return False
            return await self._redeem(provider, token.grant_id, ask) is None

        return work

    # -- one redemption

    async def _redeem(
        self, provider: Provider, grant_id: UUID, ask: Ask
    ) -> FailureClass | None:
        """Redeem; return what it failed of, None if it went well.

        A provider that fails is paused.

        Raises:
            LedgerError, Unavailable: the ledger cannot be used.
        """
        env = self._env
        pace = self._pace(provider.rules.name, provider)
        try:
            after = await self._redeemer.redeem(provider, grant_id, ask)
        except LedgerError:
            raise
        except GrantledgerError:
            # The ledger's own trouble is raised here; the server's stands in the grant.
            grant = await env.ledger.get(grant_id)
            failure = grant.state.last_failure if grant else None
            if grant is not None and failure in _OF_THE_PROVIDER:
                retry_at = grant.state.retry_at or env.clock.now()
                asked = (retry_at - env.clock.now()).total_seconds()
                if failure is FailureClass.AMBIGUOUS:
                    # Each unanswered request may cost a grant, and nobody is waiting.
                    asked = max(asked, SILENCE_SECONDS)
                pace.failed(env.clock.monotonic(), asked, env.ids.jitter())
            return failure or FailureClass.TRANSIENT
        pace.succeeded()
        self._hand_outs.renewed(after)
        return None

    def _pace(self, name: str, provider: Provider) -> Pace:
        pace = self._paces.get(name)
        if pace is None:
            pace = self._paces[name] = Pace(
                provider.rules.rotations_per_minute, self._env.clock.monotonic()
            )
        return pace


def _sum(parts: Sequence[Kept]) -> Kept:
    return Kept(
        rotated=sum(part.rotated for part in parts),
        failed=sum(part.failed for part in parts),
        paused=tuple(name for part in parts for name in part.paused),
        more_in=min((p.more_in for p in parts if p.more_in is not None), default=None),
    )
