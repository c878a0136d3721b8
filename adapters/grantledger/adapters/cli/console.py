"""`grantledger console`: the pages, for who runs this machine."""

from __future__ import annotations

from typing import Annotated

import anyio
import typer

from grantledger.adapters.bootstrap import open_broker
from grantledger.adapters.cli import output
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import Config
from grantledger.adapters.settings import load


def console(
    config: Config = None,
    *,
    port: Annotated[
        int,
        typer.Option(min=0, max=65535, help="To listen on; by default a free one."),
    ] = 0,
) -> None:
    """Show the ledger in the browser, on this machine, until Ctrl-C.

    The link works once, for five minutes. What is looked at is recorded as of the user
    who runs this command.
    """
    # Here, and not for every command: the service brings much along.
    from grantledger.adapters.console.serving import serve_console  # noqa: PLC0415 - see above

    settings = load(config)

    async def run() -> None:
        async with open_broker(settings, tend=False, rotate=False) as opened:
            who = local_caller().id
            await serve_console(opened, settings, who, port, output.write)

    anyio.run(run)
