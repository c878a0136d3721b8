"""A registrar whose ledger takes nothing, or that another process precedes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest

from grantledger.adapters.bootstrap.providers import ClientCredentials
from grantledger.adapters.bootstrap.registered import Registrar
from grantledger.adapters.bootstrap.renewing import RenewingServer
from grantledger.adapters.ledger.runner import TaskRunner
from grantledger.adapters.upstream.config import ServerConfig
from grantledger.adapters.upstream.discovery import Discovery
from grantledger.adapters.upstream.failures import not_sent
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.registration import ClientRegistration
from grantledger.domain.answers import RevocationConfirmed, TokenAnswer, UpstreamFailure
from grantledger.domain.errors import (
    ClientExpired,
    GrantledgerError,
    IntegrityError,
    Unavailable,
    WrongKey,
)
from grantledger.domain.ports import AuthorizationServer
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import (
    AccessToken,
    FailureClass,
    RefreshToken,
    Scopes,
    TokenKind,
)
from tests.bootstrap.office import (
    LIFE_SECONDS,
    MANAGE,
    Office,
    office,
)
from tests.bootstrap.scene import (
    CALLBACK,
    SCOPES,
    Home,
)
from tests.upstream.support import reply


class FullStore:
    """A store that sometimes takes nothing."""

    def __init__(self) -> None:
        self.full = False
        self.sealed: bytes | None = None
        self.error: GrantledgerError | None = None
        self.slow_seconds = 0.0

    async def client(self, provider: str) -> bytes | None:
        assert provider == "cloud"
        await asyncio.sleep(self.slow_seconds)
        if self.error is not None:
            raise self.error
        return self.sealed

    async def keep_client(self, provider: str, sealed: bytes) -> None:
        assert provider == "cloud"
        if self.full:
            raise Unavailable("the disk is full")
        self.sealed = sealed

    async def grants(self, provider: str | None = None) -> list[UserGrant]:
        assert provider == "cloud"
        return []

    async def writable(self) -> None:
        if self.error is not None:
            raise self.error


@asynccontextmanager
async def registrar(
    home: Home, at: Office, store: FullStore
) -> AsyncGenerator[Registrar]:
    config = ServerConfig(issuer=at.server.url)
    runner = TaskRunner()
    async with BoundedHttp() as http:
        discovery = Discovery(config, http, at.clock)
        yield Registrar(
            "cloud",
            SCOPES,
            store,
            home.ring,
            ClientRegistration(http, discovery, at.clock),
            discovery,
            at.clock,
            runner,
        )
        await runner.drain(1)


async def test_a_client_that_cannot_be_stored_is_not_used(home: Home) -> None:
    """Its secret would be in this process's memory alone."""
    store = FullStore()
    async with office() as at, registrar(home, at, store) as kept:
        store.full = True
        with pytest.raises(Unavailable, match="full"):
            await kept.ensure(CALLBACK)
        with pytest.raises(ClientExpired):
            await kept.usable()
        store.full = False
        await kept.ensure(CALLBACK)


async def test_a_new_secret_that_cannot_be_stored_is_used_and_stored_later(
    home: Home,
) -> None:
    """The server has already forgotten the old one."""
    store = FullStore()
    async with office() as at, registrar(home, at, store) as kept:
        await kept.ensure(CALLBACK)
        before = store.sealed
        at.clock.seconds = LIFE_SECONDS - 60
        store.full = True
        used = await kept.usable()
        assert used.secret is not None
        assert used.secret.reveal() == at.secret
        assert await kept.usable() == used
        assert (at.updates, store.sealed) == (1, before)
        store.full = False
        await kept.tend()
        assert store.sealed != before
    async with office() as at, registrar(home, at, store) as other:
        found = await other.load()
        assert found is not None
        assert found.secret == used.secret


async def test_tending_before_the_first_consent_does_nothing(home: Home) -> None:
    async with office() as at, registrar(home, at, FullStore()) as kept:
        await kept.tend()
        assert await kept.load() is None
        assert at.server.seen == []


async def test_tending_an_expired_client_is_no_error(home: Home) -> None:
    async with office() as at, registrar(home, at, FullStore()) as kept:
        await kept.ensure(CALLBACK)
        at.clock.seconds = LIFE_SECONDS
        await kept.tend()
        assert at.updates == 0


async def test_a_registration_of_another_process_ends_the_pause(home: Home) -> None:
    store = FullStore()
    async with (
        office() as at,
        registrar(home, at, store) as one,
        registrar(home, at, store) as two,
    ):
        await one.ensure(CALLBACK)
        await two.usable()
        at.server.on(MANAGE, reply({}, 503), at.update)
        at.clock.seconds = LIFE_SECONDS - 60
        await one.usable()
        await two.usable()
        at.clock.seconds += LIFE_SECONDS - 60
        await one.usable()
        assert at.updates == 3


def unreachable(credentials: ClientCredentials) -> AuthorizationServer:
    raise AssertionError(credentials.client_id)


@pytest.mark.parametrize(
    ("error", "failure"),
    [
        (Unavailable("locked"), FailureClass.TRANSIENT),
        (IntegrityError("changed"), FailureClass.MISCONFIGURED),
        (WrongKey("lost"), FailureClass.MISCONFIGURED),
        (None, FailureClass.EXPIRED_CLIENT),
    ],
)
async def test_without_a_client_nothing_is_sent_and_nothing_raised(
    home: Home, error: GrantledgerError | None, failure: FailureClass
) -> None:
    """The port's promise: a failure is an answer, and says that nothing was sent."""
    store = FullStore()
    store.error = error
    async with office() as at, registrar(home, at, store) as kept:
        server = RenewingServer(kept, unreachable)
        outcomes = (
            await server.redeem(
                RefreshToken("r"),
                scopes=(),
                audience=None,
                resource=None,
                budget_seconds=1,
            ),
            await server.exchange(
                AccessToken("a"),
                scopes=(),
                audience=None,
                resource=None,
                budget_seconds=1,
            ),
            await server.revoke("r", TokenKind.REFRESH, budget_seconds=1),
        )
        for outcome in outcomes:
            assert isinstance(outcome, UpstreamFailure)
            assert outcome.failure is failure
            assert not outcome.sent


class Budgeted:
    """A server that notes how long it was given."""

    def __init__(self) -> None:
        self.given: list[float] = []

    async def redeem(
        self,
        refresh_token: RefreshToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        assert (refresh_token, scopes, audience, resource) == (
            RefreshToken("r"),
            ("openid",),
            "files",
            "urn:x",
        )
        self.given.append(budget_seconds)
        return not_sent("noted")

    async def exchange(
        self,
        subject_token: AccessToken,
        *,
        scopes: Scopes,
        audience: str | None,
        resource: str | None,
        budget_seconds: float,
    ) -> TokenAnswer | UpstreamFailure:
        raise NotImplementedError

    async def revoke(
        self, token: str, kind: TokenKind, *, budget_seconds: float
    ) -> RevocationConfirmed | UpstreamFailure:
        raise NotImplementedError


async def test_a_request_has_what_the_client_has_left_of_the_budget(
    home: Home,
) -> None:
    """Else it could be sent after its lease, beside the one of whoever took over."""
    store, server = FullStore(), Budgeted()
    async with office() as at, registrar(home, at, store) as kept:
        await kept.ensure(CALLBACK)
        store.slow_seconds = 0.2
        outcome = await RenewingServer(kept, lambda _: server).redeem(
            RefreshToken("r"),
            scopes=("openid",),
            audience="files",
            resource="urn:x",
            budget_seconds=1.0,
        )
        assert outcome == not_sent("noted")
        assert 0 < server.given[0] <= 0.8
