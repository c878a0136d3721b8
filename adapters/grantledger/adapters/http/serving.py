"""Runs the service: an open broker behind uvicorn, until a signal ends it."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import socket
from collections.abc import AsyncGenerator, Callable, Generator, Sequence
from contextlib import (
    AbstractAsyncContextManager,
    AbstractContextManager,
    AsyncExitStack,
    ExitStack,
    asynccontextmanager,
    contextmanager,
)
from types import FrameType
from typing import cast

import uvicorn
from starlette.types import ASGIApp

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.bootstrap.watching import adding_up, sampling, watching
from grantledger.adapters.http.app import build_app, with_beside
from grantledger.adapters.http.edge import Edge
from grantledger.adapters.http.identity import (
    LAX_TYPES,
    TYPES,
    Authenticator,
    CallerIssuer,
)
from grantledger.adapters.http.key_sets import close_all, key_set
from grantledger.adapters.http.listening import (
    adopted,
    listening,
    shown,
    socket_path,
)
from grantledger.adapters.http.processes import READY, Children, Processes
from grantledger.adapters.http.protocol import HttpConnection, connections
from grantledger.adapters.http.reloading import reloading
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.transmitting import transmitters
from grantledger.adapters.settings import CallerIssuerSettings, Settings
from grantledger.adapters.settings.listening import address
from grantledger.adapters.settings.shape_http import HttpSettings
from grantledger.adapters.telemetry.watch import UNWATCHED, Watch
from grantledger.adapters.upstream.http import BoundedHttp
from grantledger.adapters.upstream.signed import SignedTokens
from grantledger.domain.errors import ConfigurationError
from grantledger.domain.ports import Clock

GRACEFUL_SECONDS = 10
STDIN, STDOUT = 0, 1
SIGNALS = (signal.SIGTERM, signal.SIGINT)
KEEP_ALIVE_SECONDS = 30
COLLECT_AFTER = (10_000, 20, 50)


Beside = Callable[[Service], AbstractAsyncContextManager[ASGIApp | None]]
"""Opens what is served beside the service, below `/console`; None: nothing."""


async def serve(
    settings: Settings, started: Callable[[str], object], beside: Beside | None = None
) -> None:
    """Serve until SIGTERM or SIGINT; requests and redemptions under way end first.

    Args:
        settings: with the policy's callers and who may authenticate them.
        started: called with the address once it is listened on.
        beside: see there.

    Raises:
        ConfigurationError: a setting is wrong, or nobody could ever call.
        LedgerError: the ledger cannot be used.
        Unavailable: the ledger cannot be used now, or the address is taken.
    """
    check(settings)

    def tell(bound: list[socket.socket]) -> None:
        for where in shown(bound, socket_path(settings)):
            started(where)

    await serve_on(settings, listening(settings), tell, beside=beside)


async def serve_by(
    settings: Settings, children: Children, started: Callable[[str], object]
) -> None:
    """Serve by children, as `serve` does.

    Raises:
        ConfigurationError, Unavailable: see there.
        NotStartedError: the first child did not get to serve, and has said why.
    """
    check(settings)
    with (
        adding_up(settings, settings.file.http) as (environment, ended),
        listening(settings) as bound,
    ):
        children = children.with_these(environment, ended)
        addresses = shown(bound, socket_path(settings))

        def tell() -> None:
            for where in addresses:
                started(where)

        await Processes(children, bound).run(tell)


async def serve_as_child(
    settings: Settings, handles: Sequence[int], beside: Beside | None = None
) -> None:
    """Serve on sockets that the parent passed on; it is told, and outlived never."""
    loop = asyncio.get_running_loop()

    def parent_says() -> None:
        if not os.read(STDIN, 1):
            loop.remove_reader(STDIN)
            os.kill(os.getpid(), signal.SIGTERM)

    def ready(_: list[socket.socket]) -> None:
        os.write(STDOUT, READY + b"\n")
        loop.add_reader(STDIN, parent_says)

    await serve_on(settings, adopted(handles), ready, alone=False, beside=beside)


def check(settings: Settings) -> None:
    """Refuse settings of a service that could not listen, or that nobody could use.

    Raises:
        ConfigurationError: names the setting.
    """
    said = settings.file.http
    if said.listen:
        address(said.listen)
    socket_path(settings)
    if not settings.has_policy:
        raise ConfigurationError(
            "callers: a service needs a policy; without, nobody has anything",
            "callers",
        )
    if not (said.issuers or said.clients or said.certificates or said.unix_peers):
        raise ConfigurationError(
            "http: name issuers of callers' tokens or clients: nobody could call",
            "http.issuers",
        )


async def serve_on(
    settings: Settings,
    listeners: AbstractContextManager[list[socket.socket]],
    ready: Callable[[list[socket.socket]], object],
    *,
    alone: bool = True,
    beside: Beside | None = None,
) -> None:
    """Serve on sockets, as `serve` does.

    Args:
        settings: see there.
        listeners: yields the sockets once the broker is open.
        ready: called with them when they are accepted on.
        alone: this process shows its metrics itself, and no parent does.
        beside: see there.
    """
    with ExitStack() as afterwards:
        telemetry = afterwards.enter_context(
            watching(settings, settings.file.http, alone=alone)
        )
        watch = telemetry or UNWATCHED
        async with (
            open_broker(settings, watch=watch) as opened,
            authenticator(settings, opened.clock, watch) as who,
            transmitters(settings, opened.clock) as senders,
            sampling(opened, settings, telemetry),
            AsyncExitStack() as beside_it,
        ):
            service = Service(opened, who, settings, senders)
            console = await beside_it.enter_async_context(
                (beside or _nothing_beside)(service)
            )
            app = with_beside(build_app(service, telemetry), console)
            config = server_config(app, settings.file.http)
            bound = afterwards.enter_context(listeners)
            server = ListeningServer(config, lambda: ready(bound), service.draining.set)
            settled()
            afterwards.enter_context(_heard_once())
            afterwards.enter_context(reloading(opened, settings))
            await server.serve(bound)


@asynccontextmanager
async def _nothing_beside(
    _service: Service,
) -> AsyncGenerator[ASGIApp | None]:
    yield None


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
        log_level="error",
        http=connections(said.read_seconds),
        # The one that is one too many counts as well.
        limit_concurrency=said.max_connections + 1,
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
    said = settings.file.http
    clients = {one.id: one.secret_hash for one in said.clients}
    async with issuers_of(settings, clock, watch) as issuers:
        yield Authenticator(issuers, clients, clock, Edge(said, clock.now))


class ListeningServer(uvicorn.Server):
    """Accepts on sockets of any family, and tells when it does, and when it ends."""

    def __init__(
        self,
        config: uvicorn.Config,
        ready: Callable[[], object],
        draining: Callable[[], object] = lambda: None,
    ) -> None:
        super().__init__(config)
        self._ready = ready
        self._draining = draining

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept, then tell."""
        bound = sockets or []
        await super().startup([s for s in bound if s.family != socket.AF_UNIX])
        loop = asyncio.get_running_loop()
        for one in bound:
            if one.family == socket.AF_UNIX:
                server = await loop.create_unix_server(self._connection, sock=one)
                self.servers.append(server)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Tell those whose answers have no end of themselves, then wait for all."""
        self._draining()
        await super().shutdown(sockets)

    def _connection(self) -> asyncio.Protocol:
        kind = cast("type[HttpConnection]", self.config.http_protocol_class)
        return kind(self.config, self.server_state, self.lifespan.state)


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
