"""The server's state as JSON, with tokens shown by SHA-256 only.

It is served at `/_dev/state` to loopback callers, and written to a file after every
change when the settings name one, so that it can be read after the process is gone.
"""

from __future__ import annotations

import ipaddress
import os
from typing import Any

import msgspec
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from grantledger.adapters.devserver.state import DevState

_FILE_MODE = 0o600


def snapshot(state: DevState) -> dict[str, Any]:
    """Return counts, families, live access tokens and redemptions as plain data.

    Times are UNIX seconds on the server's clock.
    """
    with state.lock:
        view = {
            "profile": state.profile,
            "now": state.now(),
            "token_requests": dict(state.token_request_counts),
            "token_request_log": state.token_requests,
            "revocation_requests": state.revocation_requests,
            "families": list(state.families.values()),
            "live_access_tokens": state.live_access_tokens,
            "redemptions": state.redemptions,
        }
        # Plain data at once: the records go on changing after the lock is released.
        return msgspec.convert(msgspec.to_builtins(view), dict[str, Any])


def save_snapshot(state: DevState) -> None:
    """Write the snapshot to the settings' `state_file`, atomically, mode 0600."""
    target = state.settings.state_file
    if target is None:
        return
    with state.lock:
        temporary = target.with_name(target.name + ".new")
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
        with os.fdopen(os.open(temporary, flags, _FILE_MODE), "wb") as file:
            file.write(msgspec.json.encode(snapshot(state)))
        temporary.replace(target)


class StateEndpoint:
    """`GET /_dev/state`, when the settings expose it."""

    def __init__(self, state: DevState) -> None:
        self._state = state

    def routes(self) -> list[Route]:
        """Return the route, or none."""
        if not self._state.settings.expose_state:
            return []
        return [Route("/_dev/state", self.get)]

    async def get(self, request: Request) -> Response:
        """Answer a loopback caller that names a loopback host; others get 404."""
        peer = request.client.host if request.client else ""
        # The Host check keeps a web page from reading it by DNS rebinding.
        if not (_is_loopback(peer) and _is_loopback(request.url.hostname or "")):
            return JSONResponse({"message": "Not found"}, 404)
        return JSONResponse(snapshot(self._state))


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
