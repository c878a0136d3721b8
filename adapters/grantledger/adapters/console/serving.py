"""The console of who runs this machine: on loopback, behind a link that works once."""

from __future__ import annotations

import secrets
from collections.abc import AsyncGenerator, Callable
from contextlib import ExitStack, asynccontextmanager, closing

from starlette.types import ASGIApp

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.console.app import build_console
from grantledger.adapters.console.entering import ENTER, OneTimeLink
from grantledger.adapters.console.sessions import Sessions
from grantledger.adapters.console.signing_in import SIGN_IN, sign_in_of
from grantledger.adapters.console.visitors import Console
from grantledger.adapters.http.browsers import origin_of
from grantledger.adapters.http.edge import Edge
from grantledger.adapters.http.listening import bound_to
from grantledger.adapters.http.service import Service
from grantledger.adapters.http.serving import ListeningServer, server_config
from grantledger.adapters.http.streams import Streams
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.settings import HttpSettings, Settings
from grantledger.domain.values import Secret

LOOPBACK = "127.0.0.1"
SECRET_BYTES = 32


@asynccontextmanager
async def console_of(service: Service) -> AsyncGenerator[ASGIApp | None]:
    """Yield the console of a service, None where the settings name no server for it.

    Raises:
        ConfigurationError: a setting is wrong; `field` names it.
    """
    opened, settings = service.opened, service.settings
    public_url = settings.file.http.public_url
    if settings.file.console.issuer is None or public_url is None:
        yield None
        return
    sealer = CookieSealer(opened.ring, secrets.token_bytes)
    ids = opened.broker.env.ids
    async with sign_in_of(settings, public_url, sealer, opened.clock, ids) as sign_in:
        console = Console(
            opened,
            settings,
            Sessions(sealer, secure=sign_in.secure, local=False),
            origin_of(public_url),
            service.who.edge,
            service.streams,
            SIGN_IN,
        )
        yield build_console(console, sign_in=sign_in)


async def serve_console(
    opened: OpenBroker,
    settings: Settings,
    caller: str,
    port: int,
    started: Callable[[str], object],
) -> None:
    """Serve the console on loopback until SIGTERM or SIGINT.

    Args:
        opened: whose ledger is shown.
        settings: of that broker.
        caller: id of who runs this machine: the record names it.
        port: to listen on; 0 for any free one.
        started: called with the link once it is listened on.

    Raises:
        Unavailable: the port is taken.
    """
    with ExitStack() as afterwards:
        bound = [
            afterwards.enter_context(closing(one))
            for one in bound_to(f"{LOOPBACK}:{port}", LOOPBACK, port)
        ]
        origin = f"http://{LOOPBACK}:{bound[0].getsockname()[1]}"
        secret = secrets.token_urlsafe(SECRET_BYTES)
        link = OneTimeLink.made(Secret(secret), caller, opened.clock.now())
        sealer = CookieSealer(opened.ring, secrets.token_bytes)
        sessions = Sessions(sealer, secure=False, local=True)
        # Nothing stands before this one: no proxy of the service is believed.
        alone = HttpSettings()
        edge = Edge(alone, opened.clock.now)
        console = Console(opened, settings, sessions, origin, edge, Streams())
        config = server_config(build_console(console, link), alone)
        server = ListeningServer(config, lambda: started(f"{origin}{ENTER}#{secret}"))
        await server.serve(bound)
