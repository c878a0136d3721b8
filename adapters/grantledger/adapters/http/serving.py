"""Runs the service: an open broker behind uvicorn, until a signal ends it."""

from __future__ import annotations

import gc
import signal
from collections.abc import AsyncGenerator, Callable, Generator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from types import FrameType

import uvicorn
from starlette.types import ASGIApp

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.watching import sampling, watching
from grantledger.adapters.http.app import build_app
from grantledger.adapters.http.identity import (
    LAX_TYPES,
    TYPES,
    Authenticator,
    CallerIssuer,
)
from grantledger.adapters.http.key_sets import close_all, key_set
from grantledger.adapters.http.reloading import reloading
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.transmitting import transmitters
from grantledger.adapters.http.wire import BoundedHead
from grantledger.adapters.settings import CallerIssuerSettings, Settings
from grantledger.adapters.settings.listening import address
from grantledger.adapters.settings.shape import HttpSettings
from grantledger.adapters.telemetry.watch import UNWATCHED, Watch
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.signed import SignedTokens
from grantledger.domain.errors import ConfigurationError, Unavailable
from grantledger.domain.ports import Clock

GRACEFUL_SECONDS = 10
SIGNALS = (signal.SIGTERM, signal.SIGINT)
KEEP_ALIVE_SECONDS = 30
COLLECT_AFTER = (10_000, 20, 50)


async def serve(settings: Settings, started: Callable[[str], object]) -> None:
    """Serve until SIGTERM or SIGINT; requests and redemptions under way end first.

    Args:
        settings: with the policy's callers and who may authenticate them.
        started: called with the address once it is listened on.

    Raises:
        ConfigurationError: a setting is wrong, or nobody could ever call.
        LedgerError: the ledger cannot be used.
        Unavailable: the ledger cannot be used now, or the address is taken.
    """
    said = settings.file.http
    host, port = address(said.listen)
    if not settings.has_policy:
        raise ConfigurationError(
            "callers: a service needs a policy; without, nobody has anything",
            "callers",
        )
    if not said.issuers and not said.clients:
        raise ConfigurationError(
            "http: name issuers of callers' tokens or clients: nobody could call",
            "http.issuers",
        )
    with ExitStack() as afterwards:
        telemetry = afterwards.enter_context(watching(settings, said))
        watch = telemetry or UNWATCHED
        async with (
            open_broker(settings, watch=watch) as opened,
            authenticator(settings, opened.clock, watch) as who,
            transmitters(settings, opened.clock) as senders,
            sampling(opened, settings, telemetry),
        ):
            app = build_app(Service(opened, who, settings, senders), telemetry)
            config = server_config(app, said)
            config.host, config.port = host, port
            server = AnnouncingServer(config, started)
            afterwards.enter_context(_heard_once())
            afterwards.enter_context(reloading(opened, settings))
            try:
                await server.serve()
            except SystemExit:
                # What uvicorn does where it cannot bind.
                raise Unavailable(f"cannot listen on {said.listen}") from None


def server_config(app: ASGIApp, said: HttpSettings) -> uvicorn.Config:
    """Return how an application is served; where it listens is left to the caller."""
    return uvicorn.Config(
        app,
        # Paths hold users' names: nothing is logged per request.
        access_log=False,
        log_config=None,
        lifespan="off",
        ws="none",
        proxy_headers=False,
        server_header=False,
        http=BoundedHead,
        limit_concurrency=said.max_connections,
        timeout_keep_alive=KEEP_ALIVE_SECONDS,
        timeout_graceful_shutdown=GRACEFUL_SECONDS,
    )


def settled() -> None:
    """Have the collector leave alone what lives as long as the process.

    Otherwise it looks at every module and open thing again and again, and answers
    wait for it: of 64 connections' requests the slowest took twice as long.
    """
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECT_AFTER)


@contextmanager
def _heard_once() -> Generator[None]:
    """Let a signal end the serving, and not the process with it.

    uvicorn raises the signal again once it has stopped; the broker is not drained
    and closed by then.
    """
    before = {one: signal.signal(one, _let_be) for one in SIGNALS}
    try:
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)


def _let_be(_number: int, _frame: FrameType | None) -> None:
    """Do nothing."""


@asynccontextmanager
async def issuers_of(
    settings: Settings, clock: Clock, watch: Watch = UNWATCHED
) -> AsyncGenerator[list[CallerIssuer]]:
    """Yield the issuers of callers' tokens; on leaving, their connections are closed.

    Raises:
        ConfigurationError: an issuer's settings are wrong; `field` names it.
    """
    connections: list[BoundedHttp] = []
    try:
        yield [
            _issuer(one, f"http.issuers[{n}]", settings, clock, connections, watch)
            for n, one in enumerate(settings.file.http.issuers)
        ]
    finally:
        await close_all(connections)


@asynccontextmanager
async def authenticator(
    settings: Settings, clock: Clock, watch: Watch = UNWATCHED
) -> AsyncGenerator[Authenticator]:
    """Yield what tells who calls; on leaving, its connections are closed.

    Raises:
        ConfigurationError: an issuer's settings are wrong; `field` names it.
    """
    clients = {one.id: one.secret_hash for one in settings.file.http.clients}
    async with issuers_of(settings, clock, watch) as issuers:
        yield Authenticator(issuers, clients, clock)


class AnnouncingServer(uvicorn.Server):
    """Tells its address once it listens."""

    def __init__(
        self, config: uvicorn.Config, started: Callable[[str], object]
    ) -> None:
        super().__init__(config)
        self._tell = started

    async def startup(self, sockets: object = None) -> None:
        """Listen, then tell."""
        settled()
        await super().startup(sockets)  # type: ignore[arg-type] # always None here
        for server in self.servers:
            for listening in server.sockets:
                host, port = listening.getsockname()[:2]
                shown = f"[{host}]" if ":" in host else host
                self._tell(f"http://{shown}:{port}")


def _issuer(
    said: CallerIssuerSettings,
    at: str,
    settings: Settings,
    clock: Clock,
    connections: list[BoundedHttp],
    watch: Watch,
) -> CallerIssuer:
    keys = key_set(
        said, at, settings, clock, connections, watch=watch.http(f"issuer:{said.name}")
    )
    return CallerIssuer(
        name=said.name,
        issuer=said.issuer,
        tokens=SignedTokens([said.issuer], keys, clock),
        audience=said.audience,
        claim=said.caller_claim,
        subject_claim=said.subject_claim,
        subject_providers=frozenset(said.subject_providers),
        types=TYPES if said.require_at_jwt else LAX_TYPES,
    )
