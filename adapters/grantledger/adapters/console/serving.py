"""The console of who runs this machine: on loopback, behind a link that works once."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack, closing

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.console.app import build_console
from grantledger.adapters.console.entering import ENTER, OneTimeLink
from grantledger.adapters.console.sessions import Sessions
from grantledger.adapters.console.visitors import Console
from grantledger.adapters.http.listening import bound_to
from grantledger.adapters.http.serving import ListeningServer, server_config
from grantledger.adapters.keys.cookies import CookieSealer
from grantledger.adapters.settings import HttpSettings
from grantledger.domain.values import Secret

LOOPBACK = "127.0.0.1"
SECRET_BYTES = 32


async def serve_console(
    opened: OpenBroker, caller: str, port: int, started: Callable[[str], object]
) -> None:
    """Serve the console on loopback until SIGTERM or SIGINT.

    Args:
        opened: whose ledger is shown.
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
        console = Console(opened, Sessions(sealer, secure=False), origin)
        config = server_config(build_console(console, link), HttpSettings())
        server = ListeningServer(config, lambda: started(f"{origin}{ENTER}#{secret}"))
        await server.serve(bound)
