"""`grantledger connect`: a user's consent, walked in their own browser."""

from __future__ import annotations

import webbrowser
from typing import Annotated

import anyio
import anyio.to_thread
import typer

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli import output, views
from grantledger.adapters.cli.callback import listening
from grantledger.adapters.cli.consenting import consent
from grantledger.adapters.cli.identity import local_caller
from grantledger.adapters.cli.options import (
    DEFAULT_LABEL,
    Config,
    Json,
    Label,
    ProviderName,
)
from grantledger.adapters.cli.running import with_broker
from grantledger.domain.requests import check_key
from grantledger.domain.user_grant import UserGrant
from grantledger.domain.values import GrantKey

WAIT_SECONDS = 600


def connect(
    provider: ProviderName,
    label: Label = DEFAULT_LABEL,
    port: Annotated[
        int | None,
        typer.Option(
            help="Of the callback; redirect_port by default.",
            show_default=False,
            min=0,
            max=65535,
        ),
    ] = None,
    wait: Annotated[
        int, typer.Option(help="Seconds to wait for the browser.", min=1, max=600)
    ] = WAIT_SECONDS,
    *,
    no_browser: Annotated[
        bool, typer.Option("--no-browser", help="Only print the address to open.")
    ] = False,
    config: Config = None,
    as_json: Json = False,
) -> None:
    """Ask a user for consent in the browser, and store it."""
    check_key(GrantKey(provider, "whoever", label))

    async def go(url: str) -> None:
        output.note(f"Open this address to give consent:\n{url}")
        if not no_browser:
            await anyio.to_thread.run_sync(webbrowser.open, url, abandon_on_cancel=True)

    async def work(opened: OpenBroker) -> UserGrant:
        opened.broker.env.provider(provider)
        chosen = opened.providers[provider].redirect_port if port is None else port
        async with listening(chosen) as callback:
            return await consent(
                opened,
                local_caller(),
                provider,
                callback,
                go,
                label=label,
                timeout_seconds=wait,
            )

    grant = with_broker(config, work)
    output.show(as_json, views.grant_data(grant), views.grant_view(grant))
