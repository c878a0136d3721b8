"""Many grants at one server, and workers that share them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from grantledger.adapters.devserver import Profile
from grantledger.adapters.devserver.tokens import sha256
from grantledger.domain.ports import Clock
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey
from tests.broker.clocks import MovableClock
from tests.broker.conftest import Start
from tests.broker.scene import Life, Scene

LIFE_SECONDS = 900
GENERIC: dict[str, Any] = {
    "preset": "generic",
    "unknown_outcome": {"rule": "retry_once"},
}


@dataclass
class Herd:
    """A scene's grants `user-0`, `user-1`, ... over one clock.

    Attributes:
        clock: of every worker and of the server.
    """

    scene: Scene
    clock: MovableClock
    keys: list[GrantKey] = field(default_factory=list[GrantKey])

    async def join(self, life: Life, size: int, seconds: float | None = None) -> None:
        """Let users consent, now; `seconds`: the stated life of what they give."""
        ends: datetime | None = None
        if seconds is not None:
            ends = self.clock.now() + timedelta(seconds=seconds)
        for number in range(len(self.keys), len(self.keys) + size):
            key = GrantKey("cloud", f"user-{number}")
            self.keys.append(key)
            given = self.scene.consent(key=key)
            await life.provision(replace(given, refresh_expires_at=ends))

    async def grants(self, life: Life) -> list[UserGrant]:
        found = [await life.broker.status(key) for key in self.keys]
        return [grant for grant in found if grant is not None]

    async def check(self, life: Life) -> None:
        """Every grant is the server's newest, replays, and was redeemed in its turn."""
        live = {
            family.refresh_sha256: family.user
            for family in self.scene.server.state.families.values()
        }
        for grant in await self.grants(life):
            refresh = grant.state.refresh
            assert refresh is not None
            assert live[sha256(refresh.token.reveal())] == grant.state.subject
        await self.check_states(life)
        assert max(self.scene.times_presented().values(), default=0) <= 1

    async def check_states(self, life: Life) -> None:
        """Replay gives every grant's live state."""
        for grant in await self.grants(life):
            replayed = await life.opened.ledger.replay(grant.id)
            assert replayed is not None
            assert replayed.state == grant.state


def begun(
    start: Start,
    profile: Profile = "B",
    life: int | None = LIFE_SECONDS,
    **said: Any,  # noqa: ANN401 - of the provider's settings
) -> Herd:
    """A server and a scene over one clock; its refresh tokens live so long."""
    clock = MovableClock()
    server = {
        "clock": lambda: clock.now().timestamp(),
        "refresh_token_seconds": life,
    }
    return Herd(start(profile, server=server, **said), clock)


def redemptions(scene: Scene) -> int:
    return len(scene.server.state.redemptions)


@asynccontextmanager
async def workers(
    scene: Scene, count: int, clock: Clock | None = None
) -> AsyncGenerator[list[Life]]:
    """Open so many brokers over the scene's one ledger."""
    async with AsyncExitStack() as stack:
        yield [
            await stack.enter_async_context(scene.open(clock=clock, provision=False))
            for _ in range(count)
        ]
