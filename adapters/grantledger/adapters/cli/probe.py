"""`grantledger probe`: asks a running service whether it is ready."""

from __future__ import annotations

from typing import Annotated

import httpx
import typer

from grantledger.adapters.cli import output
from grantledger.adapters.cli.options import Config, Json
from grantledger.adapters.http.listening import socket_path
from grantledger.adapters.settings import Settings, load
from grantledger.adapters.settings.listening import address
from grantledger.domain.errors import Unavailable

SECONDS = 4.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104 - where it listens, not we


def probe(
    config: Config = None,
    seconds: Annotated[
        float, typer.Option(min=0.1, max=60, help="To wait at most.")
    ] = SECONDS,
    *,
    as_json: Json = False,
) -> None:
    """Ask the service of these settings, on this machine, whether it is ready."""
    where, transport = _way(load(config))
    try:
        with httpx.Client(
            transport=transport, timeout=seconds, trust_env=False
        ) as client:
            said = client.get(f"http://{where}/readyz")
        body = said.json()
    except (httpx.HTTPError, ValueError) as cause:
        raise Unavailable(f"no answer: {type(cause).__name__}") from None
    if not said.is_success:
        raise Unavailable(f"not ready: {said.text[:500]}")
    output.show(as_json, body, "ready")


def _way(settings: Settings) -> tuple[str, httpx.HTTPTransport]:
    """Return whom to ask, and how: by TCP, or by the socket where that is all."""
    listen = settings.file.http.listen
    if not listen:
        path = socket_path(settings)
        return "localhost", httpx.HTTPTransport(uds=str(path))
    host, port = address(listen)
    host = _EVERYWHERE.get(host, host)
    return (
        f"[{host}]:{port}" if ":" in host else f"{host}:{port}",
        httpx.HTTPTransport(),
    )
