"""One consent from request to stored grant, whichever browser walks it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import anyio

from grantledger.adapters.bootstrap import OpenBroker
from grantledger.adapters.cli.callback import Callback
from grantledger.domain.errors import GrantledgerError, Unavailable
from grantledger.domain.requests import Caller
from grantledger.domain.user_grant import UserGrant


async def consent(
    opened: OpenBroker,
    caller: Caller,
    provider: str,
    callback: Callback,
    go: Callable[[str], Awaitable[None]],
    *,
    label: str,
    timeout_seconds: float,
) -> UserGrant:
    """Send a browser out, wait for it to come back, and store the consent.

    Args:
        opened: the broker.
        caller: who asks for it.
        provider: whose consent.
        callback: where the browser comes back to.
        go: brings the browser to a URL, without waiting for its end.
        label: keeps several grants of one user apart.
        timeout_seconds: how long to wait for the browser.

    Raises:
        GrantledgerError: see `OpenBroker.finish_consent`; nothing was stored.
    """
    start = await opened.start_consent(provider, callback.redirect_uri)
    callback.expect(start.session.state)
    await go(start.url)
    try:
        with anyio.fail_after(timeout_seconds):
            arrival = await callback.arrival()
    except TimeoutError:
        raise Unavailable(
            f"no browser came back within {timeout_seconds:g} s; start again"
        ) from None
    try:
        grant = await opened.finish_consent(
            caller, provider, start.session, arrival.parameters, label=label
        )
    except GrantledgerError as error:
        await arrival.show("Not connected", f"{error}. You may close this.", ok=False)
        raise
    await arrival.show(
        "Connected",
        f"{provider} is connected for {grant.state.subject}. You may close this page.",
        ok=True,
    )
    return grant
